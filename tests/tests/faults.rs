//! Damaged files, folders that cannot be written, disks that fail or are slow: what it costs, and that it is told.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use gatepost_tests::fault::Fault;
use gatepost_tests::process::gatepost;
use gatepost_tests::server::{Server, files_below};
use gatepost_tests::setup::Setup;
use gatepost_tests::{http, mail, wait_until};

/// A server that was killed with these mails in its queue, all of them held; and their ids.
fn killed_with(subjects: &[&str], octets: usize) -> (Server, Vec<String>) {
    let mut server = Server::start();
    server.cli(["queue", "hold", "--all"]).succeed();
    let mut smtp = server.smtp_as_me();
    let ids: Vec<String> = subjects
        .iter()
        .map(|subject| smtp.mail("me@localhost", &["me@localhost"], &mail::large(subject, octets)).queue_id())
        .collect();
    smtp.quit();
    // Which a kill may cost its last moments.
    let last = ids.last().expect("mails");
    wait_until("the event log has them", || server.cli(["explain", last]).outcome().code() == 0);
    server.kill();
    (server, ids)
}

/// The file in this folder that holds these octets, and where in it.
fn find(folder: &Path, octets: &[u8]) -> (PathBuf, u64) {
    let place = |file: PathBuf| {
        let at = fs::read(&file).ok()?.windows(octets.len()).position(|window| window == octets)?;
        Some((file, at as u64))
    };
    files_below(folder).into_iter().find_map(place).expect("the octets are in a file")
}

fn flip_bit(file: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(file).expect("a file");
    let mut octet = [0];
    file.read_exact_at(&mut octet, at).expect("an octet");
    file.write_all_at(&[octet[0] ^ 0x10], at).expect("an octet");
}

fn ids_in_queue(server: &Server) -> Vec<String> {
    let list = server.cli(["queue", "list", "--json"]).succeed().text();
    let queued: Vec<serde_json::Value> = serde_json::from_str(&list).expect("JSON");
    queued.iter().map(|mail| mail["id"].as_str().expect("an id").to_owned()).collect()
}

fn subjects(server: &Server, count: usize) -> Vec<String> {
    let mut subjects: Vec<String> =
        server.inbox(count).iter().filter_map(|stored| mail::field(stored, "Subject")).collect();
    subjects.sort();
    subjects
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode can be set");
}

#[test]
fn a_flipped_bit_costs_its_own_mail_which_is_named_and_the_rest_goes_on() {
    let (mut server, ids) = killed_with(&["one", "two", "three", "four"], 2_000);
    let queue = server.data().join("queue");
    let (segment, at) = find(&queue, b"Subject: two\r\n");
    flip_bit(&segment, at + 500);
    let verified = server.cli(["queue", "verify"]).outcome();
    assert_eq!(verified.code(), 1, "{verified}");
    assert!(verified.to_string().contains("octets are no record"), "{verified}");

    server.restart();
    let told = server.log().lines().any(|line| {
        line.contains("a damaged record was set aside") && line.contains(&format!("probably={}", ids[1]))
    });
    assert!(told, "the log names the mail");
    assert_eq!(server.metric("gatepost_queue_corrupt_records_total"), 1.0);
    let explained = server.cli(["explain", &ids[1]]).succeed().text();
    assert!(
        explained.contains("was damaged on the disk and is lost; the rest of it is in corrupt/"),
        "{explained}"
    );
    let verified = server.cli(["queue", "verify"]).outcome();
    assert_eq!(verified.code(), 0, "what was set aside is nothing new: {verified}");
    assert!(
        verified.text().contains(&format!("{}: ", ids[1])) && verified.text().contains("set aside"),
        "{verified}"
    );
    let (aside, _) = find(&queue.join("corrupt"), b"Subject: two\r\n");
    assert_eq!(fs::metadata(aside).expect("a file").permissions().mode() & 0o777, 0o600);
    // Its envelope is whole, and the event log knows the sender: he is told, and so is the end of the recipient.
    wait_until("the sender is told", || ids_in_queue(&server).len() == 4);
    assert_eq!(ids_in_queue(&server)[..3], [&*ids[0], &*ids[2], &*ids[3]]);
    server.cli(["queue", "release", "--all"]).succeed();
    let inbox = server.inbox(4);
    let (notices, mails): (Vec<_>, Vec<_>) = inbox.iter().partition(|mail| is_notice(mail));
    let mut subjects: Vec<_> = mails.iter().filter_map(|stored| mail::field(stored, "Subject")).collect();
    subjects.sort();
    assert_eq!(subjects, ["four", "one", "three"]);
    let notice = String::from_utf8_lossy(notices[0]).into_owned();
    for told in ["\r\nAction: failed\r\nStatus: 5.3.0\r\n", "me@localhost", "\r\nSubject: two\r\n"] {
        assert!(notice.contains(told), "{told}: {notice}");
    }
    let explained = server.cli(["explain", &ids[1]]).succeed().text();
    assert!(explained.contains("was given up for <me@localhost>: 5.3.0"), "{explained}");
    server.wait_for_empty_queue();
    server.stop();
    server.restart();
    assert_eq!(server.inbox(4).len(), 4, "told once");
}

