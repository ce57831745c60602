//! Values of the configuration that cannot be invalid: each is built by its check, or not at all.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// A host name: what the server calls itself in greetings, `Received:` and EHLO.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hostname(String);

/// The name of a listener: a metric label and a log field, so short and plain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ListenerName(String);

/// The name of a user of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UserName(String);

/// A number of octets: `"50 MiB"`, `"64KiB"`, or a plain integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "OctetsForm")]
pub struct Octets(u64);

/// A length of time, longer than nothing and at most a day: `"20s"`, `"5 min"`, `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct TimeSpan(Duration);

/// Why a value was refused. The text is shown to the operator behind the line of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// Not a name of the DNS.
    #[error("not a host name (labels of letters, digits and hyphens, such as mail.example.org): {0:?}")]
    Hostname(String),
    /// Not usable as a label.
    #[error("not a listener name (1 to {LISTENER_NAME_MAX} of a-z, 0-9 and -): {0:?}")]
    ListenerName(String),
    /// Not a name that a user of a machine has.
    #[error(
        "not a user name (1 to {USER_NAME_MAX} of a-z, A-Z, 0-9, _, . and -, no digit or hyphen first): {0:?}"
    )]
    UserName(String),
    /// Not a size.
    #[error("not a size (write octets, or a number with KiB, MiB or GiB): {0:?}")]
    Octets(String),
    /// Not a network, or all of them.
    #[error("not an address or a network such as 10.0.0.0/8, which must not be everybody: {0:?}")]
    TrustedNetwork(String),
    /// Not a length of time.
    #[error("not a length of time above zero and up to a day (write such as 20s, 5m or 1h): {0:?}")]
    TimeSpan(String),
    /// Not a time that a mail may wait.
    #[error("not a time from a second to 30 days (write such as 12h or 5d): {0:?}")]
    WaitingTime(String),
    /// Not an age of a mail.
    #[error("not a time from a minute to ten years (write such as 12h or 90d): {0:?}")]
    Age(String),
}

// === impl Hostname ===

impl Hostname {
    /// The name of this machine as the kernel knows it, where that is a valid host name, else `localhost`.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let uname = rustix::system::uname();
        let nodename = uname.nodename().to_str().unwrap_or_default();
        Self::try_from(nodename.to_owned()).unwrap_or_else(|_| Self("localhost".to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Hostname {
    type Error = InvalidValue;

    /// RFC 5321 section 4.1.2 `Domain`, within the lengths of RFC 1035 section 2.3.4. A name of digits and dots alone is
    /// refused, since it would read as an address.
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let is_label = |label: &str| {
            (1..=DNS_LABEL_MAX).contains(&label.len())
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let looks_like_an_address = text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
        if text.len() > DNS_NAME_MAX || looks_like_an_address || !text.split('.').all(is_label) {
            return Err(InvalidValue::Hostname(text));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl ListenerName ===

impl ListenerName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ListenerName {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        if !is_plain_name(&text, LISTENER_NAME_MAX) {
            return Err(InvalidValue::ListenerName(text));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl UserName ===

impl UserName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserName {
    type Error = InvalidValue;

    /// What useradd(8) makes; nothing that could be read as a number, or as two fields of passwd(5).
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"_.-".contains(&octet);
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if text.len() > USER_NAME_MAX || !starts_well || !text.bytes().all(is_plain) {
            return Err(InvalidValue::UserName(text));
        }
        Ok(Self(text))
    }
}

// === impl Octets ===

impl Octets {
    /// `count` times 1,024 times 1,024.
    #[must_use]
    pub const fn mebi(count: u32) -> Self {
        Self((count as u64).saturating_mul(1 << 20))
    }

    /// As a number.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0
    }

    /// Half of it.
    #[must_use]
    pub const fn half(self) -> Self {
        Self(self.0 / 2)
    }
}

/// What may stand in the file.
#[derive(Deserialize)]
#[serde(untagged, expecting = "not a size (write octets, or text such as \"50 MiB\")")]
enum OctetsForm {
    Count(u64),
    Text(String),
}

impl TryFrom<OctetsForm> for Octets {
    type Error = InvalidValue;

    fn try_from(form: OctetsForm) -> Result<Self, InvalidValue> {
        match form {
            OctetsForm::Count(count) => Ok(Self(count)),
            OctetsForm::Text(text) => text.parse(),
        }
    }
}

impl std::str::FromStr for Octets {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::Octets(text.to_owned());
        let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
            Some(end) => text.split_at(end),
            None => (text, ""),
        };
        let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(invalid)?.1;
        let count: u64 = digits.parse().map_err(|_| invalid())?;
        count.checked_mul(factor).map(Self).ok_or_else(invalid)
    }
}

/// In the largest unit that divides it, so that `Display` and `FromStr` are inverse.
impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().rev().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) if *factor > 1 => {
                write!(f, "{} {name}", self.0.checked_div(*factor).unwrap_or(0))
            }
            _ => write!(f, "{}", self.0),
        }
    }
}

