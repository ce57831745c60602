//! Block and allow lists that are asked by DNS (RFC 5782), each with a weight.
//!
//! ```text
//! address -> name -> every list at the same time -> answers -> filter -> weights of the lists that answered -> sum
//! ```
//! A list that does not answer in time, answers nonsense, or says that it does not like our resolver counts for nothing:
//! the mail of everybody must not depend on it. That is recorded. One that has not answered several times in a row is skipped
//! for a minute, then tried by one query.

mod breaker;
mod name;
mod resolver;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use gatepost_core::delivery::reach::is_public;
use ipnet::Ipv4Net;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use breaker::{Breaker, Change};
use name::query_name;
pub use resolver::{Resolver, SystemResolver, UnusableResolver};

/// What the lists are, and when they are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// At most `LISTS_MAX`; with none, nobody is asked.
    pub lists: Vec<List>,
    /// The sum of weights from which on a peer is refused; above zero.
    pub threshold: i32,
    /// How long a list may take.
    pub timeout: Duration,
    /// Who is asked; where empty, the name servers of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
}

/// One list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Its zone, without a final dot.
    pub zone: String,
    /// What a listing counts: above zero for a block list, below for an allow list.
    pub weight: i32,
    /// Which answers are listings; all of 127.0.0.0/8 where empty. Lists tell their reasons apart by the answer.
    pub answers: Vec<Ipv4Net>,
}

/// The lists in use. Clones are the same lists.
#[derive(Debug, Clone)]
pub struct BlockLists {
    lists: Arc<ArcSwap<Lists>>,
    /// One for each query under way.
    queries: Arc<Semaphore>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Lists {
    settings: Settings,
    /// `None` where there is no list to ask for.
    resolver: Option<Arc<dyn Resolver>>,
    /// One for each list.
    breakers: Vec<Breaker>,
}

/// Counters: `gatepost_dnsbl_...`.
#[derive(Debug, Clone)]
pub struct Metrics {
    queries: IntCounterVec,
    skipped: IntGaugeVec,
}

/// What the lists say of a peer.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The sum of the weights.
    pub score: i32,
    /// Where it is listed.
    pub listings: Vec<Listing>,
    /// Which lists did not say anything useful.
    pub failed: Vec<String>,
}

/// A list has the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The list's zone.
    pub zone: String,
    /// Its answer.
    pub answer: Ipv4Addr,
    /// What that counts.
    pub weight: i32,
}

/// What a list says, as far as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Listed(Ipv4Addr),
    NotListed,
    /// In words for metrics.
    Failed(&'static str),
}

// === impl BlockLists ===

impl BlockLists {
    /// These lists. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// There is no name server to ask.
    pub fn start(settings: Settings, metrics: Metrics) -> Result<Self, UnusableResolver> {
        Ok(Self::of(Lists::new(settings)?, metrics))
    }

    /// Asks other lists from now on. What the old ones have said is remembered only where nothing has changed.
    ///
    /// # Errors
    /// There is no name server to ask; everything stays as it was.
    pub fn reload(&self, settings: Settings) -> Result<(), UnusableResolver> {
        if self.lists.load().settings != settings {
            self.lists.store(Arc::new(Lists::new(settings)?));
        }
        Ok(())
    }

    /// Whether the peer is to be refused: the evidence, if so.
    pub async fn refuse(&self, address: IpAddr) -> Option<String> {
        let report = self.ask(address).await;
        if !report.failed.is_empty() {
            tracing::debug!(%address, lists = ?report.failed, "block lists without an answer count for nothing");
        }
        let threshold = self.lists.load().settings.threshold;
        (report.score >= threshold).then(|| report.evidence(threshold))
    }