/// A bounce has nobody to go back to; what says that it is lost is the event, and what is left of it is in `corrupt/`.
#[test]
fn a_damaged_bounce_bothers_nobody_and_is_told_of_in_the_event_log() {
    let mut server = Setup::new().open_listener().start();
    server.cli(["queue", "hold", "--all"]).succeed();
    let mut smtp = server.smtp_open();
    let id = smtp.mail("", &["me@localhost"], &mail::large("bounce", 2_000)).queue_id();
    // A record that nothing follows would be one whose flush a crash has prevented.
    let next = smtp.mail("", &["me@localhost"], &mail::small("next")).queue_id();
    smtp.quit();
    wait_until("the event log has them", || server.cli(["explain", &next]).outcome().code() == 0);
    server.kill();
    let (segment, at) = find(&server.data().join("queue"), b"Subject: bounce\r\n");
    flip_bit(&segment, at + 500);
    server.restart();
    wait_until("its end is told", || {
        server.cli(["explain", &id]).succeed().text().contains("was given up for <me@localhost>: 5.3.0")
    });
    let explained = server.cli(["explain", &id]).succeed().text();
    assert!(explained.contains("was damaged on the disk and is lost"), "{explained}");
    server.cli(["queue", "release", "--all"]).succeed();
    server.wait_for_empty_queue();
    assert_eq!(subjects(&server, 1), ["next"]);
}

fn is_notice(mail: &[u8]) -> bool {
    mail::field(mail, "Content-Type").is_some_and(|kind| kind.starts_with("multipart/report"))
}

/// Another look decides, after some seconds; then the sender hears of it.
#[test]
fn a_flipped_bit_in_the_file_of_a_large_body_costs_its_own_mail_and_its_sender_is_told() {
    let (mut server, ids) = killed_with(&["large-one", "large-two"], 400_000);
    let (body, at) = find(&server.data().join("queue/bodies"), b"Subject: large-two\r\n");
    flip_bit(&body, at + 200_000);
    server.restart();
    server.cli(["queue", "release", "--all"]).succeed();
    let inbox = server.inbox(2);
    assert_eq!(mail::field(&inbox[0], "Subject").as_deref(), Some("large-one"));
    let notice = String::from_utf8_lossy(&inbox[1]).into_owned();
    assert!(notice.contains("\r\nAction: failed\r\nStatus: 5.3.0\r\n"), "{notice}");
    assert!(notice.contains("Subject: large-two"), "{notice}");
    let told = server
        .log()
        .lines()
        .any(|line| line.contains("is damaged; it is given up") && line.contains(&ids[1]));
    assert!(told, "the log names the mail");
    server.wait_for_empty_queue();
}

