//! The seam to a virus scanner.

use std::time::Instant;

use super::Verdict;

/// A virus scanner. It is called on a scan thread and may block until the deadline.
pub trait Engine: Send + Sync + 'static {
    /// Which engine this is now; changes when the signatures do. Never blocks.
    fn identity(&self) -> EngineIdentity;

    /// Scans one item: a raw message, a decoded part, or an archive's entry. An engine that has no verdict at
    /// `deadline` answers [`Verdict::TimedOut`]; one that goes on costs its thread, not the waiter's time.
    fn scan(&self, item: &[u8], deadline: Instant) -> Verdict;

    /// Cleans an item in which it finds something. As `scan`, it may block until the deadline. What comes back is
    /// believed by nobody before it was scanned.
    fn clean(&self, _item: &[u8], _deadline: Instant) -> Cleaning {
        Cleaning::NotCleanable
    }

    /// Whether it is worth asking. `false` while an engine outside this process cannot be reached. Never blocks.
    fn is_available(&self) -> bool {
        true
    }

    /// Looks for new signatures at once. Blocks for some seconds at most.
    fn reload(&self) -> Reload {
        Reload::Unchanged
    }
}

/// What came of an item that was to be cleaned.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleaning {
    /// The item without what was found in it.
    Cleaned(Vec<u8>),
    /// The engine does not clean, or not this.
    NotCleanable,
    /// The engine failed.
    Failed,
}

/// What a look for new signatures led to.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// Nothing has changed since the last look.
    Unchanged,
    /// New signatures are in use.
    Replaced,
    /// The new ones cannot be used, for this reason; the old ones stay.
    Kept(String),
}

/// Which engine with which signatures. Both names are short and free of the separator that [`Stamp`] puts between
/// them, so that a stamp can be stored as text.
///
/// [`Stamp`]: super::Stamp
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EngineIdentity {
    name: String,
    signatures: String,
}

/// A name or version that an identity cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an engine's name and signature version are 1 to 64 letters, digits, '.', '_' or '-'")]
pub struct InvalidIdentity;

// === impl EngineIdentity ===

impl EngineIdentity {
    /// An engine (`yara`) and the version of its signatures (for YARA the start of the BLAKE3 of its rules, in hex).
    /// Each is 1 to 64 octets of `[A-Za-z0-9._-]`.
    pub fn new(name: &str, signatures: &str) -> Result<Self, InvalidIdentity> {
        if !is_token(name) || !is_token(signatures) {
            return Err(InvalidIdentity);
        }
        Ok(Self { name: name.to_owned(), signatures: signatures.to_owned() })
    }

    /// The embedded engine with rules of this version. The version is hex digits of our own making.
    pub(super) fn yara(version: &str) -> Self {
        Self { name: "yara".to_owned(), signatures: version.to_owned() }
    }

    /// Names as others write them: what an identity cannot hold becomes `-`, and what is too long its hash.
    pub(super) fn of_words(name: &str, signatures: &str) -> Self {
        Self { name: token(name), signatures: token(signatures) }
    }

    /// Such as `yara`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the signatures.
    #[must_use]
    pub fn signatures(&self) -> &str {
        &self.signatures
    }
}

fn token(words: &str) -> String {
    let plain = |octet: u8| if is_plain(octet) { char::from(octet) } else { '-' };
    match words.len() {
        0 => "none".to_owned(),
        1..=TOKEN_OCTETS_MAX => words.bytes().map(plain).collect(),
        _ => blake3::hash(words.as_bytes()).to_hex().to_string(),
    }
}

fn is_token(text: &str) -> bool {
    (1..=TOKEN_OCTETS_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

const fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-')
}

/// A full BLAKE3 or SHA-256 in hex fits; a stamp stays under 140 octets in a queue record.
const TOKEN_OCTETS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_an_engine_calls_itself_makes_an_identity(name: String, signatures: String) {
            let identity = EngineIdentity::of_words(&name, &signatures);
            prop_assert_eq!(EngineIdentity::new(identity.name(), identity.signatures()), Ok(identity));
        }
    }
}
