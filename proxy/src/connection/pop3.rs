//! POP3 on the driver: the session of `gatepost_core::access::pop3`, and the rooms that answer its questions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_core::BoxFuture;
use gatepost_core::access::gate::Withheld;
use gatepost_core::access::pop3::{Answer, Config, Entry, Maildrop, Output, Question, Session, Ticket};
use gatepost_core::directory::Password;
use gatepost_core::events::{What, evidence};
use gatepost_core::store::Listing;
use gatepost_smtp::server::{Identity, PeerClass, TlsFacts};

use super::drive::{as_octets, now};
use super::machine::{Machine, Step};
use super::mailbox_lock::MailboxLock;
use super::{Ending, Peer};
use crate::tls::Proof;

/// One POP3 session and what it holds.
pub(super) struct Pop3Machine {
    session: Session,
    peer: Peer,
    /// Held from `Open` to the end.
    mailbox: Option<MailboxLock>,
    /// Whether a mail was handed out and not counted yet.
    gave_mail: bool,
}

/// Nothing is known about a password.
struct Unchecked;

// === impl Pop3Machine ===

impl Pop3Machine {
    pub(super) fn open(config: Arc<Config>, peer: Peer, is_secured: bool, now: Instant) -> Self {
        Self { session: Session::open(config, is_secured, now), peer, mailbox: None, gave_mail: false }
    }

    async fn find(&mut self, question: Question) -> Answer {
        match question {
            Question::Authenticate { user, password } => self.authenticate(&user, password).await,
            Question::Open { identity } => self.open_mailbox(&identity).await,
            Question::Fetch { uid, is_read } => self.fetch(uid, is_read).await,
            Question::Delete { uids } => self.delete(uids).await,
        }
    }

    /// The gate waits as long as it is told to, and has a bound of its own for that.
    fn answer_time_max(&self, question: &Question) -> Duration {
        let of_gate = match question {
            Question::Fetch { .. } => self.peer.context.services.gate.patience(),
            Question::Authenticate { .. } | Question::Open { .. } | Question::Delete { .. } => Duration::ZERO,
        };
        ANSWER_TIME_MAX.saturating_add(of_gate)
    }

    async fn authenticate(&self, user: &str, password: Password) -> Answer {
        let context = &self.peer.context;
        let (outcome, answer) = match self.verify(user, password).await {
            Ok(Some(identity)) => ("ok", Answer::Authenticated(identity)),
            Ok(None) => ("failed", Answer::NotAuthenticated),
            Err(Unchecked) => ("unavailable", Answer::Unavailable),
        };
        context.metrics.authenticated(POP3_MECHANISM, outcome);
        self.peer.record(told(&answer));
        let (session, peer) = (&self.peer.session, &self.peer.address);
        if let Answer::Authenticated(Identity { user, .. }) = &answer {
            tracing::debug!(%session, user, "authenticated");
        } else {
            // Without the name: people type their password where it belongs.
            tracing::info!(%session, %peer, mechanism = POP3_MECHANISM, outcome, "authentication failed");
        }
        answer
    }

    /// Under the same limits, bans and lock-outs as AUTH of SMTP. An account without a mailbox hears the same as a wrong
    /// password, after the same time.
    async fn verify(&self, user: &str, password: Password) -> Result<Option<Identity>, Unchecked> {
        let log_in = self.peer.guest.log_in(user).map_err(|_| Unchecked)?;
        let verifier = &self.peer.context.services.verifier;
        let identity = verifier.verify(user, password).await.map_err(|_| Unchecked)?;
        let identity = identity.filter(|identity| self.has_mailbox(identity));
        match &identity {
            Some(identity) => log_in.succeeded(&identity.user),
            None => log_in.failed(user).await,
        }
        Ok(identity)
    }

    fn has_mailbox(&self, identity: &Identity) -> bool {
        let has_mailbox = identity.class == PeerClass::User;
        if !has_mailbox {
            let (session, user, class) = (&self.peer.session, &identity.user, identity.class.name());
            tracing::info!(%session, user, class, "an account of this class has no mailbox to read");
        }
        has_mailbox
    }

    async fn open_mailbox(&mut self, identity: &Identity) -> Answer {
        let context = &self.peer.context;
        let Some(lock) = context.locks.acquire(&identity.user) else {
            return Answer::InUse;
        };
        match context.services.store.list(lock.mailbox()).await {
            Ok(listing) => {
                let octets = ENTRY_OCTETS.saturating_mul(as_octets(listing.messages.len()));
                if self.peer.guest.hold(octets).is_err() {
                    return Answer::Unavailable;
                }
                self.mailbox = Some(lock);
                Answer::Opened(maildrop(&listing))
            }
            Err(error) => {
                tracing::warn!(session = %self.peer.session, %error, "a mailbox cannot be opened");
                Answer::Unavailable
            }
        }
    }

