//! What becomes of those who still wait when an attempt is over: they are tried again, told of, or given up.

use std::time::Duration;

use tracing::error;

use super::super::remote::Remote;
use super::super::retry::Setback;
use super::super::schedule_policy::{Next, Waiting};
use super::super::{Attempt, Disposition};
use super::Policy;
use crate::clock::after;
use crate::queue::{Claim, NewMessage, Outcome, Turn, Wait};

/// How long a mail has been here, milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(in crate::delivery) struct Age {
    /// Since when, whatever was done to the clock meanwhile.
    since_ms: u64,
    pub(in crate::delivery) now_ms: u64,
    /// Of that time, for so long mail to other servers was paused.
    paused_ms: u64,
}

// === impl Age ===

impl Age {
    pub(super) fn of(message: &NewMessage, remote: Option<&Remote>, wait: Wait) -> Self {
        let Wait { since_ms, now_ms } = wait;
        // Pauses are known by the clock as it was then. None is longer than the mail has waited.
        let received_at_ms = message.submission.origin.received_at_ms;
        let paused_ms = remote.map_or(0, |remote| remote.paused_ms(received_at_ms, now_ms));
        Self { since_ms, now_ms, paused_ms: paused_ms.min(now_ms.saturating_sub(since_ms)) }
    }

    /// When a mail without pauses would have come that has waited as long for what this one waits for.
    fn counted_from(self, setback: &Setback) -> u64 {
        let paused_ms = if setback.is_of_next_hop() { self.paused_ms } else { 0 };
        self.since_ms.saturating_add(paused_ms)
    }
}

/// An attempt in vain is the end where the mail has waited long enough.
pub(super) fn give_up(
    claim: &Claim,
    attempt: Attempt,
    is_proven: bool,
    policy: &Policy,
    age: Age,
) -> Attempt {
    let Err(setback) = &attempt.result else { return attempt };
    if setback.kept_back().is_some() {
        return attempt;
    }
    if *setback == Setback::Damaged && is_proven {
        let session = claim.message.submission.origin.session.as_str();
        error!(queue_id = %claim.id, session, "the body file of a mail is damaged; it is given up");
        return Attempt { result: Ok(Disposition::Bounced { reason: DAMAGED.to_owned() }), ..attempt };
    }
    match setback.schedule(&policy.schedules).next(waiting(claim.attempts, setback, age), 0) {
        Next::Retry { .. } => attempt,
        Next::GiveUp => {
            let reason = format!("{EXPIRED}: {setback}");
            Attempt { result: Ok(Disposition::Bounced { reason }), ..attempt }
        }
    }
}

/// It counts unless all that is still to be done was left alone.
pub(super) fn turn(attempted: &[Attempt]) -> Turn {
    let mut setbacks = setbacks(attempted).peekable();
    if setbacks.peek().is_some() && !setbacks.any(Setback::is_of_attempt) {
        Turn::Missed
    } else {
        Turn::Taken
    }
}

/// Whether a schedule of those by which recipients wait has its delay notice due.
pub(super) fn is_late(attempted: &[Attempt], policy: &Policy, age: Age) -> bool {
    setbacks(attempted)
        .filter(|setback| setback.kept_back().is_none())
        .any(|setback| setback.schedule(&policy.schedules).is_late(age.counted_from(setback), age.now_ms))
}

/// The first time at which a recipient of this mail is given up.
pub(super) fn expires_at_ms(attempted: &[Attempt], policy: &Policy, age: Age) -> u64 {
    let end =
        |setback: &Setback| setback.schedule(&policy.schedules).expires_at_ms(age.counted_from(setback));
    setbacks(attempted).map(end).min().unwrap_or(age.since_ms)
}

pub(super) fn outcomes(
    attempts: u32,
    attempted: &[Attempt],
    is_late: bool,
    policy: &Policy,
    age: Age,
) -> Vec<(usize, Outcome)> {
    // Where there is no randomness, mails that failed together come back together.
    let jitter = getrandom::u32().unwrap_or(JITTER_NONE);
    let outcome = |attempt: &Attempt| match &attempt.result {
        Ok(disposition) => Outcome::Done(disposition.clone()),
        Err(setback) => {
            let not_before_ms = not_before_ms(attempts, setback, policy, age, jitter);
            let reason = setback.to_string();
            if is_late {
                Outcome::Delayed { reason, not_before_ms }
            } else {
                Outcome::Retry { reason, not_before_ms }
            }
        }
    };
    attempted.iter().map(|attempt| (attempt.recipient, outcome(attempt))).collect()
}

