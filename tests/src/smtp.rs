//! A scripted SMTP client: it sends what the test tells it to, legal or not.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::ClientConfig;

use crate::scram;
use crate::user::User;
use crate::wire::Wire;

/// An SMTP connection whose greeting has been read.
#[derive(Debug)]
pub struct Smtp {
    wire: Wire,
}

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its code.
    pub code: u16,
    /// The text of its lines, behind the code and its separator.
    pub lines: Vec<String>,
}

// === impl Smtp ===

impl Smtp {
    /// Connects and reads the greeting, in the clear.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        Self::greeted(Wire::connect(port))
    }

    /// As `connect`, to any address of this machine.
    ///
    /// # Panics
    /// When there is no greeting.
    #[must_use]
    pub fn connect_to(address: SocketAddr) -> Self {
        Self::greeted(Wire::connect_to(address))
    }

    /// As `connect`, from this address of 127.0.0.0/8.
    ///
    /// # Errors
    /// What the server says instead of a greeting.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn connect_from(source: Ipv4Addr, port: u16) -> Result<Self, Reply> {
        let mut smtp = Self { wire: Wire::connect_from(source, port) };
        let greeting = smtp.reply();
        if greeting.code == 220 { Ok(smtp) } else { Err(greeting) }
    }

    /// Connects with TLS from the first octet, and reads the greeting.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn connect_tls(port: u16, trust: Arc<ClientConfig>) -> Self {
        let mut wire = Wire::connect(port);
        wire.secure(trust);
        Self::greeted(wire)
    }

    fn greeted(wire: Wire) -> Self {
        let mut smtp = Self { wire };
        smtp.reply().must("220");
        smtp
    }

    /// Upgrades after EHLO and STARTTLS, and says EHLO again.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn starttls(&mut self, trust: Arc<ClientConfig>) {
        self.say("EHLO client.example").must("250");
        self.say("STARTTLS").must("220 2.0.0");
        self.wire.secure(trust);
        self.say("EHLO client.example").must("250");
    }

    /// AUTH PLAIN with an initial response.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn auth(&mut self, user: &User) {
        self.say(&format!("AUTH PLAIN {}", plain_response("", &user.name, &user.password))).must("235 2.7.0");
    }

    /// SCRAM-SHA-256, or -PLUS with the connection's channel binding. Returns the server's last reply.
    ///
    /// # Panics
    /// When the server's proof is wrong, or the dialog is broken.
    pub fn auth_scram(&mut self, user: &User, binding: &scram::Binding) -> Reply {
        let mechanism = if matches!(binding, scram::Binding::Exporter(_)) {
            "SCRAM-SHA-256-PLUS"
        } else {
            "SCRAM-SHA-256"
        };
        self.auth_scram_as(mechanism, user, binding)
    }

    /// As `auth_scram`, with the mechanism's name apart from the binding that is sent.
    ///
    /// # Panics
    /// When the server's proof is wrong, or the dialog is broken.
    pub fn auth_scram_as(&mut self, mechanism: &str, user: &User, binding: &scram::Binding) -> Reply {
        let client = scram::Client::new(&user.name, &user.password, binding);
        let challenge = self.say(&format!("AUTH {mechanism} {}", BASE64.encode(client.first_message())));
        if challenge.code != 334 {
            return challenge;
        }
        let server_first = BASE64.decode(&challenge.lines[0]).expect("the challenge is base64");
        let (proof, signature) = client.answer(&server_first);
        let reply = self.say(&BASE64.encode(proof));
        if reply.code != 334 {
            return reply;
        }
        let server_final = BASE64.decode(&reply.lines[0]).expect("the challenge is base64");
        assert_eq!(
            String::from_utf8_lossy(&server_final),
            format!("v={}", BASE64.encode(signature)),
            "the server must prove itself"
        );
        self.say("")
    }

    /// Sends one command line and reads its reply.
    ///
    /// # Panics
    /// When no whole reply comes.
    pub fn say(&mut self, line: &str) -> Reply {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Sends octets as they are.
    ///
    /// # Panics
    /// When they cannot be sent.
    pub fn send(&mut self, octets: &[u8]) {
        self.wire.send(octets);
    }

    /// Reads a reply.
    ///
    /// # Panics
    /// When no whole reply comes.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// When the connection ends first.
    ///
    /// # Panics
    /// When the reply is not SMTP.
    pub fn try_reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = String::from_utf8(self.wire.try_line()?).expect("replies are UTF-8");
            let (code, rest) = line.split_at_checked(3).unwrap_or_else(|| panic!("not a reply: {line:?}"));
            let code: u16 = code.parse().unwrap_or_else(|_| panic!("not a reply: {line:?}"));
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            match rest.as_bytes().first() {
                Some(b'-') => {}
                Some(b' ') | None => return Ok(Reply { code, lines }),
                Some(_) => panic!("not a reply: {line:?}"),
            }
        }
    }

    /// MAIL, the RCPTs and DATA's 354, all of which must succeed.
    ///
    /// # Panics
    /// When one does not.
    pub fn begin_data(&mut self, from: &str, to: &[&str]) {
        self.begin(from, to);
        self.say("DATA").must("354");
    }

    /// MAIL and the RCPTs, all of which must succeed.
    ///
    /// # Panics
    /// When one does not.
    pub fn begin(&mut self, from: &str, to: &[&str]) {
        self.say(&format!("MAIL FROM:<{from}>")).must("250 2.1.0");
        for recipient in to {
            self.say(&format!("RCPT TO:<{recipient}>")).must("250 2.1.5");
        }
    }

    /// A whole transaction by DATA: dots are stuffed, the last line ended. Returns the final reply.
    ///
    /// # Panics
    /// When a command before the body is refused.
    pub fn mail(&mut self, from: &str, to: &[&str], content: &[u8]) -> Reply {
        self.begin_data(from, to);
        self.send(&stuffed(content));
        self.reply()
    }

    /// Connects, upgrades and authenticates, on a server that may vanish at any time.
    ///
    /// # Errors
    /// When it vanishes.
    pub fn try_open(port: u16, trust: Arc<ClientConfig>, user: &User) -> io::Result<Self> {
        let mut smtp = Self { wire: Wire::try_connect(port)? };
        smtp.try_reply()?;
        smtp.try_say("EHLO client.example")?;
        smtp.try_say("STARTTLS")?;
        smtp.wire.try_secure(trust)?;
        smtp.try_say("EHLO client.example")?;
        let reply =
            smtp.try_say(&format!("AUTH PLAIN {}", plain_response("", &user.name, &user.password)))?;
        if reply.code == 235 { Ok(smtp) } else { Err(io::Error::other(format!("{reply:?}"))) }
    }

    /// A whole transaction with a server that may vanish at any time: the first refusal, or the final reply.
    ///
    /// # Errors
    /// When it vanishes.
    pub fn try_mail(&mut self, from: &str, to: &str, content: &[u8]) -> io::Result<Reply> {
        for line in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
            let reply = self.try_say(&line)?;
            if reply.code >= 400 {
                return Ok(reply);
            }
        }
        self.wire.try_send(&stuffed(content))?;
        self.try_reply()
    }

    fn try_say(&mut self, line: &str) -> io::Result<Reply> {
        self.wire.try_send(format!("{line}\r\n").as_bytes())?;
        self.try_reply()
    }

    /// One BDAT chunk and its reply.
    ///
    /// # Panics
    /// When no reply comes.
    pub fn bdat(&mut self, chunk: &[u8], last: bool) -> Reply {
        let mut octets = format!("BDAT {}{}\r\n", chunk.len(), if last { " LAST" } else { "" }).into_bytes();
        octets.extend_from_slice(chunk);
        self.send(&octets);
        self.reply()
    }

    /// QUIT, and the server closes.
    ///
    /// # Panics
    /// When it does not.
    pub fn quit(mut self) {
        self.say("QUIT").must("221 2.0.0");
        assert_eq!(self.rest(), "", "nothing follows 221");
    }

    /// All that the server still says before it closes.
    ///
    /// # Panics
    /// When it does not close.
    #[must_use]
    pub fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.wire.rest()).into_owned()
    }

    /// Whether the server says nothing for `duration` and keeps the connection.
    #[must_use]
    pub fn is_quiet_for(&mut self, duration: Duration) -> bool {
        self.wire.is_quiet_for(duration)
    }

    /// The connection below.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

