//! MTA-STS: what a domain says about TLS with its mail exchangers (RFC 8461). Texts in, values out.

use std::time::Duration;

use crate::directory::DomainName;

/// A policy (section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What it asks for.
    pub mode: Mode,
    /// The mail exchangers that it knows; at least one unless the mode is `None`.
    exchangers: Vec<Pattern>,
    /// How long it may be believed.
    pub max_age: Duration,
}

/// What a policy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Mail goes to listed exchangers that prove their names, or not at all.
    Enforce,
    /// As if there were no policy, but its owner wants to hear what `Enforce` would have refused.
    Testing,
    /// The domain has no policy any more.
    None,
}

/// `mx.example.org`, or `*.example.org` for any one label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exactly(String),
    OneLabelBelow(String),
}

/// The text is no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an MTA-STS policy: {0}")]
pub struct NoPolicy(&'static str);

// === impl Policy ===

impl Policy {
    /// Reads the body of `https://mta-sts.DOMAIN/.well-known/mta-sts.txt`. Fields that are not known are passed over; of
    /// one that stands there twice, but `mx`, the first counts.
    ///
    /// # Errors
    /// It is no policy that could be followed.
    pub fn parse(octets: &[u8]) -> Result<Self, NoPolicy> {
        let text = std::str::from_utf8(octets).map_err(|_| NoPolicy("not UTF-8"))?;
        let (mut version, mut mode, mut max_age, mut exchangers) = (None, None, None, Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(':').ok_or(NoPolicy("a line without a colon"))?;
            let value = value.trim();
            match key.trim() {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" if exchangers.len() >= EXCHANGERS_MAX => {
                    return Err(NoPolicy("too many mail exchangers"));
                }
                "mx" => exchangers.push(Pattern::parse(value)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(NoPolicy("no version, or an unknown one"));
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(NoPolicy("no mode, or an unknown one")),
        };
        if exchangers.is_empty() && mode != Mode::None {
            return Err(NoPolicy("no mail exchanger"));
        }
        let max_age = max_age.ok_or(NoPolicy("no max_age"))?;
        let is_number =
            (1..=10).contains(&max_age.len()) && max_age.bytes().all(|octet| octet.is_ascii_digit());
        let seconds =
            max_age.parse::<u64>().ok().filter(|_| is_number).ok_or(NoPolicy("no number as max_age"))?;
        Ok(Self { mode, exchangers, max_age: Duration::from_secs(seconds).min(AGE_MAX) })
    }

    /// Its fields, one a line (RFC 8460 section 4.2); their order was not kept.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let mut lines = vec!["version: STSv1".to_owned(), format!("mode: {mode}")];
        lines.extend(self.exchangers().iter().map(|name| format!("mx: {name}")));
        lines.push(format!("max_age: {}", self.max_age.as_secs()));
        lines
    }

    /// The exchangers that it knows, as they are written.
    #[must_use]
    pub fn exchangers(&self) -> Vec<String> {
        let written = |pattern: &Pattern| match pattern {
            Pattern::Exactly(name) => name.clone(),
            Pattern::OneLabelBelow(parent) => format!("*.{parent}"),
        };
        self.exchangers.iter().map(written).collect()
    }

    /// Whether the policy knows this exchanger (A-labels, lower case).
    #[must_use]
    pub fn lists(&self, exchanger: &str) -> bool {
        self.exchangers.iter().any(|pattern| match pattern {
            Pattern::Exactly(name) => name == exchanger,
            Pattern::OneLabelBelow(parent) => {
                exchanger.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
            }
        })
    }
}

// === impl Pattern ===

impl Pattern {
    fn parse(text: &str) -> Result<Self, NoPolicy> {
        let domain = |name: &str| {
            name.parse::<DomainName>()
                .map(|name| name.to_string())
                .map_err(|_| NoPolicy("an mx that is no name"))
        };
        match text.strip_prefix("*.") {
            Some(parent) => domain(parent).map(Self::OneLabelBelow),
            None => domain(text).map(Self::Exactly),
        }
    }
}

/// The id in the TXT records of `_mta-sts.DOMAIN` (section 3.1). `None` where there is no such record, more than one, or one
/// that is malformed: then the domain has no policy.
#[must_use]
pub fn record_id(texts: &[String]) -> Option<String> {
    let is_ours =
        |text: &&String| text.strip_prefix(VERSION).is_some_and(|rest| rest.trim_start().starts_with(';'));
    let mut records = texts.iter().filter(is_ours);
    let (record, None) = (records.next()?, records.next()) else { return None };
    let fields = record.split(';').map(str::trim);
    let mut ids = fields.filter_map(|field| field.strip_prefix("id="));
    let id = ids.next()?;
    let is_id =
        (1..=ID_OCTETS_MAX).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

const VERSION: &str = "v=STSv1";
/// Section 3.1.
const ID_OCTETS_MAX: usize = 32;
/// Section 3.2: about a year.
const AGE_MAX: Duration = Duration::from_secs(31_557_600);
/// Far more than anybody has.
const EXCHANGERS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: &str =
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\nmax_age: 604800\r\n";

    #[test]
    fn a_policy_lists_names_and_one_label_below_others() {
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        assert_eq!((policy.mode, policy.max_age.as_secs()), (Mode::Enforce, 604_800));
        assert_eq!(Policy::parse(policy.lines().join("\n").as_bytes()).as_ref(), Ok(&policy));
        for listed in ["mail.example.com", "a.example.net"] {
            assert!(policy.lists(listed), "{listed}");
        }
        for other in ["example.com", "x.mail.example.com", "example.net", "a.b.example.net", ".example.net"] {
            assert!(!policy.lists(other), "{other}");
        }
    }

    #[test]
    fn what_is_unknown_or_doubled_is_passed_over() {
        let text = format!("future: x\n{POLICY}mode: none\nmax_age: 99999999999\n");
        assert_eq!(Policy::parse(text.as_bytes()).unwrap().mode, Mode::Enforce);
        let none = Policy::parse(b"version: STSv1\nmode: none\nmax_age: 9999999999\n").unwrap();
        assert_eq!((none.mode, none.max_age), (Mode::None, AGE_MAX));
    }

    #[test]
    fn what_is_no_policy_is_none() {
        for (old, new) in [
            ("STSv1", "STSv2"),
            ("version: STSv1\r\n", ""),
            ("enforce", "Enforce"),
            ("mode: enforce\r\n", ""),
            ("604800", ""),
            ("604800", "-1"),
            ("604800", "+1"),
            ("604800", "12345678901"),
            ("max_age: 604800\r\n", ""),
            ("mail.example.com", "192.0.2.1"),
            ("mail.example.com", "*.*.example.com"),
            ("mail.example.com", ""),
            ("mx: mail.example.com", "mx mail.example.com"),
        ] {
            let text = POLICY.replace(old, new);
            assert!(Policy::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Policy::parse(b"version: STSv1\nmode: testing\nmax_age: 1\n").is_err(), "no exchanger");
        assert!(Policy::parse(b"\xff").is_err());
    }

    #[test]
    fn one_record_has_an_id_and_several_have_none() {
        let id = |texts: &[&str]| record_id(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]).as_deref(), Some("20160831085700Z"));
        assert_eq!(id(&["v=spf1 -all", "v=STSv1;id=a"]).as_deref(), Some("a"));
        for none in [
            &[][..],
            &["v=STSv1"],
            &["v=STSv1;"],
            &["v=STSv10; id=a"],
            &["id=a; v=STSv1"],
            &["v=STSv1; id="],
            &["v=STSv1; id=a-b"],
            &["v=STSv1; id=a;", "v=STSv1; id=a;"],
            &["v=STSv1; id=123456789012345678901234567890123"],
        ] {
            assert_eq!(id(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_the_reader(octets: Vec<u8>, text: String, at in 0..POLICY.len(), octet: u8) {
            let _ = Policy::parse(&octets);
            let _ = record_id(&[text]);
            let mut damaged = POLICY.as_bytes().to_vec();
            damaged[at] = octet;
            let _ = Policy::parse(&damaged);
        }
    }
}
