//! What enters the queue besides the body.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use gatepost_smtp::server::{Envelope, TlsFacts};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

/// Where a mail came from: for `Received:`, the trace and the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The session's id, `[0-9A-Z]{1,16}`.
    pub session: String,
    /// The listener's name in the configuration.
    pub listener: String,
    /// The peer.
    pub peer: SocketAddr,
    /// What it called itself; grammar-checked by the protocol crate.
    pub helo: String,
    /// Whether it said EHLO.
    pub esmtp: bool,
    /// Its TLS connection.
    pub tls: Option<TlsFacts>,
    /// The account it authenticated as.
    pub user: Option<String>,
    /// When the body began, milliseconds since 1970-01-01T00:00Z.
    pub received_at_ms: u64,
}

/// An accepted transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// From and to whom.
    pub envelope: Envelope,
    /// From where.
    pub origin: Origin,
    /// Who is a recipient because an address of ours led to him.
    pub forwards: Forwards,
}

/// Which recipients stand for an address of ours that the mail was sent to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwards {
    /// By index into the recipients.
    addresses: BTreeMap<usize, ForwardPath>,
    sender: Option<ReversePath>,
}

// === impl Origin ===

impl Origin {
    /// Of a mail that this server has written itself, or taken from a file: nobody has sent it here, so this machine stands for
    /// the peer. `part` of the server stands for the listener.
    #[must_use]
    pub fn here(session: String, part: &str, hostname: &str, received_at_ms: u64) -> Self {
        Self {
            session,
            listener: part.to_owned(),
            peer: HERE,
            helo: hostname.to_owned(),
            esmtp: true,
            tls: None,
            user: None,
            received_at_ms,
        }
    }

    /// Whether nobody has sent the mail here.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.peer == HERE
    }
}

// === impl Submission ===

impl Submission {
    /// Of a mail that goes to whom its sender has named.
    #[must_use]
    pub const fn new(envelope: Envelope, origin: Origin) -> Self {
        Self { envelope, origin, forwards: Forwards { addresses: BTreeMap::new(), sender: None } }
    }
}

// === impl Forwards ===

impl Forwards {
    /// Whether nobody stands for another.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Which address the recipient with this index stands for.
    #[must_use]
    pub fn of(&self, recipient: usize) -> Option<&ForwardPath> {
        self.addresses.get(&recipient)
    }

    /// Whether mail for this address went on from here.
    #[must_use]
    pub fn has(&self, address: &ForwardPath) -> bool {
        self.addresses.values().any(|known| known == address)
    }

    /// The indices, in their order, and the addresses.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &ForwardPath)> {
        self.addresses.iter().map(|(recipient, address)| (*recipient, address))
    }

    /// As whose mail they get it; `None`: the sender's.
    #[must_use]
    pub const fn sender(&self) -> Option<&ReversePath> {
        self.sender.as_ref()
    }

    /// Has them get it as the mail of somebody else.
    pub fn set_sender(&mut self, sender: Option<ReversePath>) {
        self.sender = sender;
    }

    /// Has the recipient with this index stand for an address.
    pub fn insert(&mut self, recipient: usize, address: ForwardPath) {
        self.addresses.insert(recipient, address);
    }
}

/// No connection comes from port 0.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
