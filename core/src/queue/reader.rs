//! Reads a segment that may be damaged.

use std::io;

use memchr::memmem;

use super::record::{ALIGNMENT, BATCH_OCTETS, BatchHead, HEADER_OCTETS, Kind, MARKER, RecordHead};
use super::segment::{SEGMENT_HEADER_OCTETS, SegmentId};
use crate::disk::DiskFile;

/// One segment's octets, through a window that moves.
pub(super) struct SegmentReader {
    file: Box<dyn DiskFile>,
    segment: SegmentId,
    len: u64,
    window: Vec<u8>,
    window_start: u64,
}

/// How far a segment was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Everything below was flushed: a bad record there is damage.
    pub(super) flushed: u64,
    /// Behind `flushed` and below this lies the whole part of a batch whose flush nothing proves.
    pub(super) end: u64,
}

// === impl SegmentReader ===

impl SegmentReader {
    pub(super) fn new(file: Box<dyn DiskFile>, segment: SegmentId) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file, segment, len, window: Vec::new(), window_start: 0 })
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Octets from `offset` on; none where the file is shorter.
    pub(super) fn octets(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(count as u64).filter(|end| *end <= self.len) else {
            return Ok(None);
        };
        let loaded = self.window_start..self.window_start.saturating_add(self.window.len() as u64);
        if offset < loaded.start || end > loaded.end {
            let wanted = self.len.saturating_sub(offset).min(count.max(WINDOW_OCTETS) as u64);
            self.window = vec![0; usize::try_from(wanted).unwrap_or(WINDOW_OCTETS)];
            let read = self.file.read_at(offset, &mut self.window)?;
            self.window.truncate(read);
            self.window_start = offset;
        }
        let start = usize::try_from(offset.saturating_sub(self.window_start)).unwrap_or(usize::MAX);
        Ok(self.window.get(start..start.saturating_add(count)))
    }

    /// The record at `offset`, if a whole one lies there and ends at `limit` or before.
    pub(super) fn record(&mut self, offset: u64, limit: u64) -> io::Result<Option<(RecordHead, &[u8])>> {
        let segment = self.segment;
        let Some(head) = self.head(offset)?.filter(|head| ends_by(offset, head.octets(), limit)) else {
            return Ok(None);
        };
        let payload_at = offset.saturating_add(HEADER_OCTETS as u64);
        let payload = self.octets(payload_at, head.payload_octets as usize)?;
        Ok(payload.filter(|payload| head.covers(payload, segment.0)).map(|payload| (head, payload)))
    }

    /// The first whole record at or behind `from`.
    pub(super) fn next_record(&mut self, from: u64, limit: u64) -> io::Result<Option<u64>> {
        self.search(from, limit, |reader, offset| Ok(reader.record(offset, limit)?.is_some()))
    }

    /// How far the segment was written, from its batch heads. Each one says that all before it was flushed, so one
    /// that lies behind something damaged proves that it is damage.
    pub(super) fn extent(&mut self) -> io::Result<Extent> {
        let mut extent = Extent { flushed: SEGMENT_HEADER_OCTETS, end: SEGMENT_HEADER_OCTETS };
        let mut offset = SEGMENT_HEADER_OCTETS;
        loop {
            let Some(head) = self.batch(offset)? else {
                let is_batch = |reader: &mut Self, offset| Ok(reader.batch(offset)?.is_some());
                let Some(found) = self.search(offset, self.len, is_batch)? else { return Ok(extent) };
                offset = found;
                continue;
            };
            extent.flushed = offset;
            let limit = offset.saturating_add(BATCH_OCTETS).saturating_add(head.octets).min(self.len);
            let mut end = offset;
            while let Some((record, _)) = self.record(end, limit)? {
                end = end.saturating_add(record.octets());
            }
            extent.end = end;
            offset = if end == limit { end } else { end.saturating_add(ALIGNMENT) };
        }
    }

    /// How many octets from `offset` to the last one that is not zero.
    pub(super) fn used_behind(&mut self, offset: u64) -> io::Result<u64> {
        let (mut at, mut used) = (offset, 0_u64);
        while at < self.len {
            let count =
                usize::try_from(self.len.saturating_sub(at)).unwrap_or(WINDOW_OCTETS).min(WINDOW_OCTETS);
            let Some(octets) = self.octets(at, count)? else { break };
            // Mostly zeros: compared by the sector, only the last used one is looked into.
            let last = octets
                .rchunks(ZEROS.len())
                .zip(1_usize..)
                .find(|(chunk, _)| ZEROS.get(..chunk.len()) != Some(*chunk));
            if let Some((chunk, from_end)) = last {
                let behind = chunk.iter().rev().take_while(|octet| **octet == 0).count();
                let behind = from_end.saturating_sub(1).saturating_mul(ZEROS.len()).saturating_add(behind);
                let end = octets.len().saturating_sub(behind) as u64;
                used = at.saturating_sub(offset).saturating_add(end);
            }
            at = at.saturating_add(count as u64);
        }
        Ok(used)
    }

    /// Whether a whole batch head lies at `offset`.
    pub(super) fn begins_batch(&mut self, offset: u64) -> io::Result<bool> {
        Ok(self.batch(offset)?.is_some())
    }

    fn head(&mut self, offset: u64) -> io::Result<Option<RecordHead>> {
        let octets = self.octets(offset, HEADER_OCTETS)?;
        Ok(octets.and_then(|octets| RecordHead::decode(octets).ok()))
    }

    fn batch(&mut self, offset: u64) -> io::Result<Option<BatchHead>> {
        // Looked at before the checksum: a search meets every marker that a mail may hold.
        let is_batch = |head: &RecordHead| head.kind == Kind::Batch && head.octets() == BATCH_OCTETS;
        if !self.head(offset)?.as_ref().is_some_and(is_batch) {
            return Ok(None);
        }
        let segment = self.segment;
        let record = self.record(offset, self.len)?;
        let head = record.and_then(|(_, payload)| BatchHead::decode(payload).ok());
        Ok(head.filter(|head| head.segment == segment.0 && head.flushed == offset))
    }

    /// The first place at or behind `from` that has the marker and passes the test.
    fn search(
        &mut self,
        from: u64,
        limit: u64,
        passes: impl Fn(&mut Self, u64) -> io::Result<bool>,
    ) -> io::Result<Option<u64>> {
        let mut at = from.checked_next_multiple_of(ALIGNMENT).unwrap_or(limit);
        while at < limit {
            let count = usize::try_from(limit.saturating_sub(at)).unwrap_or(WINDOW_OCTETS).min(WINDOW_OCTETS);
            let Some(octets) = self.octets(at, count)? else { break };
            let places: Vec<u64> = memmem::find_iter(octets, &MARKER)
                .map(|place| at.saturating_add(place as u64))
                .filter(|place| place.is_multiple_of(ALIGNMENT))
                .collect();
            for place in places {
                if passes(self, place)? {
                    return Ok(Some(place));
                }
            }
            // Markers lie at multiples of 8 and so does the end of a whole window: none lies across it.
            at = at.saturating_add(count as u64);
        }
        Ok(None)
    }
}

fn ends_by(offset: u64, octets: u64, limit: u64) -> bool {
    offset.checked_add(octets).is_some_and(|end| end <= limit)
}

/// Read at once.
const WINDOW_OCTETS: usize = 1024 * 1024;
static ZEROS: [u8; 512] = [0; 512];
