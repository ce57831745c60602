//! Real mail programs that hand a mail to any server on this machine, in the clear and without a password: so they can be
//! tried with and without something between them and the server.

use std::fs;
use std::path::Path;

use crate::binary;
use crate::command::Run;

/// A mail program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Knows every extension, one command at a time.
    Swaks,
    /// Commands in groups (RFC 2920).
    SwaksPipelined,
    /// The program behind many scripts.
    Curl,
    /// As `sendmail` on small machines.
    Msmtp,
    /// Python's own.
    Smtplib,
    /// The library for JavaScript.
    Nodemailer,
}

/// A mail for a program to send.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    /// The server's port on 127.0.0.1.
    pub port: u16,
    /// The address in MAIL.
    pub from: &'a str,
    /// The addresses in RCPT.
    pub to: &'a [&'a str],
    /// The mail; its lines end in CRLF.
    pub content: &'a [u8],
    /// For files that the program needs.
    pub folder: &'a Path,
}

// === impl Client ===

impl Client {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Swaks, Self::SwaksPipelined, Self::Curl, Self::Msmtp, Self::Smtplib, Self::Nodemailer];

    /// Prepares the program; it ends with 0 where the mail was accepted for all.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn run(self, errand: &Errand<'_>) -> Run {
        match self {
            Self::Swaks => swaks(errand),
            Self::SwaksPipelined => swaks(errand).arg("--pipeline"),
            Self::Curl => curl(errand),
            Self::Msmtp => msmtp(errand),
            Self::Smtplib => script(Run::new("python3"), "smtp_send_plain.py", errand),
            Self::Nodemailer => script(node(), "nodemailer_send.js", errand),
        }
    }
}

fn swaks(errand: &Errand<'_>) -> Run {
    let file = errand.folder.join("swaks.eml");
    // swaks ends the last line itself.
    let content = errand.content.strip_suffix(b"\r\n").unwrap_or(errand.content);
    fs::write(&file, content).expect("the mail can be written");
    Run::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &errand.port.to_string(), "--ehlo", "client.example"])
        .args(["--from", errand.from, "--to", &errand.to.join(","), "--suppress-data", "--data"])
        .arg(format!("@{}", file.display()))
}

fn curl(errand: &Errand<'_>) -> Run {
    let mut run = Run::new("curl")
        .args(["--silent", "--show-error", "--disable", "--max-time", "50"])
        .args(["--upload-file", "-", "--mail-from", errand.from]);
    for recipient in errand.to {
        run = run.args(["--mail-rcpt", recipient]);
    }
    run.arg(format!("smtp://127.0.0.1:{}/client.example", errand.port)).stdin(errand.content)
}

fn msmtp(errand: &Errand<'_>) -> Run {
    Run::new("msmtp")
        .clean_environment()
        .args(["--file=/dev/null", "--host=127.0.0.1", "--tls=off", "--auth=off", "--domain=client.example"])
        .arg(format!("--port={}", errand.port))
        .args(["--from", errand.from, "--"])
        .args(errand.to)
        .stdin(errand.content)
}

/// Port, sender and recipients as arguments, the mail on the standard input.
fn script(interpreter: Run, name: &str, errand: &Errand<'_>) -> Run {
    interpreter
        .arg(binary::repository().join("tests/clients").join(name))
        .args([&errand.port.to_string(), errand.from])
        .args(errand.to)
        .stdin(errand.content)
}

fn node() -> Run {
    Run::new("node").env("NODE_PATH", binary::repository().join("target/nodemailer/node_modules"))
}
