//! What travels about the queue as a whole. The same promises hold as for `message`.

use gatepost_core::queue;
use serde::{Deserialize, Serialize};

/// The queue at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Messages with a pending recipient.
    pub messages: usize,
    /// Octets of their bodies.
    pub octets: u64,
    /// Messages that are held.
    pub held: usize,
    /// Messages that a worker has.
    pub in_delivery: usize,
    /// Messages that were tried in vain before.
    pub deferred: usize,
    /// When the oldest was received.
    pub oldest_ms: Option<u64>,
    /// Upper bounds of the ages that `DomainStatistics::ages` tells apart; its last number is for all that are older.
    pub age_bounds_ms: Vec<u64>,
    /// By the domain of pending recipients, most messages first.
    pub domains: Vec<DomainStatistics>,
    /// Standing holds, which cover what comes in later as well.
    pub holds: Vec<Hold>,
    /// Messages made durable since the start.
    pub appended: u64,
    /// Delivery attempts recorded since the start.
    pub settled: u64,
    /// Flushes of segments since the start.
    pub flushes: u64,
    /// Segments on disk.
    pub segments: usize,
    /// Whether nothing is accepted after a failed flush.
    pub stopped: bool,
}

/// What waits for one domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainStatistics {
    /// Its name; empty: recipients without a domain.
    pub domain: String,
    /// Messages.
    pub messages: usize,
    /// Octets of their bodies.
    pub octets: u64,
    /// How many of them are held.
    pub held: usize,
    /// How many of each age.
    pub ages: Vec<usize>,
}

/// A standing hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// Of all mail.
    Everything,
    /// Of mail from this address; empty: the null sender.
    Sender(String),
    /// Of mail for this domain.
    Domain(String),
}

// === impl Statistics ===

impl From<queue::Stats> for Statistics {
    fn from(stats: queue::Stats) -> Self {
        Self {
            messages: stats.messages,
            octets: stats.octets,
            held: stats.held,
            in_delivery: stats.in_delivery,
            deferred: stats.deferred,
            oldest_ms: stats.oldest_ms,
            age_bounds_ms: queue::AGE_BOUNDS_MS.to_vec(),
            domains: stats.domains.into_iter().map(DomainStatistics::from).collect(),
            holds: stats.rules.into_iter().map(Hold::from).collect(),
            appended: stats.appended,
            settled: stats.settled,
            flushes: stats.flushes,
            segments: stats.segments,
            stopped: stats.is_stopped,
        }
    }
}

// === impl DomainStatistics ===

impl From<queue::DomainStats> for DomainStatistics {
    fn from(stats: queue::DomainStats) -> Self {
        let queue::DomainStats { domain, messages, octets, held, ages } = stats;
        Self { domain, messages, octets, held, ages: ages.to_vec() }
    }
}

// === impl Hold ===

impl From<queue::HoldRule> for Hold {
    fn from(rule: queue::HoldRule) -> Self {
        match rule {
            queue::HoldRule::Everything => Self::Everything,
            queue::HoldRule::Sender(address) => Self::Sender(address),
            queue::HoldRule::Domain(domain) => Self::Domain(domain),
        }
    }
}
