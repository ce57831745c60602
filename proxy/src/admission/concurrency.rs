//! How many connections each network has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::prefix::Prefix;

/// Open connections by network; never more entries than three a connection.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    open: Mutex<HashMap<Prefix, u32>>,
}

/// One connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    concurrency: Arc<Concurrency>,
    address: IpAddr,
}

/// A network with more connections than its limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded {
    pub(super) prefix: Prefix,
    pub(super) open: u32,
    pub(super) limit: u32,
}

// === impl Concurrency ===

impl Concurrency {
    /// Counts a connection, and tells whether one of its networks now has more than it may. An address may have `limit`;
    /// wider networks have their allowance times as many.
    pub(super) fn count(self: &Arc<Self>, address: IpAddr, limit: u32) -> (Counted, Option<Crowded>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut crowded = None;
        for prefix in Prefix::all(address) {
            let count = open.entry(prefix).or_default();
            *count = count.saturating_add(1);
            let limit = limit.saturating_mul(prefix.width().allowance());
            if *count > limit && crowded.is_none() {
                crowded = Some(Crowded { prefix, open: *count, limit });
            }
        }
        (Counted { concurrency: Arc::clone(self), address }, crowded)
    }
}

// === impl Counted ===

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.concurrency.open.lock().unwrap_or_else(PoisonError::into_inner);
        for prefix in Prefix::all(self.address) {
            if let Some(count) = open.get_mut(&prefix) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    open.remove(&prefix);
                }
            }
        }
        // After a rush, memory goes back as well.
        if open.capacity() > CAPACITY_KEPT && open.len() < open.capacity() / 8 {
            open.shrink_to(CAPACITY_KEPT);
        }
    }
}

/// What an ordinary day needs.
const CAPACITY_KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_crowded_beyond_its_limit_and_free_again_after() {
        let concurrency = Arc::new(Concurrency::default());
        let one = address("192.0.2.1");
        let held: Vec<_> = (0..2).map(|_| concurrency.count(one, 2)).collect();
        assert!(held.iter().all(|(_, crowded)| crowded.is_none()));
        let (third, crowded) = concurrency.count(one, 2);
        assert_eq!(crowded.map(|crowded| (crowded.open, crowded.limit)), Some((3, 2)));
        drop(third);
        drop(held);
        assert!(concurrency.open.lock().unwrap().is_empty(), "nothing is remembered of who has gone");
    }

    #[test]
    fn neighbours_share_the_limit_of_their_network() {
        let concurrency = Arc::new(Concurrency::default());
        let held: Vec<_> =
            (1..=5).map(|host| concurrency.count(IpAddr::from([192, 0, 2, host]), 1)).collect();
        let crowded: Vec<_> =
            held.iter().filter_map(|(_, crowded)| crowded.as_ref()).map(|crowded| crowded.prefix).collect();
        assert_eq!(crowded.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.0/24"]);
    }
}