#[test]
fn a_truncated_segment_costs_what_lay_in_the_rest_and_that_is_told() {
    let (mut server, ids) = killed_with(&["kept-one", "kept-two", "cut-one", "cut-two"], 2_000);
    // From now on another segment knows how long this one was.
    server.restart();
    server.kill();
    let (segment, at) = find(&server.data().join("queue"), b"Subject: cut-one\r\n");
    fs::File::options()
        .write(true)
        .open(&segment)
        .and_then(|file| file.set_len(at + 100))
        .expect("it is cut");
    server.restart();
    assert!(server.log().contains("a segment is shorter than it was"), "it is told");
    for lost in &ids[2..] {
        let explained = server.cli(["explain", lost]).succeed().text();
        let is_named = [" is missing: ", " was damaged on the disk "].iter().any(|it| explained.contains(it));
        assert!(is_named, "{explained}");
    }
    assert_eq!(server.cli(["queue", "verify"]).outcome().code(), 0, "it was told");
    // Of the first one that was cut the envelope is left.
    wait_until("its sender is told", || ids_in_queue(&server).len() == 3);
    assert_eq!(ids_in_queue(&server)[..2], ids[..2]);
    server.cli(["queue", "release", "--all"]).succeed();
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("new")).must("250 2.0.0");
    let inbox = server.inbox(4);
    let (notices, mails): (Vec<_>, Vec<_>) = inbox.iter().partition(|mail| is_notice(mail));
    let subjects: BTreeSet<_> = mails.iter().filter_map(|stored| mail::field(stored, "Subject")).collect();
    assert_eq!(subjects, ["kept-one", "kept-two", "new"].map(str::to_owned).into());
    assert!(String::from_utf8_lossy(notices[0]).contains("\r\nSubject: cut-one\r\n"));
}

#[test]
fn a_segment_of_a_newer_version_stops_the_start_for_good_and_stays_as_it_is() {
    let (mut server, _) = killed_with(&["newer"], 2_000);
    let (segment, _) = find(&server.data().join("queue"), b"Subject: newer\r\n");
    let mut octets = fs::read(&segment).expect("a segment");
    let original = octets.clone();
    octets[8..12].copy_from_slice(&99_u32.to_le_bytes());
    let checksum = crc32c(&octets[..32]).rotate_right(15).wrapping_add(0xa282_ead8);
    octets[32..36].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&segment, &octets).expect("a segment");
    for _ in 0..2 {
        let outcome = gatepost(server.config(), ["run"]).outcome();
        // One of those after which a service manager does not try again.
        assert_eq!(outcome.code(), 69, "{outcome}");
        assert!(
            outcome.stderr.contains("has format version 99") && outcome.stderr.contains("newer Gatepost")
        );
    }
    assert!(fs::read(&segment).expect("a segment") == octets, "nothing was changed");
    fs::write(&segment, original).expect("a segment");
    server.restart();
    server.cli(["queue", "release", "--all"]).succeed();
    assert_eq!(subjects(&server, 1), ["newer"]);
}

#[test]
fn a_queue_that_cannot_be_written_takes_no_mail_and_takes_some_once_it_can() {
    let mut server = Server::start();
    let queue = server.data().join("queue");
    server.stop();
    set_mode(&queue, 0o500);
    server.respawn();
    let status = |path| http::get(server.ports.admin, path).map(|(status, _)| status);
    wait_until("it serves", || status("/healthz") == Some(200));
    assert_eq!(status("/readyz"), Some(503), "there for its mailboxes, and not ready for mail");
    let mut smtp = server.smtp_as_me();
    let refused = smtp.try_mail("me@localhost", "me@localhost", &mail::small("refused")).expect("a reply");
    assert!((400..500).contains(&refused.code), "{refused:?}");
    assert!(server.log().contains("no new segment of the queue"), "it is told");
    set_mode(&queue, 0o700);
    wait_until("it is ready", || status("/readyz") == Some(200));
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("taken")).must("250 2.0.0");
    assert_eq!(subjects(&server, 1), ["taken"]);
}

#[test]
fn a_folder_for_bodies_that_cannot_be_written_refuses_large_mail_alone() {
    let server = Server::start();
    let bodies = server.data().join("queue/bodies");
    set_mode(&bodies, 0o500);
    let mut smtp = server.smtp_as_me();
    let large = mail::large("large", 500_000);
    let refused = smtp.try_mail("me@localhost", "me@localhost", &large).expect("a reply");
    assert!((400..500).contains(&refused.code), "{refused:?}");
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("small")).must("250 2.0.0");
    set_mode(&bodies, 0o700);
    smtp.mail("me@localhost", &["me@localhost"], &large).must("250 2.0.0");
    assert_eq!(subjects(&server, 2), ["large", "small"]);
}

