//! A stand-in for an Exchange server of the years when its verbs between servers were open to everybody (MS03-046, MS05-021):
//! what must never face the internet, and what Gatepost is put in front of.
//!
//! It speaks the EHLO of Exchange 2000 and 2003, X-EXPS, XEXCH50 with its blob and X-LINK2STATE, and keeps everything that
//! arrives in its order. Told to be vulnerable, it takes these verbs from anybody, and breaks down where the real one did.

mod session;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use rustls::ServerConfig;

use self::session::Session;
use crate::{trust, wait_until};

/// The server; takes no connection any more when dropped.
#[derive(Debug)]
pub struct Exchange {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// Something that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A command, or the client's line within a login, without its line ending.
    Line(String),
    /// The octets behind XEXCH50.
    Blob(Vec<u8>),
    /// A mail, dots unstuffed.
    Mail(Vec<u8>),
}

/// How it treats the blobs of those who may send one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Blobs {
    /// Takes them.
    #[default]
    Taken,
    /// Refuses instead of 354.
    RefusedAtOnce,
    /// Says 550 in the middle, and reads to the end.
    RefusedMidway,
    /// Says 550 behind them.
    RefusedAtTheEnd,
    /// Closes the connection in the middle.
    Dropped,
}

#[derive(Debug, Default)]
struct Shared {
    is_vulnerable: bool,
    blobs: Blobs,
    tls: Option<Arc<ServerConfig>>,
    /// Keywords that EHLO lacks.
    without: Mutex<Vec<&'static str>>,
    /// And those that it has besides.
    more: Mutex<Vec<&'static str>>,
    heard: Mutex<Vec<Heard>>,
    connections: AtomicUsize,
    /// Memory that declared sizes have made it set aside.
    allocated: AtomicUsize,
    has_crashed: AtomicBool,
    /// Of this moment; a crash ends them all.
    sockets: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

// === impl Exchange ===

impl Exchange {
    /// One that asks servers to log in, on a free port of 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(Shared::default())
    }

    /// One that believes everybody.
    #[must_use]
    pub fn start_vulnerable() -> Self {
        Self::start_as(Shared { is_vulnerable: true, ..Shared::default() })
    }

    /// One that does this with blobs.
    #[must_use]
    pub fn start_with(blobs: Blobs) -> Self {
        Self::start_as(Shared { blobs, ..Shared::default() })
    }

    /// One with STARTTLS, under this certificate.
    ///
    /// # Panics
    /// When the files hold no certificate and key.
    #[must_use]
    pub fn start_tls(certificate: &Path, key: &Path) -> Self {
        Self::start_as(Shared { tls: Some(trust::server(certificate, key)), ..Shared::default() })
    }

    fn start_as(shared: Shared) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(shared);
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.is_over.load(Ordering::Relaxed) {
                    return;
                }
                if theirs.has_crashed.load(Ordering::Relaxed) {
                    continue;
                }
                lock(&theirs.sockets).extend(stream.try_clone());
                let shared = Arc::clone(&theirs);
                thread::spawn(move || Session::run(stream, shared));
            }
        });
        Self { address, shared }
    }

    /// No longer lists this keyword, such as `XEXCH50`.
    #[must_use]
    pub fn without(self, keyword: &'static str) -> Self {
        lock(&self.shared.without).push(keyword);
        self
    }

    /// Lists this keyword as well, such as `XOORG`.
    #[must_use]
    pub fn offering(self, keyword: &'static str) -> Self {
        lock(&self.shared.more).push(keyword);
        self
    }

    /// Everything that has arrived so far, in its order.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.shared.heard).clone()
    }

    /// The commands that have arrived so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |heard| if let Heard::Line(line) = heard { Some(line) } else { None };
        self.heard().into_iter().filter_map(line).collect()
    }

    /// The blobs that have arrived so far.
    #[must_use]
    pub fn blobs(&self) -> Vec<Vec<u8>> {
        let blob = |heard| if let Heard::Blob(blob) = heard { Some(blob) } else { None };
        self.heard().into_iter().filter_map(blob).collect()
    }

    /// The mails that have arrived, once there are `count` of them.
    ///
    /// # Panics
    /// When that takes too long, or there are more.
    #[must_use]
    pub fn mails(&self, count: usize) -> Vec<Vec<u8>> {
        let mail = |heard| if let Heard::Mail(mail) = heard { Some(mail) } else { None };
        let mails = || self.heard().into_iter().filter_map(mail).collect::<Vec<_>>();
        wait_until("the mails arrive at Exchange", || mails().len() >= count);
        assert_eq!(mails().len(), count, "mails at Exchange");
        mails()
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Octets of memory that declared sizes have made it set aside.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.shared.allocated.load(Ordering::Relaxed)
    }

    /// Whether it has broken down: all connections ended, and it serves nobody any more.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.shared.has_crashed.load(Ordering::Relaxed)
    }

    /// Whether one of the verbs between servers has arrived.
    #[must_use]
    pub fn has_heard_servers(&self) -> bool {
        let between_servers = ["XEXCH50", "X-LINK2STATE", "X-EXPS"];
        let is_one = |line: &String| {
            let line = line.to_ascii_uppercase();
            between_servers.iter().any(|verb| line.contains(verb))
        };
        self.lines().iter().any(is_one) || !self.blobs().is_empty()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        TcpStream::connect(self.address).ok();
    }
}

// === impl Shared ===

impl Shared {
    fn crash(&self) {
        self.has_crashed.store(true, Ordering::Relaxed);
        for socket in lock(&self.sockets).drain(..) {
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread has panicked")
}
