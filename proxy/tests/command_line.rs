//! The real binary as its operators call it: output, exit codes, and what is left on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bytes::Bytes;
use gatepost_core::intake::Body;
use gatepost_core::queue::QueueId;
use gatepost_core::store::{Delivery, MailStore as _, MailboxCopy, Settings, SqliteStore};
use tempfile::TempDir;

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.env_clear().env("HOME", self.path()).current_dir(self.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that refuses its arguments does not read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed, and returns its standard output.
    fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// In two pieces, so that no scanner takes this source for a virus.
fn eicar() -> String {
    ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat()
}

/// Puts a mail into a mailbox as delivery does, under a stamp of rules that are no longer in use.
fn put_mail(home: &Home, mailbox: &str, body: &[u8]) {
    let path = home.path().join(".local/share/gatepost/store/default.sqlite");
    let store = SqliteStore::open(&path, &Settings::default(), None).unwrap();
    let delivery = Delivery {
        queue_id: QueueId(body.len() as u64),
        body: Body::Memory(Bytes::copy_from_slice(body)),
        stamp: Some(format!("yara/{}/1", "0".repeat(64)).parse().unwrap()),
        received_at_ms: 0,
        copies: vec![MailboxCopy { recipient: 0, mailbox: mailbox.to_owned(), head: Bytes::new() }],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let _ = store.deliver(delivery).await.unwrap();
        store.close().await;
    });
}

#[test]
fn help_and_version_succeed_and_wrong_arguments_are_code_64() {
    let home = Home::new();
    assert!(home.must(&["--help"]).contains("Exit codes:"));
    assert!(home.must(&["--version"]).starts_with("gatepost "));
    for wrong in [&["--no-such-option"][..], &["no-such-command"], &[], &["user"], &["scan"]] {
        assert_eq!(code(&home.run(wrong)), Some(64), "{wrong:?}");
    }
    assert_eq!(code(&home.run(&["queue", "show", "not an id"])), Some(64));
}

#[test]
fn the_written_example_is_accepted_and_never_overwritten() {
    let home = Home::new();
    home.must(&["config", "init", "--output", "g.toml"]);
    let written = std::fs::read_to_string(home.path().join("g.toml")).unwrap();
    assert_eq!(written, home.must(&["config", "init"]));
    let summary = home.must(&["config", "check", "g.toml"]);
    assert!(summary.contains("127.0.0.1:2525") && summary.contains("the configuration is fine"), "{summary}");
    assert_eq!(code(&home.run(&["config", "init", "--output", "g.toml"])), Some(73));
    assert!(!home.path().join(".local").exists(), "nothing is made by a check");
}

#[test]
fn a_bad_configuration_is_code_78_with_file_line_and_hint() {
    let home = Home::new();
    std::fs::write(home.path().join("bad.toml"), "[server]\nhostnam = \"a\"\n").unwrap();
    let by_config = ["--config", "bad.toml", "run"];
    for arguments in
        [&["config", "check", "bad.toml"][..], &by_config, &["user", "list", "--config", "bad.toml"]]
    {
        let output = home.run(arguments);
        assert_eq!(code(&output), Some(78), "{arguments:?}");
        let errors = errors(&output);
        assert!(errors.contains("bad.toml:2:1: unknown field `hostnam`"), "{errors}");
        assert!(errors.contains("did you mean `hostname`?"), "{errors}");
    }
    assert_eq!(code(&home.run(&["config", "check", "missing.toml"])), Some(78));
}

