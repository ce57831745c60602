//! One attempt: a mail's recipients at one destination, server after server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::super::hop::{Consignment, HopFailure, NextHop, Served, Verdict};
use super::super::retry::Setback;
use super::super::route::Destination;
use super::super::tls_policy::PolicyKind;
use super::super::worker::caught;
use super::super::{Attempt, Disposition, HopReport};
use super::destinations::{Blame, NoPlace, Place, Ticket};
use super::metrics::Security;
use super::targets::{Finder, NoTarget};
use super::tls_results::TlsResults;
use super::tls_wish::TlsWish;
use super::{Inner, Kept, Settings};
use crate::queue::NewMessage;
use crate::scan::Stamp;

/// What is known so far.
struct Trip<'a> {
    message: &'a NewMessage,
    /// Whom no server has said anything final about in this attempt.
    waiting: Vec<usize>,
    attempts: Vec<Attempt>,
    wish: TlsWish,
    /// The stamp of the signatures in which its scan found nothing.
    cleared_by: Stamp,
    /// The last server that was tried, and how that ended.
    failure: Option<(String, HopFailure)>,
    /// What the last connection's TLS went by, where that is not the configuration, and whether it has TLS.
    tls: Option<(Option<PolicyKind>, bool)>,
    /// Whether a server has answered for a recipient.
    was_served: bool,
    /// Whether all servers so far have said that they take no mail at all.
    all_refuse: bool,
    /// Whether all servers so far will not have a mail that must stay in TLS.
    all_lack_tls: bool,
}

// === impl Inner ===

impl Inner {
    /// All groups at the same time: the time of a mail is that of its slowest server.
    pub(super) async fn attempt_all(
        self: &Arc<Self>,
        message: &Arc<NewMessage>,
        groups: Vec<(Ticket<Kept>, Destination, Vec<usize>)>,
        mut attempted: Vec<Attempt>,
    ) -> Vec<Attempt> {
        let mut tasks = JoinSet::new();
        for (ticket, destination, recipients) in groups {
            let (inner, message) = (Arc::clone(self), Arc::clone(message));
            tasks.spawn(async move { inner.guarded(&message, &ticket, &destination, recipients).await });
        }
        while let Some(ended) = tasks.join_next().await {
            // Panics are caught inside, and nobody else ends these tasks.
            attempted.extend(ended.unwrap_or_default());
        }
        attempted
    }

    /// An attempt that ends, whatever happens.
    async fn guarded(
        &self,
        message: &NewMessage,
        ticket: &Ticket<Kept>,
        destination: &Destination,
        recipients: Vec<usize>,
    ) -> Vec<Attempt> {
        let _watched = self.tools.watchdog.watch(message, "sending it on", WATCHED_TIME_MAX);
        // On the heap: a whole session with a next hop lies in it.
        let attempt = Box::pin(caught(self.attempt(message, ticket, destination, recipients.clone())));
        match timeout(ATTEMPT_TIME_MAX, attempt).await {
            Ok(Ok(attempts)) => attempts,
            Ok(Err(_)) => {
                let session = message.submission.origin.session.as_str();
                tracing::error!(queue_id = %message.id, session, %destination, "a delivery panicked over this mail; it is put off");
                Attempt::put_off(&recipients, &Setback::Panicked)
            }
            Err(_) => {
                let reason = "4.4.2 the attempt took too long".to_owned();
                Attempt::put_off(&recipients, &Setback::NextHop { reason })
            }
        }
    }

    async fn attempt(
        &self,
        message: &NewMessage,
        ticket: &Ticket<Kept>,
        destination: &Destination,
        recipients: Vec<usize>,
    ) -> Vec<Attempt> {
        // A worker has just had it cleared by these signatures.
        let cleared_by = (self.tools.current_stamp)();
        let settings = self.settings.load_full();
        let place = match ticket.place().await {
            Ok(place) => place,
            Err(NoPlace::PutOff(put_off)) => {
                return Attempt::put_off(&recipients, &put_off.setback(destination));
            }
            Err(NoPlace::Closed) => return Vec::new(),
        };
        let wish = TlsWish::of(message, &self.tools.courier).await;
        let mut trip = Trip::new(message, recipients, wish, cleared_by);
        // They were made for mail that asks for less.
        if wish != TlsWish::Required {
            self.over_kept_connections(&mut trip, &place).await;
        }
        if trip.is_over() {
            return self.end(trip, place, destination);
        }
        let targets = match self.finder(&settings, wish).targets(destination).await {
            Ok(targets) => targets,
            Err(why) => return self.no_target(trip, place, &why),
        };
        for target in &targets {
            self.over_new_connection(&mut trip, &place, target).await;
            if trip.is_over() {
                break;
            }
        }
        self.end(trip, place, destination)
    }

    pub(super) fn finder<'a>(&'a self, settings: &'a Settings, wish: TlsWish) -> Finder<'a> {
        Finder {
            resolver: &*self.tools.resolver,
            settings,
            roots: &self.tools.roots,
            health: &self.hops,
            policies: &self.policies,
            prover: &self.prover,
            wish,
            results: self.results(wish),
        }
    }

