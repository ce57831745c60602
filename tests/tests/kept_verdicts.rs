//! What engines have said of parts outlives a restart, and nobody else can say it in their place.

use std::fs;

use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::slow_scanner::{COUNTED, SlowScanner};

const ME: &str = "me@localhost";
const FILE: &str = "verdicts/slow.verdicts";

fn start(scanner: &SlowScanner) -> Server {
    Setup::new().sections(&scanner.engine()).start()
}

/// A mail of its own with the attachment of all. Base64 hides the word in it from whoever looks at the mail as a whole.
fn send(server: &Server, subject: &str) -> u16 {
    let content = mail::with_attachment(subject, "same.bin", COUNTED.as_bytes());
    let mut smtp = server.smtp_as_me();
    let reply = smtp.mail(ME, &[ME], &content);
    smtp.quit();
    reply.code
}

#[test]
fn an_attachment_is_given_to_the_engine_once_whatever_mails_it_lies_in_and_whoever_restarts() {
    let scanner = SlowScanner::start();
    let mut server = start(&scanner);
    for subject in ["one", "two", "three"] {
        assert_eq!(send(&server, subject), 250);
    }
    server.stop();
    server.restart();
    for subject in ["four", "five"] {
        assert_eq!(send(&server, subject), 250);
    }
    assert_eq!(server.inbox(5).len(), 5);
    assert_eq!(scanner.counted(), 1);
    assert!(server.metric("gatepost_virus_scan_engine_items_kept") >= 1.0);
    assert_eq!(server.metric("gatepost_sandbox_holes"), 0.0);

    // An operator has it asked anew, and a crash does not undo that.
    server.cli(["scan", "reload"]).succeed();
    assert!(!server.data().join(FILE).exists());
    server.kill();
    server.restart();
    assert_eq!((send(&server, "six"), scanner.counted()), (250, 2));

    // New signatures have it asked anew as well.
    scanner.learn("something else");
    server.stop();
    server.restart();
    assert_eq!((send(&server, "seven"), scanner.counted()), (250, 3));
}

#[test]
fn a_verdict_that_another_key_has_sealed_is_not_believed() {
    // Two scanners whose signatures have the same version: one knows the attachment of all, the other one something else.
    let (knowing, harmless) = (SlowScanner::start(), SlowScanner::start());
    knowing.learn(COUNTED);
    harmless.learn("something else");
    let mut elsewhere = start(&harmless);
    assert_eq!(send(&elsewhere, "clean there"), 250);
    elsewhere.stop();

    let mut server = start(&knowing);
    server.stop();
    let plant = |server: &Server| {
        fs::create_dir_all(server.data().join("verdicts")).expect("a folder");
        fs::copy(elsewhere.data().join(FILE), server.data().join(FILE)).expect("a file");
    };
    plant(&server);
    server.restart();
    server.wait_for_log("its seal is not ours");
    assert!(server.data().join("verdicts/slow.damaged").exists());
    assert_eq!((send(&server, "infected here"), knowing.counted()), (554, 1));
    server.assert_no_mail();

    // It is the seal that keeps it out: with the key of the other server the same file counts.
    server.stop();
    plant(&server);
    fs::copy(elsewhere.data().join("stamp.key"), server.data().join("stamp.key")).expect("a key");
    server.restart();
    assert_eq!((send(&server, "believed"), knowing.counted()), (250, 1));
}
