//! A live front of servers behind: `backend = "pass-through"`. Every session has a session there, and hears its answers.
//!
//! ```text
//! PassThrough -> Road (a listener's: whose mail, to which servers) -> Passage (a client's session)
//!                  \-> Upstream (a server: connections, what it offers, whether it is there) -> Link (one connection)
//! ```
//! Nothing is kept here, so nothing is taken over here: a mail is taken when the server behind has said so, and what it
//! says is what the client hears. Commands are parsed, checked and written anew by the two machines of `gatepost_smtp`;
//! no octet of a client reaches a server but in a body, and none of a server a client but in a cleaned reply. What bodies
//! go through where a listener says so is in `inspection`.

mod choice;
mod identity;
mod inspection;
mod metrics;
mod passage;
mod places;
mod proxy_header;
mod road;
mod upstream;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gatepost_core::delivery::hop::{Courier, NextHop};
use gatepost_core::delivery::route::DomainPattern;
use gatepost_core::directory::Directory;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use identity::ClientIdentity;
pub(crate) use inspection::Findings;
pub use inspection::Inspectors;
pub use metrics::Metrics;
pub(crate) use passage::{Login, Passage, Who};
use road::Road;
use upstream::Upstream;

/// All live fronts of this server. Clones are the same.
#[derive(Debug, Clone)]
pub struct PassThrough {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: Directory,
    inspectors: Inspectors,
    metrics: Metrics,
    /// By the listener's name.
    roads: ArcSwap<HashMap<String, Arc<Road>>>,
}

/// What is passed through to whom.
#[derive(Debug)]
pub struct Settings {
    /// Our name in `Received:`; a checked domain name.
    pub hostname: String,
    /// Whose mail strangers may hand in.
    pub domains: Vec<DomainPattern>,
    /// Makes the connections.
    pub courier: Courier,
    /// How long one is kept for the next mail; zero: not at all.
    pub idle_time: Duration,
    /// For a part of a body to be taken.
    pub block_time: Duration,
    /// How often a server is asked whether it is there.
    pub probe_interval: Duration,
    /// The servers, by their names.
    pub upstreams: Vec<UpstreamSettings>,
    /// Who passes through.
    pub listeners: Vec<ListenerSettings>,
}

/// One server behind.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// Where it is, and how it is talked to. Its name is the one in logs and metrics.
    pub hop: NextHop,
    /// Its share against the others'; 0: only where no other works.
    pub weight: u16,
    /// Connections at a time.
    pub connections: usize,
    /// How it is told whose mail it gets.
    pub identity: ClientIdentity,
}

/// One listener.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Its name.
    pub name: String,
    /// The names of its servers; empty: all.
    pub upstreams: Vec<String>,
    /// Whether each mail gets a `Received:` line.
    pub trace_header: bool,
    /// Whether MAIL waits for the first RCPT, and goes to the server behind with it.
    pub delays_mail: bool,
    /// Whether each mail is scanned before the server behind gets it, and how long that may take.
    pub scan_time: Option<Duration>,
    /// Whether a mail without a verdict in time goes through all the same; otherwise it has to come again.
    pub fails_open: bool,
    /// Whether header fields are taken out that the client has no right to.
    pub header_firewall: bool,
}

// === impl PassThrough ===

impl PassThrough {
    /// Without servers: nothing passes through before `reload`.
    #[must_use]
    pub fn new(directory: Directory, inspectors: Inspectors, metrics: Metrics) -> Self {
        Self { shared: Arc::new(Shared { directory, inspectors, metrics, roads: ArcSwap::default() }) }
    }

    /// Takes settings on, for sessions from now on: those that run keep their servers. To be called inside the runtime.
    /// What is waited for is that every server has been asked what it offers, for a moment.
    pub async fn start(&self, settings: Option<Settings>) {
        let mut probes = JoinSet::new();
        for upstream in self.replace(settings) {
            probes.spawn(async move { upstream.probe().await });
        }
        // Who does not answer at once is asked again by and by.
        let _ = timeout(FIRST_PROBES_TIME, async { while probes.join_next().await.is_some() {} }).await;
    }

    /// The same, without waiting.
    pub fn reload(&self, settings: Option<Settings>) {
        for upstream in self.replace(settings) {
            tokio::spawn(async move { upstream.probe().await });
        }
    }

    /// For a session of this listener; `None` where it does not pass through.
    pub(crate) fn passage(&self, listener: &str) -> Option<Box<Passage>> {
        let roads = self.shared.roads.load();
        roads.get(listener).map(|road| Box::new(Passage::new(Arc::clone(road))))
    }

    /// Whether a server behind this listener is told whose mail it gets.
    pub(crate) fn tells_of_clients(&self, listener: &str) -> bool {
        self.shared.roads.load().get(listener).is_some_and(|road| road.tells())
    }

    /// The listeners, by name, that no server behind answers: whoever hands in mail there hears 451. A server that was not asked
    /// yet does not answer.
    #[must_use]
    pub fn unanswered(&self) -> Vec<String> {
        let roads = self.shared.roads.load();
        let mut names: Vec<_> =
            roads.iter().filter(|(_, road)| !road.is_answered()).map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    fn replace(&self, settings: Option<Settings>) -> Vec<Arc<Upstream>> {
        let Some(settings) = settings else {
            self.shared.roads.store(Arc::default());
            self.shared.metrics.keep_only(&[]);
            return Vec::new();
        };
        let old = self.shared.roads.load_full();
        let known = |name: &str| old.values().find_map(|road| road.upstream(name));
        let upstreams: Vec<_> = settings
            .upstreams
            .iter()
            .map(|it| Upstream::start(it, &settings, &self.shared.metrics, known(it.hop.name()).as_deref()))
            .collect();
        let roads = settings.listeners.iter().map(|listener| {
            let is_its = |upstream: &&Arc<Upstream>| {
                listener.upstreams.is_empty() || listener.upstreams.iter().any(|name| name == upstream.name())
            };
            let upstreams = upstreams.iter().filter(is_its).cloned().collect();
            let Shared { directory, inspectors, .. } = &*self.shared;
            let road = Road::new(&settings, listener, upstreams, directory.clone(), inspectors.clone());
            (listener.name.clone(), Arc::new(road))
        });
        self.shared.roads.store(Arc::new(roads.collect()));
        let names: Vec<_> = upstreams.iter().map(|upstream| upstream.name()).collect();
        self.shared.metrics.keep_only(&names);
        upstreams
    }
}

/// A start is not held up for longer by servers that are not there.
const FIRST_PROBES_TIME: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
