//! Content that is made to exhaust or to mislead a scanner: within seconds and little memory it has a verdict of its own, which
//! the event log keeps, and it never passes for clean.

use std::fs;
use std::time::{Duration, Instant};

use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};

const ME: &str = "me@localhost";

/// Each with the obstacle that it meets.
fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let mime = |content: String| [b"Subject: odd\r\nMIME-Version: 1.0\r\n", content.as_bytes()].concat();
    let level = |level| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    let bomb = mail::zip("zeros", &vec![0; 32 * 1024 * 1024]);
    let nested =
        (0..8).fold(mail::zip("a", b"a"), |inside, level| mail::zip(&format!("{level}.zip"), &inside));
    let attached = |archive: &[u8]| mail::with_attachment("archive", "a.zip", archive);
    vec![
        ("nested_too_deeply", mime((0..1_000).map(level).collect())),
        ("nested_too_deeply", mime("Content-Type: message/rfc822\r\n\r\n".repeat(1_000))),
        (
            "too_many_parts",
            mime(format!(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
                "--b\r\n\r\nx\r\n".repeat(100_000)
            )),
        ),
        ("expands_too_far", attached(&bomb)),
        ("expands_too_far", attached(&lying(&bomb))),
        ("nested_too_deeply", attached(&nested)),
        ("damaged_or_unknown_archive", attached(&bomb[..bomb.len() / 2])),
    ]
}

/// The archive, which says in both of its headers that its only file has no more than ten octets.
fn lying(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    for (mark, size_at) in [(b"PK\x03\x04", 22), (b"PK\x01\x02", 24)] {
        let place = archive.windows(4).position(|window| window == mark).expect("a header") + size_at;
        archive[place..place + 4].copy_from_slice(&10_u32.to_le_bytes());
    }
    archive
}

/// The most memory that the server has had, in MiB.
fn peak(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

#[test]
fn what_no_scan_can_look_into_has_a_verdict_in_bounded_time_and_memory_and_does_not_pass() {
    let server = Setup::new().log_level("info").start();
    let before = peak(&server);
    let header = format!("{}\r\nbody\r\n", "X-Field: and more\r\n".repeat(550_000));
    for (obstacle, content) in contents().into_iter().chain([("content.rejected", header.into_bytes())]) {
        let begun = Instant::now();
        let reply = server.smtp_as_me().mail(ME, &[ME], &content);
        assert!(reply.is("554 5.6.0"), "{obstacle}: {reply:?}");
        assert!(begun.elapsed() < SCAN_MAX, "{obstacle}: {:?}", begun.elapsed());
        let token = reply.lines[0].split(['[', ']']).nth(1).expect("a token").to_owned();
        wait_until("it is an event", || {
            let told = server.cli(["explain", &token]).outcome().text();
            told.contains(&obstacle.replace('_', " "))
        });
    }
    assert!(peak(&server) - before < MEMORY_MAX, "{} MiB, and {before} before", peak(&server));
    server.assert_no_mail();
}

#[test]
fn its_verdict_is_kept_with_the_mail_where_it_is_not_refused() {
    let server = Setup::new().listener_keys("scan = { infected = \"quarantine\" }").log_level("info").start();
    for (obstacle, content) in contents() {
        let reply = server.smtp_as_me().mail(ME, &[ME], &content);
        let id = reply.must("250 2.0.0").queue_id();
        let threat = format!("unscannable.{obstacle}");
        let shown = server.cli(["quarantine", "show", &id, "--json"]).succeed().text();
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown["threat"], threat, "{shown}");
        wait_until("it is an event", || {
            let told = server.cli(["explain", &id]).outcome().text();
            told.contains("was put into quarantine") && told.contains(&threat)
        });
    }
}

/// A debug build on a busy machine.
const SCAN_MAX: Duration = Duration::from_secs(15);
/// MiB, for all of them one after the other. A scan may hold what it unpacks, 64 MiB of one file at the most.
const MEMORY_MAX: u64 = 300;
