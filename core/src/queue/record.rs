//! Records: what a segment consists of behind its header.
//!
//! All numbers are little-endian. A record begins at a multiple of 8 octets:
//!
//! | offset | octets | what |
//! |---|---|---|
//! | 0 | 4 | marker `GPr1` |
//! | 4 | 1 | kind |
//! | 5 | 3 | zero |
//! | 8 | 4 | octets of the payload |
//! | 12 | 4 | number of the batch within the segment, from 1 |
//! | 16 | 4 | masked CRC-32C |
//! | 20 | n | payload |
//! | 20 + n | 0-7 | zeros up to a multiple of 8 |
//!
//! The CRC covers the payload, then octets 0 to 15, then the segment's id in 8 octets. The payload comes first so that
//! a session can compute its share before the writer knows where the record will lie. It is masked (rotated right by
//! 15 bits, 0xa282ead8 added) because a record may hold a mail that holds a record. The segment's id has 32 random
//! bits in it: nobody outside can write a mail that looks like a record once something before it is damaged.
//!
//! Kinds: 1 batch, 2 opening, 3 message, 4 state, 5 done; since version 2 also 6 rules, 7 marks, 8 follow-up (a message
//! that counts only where the next state or done record of its batch is whole), 9 moved, 10 footer. Version 1 had 6 and
//! 7 reserved and wrote neither.

use bytes::Bytes;

use super::codec::{Decoder, Malformed};

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The start of a batch.
    Batch = 1,
    /// The first of a segment: what is known of the segments before it.
    Opening = 2,
    /// A message.
    Message = 3,
    /// A change of recipients that leaves some pending.
    State = 4,
    /// The last change: no recipient is pending.
    Done = 5,
    /// The standing holds.
    Rules = 6,
    /// An order about messages.
    Marks = 7,
    /// A message that counts only with the state or done record behind it: what an attempt has to tell its sender.
    FollowUp = 8,
    /// A message that was carried on from an earlier segment, and where it stands.
    Moved = 9,
    /// Behind the end of a segment: what its records say, without the mails.
    Footer = 10,
}

/// A payload on its way to the writer: two parts, so that a body is never copied.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) kind: Kind,
    head: Vec<u8>,
    body: Bytes,
    payload_crc: u32,
    /// What the footer says of it; `None`: its payload.
    note: Option<Vec<u8>>,
}

/// The head of a record, read back and found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub(super) kind: Kind,
    pub(super) payload_octets: u32,
    pub(super) batch: u32,
    crc: u32,
}

/// The payload of `Kind::Batch`.
///
/// | offset | octets | what |
/// |---|---|---|
/// | 0 | 8 | the segment's id |
/// | 8 | 8 | offset below which everything was known to be flushed when this was written |
/// | 16 | 8 | octets of the batch's records behind this one, padding included |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub(super) segment: u64,
    pub(super) flushed: u64,
    pub(super) octets: u64,
}

// === impl Kind ===

impl Kind {
    pub(super) const fn from_octet(octet: u8) -> Option<Self> {
        Some(match octet {
            1 => Self::Batch,
            2 => Self::Opening,
            3 => Self::Message,
            4 => Self::State,
            5 => Self::Done,
            6 => Self::Rules,
            7 => Self::Marks,
            8 => Self::FollowUp,
            9 => Self::Moved,
            10 => Self::Footer,
            _ => return None,
        })
    }
}

// === impl Record ===

impl Record {
    pub(super) fn new(kind: Kind, head: Vec<u8>, body: Bytes) -> Self {
        let payload_crc = crc32c::crc32c_append(crc32c::crc32c(&head), &body);
        Self { kind, head, body, payload_crc, note: None }
    }

    /// With other words for the footer than its own payload.
    pub(super) fn with_note(self, note: Vec<u8>) -> Self {
        Self { note: Some(note), ..self }
    }

    pub(super) fn note(&self) -> &[u8] {
        self.note.as_ref().unwrap_or(&self.head)
    }

    pub(super) fn payload_octets(&self) -> u64 {
        (self.head.len() as u64).saturating_add(self.body.len() as u64)
    }

    /// Octets on disk, padding included.
    pub(super) fn octets(&self) -> u64 {
        padded(self.payload_octets())
    }

    /// The 20 octets before the payload.
    pub(super) fn header(&self, segment: u64, batch: u32) -> [u8; HEADER_OCTETS] {
        let length = u32::try_from(self.payload_octets()).unwrap_or(u32::MAX);
        let fixed = fixed_part(self.kind, length, batch);
        let crc = mask(crc32c::crc32c_append(
            crc32c::crc32c_append(self.payload_crc, &fixed),
            &segment.to_le_bytes(),
        ));
        let mut header = [0; HEADER_OCTETS];
        for (to, from) in header.iter_mut().zip(fixed.into_iter().chain(crc.to_le_bytes())) {
            *to = from;
        }
        header
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn padding(&self) -> &'static [u8] {
        let octets = self.octets().saturating_sub(self.payload_octets()).saturating_sub(HEADER_OCTETS as u64);
        usize::try_from(octets).ok().and_then(|octets| ZEROS.get(..octets)).unwrap_or_default()
    }
}