    /// Asks every list, all at the same time. Addresses that no list can know (private ones) are not asked for.
    pub async fn ask(&self, address: IpAddr) -> Report {
        let mut report = Report::default();
        let lists = self.lists.load_full();
        let Some(resolver) = lists.resolver.as_ref().filter(|_| is_public(address)) else {
            return report;
        };
        let mut words = JoinSet::new();
        for (index, (list, breaker)) in lists.with_breakers().enumerate() {
            if !breaker.may_ask(now()) {
                self.count(list, Word::Failed("skipped"), &mut report);
                continue;
            }
            let queries = Arc::clone(&self.queries);
            let (resolver, name) = (Arc::clone(resolver), query_name(address, &list.zone));
            let asked = async move {
                // The wait for a free place counts into the list's time.
                let _permit = queries.acquire().await.map_err(|_| "closed")?;
                resolver.addresses(name).await.map_err(|_| "failed")
            };
            let bounded = tokio::time::timeout(lists.settings.timeout, asked);
            words.spawn(async move { (index, bounded.await.unwrap_or(Err("timed_out"))) });
        }
        while let Some(joined) = words.join_next().await {
            let Ok((index, answers)) = joined else { continue };
            let Some((list, breaker)) = lists.with_breakers().nth(index) else { continue };
            // Whatever it says, it says it in time.
            self.note(list, breaker.told(answers.is_ok(), now()));
            self.count(list, list.read(answers), &mut report);
        }
        // The lists answer in any order; the evidence has one.
        report.listings.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.zone.cmp(&b.zone)));
        report.failed.sort();
        report
    }

    fn of(lists: Lists, metrics: Metrics) -> Self {
        let queries = Arc::new(Semaphore::new(QUERIES_MAX));
        Self { lists: Arc::new(ArcSwap::from_pointee(lists)), queries, metrics }
    }

    fn note(&self, list: &List, change: Change) {
        let zone = list.zone.as_str();
        let is_skipped = match change {
            Change::Nothing => return,
            Change::GivenUp => {
                tracing::warn!(list = zone, "a block list does not answer, and is skipped until it does");
                true
            }
            Change::Back => {
                tracing::info!(list = zone, "a block list answers again");
                false
            }
        };
        self.metrics.skipped.with_label_values(&[zone]).set(is_skipped.into());
    }

    fn count(&self, list: &List, word: Word, report: &mut Report) {
        let result = match word {
            Word::Listed(answer) => {
                report.score = report.score.saturating_add(list.weight);
                report.listings.push(Listing { zone: list.zone.clone(), answer, weight: list.weight });
                "listed"
            }
            Word::NotListed => "not_listed",
            Word::Failed(why) => {
                report.failed.push(list.zone.clone());
                why
            }
        };
        self.metrics.queries.with_label_values(&[list.zone.as_str(), result]).inc();
    }
}

// === impl Lists ===

impl Lists {
    fn new(settings: Settings) -> Result<Self, UnusableResolver> {
        let resolver = if settings.lists.is_empty() {
            None
        } else {
            Some(Arc::new(SystemResolver::new(&settings.servers, settings.timeout)?) as Arc<dyn Resolver>)
        };
        Ok(Self::of(settings, resolver))
    }

    fn of(settings: Settings, resolver: Option<Arc<dyn Resolver>>) -> Self {
        let breakers = settings.lists.iter().map(|_| Breaker::default()).collect();
        Self { settings, resolver, breakers }
    }

    fn with_breakers(&self) -> impl Iterator<Item = (&List, &Breaker)> {
        self.settings.lists.iter().zip(&self.breakers)
    }
}

// === impl List ===

impl List {
    /// What the answers mean. RFC 5782 section 2.3: listings are in 127.0.0.0/8; anything else comes from a zone that has
    /// been given up, or from a resolver that makes answers up.
    fn read(&self, answers: Result<Vec<Ipv4Addr>, &'static str>) -> Word {
        let answers = match answers {
            Ok(answers) => answers,
            Err(why) => return Word::Failed(why),
        };
        if answers.iter().any(|answer| !LISTINGS.contains(answer)) {
            return Word::Failed("not_a_list");
        }
        if answers.iter().any(|answer| REFUSALS.contains(answer)) {
            return Word::Failed("refused");
        }
        let counts = |answer: &&Ipv4Addr| {
            self.answers.is_empty() || self.answers.iter().any(|network| network.contains(*answer))
        };
        answers.iter().find(counts).map_or(Word::NotListed, |answer| Word::Listed(*answer))
    }
}

// === impl Report ===

impl Report {
    /// For the log: which list said what, and what it counted.
    #[must_use]
    pub fn evidence(&self, threshold: i32) -> String {
        let mut text = format!("score {} of {threshold}", self.score);
        for (index, Listing { zone, answer, weight }) in self.listings.iter().enumerate() {
            let separator = if index == 0 { ": " } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{zone} says {answer} ({weight:+})");
        }
        text
    }
}

// === impl Metrics ===

impl Metrics {
    /// Makes the counters and registers them.
    ///
    /// # Errors
    /// The registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let queries = IntCounterVec::new(
            Opts::new("gatepost_dnsbl_queries_total", "Queries to DNS block and allow lists, by result."),
            &["list", "result"],
        )?;
        registry.register(Box::new(queries.clone()))?;
        let skipped = IntGaugeVec::new(
            Opts::new("gatepost_dnsbl_list_skipped", "1 while a list is skipped, since it did not answer."),
            &["list"],
        )?;
        registry.register(Box::new(skipped.clone()))?;
        Ok(Self { queries, skipped })
    }
}

/// The runtime's clock, so that tests can stop it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Each is asked for each new peer: more would be a burden on everybody.
pub const LISTS_MAX: usize = 16;
/// Queries under way, of all sessions: as many sockets of the resolver.
const QUERIES_MAX: usize = 256;
/// RFC 5782 section 2.3.
const LISTINGS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
/// What lists answer by custom where they refuse to serve this resolver (too many queries, an open resolver, a typing error
/// in the zone): taken for a listing, it would refuse everybody.
const REFUSALS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 255, 255, 0), 24);

#[cfg(test)]
mod tests;
