//! What an operator does with it: signals, configuration, exit codes, metrics, files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gatepost_tests::command::{Outcome, Run};
use gatepost_tests::pop3::Pop3;
use gatepost_tests::process::{Process, gatepost};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Smtp;
use gatepost_tests::wire::Wire;
use gatepost_tests::{binary, http, mail, ports, trust, wait_until};
use rustix::process::Signal;

#[test]
fn sighup_takes_a_new_certificate_and_keeps_open_sessions() {
    let server = Server::start();
    let old = server.trust();
    let mut open = server.smtp_as_me();
    trust::write_certificate(&server.certificate(), &server.folder().join("key.pem"));
    let new = server.trust();
    assert!(presents(&server, &old), "nothing happens before the signal");
    server.signal(Signal::HUP);
    wait_until("the new certificate is in use", || presents(&server, &new));
    assert!(!presents(&server, &old));
    open.mail("me@localhost", &["me@localhost"], &mail::small("still-open")).must("250 2.0.0");
    open.quit();
}

#[test]
fn sighup_with_a_bad_configuration_or_certificate_changes_nothing() {
    let server = Server::start();
    let trusted = server.trust();
    let good = fs::read_to_string(server.config()).expect("the configuration");
    fs::write(server.config(), format!("{good}\n[surprise]\nkey = 1\n")).expect("a bad configuration");
    server.signal(Signal::HUP);
    server.wait_for_log("surprise");
    assert!(presents(&server, &trusted));

    fs::write(server.config(), good).expect("the good configuration");
    let certificate = fs::read(server.certificate()).expect("the certificate");
    fs::write(server.certificate(), "-----BEGIN CERTIFICATE-----\nrubbish\n").expect("a bad certificate");
    server.signal(Signal::HUP);
    server.wait_for_log("cert.pem");
    assert!(presents(&server, &trusted), "the old certificate stays in use");
    fs::write(server.certificate(), certificate).expect("the good certificate");
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("goes-on")).must("250 2.0.0");
}

#[test]
fn sighup_takes_new_limits() {
    let server = Setup::new().sections("[limits]\nmessage = \"1 MiB\"").start();
    let text = fs::read_to_string(server.config()).expect("the configuration");
    fs::write(server.config(), text.replace("1 MiB", "2 MiB")).expect("the configuration");
    server.signal(Signal::HUP);
    wait_until("the new limit is offered", || {
        let mut smtp = server.smtp();
        smtp.say("EHLO client.example").offers("SIZE 2097152")
    });
}

fn presents(server: &Server, trusted: &std::sync::Arc<rustls::ClientConfig>) -> bool {
    Wire::connect(server.ports.implicit).try_secure(trusted.clone()).is_ok()
}

#[test]
fn sigterm_lets_an_open_mail_finish_and_then_ends() {
    let mut server = Server::start();
    let mut idle = server.smtp_as_me();
    let mut busy = server.smtp_as_me();
    busy.begin_data("me@localhost", &["me@localhost"]);
    busy.send(b"Subject: in the middle\r\n\r\nfirst\r\n");
    server.signal(Signal::TERM);
    idle.reply().must("421 4.3.2");
    assert_eq!(idle.rest(), "");
    wait_until("no new connection is taken", || Wire::try_connect(server.ports.starttls).is_err());
    busy.send(b"second\r\n.\r\n");
    busy.reply().must("250 2.0.0");
    let status = server.wait(Duration::from_secs(40));
    assert_eq!(status.code(), Some(0));
    server.restart();
    let stored = server.inbox(1).remove(0);
    mail::assert_same_octets(
        mail::below_trace(&stored),
        b"Subject: in the middle\r\n\r\nfirst\r\nsecond\r\n",
    );
}

#[test]
fn a_session_that_does_not_end_cannot_hold_up_sigterm_for_ever() {
    let mut server = Setup::new().sections("[limits]\ndrain_timeout = \"1s\"").start();
    let mut stalled = server.smtp_as_me();
    stalled.begin_data("me@localhost", &["me@localhost"]);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(Duration::from_secs(15)).code(), Some(0));
}