/// Where even the last resort fails, the log has the rest.
#[test]
fn bad_mail_that_cannot_be_kept_is_told_of_and_holds_nothing_up() {
    let mut server = Setup::new().user("gone@localhost").open_listener().start();
    server.cli(["queue", "hold", "--all"]).succeed();
    let mut smtp = server.smtp_open();
    smtp.mail("", &["gone@localhost"], &mail::small("unreturnable")).must("250 2.0.0");
    smtp.quit();
    server.cli(["user", "remove", "gone@localhost"]).succeed();
    server.stop();
    set_mode(&server.data().join("badmail"), 0o500);
    server.restart();
    server.cli(["queue", "release", "--all"]).succeed();
    server.wait_for_log("a mail that nobody can be told of could not be kept");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("after")).must("250 2.0.0");
    assert_eq!(subjects(&server, 1), ["after"]);
}

#[test]
fn a_pickup_folder_that_cannot_be_written_is_left_alone_and_emptied_later() {
    let outer = tempfile::tempdir().expect("a folder");
    let pickup = outer.path().join("pickup");
    let server = Setup::new().sections(&format!("[pickup]\nfolder = {pickup:?}")).start();
    fs::write(pickup.join("draft.tmp"), "From: me@localhost\nTo: me@localhost\nSubject: dropped\n\nHi\n")
        .expect("a file");
    fs::rename(pickup.join("draft.tmp"), pickup.join("draft")).expect("a name");
    set_mode(&pickup, 0o500);
    thread::sleep(Duration::from_secs(3));
    let complaints = server.log().matches("pickup folder").count();
    set_mode(&pickup, 0o700);
    assert!(complaints < 8, "{complaints} lines in three seconds");
    assert_eq!(subjects(&server, 1), ["dropped"]);
}

#[test]
fn a_disk_that_turns_read_only_refuses_mail_for_now_and_nothing_is_lost() {
    let server = Server::start();
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("before")).must("250 2.0.0");
    let _ = server.inbox(1);
    let calls = "pwritev,pwritev2,pwrite64,fdatasync,fsync,ftruncate,fallocate";
    let Some(fault) = Fault::inject(&server, calls, "error=EROFS") else { return };
    for _ in 0..3 {
        let mut smtp = server.smtp_as_me();
        let refused =
            smtp.try_mail("me@localhost", "me@localhost", &mail::small("refused")).expect("a reply");
        assert!((400..500).contains(&refused.code), "{refused:?}");
    }
    assert_eq!(server.http("/healthz").0, 200, "no reason to die");
    fault.end();
    let start = Instant::now();
    let after = mail::small("after");
    loop {
        let mut smtp = server.smtp_as_me();
        if smtp.try_mail("me@localhost", "me@localhost", &after).expect("a reply").code == 250 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "the stop is not lifted");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(subjects(&server, 2), ["after", "before"]);
}

/// With flushes of a second, sessions share them, and none hears 250 before its own.
#[test]
fn a_slow_disk_slows_sessions_down_and_does_no_more() {
    const SESSIONS: usize = 8;
    const FLUSH: Duration = Duration::from_secs(1);
    let server = Server::start();
    let mut sessions: Vec<_> = (0..SESSIONS).map(|_| server.smtp_as_me()).collect();
    let mut idle = server.smtp_as_me();
    let Some(fault) = Fault::inject(&server, "fdatasync,fsync", "delay_enter=1000000") else { return };
    let start = Instant::now();
    thread::scope(|scope| {
        for (number, smtp) in sessions.iter_mut().enumerate() {
            scope.spawn(move || {
                let start = Instant::now();
                let content = mail::small(&format!("slow-{number}"));
                smtp.mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
                assert!(start.elapsed() >= FLUSH, "250 before the flush");
            });
        }
        idle.say("NOOP").must("250");
        assert!(start.elapsed() < FLUSH, "another session waits for the disk");
    });
    let all = start.elapsed();
    fault.end();
    assert!(all < FLUSH * 6, "{all:?}: a flush for each of them");
    let expected: Vec<_> = (0..SESSIONS).map(|number| format!("slow-{number}")).collect();
    assert_eq!(subjects(&server, SESSIONS), expected);
}

/// Bit by bit: as the header of a segment has it.
fn crc32c(octets: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    let octet = |crc: u32, octet: &u8| (0..8).fold(crc ^ u32::from(*octet), step);
    !octets.iter().fold(!0, octet)
}