// === impl RecordHead ===

impl RecordHead {
    /// Reads the 20 octets before a payload; says nothing of the payload yet.
    pub(super) fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(octets);
        if decoder.array::<4>()? != MARKER {
            return Err(Malformed);
        }
        let kind = Kind::from_octet(decoder.u8()?).ok_or(Malformed)?;
        if decoder.array::<3>()? != [0; 3] {
            return Err(Malformed);
        }
        Ok(Self { kind, payload_octets: decoder.u32()?, batch: decoder.u32()?, crc: decoder.u32()? })
    }

    /// Whether the payload belongs to it and both to this segment.
    pub(super) fn covers(&self, payload: &[u8], segment: u64) -> bool {
        let fixed = fixed_part(self.kind, self.payload_octets, self.batch);
        let crc = crc32c::crc32c_append(crc32c::crc32c(payload), &fixed);
        payload.len() as u64 == u64::from(self.payload_octets)
            && mask(crc32c::crc32c_append(crc, &segment.to_le_bytes())) == self.crc
    }

    /// Octets on disk, padding included.
    pub(super) fn octets(&self) -> u64 {
        padded(u64::from(self.payload_octets))
    }
}

// === impl BatchHead ===

impl BatchHead {
    pub(super) fn record(self) -> Record {
        let mut head = Vec::with_capacity(24);
        for value in [self.segment, self.flushed, self.octets] {
            head.extend_from_slice(&value.to_le_bytes());
        }
        Record::new(Kind::Batch, head, Bytes::new())
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(payload);
        let head = Self { segment: decoder.u64()?, flushed: decoder.u64()?, octets: decoder.u64()? };
        decoder.end()?;
        Ok(head)
    }
}

/// Octets on disk of a record with a payload of this length.
pub(super) fn padded(payload_octets: u64) -> u64 {
    let octets = payload_octets.saturating_add(HEADER_OCTETS as u64);
    octets.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

fn fixed_part(kind: Kind, length: u32, batch: u32) -> [u8; 16] {
    let [m0, m1, m2, m3] = MARKER;
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [b0, b1, b2, b3] = batch.to_le_bytes();
    [m0, m1, m2, m3, kind as u8, 0, 0, 0, l0, l1, l2, l3, b0, b1, b2, b3]
}

pub(super) const fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// What a reader looks for when a record was damaged.
pub(super) const MARKER: [u8; 4] = *b"GPr1";
/// Octets before the payload.
pub(super) const HEADER_OCTETS: usize = 20;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 8;
/// Octets of a batch record on disk.
pub(super) const BATCH_OCTETS: u64 = 48;
const ZEROS: [u8; 8] = [0; 8];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on_disk(record: &Record, segment: u64, batch: u32) -> Vec<u8> {
        [&record.header(segment, batch)[..], record.head(), record.body(), record.padding()].concat()
    }

    proptest! {
        #[test]
        fn a_record_reads_back(head: Vec<u8>, body: Vec<u8>, segment: u64, batch: u32) {
            let record = Record::new(Kind::Message, head.clone(), body.clone().into());
            let octets = on_disk(&record, segment, batch);
            prop_assert_eq!(octets.len() as u64, record.octets());
            prop_assert_eq!(octets.len() % 8, 0);
            let found = RecordHead::decode(&octets).unwrap();
            let payload = &octets[HEADER_OCTETS..HEADER_OCTETS + found.payload_octets as usize];
            prop_assert!(found.covers(payload, segment));
            prop_assert_eq!(payload, &[head, body].concat()[..]);
            prop_assert_eq!((found.kind, found.batch, found.octets()), (Kind::Message, batch, record.octets()));
            prop_assert!(!found.covers(payload, segment ^ 1), "not in another segment");
        }

        #[test]
        fn a_flipped_bit_is_noticed(body in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0..8_u8) {
            let record = Record::new(Kind::Done, Vec::new(), body.into());
            let mut octets = on_disk(&record, 7, 3);
            let used = HEADER_OCTETS + record.body().len();
            octets[at.index(used)] ^= 1 << bit;
            let whole = RecordHead::decode(&octets).is_ok_and(|found| {
                let payload = octets.get(HEADER_OCTETS..HEADER_OCTETS + found.payload_octets as usize);
                payload.is_some_and(|payload| found.covers(payload, 7))
            });
            prop_assert!(!whole);
        }
    }

    #[test]
    fn a_batch_head_has_the_length_that_is_reserved_for_it() {
        let head = BatchHead { segment: 1, flushed: 2, octets: 3 };
        assert_eq!(head.record().octets(), BATCH_OCTETS);
        assert_eq!(BatchHead::decode(head.record().head()), Ok(head));
    }
}
