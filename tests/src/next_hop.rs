//! A mail server on loopback that takes mail, and misbehaves where a test wants it to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::trust;

/// The server; takes no connection any more when dropped.
#[derive(Debug)]
pub struct NextHop {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// A mail that it has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Behind `MAIL FROM:`, parameters included.
    pub sender: String,
    /// Behind each accepted `RCPT TO:`, parameters included.
    pub recipients: Vec<String>,
    /// Its octets, dots unstuffed.
    pub octets: Vec<u8>,
    /// Whether it came inside TLS.
    pub in_tls: bool,
    /// Which connection it came over, from 1.
    pub connection: usize,
}

/// Where in a session a reaction comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Instead of the greeting.
    Greeting,
    /// To EHLO and LHLO.
    Hello,
    /// To STARTTLS.
    StartTls,
    /// To MAIL.
    Mail,
    /// To RCPT.
    Rcpt,
    /// To DATA.
    Data,
    /// Behind the final dot.
    Dot,
}

/// What it does instead of what is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// Says this, without its CRLF.
    Say(&'static str),
    /// Closes the connection. Behind the final dot the mail is taken all the same.
    Drop,
    /// Says nothing until it is dropped, or the client gives up.
    Stall,
}

#[derive(Debug, Default)]
struct Shared {
    /// Where, what, and how often still.
    plan: Mutex<Vec<(At, Reaction, usize)>>,
    taken: Mutex<Vec<Taken>>,
    connections: Mutex<usize>,
    /// Octets of commands, for tests of what was said.
    said: Mutex<Vec<String>>,
    changed: Condvar,
    is_over: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
    /// LMTP: a reply behind the body for each recipient.
    is_lmtp: bool,
}

/// Plaintext, or TLS over it.
enum Line {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

struct Session {
    line: BufReader<Line>,
    shared: Arc<Shared>,
    connection: usize,
    in_tls: bool,
}

// === impl NextHop ===

impl NextHop {
    /// One on a free port of 127.0.0.1, without TLS.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(([127, 0, 0, 1], 0).into(), Shared::default())
    }

    /// One at this address, without TLS.
    #[must_use]
    pub fn start_at(address: IpAddr, port: u16) -> Self {
        Self::start_as((address, port).into(), Shared::default())
    }

    /// One that speaks LMTP.
    #[must_use]
    pub fn start_lmtp() -> Self {
        Self::start_as(([127, 0, 0, 1], 0).into(), Shared { is_lmtp: true, ..Shared::default() })
    }

    /// One with STARTTLS, under this certificate.
    ///
    /// # Panics
    /// When the files hold no certificate and key.
    #[must_use]
    pub fn start_tls(certificate: &Path, key: &Path) -> Self {
        let shared = Shared { tls: Some(trust::server(certificate, key)), ..Shared::default() };
        Self::start_as(([127, 0, 0, 1], 0).into(), shared)
    }

    fn start_as(address: SocketAddr, shared: Shared) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(shared);
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                thread::spawn(move || Session::run(stream, shared));
            }
        });
        Self { address, shared }
    }

    /// Does this from now on, every time.
    #[must_use]
    pub fn always(self, at: At, reaction: Reaction) -> Self {
        self.times(usize::MAX, at, reaction)
    }

    /// Does this the next `times` times, then what is right.
    #[must_use]
    pub fn times(self, times: usize, at: At, reaction: Reaction) -> Self {
        lock(&self.shared.plan).push((at, reaction, times));
        self
    }

    /// Does what is right from now on.
    pub fn mend(&self) {
        lock(&self.shared.plan).clear();
    }

    /// The mails that it has taken, once there are `count` of them.
    ///
    /// # Panics
    /// When that takes too long, or there are more.
    #[must_use]
    pub fn taken(&self, count: usize) -> Vec<Taken> {
        let taken = lock(&self.shared.taken);
        let (taken, _) = self
            .shared
            .changed
            .wait_timeout_while(taken, PATIENCE, |taken| taken.len() < count)
            .expect("no thread has panicked");
        assert_eq!(taken.len(), count, "mails taken: {taken:?}");
        taken.clone()
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        *lock(&self.shared.connections)
    }

    /// All lines that were said to it, but those of mails.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        lock(&self.shared.said).clone()
    }
}

impl Drop for NextHop {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        TcpStream::connect(self.address).ok();
    }
}

// === impl Session ===

