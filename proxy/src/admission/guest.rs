//! Somebody who was let in, and what he may do how often.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::SemaphorePermit;

use super::concurrency::Counted;
use super::memory::{SessionMemory, TLS_OCTETS};
use super::slots::Occupant;
use super::verdict::{Mode, Refused, Rule};
use super::{Admission, Standing};

/// An admitted connection. Counts as one until it is dropped.
#[derive(Debug)]
pub struct Guest {
    admission: Arc<Admission>,
    address: IpAddr,
    standing: Standing,
    occupant: Arc<Occupant>,
    memory: Arc<SessionMemory>,
    _counted: Counted,
}

/// A password may be checked as long as this is held.
#[derive(Debug)]
pub(crate) struct LogIn<'a> {
    guest: &'a Guest,
    _turn: Option<SemaphorePermit<'a>>,
}

// === impl Guest ===

impl Guest {
    pub(super) const fn new(
        admission: Arc<Admission>,
        address: IpAddr,
        standing: Standing,
        occupant: Arc<Occupant>,
        memory: Arc<SessionMemory>,
        counted: Counted,
    ) -> Self {
        Self { admission, address, standing, occupant, memory, _counted: counted }
    }

    /// This connection goes on for somebody else, as its relay says; he takes no place of his own.
    ///
    /// # Errors
    /// The rule that refuses him, and what it saw.
    pub(crate) fn on_behalf_of(&self, address: IpAddr) -> Result<Self, Refused> {
        let admission = &self.admission;
        let (standing, counted) = admission.let_in(&admission.policy.load(), address, now())?;
        let (occupant, memory) = (Arc::clone(&self.occupant), Arc::clone(&self.memory));
        Ok(Self::new(Arc::clone(admission), address, standing, occupant, memory, counted))
    }

    /// The session has got somewhere: a reply was written, or a good part of a body has come.
    pub(crate) fn progress(&self) {
        self.occupant.progress(now());
    }

    /// While we owe the peer an answer, waiting is not its fault: it is not displaced.
    pub(crate) fn set_owed(&self, is_owed: bool) {
        self.occupant.set_owed(is_owed);
    }

    /// Waits until the session has to leave. Only one may wait.
    pub(crate) async fn displaced(&self) {
        self.occupant.displaced().await;
    }

    /// Whether the session has to leave.
    pub(crate) fn is_displaced(&self) -> bool {
        self.occupant.is_displaced()
    }

    /// The session has made room.
    pub(crate) fn has_left(&self) {
        self.admission.metrics.displaced();
    }

    /// Whether somebody from there has waited for the greeting lately.
    pub(super) fn has_waited(&self) -> bool {
        self.admission.passed.has(self.address, now())
    }

    /// Somebody from there has waited for the greeting.
    pub(super) fn waited(&self) {
        self.admission.passed.add(self.address, now());
    }

