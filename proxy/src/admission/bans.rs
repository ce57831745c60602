//! Networks that are kept out for a while, and why.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::prefix::Prefix;
use super::verdict::Rule;

/// Bans of narrowest networks; at most [`BANS_MAX`]. Who may be banned at all is decided before.
#[derive(Debug, Default)]
pub(super) struct Bans {
    bans: Mutex<HashMap<Prefix, Ban>>,
}

/// One ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ban {
    /// What the network had done.
    pub(super) reason: Rule,
    pub(super) until: Instant,
}

// === impl Bans ===

impl Bans {
    /// Bans the address's narrowest network, or prolongs its ban.
    pub(super) fn ban(&self, address: IpAddr, reason: Rule, now: Instant, time: Duration) {
        let until = now.checked_add(time).unwrap_or(now);
        let mut bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        if bans.len() >= BANS_MAX {
            bans.retain(|_, ban| ban.until > now);
        }
        if bans.len() >= BANS_MAX {
            let soonest = bans.iter().min_by_key(|(_, ban)| ban.until).map(|(prefix, _)| *prefix);
            soonest.map(|prefix| bans.remove(&prefix));
        }
        bans.insert(Prefix::narrowest(address), Ban { reason, until });
    }

    /// The ban that holds for this address now.
    pub(super) fn find(&self, address: IpAddr, now: Instant) -> Option<Ban> {
        let bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        bans.get(&Prefix::narrowest(address)).filter(|ban| ban.until > now).copied()
    }

    /// All that hold now, each with the address of its network.
    pub(super) fn all(&self, now: Instant) -> Vec<(IpAddr, Ban)> {
        let bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        let holding = bans.iter().filter(|(_, ban)| ban.until > now);
        holding.map(|(prefix, ban)| (prefix.network().addr(), *ban)).collect()
    }

    /// Forgets what is over, and tells how many bans there are.
    pub(super) fn sweep(&self, now: Instant) -> usize {
        let mut bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        bans.retain(|_, ban| ban.until > now);
        bans.len()
    }
}

/// Some 5 MiB; beyond, the ban that ends first gives way.
const BANS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_has_a_reason_and_an_end() {
        let (bans, now) = (Bans::default(), Instant::now());
        let address = IpAddr::from([192, 0, 2, 1]);
        bans.ban(address, Rule::AuthFailureRate, now, Duration::from_secs(60));
        assert_eq!(bans.find(address, now).map(|ban| ban.reason), Some(Rule::AuthFailureRate));
        assert_eq!(bans.find(IpAddr::from([192, 0, 2, 2]), now), None);
        let later = now + Duration::from_secs(60);
        assert_eq!(bans.find(address, later), None);
        assert_eq!(bans.sweep(later), 0);
    }

    #[test]
    fn an_ipv6_peer_does_not_escape_within_its_link() {
        let (bans, now) = (Bans::default(), Instant::now());
        bans.ban("2001:db8::1".parse().unwrap(), Rule::AuthFailureRate, now, Duration::from_secs(60));
        assert!(bans.find("2001:db8::abcd".parse().unwrap(), now).is_some());
    }

    #[test]
    fn many_bans_are_bounded_and_the_one_that_ends_first_gives_way() {
        let (bans, now) = (Bans::default(), Instant::now());
        let first = IpAddr::from([192, 0, 2, 1]);
        bans.ban(first, Rule::AuthFailureRate, now, Duration::from_secs(1));
        for host in 0..u32::try_from(BANS_MAX).unwrap() {
            bans.ban(IpAddr::from(host.to_be_bytes()), Rule::AuthFailureRate, now, Duration::from_secs(60));
        }
        assert_eq!(bans.bans.lock().unwrap().len(), BANS_MAX);
        assert_eq!(bans.find(first, now), None);
    }
}
