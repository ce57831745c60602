//! The file in which what one engine has said of items outlives a restart.
//!
//! ```text
//! octets  field       integers are little endian
//! 8       magic       "gpitems\n"
//! 2       version     1
//! 1       n
//! n       engine      its name in the configuration
//! 1       s
//! s       stamp       ENGINE/SIGNATURES/POLICY, under which all of it was said
//! ...     verdicts, up to the seal, the oldest first:
//!   32    item        BLAKE3 of its octets
//!   1     t           0: it is clean, else infected
//!   t     threat      1 to 128 of [A-Za-z0-9._-]
//! 32      seal        HMAC-SHA-256 over all before it
//! ```
//! The key is that of stamps. No text that a stamp is sealed by begins with this magic, so neither seal passes for the other.
//! Nothing is believed but a whole file with our seal: neither that an item is clean, nor that it is infected.

use super::item_verdicts::ItemHash;
use super::reader::Reader;
use super::{SealKey, Stamp, Verdict, threat_name};

/// A file that is being written.
pub(super) struct Draft {
    octets: Vec<u8>,
    verdicts: usize,
}

/// What a file has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recalled {
    /// Without a seal.
    pub(super) stamp: Stamp,
    /// The oldest first.
    pub(super) verdicts: Vec<(ItemHash, Verdict)>,
}

/// Why nothing in a file is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// It has another magic, or a version that there never was.
    #[error("it is no such file")]
    NotOne,
    /// A later version of this program has written it.
    #[error("it is of a newer version")]
    Newer,
    /// It is larger than one of ours gets.
    #[error("it is too large")]
    TooLarge,
    /// Damaged, or written by somebody without the key.
    #[error("its seal is not ours")]
    NotOurs,
    /// Ours, under another name.
    #[error("it is of another engine")]
    OtherEngine,
    /// Ours, and not what we write.
    #[error("it has another form than it should")]
    Form,
}

// === impl Draft ===

impl Draft {
    /// Of an engine with this name, whose verdicts all have this stamp. `room_for` that many memory is taken at once.
    pub(super) fn new(engine: &str, stamp: &Stamp, room_for: usize) -> Self {
        let mut octets = Vec::with_capacity(room_for.saturating_add(8).saturating_mul(CLEAN_OCTETS));
        octets.extend_from_slice(MAGIC);
        octets.extend_from_slice(&VERSION.to_le_bytes());
        for text in [engine, &stamp.unsealed().to_string()] {
            // A name that does not fit is cut, and then no engine's: it costs calls.
            let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
            octets.push(length);
            octets.extend(text.bytes().take(length.into()));
        }
        Self { octets, verdicts: 0 }
    }

    /// What an engine's limits keep it from looking at is left out: limits are settings, which a restart may change.
    pub(super) fn add(&mut self, item: &ItemHash, verdict: &Verdict) {
        let threat = match verdict {
            Verdict::Clean => "",
            Verdict::Infected { threat } if is_threat_name(threat) => threat,
            Verdict::Infected { .. } | Verdict::Unscannable { .. } | Verdict::TimedOut | Verdict::Failed => {
                return;
            }
        };
        let Ok(length) = u8::try_from(threat.len()) else { return };
        self.octets.extend_from_slice(item);
        self.octets.push(length);
        self.octets.extend_from_slice(threat.as_bytes());
        self.verdicts = self.verdicts.saturating_add(1);
    }

    /// How many were added.
    pub(super) const fn verdicts(&self) -> usize {
        self.verdicts
    }

    /// The whole file.
    pub(super) fn sealed(mut self, key: &SealKey) -> Vec<u8> {
        let seal = key.sign(&self.octets);
        self.octets.extend_from_slice(seal.as_ref());
        self.octets
    }
}

/// What a file has that is to be of the engine with this name.
///
/// # Errors
/// Nothing in it is believed.
pub(super) fn read(octets: &[u8], engine: &str, key: &SealKey) -> Result<Recalled, Unusable> {
    let rest = octets.strip_prefix(MAGIC).ok_or(Unusable::NotOne)?;
    let (version, _) = rest.split_first_chunk().ok_or(Unusable::NotOne)?;
    match u16::from_le_bytes(*version) {
        VERSION => (),
        newer if newer > VERSION => return Err(Unusable::Newer),
        _ => return Err(Unusable::NotOne),
    }
    let (sealed, seal) = octets.split_last_chunk::<{ SealKey::OCTETS }>().ok_or(Unusable::NotOurs)?;
    if !key.has_signed(sealed, seal) {
        return Err(Unusable::NotOurs);
    }
    let mut reader = Reader(sealed);
    let head = MAGIC.len().saturating_add(version.len());
    let name = reader.take(head).and_then(|_| short(&mut reader)).ok_or(Unusable::Form)?;
    if name != engine.as_bytes() {
        return Err(Unusable::OtherEngine);
    }
    recalled(&mut reader).ok_or(Unusable::Form)
}

/// All behind the engine's name.
fn recalled(reader: &mut Reader<'_>) -> Option<Recalled> {
    let stamp: Stamp = str::from_utf8(short(reader)?).ok()?.parse().ok()?;
    if stamp.seal.is_some() {
        return None;
    }
    let mut verdicts = Vec::new();
    while !reader.0.is_empty() {
        let item = *reader.take(ITEM_OCTETS)?.first_chunk()?;
        verdicts.push((item, verdict(short(reader)?)?));
    }
    Some(Recalled { stamp, verdicts })
}

fn verdict(threat: &[u8]) -> Option<Verdict> {
    if threat.is_empty() {
        return Some(Verdict::Clean);
    }
    let threat = str::from_utf8(threat).ok().filter(|threat| is_threat_name(threat))?;
    Some(Verdict::Infected { threat: threat.to_owned() })
}

/// Octets behind an octet that counts them.
fn short<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let [length] = *reader.take(1)?.first_chunk()?;
    reader.take(length.into())
}

/// As others get to see it.
fn is_threat_name(threat: &str) -> bool {
    threat_name(threat) == threat
}

const MAGIC: &[u8] = b"gpitems\n";
const VERSION: u16 = 1;
const ITEM_OCTETS: usize = size_of::<ItemHash>();
/// A clean item.
const CLEAN_OCTETS: usize = ITEM_OCTETS + 1;
/// One with the longest name there is.
pub(super) const VERDICT_OCTETS_MAX: usize = CLEAN_OCTETS + 128;
/// All before the verdicts and behind them, at most.
pub(super) const FRAME_OCTETS_MAX: usize = 8 + 2 + 256 + 256 + SealKey::OCTETS;

#[cfg(test)]
mod tests;
