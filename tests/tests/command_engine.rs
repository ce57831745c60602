//! Scanning by a program, run by helper processes of the real binary, with the sandboxes around both.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatepost_tests::process::gatepost;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{command, mail, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A scanner that does what an item tells it.
struct Scanner(TempDir);

/// It has no arguments, and says what it could do besides.
const SCRIPT: &str = r#"
import os, socket, subprocess, sys, time
item = sys.stdin.buffer.read()
def could(name, deed):
    try:
        deed()
        return name
    except OSError:
        return ""
if b"TRY-EVERYTHING" in item:
    server = int(open(sys.argv[1] + "/server").read())
    data = open(sys.argv[1] + "/data").read()
    tried = [
        could("inet", lambda: socket.socket()),
        could("unix", lambda: socket.socket(socket.AF_UNIX)),
        could("netlink", lambda: socket.socket(socket.AF_NETLINK)),
        could("leave", lambda: os.setpgid(0, 0)),
        could("signal", lambda: os.kill(server, 0)),
        could("memory", lambda: open(f"/proc/{server}/mem", "rb")),
        could("root", lambda: os.listdir("/")),
        could("data", lambda: os.listdir(data)),
        could("others", lambda: os.listdir(data + "/scan")),
        could("tmp", lambda: open("/tmp/gatepost-scan-test", "w")),
        could("signatures", lambda: open(sys.argv[1] + "/signatures", "w")),
        could("space", lambda: os.unshare(os.CLONE_NEWUSER)) if hasattr(os, "unshare") else "",
        could("scratch", lambda: open("mine", "w")),
    ]
    print("could", *(name for name in tried if name))
    sys.exit(1)
if b"HANG-FOREVER" in item:
    subprocess.Popen(["/bin/sh", "-c", "sleep 3313 & sleep 3313"])
    time.sleep(3600)
if b"LEAVE-BEHIND" in item:
    subprocess.Popen(["/bin/sleep", "3314"])
    sys.exit(0)
if b"CRASH-NOW" in item:
    os.abort()
if b"FLOOD-ALL" in item:
    sys.stdout.write("x" * 3000000)
    sys.exit(0)
if b"EAT-MEMORY" in item:
    try:
        held = bytearray(900 << 20)
    except MemoryError:
        sys.exit(70)
if b"SAY-WHAT" in item:
    sys.exit(77)
for line in open(sys.argv[1] + "/signatures"):
    if line.strip() and line.strip().encode() in item:
        print("Known." + line.strip().title())
        sys.exit(1)
sys.exit(0)
"#;

// === impl Scanner ===

impl Scanner {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("gatepost-command-").tempdir().expect("a folder");
        fs::write(folder.path().join("scan.py"), SCRIPT).expect("a file");
        fs::write(folder.path().join("signatures"), "VIRUS-ONE\n").expect("a file");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn know(&self, words: &[&str]) {
        fs::write(self.path().join("draft"), words.join("\n")).expect("a file");
        fs::rename(self.path().join("draft"), self.path().join("signatures")).expect("a new name");
    }

    fn engine(&self, more: &str) -> String {
        let home = self.path().display();
        format!(
            "[[scan.engine]]\ntype = \"command\"\nname = \"script\"\ncommand = [\"/usr/bin/python3\", \
             \"{home}/scan.py\", \"{home}\"]\nfolders = [\"{home}\"]\nversion_files = [\"{home}/signatures\"]\n\
             retry_delay = \"1s\"\n{more}\n"
        )
    }

    fn start(&self, more: &str) -> Server {
        let server = Setup::new().sections(&self.engine(more)).start();
        fs::write(self.path().join("server"), server.pid().to_string()).expect("a file");
        fs::write(self.path().join("data"), server.data().to_str().expect("UTF-8")).expect("a file");
        server
    }
}

/// Processes of which every one of these words is in the command line.
fn processes(words: &[&str]) -> Vec<u32> {
    let all = fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        words.iter().all(|word| line.contains(word))
    })
    .collect()
}

