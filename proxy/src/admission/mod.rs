//! Who may come in, how often, and what happens to who overdoes it: the same for every protocol.
//!
//! ```text
//! address -> standing -> deny, ban, overload, connection_rate, connections, reserve -> Guest or Refused
//!                        Guest: pregreet, dnsbl (what takes time, of strangers)
//!                        Guest: handshakes, log-ins, messages, recipients
//! ```
//! A check looks at facts and finds nothing or a [`Refused`] with the rule's name and what it saw. Whether that holds or is
//! only told (`detect`) is decided in one place, `Admission::enforce`.

mod bans;
mod concurrency;
pub mod dnsbl;
pub mod guest;
mod known_good;
mod lockout;
pub mod memory;
pub mod metrics;
pub mod networks;
pub mod overload;
pub mod prefix;
mod pregreet;
mod rate;
pub mod remembered;
pub(crate) mod slots;
pub mod stranger;
pub mod verdict;
mod watch;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;

use crate::config::Admission as Settings;
use bans::Bans;
use concurrency::{Concurrency, Counted};
use guest::Guest;
use known_good::KnownGood;
use lockout::Lockouts;
use memory::Memory;
pub use metrics::Metrics;
use networks::{NetworkFileError, NetworkSet};
use overload::Level;
use pregreet::Passed;
use rate::Rate;
use slots::Slots;
use verdict::{Mode, Refused, Rule};

/// Admission of the whole server. Shared by all listeners.
#[derive(Debug)]
pub struct Admission {
    policy: ArcSwap<Policy>,
    concurrency: Arc<Concurrency>,
    bans: Bans,
    lockouts: Lockouts,
    known_good: KnownGood,
    passed: Passed,
    /// How many answers may be held back at the same time.
    tarpit: Semaphore,
    /// Password checks of strangers under way.
    verifications: Arc<Semaphore>,
    /// TLS handshakes of all strangers together.
    handshakes: DefaultDirectRateLimiter,
    /// How many refusals a second are logged at `info`.
    log_lines: DefaultDirectRateLimiter,
    level: AtomicU8,
    slots: Mutex<Vec<Weak<Slots>>>,
    memory: Memory,
    metrics: Metrics,
}

/// What the configuration says, read and ready.
#[derive(Debug)]
pub struct Policy {
    settings: Settings,
    trusted: NetworkSet,
    allow: NetworkSet,
    deny: NetworkSet,
    rates: Arc<Rates>,
}

/// The limits by the minute.
#[derive(Debug)]
struct Rates {
    connections: Rate,
    handshakes: Rate,
    messages: Rate,
    recipients: Rate,
    auth_failures: Rate,
    unknown_recipients: Rate,
}

/// What is known of an address before it has said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// On the trust list: no limit, ban or list applies.
    Trusted,
    /// On the allow list.
    Listed,
    /// Somebody has logged in from there.
    KnownGood,
    /// Nothing is known.
    Stranger,
}

// === impl Policy ===

impl Policy {
    /// Reads the lists that the configuration names. Blocks on the disk.
    ///
    /// # Errors
    /// A list that cannot be used.
    pub fn load(settings: &Settings) -> Result<Self, NetworkFileError> {
        Ok(Self {
            trusted: NetworkSet::load(&settings.trusted, &settings.trusted_files)?,
            allow: NetworkSet::load(&settings.allow, &settings.allow_files)?,
            deny: NetworkSet::load(&settings.deny, &settings.deny_files)?,
            rates: Arc::new(Rates::new(settings)),
            settings: settings.clone(),
        })
    }
}

// === impl Rates ===

impl Rates {
    fn new(settings: &Settings) -> Self {
        Self {
            connections: Rate::new(settings.connection_rate),
            handshakes: Rate::new(settings.handshake_rate),
            messages: Rate::new(settings.message_rate),
            recipients: Rate::new(settings.recipient_rate),
            auth_failures: Rate::new(settings.auth_failure_rate),
            unknown_recipients: Rate::new(settings.unknown_recipient_rate),
        }
    }

    fn all(&self) -> [&Rate; 6] {
        [
            &self.connections,
            &self.handshakes,
            &self.messages,
            &self.recipients,
            &self.auth_failures,
            &self.unknown_recipients,
        ]
    }
}

// === impl Admission ===

