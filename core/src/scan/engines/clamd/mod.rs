//! Clam AntiVirus, asked over its own protocol (clamd(8)). Its signature version is what its VERSION says: number and time
//! of the daily database.

mod protocol;
mod session;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::session::ClamdSession;
use super::health::{CallError, Health};
use super::outside::{LOOK_TIME, Outside, OutsideSettings, Protocol, soon};
use super::socket::Address;
use crate::events::Log;
use crate::scan::Engine;
use crate::scan::metrics::EngineMetrics;

/// How to ask clamd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What it has in common with other engines.
    pub outside: OutsideSettings,
    /// Where it listens.
    pub address: Address,
    /// The largest mail that may come: a clamd that takes less is warned about.
    pub message_octets: u64,
}

#[derive(Debug)]
struct Clamd {
    address: Address,
    message_octets: u64,
}

/// Looks for clamd, and goes on looking where it is not there. Blocks for some seconds at most.
///
/// # Errors
/// The system refuses a thread.
pub fn start(settings: &Settings, events: Log, metrics: EngineMetrics) -> io::Result<Arc<dyn Engine>> {
    Ok(start_outside(settings, events, metrics)?)
}

fn start_outside(
    settings: &Settings,
    events: Log,
    metrics: EngineMetrics,
) -> io::Result<Arc<Outside<Clamd>>> {
    let Settings { outside, address, message_octets } = settings.clone();
    Outside::start(Clamd { address, message_octets }, outside, events, metrics)
}

// === impl Clamd ===

impl Protocol for Clamd {
    type Session = ClamdSession;

    fn open(&self, due: Instant) -> Result<(ClamdSession, String), CallError> {
        ClamdSession::open(&self.address, due)
    }

    /// What clamd refuses for its size is an obstacle for each such mail: better known when the server starts.
    fn check(&self, health: &Health) {
        let Ok(octets) = u32::try_from(self.message_octets) else { return };
        let refused = ClamdSession::open(&self.address, soon(LOOK_TIME))
            .and_then(|(session, _)| session.refuses_size(octets, soon(REFUSAL_TIME)));
        if refused == Ok(true) {
            health.misconfigured(format!(
                "it takes no item of {octets} octets, which a mail may have: raise StreamMaxLength (and MaxScanSize, \
                 MaxFileSize), or larger mails cannot be scanned"
            ));
        }
    }
}

/// Clamd refuses a size at once; silence means that it takes it.
const REFUSAL_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
