//! A scanner behind ICAP (RFC 3507), asked by RESPMOD as if the item were a web page on its way to somebody. Its signature
//! version is its `ISTag`, which comes with every response (section 4.7).

mod response;
mod session;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use self::session::IcapSession;
use super::health::CallError;
use super::outside::{Outside, OutsideSettings, Protocol};
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
    connections_max: AtomicUsize,
    connections: AtomicUsize,
}

/// The place of one connection.
#[derive(Debug)]
struct Place(Arc<Service>);

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
    let connections_max = AtomicUsize::new(usize::MAX);
    let service = Arc::new(Service { uri, host, connections_max, connections: AtomicUsize::new(0) });
    Ok(Outside::start(Icap { address, service }, outside, events, metrics)?)
}

// === impl Icap ===

impl Protocol for Icap {
    type Session = IcapSession;

    fn open(&self, due: Instant) -> Result<(IcapSession, String), CallError> {
        let place = Place::take(&self.service).ok_or(CallError::Busy)?;
        IcapSession::open(&self.address, place, due)
    }
}

// === impl Place ===

impl Place {
    fn take(service: &Arc<Service>) -> Option<Self> {
        let most = service.connections_max.load(Ordering::Relaxed).max(1);
        let one_more = |count: usize| count.checked_add(1).filter(|count| *count <= most);
        let taken = service.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Self(Arc::clone(service)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