impl Admission {
    /// Of a policy, and the memory that is watched. It knows nobody yet: see [`remembered`].
    #[must_use]
    pub fn new(policy: Policy, memory: Memory, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            policy: ArcSwap::from_pointee(policy),
            concurrency: Arc::default(),
            bans: Bans::default(),
            lockouts: Lockouts::default(),
            known_good: KnownGood::default(),
            passed: Passed::default(),
            tarpit: Semaphore::new(TARPIT_MAX),
            verifications: Arc::new(Semaphore::new(STRANGER_VERIFICATIONS_MAX)),
            handshakes: RateLimiter::direct(Quota::per_second(STRANGER_HANDSHAKES)),
            log_lines: RateLimiter::direct(Quota::per_second(LOG_LINES)),
            level: AtomicU8::new(0),
            slots: Mutex::default(),
            memory,
            metrics,
        })
    }

    /// Takes a new policy on. What was counted stays where the limits are the same; bans and lock-outs stay.
    pub fn reload(&self, mut policy: Policy) {
        let old = self.policy.load();
        if has_rates_of(&old.settings, &policy.settings) {
            policy.rates = Arc::clone(&old.rates);
        }
        self.policy.store(Arc::new(policy));
    }

    /// How short the server is of what it needs.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::from_number(self.level.load(Ordering::Relaxed))
    }

    /// The order of all checks on a connection, for whatever protocol. `slots` are its listener's, and `on_reserve` tells
    /// whether only the reserve had a place.
    ///
    /// # Errors
    /// The rule that refuses, and what it saw.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        slots: &Arc<Slots>,
        on_reserve: bool,
        now: Instant,
    ) -> Result<Guest, Refused> {
        let policy = self.policy.load_full();
        let (standing, counted) = self.let_in(&policy, address, now)?;
        if standing != Standing::Trusted {
            self.enforce(&policy, address, check_reserve(standing, on_reserve, slots))?;
        }
        let memory = match self.memory.enter(standing) {
            Ok(memory) => Arc::new(memory),
            Err(refused) => return Err(self.refuse(address, refused)),
        };
        let occupant = Arc::new(slots.enter(standing == Standing::Stranger, now));
        Ok(Guest::new(Arc::clone(self), address, standing, occupant, memory, counted))
    }

    /// The checks that know nothing of a listener.
    fn let_in(&self, policy: &Policy, address: IpAddr, now: Instant) -> Result<(Standing, Counted), Refused> {
        let standing = self.standing(policy, address, now);
        let (counted, crowded) = self.concurrency.count(address, policy.settings.connections.get());
        if standing != Standing::Trusted {
            // Cheap ones first, and those that count first of all those that may refuse.
            let too_fast = self.check_rate(policy, Rule::ConnectionRate, address);
            self.enforce(policy, address, Self::check_deny(policy, standing, address))?;
            self.enforce(policy, address, self.check_ban(address, now))?;
            self.enforce(policy, address, self.check_overload(standing))?;
            self.enforce(policy, address, too_fast)?;
            self.enforce(
                policy,
                address,
                crowded.map(|crowded| {
                    let concurrency::Crowded { prefix, open, limit } = crowded;
                    Refused {
                        rule: Rule::Connections,
                        evidence: format!("{prefix} has {open} connections of {limit}"),
                    }
                }),
            )?;
        }
        Ok((standing, counted))
    }

    /// What peers make the process hold is drawn from it.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Has the places of a listener counted and watched.
    pub(crate) fn look_after(&self, slots: &Arc<Slots>) {
        let mut all = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|slots| slots.strong_count() > 0);
        all.push(Arc::downgrade(slots));
    }

    fn standing(&self, policy: &Policy, address: IpAddr, now: Instant) -> Standing {
        if policy.trusted.contains(address) {
            Standing::Trusted
        } else if policy.allow.contains(address) {
            Standing::Listed
        } else if self.known_good.has_network(address, now) {
            Standing::KnownGood
        } else {
            Standing::Stranger
        }
    }

    fn check_deny(policy: &Policy, standing: Standing, address: IpAddr) -> Option<Refused> {
        let network = policy.deny.find(address).filter(|_| standing != Standing::Listed)?;
        Some(Refused { rule: Rule::Deny, evidence: format!("{network} is on the deny list") })
    }

    fn check_ban(&self, address: IpAddr, now: Instant) -> Option<Refused> {
        let ban = self.bans.find(address, now)?;
        let seconds = ban.until.saturating_duration_since(now).as_secs();
        let reason = ban.reason.name();
        Some(Refused { rule: Rule::Ban, evidence: format!("banned by {reason} for another {seconds} s") })
    }

    fn check_overload(&self, standing: Standing) -> Option<Refused> {
        let level = self.level();
        let is_welcome = match level {
            Level::Normal => true,
            Level::Stressed => standing != Standing::Stranger,
            Level::Overloaded => false,
        };
        let refused =
            || Refused { rule: Rule::Overload, evidence: format!("the server is {}", level.name()) };
        (!is_welcome).then(refused)
    }

    /// Counts an event of a rule that has a rate.
    fn check_rate(&self, policy: &Policy, rule: Rule, address: IpAddr) -> Option<Refused> {
        if policy.settings.rules.mode(rule) == Mode::Off {
            return None;
        }
        let rates = &policy.rates;
        let rate = match rule {
            Rule::ConnectionRate => &rates.connections,
            Rule::HandshakeRate => &rates.handshakes,
            Rule::MessageRate => &rates.messages,
            Rule::RecipientRate => &rates.recipients,
            Rule::AuthFailureRate => &rates.auth_failures,
            Rule::UnknownRecipientRate => &rates.unknown_recipients,
            _ => return None,
        };
        let rate::TooFast { prefix, per_minute } = rate.count(address)?;
        Some(Refused { rule, evidence: format!("{prefix} has had more than {per_minute} a minute") })
    }

    /// Logs and counts what a check has found, and lets it hold where its rule enforces.
    fn enforce(&self, policy: &Policy, address: IpAddr, found: Option<Refused>) -> Result<(), Refused> {
        let Some(refused) = found else { return Ok(()) };
        match policy.settings.rules.mode(refused.rule) {
            Mode::Off => Ok(()),
            Mode::Detect => {
                self.tell(address, &refused, Mode::Detect);
                Ok(())
            }
            Mode::Enforce => Err(self.refuse(address, refused)),
        }
    }

    /// What holds whatever the modes say.
    fn refuse(&self, address: IpAddr, refused: Refused) -> Refused {
        self.tell(address, &refused, Mode::Enforce);
        refused
    }

    fn tell(&self, address: IpAddr, refused: &Refused, mode: Mode) {
        self.metrics.refused(refused.rule, mode);
        let (rule, evidence) = (refused.rule.name(), &refused.evidence);
        // A flood must not become one of log lines.
        if self.log_lines.check().is_err() {
            tracing::debug!(rule, evidence, peer = %address, ?mode, "admission");
        } else if mode == Mode::Detect {
            tracing::info!(rule, evidence, peer = %address, "would refuse");
        } else {
            tracing::info!(rule, evidence, peer = %address, "refused");
        }
    }
}

