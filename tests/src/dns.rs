//! A name server on loopback that knows what a test wants (RFC 1035, as much of it as that takes).

mod signed;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::signed::Signer;

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
    names: Mutex<HashMap<String, Vec<Record>>>,
    queries: AtomicUsize,
    is_silent: AtomicBool,
    is_over: AtomicBool,
    /// With DNSSEC, where it has it.
    signer: Option<Signer>,
}

/// What a name server may say of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A mail exchanger: its preference, and its name, which is empty for a null MX.
    Mx(u16, &'static str),
    /// Text, at most 255 octets.
    Txt(String),
    /// Another name for this one.
    Cname(&'static str),
    /// What certificates a server has: usage, selector, matching, and what is matched. With DNSSEC alone.
    Tlsa(u8, u8, u8, Vec<u8>),
    /// Not an answer, but a failure of the server (SERVFAIL), whatever is asked of the name.
    Failure,
    /// Not an answer: the signatures of the others are wrong.
    Forged,
    /// Not an answer: the name is denied, by the word of a zone without signatures that it is not in.
    Denied,
    /// Not an answer: a service record of a zone without signatures, which the name is not in, leads to a name there.
    Diverted,
}

// === impl NameServer ===

impl NameServer {
    /// Starts one that knows these names (without a final dot); all others do not exist.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start(names: &[(&str, &[[u8; 4]])]) -> Self {
        let record = |address: &[u8; 4]| Record::A(Ipv4Addr::from(*address));
        let zone = names.iter().map(|(name, addresses)| (*name, addresses.iter().map(record).collect()));
        Self::start_with(zone)
    }

    /// Starts one that knows these records.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start_with<'a>(zone: impl IntoIterator<Item = (&'a str, Vec<Record>)>) -> Self {
        Self::serve(zone, None)
    }

    /// Starts one for a root of its own, which it signs as it goes; below these names, the zones have no signatures.
    ///
    /// # Panics
    /// When no port is free, or no key can be made.
    #[must_use]
    pub fn start_signed<'a>(
        zone: impl IntoIterator<Item = (&'a str, Vec<Record>)>,
        unsigned: &[&'static str],
    ) -> Self {
        Self::serve(zone, Some(Signer::new(unsigned)))
    }

    /// The root's key, as a line of a zone file.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn trust_anchor(&self) -> String {
        self.shared.signer.as_ref().expect("a signed root").trust_anchor()
    }

    fn serve<'a>(zone: impl IntoIterator<Item = (&'a str, Vec<Record>)>, signer: Option<Signer>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out can be set");
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { signer, ..Shared::default() });
        let known = zone.into_iter().map(|(name, records)| (name.to_owned(), records));
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

    /// Says this of a name from now on.
    ///
    /// # Panics
    /// When the server's thread has panicked.
    pub fn set(&self, name: &str, records: &[Record]) {
        self.shared.names.lock().expect("no thread has panicked").insert(name.to_owned(), records.to_vec());
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
        let query = &query[..octets];
        let answer = match &shared.signer {
            Some(signer) => signer.answer(query, &names),
            None => answer(query, &names),
        };
        if let Some(answer) = answer {
            socket.send_to(&answer, from).ok();
        }
    }
}

/// Section 4.1: header, question, and the answers, whose names point to the question's.
fn answer(query: &[u8], names: &HashMap<String, Vec<Record>>) -> Option<Vec<u8>> {
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
    let wanted = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    let found = names.get(&name.join("."));
    let records = || found.into_iter().flatten();
    let answers: Vec<_> = records().filter_map(|record| record.encode(wanted)).collect();
    let code = match found {
        Some(records) if records.contains(&Record::Failure) => SERVFAIL,
        Some(_) => 0,
        None => NXDOMAIN,
    };
    let mut answer = query.get(..2)?.to_vec();
    // A response to a standard query, recursion wanted and available.
    answer.extend([0x81, 0x80 | code]);
    for section in [1, u16::try_from(answers.len()).ok()?, 0, 0] {
        answer.extend(section.to_be_bytes());
    }
    answer.extend(question);
    for data in answers {
        // The question's name, the type, class IN, no time to live: each test may change its mind.
        answer.extend([0xc0, 0x0c]);
        answer.extend(wanted.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0]);
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

// === impl Record ===

impl Record {
    /// Its data, where it is of the type that is wanted.
    fn encode(&self, wanted: u16) -> Option<Vec<u8>> {
        match self {
            Self::A(address) if wanted == 1 => Some(address.octets().to_vec()),
            Self::Aaaa(address) if wanted == 28 => Some(address.octets().to_vec()),
            Self::Mx(preference, name) if wanted == 15 => {
                let mut data = preference.to_be_bytes().to_vec();
                for label in name.split('.').filter(|label| !label.is_empty()) {
                    data.push(u8::try_from(label.len()).ok()?);
                    data.extend(label.as_bytes());
                }
                data.push(0);
                Some(data)
            }
            Self::Txt(text) if wanted == 16 => {
                let mut data = vec![u8::try_from(text.len()).ok()?];
                data.extend(text.as_bytes());
                Some(data)
            }
            _ => None,
        }
    }
}

const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const HEADER_OCTETS: usize = 12;
