//! A mail server on loopback that takes mail, and misbehaves where a test wants it to.

mod session;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;

use self::session::Session;
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
    /// To EHLO and LHLO, in the clear.
    Hello,
    /// To STARTTLS.
    StartTls,
    /// Behind 220 to STARTTLS, instead of the handshake.
    Handshake,
    /// To EHLO and LHLO, inside TLS.
    SecuredHello,
    /// To AUTH.
    Auth,
    /// To MAIL.
    Mail,
    /// To RCPT.
    Rcpt,
    /// To DATA.
    Data,
    /// In the middle of a body behind DATA.
    Body,
    /// To a chunk that is not the last.
    Chunk,
    /// Behind the final dot, or the last chunk.
    Dot,
    /// To QUIT.
    Quit,
}

/// What it does instead of what is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Says this, without its CRLF. A body is not taken then.
    Say(&'static str),
    /// Writes these octets.
    Write(&'static [u8]),
    /// Writes these octets again and again until the client has gone.
    Flood(&'static [u8]),
    /// Writes these octets one by one, again and again, a tenth of a second between them.
    Drip(&'static [u8]),
    /// Does what is right, and says that twice, in one write.
    Twice,
    /// Does what is right, and says nothing.
    Skip,
    /// Closes the connection. Behind the final dot the mail is taken all the same.
    Drop,
    /// Says nothing until it is dropped, or the client gives up.
    Stall,
}

#[derive(Debug)]
struct Shared {
    /// Octets that a connection writes and reads before it breaks.
    reach: Mutex<(usize, usize)>,
    /// Where, what, and how often still.
    plan: Mutex<Vec<(At, Reaction, usize)>>,
    taken: Mutex<Vec<Taken>>,
    connections: Mutex<usize>,
    /// Commands, for tests of what was said.
    said: Mutex<Vec<String>>,
    changed: Condvar,
    is_over: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
    /// LMTP: a reply behind the body for each recipient.
    is_lmtp: bool,
    /// Offered besides what every server of this kind offers.
    offers: Mutex<Vec<&'static str>>,
    /// Not offered although every server of this kind does.
    lacks: Mutex<Vec<&'static str>>,
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

    /// Offers this extension as well, such as `CHUNKING`.
    #[must_use]
    pub fn offering(self, extension: &'static str) -> Self {
        lock(&self.shared.offers).push(extension);
        self
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

    /// Does this the next time.
    pub fn do_once(&self, at: At, reaction: Reaction) {
        lock(&self.shared.plan).push((at, reaction, 1));
    }

    /// No longer offers this extension, although every server of this kind has it.
    #[must_use]
    pub fn without(self, extension: &'static str) -> Self {
        lock(&self.shared.lacks).push(extension);
        self
    }

    /// Does what is right from now on.
    pub fn mend(&self) {
        lock(&self.shared.plan).clear();
    }

    /// Closes each connection to come where so many octets were written or read, in the middle of whatever that is.
    pub fn break_after(&self, written: usize, read: usize) {
        *lock(&self.shared.reach) = (written, read);
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

    /// The mails that it has taken so far.
    #[must_use]
    pub fn taken_so_far(&self) -> Vec<Taken> {
        lock(&self.shared.taken).clone()
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

// === impl Shared ===

impl Default for Shared {
    fn default() -> Self {
        Self {
            reach: Mutex::new((usize::MAX, usize::MAX)),
            plan: Mutex::default(),
            taken: Mutex::default(),
            connections: Mutex::default(),
            said: Mutex::default(),
            changed: Condvar::default(),
            is_over: AtomicBool::default(),
            tls: None,
            is_lmtp: false,
            offers: Mutex::default(),
            lacks: Mutex::default(),
        }
    }
}

// === impl Taken ===

impl Taken {
    /// What lies below the trace that we have put before it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn below_trace(&self) -> &[u8] {
        let end = self.octets.windows(7).position(|word| word == b"\r\nFrom:").expect("the header") + 2;
        let trace = String::from_utf8_lossy(&self.octets[..end]);
        assert!(trace.starts_with("Received: "), "{trace:?}");
        &self.octets[end..]
    }

    /// Whether this address is among its recipients.
    #[must_use]
    pub fn is_for(&self, address: &str) -> bool {
        let path = format!("<{address}>");
        self.recipients.iter().any(|recipient| recipient.split(' ').next() == Some(path.as_str()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread has panicked")
}

/// A busy machine and a debug build.
const PATIENCE: Duration = Duration::from_secs(60);
