//! `[quarantine]`: how much infected mail is kept, and for how long.

use serde::Deserialize;
use toml::Spanned;

use super::problem::Finding;
use super::settings::at_least;
use super::values::Octets;

/// How much stays in quarantine; the oldest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    /// Mails.
    pub messages: u32,
    /// Octets of all of them together.
    pub octets: Octets,
    /// Days that a mail is kept.
    pub days: u32,
}

/// As it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenQuarantine {
    messages: Option<Spanned<u32>>,
    octets: Option<Spanned<Octets>>,
    days: Option<Spanned<u32>>,
}

// === impl WrittenQuarantine ===

impl WrittenQuarantine {
    pub(super) fn check(&self, findings: &mut Vec<Finding>) -> Quarantine {
        let default = Quarantine::default();
        if let Some(octets) = &self.octets
            && *octets.get_ref() < OCTETS_MIN
        {
            findings.push(Finding::at(octets.span(), format!("must be at least {OCTETS_MIN}")));
        }
        Quarantine {
            messages: at_least(self.messages.as_ref(), 1, "messages", findings).unwrap_or(default.messages),
            days: at_least(self.days.as_ref(), 1, "days", findings).unwrap_or(default.days),
            octets: self.octets.as_ref().map_or(default.octets, |octets| *octets.get_ref()),
        }
    }
}

// === impl Quarantine ===

impl Default for Quarantine {
    fn default() -> Self {
        Self { messages: MESSAGES_DEFAULT, octets: OCTETS_DEFAULT, days: DAYS_DEFAULT }
    }
}

/// More than a person looks through.
const MESSAGES_DEFAULT: u32 = 1000;
/// Twenty of the largest mails.
const OCTETS_DEFAULT: Octets = Octets::mebi(1024);
/// A holiday, and the week after it.
const DAYS_DEFAULT: u32 = 30;
/// Below, a single mail would push all others out.
const OCTETS_MIN: Octets = Octets::mebi(1);
