//! What enters the queue besides the body.

use std::net::SocketAddr;

use gatepost_smtp::server::{Envelope, TlsFacts};

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
}
