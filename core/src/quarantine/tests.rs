//! The folder on a simulated disk: whole or not at all, and never more than was agreed.

use proptest::prelude::*;

use super::*;
use crate::delivery::testing::message;
use crate::disk::{Fault, SimulatedDisk};
use crate::intake::{Body, Spool};

const ROOT: &str = "/quarantine";

fn open(disk: &SimulatedDisk, settings: Settings) -> Quarantine {
    try_open(disk, settings).unwrap()
}

fn try_open(disk: &SimulatedDisk, settings: Settings) -> io::Result<Quarantine> {
    let disk = Arc::new(disk.clone());
    Quarantine::open(disk, Path::new(ROOT), settings, Overruled::default(), Log::discarding(), None)
}

fn suspect(id: u64, recipients: &[u32]) -> Suspect {
    let message = message(id, &["a@x.example", "b@y.example", "c@Y.example"]);
    let evidence = Evidence { threat: "Eicar.Test".to_owned(), item: None, stamp: None };
    Suspect { message: Arc::new(message), recipients: recipients.to_vec(), evidence, files: 2 }
}

async fn all(quarantine: &Quarantine) -> Vec<Record> {
    quarantine.list(Selection::default(), "test").await.unwrap()
}

async fn copies(quarantine: &Quarantine) -> Vec<u32> {
    all(quarantine).await.iter().flat_map(|record| record.recipients.iter().map(|copy| copy.index)).collect()
}

fn files(disk: &SimulatedDisk) -> usize {
    disk.list(Path::new(ROOT)).unwrap().len()
}

#[tokio::test]
async fn a_mail_survives_a_crash_with_its_envelope_and_its_headers() {
    let disk = SimulatedDisk::new();
    let quarantine = open(&disk, Settings::default());
    quarantine.keep(suspect(7, &[1])).await.unwrap();
    disk.crash(1);
    let quarantine = open(&disk, Settings::default());
    let details = quarantine.show(QueueId(7), "test").await.unwrap().unwrap();
    let Details { record, header } = details;
    assert_eq!(header, "Received: from client.example.org\r\nSubject: hello\r\n");
    assert_eq!((record.sender.as_str(), record.threat.as_str()), ("<sender@example.org>", "Eicar.Test"));
    let told = record.details();
    assert_eq!((told.sender.as_str(), told.subject.as_deref()), ("<sender@example.org>", Some("hello")));
    assert_eq!((told.recipients, told.to.as_slice()), (1, &["<b@y.example>".to_owned()][..]));
    assert_eq!((told.protocol.as_deref(), told.received_at_ms), (Some("ESMTP"), Some(1_700_000_000_000)));
    let given = message(7, &["a@x.example", "b@y.example", "c@Y.example"]).submission;
    let mut restored = record.submission(given.origin.received_at_ms).unwrap();
    assert_eq!(restored.origin, given.origin);
    assert_eq!(restored.envelope.recipients, [given.envelope.recipients[1].clone()]);
    restored.envelope.recipients = given.envelope.recipients.clone();
    assert_eq!(restored.envelope, given.envelope);
}

