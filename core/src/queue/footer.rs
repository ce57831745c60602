//! What a segment's records say, gathered while they are written, so that a start need not read the mails between them.
//! The octets are described in `segment`.

use bytes::Bytes;

use super::codec::{Decoder, Encoder, Malformed};
use super::record::{Kind, Record};
use super::segment::Location;

/// The footer of the segment that is being written.
#[derive(Debug, Default)]
pub(super) struct Footer {
    notes: Encoder,
    count: u32,
    is_too_large: bool,
}

/// What a footer says of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note<'a> {
    pub(super) kind: Kind,
    pub(super) offset: u64,
    pub(super) payload_octets: u32,
    pub(super) note: &'a [u8],
}

// === impl Footer ===

impl Footer {
    /// A record became durable.
    pub(super) fn note(&mut self, record: &Record, place: Location) {
        if self.is_too_large || matches!(record.kind, Kind::Batch | Kind::Opening | Kind::Footer) {
            return;
        }
        self.notes.u8(record.kind as u8);
        self.notes.u64(place.offset);
        self.notes.u32(place.payload_octets);
        self.notes.bytes(record.note());
        self.count = self.count.saturating_add(1);
        if self.notes.len() > FOOTER_OCTETS_MAX {
            *self = Self { is_too_large: true, ..Self::default() };
        }
    }

    /// `None` where it would be too large.
    pub(super) fn record(self) -> Option<Record> {
        if self.is_too_large {
            return None;
        }
        let mut payload = Encoder::with_capacity(self.notes.len().saturating_add(4));
        payload.u32(self.count);
        payload.raw(&self.notes.finish());
        Some(Record::new(Kind::Footer, payload.finish(), Bytes::new()))
    }
}

/// All that a footer says, in the order of the records.
pub(super) fn notes(payload: &[u8]) -> Result<Vec<Note<'_>>, Malformed> {
    let mut decoder = Decoder::new(payload);
    let count = decoder.count(NOTE_OCTETS_MIN)?;
    let mut notes = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = Kind::from_octet(decoder.u8()?).ok_or(Malformed)?;
        let (offset, payload_octets) = (decoder.u64()?, decoder.u32()?);
        notes.push(Note { kind, offset, payload_octets, note: decoder.bytes()? });
    }
    decoder.end()?;
    Ok(notes)
}

/// Kind, offset, length, empty note.
const NOTE_OCTETS_MIN: usize = 17;
/// It lies in memory until its segment is full. Where records are so small that it grows beyond, it would save a start
/// nothing: an ordinary one has 3 MiB.
const FOOTER_OCTETS_MAX: usize = 8 * 1024 * 1024;
