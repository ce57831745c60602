//! The operator's hand on the queue: every command on a running server, on a stopped one, and through kill -9.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatepost_tests::command::Run;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};
use rustix::net::{Shutdown, shutdown};
use serde_json::Value;

/// Sends a mail to me and says its queue id.
fn send(server: &Server, subject: &str) -> String {
    let mut smtp = server.smtp_as_me();
    let id = smtp.mail("me@localhost", &["me@localhost"], &mail::small(subject)).must("250 2.0.0").queue_id();
    smtp.quit();
    id
}

fn json<const N: usize>(server: &Server, args: [&str; N]) -> Value {
    let text = server.cli(args).arg("--json").succeed().text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().expect("an array").iter().map(|item| item["id"].as_str().expect("an id")).collect()
}

/// What every command says of two held mails, wherever the queue is.
fn look_around(server: &Server, first: &str, second: &str) {
    assert_eq!(ids(&json(server, ["queue", "list"])), [first, second]);
    assert_eq!(ids(&json(server, ["queue", "list", "--id", second])), [second]);
    assert_eq!(
        ids(&json(server, ["queue", "list", "--from", "ME@localhost", "--to", "me@localhost"])).len(),
        2
    );
    assert_eq!(ids(&json(server, ["queue", "list", "--domain", "example.org"])).len(), 0);
    assert_eq!(ids(&json(server, ["queue", "list", "--held", "--newer-than", "1h"])).len(), 2);
    assert_eq!(ids(&json(server, ["queue", "list", "--older-than", "1h"])).len(), 0);
    let text = server.cli(["queue", "list"]).succeed().text();
    assert_eq!(ids(&json(server, ["queue", "list", "--state", "held"])).len(), 2);
    assert_eq!(ids(&json(server, ["queue", "list", "--state", "deferred"])).len(), 0);
    assert!(text.contains(first) && text.contains("held") && text.contains("<me@localhost>"), "{text}");

    assert_eq!(json(server, ["queue", "show", first])["listener"], "submission");
    assert!(server.cli(["queue", "show", first]).succeed().text().contains("next held"));
    let content = server.cli(["queue", "cat", second]).succeed().stdout;
    assert!(content.starts_with(b"Received: "), "the trace comes first");
    assert_eq!(mail::field(&content, "Subject").as_deref(), Some("second"));
    assert_eq!(json(server, ["queue", "cat", second])["id"], second);

    let stats = json(server, ["queue", "stats"]);
    assert_eq!((&stats["messages"], &stats["held"]), (&2.into(), &2.into()));
    assert_eq!((&stats["in_delivery"], &stats["deferred"]), (&0.into(), &0.into()));
    assert_eq!(stats["domains"][0]["domain"], "localhost");
    assert_eq!(stats["domains"][0]["ages"][0], 2);
    assert_eq!(stats["holds"][0]["domain"], "localhost");
    assert_eq!(server.cli(["queue", "stats", "--count"]).succeed().text(), "2\n");
    let text = server.cli(["queue", "stats"]).succeed().text();
    assert!(text.contains("held, later mail too: for localhost") && text.contains("<5m"), "{text}");

    assert_eq!(json(server, ["queue", "verify"])["problems"], serde_json::json!([]));
    let to =
        server.folder().join(format!("salvaged-{}", server.folder().read_dir().expect("a folder").count()));
    let to = to.to_str().expect("UTF-8");
    assert_eq!(json(server, ["queue", "salvage", "--output", to])["whole"], 2);
    let saved = fs::read(format!("{to}/{second}.eml")).expect("the mail");
    assert_eq!(saved, content);
}

#[test]
fn every_command_works_on_a_running_server_and_on_a_stopped_one() {
    let mut server = Server::start();
    let held = json(&server, ["queue", "hold", "--domain", "localhost"]);
    assert_eq!((&held["messages"], &held["in_delivery"]), (&0.into(), &0.into()));
    let (first, second) = (send(&server, "first"), send(&server, "second"));
    look_around(&server, &first, &second);
    let mode = fs::metadata(server.data().join("control.sock")).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    server.stop();
    assert!(!server.data().join("control.sock").exists(), "a clean end leaves no socket");
    look_around(&server, &first, &second);
    let outcome = server.cli(["queue", "retry", "--all"]).outcome();
    assert_eq!(outcome.status.code(), Some(69), "{outcome}");
    assert_eq!(json(&server, ["queue", "delete", "--silent", &first])["messages"], 1);
    let told = server.cli(["explain", &first]).succeed().text();
    assert!(told.contains("was taken out of the queue, and nobody told, for <me@localhost>"), "{told}");
    assert_eq!(json(&server, ["queue", "release", "--domain", "localhost"])["messages"], 1);
    assert_eq!(json(&server, ["queue", "hold", &second])["messages"], 1);
    assert_eq!(json(&server, ["queue", "release", "--held"])["messages"], 1);
    assert_eq!(json(&server, ["queue", "stats"])["holds"], serde_json::json!([]));

    server.restart();
    let inbox = server.inbox(1);
    assert_eq!(mail::field(&inbox[0], "Subject").as_deref(), Some("second"));
    server.wait_for_empty_queue();
}