/// The helper of this server, without the processes that it has started.
fn parent_of(server: &Server) -> Option<u32> {
    let data = server.data();
    let all = processes(&["scan-helper", data.to_str().expect("UTF-8")]);
    let items = processes(&["scan-helper --item", data.to_str().expect("UTF-8")]);
    all.into_iter().find(|pid| !items.contains(pid))
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().expect("a process id")).expect("not zero"), Signal::KILL)
        .expect("it is there");
}

fn state(server: &Server) -> serde_json::Value {
    let outcome = server.cli(["scan", "status", "--json"]).outcome();
    serde_json::from_str::<serde_json::Value>(&outcome.text()).expect("JSON")[0].clone()
}

#[test]
fn what_the_program_finds_is_refused_and_the_rest_is_delivered() {
    let scanner = Scanner::new();
    let server = scanner.start("");
    let mut smtp = server.smtp_as_me();
    let infected = mail::with_attachment("infected", "a.bin", b"a VIRUS-ONE here");
    smtp.mail("me@localhost", &["me@localhost"], &infected).must("554 5.7.1");
    let clean = mail::with_attachment("clean", "large.bin", &vec![7; 3_000_000]);
    smtp.mail("me@localhost", &["me@localhost"], &clean).must("250 2.0.0");
    let _ = server.inbox(1);
    assert_eq!(server.metric("gatepost_virus_scan_infected_total"), 1.0);
    assert_eq!(server.metric("gatepost_virus_scan_failures_total"), 0.0);
    assert_eq!(server.metric("gatepost_sandbox_holes"), 0.0);
    let engine = state(&server);
    assert_eq!((&engine["name"], &engine["available"]), (&"script".into(), &true.into()), "{engine}");

    let file = server.folder().join("suspect");
    fs::write(&file, &infected).expect("a file");
    let outcome = server.cli(["scan", file.to_str().expect("UTF-8")]).outcome();
    assert_eq!(outcome.code(), 1, "{outcome}");
    assert!(outcome.text().contains("infected: Known.Virus-One"), "{outcome}");
    wait_until("nothing of an item is left", || {
        fs::read_dir(server.data().join("scan/script")).is_ok_and(|folder| folder.count() <= 1)
    });
}

#[test]
fn the_program_reaches_nothing_but_its_folders() {
    let scanner = Scanner::new();
    let server = scanner.start("");
    server
        .smtp_as_me()
        .mail("me@localhost", &["me@localhost"], &mail::small("TRY-EVERYTHING"))
        .must("554 5.7.1");
    server.wait_for_log("could_");
    let log = server.log();
    let at = log.find("could_").expect("it is there");
    let could: String = log[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    assert_eq!(could, "could_scratch");
}

#[test]
fn what_hangs_crashes_or_makes_no_sense_costs_its_item_alone() {
    let scanner = Scanner::new();
    let server = scanner.start("timeout = \"2s\"\nmemory = \"512 MiB\"");
    let mut smtp = server.smtp_as_me();
    for word in ["HANG-FOREVER", "CRASH-NOW", "EAT-MEMORY", "SAY-WHAT"] {
        // Nobody knows what is in it: it waits in the queue, and is not delivered.
        smtp.mail("me@localhost", &["me@localhost"], &mail::small(word)).must("250 2.0.0");
    }
    for word in ["FLOOD-ALL", "LEAVE-BEHIND"] {
        smtp.mail("me@localhost", &["me@localhost"], &mail::small(word)).must("250 2.0.0");
    }
    let inbox = server.inbox(2);
    for word in ["FLOOD-ALL", "LEAVE-BEHIND"] {
        assert!(inbox.iter().any(|mail| String::from_utf8_lossy(mail).contains(word)), "{word}");
    }
    assert_eq!(state(&server)["available"], true, "items do not get rid of an engine");
    assert!(server.metric("gatepost_virus_scan_engine_failures_total") >= 4.0);
    wait_until("nothing that the program has started is left", || {
        processes(&["sleep", "3313"]).is_empty() && processes(&["sleep", "3314"]).is_empty()
    });
}

#[test]
fn new_signatures_find_what_was_delivered_yesterday() {
    let scanner = Scanner::new();
    let server = scanner.start("");
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("VIRUS-TWO")).must("250 2.0.0");
    let _ = server.inbox(1);
    let before = state(&server)["signatures"].clone();
    scanner.know(&["VIRUS-ONE", "VIRUS-TWO"]);
    server.cli(["scan", "reload"]).succeed();
    assert_ne!(state(&server)["signatures"], before);
    wait_until("the background scan finds it", || {
        server.cli(["scan", "trace", "Known.Virus-Two"]).outcome().text().contains("me@localhost")
    });
}