    fn results(&self, wish: TlsWish) -> TlsResults<'_> {
        TlsResults::new(self.tools.ledger.as_ref(), wish)
    }

    /// A server that has closed a connection meanwhile is no failure: nothing was asked of it.
    async fn over_kept_connections(&self, trip: &mut Trip<'_>, place: &Place<'_, Kept>) {
        while !trip.is_over()
            && let Some(mut kept) = place.kept()
        {
            if kept.connection.is_usable().await {
                self.tools.metrics.count_reused();
                self.deliver(trip, place, kept).await;
                if !trip.is_over() {
                    trip.failure = None;
                }
            }
        }
    }

    async fn over_new_connection(&self, trip: &mut Trip<'_>, place: &Place<'_, Kept>, target: &NextHop) {
        match self.tools.courier.connect(target).await {
            Ok(connection) => {
                self.tools.metrics.count_opened();
                self.tools.metrics.count_tls(target, Security::of(&connection, target));
                self.results(trip.wish).connected(target, &connection);
                // What failed before is that hop's, and its destination has another.
                trip.failure = None;
                let policy = target.policy().cloned();
                self.deliver(trip, place, Kept { connection, opened_at: Instant::now(), policy }).await;
                if trip.is_over() || matches!(trip.failure, Some((_, HopFailure::NoRequireTls))) {
                    self.hops.served(target.address());
                } else {
                    self.hops.failed(target.address());
                }
            }
            Err(failure) => {
                self.tools.metrics.count_failed();
                if failure.is_of_tls() {
                    self.tools.metrics.count_tls(target, Security::Failed);
                }
                self.results(trip.wish).failed(target, &failure);
                if !trip.asks_more_than_others(&failure) {
                    self.hops.failed(target.address());
                }
                trip.failed(target, failure);
            }
        }
    }

    async fn deliver(&self, trip: &mut Trip<'_>, place: &Place<'_, Kept>, kept: Kept) {
        let Kept { connection, opened_at, policy } = kept;
        trip.tls = Some((policy.as_ref().map(|policy| policy.kind), connection.tls().is_some()));
        let recipients = std::mem::take(&mut trip.waiting);
        // It may have waited for a place, and for other servers, while new signatures came.
        if (self.tools.current_stamp)() != trip.cleared_by {
            trip.attempts.extend(Attempt::put_off(&recipients, &Setback::Scan));
            return connection.quit().await;
        }
        let delivered = connection.deliver(&Consignment::of(trip.message, &recipients)).await;
        for served in delivered.served {
            trip.take(served);
        }
        let Some(connection) = delivered.connection else { return };
        let kept = Kept { connection, opened_at, policy };
        // What was found out before it was opened may have changed since: the hosts, or what they must prove.
        // One that was made for mail that waives TLS has proven nothing to other mail.
        let is_fresh = opened_at.elapsed() < REUSED_TIME_MAX && trip.wish != TlsWish::Waived;
        if let Some(surplus) = if is_fresh { place.keep(kept) } else { Some(kept) } {
            surplus.connection.quit().await;
        }
    }

    /// Tells the destination's health how it went, and the recipients that nobody spoke of.
    fn end(&self, mut trip: Trip<'_>, place: Place<'_, Kept>, destination: &Destination) -> Vec<Attempt> {
        let failure = trip.failure.take();
        match &failure {
            // Other mail would be taken.
            None | Some((_, HopFailure::NoRequireTls)) => place.succeeded(),
            Some((_, HopFailure::Body(_))) => drop(place),
            Some((_, failure)) if trip.asks_more_than_others(failure) => drop(place),
            Some((name, failure)) => {
                let blame = if trip.was_served { Blame::Busy } else { Blame::Unreachable };
                place.failed(blame, &reason(name, failure));
            }
        }
        if let Some((name, failure)) = failure {
            trip.give_up(&name, &failure);
        }
        for attempt in &trip.attempts {
            self.tools.metrics.count_attempt(attempt);
        }
        let (queue_id, session) = (trip.message.id, trip.message.submission.origin.session.as_str());
        let done = trip.attempts.iter().filter(|attempt| attempt.is_done()).count();
        let hop = trip.attempts.iter().find_map(|attempt| attempt.hop.as_ref());
        let (hop, reply) = hop.map_or((None, None), |hop| (Some(hop.name.as_str()), hop.reply.as_deref()));
        let (policy, in_tls) = trip.tls.map_or((None, None), |(policy, in_tls)| (policy, Some(in_tls)));
        let tls_policy = policy.map(PolicyKind::name);
        info!(%queue_id, session, %destination, hop, reply, in_tls, tls_policy, recipients = trip.attempts.len(), done, "tried to send on");
        trip.attempts
    }

    /// The DNS says that there is nobody, or nothing. Where it does not answer, all mail for this destination waits.
    fn no_target(&self, mut trip: Trip<'_>, place: Place<'_, Kept>, why: &NoTarget) -> Vec<Attempt> {
        let reason = why.to_string();
        if why.is_permanent() {
            drop(place);
        } else {
            place.failed(Blame::Unreachable, &reason);
        }
        let result = if why.is_permanent() {
            Ok(Disposition::Bounced { reason })
        } else {
            Err(Setback::NextHop { reason })
        };
        let waiting = std::mem::take(&mut trip.waiting);
        trip.attempts.extend(waiting.into_iter().map(|recipient| Attempt::local(recipient, result.clone())));
        for attempt in &trip.attempts {
            self.tools.metrics.count_attempt(attempt);
        }
        trip.attempts
    }
}

