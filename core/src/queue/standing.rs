//! The payloads of an operator's orders and of messages that were carried on to a later segment.
//!
//! Rules (kind 6): number of rules (4), each: an octet 0 to 2 (everything, a sender, a domain) and a text. They are all
//! the standing holds there are from here on; they say nothing of messages before them.
//!
//! Marks (kind 7): an octet 0 to 2 (hold, thaw, give up), number of messages (4), their ids (8 each).
//!
//! Moved (kind 9): id (8), attempts (4), not before (8), flags (1; 1: held, 2: given up, 4: the sender knows
//! that it is late), option of the last reason (a
//! text), number of words (4), each (8): a set bit for each pending recipient, lowest first; then a message's payload
//! (kind 3) without its id. It takes the place of the record before it and of all that was said of it.

use bytes::Bytes;

use super::codec::{Decoder, Encoder, Malformed};
use super::facts::{Facts, SenderKey};
use super::pending::Pending;
use super::record::{Kind, Record};
use super::{HoldRule, QueueId};

/// Standing holds, ready to be compared with messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rules {
    rules: Vec<HoldRule>,
    senders: Vec<SenderKey>,
}

/// An order about messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) mark: Mark,
    pub(super) ids: Vec<QueueId>,
}

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mark {
    Hold = 0,
    Thaw = 1,
    GiveUp = 2,
}

/// Where a message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) id: QueueId,
    pub(super) attempts: u32,
    pub(super) not_before_ms: u64,
    pub(super) held: bool,
    pub(super) given_up: bool,
    pub(super) sender_knows: bool,
    pub(super) last_reason: Option<String>,
    pub(super) pending: Pending,
}

// === impl Rules ===

impl Rules {
    pub(super) fn new(mut rules: Vec<HoldRule>) -> Self {
        rules.sort_unstable();
        rules.dedup();
        let senders = rules.iter().filter_map(|rule| match rule {
            HoldRule::Sender(address) => Some(SenderKey::of_address(address)),
            HoldRule::Everything | HoldRule::Domain(_) => None,
        });
        Self { senders: senders.collect(), rules }
    }

    pub(super) fn as_slice(&self) -> &[HoldRule] {
        &self.rules
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a message that comes in now is held.
    pub(super) fn hold(&self, facts: &Facts) -> bool {
        let domain = |domain: &String| self.rules.binary_search(&HoldRule::Domain(domain.clone())).is_ok();
        !self.rules.is_empty()
            && (self.rules.first() == Some(&HoldRule::Everything)
                || self.senders.contains(&facts.sender)
                || facts.domains.iter().any(domain))
    }

    pub(super) fn record(&self) -> Record {
        let mut encoder = Encoder::default();
        encoder.count(self.rules.len());
        for rule in &self.rules {
            let (tag, text) = match rule {
                HoldRule::Everything => (0, ""),
                HoldRule::Sender(address) => (1, address.as_str()),
                HoldRule::Domain(domain) => (2, domain.as_str()),
            };
            encoder.u8(tag);
            encoder.text(text);
        }
        Record::new(Kind::Rules, encoder.finish(), Bytes::new())
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(payload);
        let count = decoder.count(RULE_OCTETS_MIN)?;
        let mut rules = Vec::with_capacity(count);
        for _ in 0..count {
            let tag = decoder.u8()?;
            let text = decoder.text()?.to_owned();
            rules.push(match tag {
                0 => HoldRule::Everything,
                1 => HoldRule::Sender(text),
                2 => HoldRule::Domain(text),
                _ => return Err(Malformed),
            });
        }
        decoder.end()?;
        Ok(Self::new(rules))
    }
}

// === impl Marks ===

impl Marks {
    pub(super) fn record(&self) -> Record {
        let mut encoder = Encoder::default();
        encoder.u8(self.mark as u8);
        encoder.count(self.ids.len());
        for id in &self.ids {
            encoder.u64(id.0);
        }
        Record::new(Kind::Marks, encoder.finish(), Bytes::new())
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(payload);
        let mark = match decoder.u8()? {
            0 => Mark::Hold,
            1 => Mark::Thaw,
            2 => Mark::GiveUp,
            _ => return Err(Malformed),
        };
        let count = decoder.count(8)?;
        let ids = (0..count).map(|_| Ok(QueueId(decoder.u64()?))).collect::<Result<Vec<_>, Malformed>>()?;
        decoder.end()?;
        Ok(Self { mark, ids })
    }
}

// === impl Standing ===

impl Standing {
    pub(super) fn encode(&self, encoder: &mut Encoder) {
        encoder.u64(self.id.0);
        encoder.u32(self.attempts);
        encoder.u64(self.not_before_ms);
        encoder.u8(u8::from(self.held) | (u8::from(self.given_up) << 1) | (u8::from(self.sender_knows) << 2));
        encoder.option(self.last_reason.as_deref(), Encoder::text);
        encoder.count(self.pending.words().len());
        for word in self.pending.words() {
            encoder.u64(*word);
        }
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let id = QueueId(decoder.u64()?);
        let (attempts, not_before_ms) = (decoder.u32()?, decoder.u64()?);
        let flags = decoder.u8()?;
        if flags > 7 {
            return Err(Malformed);
        }
        let last_reason = decoder.option(|decoder| Ok(decoder.text()?.to_owned()))?;
        let count = decoder.count(8)?;
        let words = (0..count).map(|_| decoder.u64()).collect::<Result<Vec<_>, Malformed>>()?;
        let pending = Pending::of_words(&words);
        let (held, given_up, sender_knows) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        Ok(Self { id, attempts, not_before_ms, held, given_up, sender_knows, last_reason, pending })
    }

    /// The record that carries a message on. `rest`: its payload as a message without its id.
    pub(super) fn record(&self, facts: &Facts, rest: Bytes) -> Record {
        let mut encoder = Encoder::default();
        self.encode(&mut encoder);
        let head = encoder.finish();
        let mut note = Encoder::with_capacity(head.len().saturating_add(NOTE_OCTETS_USUAL));
        note.raw(&head);
        facts.encode(&mut note);
        Record::new(Kind::Moved, head, rest).with_note(note.finish())
    }
}

/// A tag and an empty text.
const RULE_OCTETS_MIN: usize = 5;
/// The facts of most messages.
pub(super) const NOTE_OCTETS_USUAL: usize = 96;
