//! The format itself: round trips, the files of all versions that every later program must read, and damage.

mod golden;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use self::golden::{
    batches_of_version_1, batches_of_version_2, batches_of_version_3, batches_of_version_4, forwarded,
    golden, next_segment,
};
use super::envelope::{Change, decode_message, encode_message, encode_message_as, message_rest};
use super::facts::Facts;
use super::footer::Footer;
use super::handle::assemble;
use super::pending::Pending;
use super::record::{BATCH_OCTETS, BatchHead, Kind, Record, RecordHead};
use super::recovery::{Mode, recover};
use super::segment::{Location, Opening, SEGMENT_HEADER_OCTETS, SegmentId, encode_header};
use super::shared::{Loaded, Shared};
use super::standing::{Mark, Marks, Rules, Standing};
use super::test_support::message;
use super::*;
use crate::delivery::Disposition;
use crate::disk::{Disk, Fault, SimulatedDisk};
use crate::intake::{Body, Spool};

const ROOT: &str = "/queue";
const GOLDEN_V1: &[u8] = include_bytes!("../../tests/golden/queue-v1.seg");
const GOLDEN_V2: &[u8] = include_bytes!("../../tests/golden/queue-v2.seg");
const GOLDEN_V3: &[u8] = include_bytes!("../../tests/golden/queue-v3.seg");
const GOLDEN_V4: &[u8] = include_bytes!("../../tests/golden/queue-v4.seg");
const NOT_BEFORE_MS: u64 = 1_800_000_000_000;
/// Long gone: a start puts nothing off for more than a day.
const CARRIED_NOT_BEFORE_MS: u64 = 1_700_000_000_000;
const SEGMENT: SegmentId = SegmentId(0x0000_0001_5eed_5eed);

fn spool(disk: &SimulatedDisk) -> Spool {
    Spool::inline(Arc::new(disk.clone()), &Path::new(ROOT).join("bodies")).unwrap()
}

fn put(disk: &SimulatedDisk, path: &Path, octets: &[u8]) {
    let file = disk.create(path).unwrap();
    file.write_all_at(0, &[std::io::IoSlice::new(octets)]).unwrap();
    file.flush().unwrap();
    disk.flush_folder(path.parent().unwrap()).unwrap();
}

/// Batches of records behind a header and an opening, as the journal writes them.
fn segment(batches: &[Vec<Record>]) -> Vec<u8> {
    let mut octets = encode_header(SEGMENT, 64 * 1024);
    let opening = Opening { id_floor: 99, ends: vec![(SegmentId(7), 512)] }.record();
    let all = std::iter::once(vec![opening]).chain(batches.iter().cloned());
    for (records, batch) in all.zip(1..) {
        let length = records.iter().map(Record::octets).sum();
        let head = BatchHead { segment: SEGMENT.0, flushed: octets.len() as u64, octets: length }.record();
        for record in std::iter::once(&head).chain(&records) {
            octets.extend_from_slice(&record.header(SEGMENT.0, batch));
            octets.extend_from_slice(&[record.head(), record.body(), record.padding()].concat());
        }
    }
    octets
}

fn mail(id: u64) -> Record {
    encode_message(&message(
        QueueId(id),
        2,
        Body::Memory(Bytes::from(format!("Subject: {id}\r\n\r\nhello\r\n"))),
    ))
}

fn open(disk: &SimulatedDisk) -> (Arc<Shared>, Recovered) {
    let settings = Settings { segment_octets: 64 * 1024, free_octets_min: 0, ..Settings::default() };
    let (_, shared, recovered) =
        assemble(Arc::new(disk.clone()), Path::new(ROOT), &settings, spool(disk), None, None, false).unwrap();
    (shared, recovered)
}

fn ids(shared: &Shared) -> Vec<u64> {
    shared.index().ids().into_iter().map(|id| id.0).collect()
}

