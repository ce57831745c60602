//! A scripted POP3 client (RFC 1939).

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::user::User;
use crate::wire::Wire;

/// A POP3 connection whose greeting has been read.
#[derive(Debug)]
pub struct Pop3 {
    wire: Wire,
}

// === impl Pop3 ===

impl Pop3 {
    /// Connects in the clear.
    ///
    /// # Panics
    /// When there is no greeting.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        let mut pop3 = Self { wire: Wire::connect(port) };
        pop3.ok();
        pop3
    }

    /// Connects with TLS from the first octet.
    ///
    /// # Panics
    /// When there is no greeting.
    #[must_use]
    pub fn connect_tls(port: u16, trust: Arc<ClientConfig>) -> Self {
        Self::greeted_in_tls(Wire::connect(port), trust)
    }

    /// As `connect_tls`, from this address of 127.0.0.0/8.
    ///
    /// # Panics
    /// When there is no greeting.
    #[must_use]
    pub fn connect_tls_from(source: Ipv4Addr, port: u16, trust: Arc<ClientConfig>) -> Self {
        Self::greeted_in_tls(Wire::connect_from(source, port), trust)
    }

    fn greeted_in_tls(mut wire: Wire, trust: Arc<ClientConfig>) -> Self {
        wire.secure(trust);
        let mut pop3 = Self { wire };
        pop3.ok();
        pop3
    }

    /// STLS (RFC 2595).
    ///
    /// # Panics
    /// When the server refuses.
    pub fn stls(&mut self, trust: Arc<ClientConfig>) {
        self.must("STLS");
        self.wire.secure(trust);
    }

    /// USER and PASS.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn login(&mut self, user: &User) {
        self.must(&format!("USER {}", user.name));
        self.must(&format!("PASS {}", user.password));
    }

    /// Sends a command and reads the first line of its answer.
    ///
    /// # Panics
    /// When none comes.
    pub fn say(&mut self, line: &str) -> String {
        self.wire.send(format!("{line}\r\n").as_bytes());
        String::from_utf8(self.wire.line()).expect("answers are UTF-8")
    }

    /// Sends a command that must be answered `+OK`; returns what follows that.
    ///
    /// # Panics
    /// When it is not.
    pub fn must(&mut self, line: &str) -> String {
        self.wire.send(format!("{line}\r\n").as_bytes());
        self.ok()
    }

    /// A command with a multi-line answer, dots unstuffed, every line ended by CRLF.
    ///
    /// # Panics
    /// When it is refused.
    pub fn multi(&mut self, line: &str) -> Vec<u8> {
        self.must(line);
        let mut octets = Vec::new();
        loop {
            let line = self.wire.line();
            if line == b"." {
                return octets;
            }
            octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            octets.extend_from_slice(b"\r\n");
        }
    }

    /// How many messages there are.
    ///
    /// # Panics
    /// When STAT is refused.
    pub fn count(&mut self) -> usize {
        let stat = self.must("STAT");
        stat.split_whitespace()
            .next()
            .and_then(|count| count.parse().ok())
            .unwrap_or_else(|| panic!("STAT: {stat:?}"))
    }

    /// QUIT, which must be answered before the server closes.
    ///
    /// # Panics
    /// When it is not.
    pub fn quit(mut self) {
        self.must("QUIT");
        assert_eq!(self.wire.rest(), b"", "nothing follows the answer to QUIT");
    }

    /// The connection below.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn ok(&mut self) -> String {
        let line = String::from_utf8(self.wire.line()).expect("answers are UTF-8");
        line.strip_prefix("+OK")
            .unwrap_or_else(|| panic!("expected +OK, got {line:?}"))
            .trim_start()
            .to_owned()
    }
}
