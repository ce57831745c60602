//! `[[dkim]]`: whose mail is signed, and with which keys.

use std::path::PathBuf;

use gatepost_core::dkim::{InvalidName, Selector};
use serde::Deserialize;

use super::values::Hostname;

/// A key of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DkimKey {
    /// Mail of its users is signed; A-labels.
    pub domain: Hostname,
    /// Where the public key is, below `_domainkey` of the domain.
    pub selector: DkimSelector,
    /// The private key, PEM, mode 0600.
    pub key: PathBuf,
}

/// A selector as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DkimSelector(Selector);

// === impl DkimSelector ===

impl DkimSelector {
    /// As the signer wants it.
    #[must_use]
    pub fn selector(&self) -> Selector {
        self.0.clone()
    }
}

impl TryFrom<String> for DkimSelector {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse().map(Self)
    }
}
