//! What the scan says of a mail before it goes anywhere: every attempt asks, to mailboxes and to other servers alike.

use std::time::Duration;

use tracing::warn;

use super::rooms::Rooms;
use crate::events::{About, What};
use crate::quarantine::Evidence;
use crate::queue::NewMessage;
use crate::scan::{Priority, Stamp, Verdict};

/// What the scan said about a mail as a whole.
pub(super) enum Clearance {
    Clean(Stamp),
    /// Infected, or nothing that can be looked into, which the policy lets nobody have.
    Suspect {
        is_infected: bool,
        evidence: Evidence,
    },
    /// There is no verdict now.
    Unknown(Verdict),
}

// === impl Clearance ===

impl Clearance {
    /// The session's scan counts while its stamp is current; otherwise the mail is scanned here.
    pub(super) async fn of(message: &NewMessage, rooms: &Rooms, deadline: Duration) -> Self {
        if let Some(stamp) = &message.stamp
            && Box::pin(rooms.scanner.upholds(&message.body, None, stamp)).await
        {
            return Self::Clean(stamp.clone());
        }
        let report = rooms.scanner.scan(message.body.clone(), Priority::Low, deadline).await;
        if report.verdict == Verdict::Clean {
            return Self::Clean(report.stamp);
        }
        let verdict = report.verdict.to_string();
        rooms.events.record(about(message), What::Scanned { verdict, details: message.into() });
        match report.verdict.finding() {
            Some(threat) => {
                let is_infected = matches!(report.verdict, Verdict::Infected { .. });
                let evidence = Evidence { threat, item: report.culprit, stamp: Some(report.stamp) };
                Self::Suspect { is_infected, evidence }
            }
            None => {
                let session = message.submission.origin.session.as_str();
                warn!(queue_id = %message.id, session, verdict = %report.verdict, "no scan vouches for this mail now");
                Self::Unknown(report.verdict)
            }
        }
    }
}

/// By what the events of a mail in the queue are found again.
pub(super) fn about(message: &NewMessage) -> About {
    About { queue_id: Some(message.id.to_string()), ..About::from(&message.submission.origin) }
}