#[tokio::test]
async fn a_mail_and_its_files_are_counted_once_however_many_copies_join() {
    let (registry, disk) = (prometheus::Registry::new(), Arc::new(SimulatedDisk::new()));
    let metrics = Some(Metrics::register(&registry).unwrap());
    let (settings, overruled) = (Settings::default(), Overruled::default());
    let quarantine =
        Quarantine::open(disk, Path::new(ROOT), settings, overruled, Log::discarding(), metrics).unwrap();
    for suspect in [suspect(7, &[0]), suspect(7, &[0, 1]), suspect(8, &[2])] {
        quarantine.keep(suspect).await.unwrap();
    }
    let counted = |name: &str| {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric()[0].get_counter().get_value()
    };
    assert_eq!(counted("gatepost_virus_scan_messages_quarantined_total"), 2.0);
    assert_eq!(counted("gatepost_virus_scan_files_quarantined_total"), 4.0);
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_further_copies_join() {
    let disk = SimulatedDisk::new();
    let quarantine = open(&disk, Settings::default());
    for recipients in [&[0, 1][..], &[0, 1], &[1, 2], &[2]] {
        quarantine.keep(suspect(7, recipients)).await.unwrap();
    }
    assert_eq!(copies(&quarantine).await, [0, 1, 2]);
    assert_eq!(files(&disk), 2);
}

/// The queue's record was lost in a crash: it tells once more of what somebody has deleted.
#[tokio::test]
async fn what_was_deleted_does_not_come_back_by_a_replay() {
    let disk = SimulatedDisk::new();
    let quarantine = open(&disk, Settings::default());
    quarantine.keep(suspect(7, &[0])).await.unwrap();
    assert_eq!(quarantine.delete(Selection::default(), "test").await.unwrap(), 1);
    disk.crash(1);
    let quarantine = open(&disk, Settings::default());
    quarantine.reconcile([QueueId(7)].into()).await.unwrap();
    quarantine.keep(suspect(7, &[0, 1])).await.unwrap();
    assert_eq!(copies(&quarantine).await, [1]);
    quarantine.delete(Selection::default(), "test").await.unwrap();
    quarantine.settled(QueueId(7)).await.unwrap();
    assert_eq!(files(&disk), 0);
}

#[tokio::test]
async fn what_the_queue_has_done_with_leaves_nothing_behind() {
    let disk = SimulatedDisk::new();
    let quarantine = open(&disk, Settings::default());
    for id in [7, 8] {
        quarantine.keep(suspect(id, &[0])).await.unwrap();
    }
    quarantine.delete(Selection::one(QueueId(7)), "test").await.unwrap();
    assert_eq!(files(&disk), 3);
    quarantine.reconcile(HashSet::new()).await.unwrap();
    assert_eq!(files(&disk), 2);
    quarantine.delete(Selection::one(QueueId(8)), "test").await.unwrap();
    assert_eq!(files(&disk), 0);
}

#[tokio::test]
async fn the_oldest_goes_where_there_are_too_many_and_the_newest_stays_whatever_its_size() {
    let disk = SimulatedDisk::new();
    let quarantine = open(&disk, Settings { messages: 2, ..Settings::default() });
    for id in [7, 8, 9] {
        quarantine.keep(suspect(id, &[0])).await.unwrap();
    }
    let ids = |records: Vec<Record>| records.into_iter().map(|record| record.id).collect::<Vec<_>>();
    assert_eq!(ids(all(&quarantine).await), [QueueId(8).to_string(), QueueId(9).to_string()]);
    drop(quarantine);
    let quarantine = open(&disk, Settings { octets: 1, ..Settings::default() });
    assert_eq!(ids(all(&quarantine).await), [QueueId(9).to_string()]);
    let later = now_ms().saturating_add(10_000);
    let settings = Settings { age: Duration::from_secs(1), ..Settings::default() };
    let removed = quarantine.folder.run(move |folder| folder.resize(settings, later)).await.unwrap().unwrap();
    assert_eq!((removed.len(), removed[0].why), (1, "too old"));
}

#[tokio::test]
async fn a_selection_finds_by_everything_that_an_operator_knows() {
    let quarantine = open(&SimulatedDisk::new(), Settings::default());
    quarantine.keep(suspect(7, &[0])).await.unwrap();
    quarantine.keep(suspect(8, &[2])).await.unwrap();
    let found = async |selection: Selection| quarantine.list(selection, "test").await.unwrap().len();
    let text = |text: &str| Some(text.to_owned());
    let all = Selection::default;
    assert_eq!(found(Selection { sender: text("Sender@example.org"), ..all() }).await, 2);
    assert_eq!(found(Selection { sender: text(""), ..all() }).await, 0);
    assert_eq!(found(Selection { recipient: text("A@x.example"), ..all() }).await, 1);
    assert_eq!(found(Selection { recipient: text("b@y.example"), ..all() }).await, 0, "his copy is not here");
    assert_eq!(found(Selection { domain: text("y.EXAMPLE"), ..all() }).await, 1);
    assert_eq!(found(Selection { threat: text("eicar.test"), ..all() }).await, 2);
    assert_eq!(found(Selection { ids: vec![QueueId(8), QueueId(9)], ..all() }).await, 1);
    assert_eq!(found(Selection { before_ms: Some(1), ..all() }).await, 0);
    assert_eq!(found(Selection { since_ms: Some(1), ..all() }).await, 2);
}

#[tokio::test]
async fn a_damaged_body_is_kept_as_far_as_it_can_be_read() {
    let disk = SimulatedDisk::new();
    let spool = Spool::inline(Arc::new(disk.clone()), Path::new("/bodies")).unwrap();
    let file = spool.store(&vec![b'x'; 300_000]).unwrap();
    disk.damage(&Path::new("/bodies").join(file.name()), 4711, 0x20);
    let mut suspect = suspect(7, &[0]);
    Arc::get_mut(&mut suspect.message).unwrap().body = Body::File(Arc::new(file));
    let quarantine = open(&disk, Settings::default());
    quarantine.keep(suspect).await.unwrap();
    assert!(all(&quarantine).await[0].damaged);
}

#[tokio::test]
async fn files_of_others_are_left_alone_and_a_newer_record_too() {
    let disk = SimulatedDisk::new();
    open(&disk, Settings::default()).keep(suspect(7, &[0])).await.unwrap();
    for name in ["notes.txt", "0000000000008.json"] {
        disk.create(&Path::new(ROOT).join(name)).unwrap();
    }
    assert_eq!(all(&open(&disk, Settings::default())).await.len(), 1);
    assert_eq!(files(&disk), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What was answered with `Ok` is there after a power cut at any call, once, and nothing is there that was not asked for.
    #[test]
    fn what_was_kept_is_there_wherever_the_power_goes(
        steps in prop::collection::vec((1_u64..4, 0_u32..3, prop::bool::weighted(0.2)), 1..12),
        call in 1_u64..80,
        seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let disk = SimulatedDisk::new();
            disk.fail_nth(call, Fault::PowerOff);
            let mut expected: HashSet<(u64, u32)> = HashSet::new();
            let (mut asked, mut gone) = (expected.clone(), expected.clone());
            if let Ok(quarantine) = try_open(&disk, Settings::default()) {
                for (id, recipient, deletes) in steps {
                    if deletes {
                        // Done by half, it is either.
                        gone.extend(expected.extract_if(|(known, _)| *known == id));
                        if quarantine.delete(Selection::one(QueueId(id)), "test").await.is_ok() {
                            asked.retain(|(known, _)| *known != id);
                        }
                    } else if !gone.contains(&(id, recipient)) {
                        asked.insert((id, recipient));
                        if quarantine.keep(suspect(id, &[recipient])).await.is_ok() {
                            expected.insert((id, recipient));
                        }
                    }
                    if disk.is_off() {
                        break;
                    }
                }
            }
            disk.crash(seed);
            let quarantine = open(&disk, Settings::default());
            for record in all(&quarantine).await {
                let id: QueueId = record.id.parse().unwrap();
                for copy in &record.recipients {
                    assert!(asked.contains(&(id.0, copy.index)), "{id}: {} was not asked for", copy.index);
                    expected.remove(&(id.0, copy.index));
                }
                let content = quarantine.folder.run(move |folder| folder.read(id, 0, 1 << 20)).await.unwrap().unwrap();
                assert_eq!(content.len() as u64, record.octets);
            }
            assert!(expected.is_empty(), "lost: {expected:?}");
        });
    }
}