#[test]
fn who_holds_a_domain_hears_who_else_waits_with_it() {
    let server = Setup::new().sections("[delivery.remote]\nenabled = true\npaused = true").start();
    let mut smtp = server.smtp_as_me();
    let to = ["ann@one.example", "bob@two.example", "cid@two.example"];
    let id = smtp.mail("me@localhost", &to, &mail::small("three")).must("250 2.0.0").queue_id();
    smtp.quit();
    let text = server.cli(["queue", "hold", "--domain", "one.example"]).succeed().text();
    assert!(text.starts_with("1 message held\n2 recipients elsewhere too: "), "{text}");
    server.cli(["queue", "release", &id]).succeed();
    assert_eq!(json(&server, ["queue", "hold", "--to", "cid@two.example"])["other_recipients"], 2);
}

#[test]
fn a_domain_that_is_held_keeps_later_mail_too_through_kill_9_and_is_released_as_a_whole() {
    let mut server = Server::start();
    server.cli(["queue", "hold", "--domain", "LOCALHOST"]).succeed();
    let before = send(&server, "before");
    server.kill();
    assert!(server.data().join("control.sock").exists(), "what a crash leaves is no server");
    assert_eq!(ids(&json(&server, ["queue", "list", "--held"])), [before.as_str()]);
    server.restart();
    let after = send(&server, "after");
    assert_eq!(ids(&json(&server, ["queue", "list", "--held"])), [before.as_str(), after.as_str()]);
    assert_eq!(server.inbox(0).len(), 0);
    let text = server.cli(["queue", "release", "--domain", "localhost"]).succeed().text();
    assert!(text.starts_with("2 messages released"), "{text}");
    server.kill();
    server.restart();
    assert_eq!(server.inbox(2).len(), 2, "neither is lost, and neither comes twice");
    let _ = send(&server, "later");
    assert_eq!(server.inbox(3).len(), 3, "nothing is held any more");
}

#[test]
fn a_deleted_mail_is_gone_for_good_and_the_others_stay() {
    let mut server = Server::start();
    server.cli(["queue", "hold", "--all"]).succeed();
    let (first, second) = (send(&server, "first"), send(&server, "second"));
    let outcome = server.cli(["queue", "delete", &first]).outcome();
    assert_eq!(outcome.status.code(), Some(64), "one of --bounce and --silent must be said: {outcome}");
    for wrong in [["queue", "delete", "--silent"], ["queue", "hold", "--json"]] {
        let outcome = server.cli(wrong).outcome();
        assert_eq!(outcome.status.code(), Some(64), "the whole queue must be said: {outcome}");
    }
    server.cli(["queue", "delete", "--silent", &first]).succeed();
    let outcome = server.cli(["queue", "delete", "--silent", &first]).outcome();
    assert_eq!(outcome.status.code(), Some(1), "{outcome}");
    let told = server.cli(["explain", &first]).succeed().text();
    assert!(
        told.contains("was taken out of the queue, and nobody told, for <me@localhost> by uid "),
        "{told}"
    );
    server.wait_for_log("filter=");
    server.kill();
    server.restart();
    assert_eq!(ids(&json(&server, ["queue", "list"])), [second.as_str()]);
    server.cli(["queue", "release", "--all"]).succeed();
    let inbox = server.inbox(1);
    assert_eq!(mail::field(&inbox[0], "Subject").as_deref(), Some("second"));
}