#[test]
fn a_wrong_configuration_ends_with_78_and_names_file_line_and_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.toml");
    let listener = "[[listener]]\nname = \"x\"\naddress = \"127.0.0.1:2525\"\nprotocol = \"smtp\"\n";
    let cases = [
        ("[server]\nhostnam = \"a.example\"\n".to_owned(), 2, "hostname"),
        ("[server]\nhostname = \"not a name\"\n".to_owned(), 2, "hostname"),
        (format!("{listener}tls = \"starttl\"\n"), 5, "starttls"),
        (format!("{listener}tls = \"none\"\nrequire_auth = true\n"), 5, "auth_without_tls"),
        (format!("{listener}tls = \"none\"\n"), 5, "auth_without_tls"),
        (format!("{listener}tls = \"starttls\"\nbackend = \"relay\"\n"), 6, "relay"),
        (listener.replace("2525", "99999") + "tls = \"starttls\"\n", 3, "address"),
        ("[limits]\nmessage = \"many\"\n".to_owned(), 2, "message"),
        ("[limits]\nrecipients = 5\n".to_owned(), 2, "100"),
        ("[server\n".to_owned(), 1, "]"),
        ("[admin]\naddress = \"0.0.0.0:2580\"\n".to_owned(), 1, "credential"),
    ];
    for (text, line, hint) in cases {
        fs::write(&file, &text).expect("a file");
        let check =
            Run::new(binary::gatepost()).clean_environment().args(["config", "check"]).arg(&file).outcome();
        let run = Run::new(binary::gatepost())
            .clean_environment()
            .env("HOME", folder.path())
            .args(["run", "--config"]);
        for outcome in [check, run.arg(&file).outcome()] {
            assert_eq!(outcome.code(), 78, "{text}: {outcome}");
            assert!(
                outcome.stderr.contains(&format!("wrong.toml:{line}")),
                "line {line} of\n{text}: {outcome}"
            );
            assert!(outcome.stderr.contains(hint), "{hint:?} for\n{text}: {outcome}");
        }
    }
}

#[test]
fn the_configuration_that_it_writes_is_one_that_it_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gatepost.toml");
    let written =
        Run::new(binary::gatepost()).clean_environment().env("HOME", folder.path()).args(["config", "init"]);
    let written = written.current_dir(folder.path()).succeed();
    if !file.exists() {
        fs::write(&file, &written.stdout).expect("a file");
    }
    let check =
        Run::new(binary::gatepost()).clean_environment().env("HOME", folder.path()).args(["config", "check"]);
    let summary = check.arg(&file).succeed().text();
    for port in ["2525", "2465", "2110", "2995"] {
        assert!(summary.contains(port), "{summary}");
    }
}

#[test]
fn wrong_arguments_end_with_64() {
    for args in [
        &["--no-such-option"][..],
        &["frobnicate"],
        &["user", "add"],
        &["user", "add", "x@localhost", "--password", "secret"],
    ] {
        let outcome = Run::new(binary::gatepost()).clean_environment().args(args).outcome();
        assert_eq!(outcome.code(), 64, "{args:?}: {outcome}");
    }
    let help = Run::new(binary::gatepost()).arg("--help").succeed().text();
    for told in ["run", "user", "queue", "mailbox", "scan", "78"] {
        assert!(help.contains(told), "--help does not speak of {told}: {help}");
    }
}

#[test]
fn a_second_server_on_the_same_data_or_port_ends_with_69() {
    let server = Server::start();
    let second = gatepost(server.config(), ["run"]).outcome();
    assert_eq!(second.code(), 69, "{second}");
    assert!(second.stderr.contains("data") || second.text().contains("data"), "{second}");

    let other = tempfile::tempdir().expect("a folder");
    let text = fs::read_to_string(server.config()).expect("the configuration");
    let text = text
        .replace(&format!("{}/data", server.folder().display()), &format!("{}/data", other.path().display()));
    let config = other.path().join("gatepost.toml");
    fs::write(&config, text).expect("a configuration");
    let taken = gatepost(&config, ["run"]).outcome();
    assert_eq!(taken.code(), 69, "{taken}");
    let said = format!("{}{}", taken.text(), taken.stderr);
    assert!(said.contains("127.0.0.1:"), "the address in question is named: {said}");
    assert_eq!(server.http("/readyz").0, 200, "the first one is not disturbed");
}

#[test]
fn open_keys_and_an_open_data_folder_are_refused_at_start() {
    let mut server = Server::start();
    server.stop();
    let key = server.folder().join("key.pem");
    for (path, bad, good) in [(key.as_path(), 0o644, 0o600), (server.data().as_path(), 0o755, 0o700)] {
        set_mode(path, bad);
        let outcome = gatepost(server.config(), ["run"]).outcome();
        assert!(matches!(outcome.code(), 1 | 69 | 78), "{outcome}");
        let said = format!("{}{}", outcome.text(), outcome.stderr);
        assert!(said.contains(path.to_str().expect("UTF-8")), "{} is named: {said}", path.display());
        set_mode(path, good);
    }
    server.restart();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode can be set");
}

