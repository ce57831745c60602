//! `[delivery.remote.tls_reports]`: domains hear what came of TLS with their mail exchangers.

use gatepost_smtp::wire::path::Mailbox;
use serde::Deserialize;

/// In whose name they hear of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsReports {
    /// Who reports, for people.
    pub organization: Organization,
    /// Who can be asked, and gets back what cannot be delivered.
    pub from: ReportSender,
}

/// Printable ASCII, 1 to 100 octets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Organization(String);

/// An address, ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ReportSender(Mailbox);

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReports {
    /// Not an organization.
    #[error("not a name for reports (1 to 100 printable ASCII characters): {0:?}")]
    Organization(String),
    /// Not an address.
    #[error("not an address that reports could come from (such as tls-reports@example.org): {0:?}")]
    From(String),
}

// === impl Organization ===

impl Organization {
    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Organization {
    type Error = InvalidReports;

    fn try_from(text: String) -> Result<Self, InvalidReports> {
        let is_printable = text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic());
        let is_name = is_printable && !text.trim().is_empty() && text.len() <= ORGANIZATION_OCTETS_MAX;
        if is_name { Ok(Self(text)) } else { Err(InvalidReports::Organization(text)) }
    }
}

// === impl ReportSender ===

impl ReportSender {
    /// The address.
    #[must_use]
    pub const fn mailbox(&self) -> &Mailbox {
        &self.0
    }
}

impl TryFrom<String> for ReportSender {
    type Error = InvalidReports;

    fn try_from(text: String) -> Result<Self, InvalidReports> {
        let address = text.parse::<Mailbox>().ok().filter(|_| text.is_ascii());
        address.map(Self).ok_or(InvalidReports::From(text))
    }
}

/// It stands in a line of text.
const ORGANIZATION_OCTETS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn reports(text: &str) -> Result<Option<(String, String)>, String> {
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
        let text = format!("{listener}[delivery.remote]\nenabled = true\n{text}");
        let config = Config::parse(Path::new("test"), &text).map_err(|problems| problems.to_string())?;
        let reports = config.remote.unwrap().tls_reports;
        Ok(reports.map(|reports| (reports.organization.0, reports.from.0.to_string())))
    }

    #[test]
    fn nobody_hears_of_tls_unless_somebody_is_named() {
        let table = "[delivery.remote.tls_reports]\n";
        assert_eq!(reports(""), Ok(None));
        let named = format!("{table}organization = \"Us, Inc.\"\nfrom = \"tls@us.example\"\n");
        assert_eq!(reports(&named), Ok(Some(("Us, Inc.".to_owned(), "tls@us.example".to_owned()))));
        for (old, new) in [
            ("Us, Inc.", ""),
            ("Us, Inc.", " "),
            ("Us, Inc.", "\u{e4}"),
            ("Us, Inc.", "a\\nb"),
            ("tls@us.example", "us.example"),
            ("tls@us.example", "<tls@us.example>"),
            ("tls@us.example", "\u{e4}@us.example"),
            ("from", "sender"),
        ] {
            assert!(reports(&named.replace(old, new)).is_err(), "{old:?} -> {new:?}");
        }
        assert!(reports(&format!("{table}organization = \"Us\"\n")).is_err(), "from is missing");
    }
}
