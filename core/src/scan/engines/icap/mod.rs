//! A scanner behind ICAP (RFC 3507), asked by RESPMOD as if the item were a web page on its way to somebody. Its signature
//! version is its `ISTag`, which comes with every response (section 4.7).

mod response;
mod session;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use self::session::IcapSession;
use super::health::CallError;
use super::outside::{Outside, OutsideSettings, Protocol};
use super::places::Places;
use super::socket::Address;
use crate::events::Log;
use crate::scan::Engine;
use crate::scan::metrics::EngineMetrics;

/// How to ask an ICAP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What it has in common with other engines.
    pub outside: OutsideSettings,
    /// Where it listens.
    pub address: Address,
    /// The path of its service, without a slash in front: graphic ASCII.
    pub service: String,
}

#[derive(Debug)]
struct Icap {
    address: Address,
    service: Arc<Service>,
}

/// What stands in requests, and how many connections there are.
#[derive(Debug)]
struct Service {
    uri: String,
    host: String,
    /// As many as the server wants at most (`Max-Connections`), once it has said so.
    connections: Arc<Places>,
}

/// Looks for the server, and goes on looking where it is not there. Blocks for some seconds at most.
///
/// # Errors
/// The system refuses a thread.
pub fn start(settings: &Settings, events: Log, metrics: EngineMetrics) -> io::Result<Arc<dyn Engine>> {
    let Settings { outside, address, service } = settings.clone();
    let host = match &address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let uri = format!("icap://{host}/{service}");
    let service = Arc::new(Service { uri, host, connections: Places::new(usize::MAX) });
    Ok(Outside::start(Icap { address, service }, outside, events, metrics)?)
}

// === impl Icap ===

impl Protocol for Icap {
    type Session = IcapSession;

    fn open(&self, due: Instant) -> Result<(IcapSession, String), CallError> {
        let place = self.service.connections.take().ok_or(CallError::Busy)?;
        IcapSession::open(&self.address, Arc::clone(&self.service), place, due)
    }
}

#[cfg(test)]
mod tests;
