//! `[delivery.local]` and `[delivery.outbound]`: how often a mail is tried, and for how long.

use std::time::Duration;

use gatepost_core::delivery::{Retries, Schedule};
use serde::Deserialize;
use toml::Spanned;

use super::problem::Finding;
use super::values::InvalidValue;

/// As it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenSchedule {
    policy: Policy,
    delay_notice: Option<Spanned<DelayNotice>>,
    expiry: Option<WaitingTime>,
}

/// Times by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    /// Exponential, with jitter.
    #[default]
    Modern,
    /// Those of Exchange 2003.
    Compatibility,
}

/// When a sender hears that his mail is late: a time, or `"never"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct DelayNotice(Option<WaitingTime>);

/// How long a mail may wait, a second to 30 days: `"4h"`, `"5d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct WaitingTime(Duration);

// === impl WrittenSchedule ===

impl WrittenSchedule {
    /// `modern`: the times between attempts where the modern policy holds.
    pub(super) fn check(&self, modern: Retries, findings: &mut Vec<Finding>) -> Schedule {
        let mut schedule = match self.policy {
            Policy::Modern => Schedule::modern(modern),
            Policy::Compatibility => Schedule::compatibility(),
        };
        if let Some(WaitingTime(expiry)) = self.expiry {
            schedule.expiry = expiry;
            // A default that would come too late is no mistake of whoever wrote the other value.
            schedule.delay_notice = schedule.delay_notice.filter(|notice| *notice < expiry);
        }
        if let Some(notice) = &self.delay_notice {
            schedule.delay_notice = notice.get_ref().0.map(|time| time.0);
            if schedule.delay_notice.is_some_and(|notice| notice >= schedule.expiry) {
                let text = "a notice of the delay must come before the mail is given up (`expiry`)";
                findings.push(
                    Finding::at(notice.span(), text).hint("delay_notice = \"never\" switches notices off"),
                );
            }
        }
        schedule
    }
}

// === impl DelayNotice ===

impl TryFrom<String> for DelayNotice {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        if text == "never" {
            Ok(Self(None))
        } else {
            WaitingTime::try_from(text).map(|time| Self(Some(time)))
        }
    }
}

// === impl WaitingTime ===

impl TryFrom<String> for WaitingTime {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let days = jiff::SpanRelativeTo::days_are_24_hours();
        let parsed = text.parse::<jiff::Span>().ok().and_then(|span| span.to_duration(days).ok());
        match parsed.and_then(|signed| Duration::try_from(signed).ok()) {
            Some(time) if (WAITING_MIN..=WAITING_MAX).contains(&time) => Ok(Self(time)),
            _ => Err(InvalidValue::WaitingTime(text)),
        }
    }
}

const WAITING_MIN: Duration = Duration::from_secs(1);
/// Nobody waits longer for an answer to a letter; a greater value is a slip of the unit.
const WAITING_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use gatepost_core::delivery::Schedules;
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<Schedule, usize> {
        let written: WrittenSchedule = toml::from_str(text).map_err(|_| 0_usize)?;
        let mut findings = Vec::new();
        let schedule = written.check(Retries::MODERN_LOCAL, &mut findings);
        if findings.is_empty() { Ok(schedule) } else { Err(findings.len()) }
    }

    #[test]
    fn policies_have_names_and_their_times_can_be_set() {
        assert_eq!(check(""), Ok(Schedules::default().local));
        assert_eq!(check("policy = \"compatibility\""), Ok(Schedule::compatibility()));
        let own = check("policy = \"compatibility\"\ndelay_notice = \"1h 30m\"\nexpiry = \"3d\"").unwrap();
        let seconds = (own.delay_notice.map(|time| time.as_secs()), own.expiry.as_secs());
        assert_eq!(seconds, (Some(5_400), 259_200));
        assert_eq!(check("delay_notice = \"never\"").unwrap().delay_notice, None);
        assert_eq!(check("expiry = \"1h\"").unwrap().delay_notice, None, "it would come too late");
    }

    #[test]
    fn a_notice_comes_before_the_end_and_times_are_bounded() {
        assert_eq!(check("expiry = \"1h\"\ndelay_notice = \"1h\""), Err(1));
        for bad in ["", "0s", "31d", "-1h", "soon", "4"] {
            assert_eq!(check(&format!("expiry = \"{bad}\"")), Err(0), "{bad}");
        }
        assert_eq!(check("policy = \"fast\""), Err(0));
        assert_eq!(check("retry = \"1m\""), Err(0));
    }

    proptest! {
        #[test]
        fn no_text_panics_a_waiting_time(text: String) {
            let _ = DelayNotice::try_from(text);
        }
    }
}
