//! The sandbox around the real binary, seen from outside and through what it refuses.
//!
//! Where the kernel lacks a part of it, these tests say so and leave that part out.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use gatepost_tests::command::Run;
use gatepost_tests::process::gatepost;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{binary, mail, trust, wait_until};
use rustix::process::Signal;

/// What other users of the machine are called by `/etc/passwd` everywhere.
const NOBODY: &str = "nobody";

fn is_enforced(server: &Server) -> bool {
    let enforced = server.metric("gatepost_sandbox_enforced") == 1.0;
    if !enforced {
        eprintln!("left out: GATEPOST_SANDBOX has switched the sandbox down");
    }
    enforced
}

#[test]
fn every_thread_of_a_working_server_is_confined() {
    let server = Server::start();
    if !is_enforced(&server) {
        return;
    }
    // By now sessions, password checks, the queue, the scanner, the store and the blocking pool have worked.
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("confined")).must("250 2.0.0");
    let _ = server.inbox(1);
    let mut threads = 0;
    for entry in fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the threads") {
        let status = fs::read_to_string(entry.expect("a thread").path().join("status")).expect("its status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.expect("the field is there").trim().to_owned()
        };
        assert_eq!(field("Seccomp:"), "2", "{status}");
        assert_eq!(field("NoNewPrivs:"), "1", "{status}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set} {status}");
        }
        threads += 1;
    }
    assert!(threads > 8, "only {threads} threads");
    assert_eq!(server.metric("gatepost_sandbox_holes"), 0.0);
    assert_eq!(server.metric("gatepost_sandbox_part"), 2.0, "landlock and seccomp");
    assert!(server.metric("gatepost_sandbox_threads_tested") >= f64::from(threads), "{threads}");
}

#[test]
fn a_reload_that_asks_for_a_new_listener_says_so_and_changes_nothing() {
    let server = Server::start();
    if !is_enforced(&server) {
        return;
    }
    let good = fs::read_to_string(server.config()).expect("the configuration");
    let more = "[limits]\nmessage = \"2 MiB\"\n[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\n\
                protocol = \"smtp\"\ntls = \"starttls\"\n";
    fs::write(server.config(), format!("{good}\n{more}")).expect("the configuration");
    server.signal(Signal::HUP);
    server.wait_for_log("a new listener takes a restart");
    server.wait_for_log("the old one stays in force");
    let mut smtp = server.smtp();
    assert!(!smtp.say("EHLO client.example").offers("SIZE 2097152"), "no part of it is taken over");

    let smaller = good.replace("[admin]", "[limits]\nmessage = \"3 MiB\"\n\n[admin]");
    fs::write(server.config(), smaller).expect("the configuration");
    server.signal(Signal::HUP);
    wait_until("a configuration with the old listeners is taken", || {
        let mut smtp = server.smtp();
        smtp.say("EHLO client.example").offers("SIZE 3145728")
    });
}

#[test]
fn without_the_sandbox_a_reload_opens_a_new_listener() {
    let server = Setup::new().server_keys("sandbox = \"off\"").start();
    if std::env::var_os("GATEPOST_SANDBOX").is_some() {
        return;
    }
    let good = fs::read_to_string(server.config()).expect("the configuration");
    let [port] = gatepost_tests::ports::free();
    let more = format!(
        "[[listener]]\nname = \"more\"\naddress = \"127.0.0.1:{port}\"\nprotocol = \"smtp\"\ntls = \"starttls\"\n"
    );
    fs::write(server.config(), format!("{good}\n{more}")).expect("the configuration");
    server.signal(Signal::HUP);
    wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

#[test]
fn a_reload_that_names_a_key_elsewhere_says_so_and_a_replaced_one_is_read() {
    let server = Server::start();
    if !is_enforced(&server) {
        return;
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (elsewhere.path().join("cert.pem"), elsewhere.path().join("key.pem"));
    trust::write_certificate(&certificate, &key);
    let good = fs::read_to_string(server.config()).expect("the configuration");
    let here = |name| format!("{}/{name}", server.folder().display());
    let moved = good
        .replace(&here("cert.pem"), certificate.to_str().expect("UTF-8"))
        .replace(&here("key.pem"), key.to_str().expect("UTF-8"));
    assert_ne!(moved, good);
    fs::write(server.config(), moved).expect("the configuration");
    server.signal(Signal::HUP);
    server.wait_for_log("outside of the folders that the sandbox left open");

    // As certificate tools and editors do it: new files take the old names.
    for (new, name) in [(&certificate, "cert.pem"), (&key, "key.pem")] {
        let draft = server.folder().join(format!("{name}.new"));
        fs::copy(new, &draft).expect("a copy");
        fs::rename(&draft, server.folder().join(name)).expect("the new file takes the name");
    }
    let draft = server.folder().join("gatepost.toml.new");
    fs::write(&draft, &good).expect("the configuration");
    fs::rename(&draft, server.config()).expect("the new file takes the name");
    server.signal(Signal::HUP);
    server.wait_for_log("the configuration was reloaded");
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("new-key")).must("250 2.0.0");
}

#[test]
fn started_as_root_it_goes_on_as_its_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can become somebody else");
        return;
    }
    let ids = fs::read_to_string("/etc/passwd").expect("the users");
    let ids: Vec<u32> = ids
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{NOBODY}:x:")))
        .expect("there is a nobody")
        .split(':')
        .take(2)
        .map(|id| id.parse().expect("a number"))
        .collect();
    let mut server =
        Setup::new().server_keys(&format!("user = \"{NOBODY}\"")).owned_by(ids[0], ids[1]).start();
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("its status");
    for (field, id) in [("Uid:", ids[0]), ("Gid:", ids[1])] {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field is there");
        assert!(line.split_whitespace().all(|found| found == id.to_string()), "{field}{line}");
    }
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("as-nobody")).must("250 2.0.0");
    let _ = server.inbox(1);
    server.stop();
}