#[test]
fn a_mail_that_is_deleted_with_a_bounce_is_given_up_by_delivery() {
    let mut server = Server::start();
    server.cli(["queue", "hold", "--domain", "localhost"]).succeed();
    let (first, second) = (send(&server, "first"), send(&server, "second"));
    let given_up = |server: &Server, id: &str| {
        wait_until("the mail is given up", || {
            server.cli(["explain", id]).outcome().text().contains("5.7.0 taken out of the queue")
        });
        wait_until("it is gone", || ids(&json(server, ["queue", "list", "--id", id])).is_empty());
    };
    assert_eq!(json(&server, ["queue", "delete", "--bounce", &first])["messages"], 1);
    given_up(&server, &first);
    server.stop();
    assert_eq!(json(&server, ["queue", "delete", "--bounce", "--id", &second])["messages"], 1);
    assert!(server.cli(["queue", "list"]).succeed().text().contains("bounces"));
    server.restart();
    given_up(&server, &second);
}

/// A database that somebody else has locked puts delivery off.
#[test]
fn retry_tries_at_once_what_was_put_off() {
    let server = Server::start();
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  c.execute('BEGIN IMMEDIATE')\n\
                  print('locked', flush=True)\n\
                  sys.stdin.read()";
    let mut locker = Command::new("python3")
        .args(["-c", script])
        .arg(server.data().join("store/default.sqlite"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut said = String::new();
    BufReader::new(locker.stdout.take().expect("piped")).read_line(&mut said).expect("it speaks");
    let id = send(&server, "put off");
    let tried = || json(&server, ["queue", "list"])[0].clone();
    wait_until("the delivery is put off", || {
        tried()["attempts"].as_u64().is_some_and(|attempts| attempts > 0)
    });
    drop(locker.stdin.take());
    locker.wait().expect("it ends");
    let item = tried();
    assert_eq!(item["id"], id.as_str());
    assert!(item["last_reason"].as_str().expect("a reason").contains("mailbox not ready"), "{item}");
    let next = Duration::from_millis(item["not_before_ms"].as_u64().expect("a time"));
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    assert!(next > now() + Duration::from_secs(5), "it would have been tried soon anyway");
    server.cli(["queue", "retry", "--id", &id]).succeed();
    let _ = server.inbox(1);
    assert!(now() < next, "it was not tried before its time");
}

#[test]
fn a_damaged_queue_is_told_by_verify_and_saved_as_far_as_it_goes() {
    let mut server = Server::start();
    server.cli(["queue", "hold", "--all"]).succeed();
    let (first, second) = (send(&server, "first"), send(&server, "second"));
    server.stop();
    let segments = || fs::read_dir(server.data().join("queue")).expect("the queue").flatten();
    let marker = b"Subject: first";
    let damaged =
        segments().filter(|entry| entry.path().extension().is_some_and(|it| it == "seg")).any(|entry| {
            let mut octets = fs::read(entry.path()).expect("a segment");
            let found = octets.windows(marker.len()).position(|window| window == marker);
            found.is_some_and(|at| {
                octets[at] ^= 0x20;
                fs::write(entry.path(), octets).is_ok()
            })
        });
    assert!(damaged, "the mail is in a segment");
    let outcome = server.cli(["queue", "verify", "--json"]).outcome();
    assert_eq!(outcome.status.code(), Some(1), "{outcome}");
    let verified: Value = serde_json::from_str(&outcome.text()).expect("JSON");
    assert!(!verified["problems"].as_array().expect("an array").is_empty(), "{verified}");
    let to = server.folder().join("saved");
    let salvaged = json(&server, ["queue", "salvage", "--output", to.to_str().expect("UTF-8")]);
    assert_eq!(salvaged["whole"], 1, "{salvaged}");
    assert!(to.join(format!("{second}.eml")).exists() && !to.join(format!("{first}.eml")).exists());
    server.restart();
    server.cli(["queue", "release", "--all"]).succeed();
    let inbox = server.inbox(2);
    let (whole, told): (Vec<_>, Vec<_>) =
        inbox.iter().partition(|mail| mail::field(mail, "Subject").as_deref() == Some("second"));
    assert_eq!((whole.len(), told.len()), (1, 1), "the other one, and a notification of the damaged one");
    assert!(String::from_utf8_lossy(told[0]).contains("5.3.0"));
}

/// In an incident the file is being edited, and the queue is what has to be looked after.
#[test]
fn a_mistake_in_the_configuration_does_not_stand_between_the_operator_and_the_queue() {
    let server = Server::start();
    server.cli(["queue", "hold", "--all"]).succeed();
    let id = send(&server, "held");
    let good = fs::read_to_string(server.config()).expect("the configuration");
    fs::write(server.config(), format!("{good}\n[limits]\nmesage = \"1 MiB\"\n")).expect("it can be written");
    assert_eq!(server.cli(["config", "check"]).outcome().status.code(), Some(78));
    let outcome = server.cli(["queue", "list"]).outcome();
    assert_eq!(outcome.status.code(), Some(0), "{outcome}");
    assert!(outcome.text().contains(&id) && outcome.stderr.contains("mesage"), "{outcome}");
    // Not even TOML: then somebody has to say where the folder is.
    fs::write(server.config(), "[server\n").expect("it can be written");
    assert_eq!(server.cli(["queue", "list"]).outcome().status.code(), Some(78));
    let data = server.data().to_str().expect("UTF-8").to_owned();
    let outcome = server.cli(["queue", "list", "--data", &data]).outcome();
    assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(0), ""), "{outcome}");
    assert!(outcome.text().contains(&id), "{outcome}");
    assert!(server.cli(["explain", &id, "--data", &data]).succeed().text().contains("accepted"));
    assert_eq!(server.cli(["run", "--data", &data]).outcome().status.code(), Some(78));
}