// === impl TimeSpan ===

impl TimeSpan {
    /// `count` seconds; a constant of ours, so not checked against the bounds.
    #[must_use]
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl TryFrom<String> for TimeSpan {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let parsed: Option<Duration> =
            text.parse::<jiff::SignedDuration>().ok().and_then(|signed| signed.try_into().ok());
        match parsed {
            Some(span) if !span.is_zero() && span <= TIME_SPAN_MAX => Ok(Self(span)),
            _ => Err(InvalidValue::TimeSpan(text)),
        }
    }
}

/// Whether this can name something in log lines, metric labels and files alike: 1 to `octets_max` of `a-z`, `0-9` and `-`.
pub(super) fn is_plain_name(text: &str, octets_max: usize) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    (1..=octets_max).contains(&text.len()) && text.bytes().all(is_plain)
}

/// RFC 1035 section 2.3.4.
const DNS_LABEL_MAX: usize = 63;
/// RFC 1035 section 2.3.4, without the root's dot.
const DNS_NAME_MAX: usize = 253;
/// Keeps log lines and metric labels short.
const LISTENER_NAME_MAX: usize = 32;
/// useradd(8).
const USER_NAME_MAX: usize = 32;
/// Nothing that a session waits for takes longer; a greater value is a slip of the unit.
const TIME_SPAN_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// From the smallest to the largest.
const UNITS: [(&str, u64); 5] = [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_names_of_the_dns_are_accepted_and_others_refused() {
        for good in ["localhost", "mail.example.org", "a-b.c1", "3com.com", "xn--bcher-kva.example"] {
            assert!(Hostname::try_from(good.to_owned()).is_ok(), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in
            ["", ".", "a..b", "-a.b", "a-.b", "a_b", "1.2.3.4", "mail example", "bücher.example", &long]
        {
            assert!(Hostname::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_always_has_a_host_name() {
        assert!(!Hostname::of_this_machine().as_str().is_empty());
    }

    #[test]
    fn listener_names_are_short_and_plain() {
        assert!(ListenerName::try_from("smtp-25".to_owned()).is_ok());
        for bad in ["", "SMTP", "a b", "a\"b", &"a".repeat(33)] {
            assert!(ListenerName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn user_names_are_those_of_a_machine() {
        for good in ["gatepost", "_mail", "Debian-exim", "a.b"] {
            assert!(UserName::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "0", "12", "-x", "a:b", "a b", "a/b", &"a".repeat(33)] {
            assert!(UserName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, octets) in
            [("0", 0), ("17", 17), ("64KiB", 65_536), ("50 MiB", 52_428_800), ("2 GiB", 2 << 30)]
        {
            assert_eq!(text.parse(), Ok(Octets(octets)), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5 MiB", "1 MB", "99999999999 GiB", "18446744073709551616"] {
            assert!(bad.parse::<Octets>().is_err(), "{bad}");
        }
    }

    #[test]
    fn time_spans_are_bounded_on_both_sides() {
        for (text, seconds) in [("20s", 20), ("5 min", 300), ("1h 30m", 5_400), ("24h", 86_400)] {
            assert_eq!(TimeSpan::try_from(text.to_owned()), Ok(TimeSpan::seconds(seconds)), "{text}");
        }
        for bad in ["", "20", "0s", "-5s", "25h", "5 parsecs"] {
            assert!(TimeSpan::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_written_size_reads_back_as_itself(count: u64) {
            prop_assert_eq!(Octets(count).to_string().parse(), Ok(Octets(count)));
        }

        #[test]
        fn no_text_panics_a_value(text: String) {
            let _ = text.parse::<Octets>();
            let _ = TimeSpan::try_from(text.clone());
            let _ = ListenerName::try_from(text.clone());
            let _ = Hostname::try_from(text);
        }
    }
}
