//! What the memory of peers is drawn from, what a session costs, and how large the process really is.

use std::sync::{Mutex, PoisonError};

use gatepost_core::memory::{Drawn, MemoryBudget};

use super::Standing;
use super::verdict::{Refused, Rule};

/// The account of what peers make the process hold.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// All of it.
    pub whole: MemoryBudget,
    /// The share of bodies.
    pub bodies: MemoryBudget,
}

/// What one session has drawn; given back when it is dropped.
#[derive(Debug)]
pub(super) struct SessionMemory {
    drawn: Mutex<Drawn>,
    is_stranger: bool,
}

// === impl Memory ===

impl Memory {
    /// For one more session of somebody of this standing. Trusted networks are bounded as well: no list makes memory.
    pub(super) fn enter(&self, standing: Standing) -> Result<SessionMemory, Refused> {
        let drawn = Mutex::new(self.whole.clone().draw());
        let session = SessionMemory { drawn, is_stranger: standing == Standing::Stranger };
        self.hold(&session, SESSION_OCTETS)?;
        Ok(session)
    }

    /// More for a session.
    pub(super) fn hold(&self, session: &SessionMemory, octets: u64) -> Result<(), Refused> {
        let octets_max = self.whole.octets_max();
        let left = if session.is_stranger { octets_max / NOT_FOR_STRANGERS } else { 0 };
        let mut drawn = session.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.try_grow(octets, left) {
            return Ok(());
        }
        let evidence = format!("{} of {octets_max} octets of memory are in use", self.whole.used());
        Err(Refused { rule: Rule::Overload, evidence })
    }
}

/// What the process occupies in memory, in octets, as the kernel counts it. The file is made of numbers that the kernel has at
/// hand: no disk is asked.
pub(super) fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// So many percent of a budget.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part).saturating_mul(100).checked_div(u128::from(whole.max(1)));
    percent.and_then(|percent| u64::try_from(percent).ok()).unwrap_or(u64::MAX)
}

/// A session in the clear: its task and machine (4 KiB), and the longest line that it may be in the middle of (12 KiB).
pub(super) const SESSION_OCTETS: u64 = 16 * 1024;
/// What TLS adds: keys and certificates while hands are shaken, then a record in each direction.
pub(super) const TLS_OCTETS: u64 = 32 * 1024;
/// A tenth is for who is known, as of the places.
const NOT_FOR_STRANGERS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_is_not_for_strangers_and_nobody_gets_more_than_all() {
        let memory = Memory { whole: MemoryBudget::new(100 * SESSION_OCTETS), ..Memory::default() };
        let strangers: Vec<_> = (0..90).map(|_| memory.enter(Standing::Stranger).unwrap()).collect();
        let refused = memory.enter(Standing::Stranger).unwrap_err();
        assert_eq!(refused.to_string(), "admission.overload: 1474560 of 1638400 octets of memory are in use");
        let friends: Vec<_> = (0..10).map(|_| memory.enter(Standing::KnownGood).unwrap()).collect();
        assert!(memory.enter(Standing::Trusted).is_err());
        assert!(memory.hold(&friends[0], TLS_OCTETS).is_err());
        drop(strangers);
        assert!(memory.hold(&friends[0], TLS_OCTETS).is_ok());
        drop(friends);
        assert_eq!(memory.whole.used(), 0);
    }

    #[test]
    fn the_process_knows_how_large_it_is() {
        let octets = resident().unwrap();
        assert!((1 << 20..1 << 40).contains(&octets), "{octets}");
    }

    #[test]
    fn shares_are_told_in_percent() {
        assert_eq!((percent(79, 100), percent(u64::MAX, 1), percent(1, 0)), (79, u64::MAX, 100));
    }
}
