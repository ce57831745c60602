//! When a mail that was tried in vain is tried again, when its sender hears of the delay, and when it is given up.
//!
//! Pure: the clock and the jitter are passed in.

use std::time::Duration;

use crate::clock::{after, millis};
use crate::queue::Backoff;

/// How often a mail is tried, and for how long. One for what is ours (mailboxes, scanner), one for next hops: the first
/// is repaired by ourselves, the second by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The times between attempts.
    pub retries: Retries,
    /// The age at which the sender is told that his mail is late; `None`: never.
    pub delay_notice: Option<Duration>,
    /// The age at which a mail is given up.
    pub expiry: Duration,
}

/// The times between attempts, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// Those of Exchange 2003: after three glitch retries, 60 s apart, come 15, 30 and 60 minutes, then every 240.
    Compatibility,
    /// Twice as long each time, up to a bound, spread by an eighth to either side so that what failed together does not
    /// come back together.
    Exponential(Backoff),
}

/// Both schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedules {
    /// What waits for our own rooms.
    pub local: Schedule,
    /// What waits for a next hop.
    pub outbound: Schedule,
}

/// A mail after an attempt in vain. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// When it was accepted. Where that lies ahead, the clock was set back since, and the attempts tell its age.
    pub received_at_ms: u64,
    /// Now.
    pub now_ms: u64,
    /// Attempts so far, this one among them. Where its destination is left alone, those of other mail count as well.
    pub attempts: u32,
    /// Set where nothing was tried: its destination is left alone for so long.
    pub left_alone: Option<Duration>,
}

/// What comes next.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt.
    Retry {
        /// Not before.
        not_before_ms: u64,
    },
    /// None: it has waited long enough.
    GiveUp,
}

// === impl Schedule ===

impl Schedule {
    /// With the times of the modern default.
    #[must_use]
    pub const fn modern(retries: Retries) -> Self {
        Self { retries, delay_notice: Some(DELAY_NOTICE_MODERN), expiry: EXPIRY_MODERN }
    }

    /// What Exchange 2003 did, near and far.
    #[must_use]
    pub const fn compatibility() -> Self {
        Self {
            retries: Retries::Compatibility,
            delay_notice: Some(Duration::from_secs(12 * HOUR)),
            expiry: Duration::from_secs(2 * DAY),
        }
    }

    /// What comes after an attempt in vain. `jitter` is any number: it chooses a point of the spread.
    ///
    /// An attempt is made when the delay notice is due and one when the mail expires, whatever the times between them: so
    /// neither comes late, and nothing is given up without a last look. A mail is not given up before its second attempt,
    /// so that neither a clock set ahead nor a server that was off for a week turns the queue into bounces. One whose
    /// destination is left alone comes again when that is over, however long it would wait after an attempt.
    pub fn next(&self, waiting: Waiting, jitter: u32) -> Next {
        let Waiting { received_at_ms, now_ms, attempts, left_alone } = waiting;
        // Otherwise a mail that came in while the clock was years ahead would be tried for years.
        let is_ahead = received_at_ms > now_ms;
        let received_at_ms =
            if is_ahead { before(now_ms, self.retries.least_age(attempts)) } else { received_at_ms };
        let expires_at_ms = self.expires_at_ms(received_at_ms);
        if now_ms >= expires_at_ms && attempts >= ATTEMPTS_MIN {
            return Next::GiveUp;
        }
        let delay = left_alone
            .map_or_else(|| self.retries.delay(attempts, jitter), |pause| soon_after(pause, jitter));
        let usual = after(now_ms, delay);
        let notice = self.delay_notice.map(|age| after(received_at_ms, age));
        let stops = [notice, Some(expires_at_ms)].into_iter().flatten().filter(|at| *at > now_ms);
        Next::Retry { not_before_ms: stops.fold(usual, u64::min) }
    }

