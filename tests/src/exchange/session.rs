//! One session of the stand-in.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Blobs, Heard, Shared, lock};
use crate::line::{Line, drop_buffered};

pub(super) struct Session {
    line: BufReader<Line>,
    shared: Arc<Shared>,
    in_tls: bool,
    is_logged_in: bool,
    has_sender: bool,
    recipients: usize,
    chunks: Vec<u8>,
    /// A series of X-LINK2STATE has begun.
    in_series: bool,
}

// === impl Session ===

impl Session {
    pub(super) fn run(stream: TcpStream, shared: Arc<Shared>) {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let mut session = Self {
            line: BufReader::new(Line::plain(stream)),
            shared,
            in_tls: false,
            is_logged_in: false,
            has_sender: false,
            recipients: 0,
            chunks: Vec::new(),
            in_series: false,
        };
        // A connection that ends is no failure of the test's server.
        session.serve().ok();
        session.line.get_ref().socket().shutdown(std::net::Shutdown::Both).ok();
    }

    fn serve(&mut self) -> io::Result<()> {
        self.say("220 exchange.behind.example Microsoft ESMTP MAIL Service, Version: 5.0.2195.6713 ready")?;
        while let Some(command) = self.heard_line()? {
            let (verb, argument) = command.split_once(' ').unwrap_or((&command, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.hello()?,
                "HELO" => self.say("250 exchange.behind.example Hello")?,
                "STARTTLS" => self.starttls()?,
                "AUTH" | "X-EXPS" => self.login(argument)?,
                "MAIL" => {
                    (self.has_sender, self.recipients) = (true, 0);
                    self.say("250 2.1.0 Sender OK")?;
                }
                "RCPT" if self.has_sender => {
                    self.recipients += 1;
                    self.say("250 2.1.5 Recipient OK")?;
                }
                "DATA" if self.recipients > 0 => self.data()?,
                "BDAT" if self.recipients > 0 => self.chunk(argument)?,
                "XEXCH50" => self.exch50(argument)?,
                "X-LINK2STATE" => self.link_state(argument)?,
                "RSET" => {
                    (self.has_sender, self.recipients) = (false, 0);
                    self.say("250 2.0.0 Resetting")?;
                }
                "NOOP" => self.say("250 2.0.0 OK")?,
                "QUIT" => return self.say("221 2.0.0 Service closing transmission channel"),
                "RCPT" | "DATA" | "BDAT" => self.say("503 5.5.2 Need mail command.")?,
                // Opaque: what they mean is known to servers of the same organisation alone.
                verb if verb.starts_with('X') && self.is_trusted() => self.say("250 2.0.0 OK")?,
                _ => self.say("500 5.3.3 Unrecognized command")?,
            }
        }
        Ok(())
    }

    /// Whoever the verbs between servers are open to.
    fn is_trusted(&self) -> bool {
        self.is_logged_in || self.shared.is_vulnerable
    }

    fn hello(&mut self) -> io::Result<()> {
        let (without, more) = (lock(&self.shared.without).clone(), lock(&self.shared.more).clone());
        let tls = (self.shared.tls.is_some() && !self.in_tls).then_some("STARTTLS");
        let keywords: Vec<&str> = tls
            .into_iter()
            .chain(KEYWORDS)
            .chain(more)
            .filter(|keyword| !without.iter().any(|name| keyword.split(' ').next() == Some(name)))
            .collect();
        let lines: String = keywords.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
        self.say(&format!("250-exchange.behind.example Hello [127.0.0.1]\r\n{lines}250 OK"))
    }

    fn starttls(&mut self) -> io::Result<()> {
        let Some(config) = self.shared.tls.clone().filter(|_| !self.in_tls) else {
            return self.say("554 5.7.3 Unable to initialize security subsystem");
        };
        self.say("220 2.0.0 SMTP server ready")?;
        drop_buffered(&mut self.line);
        self.line.get_mut().secure(config)?;
        self.in_tls = true;
        Ok(())
    }

    /// Believes everybody but `nobody` by LOGIN, and every token of three steps by the mechanisms whose inside is nobody's
    /// business here.
    fn login(&mut self, argument: &str) -> io::Result<()> {
        let mut words = argument.split(' ');
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let challenges: &[&str] = match mechanism.as_str() {
            "LOGIN" => &["VXNlcm5hbWU6", "UGFzc3dvcmQ6"],
            "GSSAPI" | "NTLM" => &["Y2hhbGxlbmdlIG9uZQ==", "Y2hhbGxlbmdlIHR3bw=="],
            _ => return self.say("504 5.7.4 Unrecognized authentication type"),
        };
        let mut responses: Vec<String> = words.map(str::to_owned).collect();
        // The client has the first word in all of them but LOGIN; where it has not said it yet, it is asked.
        let first = usize::from(mechanism != "LOGIN");
        while let Some(challenge) = [""].iter().take(first).chain(challenges).nth(responses.len()) {
            self.say(&format!("334 {challenge}"))?;
            let Some(response) = self.heard_line()? else { return Ok(()) };
            if response == "*" {
                return self.say("501 5.7.3 Cancelled");
            }
            responses.push(response);
        }
        // `nobody` in base64.
        if responses.iter().any(|response| response == "bm9ib2R5") {
            return self.say("535 5.7.3 Authentication unsuccessful");
        }
        self.is_logged_in = true;
        self.say("235 2.7.0 Authentication successful")
    }

    fn exch50(&mut self, argument: &str) -> io::Result<()> {
        if !self.is_trusted() {
            return self.say("504 Need to authenticate first");
        }
        let size = argument.split(' ').next().unwrap_or_default().parse::<i64>().unwrap_or_default();
        let Ok(size) = usize::try_from(size) else {
            self.shared.crash();
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        if self.shared.blobs == Blobs::RefusedAtOnce {
            return self.say("550 5.7.1 no properties");
        }
        self.shared.allocated.fetch_add(size, Ordering::Relaxed);
        self.say("354 Send binary data")?;
        let mut blob = Vec::new();
        self.take(size / 2, &mut blob)?;
        match self.shared.blobs {
            Blobs::RefusedMidway => self.say("550 5.7.1 no properties")?,
            Blobs::Dropped => return Err(io::ErrorKind::ConnectionAborted.into()),
            Blobs::Taken | Blobs::RefusedAtOnce | Blobs::RefusedAtTheEnd => {}
        }
        self.take(size - size / 2, &mut blob)?;
        lock(&self.shared.heard).push(Heard::Blob(blob));
        match self.shared.blobs {
            Blobs::RefusedAtTheEnd => self.say("550 5.7.1 no properties"),
            Blobs::RefusedMidway => Ok(()),
            _ => self.say("250 2.0.0 OK"),
        }
    }

    fn link_state(&mut self, argument: &str) -> io::Result<()> {
        if !self.is_trusted() {
            return self.say("504 Need to authenticate first");
        }
        let argument = argument.to_ascii_uppercase();
        let (position, data) = argument.split_once("CHUNK=").unwrap_or((&argument, ""));
        match position.trim() {
            "FIRST" => self.in_series = true,
            "LAST" => self.in_series = false,
            "NEXT" | "" if self.in_series => {}
            // The hole of MS05-021: a chunk of no series, with more data than there was room for.
            _ if self.shared.is_vulnerable && data.len() > LINK_STATE_ROOM => {
                self.shared.crash();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            _ => return self.say("503 5.5.2 bad sequence of chunks"),
        }
        self.say("250 2.0.0 OK")
    }

    fn data(&mut self) -> io::Result<()> {
        self.say("354 Start mail input; end with <CRLF>.<CRLF>")?;
        let mut octets = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.line.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line == b".\r\n" {
                return self.kept(octets);
            }
            octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    fn chunk(&mut self, argument: &str) -> io::Result<()> {
        let mut words = argument.split(' ');
        let size = words.next().and_then(|size| size.parse().ok()).unwrap_or_default();
        let mut chunk = Vec::new();
        self.take(size, &mut chunk)?;
        self.chunks.extend_from_slice(&chunk);
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST")) {
            let octets = std::mem::take(&mut self.chunks);
            return self.kept(octets);
        }
        self.say("250 2.0.0 OK")
    }

    fn kept(&mut self, octets: Vec<u8>) -> io::Result<()> {
        lock(&self.shared.heard).push(Heard::Mail(octets));
        (self.has_sender, self.recipients) = (false, 0);
        self.say("250 2.6.0 <1@exchange.behind.example> Queued mail for delivery")
    }

    fn take(&mut self, count: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let taken = (&mut self.line).take(count as u64).read_to_end(into)?;
        if taken == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn heard_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        if self.line.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        lock(&self.shared.heard).push(Heard::Line(line.clone()));
        Ok(Some(line))
    }

    fn say(&mut self, reply: &str) -> io::Result<()> {
        let line = self.line.get_mut();
        line.write_all(format!("{reply}\r\n").as_bytes())?;
        line.flush()
    }
}

/// What EHLO of Exchange 2000 and 2003 lists.
const KEYWORDS: [&str; 17] = [
    "TURN",
    "ATRN",
    "SIZE",
    "ETRN",
    "PIPELINING",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "8bitmime",
    "BINARYMIME",
    "CHUNKING",
    "VRFY",
    "X-EXPS GSSAPI NTLM LOGIN",
    "X-EXPS=LOGIN",
    "AUTH GSSAPI NTLM LOGIN",
    "AUTH=LOGIN",
    "XEXCH50",
    "X-LINK2STATE",
];

/// The overflow began beyond it.
const LINK_STATE_ROOM: usize = 520;
