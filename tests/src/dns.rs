//! A name server on loopback that knows a few addresses (RFC 1035, as much of it as block lists need).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The server; stops when dropped.
#[derive(Debug)]
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    names: Mutex<HashMap<String, Vec<Ipv4Addr>>>,
    queries: AtomicUsize,
    is_silent: AtomicBool,
    is_over: AtomicBool,
}

// === impl NameServer ===

impl NameServer {
    /// Starts one that knows these names (without a final dot); all others do not exist.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start(names: &[(&str, &[[u8; 4]])]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out can be set");
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let known = names.iter().map(|(name, answers)| {
            ((*name).to_owned(), answers.iter().copied().map(Ipv4Addr::from).collect())
        });
        shared.names.lock().expect("no thread has panicked").extend(known);
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || serve(&socket, &theirs));
        Self { address, shared, thread: Some(thread) }
    }

    /// How many queries have come.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.shared.queries.load(Ordering::Relaxed)
    }

    /// Takes queries, but answers none from now on.
    pub fn fall_silent(&self) {
        self.shared.is_silent.store(true, Ordering::Relaxed);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut query = [0; 1500];
    while !shared.is_over.load(Ordering::Relaxed) {
        let Ok((octets, from)) = socket.recv_from(&mut query) else { continue };
        shared.queries.fetch_add(1, Ordering::Relaxed);
        if shared.is_silent.load(Ordering::Relaxed) {
            continue;
        }
        let names = shared.names.lock().expect("no thread has panicked");
        if let Some(answer) = answer(&query[..octets], &names) {
            socket.send_to(&answer, from).ok();
        }
    }
}

/// Section 4.1: header, question, and the answers, whose names point to the question's.
fn answer(query: &[u8], names: &HashMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut at = HEADER_OCTETS;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let question = query.get(HEADER_OCTETS..at + 4)?;
    let found = names.get(&name.join("."));
    let count = u16::try_from(found.map_or(0, Vec::len)).ok()?;
    let mut answer = query.get(..2)?.to_vec();
    // A response to a standard query, recursion wanted and available; NXDOMAIN where there is no such name.
    answer.extend([0x81, if found.is_some() { 0x80 } else { 0x83 }]);
    for section in [1, count, 0, 0] {
        answer.extend(section.to_be_bytes());
    }
    answer.extend(question);
    for address in found.into_iter().flatten() {
        // The name, type A, class IN, 300 seconds, four octets.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

const HEADER_OCTETS: usize = 12;
