//! What a session has used up. Survives STARTTLS, so that an upgrade does not refill it.

use super::config::Limits;
use crate::wire::limits::AUTH_FAILURES;

/// Counters that only grow, each with its limit.
#[derive(Debug, Default)]
pub(super) struct Budget {
    commands: u32,
    errors: u32,
    transactions: u32,
    auth_failures: u32,
    drained_octets: u64,
}

/// Whether there was something left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Spend {
    Granted,
    Spent,
}

// === impl Budget ===

impl Budget {
    pub(super) fn spend_command(&mut self, limits: &Limits) -> Spend {
        spend(&mut self.commands, limits.commands)
    }

    pub(super) fn spend_error(&mut self, limits: &Limits) -> Spend {
        spend(&mut self.errors, limits.errors)
    }

    pub(super) fn spend_transaction(&mut self, limits: &Limits) -> Spend {
        spend(&mut self.transactions, limits.transactions)
    }

    pub(super) fn spend_drained(&mut self, octets: u64, limits: &Limits) -> Spend {
        self.drained_octets = self.drained_octets.saturating_add(octets);
        if self.drained_octets > limits.drain_octets { Spend::Spent } else { Spend::Granted }
    }

    /// A peer that delivers mail may have chunks refused in every transaction.
    pub(super) fn refill_drained(&mut self) {
        self.drained_octets = 0;
    }

    pub(super) fn count_auth_failure(&mut self) {
        self.auth_failures = self.auth_failures.saturating_add(1);
    }

    pub(super) const fn may_authenticate(&self) -> bool {
        self.auth_failures < AUTH_FAILURES
    }
}

fn spend(counter: &mut u32, limit: u32) -> Spend {
    *counter = counter.saturating_add(1);
    if *counter > limit { Spend::Spent } else { Spend::Granted }
}
