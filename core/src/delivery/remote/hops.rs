//! The hops of a route: which of them is asked first.
//!
//! ```text
//! hops -> order: a draw by weight, then those without one -> well_first: who has failed lately goes to the end
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::hop::NextHop;
use super::super::route::RouteHop;
use crate::queue::Backoff;

/// Which servers have failed lately. Their destination goes on without them.
#[derive(Debug, Default)]
pub(super) struct HopHealth {
    ill: Mutex<HashMap<SocketAddr, Illness>>,
}

#[derive(Debug, Clone, Copy)]
struct Illness {
    /// In a row.
    failures: u32,
    until: Instant,
}

/// Hops with a weight in an order drawn by it, as RFC 2782 has it for SRV records; behind them the others as written.
pub(super) fn order(hops: &[RouteHop], mut random: impl FnMut() -> u32) -> Vec<&RouteHop> {
    let (mut balanced, others): (Vec<_>, Vec<_>) = hops.iter().partition(|hop| hop.weight.is_some());
    let mut ordered = Vec::with_capacity(hops.len());
    while !balanced.is_empty() {
        let total = balanced.iter().fold(0_u32, |sum, hop| sum.saturating_add(weight(hop)));
        let mut drawn = random().checked_rem(total).unwrap_or_default();
        let is_drawn = |hop: &&RouteHop| match drawn.checked_sub(weight(hop)) {
            Some(rest) => {
                drawn = rest;
                false
            }
            None => true,
        };
        let place = balanced.iter().position(is_drawn).unwrap_or_default();
        ordered.push(balanced.remove(place));
    }
    ordered.extend(others);
    ordered
}

/// Where there is no randomness, the first hop is the first.
pub(super) fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

fn weight(hop: &RouteHop) -> u32 {
    hop.weight.map_or(0, |weight| weight.get().into())
}

// === impl HopHealth ===

impl HopHealth {
    /// Those that have failed lately behind the others; nobody is left out, since the others may fail as well.
    pub(super) fn well_first(&self, targets: &mut [NextHop]) {
        let ill = self.ill();
        let now = Instant::now();
        targets.sort_by_key(|target| ill.get(&target.address()).is_some_and(|illness| illness.until > now));
    }

    pub(super) fn failed(&self, address: SocketAddr) {
        let mut ill = self.ill();
        if ill.len() >= ILL_MAX && !ill.contains_key(&address) {
            return;
        }
        let failures = ill.get(&address).map_or(0, |illness| illness.failures).saturating_add(1);
        if let Some(until) = Instant::now().checked_add(ILL.delay(failures)) {
            ill.insert(address, Illness { failures, until });
        }
    }

    pub(super) fn served(&self, address: SocketAddr) {
        self.ill().remove(&address);
    }

    /// Forgets whom nobody has asked for long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.ill().retain(|_, illness| now.saturating_duration_since(illness.until) < REMEMBERED_TIME);
    }

    fn ill(&self) -> MutexGuard<'_, HashMap<SocketAddr, Illness>> {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Short beside the times of a whole destination: while a hop is away another one bears its load.
const ILL: Backoff = Backoff { first: Duration::from_secs(30), longest: Duration::from_secs(5 * 60) };
/// A hop that fails again soon after it was tried anew is left alone for longer.
const REMEMBERED_TIME: Duration = Duration::from_secs(10 * 60);
/// Some 500 KiB. Mail exchangers of whole spam runs must not fill it; beyond, a hop is merely tried too early.
const ILL_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU16;

    use gatepost_smtp::client::Protocol;
    use proptest::prelude::*;

    use super::super::super::hop::TlsDemand;
    use super::super::super::route::HopHost;
    use super::*;

    fn hop(port: u16, weight: u16) -> RouteHop {
        let host = HopHost::Address(Ipv4Addr::LOCALHOST.into());
        RouteHop { host, port, weight: NonZeroU16::new(weight) }
    }

    fn target(port: u16) -> NextHop {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        NextHop::new(format!("hop-{port}"), address, Protocol::Smtp, TlsDemand::Never)
    }

    fn ports(targets: &[NextHop]) -> Vec<u16> {
        targets.iter().map(|target| target.address().port()).collect()
    }

    #[test]
    fn each_hop_comes_first_as_often_as_its_weight_says() {
        let hops = [hop(1, 0), hop(2, 1), hop(3, 3), hop(4, 0)];
        let mut first = HashMap::new();
        for number in 0..400 {
            let ordered = order(&hops, || number);
            *first.entry(ordered[0].port).or_insert(0) += 1;
            let behind: Vec<_> = ordered[2..].iter().map(|hop| hop.port).collect();
            assert_eq!(behind, [1, 4], "those without a weight come last, as written");
        }
        assert_eq!(first, HashMap::from([(2, 100), (3, 300)]));
    }

    proptest! {
        #[test]
        fn every_hop_is_in_the_order_once(weights in prop::collection::vec(0_u16.., 1..8), seed: u32) {
            let hops: Vec<_> = weights.iter().zip(1..).map(|(weight, port)| hop(port, *weight)).collect();
            let mut ordered: Vec<_> = order(&hops, || seed).iter().map(|hop| hop.port).collect();
            ordered.sort_unstable();
            prop_assert_eq!(ordered, hops.iter().map(|hop| hop.port).collect::<Vec<_>>());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hop_that_has_failed_is_asked_last_until_its_time_has_come() {
        let health = HopHealth::default();
        let order = |health: &HopHealth| {
            let mut targets = vec![target(1), target(2), target(3)];
            health.well_first(&mut targets);
            ports(&targets)
        };
        health.failed(target(1).address());
        assert_eq!(order(&health), [2, 3, 1]);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(order(&health), [1, 2, 3]);
        health.failed(target(1).address());
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(order(&health), [2, 3, 1], "left alone for longer the second time");
        health.served(target(1).address());
        assert_eq!(order(&health), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_long_past_is_forgotten() {
        let health = HopHealth::default();
        health.failed(target(1).address());
        tokio::time::advance(REMEMBERED_TIME + Duration::from_secs(31)).await;
        health.sweep();
        assert!(health.ill().is_empty());
    }
}
