//! What a domain demands of TLS with its mail exchangers.
//!
//! ```text
//! host, proven by DNSSEC -> TLSA _PORT._tcp.HOST -> Association
//! domain -> TXT _mta-sts.DOMAIN: id -> remembered under this id, else fetched over HTTPS -> Policy
//! ```
//! A host with TLSA records goes by these alone (RFC 8461 section 2); the others by the policy of the domain.
//!
//! A policy is remembered until it is too old, also while the DNS or the web server do not answer: else whoever can make
//! them silent could talk us out of it. It is not kept over a restart, after which the first mail to a domain has to ask.

pub mod dane;
pub mod sts;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::debug;

use self::sts::{Mode, Policy};
use super::dns::{Resolver, Unresolved};
use super::reach::is_public;
use crate::BoxFuture;
use crate::tlsrpt::ResultType;

/// Fetches policies. What comes is not believed further than a certificate of a known authority reaches.
pub trait Fetcher: fmt::Debug + Send + Sync {
    /// The body of `https://HOST/.well-known/mta-sts.txt`, at most `POLICY_OCTETS_MAX` octets, from one of these addresses.
    /// Redirections are not followed (RFC 8461 section 3.3).
    fn fetch<'a>(
        &'a self,
        host: &'a str,
        addresses: &'a [IpAddr],
    ) -> BoxFuture<'a, Result<Vec<u8>, Unfetched>>;
}

/// By what it was decided what a mail exchanger must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Which kind.
    pub kind: PolicyKind,
    /// The domain of the mail, or with DANE the name that the records stand under (RFC 8460 section 4.2).
    pub domain: String,
    /// The domain of the mail.
    pub mail_domain: String,
    /// The policy itself: records, or lines.
    pub published: Vec<String>,
    /// The exchangers that it knows.
    pub exchangers: Vec<String>,
    /// Why a session that it let happen is none as it asks for.
    pub fault: Option<(ResultType, String)>,
}

/// The kinds of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// TLSA records of the host.
    Dane,
    /// The domain's MTA-STS policy.
    MtaSts,
    /// None: TLS where it is offered.
    None,
}

/// Why there is no policy to be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unfetched {
    /// What the domain's reports call it.
    pub result: ResultType,
    /// In our words.
    pub reason: String,
}

/// What a domain demands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demands {
    /// Its policy; `None`: nothing.
    pub policy: Option<Arc<Policy>>,
    /// Why the policy that it announces cannot be had. An older one may hold all the same.
    pub fault: Option<Unfetched>,
}

/// The policies that are known.
#[derive(Debug)]
pub struct Policies {
    fetcher: Arc<dyn Fetcher>,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    /// `None`: the id of the record that led to nothing.
    policy: Option<Arc<Policy>>,
    /// Why it led to nothing.
    fault: Option<Unfetched>,
    id: String,
    until: Instant,
}

// === impl PolicyKind ===

impl PolicyKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dane, Self::MtaSts, Self::None];

    /// For logs and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dane => "dane",
            Self::MtaSts => "mta-sts",
            Self::None => "none",
        }
    }
}

// === impl Unfetched ===

impl Unfetched {
    /// The web server does not give it.
    pub fn unanswered(reason: impl fmt::Display) -> Self {
        Self { result: ResultType::StsPolicyFetchError, reason: reason.to_string() }
    }

    /// The web server does not prove its name.
    pub fn unproven(reason: impl fmt::Display) -> Self {
        Self { result: ResultType::StsWebpkiInvalid, reason: reason.to_string() }
    }

    fn invalid(reason: impl fmt::Display) -> Self {
        Self { result: ResultType::StsPolicyInvalid, reason: reason.to_string() }
    }
}

// === impl Demands ===

impl Demands {
    fn new(policy: Option<Arc<Policy>>, fault: Option<Unfetched>) -> Self {
        Self { policy: policy.filter(|policy| policy.mode != Mode::None), fault }
    }
}

// === impl Policies ===

impl Policies {
    /// None known yet.
    #[must_use]
    pub fn new(fetcher: Arc<dyn Fetcher>) -> Self {
        Self { fetcher, known: Mutex::new(HashMap::new()) }
    }

    /// What a domain (A-labels, lower case) demands now. `internal`: whether its web server may be one on loopback or in a
    /// private network.
    pub async fn of(&self, resolver: &dyn Resolver, domain: &str, internal: bool) -> Demands {
        let remembered = self.remembered(domain);
        let texts = resolver.texts(&format!("_mta-sts.{domain}")).await.unwrap_or_default();
        let known_policy = remembered.as_ref().and_then(|known| known.policy.clone());
        let Some(id) = sts::record_id(&texts) else { return Demands::new(known_policy, None) };
        if let Some(known) = remembered.filter(|known| known.id == id) {
            return Demands::new(known.policy, known.fault);
        }
        let fetched = match timeout(FETCH_TIME_MAX, self.fetch(resolver, domain, internal)).await {
            Ok(Ok(fetched)) => Arc::new(fetched),
            Ok(Err(fault)) => return self.not_fetched(domain, id, known_policy, fault),
            Err(_) => {
                let fault = Unfetched::unanswered("it took too long");
                return self.not_fetched(domain, id, known_policy, fault);
            }
        };
        debug!(domain, mode = ?fetched.mode, max_age = fetched.max_age.as_secs(), "an MTA-STS policy was fetched");
        self.remember(domain, id, Ok(Arc::clone(&fetched)), fetched.max_age);
        Demands::new(Some(fetched), None)
    }

