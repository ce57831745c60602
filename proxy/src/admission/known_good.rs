//! Who has logged in from where: a user is not locked out of the places that he comes from, and these places are not
//! strangers when connections grow scarce.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lockout::key;
use super::prefix::Prefix;

/// Pairs of user and narrowest network. At most [`NETWORKS_MAX`] networks with [`USERS_MAX`] users each. Only who has
/// shown the right password gets in here, so nobody else can push others out.
#[derive(Debug, Default)]
pub(super) struct KnownGood {
    networks: Mutex<HashMap<Prefix, Vec<Seen>>>,
}

#[derive(Debug)]
struct Seen {
    user: Box<str>,
    at: Instant,
}

// === impl KnownGood ===

impl KnownGood {
    pub(super) fn add(&self, user: &str, address: IpAddr, now: Instant) {
        let user = key(user);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = Prefix::narrowest(address);
        if networks.len() >= NETWORKS_MAX && !networks.contains_key(&prefix) {
            let last = |users: &Vec<Seen>| users.iter().map(|seen| seen.at).max();
            let oldest = networks.iter().min_by_key(|(_, users)| last(users)).map(|(prefix, _)| *prefix);
            oldest.map(|prefix| networks.remove(&prefix));
        }
        let users = networks.entry(prefix).or_default();
        users.retain(|seen| seen.user != user);
        if users.len() >= USERS_MAX {
            users.remove(0);
        }
        users.push(Seen { user, at: now });
    }

    /// Whether this user has logged in from there lately.
    pub(super) fn has_pair(&self, user: &str, address: IpAddr, now: Instant) -> bool {
        let user = key(user);
        self.any(address, |seen| seen.user == user && is_recent(seen, now))
    }

    /// Whether anybody has logged in from there lately.
    pub(super) fn has_network(&self, address: IpAddr, now: Instant) -> bool {
        self.any(address, |seen| is_recent(seen, now))
    }

    /// All recent pairs: an address of the network, the user, and when he was there.
    pub(super) fn all(&self, now: Instant) -> Vec<(IpAddr, Box<str>, Instant)> {
        let networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = networks
            .iter()
            .flat_map(|(prefix, users)| users.iter().map(move |seen| (prefix.network().addr(), seen)));
        let recent = pairs.filter(|(_, seen)| is_recent(seen, now));
        recent.map(|(address, seen)| (address, seen.user.clone(), seen.at)).collect()
    }

    pub(super) fn sweep(&self, now: Instant) {
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        networks.retain(|_, users| {
            users.retain(|seen| is_recent(seen, now));
            !users.is_empty()
        });
    }

    fn any(&self, address: IpAddr, matches: impl FnMut(&Seen) -> bool) -> bool {
        let networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        networks.get(&Prefix::narrowest(address)).is_some_and(|users| users.iter().any(matches))
    }
}

fn is_recent(seen: &Seen, now: Instant) -> bool {
    now.saturating_duration_since(seen.at) < GOOD_TIME
}

/// A month: who reads mail from a place does so more often.
const GOOD_TIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// With one or two users each, some 4 MiB.
const NETWORKS_MAX: usize = 16_384;
/// An office behind one address; the user who has been away for the longest gives way.
const USERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_good_for_who_logged_in_there_for_a_month() {
        let (known, now) = (KnownGood::default(), Instant::now());
        let (home, elsewhere) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 1]));
        known.add("ann@example.org", home, now);
        assert!(known.has_pair("Ann@example.org", home, now));
        assert!(!known.has_pair("bob@example.org", home, now) && known.has_network(home, now));
        assert!(!known.has_pair("ann@example.org", elsewhere, now) && !known.has_network(elsewhere, now));
        let later = now + GOOD_TIME;
        assert!(!known.has_pair("ann@example.org", home, later));
        known.sweep(later);
        assert!(known.networks.lock().unwrap().is_empty());
    }

    #[test]
    fn a_busy_place_remembers_a_bounded_number_of_users() {
        let (known, now) = (KnownGood::default(), Instant::now());
        let office = IpAddr::from([192, 0, 2, 1]);
        for number in 0..=USERS_MAX {
            known.add(&format!("u{number}@example.org"), office, now);
        }
        assert!(!known.has_pair("u0@example.org", office, now));
        assert!(known.has_pair(&format!("u{USERS_MAX}@example.org"), office, now));
    }
}