#[test]
fn this_program_writes_version_4_as_it_was_released() {
    assert!(golden() == GOLDEN_V4, "the format changed: give it a new version and keep the old file");
    // Records of earlier versions are the same to the octet.
    let batches = segment(&batches_of_version_1());
    assert!(batches[512..] == GOLDEN_V1[512..]);
    let batches = segment(&batches_of_version_2());
    assert!(batches[512..] == GOLDEN_V2[512..batches.len()]);
    let batches = segment(&batches_of_version_3());
    assert!(batches[512..] == GOLDEN_V3[512..batches.len()]);
}

#[test]
fn the_file_of_version_1_is_read() {
    let disk = SimulatedDisk::new();
    put(&disk, &SEGMENT.path(Path::new(ROOT)), GOLDEN_V1);
    let (shared, recovered) = open(&disk);
    assert_eq!(recovered, Recovered { messages: 2, segments: 1, ..Recovered::default() });
    assert_eq!(ids(&shared), [101, 103]);
    let details = shared.describe(QueueId(101)).unwrap();
    assert_eq!(details.summary.attempts, 1);
    assert!((1..=NOT_BEFORE_MS).contains(&details.summary.not_before_ms));
    assert_eq!(details.summary.last_reason.as_deref(), Some("4.2.2 mailbox full"));
    assert_eq!(
        details.summary.recipients.iter().map(|recipient| recipient.pending).collect::<Vec<_>>(),
        [false, true]
    );
    let place = shared.index().get(QueueId(103)).unwrap().place();
    let Loaded::Whole(found) = shared.load(QueueId(103), place) else { panic!("readable") };
    let expected = message(QueueId(103), 2, Body::Memory(Bytes::new()));
    assert_eq!(found.submission, expected.submission);
    assert_eq!((&found.trace, &found.stamp), (&expected.trace, &expected.stamp));
    assert_eq!(found.body.read().unwrap(), "Subject: 103\r\n\r\nhello\r\n");
    assert!(shared.ids.allocate(0).0 > 103);
}

#[test]
fn the_files_with_footers_are_read_by_their_records_and_by_their_footers() {
    is_read_both_ways(GOLDEN_V2, &batches_of_version_2(), &[90, 101, 104, 105]);
    is_read_both_ways(GOLDEN_V3, &batches_of_version_3(), &[90, 101, 104, 105, 106]);
    is_read_both_ways(GOLDEN_V4, &batches_of_version_4(), &[90, 101, 104, 105, 107]);
}

fn is_read_both_ways(whole: &[u8], batches: &[Vec<Record>], expected: &[u64]) {
    let end = segment(batches).len() as u64;
    let seen = |octets: &[u8], with_next: bool| {
        let disk = SimulatedDisk::new();
        put(&disk, &SEGMENT.path(Path::new(ROOT)), octets);
        if with_next {
            let next = SegmentId(SEGMENT.0 + (1 << 32));
            put(&disk, &next.path(Path::new(ROOT)), &next_segment(end));
        }
        let (shared, recovered) = open(&disk);
        assert_eq!(recovered.corrupt_records, 0);
        let mut summaries = shared.describe_all();
        let held: Vec<_> = summaries.iter().map(|summary| (summary.held, summary.given_up)).collect();
        assert_eq!(ids(&shared), expected);
        assert_eq!(held[..4], [(true, false), (false, true), (true, false), (true, false)]);
        let carried = &summaries[0];
        assert_eq!((carried.attempts, carried.not_before_ms), (7, CARRIED_NOT_BEFORE_MS));
        assert_eq!(carried.last_reason.as_deref(), Some("4.4.1 no answer"));
        assert_eq!(carried.recipients.iter().map(|to| to.pending).collect::<Vec<_>>(), [false, true]);
        assert_eq!(shared.index().rules().as_slice().len(), 2);
        for summary in &mut summaries {
            summary.not_before_ms = summary.not_before_ms.min(CARRIED_NOT_BEFORE_MS);
        }
        summaries
    };
    let by_records = seen(&whole[..usize::try_from(end).unwrap()], false);
    assert_eq!(seen(whole, true), by_records);
    let mut torn = whole.to_vec();
    *torn.last_mut().unwrap() ^= 1;
    torn[usize::try_from(end).unwrap() + 100] ^= 1;
    assert_eq!(seen(&torn, true), by_records, "where the footer is damaged the records are read");
}