/// Whether what was counted still means the same.
fn has_rates_of(old: &Settings, new: &Settings) -> bool {
    let rates = |settings: &Settings| {
        [
            settings.connection_rate,
            settings.handshake_rate,
            settings.message_rate,
            settings.recipient_rate,
            settings.auth_failure_rate,
            settings.unknown_recipient_rate,
        ]
    };
    rates(old) == rates(new)
}

fn check_reserve(standing: Standing, on_reserve: bool, slots: &Slots) -> Option<Refused> {
    let refused = || Refused {
        rule: Rule::Reserve,
        evidence: format!(
            "all {} places are taken, and the reserve is not for strangers",
            slots.general_max()
        ),
    };
    (on_reserve && standing == Standing::Stranger).then(refused)
}

const fn nonzero(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}

/// Sessions that are held back hold memory: so many at the same time, others are answered at once.
const TARPIT_MAX: usize = 256;
/// A password takes 20 ms of a thread. With these ahead of it, one of a known place is still checked within half a second.
const STRANGER_VERIFICATIONS_MAX: usize = 16;
/// A handshake takes about a third of a millisecond: less than a tenth of one core.
const STRANGER_HANDSHAKES: NonZeroU32 = nonzero(200);
/// Enough to see what is going on; the counters have them all.
const LOG_LINES: NonZeroU32 = nonzero(20);

#[cfg(test)]
mod tests;
