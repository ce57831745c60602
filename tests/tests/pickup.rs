//! Files that are dropped into the pickup folder are sent, or kept with their reason, through the sandbox and crashes.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gatepost_tests::process::gatepost;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};
use tempfile::TempDir;

/// A server with a pickup folder of its own.
struct Office {
    server: Server,
    outer: TempDir,
}

impl Office {
    fn open() -> Self {
        let outer = tempfile::tempdir().expect("a temporary folder");
        let sections = format!("[pickup]\nfolder = \"{}/pickup\"", outer.path().display());
        let server = Setup::new().sections(&sections).start();
        Self { server, outer }
    }

    fn pickup(&self) -> PathBuf {
        self.outer.path().join("pickup")
    }

    /// As the documentation says: written elsewhere, renamed in. It has stood still for a while already.
    fn drop_file(&self, name: &str, contents: &[u8]) {
        let draft = self.outer.path().join(name);
        fs::write(&draft, contents).expect("a draft can be written");
        let before = SystemTime::now() - Duration::from_secs(10);
        fs::File::options().append(true).open(&draft).and_then(|it| it.set_modified(before)).expect("a time");
        fs::rename(draft, self.pickup().join(name)).expect("it can be renamed into the folder");
    }

    fn wait_until_empty(&self) {
        wait_until("the pickup folder gets empty", || names(&self.pickup()).is_empty());
    }

    fn badmail(&self) -> PathBuf {
        self.server.data().join("badmail")
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn to_me(subject: &str) -> String {
    format!("From: Me <me@localhost>\nTo: me@localhost\nSubject: {subject}\n\nHi\n")
}

#[test]
fn a_dropped_mail_is_delivered_and_its_file_is_gone() {
    let office = Office::open();
    office.drop_file("report", to_me("dropped").as_bytes());
    let inbox = office.server.inbox(1);
    office.wait_until_empty();
    assert_eq!(mail::field(&inbox[0], "Subject").as_deref(), Some("dropped"));
    assert_eq!(mail::field(&inbox[0], "Return-Path").as_deref(), Some("<me@localhost>"));
    let received = mail::field(&inbox[0], "Received").expect("a trace");
    assert!(received.starts_with("by gatepost.test (pickup)"), "{received}");
    assert!(mail::field(&inbox[0], "Date").is_some() && mail::field(&inbox[0], "Message-ID").is_some());
    office.server.wait_for_log("a dropped mail was queued");
    assert_eq!(office.server.metric("gatepost_pickup_queued_total") as u64, 1);
}

#[test]
fn the_envelope_can_stand_before_the_mail_and_blind_copies_stay_blind() {
    let office = Office::open();
    let file = "X-Sender: <>\nX-Receiver: me@localhost\nFrom: me@localhost\nTo: other@example.org\n\
                Bcc: secret@example.org\nSubject: enveloped\n\nHi\n";
    office.drop_file("a", file.as_bytes());
    let inbox = office.server.inbox(1);
    assert_eq!(mail::field(&inbox[0], "Return-Path").as_deref(), Some("<>"));
    let text = String::from_utf8_lossy(&inbox[0]);
    assert!(!text.contains("secret@") && !text.contains("X-Receiver"), "{text}");
}

/// By a program that knows of no drafts, and has the mail in two pieces.
#[test]
fn a_mail_that_is_written_in_the_folder_itself_is_sent_whole() {
    let office = Office::open();
    let mut file = fs::File::create(office.pickup().join("slow")).expect("a file");
    let text = to_me("in two pieces");
    let (first, second) = text.split_at(20);
    for piece in [first, second] {
        std::thread::sleep(Duration::from_millis(1_200));
        file.write_all(piece.as_bytes()).expect("it can be written");
    }
    drop(file);
    let inbox = office.server.inbox(1);
    assert_eq!(mail::field(&inbox[0], "Subject").as_deref(), Some("in two pieces"));
    office.wait_until_empty();
    assert_eq!(names(&office.badmail()), Vec::<String>::new());
}

#[test]
fn what_must_not_be_sent_is_kept_with_its_reason() {
    let office = Office::open();
    office.drop_file("forged", b"From: boss@example.org\nTo: me@localhost\n\nSend money\n");
    office.drop_file("relay", b"From: me@localhost\nTo: a@example.org\n\nHi\n");
    office.drop_file("picture.png", b"\x89PNG\r\n\x1a\n\0\0");
    office.wait_until_empty();
    wait_until("three files and their reasons are kept", || names(&office.badmail()).len() == 6);
    let reasons: Vec<serde_json::Value> = names(&office.badmail())
        .iter()
        .filter(|name| name.ends_with(".json"))
        .map(|name| fs::read(office.badmail().join(name)).expect("a reason"))
        .map(|reason| serde_json::from_slice(&reason).expect("JSON"))
        .collect();
    for why in ["forged: 5.7.1 the sender", "relay: 5.7.1 <a@example.org>", "picture.png: 5.6.0 line"] {
        let found =
            reasons.iter().any(|reason| reason["reason"].as_str().is_some_and(|text| text.contains(why)));
        assert!(found, "{why} is not in {reasons:?}");
    }
    assert!(reasons.iter().all(|reason| reason["cause"] == "pickup"));
    office.server.assert_no_mail();
    let id = reasons[0]["id"].as_str().expect("an id");
    let explained = office.server.cli(["explain", id]).succeed().text();
    assert!(explained.contains(" and is not sent, but lies in badmail/: "), "{explained}");
    for name in names(&office.badmail()) {
        let mode = fs::metadata(office.badmail().join(&name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn a_virus_in_a_dropped_mail_is_never_read() {
    let office = Office::open();
    office.drop_file("virus", format!("{}{}\n", to_me("virus"), mail::eicar()).as_bytes());
    office.server.wait_for_log("the scan found in the queue what must not be delivered");
    office.server.assert_no_mail();
}

/// Killed again and again while files come in: each is there once at least, and twice only where it had been delivered
/// already when the kill came between the queue and the removal of its file.
#[test]
fn kill_9_loses_no_dropped_mail() {
    let mut office = Office::open();
    const FILES: usize = 120;
    for round in 0..4 {
        for number in 0..FILES / 4 {
            office
                .drop_file(&format!("{round}-{number}"), to_me(&format!("drop-{round}-{number}")).as_bytes());
        }
        std::thread::sleep(Duration::from_millis(150 * round));
        office.server.kill();
        office.server.restart();
    }
    office.wait_until_empty();
    office.server.wait_for_empty_queue();
    let mut pop3 = office.server.pop3_as(office.server.me());
    let found = pop3.count();
    let mut subjects: Vec<String> = (1..=found)
        .filter_map(|number| mail::field(&pop3.multi(&format!("RETR {number}")), "Subject"))
        .collect();
    pop3.quit();
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), FILES, "lost mail");
    assert!(found - FILES <= 4, "{} doubled mails", found - FILES);
    assert_eq!(names(&office.badmail()), Vec::<String>::new());
}

#[test]
fn a_folder_that_is_open_to_everybody_stops_the_start() {
    let mut office = Office::open();
    office.server.stop();
    fs::set_permissions(office.pickup(), Permissions::from_mode(0o777)).expect("the mode can be set");
    let outcome = gatepost(office.server.config(), ["run"]).outcome();
    assert_eq!(outcome.status.code(), Some(78), "{outcome}");
    assert!(outcome.stderr.contains("chmod o-w"), "{outcome}");
}