#[test]
fn metrics_are_well_formed_and_count() {
    let server = Server::start();
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("counted")).must("250 2.0.0");
    let _ = server.inbox(1);
    let mut refused = server.smtp();
    refused.say("EHLO client.example").must("250");
    refused.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
    refused.quit();

    let (status, text) = server.http("/metrics");
    assert_eq!(status, 200);
    let mut typed = Vec::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').expect("name and type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            typed.push(name.to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a sample and its value");
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            assert!(typed.iter().any(|declared| name.starts_with(declared.as_str())), "no type for {line}");
        }
    }
    for room in ["gatepost_edge_", "gatepost_queue_", "gatepost_virus_scan_", "gatepost_delivery_"] {
        assert!(typed.iter().any(|name| name.starts_with(room)), "nothing of {room}* in {typed:?}");
    }
    assert_eq!(server.metric("gatepost_edge_mails_accepted_total"), 1.0);
    assert_eq!(server.http("/healthz").0, 200);
    assert_eq!(server.http("/readyz").0, 200);
    assert_eq!(server.http("/").0, 200);
    assert_eq!(server.http("/no-such-page").0, 404);
}

#[test]
fn the_log_names_session_and_queue_id_as_text_and_as_json() {
    for format in ["text", "json"] {
        let mut server = Setup::new().start();
        server.stop();
        let text = fs::read_to_string(server.config()).expect("the configuration");
        let text = text.replace("level = \"debug\"", &format!("level = \"info\"\nformat = \"{format}\""));
        fs::write(server.config(), text).expect("the configuration");
        fs::remove_file(server.folder().join("log")).expect("the old log");
        server.restart();
        let mut smtp = server.smtp_as_me();
        let reply = smtp.mail(
            "me@localhost",
            &["me@localhost"],
            &mail::message("secret-subject", b"secret body text\r\n"),
        );
        smtp.quit();
        let _ = server.inbox(1);
        let id = reply.queue_id();
        server.wait_for_log(&id);
        let log = server.log();
        let line = log.lines().find(|line| line.contains(&id)).expect("a line with the queue id");
        assert!(line.contains("session"), "{line}");
        assert!(
            !log.contains("secret-subject") && !log.contains("secret body"),
            "mail content is never logged"
        );
        if format == "json" {
            for line in log.lines() {
                let event: serde_json::Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if event["message"] == "mail accepted" {
                    assert_eq!(
                        (&event["user"], &event["sender"]),
                        (&"me@localhost".into(), &"<me@localhost>".into())
                    );
                }
                if event["message"] == "session closed" {
                    assert!(event["ms"].is_u64(), "{line}");
                }
            }
        }
    }
}

#[test]
fn a_full_run_at_the_most_talkative_level_shows_no_secret() {
    let server = Setup::new().user("you@localhost").start();
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost", "you@localhost"], &mail::small("x")).must("250 2.0.0");
    smtp.quit();
    let mut smtp = server.smtp_in_tls();
    smtp.auth_scram(&server.users[1], &gatepost_tests::scram::Binding::None).must("235 2.7.0");
    smtp.quit();
    // A password where a name belongs, as people do.
    let mut smtp = server.smtp_in_tls();
    let slip = gatepost_tests::smtp::plain_response("", &server.me().password, &server.me().password);
    smtp.say(&format!("AUTH PLAIN {slip}")).must("535 5.7.8");
    server.wait_for_log("mechanism=\"PLAIN\" outcome=\"failed\"");
    let mut pop3 = Pop3::connect_tls(server.ports.pop3s, server.trust());
    pop3.must(&format!("USER {}", server.me().password));
    assert!(pop3.say(&format!("PASS {}", server.me().password)).starts_with("-ERR [AUTH]"));
    server.wait_for_log("mechanism=\"pop3-password\" outcome=\"failed\"");
    let _ = server.inbox_of(&server.users[1], 1);
    server.assert_no_secret_is_visible();
}

#[test]
fn the_process_leaves_no_core_dump() {
    let server = Server::start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    let values: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{core}");
}

