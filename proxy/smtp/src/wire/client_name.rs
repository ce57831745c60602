//! What a client calls itself in EHLO and HELO (RFC 5321 section 4.1.1.1).

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::take_while1;
use nom::combinator::{all_consuming, recognize, verify};

use super::limits::DOMAIN_OCTETS;
use super::path::{Parsed, domain};

/// A domain or an address literal in ASCII, at most 255 octets; safe to write into a `Received:` field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientName(String);

/// The text is neither a domain nor an address literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a domain or address literal (RFC 5321 section 4.1.1.1)")]
pub struct InvalidClientName;

// === impl ClientName ===

impl ClientName {
    /// The name as the client wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ClientName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ClientName {
    type Err = InvalidClientName;

    /// `( Domain / address-literal )`; U-labels are not allowed here (RFC 6531 section 3.7.1).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = all_consuming(alt((recognize(all_consuming(domain)), quirk_underscore))).parse(text);
        match name {
            Ok((_, name)) if name.is_ascii() => Ok(Self(name.to_owned())),
            _ => Err(InvalidClientName),
        }
    }
}

/// Machine names with an underscore are common in networks of Windows clients, and the name decides nothing.
fn quirk_underscore(input: &str) -> Parsed<'_, &str> {
    let name = take_while1(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    verify(name, |name: &str| {
        name.len() <= DOMAIN_OCTETS
            && name.split('.').all(|label| !label.is_empty() && !label.starts_with('-'))
    })
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_address_literals_are_names() {
        for name in ["localhost", "mail.example.org", "[127.0.0.1]", "[IPv6:::1]", "WIN_BOX", "10.0.0.1"] {
            assert_eq!(name.parse::<ClientName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = "a".repeat(256);
        for name in
            ["", " ", "a b", "a..b", ".a", "a.", "-a", "ü.example", "[1.2.3]", "[::1]", "a(b)", "a\tb", &long]
        {
            assert_eq!(name.parse::<ClientName>(), Err(InvalidClientName), "{name}");
        }
    }
}