    /// Whether the sender is to hear that this mail is late.
    #[must_use]
    pub fn is_late(&self, received_at_ms: u64, now_ms: u64) -> bool {
        self.delay_notice.is_some_and(|age| now_ms >= after(received_at_ms, age))
    }

    /// When a mail is given up.
    #[must_use]
    pub fn expires_at_ms(&self, received_at_ms: u64) -> u64 {
        after(received_at_ms, self.expiry)
    }
}

// === impl Retries ===

impl Retries {
    /// For next hops: two attempts within the first three minutes, since most failures are short, then ever fewer. Two
    /// hours at most is what RFC 5321 section 4.5.4.1 suggests for later attempts.
    pub const MODERN_OUTBOUND: Self =
        Self::Exponential(Backoff { first: Duration::from_secs(60), longest: Duration::from_secs(2 * HOUR) });

    /// For our own disk or scanner: somebody will repair it, and the mail should lie in the mailbox soon after.
    pub const MODERN_LOCAL: Self = Self::Exponential(Backoff {
        first: Duration::from_secs(15),
        longest: Duration::from_secs(15 * MINUTE),
    });

    /// How long to wait when `attempts` attempts were in vain (at least 1).
    #[must_use]
    pub fn delay(self, attempts: u32, jitter: u32) -> Duration {
        match self {
            Self::Compatibility => {
                let retry = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
                Duration::from_secs(COMPATIBILITY.get(retry).copied().unwrap_or(COMPATIBILITY_LAST))
            }
            Self::Exponential(backoff) => spread(backoff.delay(attempts), jitter),
        }
    }

    /// How much time lies between the first and the last of so many attempts, at least.
    #[must_use]
    fn least_age(self, attempts: u32) -> Duration {
        let pauses = attempts.saturating_sub(1);
        let growing = pauses.min(GROWING_MAX);
        let until_longest =
            (1..=growing).fold(Duration::ZERO, |age, attempt| age.saturating_add(self.delay(attempt, 0)));
        let longest = self.delay(u32::MAX, 0).saturating_mul(pauses.saturating_sub(growing));
        until_longest.saturating_add(longest)
    }
}

/// A point between 7/8 and 9/8 of a delay.
fn spread(delay: Duration, jitter: u32) -> Duration {
    let eighth_ms = millis(delay).wrapping_shr(3);
    // The share of two eighths that the jitter is of 2^32.
    let share_ms = eighth_ms.saturating_mul(u64::from(jitter)).wrapping_shr(31);
    delay.saturating_sub(Duration::from_millis(eighth_ms)).saturating_add(Duration::from_millis(share_ms))
}

/// A point between the end of a pause and a quarter of it later: one mail finds out for those behind it.
fn soon_after(pause: Duration, jitter: u32) -> Duration {
    let pause = pause.max(PAUSE_MIN);
    let quarter_ms = millis(pause).wrapping_shr(2);
    let share_ms = u128::from(quarter_ms).wrapping_mul(u128::from(jitter)).wrapping_shr(32);
    pause.saturating_add(Duration::from_millis(u64::try_from(share_ms).unwrap_or(quarter_ms)))
}

// === impl Schedules ===

impl Schedules {
    /// What holds unless the configuration says otherwise: exponential times, a notice after 4 hours, and 5 days until a
    /// mail is given up (RFC 5321 section 4.5.4.1).
    pub const MODERN: Self = Self {
        local: Schedule::modern(Retries::MODERN_LOCAL),
        outbound: Schedule::modern(Retries::MODERN_OUTBOUND),
    };
}

impl Default for Schedules {
    fn default() -> Self {
        Self::MODERN
    }
}