// === impl Trip ===

impl<'a> Trip<'a> {
    const fn new(message: &'a NewMessage, recipients: Vec<usize>, wish: TlsWish, cleared_by: Stamp) -> Self {
        Self {
            message,
            waiting: recipients,
            attempts: Vec::new(),
            wish,
            cleared_by,
            failure: None,
            tls: None,
            was_served: false,
            all_refuse: true,
            all_lack_tls: true,
        }
    }

    /// All have been answered for, or our own disk does not give the mail, and nobody else could take it either.
    const fn is_over(&self) -> bool {
        self.waiting.is_empty() || matches!(self.failure, Some((_, HopFailure::Body(_))))
    }

    /// What a server said of one recipient.
    fn take(&mut self, served: Served) {
        let Served { recipient, verdict, report } = served;
        let result = match verdict {
            Verdict::Delivered => Ok(Disposition::Delivered),
            Verdict::Refused { reason } => Ok(Disposition::Bounced { reason }),
            Verdict::PutOff { reason } => Err(Setback::NextHop { reason }),
            Verdict::Failed(failure) => {
                self.all_refuse = false;
                self.all_lack_tls &= failure.keeps_from_tls();
                let name = report.name.clone();
                // It may have the mail: to ask another server at once would make a second one of it.
                if may_have_delivered(&failure) {
                    let setback = Setback::NextHop { reason: reason(&name, &failure) };
                    self.attempts.push(Attempt { recipient, result: Err(setback), hop: Some(report) });
                } else {
                    self.waiting.push(recipient);
                }
                self.failure = Some((name, failure));
                return;
            }
        };
        self.was_served = true;
        self.all_refuse = false;
        self.attempts.push(Attempt { recipient, result, hop: Some(report) });
    }

    /// No mail got as far as this server.
    fn failed(&mut self, target: &NextHop, failure: HopFailure) {
        debug!(hop = target.name(), address = %target.address(), %failure, "a next hop could not be used");
        let takes_no_mail = failure.reply().is_some_and(|reply| reply.code() == TAKES_NO_MAIL);
        self.all_refuse &= takes_no_mail;
        self.all_lack_tls &= failure.keeps_from_tls();
        self.failure = Some((target.name().to_owned(), failure));
    }

    /// Whether a failure says nothing of the server to other mail: it did not give the security that this one insists on.
    fn asks_more_than_others(&self, failure: &HopFailure) -> bool {
        self.wish == TlsWish::Required && failure.keeps_from_tls()
    }

    /// Nobody is left to be asked.
    fn give_up(&mut self, name: &str, failure: &HopFailure) {
        let report = HopReport {
            name: name.to_owned(),
            reply: failure.reply().map(ToString::to_string),
            takes_dsn: false,
        };
        let result = if self.all_refuse {
            Ok(Disposition::Bounced { reason: format!("5.3.2 {name}: takes no mail at all") })
        } else if self.wish == TlsWish::Required && self.all_lack_tls {
            // No way meets what the sender asks for (RFC 8689 section 4.2.1).
            Ok(Disposition::Bounced { reason: format!("5.7.30 {name}: {failure}") })
        } else if matches!(failure, HopFailure::Body(io::ErrorKind::InvalidData)) {
            Err(Setback::Damaged)
        } else {
            Err(Setback::NextHop { reason: reason(name, failure) })
        };
        let waiting = std::mem::take(&mut self.waiting);
        let attempt = |recipient| Attempt { recipient, result: result.clone(), hop: Some(report.clone()) };
        self.attempts.extend(waiting.into_iter().map(attempt));
    }
}

fn may_have_delivered(failure: &HopFailure) -> bool {
    matches!(failure, HopFailure::Session(failure) if failure.may_have_delivered())
}

/// The status first, then who, then what.
fn reason(name: &str, failure: &HopFailure) -> String {
    let reason = failure.reason();
    let (status, text) = reason.split_once(' ').unwrap_or(("4.0.0", &reason));
    format!("{status} {name}: {text}")
}

/// A busy destination never closes its connections by itself.
const REUSED_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// 521: a host without mail (RFC 7504 section 3).
const TAKES_NO_MAIL: u16 = 521;
/// The client's own bounds of all servers that are tried, and then some: what is left after it is a mistake of ours.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(3 * 60 * 60);
/// An attempt that was not even ended by its time limit.
const WATCHED_TIME_MAX: Duration = ATTEMPT_TIME_MAX.saturating_add(Duration::from_secs(60));
