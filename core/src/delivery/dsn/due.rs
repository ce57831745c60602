//! Who is told what: a function of an attempt's facts.

use gatepost_smtp::wire::params::Notify;
use gatepost_smtp::wire::path::ReversePath;

use super::report::{Action, Told};
use crate::delivery::{Attempt, Disposition, HopReport};
use crate::queue::NewMessage;

/// An attempt, and where it leaves the mail.
#[derive(Debug)]
pub(in crate::delivery) struct Facts<'a> {
    pub(in crate::delivery) message: &'a NewMessage,
    /// Who waited before it.
    pub(in crate::delivery) pending: &'a [usize],
    /// What came of it; recipients that it did not get to are missing.
    pub(in crate::delivery) attempted: &'a [Attempt],
    /// Whose failure the sender is not told of.
    pub(in crate::delivery) unreported: &'a [usize],
    /// Whom the mail goes on for as one of its own, which tells what becomes of it.
    pub(in crate::delivery) gone_on: &'a [usize],
    /// Whether the sender is to hear now, and for the first time, that his mail is late.
    pub(in crate::delivery) is_late: bool,
}

/// What the sender hears of this attempt; nothing where there is no sender.
pub(in crate::delivery) fn told(facts: &Facts<'_>) -> Vec<Told> {
    let envelope = &facts.message.submission.envelope;
    if envelope.reverse_path == ReversePath::Null {
        return Vec::new();
    }
    let of = |recipient: usize| facts.attempted.iter().find(|attempt| attempt.recipient == recipient);
    let told = facts.pending.iter().filter_map(|&recipient| {
        let known = envelope.recipients.get(recipient)?;
        let notify = known.params.notify.unwrap_or(NOTIFY_DEFAULT);
        let Notify::On { success, failure, delay } = notify else { return None };
        let attempt = of(recipient);
        let hop = attempt.and_then(|attempt| attempt.hop.clone());
        let (action, text) = match attempt.map(|attempt| &attempt.result) {
            _ if facts.gone_on.contains(&recipient) => return None,
            Some(Ok(Disposition::Delivered))
                if success && facts.message.submission.forwards.has(&known.path) =>
            {
                (Action::Expanded, "2.0.0")
            }
            Some(Ok(Disposition::Delivered)) if success => (delivered(hop.as_ref())?, "2.0.0"),
            Some(Ok(Disposition::Bounced { reason }))
                if failure && !facts.unreported.contains(&recipient) =>
            {
                (Action::Failed, reason.as_str())
            }
            Some(Ok(Disposition::DeletedByPolicy { .. })) if failure && is_known_sender(facts.message) => {
                (Action::Failed, DELETED)
            }
            Some(Ok(Disposition::Quarantined { .. })) if failure && is_known_sender(facts.message) => {
                (Action::Failed, QUARANTINED)
            }
            Some(Ok(_)) => return None,
            Some(Err(setback)) if facts.is_late && delay && setback.kept_back().is_none() => {
                return Some(Told::new(recipient, Action::Delayed, &setback.to_string(), hop));
            }
            None if facts.is_late && delay => (Action::Delayed, NOT_TRIED),
            Some(Err(_)) | None => return None,
        };
        Some(Told::new(recipient, action, text, hop))
    });
    told.collect()
}

/// A next hop that speaks DSN has taken over the duty (RFC 3461 section 5.2.1); one that does not is as far as we can tell
/// (section 5.2.2).
fn delivered(hop: Option<&HopReport>) -> Option<Action> {
    match hop {
        None => Some(Action::Delivered),
        Some(hop) if hop.takes_dsn => None,
        Some(_) => Some(Action::Relayed),
    }
}

/// Malware comes with forged senders, whom a notification would only bother. Who has logged in is who he says.
fn is_known_sender(message: &NewMessage) -> bool {
    message.submission.origin.user.is_some()
}

