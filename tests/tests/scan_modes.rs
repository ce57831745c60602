//! What a listener makes of a scan in its sessions: `fail` while the scanner has no verdict, `infected` when it has found
//! something. With a real clamd that is killed or stands still, and with the embedded engine.

use std::fs;
use std::time::{Duration, Instant};

use gatepost_tests::clamd::Clamd;
use gatepost_tests::server::{Server, files_below};
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Reply;
use gatepost_tests::{binary, mail, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const ME: &str = "me@localhost";

/// Of the object MSExchangeIS, each with "Virus Scan" before it; those per second are left out.
const ORIGINALS: [&str; 11] = [
    "Messages Processed",
    "Messages Cleaned",
    "Messages Quarantined",
    "Messages Deleted",
    "Files Scanned",
    "Files Cleaned",
    "Files Quarantined",
    "Bytes Scanned",
    "Queue Length",
    "Folders Scanned in Background",
    "Messages Scanned in Background",
];

fn start(clamd: &Clamd, scan: &str) -> Server {
    let listener = format!("scan = {{ {scan} }}");
    Setup::new().open_listener().listener_keys(&listener).sections(&clamd.engine()).start()
}

/// The guide names each counter that Exchange had, and what it is called here.
#[test]
fn every_counter_that_the_guide_maps_is_there() {
    let guide = fs::read_to_string(binary::repository().join("deploy/guide.md")).expect("the guide");
    let rows = table(&guide, "| Virus Scan ...");
    let originals: String = rows.iter().map(|(original, _)| format!("{original}, ")).collect();
    for original in ORIGINALS {
        assert!(originals.contains(&format!("{original}, ")), "{original} is not in: {originals}");
    }
    let server = Server::start();
    let ours: Vec<&str> = rows.iter().flat_map(|(_, ours)| ours.split('`').skip(1).step_by(2)).collect();
    assert!(ours.len() >= ORIGINALS.len(), "{ours:?}");
    for name in ours {
        let total = if name == "queue_length" { "" } else { "_total" };
        let _there = server.metric(&format!("gatepost_virus_scan_{name}{total}"));
    }
}

#[test]
fn every_setting_that_the_guide_maps_is_in_the_example() {
    let [guide, example] = ["guide.md", "embedded.toml"].map(|name| {
        fs::read_to_string(binary::repository().join("deploy").join(name)).expect("a file of ours")
    });
    let rows = table(&guide, "| there |");
    assert_eq!(rows.len(), 11);
    for key in rows.iter().flat_map(|(_, here)| here.split('`').skip(1).step_by(2)) {
        let key = key.split(" = ").next().expect("a word");
        let is_there = match key {
            "gatepost scan reload" | "winmail.dat" => true,
            section if section.starts_with('[') => example.contains(section),
            key => {
                example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")))
            }
        };
        assert!(is_there, "{key}");
    }
}

/// The rows of a table of the guide that begins so.
fn table<'g>(guide: &'g str, head: &str) -> Vec<(&'g str, &'g str)> {
    let lines = guide.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    lines.map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")).collect()
}

fn kill(clamd: &mut Clamd, server: &Server) {
    clamd.kill();
    wait_until("that clamd is gone is noticed", || {
        server.metric("gatepost_virus_scan_engine_up") == 0.0 || {
            // An engine is looked for when it is needed.
            let _outcome = server.cli(["scan", "reload"]).outcome();
            false
        }
    });
}

fn revive(clamd: &mut Clamd, server: &Server) {
    clamd.restart();
    wait_until("it is found again", || server.metric("gatepost_virus_scan_engine_up") == 1.0);
}

fn send(server: &Server, content: &[u8]) -> Reply {
    server.smtp_as_me().mail(ME, &[ME], content)
}

