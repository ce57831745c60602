//! The one door through which every reader gets a message: POP3, and `gatepost mailbox show|export`.

use bytes::Bytes;

/// Gives out messages that are clean under the scanner's current signatures, and no others.
#[derive(Debug, Clone)]
pub struct ScanGate {}

/// A message that may be shown.
#[derive(Debug, Clone)]
pub struct Released {
    /// Its uid.
    pub uid: u32,
    /// Head and body. Counted against the gate's memory budget until the last clone is dropped.
    pub octets: Bytes,
    /// When it was accepted, milliseconds since 1970.
    pub received_at_ms: u64,
}

/// Why a message is not shown.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// There is no such message (any more).
    Gone,
    /// It is infected: POP3 `-ERR [SYS/PERM]`.
    Infected {
        /// The threat's name, `[A-Za-z0-9._-]`, at most 128.
        threat: String,
    },
    /// It could not be scanned or read in time; later it may be: POP3 `-ERR [SYS/TEMP]`.
    Unavailable,
}

// === impl ScanGate ===

impl ScanGate {
    /// Hands out a message, scanning it first (high priority, bounded wait) unless its stamp is current.
    ///
    /// # Errors
    /// Why it is not shown now.
    pub async fn release(&self, _mailbox: &str, _uid: u32) -> Result<Released, Withheld> {
        todo!()
    }
}
