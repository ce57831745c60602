//! Recipients from a file: whom the server behind knows, as its administrator has written it down.
//!
//! ```text
//! ann@example.org          # one address
//! sales-*@example.org      # all that begin so
//! @lists.example.org       # everybody in this domain
//! ```
//! Neither local parts nor domains have upper and lower case; domains are compared as A-labels.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use gatepost_core::directory::DomainName;
use gatepost_smtp::wire::path::{Domain, ForwardPath, Mailbox};

/// Who is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecipientList {
    domains: HashMap<String, Locals>,
}

/// Of one domain.
#[derive(Debug, Default, PartialEq, Eq)]
struct Locals {
    is_everybody: bool,
    names: HashSet<String>,
    /// Before the `*`.
    beginnings: Vec<String>,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be read, or is longer than 64 MiB.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A line is no recipient.
    #[error("{}:{line}: not a recipient (write ann@example.org, sales-*@example.org or @example.org): {text:?}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

// === impl RecipientList ===

impl RecipientList {
    /// Reads a file: a recipient a line, `#` begins a comment.
    ///
    /// # Errors
    /// The file cannot be read, or one of its lines is none.
    pub fn load(path: &Path) -> Result<Self, ListError> {
        let unreadable = |error| ListError::Read { path: path.to_owned(), error };
        if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_OCTETS_MAX {
            return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut list = Self::default();
        for (number, line) in text.lines().enumerate() {
            let written = without_comment(line).trim();
            if !written.is_empty() && !list.add(written) {
                let (path, line) = (path.to_owned(), number.saturating_add(1));
                return Err(ListError::Line { path, line, text: written.to_owned() });
            }
        }
        Ok(list)
    }

    /// Whether the list has this recipient. `postmaster` is in every domain that it is about (RFC 5321 section 4.5.1).
    #[must_use]
    pub fn has(&self, path: &ForwardPath) -> bool {
        let ForwardPath::Mailbox(mailbox) = path else { return false };
        let Domain::Name(domain) = mailbox.domain() else { return false };
        let Ok(domain) = domain.parse::<DomainName>() else { return false };
        let Some(locals) = self.domains.get(domain.as_str()) else { return false };
        let local = mailbox.local_part().to_lowercase();
        locals.is_everybody
            || local == POSTMASTER
            || locals.names.contains(&local)
            || locals.beginnings.iter().any(|beginning| local.starts_with(beginning))
    }

    /// Whether it was a recipient.
    fn add(&mut self, written: &str) -> bool {
        let Some((local, domain)) = written.rsplit_once('@') else { return false };
        let Ok(domain) = domain.parse::<DomainName>() else { return false };
        // A local part that RCPT could never bring is a slip.
        let is_local_part = |local: &str| format!("{local}@example.org").parse::<Mailbox>();
        let locals = self.domains.entry(domain.to_string()).or_default();
        match local.strip_suffix('*') {
            None if local.is_empty() => locals.is_everybody = true,
            Some("") => locals.is_everybody = true,
            Some(beginning) => {
                if beginning.contains('*') || is_local_part(&format!("{beginning}x")).is_err() {
                    return false;
                }
                locals.beginnings.push(beginning.to_lowercase());
            }
            None => match is_local_part(local) {
                Ok(mailbox) => {
                    locals.names.insert(mailbox.local_part().to_lowercase());
                }
                Err(_) => return false,
            },
        }
        true
    }
}

/// An address may have a `#`, so a comment begins a line or stands behind a blank.
fn without_comment(line: &str) -> &str {
    let is_comment = |before: &str| before.is_empty() || before.ends_with([' ', '\t']);
    let mut before = line.match_indices('#').filter_map(|(at, _)| line.get(..at));
    before.find(|before| is_comment(before)).unwrap_or(line)
}

const POSTMASTER: &str = "postmaster";
/// Some two million addresses.
const FILE_OCTETS_MAX: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Result<RecipientList, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipients");
        std::fs::write(&path, text).unwrap();
        RecipientList::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn who_is_written_down_is_known_and_nobody_else() {
        let text = "# ours\nAnn@Example.org\n sales-*@example.org # teams\n\na#b@example.org # both\n@lists.bücher.example\no\u{308}@b.example\n";
        let list = list(text).unwrap();
        for known in [
            "<ann@EXAMPLE.ORG>",
            "<Sales-north@example.org>",
            "<a#b@example.org>",
            "<anybody@lists.xn--bcher-kva.example>",
            "<postmaster@example.org>",
        ] {
            assert!(list.has(&known.parse().unwrap()), "{known}");
        }
        for unknown in [
            "<anna@example.org>",
            "<ann@lists.example.org>",
            "<sales@example.org>",
            "<postmaster@other.example>",
            "<postmaster>",
            "<ann@[192.0.2.1]>",
            "<\"ann@example.org\"@example.org>",
        ] {
            assert!(!list.has(&unknown.parse().unwrap()), "{unknown}");
        }
    }

    #[test]
    fn a_line_that_is_no_recipient_is_named() {
        for bad in
            ["ann", "ann@", "a b@example.org", "a*b*@example.org", "<ann@example.org>", "ann@[192.0.2.1]"]
        {
            let error = list(&format!("ok@example.org\n{bad}\n")).unwrap_err();
            assert!(error.contains(":2: not a recipient") && error.contains(bad), "{error}");
        }
    }

    proptest! {
        #[test]
        fn an_address_that_is_written_down_is_known(local in "[a-zA-Z0-9#+_-]{1,20}", domain in "[a-z]{1,10}[.]example") {
            let written = format!("{local}@{domain}");
            let path = format!("<{written}>").parse().unwrap();
            prop_assert!(list(&written).is_ok_and(|list| list.has(&path)) != local.starts_with('#'));
        }
    }
}
