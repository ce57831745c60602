use std::time::Duration;

use super::*;
use crate::disk::{Fault, SimulatedDisk};
use crate::queue::QueueId;

const ROOT: &str = "/badmail";
const ROOMY: Settings = Settings { messages: 100, octets: 1_000_000, age: Duration::from_secs(60) };

fn open(disk: &SimulatedDisk, settings: Settings) -> Folder {
    Folder::open(Arc::new(disk.clone()), Path::new(ROOT), settings, None).unwrap()
}

fn bad(id: u64, content: impl Read + Send + 'static) -> BadMessage {
    BadMessage {
        id: QueueId(id),
        cause: Cause::Undeliverable,
        reason: "5.4.7 expired".to_owned(),
        sender: "<>".to_owned(),
        recipients: vec!["<gone@example.org>".to_owned()],
        content: Box::new(content),
    }
}

fn names(disk: &SimulatedDisk) -> Vec<String> {
    let mut names: Vec<String> = disk
        .list(Path::new(ROOT))
        .unwrap()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn read(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&Path::new(ROOT).join(name), true).unwrap();
    let mut octets = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut octets).unwrap();
    octets
}

fn reason(disk: &SimulatedDisk, name: &str) -> serde_json::Value {
    serde_json::from_slice(&read(disk, &format!("{name}.json"))).unwrap()
}

#[test]
fn what_is_kept_survives_a_crash_with_its_reason() {
    let disk = SimulatedDisk::new();
    let name = open(&disk, ROOMY).keep(bad(5, &b"Subject: x\r\n\r\nhello\r\n"[..]), 1_000).unwrap();
    assert_eq!(name, "0000000001000-0000000000005");
    disk.crash(1);
    let folder = open(&disk, ROOMY);
    assert_eq!(folder.kept.len(), 1);
    assert_eq!(read(&disk, &format!("{name}.eml")), b"Subject: x\r\n\r\nhello\r\n");
    let reason = reason(&disk, &name);
    assert_eq!(reason["cause"], "undeliverable");
    assert_eq!(reason["reason"], "5.4.7 expired");
    assert_eq!(reason["recipients"][0], "<gone@example.org>");
    assert_eq!(reason["cut"], false);
}

#[test]
fn the_oldest_goes_first_by_number_octets_and_age() {
    let disk = SimulatedDisk::new();
    let mut folder = open(&disk, Settings { messages: 2, ..ROOMY });
    for id in 1..=3 {
        folder.keep(bad(id, io::empty()), id).unwrap();
    }
    assert_eq!(folder.kept.keys().filter_map(|name| kept_at_ms(name)).collect::<Vec<_>>(), [2, 3]);
    folder.sweep(Settings { octets: 400, ..ROOMY }, 3).unwrap();
    assert_eq!(folder.kept.keys().filter_map(|name| kept_at_ms(name)).collect::<Vec<_>>(), [3]);
    folder.sweep(ROOMY, 3 + 60_000).unwrap();
    assert_eq!(folder.kept.len(), 1, "just as old as it may get");
    folder.sweep(ROOMY, 4 + 60_000).unwrap();
    assert_eq!(names(&disk), Vec::<String>::new());
}

/// Whoever sets it right within the hour has lost nothing.
#[test]
fn neither_a_start_nor_new_mail_removes_anything_for_its_age() {
    let disk = SimulatedDisk::new();
    open(&disk, ROOMY).keep(bad(1, io::empty()), 1).unwrap();
    let mut folder = open(&disk, ROOMY);
    folder.keep(bad(2, io::empty()), u64::MAX / 2).unwrap();
    assert_eq!(folder.kept.len(), 2);
}

#[test]
fn a_mail_that_is_too_large_alone_is_cut_and_says_so() {
    let disk = SimulatedDisk::new();
    let mut folder = open(&disk, Settings { octets: 100_000, ..ROOMY });
    let written = folder.write_content(Path::new("/badmail/x"), &mut io::repeat(b'x').take(300_000)).unwrap();
    assert_eq!((written.octets, written.cut), (100_000, true));
    let whole = folder.write_content(Path::new("/badmail/y"), &mut io::repeat(b'y').take(100_000)).unwrap();
    assert_eq!((whole.octets, whole.cut), (100_000, false));
    folder.keep(bad(1, io::repeat(b'x').take(99_000)), 1).unwrap();
    assert_eq!(folder.kept.len(), 1);
}

#[test]
fn two_mails_of_one_millisecond_and_one_id_are_both_kept() {
    let disk = SimulatedDisk::new();
    let mut folder = open(&disk, ROOMY);
    let first = folder.keep(bad(1, &b"a"[..]), 7).unwrap();
    let second = folder.keep(bad(1, &b"b"[..]), 7).unwrap();
    assert_ne!(first, second);
    assert_eq!(read(&disk, &format!("{second}.eml")), b"b");
}

#[test]
fn a_failing_disk_keeps_nothing_or_all_of_it() {
    let calls = {
        let disk = SimulatedDisk::new();
        let mut folder = open(&disk, ROOMY);
        let before = disk.calls();
        folder.keep(bad(1, &b"content"[..]), 1).unwrap();
        disk.calls() - before
    };
    for nth in 1..=calls {
        let disk = SimulatedDisk::new();
        let mut folder = open(&disk, ROOMY);
        disk.fail_nth(disk.calls() + nth, Fault::Io);
        let kept = folder.keep(bad(1, &b"content"[..]), 1).is_ok();
        assert_eq!(names(&disk).len(), if kept { 2 } else { 0 }, "call {nth}");
        assert_eq!(open(&disk, ROOMY).kept.len(), usize::from(kept), "call {nth}");
    }
}

#[test]
fn what_a_crash_left_half_written_is_removed_and_the_operators_own_files_stay() {
    let disk = SimulatedDisk::new();
    disk.make_folder(Path::new(ROOT)).unwrap();
    for name in
        ["0000000000001-0000000000001.eml", "0000000000002-0000000000002.json", "notes.txt", "1-2.eml"]
    {
        disk.create(&Path::new(ROOT).join(name)).unwrap();
    }
    assert_eq!(open(&disk, ROOMY).kept.len(), 0);
    assert_eq!(names(&disk), ["1-2.eml", "notes.txt"]);
}

#[test]
fn a_damaged_content_is_kept_as_far_as_it_goes() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            into[..3].copy_from_slice(b"abc");
            Ok(3)
        }
    }
    let disk = SimulatedDisk::new();
    let name = open(&disk, ROOMY).keep(bad(1, Broken(false)), 1).unwrap();
    assert_eq!(read(&disk, &format!("{name}.eml")), b"abc");
    assert_eq!(reason(&disk, &name)["damaged"], true);
}