#[test]
fn a_check_sees_keys_and_folders_that_others_can_read() {
    let home = Home::new();
    let set_mode = |name: &str, mode| {
        std::fs::set_permissions(home.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(home.path().join("data")).unwrap();
    set_mode("data", 0o755);
    let output = home.run(&["config", "check", "--data", "data"]);
    assert_eq!(code(&output), Some(78));
    assert!(errors(&output).contains("chmod 0700 data"), "{}", errors(&output));
    assert_eq!(code(&home.run(&["--data", "data", "run"])), Some(78));

    set_mode("data", 0o700);
    home.must(&["config", "init", "--output", "g.toml"]);
    let mut text = std::fs::read_to_string(home.path().join("g.toml")).unwrap();
    text.push_str("[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n");
    std::fs::write(home.path().join("g.toml"), text).unwrap();
    let (certificate, key) = gatepost::tls::generate_self_signed(&["localhost".to_owned()]).unwrap();
    std::fs::write(home.path().join("cert.pem"), certificate).unwrap();
    std::fs::write(home.path().join("key.pem"), key).unwrap();
    set_mode("key.pem", 0o644);
    let output = home.run(&["config", "check", "g.toml", "--data", "data"]);
    assert_eq!(code(&output), Some(78), "{}", errors(&output));
    set_mode("key.pem", 0o600);
    home.must(&["config", "check", "g.toml", "--data", "data"]);
}

#[test]
fn users_aliases_and_domains_are_edited() {
    let home = Home::new();
    home.must(&["domain", "add", "example.org"]);
    assert_eq!(home.must(&["domain", "list"]), "localhost\nexample.org\n", "a new directory knows the first");
    let add =
        home.run_with_input(&["user", "add", "Ann@example.org", "--password-stdin"], "a long password\n");
    assert!(add.status.success(), "{}", errors(&add));
    home.must(&["alias", "add", "sales@example.org", "ann@example.org"]);
    assert!(home.must(&["user", "list"]).contains("ann@example.org"));
    let users: serde_json::Value = serde_json::from_str(&home.must(&["user", "list", "--json"])).unwrap();
    assert_eq!((&users[0]["name"], &users[0]["class"]), (&"ann@example.org".into(), &"user".into()));
    assert!(home.must(&["alias", "list"]).contains("sales@example.org"));
    let passwd =
        home.run_with_input(&["user", "passwd", "ann@example.org", "--password-stdin"], "another one");
    assert!(passwd.status.success(), "{}", errors(&passwd));

    for refused in [
        &["domain", "remove", "example.org"][..],
        &["domain", "add", "example.org"],
        &["user", "remove", "bob@example.org"],
        &["alias", "add", "x@foreign.example", "ann@example.org"],
    ] {
        assert_eq!(code(&home.run(refused)), Some(1), "{refused:?}");
    }
    home.must(&["alias", "remove", "sales@example.org", "ann@example.org"]);
    home.must(&["user", "remove", "ann@example.org"]);
    home.must(&["domain", "remove", "example.org"]);
}

#[test]
fn a_password_comes_from_a_terminal_or_standard_input_and_must_not_be_empty() {
    let home = Home::new();
    let no_terminal = home.run(&["user", "add", "me@localhost"]);
    assert_eq!(code(&no_terminal), Some(64));
    assert!(errors(&no_terminal).contains("--password-stdin"));
    let empty = home.run_with_input(&["user", "add", "me@localhost", "--password-stdin"], "\n");
    assert_eq!(code(&empty), Some(1));
    assert_eq!(home.must(&["user", "list", "--json"]).trim(), "[]");
}

#[test]
fn an_account_has_a_class_that_can_be_set() {
    let home = Home::new();
    let add = ["user", "add", "relay@localhost", "--class", "server", "--password-stdin"];
    let added = home.run_with_input(&add, "a long password\n");
    assert!(added.status.success(), "{}", errors(&added));
    let alias = home.run(&["alias", "add", "sales@localhost", "relay@localhost"]);
    assert!(errors(&alias).contains("class server, which has no mailbox"), "{alias:?}");
    assert_eq!(
        home.must(&["user", "list"]),
        "USER             CLASS   SCRAM\nrelay@localhost  server  yes\n"
    );
    assert_eq!(code(&home.run(&["user", "set", "relay@localhost", "--class", "anonymous"])), Some(64));
    home.must(&["user", "set", "relay@localhost", "--class", "user"]);
    home.must(&["alias", "add", "sales@localhost", "relay@localhost"]);
}

#[test]
fn a_new_user_does_not_get_the_mail_of_an_earlier_one_unasked() {
    let home = Home::new();
    let add = |more: &[&str]| {
        let arguments = [&["user", "add", "ann@localhost", "--password-stdin"], more].concat();
        home.run_with_input(&arguments, "a long password\n")
    };
    assert!(add(&[]).status.success());
    put_mail(&home, "ann@localhost", b"Subject: x\r\n\r\nhello\r\n");
    assert!(home.must(&["mailbox", "list"]).contains("ann@localhost  1"));
    let shown = home.must(&["mailbox", "show", "ann@localhost", "1"]);
    assert_eq!(shown, "Subject: x\r\n\r\nhello\r\n");
    assert_eq!(code(&home.run(&["mailbox", "remove", "ann@localhost"])), Some(1), "its user is there");

    home.must(&["user", "remove", "ann@localhost"]);
    let refused = add(&[]);
    assert_eq!(code(&refused), Some(1));
    assert!(errors(&refused).contains("gatepost mailbox remove ann@localhost"), "{}", errors(&refused));
    assert!(add(&["--adopt-mailbox"]).status.success());
    home.must(&["user", "remove", "ann@localhost"]);
    home.must(&["mailbox", "remove", "ann@localhost"]);
    assert_eq!(code(&home.run(&["mailbox", "remove", "ann@localhost"])), Some(1), "it is gone");
    assert!(add(&[]).status.success());
}

#[test]
fn an_infected_message_is_neither_shown_nor_exported() {
    let home = Home::new();
    home.must(&["domain", "add", "example.org"]);
    put_mail(&home, "ann@localhost", format!("Subject: x\r\n\r\n{}\r\n", eicar()).as_bytes());
    put_mail(&home, "ann@localhost", b"Subject: y\r\n\r\nFrom here\r\n");
    let shown = home.run(&["mailbox", "show", "ann@localhost", "1"]);
    assert_eq!((code(&shown), shown.stdout.len()), (Some(1), 0));
    assert!(errors(&shown).contains("infected"), "{}", errors(&shown));
    let exported = home.run(&["mailbox", "export", "ann@localhost", "--output", "ann.mbox"]);
    assert_eq!(code(&exported), Some(1), "one was left out");
    let mbox = std::fs::read_to_string(home.path().join("ann.mbox")).unwrap();
    assert!(mbox.contains("Subject: y\n\n>From here\n") && !mbox.contains("Subject: x"), "{mbox}");
    assert_eq!(code(&home.run(&["mailbox", "export", "ann@localhost", "--output", "ann.mbox"])), Some(73));
    home.run(&["mailbox", "export", "ann@localhost", "--format", "eml", "--output", "mails"]);
    assert_eq!(std::fs::read(home.path().join("mails/2.eml")).unwrap(), b"Subject: y\r\n\r\nFrom here\r\n");
}

#[test]
fn a_file_is_scanned_without_an_installation() {
    let home = Home::new();
    std::fs::write(home.path().join("bad"), eicar()).unwrap();
    std::fs::write(home.path().join("good"), "Subject: x\r\n\r\nhello\r\n").unwrap();
    home.must(&["scan", "good"]);
    let output = home.run(&["scan", "good", "bad"]);
    assert_eq!(code(&output), Some(1));
    assert!(errors(&output).contains("1 infected, of 2 files"), "{}", errors(&output));
    assert_eq!(code(&home.run(&["scan", "missing"])), Some(1));
}

#[test]
fn files_that_cannot_be_read_do_not_keep_others_from_being_scanned() {
    let home = Home::new();
    std::fs::write(home.path().join("eicar.com"), eicar()).unwrap();
    let output = home.run(&["scan", "nofile", "eicar.com"]);
    assert_eq!(code(&output), Some(1));
    let told = errors(&output);
    assert!(told.contains("nofile: ") && told.contains("1 infected, 1 not readable, of 2 files"), "{told}");
    let told = errors(&home.run(&["scan", "eicar.com"]));
    assert!(told.contains("1 infected, of 1 file\n"), "{told}");
}

#[test]
fn without_a_server_all_commands_that_need_one_end_alike() {
    let home = Home::new();
    home.must(&["domain", "add", "example.org", "--data", "data"]);
    for command in [["scan", "status"].as_slice(), &["scan", "reload"], &["scan", "background", "status"]] {
        let output = home.run(&[command, &["--data", "data"]].concat());
        assert_eq!(code(&output), Some(69), "{command:?}: {}", errors(&output));
        assert!(
            errors(&output).contains("no server runs on this data folder; start it first"),
            "{command:?}"
        );
    }
}

#[test]
fn commands_that_read_say_so_when_there_is_no_data_folder() {
    let home = Home::new();
    for arguments in [&["queue", "list"][..], &["mailbox", "list"], &["mailbox", "show", "me@localhost", "1"]]
    {
        let output = home.run(arguments);
        assert_eq!(code(&output), Some(1), "{arguments:?}");
        assert!(errors(&output).contains("there is no data folder"), "{}", errors(&output));
    }
    assert!(!home.path().join(".local").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    let mut child = home.command(&["config", "init"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_mailbox_that_nobody_has_is_not_exported() {
    let home = Home::new();
    home.must(&["domain", "add", "example.org"]);
    put_mail(&home, "ann@example.org", b"Subject: x\r\n\r\nx\r\n");
    for format in ["mbox", "eml"] {
        let refused =
            home.run(&["mailbox", "export", "anne@example.org", "--format", format, "--output", "out"]);
        assert_eq!(code(&refused), Some(1));
        assert!(errors(&refused).contains("there is no mailbox anne@example.org"), "{}", errors(&refused));
        assert!(!home.path().join("out").exists());
    }
}

#[test]
fn a_command_that_only_looks_makes_no_data_folder() {
    let home = Home::new();
    for arguments in [["user", "list"], ["alias", "list"], ["domain", "list"]] {
        let refused = home.run(&arguments);
        assert_eq!(code(&refused), Some(1));
        assert!(errors(&refused).contains("there is no data folder"), "{}", errors(&refused));
        assert!(!home.path().join(".local").exists());
    }
}

#[test]
fn a_scan_does_not_leave_out_the_rules_of_a_folder_that_was_named() {
    let home = Home::new();
    std::fs::write(home.path().join("file"), b"harmless").unwrap();
    home.must(&["scan", "file"]);
    let refused = home.run(&["scan", "file", "--data", "no-such-folder"]);
    assert_eq!(code(&refused), Some(1));
    assert!(errors(&refused).contains("no-such-folder"), "{}", errors(&refused));
}