fn before(at_ms: u64, time: Duration) -> u64 {
    at_ms.saturating_sub(millis(time))
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Seconds.
const COMPATIBILITY: [u64; 6] = [MINUTE, MINUTE, MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR];
const COMPATIBILITY_LAST: u64 = 4 * HOUR;
/// Half a working day: early enough to telephone, late enough that a short outage tells nobody.
const DELAY_NOTICE_MODERN: Duration = Duration::from_secs(4 * HOUR);
/// RFC 5321 section 4.5.4.1: generally at least 4 to 5 days.
const EXPIRY_MODERN: Duration = Duration::from_secs(5 * DAY);
const ATTEMPTS_MIN: u32 = 2;
/// Behind so many doublings no delay grows any more.
const GROWING_MAX: u32 = 32;
/// A pause that is over while this is worked out is no reason for a busy loop.
const PAUSE_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECEIVED: u64 = 1_700_000_000_000;

    fn schedules() -> impl Strategy<Value = Schedule> {
        let retries = prop_oneof![
            Just(Retries::Compatibility),
            Just(Retries::MODERN_LOCAL),
            Just(Retries::MODERN_OUTBOUND)
        ];
        (retries, proptest::option::of(1_u64..DAY), 1_u64..30 * DAY).prop_map(|(retries, notice, expiry)| {
            Schedule {
                retries,
                delay_notice: notice.map(Duration::from_secs),
                expiry: Duration::from_secs(expiry),
            }
        })
    }

    /// Every attempt in vain until the mail is given up: the times of the attempts, and of the end.
    fn life(schedule: &Schedule, jitter: impl Fn(u32) -> u32) -> (Vec<u64>, u64) {
        let mut attempts = vec![RECEIVED];
        loop {
            let now_ms = *attempts.last().unwrap();
            let count = u32::try_from(attempts.len()).unwrap();
            let waiting = Waiting { received_at_ms: RECEIVED, now_ms, attempts: count, left_alone: None };
            match schedule.next(waiting, jitter(count)) {
                Next::GiveUp => return (attempts, now_ms),
                Next::Retry { not_before_ms } => attempts.push(not_before_ms),
            }
        }
    }

    #[test]
    fn the_compatible_schedule_is_that_of_exchange() {
        let (attempts, end) = life(&Schedule::compatibility(), |_| 0);
        let minutes: Vec<u64> = attempts.iter().map(|at| (at - RECEIVED) / 60_000).collect();
        // The attempts at 12 h and at 48 h are those of the notice and of the end.
        assert_eq!(minutes[..11], [0, 1, 2, 3, 18, 48, 108, 348, 588, 720, 960]);
        assert_eq!(end - RECEIVED, 2 * DAY * 1000);
    }

    #[test]
    fn the_modern_one_doubles_within_its_bounds() {
        let middle = 1 << 31;
        let seconds = |attempts| Retries::MODERN_OUTBOUND.delay(attempts, middle).as_secs();
        assert_eq!([1, 2, 3, 8, 9, u32::MAX].map(seconds), [60, 120, 240, 7200, 7200, 7200]);
        let seconds = |attempts| Retries::MODERN_LOCAL.delay(attempts, middle).as_secs();
        assert_eq!([1, 2, 3, 7, u32::MAX].map(seconds), [15, 30, 60, 900, 900]);
        assert_eq!(life(&Schedules::MODERN.outbound, |_| middle).1 - RECEIVED, 5 * DAY * 1000);
    }

    #[test]
    fn nothing_is_given_up_before_its_second_attempt() {
        let schedule = Schedules::MODERN.local;
        let waiting =
            |attempts| Waiting { received_at_ms: RECEIVED, now_ms: u64::MAX / 2, attempts, left_alone: None };
        assert!(matches!(schedule.next(waiting(1), 0), Next::Retry { .. }));
        assert_eq!(schedule.next(waiting(2), 0), Next::GiveUp);
    }

    #[test]
    fn behind_a_clock_that_was_set_back_attempts_tell_the_age() {
        let schedule = Schedules::MODERN.local;
        for now_ms in [6 * DAY * 1000, RECEIVED - 1] {
            let next = |attempts| {
                let waiting = Waiting { received_at_ms: RECEIVED, now_ms, attempts, left_alone: None };
                schedule.next(waiting, u32::MAX)
            };
            for attempts in [0, 1, 2, 100, 480] {
                let Next::Retry { not_before_ms } = next(attempts) else {
                    panic!("given up after {attempts} attempts")
                };
                assert!(not_before_ms > now_ms && not_before_ms < now_ms + 20 * MINUTE * 1000);
            }
            // 5 days, a quarter of an hour apart.
            for attempts in [600, u32::MAX] {
                assert_eq!(next(attempts), Next::GiveUp, "{attempts}");
            }
        }
    }

    #[test]
    fn attempts_that_an_operator_asked_for_make_no_mail_older() {
        let waiting =
            Waiting { received_at_ms: RECEIVED, now_ms: RECEIVED, attempts: 10_000, left_alone: None };
        assert!(matches!(Schedules::MODERN.local.next(waiting, 0), Next::Retry { .. }));
    }

    #[test]
    fn a_mail_whose_destination_is_left_alone_comes_soon_after_and_is_told_of_and_given_up_in_time() {
        let schedule = Schedules::MODERN.outbound;
        let next = |age: u64, attempts, jitter| {
            let now_ms = RECEIVED + age * 1000;
            let left_alone = Some(Duration::from_secs(1_000));
            let waiting = Waiting { received_at_ms: RECEIVED, now_ms, attempts, left_alone };
            match schedule.next(waiting, jitter) {
                Next::Retry { not_before_ms } => Some((not_before_ms - now_ms) / 1000),
                Next::GiveUp => None,
            }
        };
        for attempts in [0, 1, 20] {
            assert_eq!(next(0, attempts, 0), Some(1_000));
            assert_eq!(next(0, attempts, u32::MAX), Some(1_249));
        }
        assert_eq!(next(4 * HOUR - 10, 0, 0), Some(10), "the notice is due");
        assert_eq!(next(5 * DAY, 2, 0), None, "tried twice, if not by this mail");
        assert_eq!(next(5 * DAY, 1, 0), Some(1_000));
    }

    proptest! {
        #[test]
        fn delays_never_shrink_and_stay_within_their_spread(attempts in 1_u32..200, jitter: u32) {
            for retries in [Retries::Compatibility, Retries::MODERN_LOCAL, Retries::MODERN_OUTBOUND] {
                prop_assert!(retries.delay(attempts, jitter) <= retries.delay(attempts + 1, jitter));
                let middle = retries.delay(attempts, 1 << 31);
                let delay = retries.delay(attempts, jitter);
                prop_assert!(delay >= middle * 7 / 8 && delay <= middle * 9 / 8, "{delay:?} {middle:?}");
            }
        }

        #[test]
        fn a_mail_is_told_of_in_time_and_given_up_when_it_expires(schedule in schedules(), jitter: u32) {
            let (attempts, end) = life(&schedule, |count| jitter.wrapping_mul(count));
            prop_assert!(attempts.is_sorted_by(|earlier, later| earlier < later));
            prop_assert_eq!(end, schedule.expires_at_ms(RECEIVED));
            let noticed = attempts.iter().find(|at| schedule.is_late(RECEIVED, **at));
            let due = schedule.delay_notice.map(|age| after(RECEIVED, age));
            prop_assert_eq!(noticed.copied(), due.filter(|due| *due <= end));
        }

        #[test]
        fn no_number_panics(
            received_at_ms: u64, now_ms: u64, attempts: u32, pause_ms: Option<u64>, jitter: u32, schedule in schedules(),
        ) {
            let left_alone = pause_ms.map(Duration::from_millis);
            let _ = schedule.next(Waiting { received_at_ms, now_ms, attempts, left_alone }, jitter);
            let _ = schedule.is_late(received_at_ms, now_ms);
        }
    }
}