    /// Whether nothing is known of the address.
    pub(super) fn is_stranger(&self) -> bool {
        self.standing == Standing::Stranger
    }

    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }

    /// What a rule may do.
    pub(super) fn mode(&self, rule: Rule) -> Mode {
        self.admission.policy.load().settings.rules.mode(rule)
    }

    /// A TLS handshake, which costs us more than the peer.
    ///
    /// # Errors
    /// Too many of them from there, or from all strangers together, or no memory for one.
    pub(crate) fn handshake(&self) -> Result<(), Refused> {
        self.count(Rule::HandshakeRate)?;
        let is_flood = self.standing == Standing::Stranger && self.admission.handshakes.check().is_err();
        self.enforce(is_flood.then(|| Refused {
            rule: Rule::HandshakeRate,
            evidence: "strangers have begun too many handshakes within this second".to_owned(),
        }))?;
        self.hold(TLS_OCTETS)
    }

    /// The session holds so many octets more, to its end.
    ///
    /// # Errors
    /// There is no memory for them.
    pub(crate) fn hold(&self, octets: u64) -> Result<(), Refused> {
        let held = self.admission.memory.hold(&self.memory, octets);
        held.map_err(|refused| self.admission.refuse(self.address, refused))
    }

    /// MAIL.
    ///
    /// # Errors
    /// Too many from there.
    pub(crate) fn message(&self) -> Result<(), Refused> {
        self.count(Rule::MessageRate)
    }

    /// RCPT.
    ///
    /// # Errors
    /// Too many from there.
    pub(crate) fn recipient(&self) -> Result<(), Refused> {
        self.count(Rule::RecipientRate)
    }

    /// RCPT was refused, since there is no such mailbox. Who goes on guessing is banned; the answer is held back.
    pub(crate) async fn unknown_recipient(&self) {
        self.count_towards_ban(Rule::UnknownRecipientRate);
        self.tarpit().await;
    }

    /// Somebody wants to log in as `user`.
    ///
    /// # Errors
    /// Passwords of this user are being guessed and he is not known at this place, or strangers have too many passwords
    /// checked.
    pub(crate) fn log_in(&self, user: &str) -> Result<LogIn<'_>, Refused> {
        if self.standing == Standing::Trusted {
            return Ok(LogIn { guest: self, _turn: None });
        }
        let (admission, now) = (&self.admission, now());
        self.enforce(admission.check_ban(self.address, now))?;
        let is_known = admission.known_good.has_pair(user, self.address, now);
        let failures_max = admission.policy.load().settings.lockout_failures.get();
        let is_locked = !is_known && admission.lockouts.is_locked(user, failures_max, now);
        self.enforce(is_locked.then(|| Refused {
            rule: Rule::Lockout,
            evidence: format!(
                "a user with {failures_max} failed log-ins, from a place where he is not known"
            ),
        }))?;
        let turn = if self.standing == Standing::Stranger && !is_known {
            let turn = admission.verifications.try_acquire();
            Some(turn.map_err(|_| Refused {
                rule: Rule::Overload,
                evidence: "strangers have as many passwords checked as they may".to_owned(),
            })?)
        } else {
            None
        };
        Ok(LogIn { guest: self, _turn: turn })
    }

    /// Somebody wants to log in as who his certificate says he is: there is nothing to guess, so no user is locked out by
    /// it, and none is known by his password.
    ///
    /// # Errors
    /// The address is banned.
    pub(crate) fn log_in_by_certificate(&self) -> Result<LogIn<'_>, Refused> {
        if self.standing != Standing::Trusted {
            self.enforce(self.admission.check_ban(self.address, now()))?;
        }
        Ok(LogIn { guest: self, _turn: None })
    }

    fn count(&self, rule: Rule) -> Result<(), Refused> {
        if self.standing == Standing::Trusted {
            return Ok(());
        }
        let policy = self.admission.policy.load();
        self.enforce(self.admission.check_rate(&policy, rule, self.address))
    }

    /// Trusted networks are never counted here, so nothing can ban them.
    fn count_towards_ban(&self, rule: Rule) {
        if self.count(rule).is_err() {
            let time = self.admission.policy.load().settings.ban_time.duration();
            self.admission.bans.ban(self.address, rule, now(), time);
        }
    }

    pub(super) fn enforce(&self, found: Option<Refused>) -> Result<(), Refused> {
        if self.standing == Standing::Trusted {
            return Ok(());
        }
        let policy = self.admission.policy.load();
        self.admission.enforce(&policy, self.address, found)
    }

    /// Holds an answer back, unless too many are held back already.
    async fn tarpit(&self) {
        if self.standing == Standing::Trusted {
            return;
        }
        let Ok(_held) = self.admission.tarpit.try_acquire() else { return };
        let gauge = self.admission.metrics.tarpitted();
        gauge.inc();
        // Given back also where the session ends meanwhile.
        let _counted = Decrement(gauge);
        let delay = self.admission.policy.load().settings.tarpit_delay.duration();
        tokio::time::sleep(delay).await;
    }
}

struct Decrement<'a>(&'a prometheus::IntGauge);

impl Drop for Decrement<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl LogIn ===

impl LogIn<'_> {
    /// The password was right: `user`, by the name of the account, is known here from now on.
    pub(crate) fn succeeded(self, user: &str) {
        let admission = &self.guest.admission;
        admission.lockouts.succeeded(user);
        admission.known_good.add(user, self.guest.address, now());
        self.guest.occupant.befriend();
    }

    /// The password was wrong. Who goes on guessing is banned; the answer is held back.
    pub(crate) async fn failed(self, user: &str) {
        let Self { guest, _turn: turn } = self;
        // Waiting must not keep others from having theirs checked.
        drop(turn);
        let policy = guest.admission.policy.load_full();
        if guest.standing != Standing::Trusted && policy.settings.rules.lockout != Mode::Off {
            guest.admission.lockouts.failed(user, now(), policy.settings.lockout_time.duration());
        }
        guest.count_towards_ban(Rule::AuthFailureRate);
        guest.tarpit().await;
    }
}

/// The runtime's clock, so that tests can stop it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
