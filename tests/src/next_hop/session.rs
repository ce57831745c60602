//! One session of a next hop: what is right, unless the test has planned something else.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{At, PATIENCE, Reaction, Shared, Taken, lock};
use crate::line::{Line, drop_buffered};

pub(super) struct Session {
    line: BufReader<Line>,
    shared: Arc<Shared>,
    connection: usize,
    in_tls: bool,
    sender: Option<String>,
    recipients: Vec<String>,
    /// Of chunks.
    octets: Vec<u8>,
}

// === impl Session ===

impl Session {
    pub(super) fn run(stream: TcpStream, shared: Arc<Shared>) {
        let connection = {
            let mut connections = lock(&shared.connections);
            *connections += 1;
            *connections
        };
        let (write_octets, read_octets) = *lock(&shared.reach);
        let line = BufReader::new(Line::plain(stream).breaking_after(write_octets, read_octets));
        let (sender, recipients, octets) = (None, Vec::new(), Vec::new());
        let mut session = Self { line, shared, connection, in_tls: false, sender, recipients, octets };
        // A connection that ends is no failure of the test's server.
        session.serve().ok();
    }

    fn serve(&mut self) -> io::Result<()> {
        self.react(At::Greeting, "220 hop.example ESMTP")?;
        while let Some(command) = self.command()? {
            let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "LHLO" => {
                    let at = if self.in_tls { At::SecuredHello } else { At::Hello };
                    self.react(at, &self.offer())?;
                }
                "HELO" => self.say("250 hop.example")?,
                "AUTH" => {
                    self.react(At::Auth, "235 2.7.0 welcome")?;
                }
                "STARTTLS" => self.starttls()?,
                "MAIL" => {
                    if self.react(At::Mail, "250 2.1.0 sender ok")? {
                        self.sender = command.split_once(':').map(|(_, path)| path.to_owned());
                    }
                }
                "RCPT" if self.sender.is_none() => self.say("503 5.5.1 no sender")?,
                "RCPT" => {
                    if self.react(At::Rcpt, "250 2.1.5 recipient ok")? {
                        self.recipients.push(command.split_once(':').map_or("", |(_, path)| path).to_owned());
                    }
                }
                "DATA" if self.recipients.is_empty() => self.say("554 5.5.1 no recipients")?,
                "DATA" => {
                    if self.react(At::Data, "354 go on")? {
                        self.body()?;
                    }
                }
                "BDAT" => self.chunk(&command)?,
                "RSET" => {
                    (self.sender, self.recipients) = (None, Vec::new());
                    self.say("250 2.0.0 ok")?;
                }
                "QUIT" => return self.react(At::Quit, "221 2.0.0 bye").map(drop),
                _ => self.say("500 5.5.1 what?")?,
            }
        }
        Ok(())
    }

    fn offer(&self) -> String {
        let (offers, lacks) = (lock(&self.shared.offers), lock(&self.shared.lacks));
        let tls = (self.shared.tls.is_some() && !self.in_tls).then_some("STARTTLS");
        let auth = self.in_tls.then_some("AUTH PLAIN");
        let extensions =
            tls.iter().chain(&auth).chain(offers.iter()).chain(&["PIPELINING", "8BITMIME", "SIZE"]);
        let lines: Vec<&str> = std::iter::once("hop.example")
            .chain(extensions.copied().filter(|extension| !lacks.contains(extension)))
            .collect();
        let (last, first) = lines.split_last().unwrap_or((&"hop.example", &[]));
        let first: String = first.iter().map(|line| format!("250-{line}\r\n")).collect();
        format!("{first}250 {last}")
    }

    /// Behind 354.
    fn body(&mut self) -> io::Result<()> {
        let mut octets = Vec::new();
        let mut is_whole = false;
        while !is_whole {
            let mut line = Vec::new();
            if self.line.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            is_whole = line == b".\r\n";
            if !is_whole {
                octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            }
            if octets.len() > MIDDLE_OCTETS
                && let Some(reaction) = self.planned(At::Body)
            {
                return self.break_off(reaction);
            }
        }
        self.take(octets)
    }

    fn chunk(&mut self, command: &str) -> io::Result<()> {
        let mut words = command.split(' ').skip(1);
        let count: usize = words.next().and_then(|count| count.parse().ok()).expect("BDAT has a size");
        let mut octets = vec![0; count];
        self.line.read_exact(&mut octets)?;
        if self.recipients.is_empty() {
            return self.say("554 5.5.1 no recipients");
        }
        self.octets.append(&mut octets);
        if words.next().is_some() {
            let octets = std::mem::take(&mut self.octets);
            return self.take(octets);
        }
        if !self.react(At::Chunk, "250 2.0.0 go on")? {
            // RFC 3030 section 2: what follows a chunk that failed is not taken either.
            self.recipients.clear();
        }
        Ok(())
    }

    /// The whole body is here.
    fn take(&mut self, octets: Vec<u8>) -> io::Result<()> {
        let (sender, recipients) =
            (self.sender.take().unwrap_or_default(), std::mem::take(&mut self.recipients));
        let replies = if self.shared.is_lmtp { recipients.len() } else { 1 };
        let right = ["250 2.0.0 taken"].repeat(replies).join("\r\n");
        let taken = Taken { sender, recipients, octets, in_tls: self.in_tls, connection: self.connection };
        let planned = self.planned(At::Dot);
        if !matches!(planned, Some(Reaction::Say(_))) {
            lock(&self.shared.taken).push(taken);
            self.shared.changed.notify_all();
        }
        match planned {
            None => self.say(&right),
            Some(reaction) => self.misbehave(reaction, &right).map(drop),
        }
    }

    fn starttls(&mut self) -> io::Result<()> {
        let Some(config) = self.shared.tls.clone() else { return self.say("502 5.5.1 no TLS") };
        if !self.react(At::StartTls, "220 2.0.0 go on")? {
            return Ok(());
        }
        if let Some(reaction) = self.planned(At::Handshake) {
            // Before the client has begun it, that would be something said behind STARTTLS.
            self.line.fill_buf()?;
            return self.misbehave(reaction, "").map(drop);
        }
        if self.in_tls {
            return self.say("503 5.5.1 in TLS");
        }
        drop_buffered(&mut self.line);
        self.line.get_mut().secure(config)?;
        self.in_tls = true;
        Ok(())
    }

    /// Says what is right, unless something else is planned. Answers whether it did right.
    fn react(&mut self, at: At, right: &str) -> io::Result<bool> {
        match self.planned(at) {
            None => self.say(right).map(|()| true),
            Some(reaction) => self.misbehave(reaction, right),
        }
    }

    /// Answers whether it did what is right for all that.
    fn misbehave(&mut self, reaction: Reaction, right: &str) -> io::Result<bool> {
        match reaction {
            Reaction::Say(reply) => self.say(reply).map(|()| false),
            Reaction::Write(octets) => self.write(octets).map(|()| false),
            Reaction::Twice => self.say(&format!("{right}\r\n{right}")).map(|()| true),
            Reaction::Skip => Ok(true),
            Reaction::Drop => Err(io::ErrorKind::ConnectionAborted.into()),
            Reaction::Flood(octets) => {
                let flood = octets.repeat(FLOOD_OCTETS / octets.len());
                (0..FLOODS_MAX).try_for_each(|_| self.write(&flood))?;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Reaction::Drip(octets) => {
                for octet in octets.iter().cycle().take(DRIPS_MAX) {
                    self.write(&[*octet])?;
                    thread::sleep(DRIP_TIME);
                }
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Reaction::Stall => {
                self.line.read_to_end(&mut Vec::new())?;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }

    /// In the middle of a body, of which no more is understood.
    fn break_off(&mut self, reaction: Reaction) -> io::Result<()> {
        if reaction == Reaction::Stall {
            // What is not read fills the buffers in between, until the client cannot write.
            let start = Instant::now();
            while !self.shared.is_over.load(Ordering::Relaxed) && start.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(50));
            }
            return Ok(());
        }
        self.misbehave(reaction, "")?;
        self.line.read_to_end(&mut Vec::new()).map(drop)
    }

    fn planned(&self, at: At) -> Option<Reaction> {
        let mut plan = lock(&self.shared.plan);
        let (_, reaction, times) = plan.iter_mut().find(|(place, _, times)| *place == at && *times > 0)?;
        *times -= 1;
        Some(*reaction)
    }

    fn command(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        if self.line.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        lock(&self.shared.said).push(line.clone());
        Ok(Some(line))
    }

    fn say(&mut self, reply: &str) -> io::Result<()> {
        self.write(format!("{reply}\r\n").as_bytes())
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let line = self.line.get_mut();
        line.write_all(octets)?;
        line.flush()
    }
}

/// How much of a body is read before its middle.
const MIDDLE_OCTETS: usize = 64 * 1024;
/// In one write of a flood.
const FLOOD_OCTETS: usize = 16 * 1024;
/// 64 MiB: a client that goes on reading so long does not defend itself.
const FLOODS_MAX: usize = 4 * 1024;
/// Between two octets of a drip: below every deadline for a single read.
const DRIP_TIME: Duration = Duration::from_millis(100);
/// A minute of them.
const DRIPS_MAX: usize = 600;