fn json<const N: usize>(server: &Server, args: [&str; N]) -> Value {
    let text = server.cli(args).arg("--json").succeed().text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

fn wait_until_told(server: &Server, id: &str, text: &str) {
    wait_until(text, || server.cli(["explain", id]).outcome().text().contains(text));
}

#[test]
fn a_listener_that_fails_closed_takes_nothing_while_its_scanner_is_dead_or_stands_still() {
    let mut clamd = Clamd::start("");
    let server = start(&clamd, "fail = \"closed\", session_budget = \"2s\"");
    let content = mail::small("later");
    clamd.signal(Signal::STOP);
    let asked = Instant::now();
    let reply = send(&server, &content);
    assert!(reply.is("451 4.7.1"), "{reply:?}");
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    clamd.signal(Signal::CONT);
    kill(&mut clamd, &server);
    let reply = send(&server, &content);
    assert!(reply.is("451 4.7.1"), "{reply:?}");
    let text = reply.lines.join(" ");
    let token = text.rsplit('[').next().and_then(|rest| rest.split(']').next()).expect("a token").to_owned();
    wait_until_told(&server, &token, "scan.unavailable");
    assert_eq!(server.metric("gatepost_virus_scan_unscanned_total"), 2.0);
    server.assert_no_mail();

    revive(&mut clamd, &server);
    send(&server, &content).must("250 2.0.0");
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
}

#[test]
fn a_listener_that_holds_keeps_mail_in_the_queue_and_says_why() {
    let mut clamd = Clamd::start("");
    let server = start(&clamd, "fail = \"hold\"");
    kill(&mut clamd, &server);
    let content = mail::small("held");
    let id = send(&server, &content).must("250 2.0.0").queue_id();
    wait_until("the queue says why", || {
        let text = server.cli(["queue", "list"]).succeed().text();
        text.contains(&id) && text.contains("waiting for a virus scan")
    });
    wait_until_told(&server, &id, "fail = \"hold\"");
    assert_eq!(server.inbox(0), Vec::<Vec<u8>>::new());
    revive(&mut clamd, &server);
    server.cli(["queue", "retry", "--all"]).succeed();
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
}

#[test]
fn a_listener_that_fails_open_has_mail_in_mailboxes_where_nobody_reads_it_unscanned() {
    let mut clamd = Clamd::start("");
    let server = start(&clamd, "fail = \"open\"");
    kill(&mut clamd, &server);
    let clean = mail::small("clean");
    let infected = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
    let id = send(&server, &clean).must("250 2.0.0").queue_id();
    send(&server, &infected).must("250 2.0.0");
    server.wait_for_empty_queue();
    wait_until_told(&server, &id, "fail = \"open\"");
    let mut pop3 = server.pop3_as(server.me());
    assert_eq!(pop3.count(), 2);
    for number in 1..=2 {
        let answer = pop3.say(&format!("RETR {number}"));
        assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
    }
    pop3.quit();

    revive(&mut clamd, &server);
    let mut pop3 = server.pop3_as(server.me());
    mail::assert_same_octets(mail::below_trace(&pop3.multi("RETR 1")), &clean);
    let answer = pop3.say("RETR 2");
    assert!(answer.starts_with("-ERR") && !answer.contains("SYS/TEMP"), "{answer}");
    pop3.quit();
}

#[test]
fn what_fails_open_is_scanned_behind_its_delivery_once_the_scanner_is_back() {
    let mut clamd = Clamd::start("");
    // The background scan would find it first.
    let sections = format!("[scan.background]\nenabled = false\n{}", clamd.engine());
    let keys = "scan = { fail = \"open\" }";
    let server = Setup::new().listener_keys(keys).sections(&sections).start();
    kill(&mut clamd, &server);
    let infected = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
    send(&server, &infected).must("250 2.0.0");
    server.wait_for_empty_queue();
    clamd.restart();
    let start = Instant::now();
    while server.metric("gatepost_virus_scan_proactive_infected_total") < 1.0 {
        assert!(start.elapsed() < Duration::from_secs(60), "nobody scans it");
        std::thread::sleep(Duration::from_millis(200));
    }
    let traced = server.cli(["scan", "trace", "Test.Eicar.UNOFFICIAL"]).outcome();
    assert!(traced.text().contains("proactive"), "{traced}");
    let answer = server.pop3_as(server.me()).say("RETR 1");
    assert!(answer.starts_with("-ERR") && !answer.contains("SYS/TEMP"), "{answer}");
}

#[test]
fn what_a_session_quarantines_is_taken_and_kept_with_its_report_and_nothing_is_delivered() {
    let keys = "scan = { infected = \"quarantine\" }";
    let mut server = Setup::new().open_listener().listener_keys(keys).user("you@localhost").start();
    let infected = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
    let mut large = infected.clone();
    large.extend(b"An epilogue that does not fit into memory.\r\n".repeat(10_000));
    let mut smtp = server.smtp_open();
    let reply = smtp.mail("stranger@remote.example", &[ME, "you@localhost"], &infected);
    let id = reply.must("250 2.0.0").queue_id();
    smtp.mail("stranger@remote.example", &[ME], &large).must("250 2.0.0");
    smtp.mail("stranger@remote.example", &[ME], &mail::small("clean")).must("250 2.0.0");
    smtp.quit();
    assert_eq!(server.inbox(1).len(), 1, "the clean one, and no warning on a stranger's behalf");
    assert!(files_below(&server.data().join("queue/bodies")).is_empty());

    let shown = json(&server, ["quarantine", "show", &id]);
    assert_eq!(shown["recipients"], serde_json::json!(["<me@localhost>", "<you@localhost>"]));
    assert_eq!(shown["sender"], "<stranger@remote.example>");
    assert!(shown["item"].as_str().expect("an item").contains("eicar.com"), "{shown}");
    assert!(shown["stamp"].as_str().expect("a stamp").starts_with("yara/"), "{shown}");
    let kept = std::fs::read(server.data().join(format!("quarantine/{id}.eml"))).expect("the mail");
    assert!(kept.starts_with(b"Received: "), "the trace comes first");
    mail::assert_same_octets(&kept[kept.len() - infected.len()..], &infected);
    wait_until_told(&server, &id, "was put into quarantine");

    server.kill();
    server.restart();
    assert_eq!(json(&server, ["quarantine", "list"]).as_array().expect("a list").len(), 2);
    server.cli(["quarantine", "release", &id, "--force"]).succeed();
    let inbox = server.inbox(2);
    mail::assert_same_octets(mail::below_trace(&inbox[1]), &infected);

    // A user hears of it.
    let mine = mail::with_attachment("mine", "eicar.com", mail::eicar().as_bytes());
    send(&server, &mine).must("250 2.0.0");
    let told = String::from_utf8_lossy(&server.inbox(3)[2]).into_owned();
    assert!(told.contains("Status: 5.7.1") && !told.contains("eicar.com"), "{told}");
}

#[test]
fn there_are_as_many_scan_threads_as_are_wanted_and_sensible() {
    let threads = |server: &Server| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.expect("a task").path().join("comm")).unwrap_or_default()
        };
        tasks.map(name).filter(|name| name.starts_with("gatepost-scan-")).count()
    };
    let processors = std::thread::available_parallelism().expect("a number").get();
    let wanted = processors + 2;
    let server = Setup::new().sections(&format!("[scan]\nthreads = {wanted}\n")).start();
    assert_eq!(threads(&server), wanted);
    let server = Setup::new().sections("[scan]\nthreads = 10000\n").start();
    assert_eq!(threads(&server), 2 * processors + 1);
    server.wait_for_log("so many scan threads make no sense on this machine");
}

#[test]
fn every_fail_mode_serves_while_the_embedded_engine_works() {
    for fail in ["open", "closed", "hold"] {
        let server = Setup::new().listener_keys(&format!("scan = {{ fail = \"{fail}\" }}")).start();
        let infected = mail::with_attachment("infected", "eicar.com", mail::eicar().as_bytes());
        send(&server, &infected).must("554 5.7.1");
        send(&server, &mail::small("clean")).must("250 2.0.0");
        assert_eq!(server.inbox(1).len(), 1, "{fail}");
    }
}
