//! Names that can live here, in the one form in which they are compared.

use std::fmt;
use std::str::FromStr;

/// A local domain: A-labels, lower case, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainName(String);

/// `local@domain` of a user or an alias. The local part is a dot-string (RFC 5321 section 4.1.2, RFC 6531 section
/// 3.3) in ASCII lower case, without the characters of source routing (`%`, `!`) and of file names (`/`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountName {
    whole: String,
    at: usize,
}

/// The text is no name that can live here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not `local@domain`.
    #[error("{text:?} is not an address of the form local@domain")]
    NoAddress {
        /// What was given.
        text: String,
    },
    /// The local part is empty, too long, or has characters that an account may not have.
    #[error(
        "{text:?} has a local part that an account cannot have: letters, digits, dots between them and \
         #$&'*+-=?^_`{{|}}~, at most {LOCAL_PART_OCTETS_MAX} octets"
    )]
    LocalPart {
        /// What was given.
        text: String,
    },
    /// The domain is no domain name.
    #[error("{text:?} is not a domain name")]
    Domain {
        /// What was given.
        text: String,
    },
}

// === impl DomainName ===

impl DomainName {
    /// Its A-labels in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DomainName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        canonical_domain(text)
            .filter(|name| !is_address_like(name))
            .map(Self)
            .ok_or_else(|| InvalidName::Domain { text: text.to_owned() })
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl AccountName ===

impl AccountName {
    /// `local@domain`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.whole
    }

    /// What stands left of the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.whole.split_at_checked(self.at).map_or("", |(local, _)| local)
    }

    /// What stands right of the `@`, A-labels in lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.whole.split_at_checked(self.at.saturating_add(1)).map_or("", |(_, domain)| domain)
    }
}

impl FromStr for AccountName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err(InvalidName::NoAddress { text: text.to_owned() });
        };
        if !is_account_local_part(local) {
            return Err(InvalidName::LocalPart { text: text.to_owned() });
        }
        let domain: DomainName = domain.parse()?;
        let local = canonical_local_part(local);
        Ok(Self { at: local.len(), whole: format!("{local}@{domain}") })
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

/// A domain as it is compared: A-labels, lower case (RFC 5890 section 2.3.2.1). `None`: no domain name.
pub(super) fn canonical_domain(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > DOMAIN_OCTETS_MAX.saturating_mul(4) {
        return None;
    }
    let name = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::STD3).ok()?.into_owned();
    is_dotted_name(&name).then_some(name)
}

/// A local part as it is compared: ASCII case does not count, everything else does.
pub(super) fn canonical_local_part(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// ```text
/// sub-domain = Let-dig [Ldh-str] ; RFC 5321 section 4.1.2
/// ```
fn is_dotted_name(name: &str) -> bool {
    name.len() <= DOMAIN_OCTETS_MAX
        && name.split('.').all(|label| {
            (1..=LABEL_OCTETS_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        })
}

/// An IPv4 address would pass as a domain of four labels.
fn is_address_like(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()))
}

/// ```text
/// Dot-string = Atom *("." Atom) ; RFC 5321 section 4.1.2
/// ```
fn is_account_local_part(local: &str) -> bool {
    local.len() <= LOCAL_PART_OCTETS_MAX
        && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_account_character))
}

fn is_account_character(character: char) -> bool {
    if character.is_ascii() {
        character.is_ascii_alphanumeric() || "#$&'*+-=?^_`{|}~".contains(character)
    } else {
        !character.is_control() && !character.is_whitespace()
    }
}

/// RFC 5321 section 4.5.3.1.1.
const LOCAL_PART_OCTETS_MAX: usize = 64;
/// RFC 1035 section 2.3.4, in text without the root's dot.
const DOMAIN_OCTETS_MAX: usize = 253;
/// RFC 1035 section 2.3.4.
const LABEL_OCTETS_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_and_label_form_do_not_make_two_names() {
        let one: AccountName = "Jürgen@Bücher.Example".parse().unwrap();
        let two: AccountName = "Jürgen@XN--BCHER-KVA.example".parse().unwrap();
        assert_eq!(one, two);
        assert_eq!(one.as_str(), "jürgen@xn--bcher-kva.example");
        assert_eq!((one.local_part(), one.domain()), ("jürgen", "xn--bcher-kva.example"));
    }

    #[test]
    fn names_that_could_be_taken_for_routes_or_files_are_refused() {
        for text in [
            "",
            "@",
            "me",
            "@localhost",
            "me@",
            "a%b@localhost",
            "a!b@localhost",
            "a/b@localhost",
            "a@b@localhost",
            "\"a\"@localhost",
            ".a@localhost",
            "a..b@localhost",
            "a.@localhost",
            "a b@localhost",
            "a\0@localhost",
            "me@-x.example",
            "me@x..example",
            "me@127.0.0.1",
            "me@[127.0.0.1]",
            "me@x.example.",
            "me@x_y.example",
        ] {
            assert!(text.parse::<AccountName>().is_err(), "{text:?}");
        }
        assert!(format!("{}@localhost", "a".repeat(65)).parse::<AccountName>().is_err());
    }

    proptest! {
        #[test]
        fn a_name_reads_back_as_itself(text in "[a-zA-Z0-9+_.-]{1,20}@[a-zA-Z0-9.-]{1,30}") {
            if let Ok(name) = text.parse::<AccountName>() {
                prop_assert_eq!(name.as_str().parse::<AccountName>().unwrap(), name);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            let _ = text.parse::<AccountName>();
            let _ = text.parse::<DomainName>();
        }
    }
}
