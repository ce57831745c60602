//! Where in a session, and where in a mail, a variant stands.

use gatepost_tests::server::Server;
use gatepost_tests::smtp::Smtp;

/// How the session has come to the 354.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// EHLO, MAIL, RCPT, DATA.
    Plain,
    /// The same in one write: DATA is the last command of a pipelined group.
    Pipelined,
    /// HELO.
    Helo,
    /// MAIL says what the body is.
    EightBitMime,
    /// Inside TLS.
    Tls,
    /// Behind another mail.
    Second,
    /// Behind a chunk that was refused, and RSET.
    RefusedChunk,
}

/// Every way.
pub const WAYS: [Way; 7] =
    [Way::Plain, Way::Pipelined, Way::Helo, Way::EightBitMime, Way::Tls, Way::Second, Way::RefusedChunk];

// === impl Way ===

impl Way {
    /// A session that has just heard 354.
    pub fn open(self, server: &Server) -> Smtp {
        match self {
            Self::Plain => begun(server.smtp_open()),
            Self::Pipelined => {
                let mut smtp = server.smtp_open();
                smtp.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<you@localhost>\r\nDATA\r\n");
                for expected in ["250 2.1.0", "250 2.1.5", "354"] {
                    smtp.reply().must(expected);
                }
                smtp
            }
            Self::Helo => {
                let mut smtp = Smtp::connect(server.ports.open);
                smtp.say("HELO client.example").must("250");
                begun(smtp)
            }
            Self::EightBitMime => {
                let mut smtp = server.smtp_open();
                smtp.say("MAIL FROM:<a@b.example> BODY=8BITMIME").must("250 2.1.0");
                smtp.say("RCPT TO:<you@localhost>").must("250 2.1.5");
                smtp.say("DATA").must("354");
                smtp
            }
            Self::Tls => {
                let mut smtp = Smtp::connect(server.ports.open);
                smtp.starttls(server.trust());
                begun(smtp)
            }
            Self::Second => {
                let mut smtp = server.smtp_open();
                smtp.mail("a@b.example", &["me@localhost"], b"Subject: first\r\n\r\nx\r\n").must("250 2.0.0");
                begun(smtp)
            }
            Self::RefusedChunk => {
                let mut smtp = server.smtp_open();
                smtp.bdat(b"\r\n.\r\nDATA\r\n", false).must("503 5.5.1");
                smtp.say("RSET").must("250 2.0.0");
                begun(smtp)
            }
        }
    }
}

fn begun(mut smtp: Smtp) -> Smtp {
    smtp.begin_data("a@b.example", &["you@localhost"]);
    smtp
}