#[test]
fn the_queue_is_listed_and_shown_beside_a_running_server() {
    let server = Server::start();
    let listed = server.cli(["queue", "list", "--json"]).succeed().text();
    assert_eq!(listed.trim(), "[]");
    let unknown = server.cli(["queue", "show", "0000000000000"]).outcome();
    assert_eq!(unknown.code(), 1, "{unknown}");
}

#[test]
fn the_example_configuration_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let [a, b, c, d, admin] = ports::free();
    let mut text =
        fs::read_to_string(binary::repository().join("deploy/embedded.toml")).expect("the example");
    for (default, port) in [(2525, a), (2465, b), (2110, c), (2995, d), (2580, admin)] {
        assert!(text.contains(&format!(":{default}\"")), "port {default} is in the example");
        text = text.replace(&format!(":{default}\""), &format!(":{port}\""));
    }
    let config = folder.path().join("embedded.toml");
    fs::write(&config, text).expect("a configuration");
    let data = folder.path().join("data");
    let args = ["run", "--config", config.to_str().expect("UTF-8"), "--data", data.to_str().expect("UTF-8")];
    let mut process = Process::spawn(&args, &folder.path().join("log"), &[("HOME", folder.path())]);
    process.wait_until_ready(admin);
    assert_eq!(http::get(admin, "/healthz").map(|(status, _)| status), Some(200));
    let mut smtp = Smtp::connect(a);
    smtp.say("EHLO client.example").must("250");
    smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
    smtp.quit();
    process.signal(Signal::TERM);
    assert_eq!(process.wait(Duration::from_secs(40)).code(), Some(0));
}

#[test]
fn the_systemd_unit_is_sound() {
    if !gatepost_tests::command::is_installed("systemd-analyze") {
        eprintln!("SKIPPED: systemd-analyze is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let unit = fs::read_to_string(binary::repository().join("deploy/gatepost.service")).expect("the unit");
    let exec = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("ExecStart");
    let program = exec.split_whitespace().next().expect("a program");
    // The program that is started must be there for the check.
    let unit = unit.replace(program, binary::gatepost().to_str().expect("UTF-8"));
    let file = folder.path().join("gatepost.service");
    fs::write(&file, &unit).expect("a unit");
    let outcome: Outcome = Run::new("systemd-analyze").arg("verify").arg(&file).outcome();
    let complaints: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.contains("gatepost.service")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    for hardening in [
        "NoNewPrivileges=",
        "ProtectSystem=strict",
        "MemoryDenyWriteExecute=",
        "SystemCallFilter=",
        "LimitCORE=0",
    ] {
        assert!(unit.contains(hardening), "{hardening} is missing");
    }
}

#[test]
fn sessions_are_drawn_from_the_memory_budget_and_come_back() {
    let server = Setup::new().open_listener().sections("[limits]\nmemory = \"256 MiB\"").start();
    let used = || server.metric("gatepost_admission_memory_octets");
    let limit = || server.metric("gatepost_admission_memory_limit_octets");
    wait_until("the limit is known", || (limit() - 268_435_456.0).abs() < 1.0);
    let before = used();
    let open: Vec<Smtp> = (0..40).map(|_| server.smtp_open()).collect();
    let in_tls: Vec<Smtp> = (0..10).map(|_| server.smtp_in_tls()).collect();
    let held = f64::from(50 * 16 * 1024 + 10 * 32 * 1024);
    wait_until("the sessions are counted", || used() >= before + held);
    let most = used();
    drop((open, in_tls));
    // Read buffers are kept and count as well. Where several sessions end at a time, there are some more than before.
    wait_until("they are given back", || used() <= most - held / 2.0);
}

/// The soft limit of a shell is far below what listeners may hold; the hard one is what counts.
#[test]
fn the_limit_on_open_files_is_raised_and_bounds_listeners_where_it_is_too_low() {
    let mut server = Server::start();
    let mut restart_within = |soft: u32, most: u32| {
        server.stop();
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={soft}:{most}")).arg(binary::gatepost());
        command.arg("run").arg("--config").arg(server.config());
        server.restart_by(command, &[]);
        server.smtp_as_me().quit();
        let is_raised = server.http("/metrics").1.contains(&format!("process_max_fds {most}\n"));
        (is_raised, server.log().contains("the limit on open files is too low"))
    };
    assert_eq!(restart_within(256, 8192), (true, false));
    assert_eq!(restart_within(256, 1024), (true, true));
}
