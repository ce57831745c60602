//! Recovery of a damaged queue: no damage costs more than what it hit.
//!
//! The file is built here after the description of the format, from a message record of the released version, and damaged
//! as the input says. A mail survives where none of its octets changed and the flush of its octets is proven by a batch
//! head that is whole too, or nothing before its end was hit.

use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use gatepost_core::disk::{Disk, SimulatedDisk};
use gatepost_core::queue::Queue;

use crate::input::Input;

/// Batches of mails, then damage.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let image = Image::build(&mut input);
    let mut damaged = image.octets.clone();
    while !input.is_empty() {
        damage(&mut damaged, &mut input);
    }
    let disk = SimulatedDisk::new();
    put(&disk, &damaged);
    let snapshot = match Queue::inspect(Arc::new(disk), Path::new(ROOT)) {
        Ok(snapshot) => snapshot,
        // "A newer version" is believed only where it is checksummed, which the damage cannot have done by chance.
        Err(error) => panic!("{error}"),
    };
    let found: Vec<u64> = snapshot.list().iter().map(|summary| summary.id.0).collect();
    for id in image.survivors(&damaged) {
        assert!(found.contains(&id), "mail {id} is lost: {found:?}");
    }
    assert!(
        found.iter().all(|id| (FIRST_ID..image.next_id).contains(id)),
        "a mail that never was: {found:?}"
    );
}

/// A segment and what lies where in it.
struct Image {
    octets: Vec<u8>,
    heads: Vec<(Range<usize>, usize)>,
    mails: Vec<(Range<usize>, u64)>,
    next_id: u64,
}

// === impl Image ===

impl Image {
    fn build(input: &mut Input<'_>) -> Self {
        let mut image = Self {
            octets: GOLDEN[..HEADER_OCTETS].to_vec(),
            heads: Vec::new(),
            mails: Vec::new(),
            next_id: FIRST_ID,
        };
        let opening = [&99_u64.to_le_bytes()[..], &0_u32.to_le_bytes()].concat();
        image.batch(1, &[(OPENING, opening)]);
        for batch in 0..1 + u32::from(input.octet() % 4) {
            let mails: Vec<_> = (0..1 + input.octet() % 3).map(|_| (MESSAGE, image.mail())).collect();
            image.batch(batch + 2, &mails);
        }
        image
    }

    /// The golden file's mail under a new id.
    fn mail(&mut self) -> Vec<u8> {
        let id = self.next_id;
        self.next_id += 1;
        let mut payload = GOLDEN[GOLDEN_MAIL].to_vec();
        payload[..8].copy_from_slice(&id.to_le_bytes());
        payload
    }

    fn batch(&mut self, number: u32, records: &[(u8, Vec<u8>)]) {
        let start = self.octets.len();
        let length: usize = records.iter().map(|(_, payload)| (20 + payload.len()).next_multiple_of(8)).sum();
        let head = [SEGMENT, start as u64, length as u64].map(u64::to_le_bytes).concat();
        let range = self.record(number, BATCH, &head);
        self.heads.push((range, start));
        for (kind, payload) in records {
            let range = self.record(number, *kind, payload);
            if *kind == MESSAGE {
                let id = u64::from_le_bytes(payload[..8].try_into().unwrap());
                self.mails.push((range, id));
            }
        }
    }

    fn record(&mut self, batch: u32, kind: u8, payload: &[u8]) -> Range<usize> {
        let start = self.octets.len();
        let length = u32::try_from(payload.len()).unwrap();
        let mut fixed = b"GPr1".to_vec();
        fixed.extend([kind, 0, 0, 0]);
        fixed.extend(length.to_le_bytes());
        fixed.extend(batch.to_le_bytes());
        let covered = [payload, &fixed, &SEGMENT.to_le_bytes()].concat();
        let crc = crc32c::crc32c(&covered).rotate_right(15).wrapping_add(0xa282_ead8);
        self.octets.extend([&fixed[..], &crc.to_le_bytes(), payload].concat());
        self.octets.resize(self.octets.len().next_multiple_of(8), 0);
        start..self.octets.len()
    }

    fn survivors(&self, damaged: &[u8]) -> Vec<u64> {
        let is_whole = |range: &Range<usize>| damaged.get(range.clone()) == Some(&self.octets[range.clone()]);
        let is_proven = |range: &&(Range<usize>, usize)| is_whole(&range.0);
        let flushed = self.heads.iter().filter(is_proven).map(|(_, flushed)| *flushed).max().unwrap_or(0);
        let survives = |range: &Range<usize>| {
            is_whole(range) && (range.end <= flushed || is_whole(&(HEADER_OCTETS..range.end)))
        };
        self.mails.iter().filter(|(range, _)| survives(range)).map(|(_, id)| *id).collect()
    }
}

fn damage(octets: &mut Vec<u8>, input: &mut Input<'_>) {
    let (kind, at, value) = (input.octet(), usize::from(input.u16()), input.octet());
    let length = octets.len().max(1);
    let (at, count) = (at % length, usize::from(value));
    let end = (at + count).min(octets.len());
    match kind % 5 {
        0 => octets.iter_mut().skip(at).take(1).for_each(|octet| *octet ^= value),
        1 => octets[at..end].fill(0),
        2 => octets.truncate(octets.len().saturating_sub(count)),
        3 => octets.extend_from_slice(input.octets()),
        // A sector of an earlier life of the disk.
        _ => {
            let copy = octets[at..end].to_vec();
            let to = usize::from(input.u16()) % length;
            octets.iter_mut().skip(to).zip(copy).for_each(|(octet, copied)| *octet = copied);
        }
    }
}

fn put(disk: &SimulatedDisk, octets: &[u8]) {
    let file = disk.create(&Path::new(ROOT).join(format!("{SEGMENT:016x}.seg"))).unwrap();
    file.write_all_at(0, &[IoSlice::new(octets)]).unwrap();
    file.flush().unwrap();
}

const ROOT: &str = "/queue";
const GOLDEN: &[u8] = include_bytes!("../../core/tests/golden/queue-v1.seg");
const SEGMENT: u64 = 0x0000_0001_5eed_5eed;
const HEADER_OCTETS: usize = 512;
/// The payload of the first message record.
const GOLDEN_MAIL: Range<usize> = 0x290 + 20..0x290 + 20 + 0x1d2;
const FIRST_ID: u64 = 1_001;
const BATCH: u8 = 1;
const OPENING: u8 = 2;
const MESSAGE: u8 = 3;
