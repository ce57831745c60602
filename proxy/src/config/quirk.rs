//! `[[quirk]]`: which deviations from the standards are tolerated, and from whom.

use gatepost_smtp::server::Quirks;
use serde::Deserialize;

use super::network::TrustedNetwork;

/// Peers of these networks are allowed these deviations; each use is logged and counted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuirkNetworks {
    /// From where.
    pub networks: Vec<TrustedNetwork>,
    /// What.
    pub allow: Vec<Quirk>,
}

/// A deviation that some devices cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// A bare LF ends a line, and is stored as CRLF.
    BareLfNormalise,
    /// `MAIL FROM: <path>`, `RCPT TO: <path>`.
    SpaceAfterColon,
}

// === impl QuirkNetworks ===

impl QuirkNetworks {
    /// What is allowed, as the session machine wants it.
    #[must_use]
    pub fn quirks(&self) -> Quirks {
        let allows = |quirk| self.allow.contains(&quirk);
        Quirks {
            space_after_colon: allows(Quirk::SpaceAfterColon),
            bare_lf_normalise: allows(Quirk::BareLfNormalise),
        }
    }
}