#[test]
fn config_check_names_the_key_that_the_user_could_not_read() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let server = Setup::new().start();
    let text = fs::read_to_string(server.config()).expect("the configuration");
    let text = text.replace("[server]", &format!("[server]\nuser = \"{NOBODY}\""));
    fs::write(server.config(), text).expect("the configuration");
    fs::set_permissions(server.folder(), fs::Permissions::from_mode(0o755)).expect("an open folder");
    let outcome = gatepost(server.config(), ["config", "check"]).outcome();
    assert_eq!(outcome.code(), 78, "{outcome}");
    assert!(outcome.stderr.contains("user \"nobody\" cannot read"), "{outcome}");
    assert!(outcome.stderr.contains("key.pem"), "{outcome}");
    chown(server.folder().join("key.pem"), Some(65_534), None).expect("the key changes hands");
    let outcome = gatepost(server.config(), ["config", "check"]).outcome();
    assert_eq!(outcome.code(), 0, "{outcome}");
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut server = Server::start();
    server.stop();
    let text = fs::read_to_string(server.config()).expect("the configuration");
    fs::write(server.config(), text.replace("[server]", "[server]\nuser = \"no-such-user\""))
        .expect("a file");
    let outcome = gatepost(server.config(), ["run"]).outcome();
    assert_eq!(outcome.code(), 78, "{outcome}");
    assert!(outcome.stderr.contains("no-such-user"), "{outcome}");
}

/// A kernel without landlock, as the server would see it.
#[test]
fn a_kernel_without_landlock_is_refused_with_the_way_out_and_best_effort_starts_on_it() {
    let mut server = Server::start();
    server.stop();
    let traced = |mode: &str, limit: &str| {
        let inject = "inject=landlock_create_ruleset:error=ENOSYS";
        Run::new("timeout")
            .clean_environment()
            .args([
                "--signal=TERM",
                limit,
                "strace",
                "-f",
                "-o",
                "/dev/null",
                "-e",
                "trace=landlock_create_ruleset",
            ])
            .args(["-e", inject])
            .arg(binary::gatepost())
            .args(["run", "--sandbox", mode, "--config"])
            .arg(server.config())
            .outcome()
    };
    let enforced = traced("enforce", "30");
    assert_eq!(enforced.code(), 78, "{enforced}");
    for said in ["landlock is not to be had here", "sandbox = \"best-effort\"", "--sandbox best-effort"] {
        assert!(enforced.stderr.contains(said), "{enforced}");
    }
    let tried = traced("best-effort", "10");
    let said = format!("{}{}", tried.text(), tried.stderr);
    assert!(said.contains("a part of the sandbox is missing"), "{said}");
    assert!(said.contains("read-elsewhere"), "the self-test finds the hole: {said}");
    assert!(said.contains("gatepost is ready"), "{said}");
}

#[test]
fn sockets_of_a_service_manager_are_used_and_it_is_told_how_we_are() {
    let mut server = Server::start();
    server.stop();
    let port = server.ports.starttls;
    let manager = server.folder().join("notify");
    let told = UnixDatagram::bind(&manager).expect("a socket for the notes");
    told.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
    let note = || {
        let mut buffer = [0; 512];
        let length = told.recv(&mut buffer).expect("a note comes");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    // The ports of the configuration are taken by the manager alone: the server could not bind them.
    let script = r#"
import os, socket, sys
port, names, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
held = socket.socket()
held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
held.bind(("127.0.0.1", port))
held.listen(16)
if held.fileno() != 3:
    os.dup2(held.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=names)
os.execv(program[0], program)
"#;
    let mut command = Command::new("python3");
    command.args(["-c", script, &port.to_string(), "submission"]);
    command.arg(binary::gatepost()).args(["run", "--config"]).arg(server.config());
    server.restart_by(command, &[("NOTIFY_SOCKET", &manager)]);
    assert!(note().contains("READY=1"));
    server.wait_for_log("the service manager passed the socket");
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("passed")).must("250 2.0.0");

    server.signal(Signal::HUP);
    let reloading = note();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(note().contains("READY=1"));
    server.stop();
    assert!(note().contains("STOPPING=1"));
}