    /// Whether the DNS and the web server have told what a domain demands, so that no other answer is to be had later.
    pub async fn is_sure_of(&self, resolver: &dyn Resolver, domain: &str) -> bool {
        match resolver.texts(&format!("_mta-sts.{domain}")).await {
            Ok(texts) => {
                let is_known = || self.remembered(domain).is_some_and(|known| known.policy.is_some());
                sts::record_id(&texts).is_none() || is_known()
            }
            Err(why) => why == Unresolved::NoSuchName,
        }
    }

    async fn fetch(
        &self,
        resolver: &dyn Resolver,
        domain: &str,
        internal: bool,
    ) -> Result<Policy, Unfetched> {
        let host = format!("mta-sts.{domain}");
        let found = resolver.addresses(&host).await.map_err(Unfetched::unanswered)?;
        let mut addresses = found.addresses;
        addresses.retain(|address| internal || is_public(*address));
        if addresses.is_empty() {
            return Err(Unfetched::unanswered("its web server has no public address"));
        }
        let octets = self.fetcher.fetch(&host, &addresses).await?;
        Policy::parse(&octets).map_err(Unfetched::invalid)
    }

    /// An older policy still holds. Without one there is none, and the web server is left alone for a while.
    fn not_fetched(&self, domain: &str, id: String, older: Option<Arc<Policy>>, fault: Unfetched) -> Demands {
        debug!(domain, %fault, has_older = older.is_some(), "an MTA-STS policy cannot be fetched");
        if older.is_none() {
            self.remember(domain, id, Err(fault.clone()), FAILURE_TIME);
        }
        Demands::new(older, Some(fault))
    }

    fn remembered(&self, domain: &str) -> Option<Known> {
        self.known().get(domain).filter(|known| known.until > Instant::now()).cloned()
    }

