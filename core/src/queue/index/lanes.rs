//! Which lane a message belongs in.

use std::fmt;

use super::super::Lane;
use super::entry::{Domains, Entry};
use super::names::Names;

/// What delivery says of domains; without its word all are local.
#[derive(Default)]
pub(super) struct Lanes {
    lane_of: Option<Box<LaneOf>>,
}

type LaneOf = dyn Fn(&str) -> Lane + Send + Sync;

// === impl Lanes ===

impl Lanes {
    pub(super) fn new(lane_of: impl Fn(&str) -> Lane + Send + Sync + 'static) -> Self {
        Self { lane_of: Some(Box::new(lane_of)) }
    }

    /// Remote where everybody who still waits lives elsewhere.
    pub(super) fn of(&self, entry: &Entry, domains: &Names) -> Lane {
        let Some(lane_of) = &self.lane_of else { return Lane::Local };
        let lane_of = |domain| lane_of(&domains.name(domain));
        match &entry.domains {
            Domains::One(domain) => lane_of(*domain),
            Domains::Each(_) => {
                let mut lanes = entry.pending_domains().into_iter().map(lane_of);
                if lanes.all(|lane| lane == Lane::Remote) { Lane::Remote } else { Lane::Local }
            }
        }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("is_told", &self.lane_of.is_some()).finish()
    }
}