#[test]
fn garbage_on_the_socket_is_answered_and_harms_nobody() {
    let server = Server::start();
    server.cli(["queue", "hold", "--all"]).succeed();
    let _ = send(&server, "kept");
    let say = |octets: &[u8]| {
        let mut stream = UnixStream::connect(server.data().join("control.sock")).expect("it listens");
        stream.write_all(octets).ok();
        shutdown(&stream, Shutdown::Write).ok();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).ok();
        heard
    };
    assert!(say(b"GET / HTTP/1.1\r\n\r\n").contains("bad-request"));
    assert!(say(&[0xff; 1000]).contains("bad-request"));
    assert!(say(b"{\"version\":99,\"request\":\"stats\"}\n").contains("\"version\""));
    assert!(say(&vec![b'['; 1 << 20]).contains("bad-request"));
    assert_eq!(say(b""), "");
    // More than are served at a time, all of them silent.
    let idle: Vec<_> = (0..40).map(|_| UnixStream::connect(server.data().join("control.sock"))).collect();
    let outcome = server.cli(["queue", "stats", "--count"]).outcome();
    assert!(outcome.stderr.contains("too many connections"), "{outcome}");
    assert_eq!(outcome.status.code(), Some(69), "{outcome}");
    drop(idle);
    wait_until("there is room again", || server.cli(["queue", "stats", "--count"]).outcome().text() == "1\n");
    assert_eq!(server.http("/healthz").0, 200);
}

#[test]
fn another_user_is_refused_even_where_the_files_would_let_him() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    let server = Server::start();
    for (path, mode) in [("", 0o755), ("control.sock", 0o666)] {
        let path = server.data().join(path);
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode can be set");
    }
    fs::set_permissions(server.folder(), Permissions::from_mode(0o755)).expect("the mode can be set");
    // As itself, and then as the other: the interpreter may lie where only root can read.
    let script = "import os, socket, sys\n\
                  os.setgroups([])\n\
                  os.setuid(int(sys.argv[2]))\n\
                  s = socket.socket(socket.AF_UNIX)\n\
                  s.connect(sys.argv[1])\n\
                  s.sendall(b'{\"version\":3,\"request\":{\"change\":{\"delete\":{\"filter\":{},\"bounce\":false}}}}\\n')\n\
                  print(s.recv(1000).decode())";
    let ask = |uid: &str| {
        let run = Run::new("python3").args(["-c", script]);
        run.arg(server.data().join("control.sock")).arg(uid).succeed().text()
    };
    assert!(ask("65534").contains("forbidden"));
    assert!(ask("0").contains("affected"));
    server.wait_for_log("the control socket was refused to another user");
}

/// Root works on the folder of a service: what it writes there must stay the service's.
#[test]
fn what_root_does_to_the_queue_of_a_stopped_service_stays_readable_for_the_service() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    let mut server = Setup::new().server_keys("user = \"nobody\"").owned_by(65534, 65534).start();
    server.cli(["queue", "hold", "--all"]).succeed();
    let id = send(&server, "held");
    server.stop();
    server.cli(["queue", "release", "--all"]).succeed();
    server.cli(["queue", "hold", &id]).succeed();
    server.restart();
    assert_eq!(ids(&json(&server, ["queue", "list", "--held"])), [id.as_str()]);
    server.cli(["queue", "release", &id]).succeed();
    assert_eq!(server.inbox(1).len(), 1);
}