#[test]
fn a_helper_that_is_killed_is_told_of_and_a_restart_has_a_new_one() {
    let scanner = Scanner::new();
    let mut server = scanner.start("");
    kill(parent_of(&server).expect("there is a helper"));
    server.wait_for_log("the scan engine is given up");
    assert_eq!(state(&server)["available"], false);
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("waits")).must("250 2.0.0");
    server.stop();
    wait_until("nothing of it is left", || parent_of(&server).is_none());
    server.restart();
    let _ = server.inbox(1);
    assert_eq!(state(&server)["available"], true);
    server.kill();
    wait_until("helpers end with their server", || {
        processes(&["scan-helper", server.data().to_str().expect("UTF-8")]).is_empty()
    });
}

#[test]
fn what_cannot_be_run_is_said_at_the_start_and_without_a_command_there_is_no_helper() {
    let mut server = Server::start();
    assert_eq!(parent_of(&server), None);
    assert!(!server.data().join("scan").exists());
    server.stop();
    let good = fs::read_to_string(server.config()).expect("the configuration");
    for (engine, why) in [
        ("command = [\"/usr/bin/no-such-scanner\"]", "/usr/bin/no-such-scanner"),
        ("command = [\"/etc/passwd\"]", "not a program"),
        ("command = [\"/bin/cat\"]\nversion_files = [\"/no/such/file\"]", "/no/such/file"),
    ] {
        let text = format!("{good}\n[[scan.engine]]\ntype = \"command\"\n{engine}\n");
        fs::write(server.config(), text).expect("the configuration");
        let outcome = gatepost(server.config(), ["run"]).within(Duration::from_secs(60)).outcome();
        assert_eq!(outcome.code(), 78, "{outcome}");
        assert!(outcome.stderr.contains(why), "{outcome}");
    }
}

#[test]
fn debians_clamscan_finds_what_its_signatures_know() {
    if !command::is_installed("clamscan") {
        eprintln!("left out: clamscan is not installed");
        return;
    }
    let folder = tempfile::Builder::new().prefix("gatepost-command-").tempdir().expect("a folder");
    let hex: String = mail::eicar().bytes().map(|octet| format!("{octet:02x}")).collect();
    let database: PathBuf = folder.path().join("test.ndb");
    fs::write(&database, format!("Test.Eicar:0:*:{hex}\n")).expect("a file");
    let path = database.display();
    let engine = format!(
        "[[scan.engine]]\ntype = \"command\"\ncommand = [\"/usr/bin/clamscan\", \"--no-summary\", \
         \"--database={path}\", \"-\"]\nversion_files = [\"{path}\"]\n"
    );
    let server = Setup::new().sections(&engine).start();
    let mut smtp = server.smtp_as_me();
    let archive = mail::zip("eicar.com", mail::eicar().as_bytes());
    let infected = mail::with_attachment("infected", "eicar.zip", &archive);
    smtp.mail("me@localhost", &["me@localhost"], &infected).must("554 5.7.1");
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("clean")).must("250 2.0.0");
    let _ = server.inbox(1);
    server.wait_for_log("Test.Eicar");
    assert_eq!(server.metric("gatepost_virus_scan_failures_total"), 0.0);
}