// === impl Reply ===

impl Reply {
    /// The reply must begin like this: a code, or a code and an enhanced code.
    ///
    /// # Panics
    /// When it does not.
    pub fn must(&self, start: &str) -> &Self {
        assert!(self.is(start), "expected {start:?}, got {self:?}");
        self
    }

    /// Whether every line of the reply begins like this.
    #[must_use]
    pub fn is(&self, start: &str) -> bool {
        self.lines.iter().all(|line| format!("{} {line}", self.code).starts_with(start))
    }

    /// Whether EHLO's reply names this extension, with exactly these parameters.
    #[must_use]
    pub fn offers(&self, line: &str) -> bool {
        self.lines.iter().skip(1).any(|offered| offered == line)
    }

    /// The queue id in the reply to an accepted body.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn queue_id(&self) -> String {
        let id = self.lines[0]
            .split_whitespace()
            .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
            .find(|word| {
                word.len() >= 8
                    && word.bytes().all(|octet| octet.is_ascii_digit() || octet.is_ascii_uppercase())
            });
        id.unwrap_or_else(|| panic!("no queue id in {self:?}")).to_owned()
    }
}

/// The base64 of a PLAIN response (RFC 4616).
#[must_use]
pub fn plain_response(authzid: &str, user: &str, password: &str) -> String {
    BASE64.encode(format!("{authzid}\0{user}\0{password}"))
}

/// `content` as DATA wants it: dots stuffed, the end of data behind it.
#[must_use]
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(content.len() + 64);
    let mut at_start = true;
    for &octet in content {
        if at_start && octet == b'.' {
            octets.push(b'.');
        }
        octets.push(octet);
        at_start = octet == b'\n';
    }
    if !content.ends_with(b"\r\n") {
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(b".\r\n");
    octets
}