    fn remember(&self, domain: &str, id: String, fetched: Result<Arc<Policy>, Unfetched>, age: Duration) {
        let now = Instant::now();
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, known| known.until > now && known.policy.is_some());
        }
        // Where the memory is full of policies that hold, a new one is fetched for each mail instead.
        if let Some(until) = now.checked_add(age).filter(|_| known.len() < KNOWN_MAX) {
            let (policy, fault) = match fetched {
                Ok(policy) => (Some(policy), None),
                Err(fault) => (None, Some(fault)),
            };
            known.insert(domain.to_owned(), Known { policy, fault, id, until });
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 8461 section 3.2 suggests this bound.
pub const POLICY_OCTETS_MAX: usize = 64 * 1024;
/// RFC 8461 section 3.3 suggests a minute; a mail waits for it.
const FETCH_TIME_MAX: Duration = Duration::from_secs(30);
/// RFC 8461 section 3.3 asks for no more than one attempt in five minutes.
const FAILURE_TIME: Duration = Duration::from_secs(5 * 60);
/// Some 10 MiB.
const KNOWN_MAX: usize = 20_000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::dns::{Addresses, Exchangers};
    use super::dane::Tlsa;
    use super::*;

    /// A domain whose record and policy a test can change.
    #[derive(Debug, Default)]
    struct Domain {
        record: Mutex<Option<&'static str>>,
        policy: Mutex<Option<String>>,
        fetches: AtomicUsize,
    }

    impl Domain {
        fn say(&self, record: Option<&'static str>, mode: Option<&str>) {
            *self.record.lock().unwrap() = record;
            *self.policy.lock().unwrap() =
                mode.map(|mode| format!("version: STSv1\nmode: {mode}\nmx: mx.example\nmax_age: 3600\n"));
        }
    }

    impl Resolver for Domain {
        fn mail_exchangers<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Exchangers, Unresolved>> {
            Box::pin(async { Ok(Exchangers::default()) })
        }

        fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Addresses, Unresolved>> {
            let address = if host == "mta-sts.inside.example" { "10.0.0.1" } else { "192.0.2.1" };
            let addresses = vec![address.parse().unwrap()];
            Box::pin(async move { Ok(Addresses { addresses, tlsa_bases: Vec::new() }) })
        }

        fn tlsa<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, Unresolved>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn proves(&self) -> BoxFuture<'_, bool> {
            Box::pin(async { false })
        }

        fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, Unresolved>> {
            assert!(name.starts_with("_mta-sts."));
            let record = *self.record.lock().unwrap();
            Box::pin(async move { record.map(|text| vec![text.to_owned()]).ok_or(Unresolved::NoAnswer) })
        }
    }

    impl Fetcher for Arc<Domain> {
        fn fetch<'a>(
            &'a self,
            _host: &'a str,
            _addresses: &'a [IpAddr],
        ) -> BoxFuture<'a, Result<Vec<u8>, Unfetched>> {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            let policy = self.policy.lock().unwrap().clone();
            Box::pin(async { policy.map(String::into_bytes).ok_or_else(|| Unfetched::unanswered("404")) })
        }
    }

    struct Case {
        domain: Arc<Domain>,
        policies: Policies,
    }

    impl Case {
        fn new() -> Self {
            let domain = Arc::new(Domain::default());
            Self { policies: Policies::new(Arc::new(Arc::clone(&domain))), domain }
        }

        async fn mode(&self) -> Option<Mode> {
            self.demands().await.policy.map(|policy| policy.mode)
        }

        async fn demands(&self) -> Demands {
            self.policies.of(&*self.domain, "to.example", false).await
        }

        async fn fault(&self) -> Option<ResultType> {
            self.demands().await.fault.map(|fault| fault.result)
        }

        fn fetches(&self) -> usize {
            self.domain.fetches.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_is_fetched_once_and_again_when_its_id_changes_or_its_time_is_over() {
        let case = Case::new();
        case.domain.say(Some("v=STSv1; id=1"), Some("enforce"));
        assert_eq!((case.mode().await, case.mode().await), (Some(Mode::Enforce), Some(Mode::Enforce)));
        assert_eq!(case.fetches(), 1);
        case.domain.say(Some("v=STSv1; id=2"), Some("testing"));
        assert_eq!((case.mode().await, case.fetches()), (Some(Mode::Testing), 2));
        tokio::time::advance(Duration::from_secs(3601)).await;
        assert_eq!((case.mode().await, case.fetches()), (Some(Mode::Testing), 3));
        case.domain.say(Some("v=STSv1; id=3"), Some("none"));
        assert_eq!((case.mode().await, case.mode().await, case.fetches()), (None, None, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_talks_us_out_of_a_policy_by_silence() {
        let case = Case::new();
        case.domain.say(Some("v=STSv1; id=1"), Some("enforce"));
        assert_eq!(case.mode().await, Some(Mode::Enforce));
        case.domain.say(None, None);
        assert_eq!(case.mode().await, Some(Mode::Enforce), "no record");
        case.domain.say(Some("v=STSv1; id=2"), None);
        assert_eq!(case.mode().await, Some(Mode::Enforce), "no web server");
        tokio::time::advance(Duration::from_secs(3601)).await;
        assert_eq!(case.mode().await, None, "its time is over");
    }

    #[tokio::test]
    async fn what_a_domain_demands_is_not_known_while_nobody_answers() {
        let case = Case::new();
        let is_sure = async || case.policies.is_sure_of(&*case.domain, "to.example").await;
        assert!(!is_sure().await, "no name server");
        case.domain.say(Some("v=spf1 -all"), None);
        assert!(is_sure().await, "no policy");
        case.domain.say(Some("v=STSv1; id=1"), None);
        assert_eq!((case.mode().await, is_sure().await), (None, false), "no web server");
        case.domain.say(Some("v=STSv1; id=2"), Some("none"));
        assert_eq!((case.mode().await, is_sure().await), (None, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_web_server_that_fails_is_left_alone_for_a_while() {
        let case = Case::new();
        case.domain.say(Some("v=STSv1; id=1"), None);
        assert_eq!((case.mode().await, case.mode().await, case.fetches()), (None, None, 1));
        tokio::time::advance(FAILURE_TIME).await;
        assert_eq!((case.mode().await, case.fetches()), (None, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn why_a_policy_cannot_be_had_is_known_as_long_as_nobody_asks_again() {
        let case = Case::new();
        case.domain.say(Some("v=STSv1; id=1"), None);
        for _ in 0..2 {
            assert_eq!(case.fault().await, Some(ResultType::StsPolicyFetchError));
        }
        assert_eq!(case.fetches(), 1);
        case.domain.say(Some("v=STSv1; id=2"), Some("perhaps"));
        assert_eq!(case.fault().await, Some(ResultType::StsPolicyInvalid));
        case.domain.say(Some("v=STSv1; id=3"), Some("enforce"));
        assert_eq!(case.fault().await, None);
        case.domain.say(Some("v=STSv1; id=4"), None);
        let demands = case.demands().await;
        assert!(demands.policy.is_some() && demands.fault.is_some(), "the older one holds");
    }

    #[tokio::test]
    async fn a_foreign_domain_cannot_have_a_host_inside_asked() {
        let case = Case::new();
        case.domain.say(Some("v=STSv1; id=1"), Some("enforce"));
        let demands = case.policies.of(&*case.domain, "inside.example", false).await;
        assert_eq!((demands.policy, demands.fault.unwrap().result), (None, ResultType::StsPolicyFetchError));
        assert_eq!(case.fetches(), 0);
        assert!(case.policies.of(&*case.domain, "other.example", true).await.policy.is_some());
    }
}