    async fn fetch(&self, uid: u32, is_read: bool) -> Answer {
        let Some(mailbox) = &self.mailbox else {
            return Answer::Unavailable;
        };
        match self.peer.context.services.gate.release(mailbox.mailbox(), uid).await {
            Ok(released) => {
                if is_read {
                    let (mailbox, user) = (evidence(mailbox.mailbox()), self.session.user().map(evidence));
                    let user = user.unwrap_or_default();
                    let read = What::MailRead { mailbox, user, protocol: "POP3".into(), uid };
                    self.peer.record_mail(Some(released.queue_id.to_string()), read);
                }
                Answer::Message(released.octets)
            }
            Err(Withheld::Gone) => Answer::Gone,
            Err(Withheld::Infected { .. }) => Answer::Withheld,
            Err(Withheld::Replaced { .. }) => Answer::Replaced,
            Err(Withheld::Unavailable) => Answer::Unavailable,
        }
    }

    async fn delete(&self, uids: Vec<u32>) -> Answer {
        let Some(mailbox) = &self.mailbox else {
            return Answer::Unavailable;
        };
        match self.peer.context.services.store.delete(mailbox.mailbox(), uids).await {
            Ok(_) => Answer::Deleted,
            Err(error) => {
                tracing::warn!(session = %self.peer.session, %error, "messages cannot be deleted");
                Answer::Unavailable
            }
        }
    }
}

impl Machine for Pop3Machine {
    type Question = (Ticket, Question);

    fn feed(&mut self, now: Instant, octets: &[u8]) -> usize {
        self.session.feed(now, octets)
    }

    fn settle(&mut self) -> Option<BoxFuture<'_, ()>> {
        None
    }

    fn poll(&mut self) -> Option<Step<Self::Question>> {
        if std::mem::take(&mut self.gave_mail) {
            return Some(Step::Mail);
        }
        Some(match self.session.poll(now())? {
            Output::Send(octets) => Step::Send(octets),
            Output::Ask(ticket, question) => Step::Ask((ticket, question)),
            Output::Upgrade => Step::Upgrade,
            Output::Close(reason) => Step::Close(Ending::Pop3(reason)),
        })
    }

    fn resolve(&mut self, (ticket, question): Self::Question) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let time_max = self.answer_time_max(&question);
            let answer = tokio::time::timeout(time_max, self.find(question)).await;
            let answer = answer.unwrap_or(Answer::Unavailable);
            if matches!(answer, Answer::Message(_)) {
                self.gave_mail = true;
                self.peer.context.metrics.mail_read();
            }
            self.session.answer(now(), ticket, answer);
        })
    }

    fn tick(&mut self, now: Instant) {
        self.session.tick(now);
    }

    fn eof(&mut self, _now: Instant) {
        self.session.eof();
    }

    fn shutdown(&mut self, _now: Instant) {
        self.session.shutdown();
    }

    fn displaced(&self) -> String {
        "-ERR [SYS/TEMP] this place is needed for others, try later\r\n".to_owned()
    }

    fn deadline(&self) -> Instant {
        self.session.deadline()
    }

    fn into_secured(self, _facts: TlsFacts, _proof: Proof, now: Instant) -> Self {
        Self { session: self.session.into_secured(now), peer: self.peer, mailbox: None, gave_mail: false }
    }
}

/// A log-in for the event log.
fn told(answer: &Answer) -> What {
    let refused = |rule: &'static str| What::Refused {
        rule: rule.into(),
        verb: "PASS".into(),
        code: None,
        // Not the name: people type their password where it belongs.
        evidence: Some(POP3_MECHANISM.into()),
        limit: None,
        token: None,
    };
    match answer {
        Answer::Authenticated(identity) => {
            What::Authenticated { user: evidence(&identity.user), mechanism: POP3_MECHANISM.into() }
        }
        Answer::NotAuthenticated => refused("auth.failed"),
        _ => refused("auth.unavailable"),
    }
}

fn maildrop(listing: &Listing) -> Maildrop {
    let entries =
        listing.messages.iter().map(|message| Entry { uid: message.uid, octets: message.octets }).collect();
    Maildrop { uid_validity: listing.uid_validity, entries }
}

/// The label of USER/PASS and AUTH PLAIN, which the session does not tell apart.
const POP3_MECHANISM: &str = "pop3-password";
/// A message of an open mailbox: uid, size and mark in the session, and what the store has listed meanwhile.
const ENTRY_OCTETS: u64 = 64;
/// Longer than the verifier waits for a thread, or the store for its disk: a bound for a room that hangs.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