impl Session {
    fn run(stream: TcpStream, shared: Arc<Shared>) {
        let connection = {
            let mut connections = lock(&shared.connections);
            *connections += 1;
            *connections
        };
        let mut session =
            Self { line: BufReader::new(Line::Plain(stream)), shared, connection, in_tls: false };
        // A connection that ends is no failure of the test's server.
        session.serve().ok();
    }

    fn serve(&mut self) -> io::Result<()> {
        self.react(At::Greeting, "220 hop.example ESMTP")?;
        let (mut sender, mut recipients) = (None, Vec::new());
        while let Some(command) = self.command()? {
            let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "LHLO" => {
                    let tls = if self.shared.tls.is_some() && !self.in_tls { "250-STARTTLS\r\n" } else { "" };
                    let auth = if self.in_tls { "250-AUTH PLAIN\r\n" } else { "" };
                    let offer =
                        format!("250-hop.example\r\n{tls}{auth}250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE");
                    self.react(At::Hello, &offer)?;
                }
                "HELO" => self.say("250 hop.example")?,
                "AUTH" => self.say("235 2.7.0 welcome")?,
                "STARTTLS" => self.starttls()?,
                "MAIL" => {
                    if self.react(At::Mail, "250 2.1.0 sender ok")? {
                        sender = command.split_once(':').map(|(_, path)| path.to_owned());
                    }
                }
                "RCPT" if sender.is_none() => self.say("503 5.5.1 no sender")?,
                "RCPT" => {
                    if self.react(At::Rcpt, "250 2.1.5 recipient ok")? {
                        recipients.push(command.split_once(':').map_or("", |(_, path)| path).to_owned());
                    }
                }
                "DATA" if recipients.is_empty() => self.say("554 5.5.1 no recipients")?,
                "DATA" => {
                    if self.react(At::Data, "354 go on")? {
                        self.take(sender.take().unwrap_or_default(), std::mem::take(&mut recipients))?;
                    }
                }
                "RSET" => {
                    (sender, recipients) = (None, Vec::new());
                    self.say("250 2.0.0 ok")?;
                }
                "QUIT" => return self.say("221 2.0.0 bye"),
                _ => self.say("500 5.5.1 what?")?,
            }
        }
        Ok(())
    }

    fn take(&mut self, sender: String, recipients: Vec<String>) -> io::Result<()> {
        let mut octets = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.line.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line == b".\r\n" {
                break;
            }
            octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let replies = if self.shared.is_lmtp { recipients.len() } else { 1 };
        let taken = Taken { sender, recipients, octets, in_tls: self.in_tls, connection: self.connection };
        match self.planned(At::Dot) {
            Some(Reaction::Say(reply)) => return self.say(reply),
            reaction => {
                lock(&self.shared.taken).push(taken);
                self.shared.changed.notify_all();
                if let Some(reaction) = reaction {
                    return self.misbehave(&reaction);
                }
            }
        }
        (0..replies).try_for_each(|_| self.say("250 2.0.0 taken"))
    }

    fn starttls(&mut self) -> io::Result<()> {
        let Some(config) = self.shared.tls.clone() else { return self.say("502 5.5.1 no TLS") };
        if !self.react(At::StartTls, "220 2.0.0 go on")? {
            return Ok(());
        }
        let Line::Plain(stream) = self.line.get_ref() else { return self.say("503 5.5.1 in TLS") };
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        let tls = StreamOwned::new(session, stream.try_clone()?);
        self.line = BufReader::new(Line::Tls(Box::new(tls)));
        self.in_tls = true;
        Ok(())
    }

    /// Says what is right, unless something else is planned. Answers whether it did right.
    fn react(&mut self, at: At, right: &str) -> io::Result<bool> {
        match self.planned(at) {
            None => self.say(right).map(|()| true),
            Some(reaction) => self.misbehave(&reaction).map(|()| false),
        }
    }

    fn misbehave(&mut self, reaction: &Reaction) -> io::Result<()> {
        match reaction {
            Reaction::Say(reply) => self.say(reply),
            Reaction::Drop => Err(io::ErrorKind::ConnectionAborted.into()),
            Reaction::Stall => {
                self.line.read_to_end(&mut Vec::new())?;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }

    fn planned(&self, at: At) -> Option<Reaction> {
        let mut plan = lock(&self.shared.plan);
        let (_, reaction, times) = plan.iter_mut().find(|(place, _, times)| *place == at && *times > 0)?;
        *times -= 1;
        Some(reaction.clone())
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
        let line = self.line.get_mut();
        line.write_all(format!("{reply}\r\n").as_bytes())?;
        line.flush()
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread has panicked")
}

/// A busy machine and a debug build.
const PATIENCE: Duration = Duration::from_secs(60);