fn not_before_ms(attempts: u32, setback: &Setback, policy: &Policy, age: Age, jitter: u32) -> u64 {
    // Nothing is decided before a mail's own turn, so neither a notice nor the end comes earlier.
    if let Some(pause) = setback.kept_back() {
        return after(age.now_ms, pause);
    }
    match setback.schedule(&policy.schedules).next(waiting(attempts, setback, age), jitter) {
        Next::Retry { not_before_ms } => not_before_ms,
        // The store could not be asked whether the mail lies in the mailbox after all: nobody is told that it does not
        // before that is known.
        Next::GiveUp => age.now_ms.saturating_add(UNDECIDED_PAUSE_MS),
    }
}

/// `attempts`: those before this one.
fn waiting(attempts: u32, setback: &Setback, age: Age) -> Waiting {
    let (attempts, left_alone): (_, Option<Duration>) = match setback {
        // That nobody is there has been found out as often as by attempts of its own.
        Setback::LeftAlone { pause, failures, .. } => (attempts.max(*failures), Some(*pause)),
        _ => (attempts.saturating_add(1), None),
    };
    Waiting { received_at_ms: age.counted_from(setback), now_ms: age.now_ms, attempts, left_alone }
}

fn setbacks(attempted: &[Attempt]) -> impl Iterator<Item = &Setback> {
    attempted.iter().filter_map(|attempt| attempt.result.as_ref().err())
}

/// RFC 3463: other or undefined mail system status.
pub(in crate::delivery) const DAMAGED: &str = "5.3.0 the mail was damaged on the disk of this server";
/// RFC 3463: delivery time expired.
const EXPIRED: &str = "5.4.7 given up after many attempts; the last one";
/// The middle of the spread.
const JITTER_NONE: u32 = 1 << 31;
const UNDECIDED_PAUSE_MS: u64 = 15 * 60 * 1000;

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::super::super::Schedules;
    use super::super::Treatment;
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

    fn policy() -> Policy {
        Policy {
            hostname: "mx.example".into(),
            schedules: Schedules::MODERN,
            usual: Treatment::default(),
            databases: HashMap::default(),
            warnings_per_hour: 1,
            open_listeners: HashSet::default(),
        }
    }

    fn age(hours: u64, paused: u64) -> Age {
        Age { since_ms: HOUR, now_ms: HOUR + hours * HOUR, paused_ms: paused * HOUR }
    }

    fn refused() -> Setback {
        Setback::NextHop { reason: "4.0.0 later".into() }
    }

    fn is_given_up(setback: &Setback, age: Age) -> bool {
        let waiting = waiting(7, setback, age);
        setback.schedule(&policy().schedules).next(waiting, 0) == Next::GiveUp
    }

    #[test]
    fn time_that_mail_was_paused_is_neither_delay_nor_age() {
        let late = |setback: Setback, age| is_late(&Attempt::put_off(&[0], &setback), &policy(), age);
        assert!(late(refused(), age(5, 0)) && !late(refused(), age(5, 2)) && late(refused(), age(7, 2)));
        assert!(is_given_up(&refused(), age(121, 0)) && !is_given_up(&refused(), age(200, 100)));
        assert!(is_given_up(&refused(), age(220, 100)));
        let end = |age| expires_at_ms(&Attempt::put_off(&[0], &refused()), &policy(), age);
        assert_eq!(end(age(9, 4)) - end(age(9, 0)), 4 * HOUR);
    }

    #[test]
    fn what_waits_for_our_own_rooms_is_late_by_the_clock_whatever_was_paused() {
        assert!(is_late(&Attempt::put_off(&[0], &Setback::Scan), &policy(), age(5, 5)));
        assert!(is_given_up(&Setback::Quarantine, age(121, 121)));
    }

    #[test]
    fn what_is_kept_back_comes_again_when_its_pause_is_over_and_is_never_late_by_it() {
        let kept_back = Setback::KeptBack { reason: "4.4.5 waits".into(), pause: Duration::from_secs(50) };
        let (attempted, old) = (Attempt::put_off(&[0], &kept_back), age(500, 0));
        assert!(!is_late(&attempted, &policy(), old));
        assert_eq!(turn(&attempted), Turn::Missed);
        let [(0, Outcome::Retry { not_before_ms, .. })] = outcomes(9, &attempted, false, &policy(), old)[..]
        else {
            panic!("one recipient is tried again")
        };
        assert_eq!(not_before_ms - old.now_ms, 50_000);
    }
}