/// RFC 3461 section 4.1: without NOTIFY the server decides about delays, and everybody wants to hear of failures.
const NOTIFY_DEFAULT: Notify = Notify::On { success: false, failure: true, delay: true };
const DELETED: &str = "5.7.1 deleted, since a virus was found in it";
const QUARANTINED: &str = "5.7.1 put into quarantine by the virus scan";
const NOT_TRIED: &str = "4.4.7 waiting for its turn";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::dsn::report::Status;
    use crate::delivery::dsn::report::tests::message;
    use crate::delivery::retry::Setback;

    /// One recipient with these parameters and this result.
    fn action(params: &str, result: Result<Disposition, Setback>, hop: Option<HopReport>) -> Option<Action> {
        let mut message = message("<sender@example.org>", "");
        message.submission.envelope.recipients[0].params =
            gatepost_smtp::wire::params::RcptParams::parse(params).unwrap();
        let attempted = [Attempt { recipient: 0, result, hop }];
        let told = told(&facts(&message, &[0], &attempted, true));
        assert!(told.len() <= 1);
        told.into_iter().map(|told| told.action).next()
    }

    /// Of an attempt behind which everything may be told.
    fn facts<'a>(
        message: &'a NewMessage,
        pending: &'a [usize],
        attempted: &'a [Attempt],
        is_late: bool,
    ) -> Facts<'a> {
        Facts { message, pending, attempted, is_late, unreported: &[], gone_on: &[] }
    }

    fn bounced() -> Result<Disposition, Setback> {
        Ok(Disposition::Bounced { reason: "5.1.1 gone".to_owned() })
    }

    fn hop(takes_dsn: bool) -> Option<HopReport> {
        Some(HopReport { name: "mx.example.net".to_owned(), reply: None, takes_dsn })
    }

    #[test]
    fn notify_decides_who_hears_of_what() {
        let delivered = || Ok(Disposition::Delivered);
        let late = || Err(Setback::Scan);
        for (params, failed, delayed, succeeded) in [
            ("", true, true, false),
            (" NOTIFY=NEVER", false, false, false),
            (" NOTIFY=SUCCESS", false, false, true),
            (" NOTIFY=FAILURE", true, false, false),
            (" NOTIFY=DELAY", false, true, false),
            (" NOTIFY=SUCCESS,FAILURE,DELAY", true, true, true),
        ] {
            assert_eq!(action(params, bounced(), None), failed.then_some(Action::Failed), "{params}");
            assert_eq!(action(params, late(), None), delayed.then_some(Action::Delayed), "{params}");
            assert_eq!(action(params, delivered(), None), succeeded.then_some(Action::Delivered), "{params}");
        }
    }

    #[test]
    fn a_hop_that_notifies_itself_is_left_to_it() {
        let delivered = || Ok(Disposition::Delivered);
        assert_eq!(action(" NOTIFY=SUCCESS", delivered(), hop(true)), None);
        assert_eq!(action(" NOTIFY=SUCCESS", delivered(), hop(false)), Some(Action::Relayed));
        assert_eq!(action(" NOTIFY=FAILURE", bounced(), hop(true)), Some(Action::Failed));
    }

    #[test]
    fn an_address_whose_mail_went_on_to_several_is_told_to_be_expanded() {
        let mut message = message("<sender@example.org>", "");
        for recipient in &mut message.submission.envelope.recipients {
            recipient.params = gatepost_smtp::wire::params::RcptParams::parse(" NOTIFY=SUCCESS").unwrap();
        }
        message.submission.forwards.insert(1, "<one@localhost>".parse().unwrap());
        let attempted =
            [Attempt::local(0, Ok(Disposition::Delivered)), Attempt::local(1, Ok(Disposition::Delivered))];
        let facts = facts(&message, &[0, 1], &attempted, false);
        let actions: Vec<_> = told(&facts).into_iter().map(|told| told.action).collect();
        assert_eq!(actions, [Action::Expanded, Action::Delivered]);
    }

    #[test]
    fn the_null_sender_hears_nothing() {
        let message = message("<>", "");
        let attempted = [Attempt::local(0, bounced())];
        assert_eq!(told(&facts(&message, &[0], &attempted, true)), []);
    }

    #[test]
    fn only_a_sender_who_has_logged_in_hears_of_a_virus() {
        let mut message = message("<sender@example.org>", "");
        message.submission.origin.user = Some("sender@example.org".to_owned());
        let threat = || "T".to_owned();
        for end in
            [Disposition::DeletedByPolicy { threat: threat() }, Disposition::Quarantined { threat: threat() }]
        {
            assert_eq!(action("", Ok(end.clone()), None), None);
            let attempted = [Attempt::local(0, Ok(end))];
            assert_eq!(told(&facts(&message, &[0], &attempted, false)).len(), 1);
        }
    }

    #[test]
    fn a_failure_that_is_not_to_be_reported_leaves_the_others() {
        let message = message("<sender@example.org>", "");
        let attempted = [Attempt::local(0, bounced()), Attempt::local(1, bounced())];
        let facts = Facts { unreported: &[0], ..facts(&message, &[0, 1], &attempted, true) };
        assert_eq!(told(&facts).iter().map(|told| told.recipient).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_recipient_whom_the_attempt_did_not_reach_is_late_too() {
        let message = message("<sender@example.org>", "");
        let told = told(&facts(&message, &[0, 1], &[], true));
        assert_eq!(told.iter().map(|told| told.recipient).collect::<Vec<_>>(), [0, 1]);
        assert!(
            told.iter().all(|told| told.action == Action::Delayed && told.status == Status::parse("4.4.7").0)
        );
    }
}
