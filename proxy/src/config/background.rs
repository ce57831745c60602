//! `[scan.background]`: how what lies in mailboxes is scanned again.

use std::num::NonZeroU32;
use std::time::Duration;

use gatepost_core::background::Settings;
use serde::Deserialize;

use super::values::InvalidValue;

/// As it is written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenBackground {
    enabled: Option<bool>,
    messages_per_second: Option<u32>,
    every: Option<Age>,
    only_unscanned: Option<bool>,
    only_attachments: Option<bool>,
    ignore_stamps: Option<bool>,
    age_max: Option<Age>,
}

/// How old something may be, a minute to ten years: `"12h"`, `"90d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Age(pub(super) Duration);

// === impl WrittenBackground ===

impl WrittenBackground {
    /// What is left out here is as it is there.
    pub(super) fn over(self, base: Self) -> Self {
        Self {
            enabled: self.enabled.or(base.enabled),
            messages_per_second: self.messages_per_second.or(base.messages_per_second),
            every: self.every.or(base.every),
            only_unscanned: self.only_unscanned.or(base.only_unscanned),
            only_attachments: self.only_attachments.or(base.only_attachments),
            ignore_stamps: self.ignore_stamps.or(base.ignore_stamps),
            age_max: self.age_max.or(base.age_max),
        }
    }
}

impl From<WrittenBackground> for Settings {
    fn from(written: WrittenBackground) -> Self {
        let default = Self::default();
        Self {
            enabled: written.enabled.unwrap_or(default.enabled),
            // 0 is no bound.
            messages_per_second: written
                .messages_per_second
                .map_or(default.messages_per_second, NonZeroU32::new),
            every: written.every.map(|time| time.0),
            only_unscanned: written.only_unscanned.unwrap_or(default.only_unscanned),
            only_attachments: written.only_attachments.unwrap_or(default.only_attachments),
            ignore_stamps: written.ignore_stamps.unwrap_or(default.ignore_stamps),
            age_max: written.age_max.map(|age| age.0),
        }
    }
}

// === impl Age ===

impl TryFrom<String> for Age {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let days = jiff::SpanRelativeTo::days_are_24_hours();
        let parsed = text.parse::<jiff::Span>().ok().and_then(|span| span.to_duration(days).ok());
        match parsed.and_then(|signed| Duration::try_from(signed).ok()) {
            Some(age) if (AGE_MIN..=AGE_MAX).contains(&age) => Ok(Self(age)),
            _ => Err(InvalidValue::Age(text)),
        }
    }
}

/// What is younger has hardly been delivered.
const AGE_MIN: Duration = Duration::from_secs(60);
/// A greater value is a slip of the unit.
const AGE_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(text: &str) -> Option<Settings> {
        toml::from_str::<WrittenBackground>(text).ok().map(Settings::from)
    }

    #[test]
    fn what_is_not_written_keeps_its_default() {
        assert_eq!(settings(""), Some(Settings::default()));
        let written = settings(
            "enabled = false\nmessages_per_second = 0\nevery = \"7d\"\nignore_stamps = true\nage_max = \"90d\"",
        );
        let day = Duration::from_secs(86_400);
        let expected = Settings {
            enabled: false,
            messages_per_second: None,
            every: Some(day * 7),
            ignore_stamps: true,
            age_max: Some(day * 90),
            ..Settings::default()
        };
        assert_eq!(written, Some(expected));
    }

    #[test]
    fn ages_are_bounded() {
        for bad in ["", "0s", "59s", "11y", "3661d", "-1d", "soon"] {
            assert_eq!(settings(&format!("age_max = \"{bad}\"")), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_an_age(text: String) {
            let _ = Age::try_from(text);
        }
    }
}
