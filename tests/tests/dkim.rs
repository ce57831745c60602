//! What users send is signed, so that dkimpy believes it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use gatepost_tests::binary;
use gatepost_tests::command::Run;
use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use rustix::process::Signal;

const DOMAIN: &str = "localhost";

#[test]
fn mail_of_a_user_is_signed_by_every_key_of_his_domain() {
    let keys = tempfile::tempdir().expect("a folder");
    let makes = Server::start();
    let mut sections = String::new();
    let mut records = Vec::new();
    for (selector, algorithm) in [("r2026", "rsa"), ("e2026", "ed25519")] {
        let file = keys.path().join(selector);
        let file = file.to_str().expect("a plain path");
        let made = makes.cli([
            "dkim",
            "key",
            file,
            "--domain",
            DOMAIN,
            "--selector",
            selector,
            "--algorithm",
            algorithm,
        ]);
        let made = made.succeed().text();
        let (record, section) = made.split_once("[[dkim]]").expect("lines for the configuration");
        sections.push_str(&format!("[[dkim]]{section}"));
        let shown =
            makes.cli(["dkim", "record", file, "--domain", DOMAIN, "--selector", selector]).succeed().text();
        assert!(record.contains(shown.trim()), "{record} {shown}");
        let mode = fs::metadata(file).expect("the key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        records.push(format!("{selector}._domainkey.{DOMAIN}"));
        records.push(shown.split('"').skip(1).step_by(2).collect::<String>());
    }
    // With a space in an empty line, and empty lines at the end.
    let bodies: [&[u8]; 3] =
        [b"hello  there \r\n \r\nend\r\n\r\n\r\n", b"", &b"a line of a large mail\r\n".repeat(50_000)];

    let server = Setup::new().user("you@localhost").sections(&sections).start();
    for body in bodies {
        let header = b"From: Me <me@localhost>\r\nTo: me@localhost\r\nSubject: signed\r\n  folded\r\n\r\n";
        let content = [header.as_slice(), body].concat();
        server.smtp_as_me().mail("me@localhost", &["me@localhost"], &content).must("250");
    }
    for stored in server.inbox(3) {
        assert_eq!(verify(&stored, &records).succeed().text().trim(), "2");
        // A second From would show another sender than the one that was signed.
        let forged = [b"From: boss@localhost\r\n".as_slice(), &stored].concat();
        assert_ne!(verify(&forged, &records).outcome().code(), 0);
    }
    // Not his own address, so not his signature.
    let content = b"From: you@localhost\r\nSubject: forged\r\n\r\n";
    server.smtp_as_me().mail("me@localhost", &["you@localhost"], content).must("250");
    let stored = server.inbox_of(&server.users[1], 1).remove(0);
    assert_eq!(mail::field(&stored, "DKIM-Signature"), None);
}

#[test]
fn a_key_that_others_can_read_keeps_the_old_ones_at_a_reload() {
    let server = Setup::new().start();
    let file = server.folder().join("open.pem");
    let path = file.to_str().expect("a plain path");
    server.cli(["dkim", "key", path, "--domain", DOMAIN, "--selector", "s"]).succeed();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
    let text = fs::read_to_string(server.config()).expect("the configuration");
    let section = format!("\n[[dkim]]\ndomain = \"{DOMAIN}\"\nselector = \"s\"\nkey = \"{path}\"\n");
    fs::write(server.config(), text + &section).expect("the configuration");
    server.signal(Signal::HUP);
    server.wait_for_log("open.pem");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    server.signal(Signal::HUP);
    server.wait_for_log("the configuration was reloaded");
    let again = server.cli(["dkim", "key", path, "--domain", DOMAIN, "--selector", "s"]).outcome();
    assert_eq!(again.code(), 73, "{again}");
}

fn verify(mail: &[u8], records: &[String]) -> Run {
    let script = binary::repository().join("tests/clients/dkim_verify.py");
    // Debian's own Python, which has Debian's modules.
    Run::new("/usr/bin/python3").arg(script).args(records).stdin(mail)
}
