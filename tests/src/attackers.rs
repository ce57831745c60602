//! Thousands of connections that want to hold a server's places, memory and processor, from one thread.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::server::Ports;

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Connects and says nothing.
    Stall,
    /// Sends a command at an octet a second.
    Dribble,
    /// Declares a chunk of many megabytes and sends it at an octet a second.
    HugeChunk,
    /// The same, after as much of it as the server may keep in memory.
    HeldBody,
    /// Declares a blob of a gigabyte, of a verb that it has no right to, and sends it all the same.
    HugeBlob,
    /// Sends an AUTH response without end.
    HugeAuth,
    /// Begins a TLS handshake and goes no further.
    Handshake,
    /// Connects where TLS is expected and says nothing.
    NoHandshake,
}

/// Attackers, and how they fared.
#[derive(Debug)]
pub struct Attackers {
    all: Vec<Attacker>,
    openings: Vec<(Attack, u16, Vec<u8>)>,
    /// Connections that were begun.
    pub connections: u64,
    /// Connections that the server has closed.
    pub closed: u64,
}

#[derive(Debug)]
struct Attacker {
    opening: usize,
    source: Ipv4Addr,
    stream: Option<TcpStream>,
    /// How much of its opening was sent; beyond it comes one octet a second.
    sent: usize,
    next_at: Instant,
}

// === impl Attackers ===

impl Attackers {
    /// So many, one address in each of so many /24s of 127.0.0.0/8, which must be less than 250.
    ///
    /// # Panics
    /// Where TLS cannot begin.
    #[must_use]
    pub fn new(count: usize, networks: u8, ports: &Ports, trust: &Arc<ClientConfig>) -> Self {
        let openings = openings(ports, trust);
        let now = Instant::now();
        let all = (0..count)
            .map(|number| Attacker {
                opening: number % openings.len(),
                source: Ipv4Addr::new(
                    127,
                    1 + u8::try_from(number / openings.len() % usize::from(networks)).expect("below 250"),
                    0,
                    1,
                ),
                stream: None,
                sent: 0,
                // Not all in the same moment: the kernel's backlog would drop who comes last, and the server has no more
                // than 200 handshakes of strangers a second.
                next_at: now + Duration::from_micros(1400) * u32::try_from(number).expect("few"),
            })
            .collect();
        Self { all, openings, connections: 0, closed: 0 }
    }

    /// How many are connected now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.all.iter().filter(|attacker| attacker.stream.is_some()).count()
    }

    /// Lets each attacker do what it is due to do.
    pub fn step(&mut self) {
        let now = Instant::now();
        for attacker in &mut self.all {
            let (_, port, opening) = &self.openings[attacker.opening];
            if attacker.next_at > now {
                continue;
            }
            match attacker.stream.take() {
                None => {
                    attacker.stream = begin(attacker.source, *port).ok();
                    attacker.sent = 0;
                    attacker.next_at = now + Duration::from_millis(100);
                    self.connections += 1;
                }
                Some(stream) if attacker.go_on(&stream, opening) => {
                    attacker.stream = Some(stream);
                    attacker.next_at = now + Duration::from_secs(1);
                }
                Some(_) => {
                    self.closed += 1;
                    attacker.next_at = now + RETRY;
                }
            }
        }
    }
}

// === impl Attacker ===

impl Attacker {
    /// Whether the connection still stands.
    fn go_on(&mut self, mut stream: &TcpStream, opening: &[u8]) -> bool {
        let mut replies = [0; 4096];
        match stream.read(&mut replies) {
            Ok(0) => return false,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => {}
        }
        let rest = opening.get(self.sent..).filter(|rest| !rest.is_empty()).unwrap_or(b"x");
        // Who says nothing at all has no opening.
        if opening.is_empty() {
            return true;
        }
        match stream.write(rest) {
            Ok(written) => {
                self.sent = self.sent.saturating_add(written);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn openings(ports: &Ports, trust: &Arc<ClientConfig>) -> Vec<(Attack, u16, Vec<u8>)> {
    let chunk = b"EHLO a.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<me@localhost>\r\nBDAT 50000000\r\n";
    let held = [chunk.as_slice(), &b"x\r\n".repeat(80_000)].concat();
    let blob = [b"EHLO a.example\r\nXEXCH50 1073741824 2\r\n".as_slice(), &b"x".repeat(100)].concat();
    let auth = [b"EHLO a.example\r\nAUTH PLAIN ".as_slice(), &b"A".repeat(12_000)].concat();
    let name = ServerName::try_from("localhost").expect("a legal name");
    let mut hello = Vec::new();
    let mut tls = ClientConnection::new(Arc::clone(trust), name).expect("TLS can begin");
    tls.write_tls(&mut hello).expect("a vector takes everything");
    vec![
        (Attack::Stall, ports.starttls, Vec::new()),
        (Attack::Dribble, ports.starttls, b"EHLO ".to_vec()),
        (Attack::HugeChunk, ports.open, chunk.to_vec()),
        (Attack::HeldBody, ports.open, held),
        (Attack::HugeBlob, ports.open, blob),
        (Attack::HugeAuth, ports.starttls, auth),
        (Attack::Handshake, ports.implicit, hello),
        (Attack::NoHandshake, ports.implicit, Vec::new()),
    ]
}

/// A connection that is on its way.
fn begin(source: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(source, 0))?;
    match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error.into()),
    }
}

/// After the server has closed: two thousand new connections a second from ten thousand attackers.
const RETRY: Duration = Duration::from_secs(5);