#[test]
fn a_mail_that_went_on_from_an_address_of_ours_reads_back() {
    let disk = SimulatedDisk::new();
    let record = encode_message(&forwarded());
    let payload = Bytes::from([record.head(), record.body()].concat());
    let found = decode_message(&payload).unwrap().into_message(&payload, &spool(&disk));
    assert_eq!(found.submission, forwarded().submission);
    assert_eq!(found.body.read().unwrap(), "Subject: 106\r\n\r\nhello\r\n");
}

#[test]
fn a_follow_up_counts_only_with_the_record_of_its_attempt() {
    let batches = batches_of_version_2();
    let notice = batches[3][0].clone();
    for with_change in [false, true] {
        let mut last = vec![notice.clone()];
        if with_change {
            last.push(batches[3][1].clone());
        }
        let disk = SimulatedDisk::new();
        put(&disk, &SEGMENT.path(Path::new(ROOT)), &segment(&[vec![mail(103)], last, vec![mail(104)]]));
        let expected: &[u64] = if with_change { &[104, 105] } else { &[103, 104] };
        assert_eq!(ids(&open(&disk).0), expected);
    }
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let disk = SimulatedDisk::new();
    let mut octets = golden();
    octets[8] = 5;
    let crc = super::record::mask(crc32c::crc32c(&octets[..32]));
    octets[32..36].copy_from_slice(&crc.to_le_bytes());
    put(&disk, &SEGMENT.path(Path::new(ROOT)), &octets);
    let refused = recover(&disk, Path::new(ROOT), &spool(&disk), Mode::Repair).err().unwrap();
    assert!(matches!(refused, OpenError::NewerVersion { found: 5, known: 4, .. }));
    assert!(refused.to_string().contains("use a newer Gatepost"));
}

#[test]
fn a_damaged_record_costs_its_own_mail_and_is_set_aside() {
    let before = mail(101).octets();
    let middle = SEGMENT_HEADER_OCTETS
        + BATCH_OCTETS
        + Opening { id_floor: 0, ends: vec![(SegmentId(0), 0)] }.record().octets();
    let first = middle + BATCH_OCTETS;
    // Somewhere in the marker, the length, the checksum, the payload of the second of three mails.
    for at in [0, 8, 16, 60] {
        let disk = SimulatedDisk::new();
        let mut octets = segment(&[vec![mail(101), mail(102), mail(103)], vec![mail(104)]]);
        octets[usize::try_from(first + before).unwrap() + at] ^= 0x40;
        put(&disk, &SEGMENT.path(Path::new(ROOT)), &octets);
        let (shared, recovered) = open(&disk);
        assert_eq!((ids(&shared), recovered.corrupt_records), (vec![101, 103, 104], 1));
        assert_eq!(disk.list(&Path::new(ROOT).join("corrupt")).unwrap().len(), 1);
        assert_eq!(ids(&open(&disk).0), [101, 103, 104], "and the next start finds the same");
    }
}

#[test]
fn a_record_that_is_damaged_while_the_server_runs_is_set_aside_whole() {
    let disk = SimulatedDisk::new();
    let path = SEGMENT.path(Path::new(ROOT));
    put(&disk, &path, &segment(&[vec![mail(101)]]));
    let (shared, _) = open(&disk);
    let place = shared.index().get(QueueId(101)).unwrap().place();
    disk.damage(&path, usize::try_from(place.offset).unwrap() + 60, 0x40);
    assert!(matches!(shared.load(QueueId(101), place), Loaded::Damaged));
    let aside = disk.list(&Path::new(ROOT).join("corrupt")).unwrap().remove(0);
    let kept = disk.open(&aside, true).unwrap().len().unwrap();
    assert_eq!(kept, u64::from(place.payload_octets) + super::record::HEADER_OCTETS as u64);
    assert!(ids(&shared).is_empty());
}

