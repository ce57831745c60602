use std::fs;
use std::path::Path;

use super::*;
use crate::badmail::{self, Badmail};
use crate::directory::{Directory, Password, Scram};
use crate::disk::{RealDisk, SimulatedDisk};
use crate::events::Log;
use crate::memory::MemoryBudget;
use crate::queue::{self, Queue};

struct House {
    outer: tempfile::TempDir,
    disk: SimulatedDisk,
    worker: Worker,
    _stop: watch::Sender<bool>,
}

impl House {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("pickup")).unwrap();
        let disk = SimulatedDisk::new();
        let settings = queue::Settings {
            segment_octets: 1024 * 1024,
            free_octets_min: 0,
            free_files_min: 0,
            ..queue::Settings::default()
        };
        let (queue, _recovered) =
            Queue::open(Arc::new(disk.clone()), Path::new("/queue"), settings, None).unwrap();
        let directory = Directory::open(&outer.path().join("directory.sqlite")).unwrap();
        directory.add_domain("localhost").unwrap();
        directory
            .add_user("me@localhost", &Password::prepare(b"correct horse").unwrap(), Scram::Off)
            .unwrap();
        let badmail = outer.path().join("badmail");
        let badmail =
            Badmail::open(Arc::new(RealDisk), &badmail, badmail::Settings::default(), None).unwrap();
        let rooms = Rooms {
            queue,
            directory,
            remote: None,
            badmail,
            memory: MemoryBudget::default(),
            events: Log::discarding(),
        };
        let settings = Settings {
            hostname: "mx.test".to_owned(),
            message_octets: 1_000_000,
            recipients: 10,
            sends_on: false,
        };
        let (stop, stopped) = watch::channel(false);
        let worker = Worker::new(
            Folder::new(outer.path().join("pickup"), Duration::ZERO),
            rooms,
            Arc::new(ArcSwap::from_pointee(settings)),
            None,
            IoPool::start("test-pickup", 1).unwrap(),
            stopped,
        );
        Self { outer, disk, worker, _stop: stop }
    }

    fn drop_file(&self, name: &str, contents: &str) {
        fs::write(self.outer.path().join("pickup").join(name), contents).unwrap();
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.outer.path().join(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// Reason files.
    fn reasons(&self) -> Vec<String> {
        let names = self.names("badmail");
        let files = names.iter().filter(|name| name.ends_with(".json"));
        files.map(|name| fs::read_to_string(self.outer.path().join("badmail").join(name)).unwrap()).collect()
    }
}

const MAIL: &str = "From: me@localhost\nTo: me@localhost\nX-Gatepost-Clean: yes\nSubject: dropped\n\nHi\n";

#[tokio::test]
async fn a_dropped_mail_goes_into_the_queue_with_what_it_lacked_and_without_what_it_must_not_say() {
    let mut house = House::new();
    house.drop_file("a.eml", MAIL);
    assert_eq!(house.worker.look().await.unwrap(), 1);
    assert_eq!(house.names("pickup"), Vec::<String>::new());
    let claim = house.worker.rooms.queue.claim().await.unwrap();
    let body = claim.message.body.read().unwrap();
    assert_eq!(body, "From: me@localhost\r\nTo: me@localhost\r\nSubject: dropped\r\n\r\nHi\r\n");
    let trace = std::str::from_utf8(&claim.message.trace).unwrap();
    let id = claim.id;
    assert!(
        trace.starts_with(&format!("Received: by mx.test (pickup)\r\n\tid {id} for <me@localhost>;\r\n\t"))
    );
    assert!(trace.contains("\r\nDate: ") && trace.ends_with(&format!("Message-ID: <{id}@mx.test>\r\n")));
    assert_eq!(claim.message.submission.envelope.reverse_path.to_string(), "<me@localhost>");
    assert!(claim.message.stamp.is_none(), "the queue scans it");
    assert_eq!(house.worker.look().await.unwrap(), 0);
}

#[tokio::test]
async fn what_must_not_be_sent_goes_to_the_bad_mail_and_says_why() {
    let mut house = House::new();
    let cases = [
        ("forged", "From: me@example.org\nTo: me@localhost\n\n", "5.7.1 the sender"),
        ("gone", "From: me@localhost\nTo: you@localhost\n\n", "5.1.1 nobody here"),
        ("relay", "From: me@localhost\nTo: me@localhost, a@example.org\n\n", "5.7.1 <a@example.org>"),
        ("text", "just some text\n", "5.6.0 line 1 is no header field"),
        ("large", &"x".repeat(1_000_001), "5.3.4 larger than 1000000 octets"),
    ];
    for (name, contents, why) in cases {
        house.drop_file(name, contents);
        assert_eq!(house.worker.look().await.unwrap(), 1);
        assert_eq!(house.names("pickup"), Vec::<String>::new());
        let reasons = house.reasons();
        assert!(
            reasons.iter().any(|reason| reason.contains(&format!("{name}: {why}"))),
            "{why}: {reasons:?}"
        );
    }
    assert!(house.worker.rooms.queue.is_empty());
    let kept = house.names("badmail").into_iter().find(|name| name.ends_with(".eml")).unwrap();
    let kept = fs::read_to_string(house.outer.path().join("badmail").join(kept)).unwrap();
    assert!(kept.starts_with("From: me@example.org\n"), "as it was dropped");
}

#[tokio::test]
async fn where_mail_leaves_the_server_a_dropped_one_may_leave_too_by_name_alone() {
    let mut house = House::new();
    let settings = Settings { sends_on: true, ..Settings::clone(&house.worker.settings.load()) };
    house.worker.settings.store(Arc::new(settings));
    house.drop_file("out", "From: me@localhost\nTo: a@example.org\n\nHi\n");
    house.drop_file("in", "From: me@localhost\nTo: a@[127.0.0.1]\n\nHi\n");
    house.worker.look().await.unwrap();
    assert_eq!(house.worker.rooms.queue.len(), 1);
    let reasons = house.reasons();
    assert!(reasons.len() == 1 && reasons[0].contains("in: 5.7.1 <a@[127.0.0.1]>"), "{reasons:?}");
}

#[tokio::test]
async fn a_file_that_a_crash_left_is_sent_once() {
    let mut house = House::new();
    house.drop_file("a.eml", MAIL);
    house.worker.look().await.unwrap();
    let queued = house.worker.rooms.queue.ids();
    // The crash came before the removal of the first, and before the second was in the queue.
    house.drop_file(&format!("{}.taken", queued[0]), MAIL);
    house.drop_file("0000000000007.taken", MAIL);
    house.worker.look().await.unwrap();
    assert_eq!(house.worker.rooms.queue.len(), 2);
    assert_eq!(house.names("pickup"), Vec::<String>::new());
}

#[tokio::test]
async fn with_a_full_disk_the_file_stays_and_is_sent_later() {
    let mut house = House::new();
    house.disk.set_capacity(Some(1));
    // So large that it goes to a file of its own.
    house.drop_file("a.eml", &MAIL.replace("Hi", &"large ".repeat(60_000)));
    assert!(matches!(house.worker.look().await, Err(Trouble::Queue(AppendError::Full))));
    assert_eq!(house.names("pickup").len(), 1);
    house.disk.set_capacity(None);
    assert_eq!(house.worker.look().await.unwrap(), 1);
    assert_eq!(house.worker.rooms.queue.len(), 1);
    assert_eq!(house.names("pickup"), Vec::<String>::new());
    assert_eq!(house.reasons(), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_taken_is_told_once_and_hides_nothing() {
    let mut house = House::new();
    house.drop_file("a", MAIL);
    let pickup = house.outer.path().join("pickup");
    fs::hard_link(pickup.join("a"), house.outer.path().join("second")).unwrap();
    assert_eq!(house.worker.look().await.unwrap(), 0);
    assert_eq!(house.worker.hopeless.len(), 1);
    house.drop_file("b", MAIL);
    assert_eq!(house.worker.look().await.unwrap(), 1);
    assert_eq!(house.names("pickup"), ["a"]);
}
