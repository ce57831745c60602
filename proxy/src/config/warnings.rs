//! `[scan.warnings]`: what people here are told of infected mail.

use std::ops::Range;

use gatepost_core::delivery::{Template, Warnings};
use serde::Deserialize;
use toml::Spanned;

use super::problem::Finding;

/// As it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenWarnings {
    recipients: Option<bool>,
    senders: Option<bool>,
    per_hour: Option<Spanned<u32>>,
    recipient: WrittenTemplate,
    sender: WrittenTemplate,
}

/// One text, as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenTemplate {
    subject: Option<Spanned<String>>,
    text: Option<Spanned<String>>,
}

// === impl WrittenWarnings ===

impl WrittenWarnings {
    /// What is left out here is as it is there.
    pub(super) fn over(self, base: &Self) -> Self {
        Self {
            recipients: self.recipients.or(base.recipients),
            senders: self.senders.or(base.senders),
            per_hour: self.per_hour.or_else(|| base.per_hour.clone()),
            recipient: self.recipient.over(&base.recipient),
            sender: self.sender.over(&base.sender),
        }
    }

    /// Where the bound of an hour is written.
    pub(super) fn per_hour_span(&self) -> Option<Range<usize>> {
        self.per_hour.as_ref().map(Spanned::span)
    }

    /// Texts are checked whether they are in use or not.
    pub(super) fn check(&self, findings: &mut Vec<Finding>) -> Warnings {
        let recipient = self.recipient.check(RECIPIENT_SUBJECT, RECIPIENT_TEXT, findings);
        let sender = self.sender.check(SENDER_SUBJECT, SENDER_TEXT, findings);
        Warnings {
            recipient: recipient.filter(|_| self.recipients.unwrap_or(false)),
            sender: sender.filter(|_| self.senders.unwrap_or(false)),
        }
    }

    /// How many in an hour.
    pub(super) fn per_hour(&self) -> u32 {
        self.per_hour.as_ref().map_or(PER_HOUR_DEFAULT, |count| *count.get_ref())
    }
}

// === impl WrittenTemplate ===

impl WrittenTemplate {
    fn over(self, base: &Self) -> Self {
        Self {
            subject: self.subject.or_else(|| base.subject.clone()),
            text: self.text.or_else(|| base.text.clone()),
        }
    }

    fn check(&self, subject: &str, text: &str, findings: &mut Vec<Finding>) -> Option<Template> {
        let written = |value: &Option<Spanned<String>>| value.as_ref().map(|value| value.get_ref().clone());
        let template = Template::new(
            &written(&self.subject).unwrap_or_else(|| subject.to_owned()),
            &written(&self.text).unwrap_or_else(|| text.to_owned()),
        );
        template
            .map_err(|why| {
                let at = if why == gatepost_core::delivery::InvalidTemplate::Subject {
                    &self.subject
                } else {
                    &self.text
                };
                let span = at.as_ref().map(Spanned::span).unwrap_or_default();
                let finding = Finding::at(span, why.to_string());
                // What is said for the server is met again with each database.
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            })
            .ok()
    }
}

/// A flood of infected mail is for the operator to see, not for everybody.
pub(super) const PER_HOUR_DEFAULT: u32 = 100;
const RECIPIENT_SUBJECT: &str = "A virus was found in a mail to you";
const RECIPIENT_TEXT: &str = "A mail to you from {sender} was {outcome} on {hostname},
since a virus was found in {item}: {threat}

The mail came in on {received}. An operator knows it as {id}.
";
const SENDER_SUBJECT: &str = "A virus was found in your mail";
const SENDER_TEXT: &str = "A virus was found in a mail that came from your address {sender}: {threat}
It was in {item}. On {hostname} the mail was {outcome}.

The mail came in on {received}. If you have not sent it, somebody uses your address. An operator
knows the mail as {id}.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(text: &str) -> Result<(Warnings, u32), usize> {
        let written: WrittenWarnings = toml::from_str(text).unwrap();
        let mut findings = Vec::new();
        let warnings = written.check(&mut findings);
        if findings.is_empty() { Ok((warnings, written.per_hour())) } else { Err(findings.len()) }
    }

    #[test]
    fn nobody_is_warned_unless_it_is_said() {
        assert_eq!(warnings(""), Ok((Warnings::default(), PER_HOUR_DEFAULT)));
        let (both, per_hour) = warnings("recipients = true\nsenders = true\nper_hour = 7").unwrap();
        assert!(both.recipient.is_some() && both.sender.is_some() && per_hour == 7);
    }

    #[test]
    fn texts_of_ones_own_are_checked_also_where_they_are_not_in_use() {
        let (own, _) = warnings("senders = true\n[sender]\nsubject = \"s\"\ntext = \"{threat}\"").unwrap();
        assert_eq!(own.sender, Template::new("s", "{threat}").ok());
        assert_eq!(warnings("[sender]\ntext = \"{nobody}\"\n[recipient]\nsubject = \"\""), Err(2));
    }
}
