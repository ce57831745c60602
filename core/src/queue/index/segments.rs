//! Which segments are still needed, and which one is worth emptying.

use std::collections::{BTreeMap, BTreeSet};

use super::super::journal::Opened;
use super::super::segment::{Location, SegmentId};

/// The segments on disk.
#[derive(Debug, Default)]
pub(in super::super) struct Segments {
    known: BTreeMap<SegmentId, Use>,
}

/// Why a segment is still needed.
#[derive(Debug, Default)]
struct Use {
    /// Octets of the file.
    octets: u64,
    /// Messages in it that have a pending recipient.
    live: usize,
    /// Octets of their records.
    live_octets: u64,
    /// Segments that records in it say something about. It goes after them: `done` never disappears before what it is
    /// about.
    tells_of: BTreeSet<SegmentId>,
}

// === impl Segments ===

impl Segments {
    pub(super) fn open(&mut self, opened: Opened) {
        let used = self.known.entry(opened.segment).or_default();
        used.octets = used.octets.max(opened.octets);
        used.tells_of.extend(opened.tells_of);
    }

    pub(super) fn occupy(&mut self, place: Location) {
        let used = self.known.entry(place.segment).or_default();
        used.live = used.live.saturating_add(1);
        used.live_octets = used.live_octets.saturating_add(place.record_octets());
    }

    pub(super) fn release(&mut self, place: Location) {
        if let Some(used) = self.known.get_mut(&place.segment) {
            used.live = used.live.saturating_sub(1);
            used.live_octets = used.live_octets.saturating_sub(place.record_octets());
        }
    }

    /// A record in `segment` says something of a message in `home`.
    pub(super) fn tell_of(&mut self, segment: SegmentId, home: SegmentId) {
        if segment != home {
            self.known.entry(segment).or_default().tells_of.insert(home);
        }
    }

    /// Segments that nothing needs any more, apart from the active one, in an order in which they can go one by one.
    /// `removed` must follow for each that went. They go from the oldest on, since every segment tells where the one before
    /// it ends: so this looks no further than at the first that has to stay.
    pub(in super::super) fn removable(&self, active: Option<SegmentId>) -> Vec<SegmentId> {
        let mut gone = Vec::new();
        for (id, used) in &self.known {
            let is_free = |other: &SegmentId| gone.contains(other) || !self.known.contains_key(other);
            let is_over = active.is_some_and(|active| *id < active);
            if used.live > 0 || !is_over || !used.tells_of.iter().all(is_free) {
                break;
            }
            gone.push(*id);
        }
        gone
    }

    /// The segment to empty by carrying its messages on: the oldest, since every segment tells where the one before it
    /// ends and so outlives it. Worth it where more is dead than alive in all of them, two segments aside: so what is
    /// carried on in one round is never more than what the round sets free.
    pub(in super::super) fn worth_emptying(
        &self,
        active: SegmentId,
        segment_octets: u64,
    ) -> Option<SegmentId> {
        let sealed = || self.known.range(..active);
        let (octets, live) = sealed().fold((0_u64, 0_u64), |(octets, live), (_, used)| {
            (octets.saturating_add(used.octets), live.saturating_add(used.live_octets))
        });
        let dead = octets.saturating_sub(live);
        let spare = segment_octets.saturating_mul(SPARE_SEGMENTS);
        if dead <= live.saturating_add(spare) {
            return None;
        }
        sealed().find(|(_, used)| used.live > 0).map(|(id, _)| *id)
    }

    pub(super) fn removed(&mut self, segment: SegmentId) {
        self.known.remove(&segment);
    }

    pub(in super::super) fn has(&self, segment: SegmentId) -> bool {
        self.known.contains_key(&segment)
    }

    pub(in super::super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// A young queue has dead segments all the time, which go by themselves.
const SPARE_SEGMENTS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u64, payload_octets: u32) -> Location {
        Location { segment: SegmentId(segment), offset: 512, payload_octets }
    }

    fn opened(segment: u64) -> Opened {
        let before = segment.checked_sub(1).filter(|before| *before > 0).map(SegmentId);
        Opened { segment: SegmentId(segment), octets: 1_000, tells_of: before.into_iter().collect() }
    }

    #[test]
    fn the_oldest_is_emptied_once_more_is_dead_than_alive() {
        let mut segments = Segments::default();
        for segment in 1..=3 {
            segments.open(opened(segment));
        }
        segments.occupy(place(1, 100));
        assert_eq!(segments.worth_emptying(SegmentId(3), 1_000), None, "two segments are nothing");
        segments.open(opened(4));
        assert_eq!(segments.worth_emptying(SegmentId(4), 1_000), Some(SegmentId(1)));
        segments.occupy(place(2, 980));
        assert_eq!(segments.worth_emptying(SegmentId(4), 1_000), None, "too much to carry");
        assert!(segments.removable(Some(SegmentId(4))).is_empty());
        segments.release(place(1, 100));
        assert_eq!(segments.removable(Some(SegmentId(4))), [SegmentId(1)]);
        segments.release(place(2, 980));
        assert_eq!(segments.removable(Some(SegmentId(4))), [1, 2, 3].map(SegmentId));
    }
}