#[test]
fn a_damaged_batch_head_or_segment_header_costs_no_mail() {
    let start = usize::try_from(SEGMENT_HEADER_OCTETS + BATCH_OCTETS).unwrap();
    let opening =
        usize::try_from(Opening { id_floor: 0, ends: vec![(SegmentId(0), 0)] }.record().octets()).unwrap();
    for at in [3, 33, start + opening + 20] {
        let disk = SimulatedDisk::new();
        let mut octets = segment(&[vec![mail(101)], vec![mail(102)], vec![mail(103)]]);
        octets[at] ^= 1;
        put(&disk, &SEGMENT.path(Path::new(ROOT)), &octets);
        let (shared, recovered) = open(&disk);
        assert_eq!((ids(&shared), recovered.corrupt_records), (vec![101, 102, 103], 1));
    }
}

#[test]
fn a_torn_tail_is_cut_and_said() {
    let whole = segment(&[vec![mail(101)], vec![mail(102), mail(103)]]);
    let cut = whole.len() - 20;
    let disk = SimulatedDisk::new();
    put(&disk, &SEGMENT.path(Path::new(ROOT)), &[&whole[..cut], &[0; 4096]].concat());
    let (shared, recovered) = open(&disk);
    assert_eq!((ids(&shared), recovered.corrupt_records), (vec![101, 102], 0));
    assert!(recovered.torn_octets > 0);
}

#[test]
fn a_mail_that_looks_like_a_record_is_not_one() {
    let forged = segment(&[vec![mail(666)]]);
    let carrier = message(QueueId(101), 1, Body::Memory(Bytes::from([vec![0; 4], forged].concat())));
    let mut octets = segment(&[vec![encode_message(&carrier)], vec![mail(102)]]);
    let other = SegmentId(SEGMENT.0 ^ 0x0bad_cafe);
    // The same octets in a segment whose id the forger could not know: nothing in the body counts there.
    octets.splice(..512, encode_header(other, 64 * 1024));
    let disk = SimulatedDisk::new();
    put(&disk, &other.path(Path::new(ROOT)), &octets);
    let (shared, _) = open(&disk);
    assert!(ids(&shared).is_empty());
}

#[test]
fn a_mail_without_its_body_file_is_set_aside() {
    let disk = SimulatedDisk::new();
    let file = spool(&disk).store(b"a large body").unwrap();
    let path = Path::new(ROOT).join("bodies").join(file.name());
    let record = encode_message(&message(QueueId(101), 1, Body::File(Arc::new(file))));
    assert!(disk.open(&path, true).is_err(), "dropped by nobody's record");
    put(&disk, &SEGMENT.path(Path::new(ROOT)), &segment(&[vec![record, mail(102)], vec![]]));
    let (shared, recovered) = open(&disk);
    assert_eq!((ids(&shared), recovered.corrupt_records), (vec![102], 1));
}

#[test]
fn a_mail_whose_body_file_cannot_be_read_at_the_start_stays_queued() {
    let mut starts = 0;
    // Whichever call the disk fails: a queue that starts all the same has lost nothing.
    for call in 1..40 {
        let disk = SimulatedDisk::new();
        let file = spool(&disk).store(b"a large body").unwrap();
        let path = Path::new(ROOT).join("bodies").join(file.name());
        let record = encode_message(&message(QueueId(101), 1, Body::File(Arc::new(file))));
        put(&disk, &path, b"a large body");
        put(&disk, &SEGMENT.path(Path::new(ROOT)), &segment(&[vec![record, mail(102)], vec![]]));
        let spool = spool(&disk);
        let failing = disk.calls() + call;
        disk.fail_nth(failing, Fault::Io);
        let recovered = recover(&disk, Path::new(ROOT), &spool, Mode::Repair);
        if disk.calls() < failing {
            break;
        }
        if let Ok(state) = recovered {
            let ids: Vec<u64> = state.index.ids().into_iter().map(|id| id.0).collect();
            assert_eq!((ids, state.recovered.corrupt_records), (vec![101, 102], 0), "call {call}");
            assert!(disk.open(&path, true).is_ok(), "call {call}: the body was swept away");
            starts += 1;
        }
    }
    assert!(starts > 0);
}

