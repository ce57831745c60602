//! What makes a stamp ours: an HMAC over the content that it vouches for, what was found there, and what it says.
//!
//! Whoever can write into the queue's files or a mailbox database has no key, so what he writes there is scanned again.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;

use super::{InvalidStamp, Stamp};

/// The secret that stamps are sealed with. Cheap to clone.
#[derive(Clone)]
pub struct SealKey(Arc<hmac::Key>);

/// HMAC-SHA-256, in a stamp's text 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal([u8; SealKey::OCTETS]);

// === impl SealKey ===

impl SealKey {
    /// How long a key is.
    pub const OCTETS: usize = 32;

    /// This key.
    #[must_use]
    pub fn new(octets: &[u8; Self::OCTETS]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, octets)))
    }

    /// `stamp` with the seal for this content (BLAKE3 of a message's body) and what was found in it.
    #[must_use]
    pub fn seal(&self, content: &[u8; 32], threat: Option<&str>, stamp: &Stamp) -> Stamp {
        let tag = self.sign(&sealed_text(content, threat, stamp));
        let octets = tag.as_ref().first_chunk().copied();
        Stamp { seal: octets.map(Seal), ..stamp.clone() }
    }

    /// Whether the stamp was sealed with this key for this content and finding.
    #[must_use]
    pub fn holds(&self, content: &[u8; 32], threat: Option<&str>, stamp: &Stamp) -> bool {
        let text = sealed_text(content, threat, stamp);
        stamp.seal.is_some_and(|Seal(octets)| self.has_signed(&text, &octets))
    }

    /// The seal of a text, which begins with what it is for: no two purposes have a common beginning.
    pub(super) fn sign(&self, text: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, text)
    }

    /// Whether this key made this seal of the text.
    pub(super) fn has_signed(&self, text: &[u8], seal: &[u8; Self::OCTETS]) -> bool {
        hmac::verify(&self.0, text, seal).is_ok()
    }
}

impl Default for SealKey {
    /// One of this process, which no other knows: stamps hold as long as it lives.
    fn default() -> Self {
        OF_PROCESS.clone()
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

// === impl Seal ===

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl FromStr for Seal {
    type Err = InvalidStamp;

    fn from_str(text: &str) -> Result<Self, InvalidStamp> {
        // One seal has one text: lower case.
        let hash = blake3::Hash::from_hex(text).map_err(|_| InvalidStamp)?;
        let seal = Self(*hash.as_bytes());
        if seal.to_string() == text { Ok(seal) } else { Err(InvalidStamp) }
    }
}

/// No two different things have the same: a content has a fixed length, and no field holds a line end.
fn sealed_text(content: &[u8; 32], threat: Option<&str>, stamp: &Stamp) -> Vec<u8> {
    let Stamp { engine, policy, .. } = stamp;
    let (name, signatures) = (engine.name(), engine.signatures());
    let verdict = threat.map_or_else(|| "clean".to_owned(), |threat| format!("found {threat}"));
    let words = format!("\n{name}\n{signatures}\n{policy}\n{verdict}");
    [PURPOSE, content, words.as_bytes()].concat()
}

static OF_PROCESS: LazyLock<SealKey> = LazyLock::new(|| {
    let mut octets = [0; SealKey::OCTETS];
    // Without random numbers nothing else would work; a key that is guessed here seals nothing that outlives the process.
    let _ = aws_lc_rs::rand::fill(&mut octets);
    SealKey::new(&octets)
});

const PURPOSE: &[u8] = b"gatepost scan stamp 1\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::EngineIdentity;

    #[test]
    fn a_seal_holds_for_its_content_finding_and_words_alone() {
        let key = SealKey::new(&[7; 32]);
        let stamp =
            |signatures: &str, policy| Stamp::new(EngineIdentity::new("fake", signatures).unwrap(), policy);
        let (content, plain) = ([1; 32], stamp("1", 4));
        let sealed = key.seal(&content, None, &plain);
        assert!(key.holds(&content, None, &sealed));
        assert!(!key.holds(&content, None, &plain), "none is no seal");
        assert!(!key.holds(&[2; 32], None, &sealed));
        assert!(!key.holds(&content, Some("clean"), &sealed));
        assert!(!SealKey::new(&[8; 32]).holds(&content, None, &sealed));
        for other in [stamp("2", 4), stamp("1", 5)] {
            assert!(!key.holds(&content, None, &Stamp { seal: sealed.seal, ..other }));
        }
        let found = key.seal(&content, Some("T"), &plain);
        assert!(key.holds(&content, Some("T"), &found) && !key.holds(&content, None, &found));
        let read: Stamp = sealed.to_string().parse().unwrap();
        assert!(key.holds(&content, None, &read));
        assert_eq!(format!("{key:?}"), "SealKey(..)");
    }
}
