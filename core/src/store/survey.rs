//! What a walk through all messages of a database meets.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ScanMark;
use crate::intake::Body;
use crate::queue::QueueId;
use crate::scan::Stamp;

/// BLAKE3 of a message as it was received: what all copies of one body share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 32]);

/// Where a walk stands: behind this message. Messages are in the order of their folders' making, then of their uids, and
/// what comes in later comes behind what its folder has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The folder's number in the database; 0 before the first.
    pub folder: i64,
    /// The message's uid.
    pub uid: u32,
}

/// A message that a walk meets, without its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encounter {
    /// Where it lies.
    pub position: Position,
    /// Its body.
    pub content: ContentHash,
    /// How long that is.
    pub octets: u64,
    /// When it was accepted, milliseconds since 1970.
    pub received_at_ms: u64,
    /// What the last scan said.
    pub mark: Option<ScanMark>,
}

/// A verdict on a body, for all messages that share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyMark {
    /// Which body.
    pub content: ContentHash,
    /// What the scan said.
    pub mark: ScanMark,
}

/// One message that has a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Whose.
    pub mailbox: String,
    /// In which folder.
    pub folder: String,
    /// Its uid there.
    pub uid: u32,
    /// The mail that it came as.
    pub queue_id: QueueId,
    /// When that was accepted, milliseconds since 1970.
    pub received_at_ms: u64,
    /// Header lines of ours.
    pub head: Bytes,
}

/// What comes in the place of a body.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// The other body.
    pub body: Body,
    /// Under which it was found clean.
    pub stamp: Stamp,
    /// A header field that says so, for the head of each message: CRLF lines.
    pub field: Bytes,
}

/// A message that has gone with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// As it was.
    pub copy: Copied,
    /// The uid of what is in its place, if anything is.
    pub uid: Option<u32>,
}

// === impl ContentHash ===

impl ContentHash {
    /// Of these octets.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        Self(*blake3::hash(octets).as_bytes())
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// 64 hexadecimal digits.
impl std::str::FromStr for ContentHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let hash = blake3::Hash::from_hex(text.to_ascii_lowercase()).map_err(|_| InvalidHash)?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a content hash is 64 hexadecimal digits")]
pub struct InvalidHash;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hash_survives_its_text_form(octets: [u8; 32]) {
            let hash = ContentHash(octets);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
            prop_assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
        }

        #[test]
        fn no_text_panics_it(text: String) {
            let _ = text.parse::<ContentHash>();
        }
    }
}