#[test]
fn looking_changes_nothing() {
    let disk = SimulatedDisk::new();
    let path = SEGMENT.path(Path::new(ROOT));
    put(&disk, &path, &[GOLDEN_V1, &[1; 100]].concat());
    put(&disk, &Path::new(ROOT).join("bodies/0-0.body"), b"still being written");
    let snapshot = Queue::inspect(Arc::new(disk.clone()), Path::new(ROOT)).unwrap();
    assert_eq!(snapshot.list().iter().map(|summary| summary.id.0).collect::<Vec<_>>(), [101, 103]);
    assert_eq!(snapshot.show(QueueId(103)).unwrap().summary.octets, 23);
    assert!(snapshot.show(QueueId(102)).is_none());
    assert_eq!(disk.open(&path, true).unwrap().len().unwrap(), GOLDEN_V1.len() as u64 + 100);
    assert_eq!(disk.list(&Path::new(ROOT).join("bodies")).unwrap().len(), 1);
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done(Disposition::Delivered)),
        ".{0,20}".prop_map(|threat| Outcome::Done(Disposition::Quarantined { threat })),
        ".{0,20}".prop_map(|threat| Outcome::Done(Disposition::DeletedByPolicy { threat })),
        ".{0,20}".prop_map(|reason| Outcome::Done(Disposition::Bounced { reason })),
        any::<u64>().prop_map(|id| Outcome::Done(Disposition::Replaced { by: QueueId(id) })),
        Just(Outcome::Removed),
        ".{0,20}".prop_map(|reason| Outcome::Retry { reason, not_before_ms: 42 }),
        ".{0,20}".prop_map(|reason| Outcome::Delayed { reason, not_before_ms: 42 }),
    ]
}

proptest! {
    #[test]
    fn a_change_reads_back(id: u64, attempts: u32, outcomes in prop::collection::vec((any::<u32>(), outcome()), 0..5), leaves_pending: bool) {
        let change = Change { id: QueueId(id), attempts, not_before_ms: 42, outcomes, leaves_pending };
        let record = change.encode();
        prop_assert_eq!(Change::decode(record.head(), record.kind), Ok(change));
    }

    #[test]
    fn a_message_reads_back(id: u64, recipients in 0..5_usize, body: Vec<u8>, helo: String, user: Option<String>, stamped: bool) {
        let disk = SimulatedDisk::new();
        let mut sent = message(QueueId(id), recipients, Body::Memory(body.clone().into()));
        sent.submission.origin.helo = helo;
        sent.submission.origin.user = user;
        sent.stamp = sent.stamp.filter(|_| stamped);
        let record = encode_message(&sent);
        let payload = Bytes::from([record.head(), record.body()].concat());
        let found = decode_message(&payload).unwrap().into_message(&payload, &spool(&disk));
        prop_assert_eq!(found.submission, sent.submission);
        prop_assert_eq!((found.id, found.trace, found.stamp), (sent.id, sent.trace, sent.stamp));
        prop_assert_eq!(found.body.read().unwrap(), body);
    }

    #[test]
    fn no_octets_make_recovery_panic(octets: Vec<u8>, at: prop::sample::Index, with: u8) {
        let _read = decode_message(&octets);
        let _read = Change::decode(&octets, Kind::Done);
        let _read = Opening::decode(&octets);
        let disk = SimulatedDisk::new();
        let mut damaged = golden();
        let at = at.index(damaged.len());
        damaged[at] = with;
        damaged.extend(octets);
        put(&disk, &SEGMENT.path(Path::new(ROOT)), &damaged);
        if let Ok(state) = recover(&disk, Path::new(ROOT), &spool(&disk), Mode::Repair) {
            prop_assert!(state.recovered.messages <= 7);
        }
    }
}
