//! A program that is run once for each item. This process cannot run any, so helper processes do, which it reaches over
//! sockets alone:
//!
//! ```text
//! this process --helper (socket pair)--> parent        starts a process for each end of a socket that it is sent
//!              ------ session (socket) ----> process   item -> program -> answer, and both are gone
//! ```
//! The other side of these sockets is the edge's: it decides what the helper processes can do. `wire` is what both sides say.

mod session;
pub mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

pub use self::session::Helper;
use self::session::{CommandSession, Shared};
use super::health::{CallError, Health};
use super::outside::{Outside, OutsideSettings, Protocol};
use crate::events::Log;
use crate::scan::Engine;
use crate::scan::metrics::EngineMetrics;

/// How to have the program run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What it has in common with other engines.
    pub outside: OutsideSettings,
    /// Who runs it.
    pub helper: Helper,
    /// Items at a time.
    pub processes: usize,
    /// The largest item that it is given, in octets; what is larger counts as beyond its limits.
    pub item_octets_max: u64,
    /// The largest mail that may come: a lower limit for items is warned about.
    pub message_octets: u64,
}

#[derive(Debug)]
struct Command {
    shared: Arc<Shared>,
    message_octets: u64,
}

/// Asks the helper for the version, and goes on asking where it has none. Blocks for some seconds at most.
///
/// # Errors
/// The system refuses a thread.
pub fn start(settings: &Settings, events: Log, metrics: EngineMetrics) -> io::Result<Arc<dyn Engine>> {
    let Settings { outside, helper, processes, item_octets_max, message_octets } = settings.clone();
    let shared = Shared::new(helper, processes, item_octets_max);
    Ok(Outside::start(Command { shared, message_octets }, outside, events, metrics)?)
}

// === impl Command ===

impl Protocol for Command {
    type Session = CommandSession;

    fn open(&self, due: Instant) -> Result<(CommandSession, String), CallError> {
        CommandSession::open(&self.shared, due)
    }

    fn check(&self, health: &Health) {
        let (most, message) = (self.shared.item_octets_max(), self.message_octets);
        if most < message {
            health.misconfigured(format!(
                "it is given no item of more than {most} octets, and a mail may have {message}: raise `item_max`, or larger \
                 mails cannot be scanned"
            ));
        }
    }
}

// === impl Helper ===

impl From<OwnedFd> for Helper {
    /// This process's end of the pair; a packet socket.
    fn from(socket: OwnedFd) -> Self {
        Self::new(socket)
    }
}

#[cfg(test)]
mod tests;
