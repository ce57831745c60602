//! The scan before 250: what a session makes of its verdict, and of none.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use gatepost_core::events::{About, Details, What};
use gatepost_core::intake::{Body, Origin, Submission};
use gatepost_core::quarantine::Evidence;
use gatepost_core::queue::{NewMessage, QueueId};
use gatepost_core::scan::{FailMode, Priority, ScanReport, Stamp, Unscanned, Verdict};
use gatepost_smtp::server::Refusal;

use super::Rooms;

/// How sessions have mail scanned, by their listeners' names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionScans {
    /// On listeners that are not named.
    pub usual: SessionScan,
    /// On these.
    pub of_listeners: HashMap<String, SessionScan>,
}

/// How the sessions of a listener have mail scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionScan {
    /// How long a session waits for its scan. `None`: not at all; the queue scans.
    pub time_max: Option<Duration>,
    /// What becomes of mail without a verdict.
    pub fail: FailMode,
    /// What becomes of mail with a finding.
    pub suspects: SuspectAction,
}

/// What becomes of infected mail, and of mail that may not pass since nobody can look into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SuspectAction {
    /// Its sender is told at once.
    #[default]
    Refuse,
    /// It is kept in the quarantine and answered with 250, so that nobody learns by it what is found here.
    Quarantine,
    /// It is taken, and the queue does with it what the policy says.
    Queue,
}

/// What the scan means for a mail that is not refused.
#[derive(Debug)]
pub(super) enum Scanned {
    Vouched(Stamp),
    /// The queue has it scanned before anybody gets it, or afterwards where the listener fails open.
    Unvouched,
    Suspect(Evidence),
}

// === impl SessionScans ===

impl SessionScans {
    fn of(&self, listener: &str) -> SessionScan {
        self.of_listeners.get(listener).copied().unwrap_or(self.usual)
    }
}

// === impl Rooms ===

impl Rooms {
    /// # Errors
    /// The refusal that the mail is answered with.
    pub(super) async fn scan(
        &self,
        id: QueueId,
        body: &Body,
        submission: &Submission,
        scans: &SessionScans,
    ) -> Result<Scanned, Refusal> {
        let origin = &submission.origin;
        let how = scans.of(&origin.listener);
        let Some(time_max) = how.time_max else { return Ok(Scanned::Unvouched) };
        let report = self.scanner.scan(body.clone(), Priority::High, time_max).await;
        if report.verdict == Verdict::Clean {
            return Ok(Scanned::Vouched(report.stamp));
        }
        let verdict = report.verdict.to_string();
        let details = Details::of(submission, body);
        let what = What::Scanned { verdict: verdict.clone(), details: details.clone() };
        self.events.record(About::from(origin), what);
        match report.verdict.finding() {
            Some(threat) => self.suspect(origin, how.suspects, threat, report),
            None => self.without_verdict(id, origin, how.fail, verdict, details),
        }
    }

    fn suspect(
        &self,
        origin: &Origin,
        action: SuspectAction,
        threat: String,
        report: ScanReport,
    ) -> Result<Scanned, Refusal> {
        let (session, user) = (&origin.session, origin.user.as_deref());
        let is_infected = matches!(report.verdict, Verdict::Infected { .. });
        match action {
            SuspectAction::Quarantine => {
                let (item, stamp) = (report.culprit, Some(report.stamp));
                return Ok(Scanned::Suspect(Evidence { threat, item, stamp }));
            }
            SuspectAction::Queue if is_infected => {
                tracing::info!(session, user, threat, "an infected mail is left to the queue");
                return Ok(Scanned::Unvouched);
            }
            SuspectAction::Queue | SuspectAction::Refuse => {}
        }
        tracing::info!(session, user, peer = %origin.peer, threat, "a mail was refused for what was found in it");
        Err(if is_infected { Refusal::Infected } else { Refusal::ContentRejected })
    }

    fn without_verdict(
        &self,
        id: QueueId,
        origin: &Origin,
        fail: FailMode,
        verdict: String,
        details: Details,
    ) -> Result<Scanned, Refusal> {
        let (session, listener) = (&origin.session, &origin.listener);
        tracing::warn!(
            session,
            listener,
            verdict,
            fail = fail.name(),
            "no scan in the session vouches for a mail"
        );
        // What is refused gets no id.
        let queue_id = (fail != FailMode::Closed).then(|| id.to_string());
        let about = About { queue_id, ..About::from(origin) };
        self.events.record(about, What::Unscanned { verdict, fail: fail.name().into(), details });
        if fail == FailMode::Closed {
            self.scanner.count_unscanned(Unscanned::Refused);
            return Err(Refusal::ScanUnavailable);
        }
        self.scanner.count_unscanned(Unscanned::Queued);
        Ok(Scanned::Unvouched)
    }

    /// A suspect's own 250: the quarantine has it.
    ///
    /// # Errors
    /// It has not.
    pub(super) async fn keep(&self, message: NewMessage, evidence: Evidence) -> Result<(), Refusal> {
        let (id, session) = (message.id, message.submission.origin.session.clone());
        let Some(suspects) = self.suspects.load_full() else { return Err(Refusal::LocalError) };
        tracing::info!(queue_id = %id, session, threat = evidence.threat, "a mail goes into quarantine from its session");
        suspects.keep(message, evidence).await.map_err(|error| {
            tracing::error!(queue_id = %id, session, %error, "an infected mail could not be put into quarantine");
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refusal::StorageFull,
                _ => Refusal::StorageFailed,
            }
        })
    }
}
