use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use super::*;
use crate::directory::{Alias, AliasTarget, Workspace};

#[test]
fn users_and_aliases_are_found_by_every_question_after_the_edit() {
    let (directory, _folder) = directory();
    directory.add_domain("Bücher.Example").unwrap();
    let name = directory.add_user("Me@bücher.example", &password(), Scram::On).unwrap();
    directory.add_alias("sales@XN--BCHER-KVA.example", "me@bücher.example").unwrap();
    let snapshot = directory.snapshot();
    assert_eq!(snapshot.account("ME@xn--bcher-kva.example").unwrap().name, name);
    let credentials = &snapshot.account("ME@xn--bcher-kva.example").unwrap().credentials;
    assert!(credentials.matches(&password(), &mut Workspace::default()));
    assert_eq!(directory.list_users().unwrap(), [summary(&name, AccountClass::User)]);
    let target = AliasTarget::Here(name);
    let alias = Alias { address: "sales@xn--bcher-kva.example".parse().unwrap(), target };
    assert_eq!(directory.list_aliases().unwrap(), [alias]);
}

#[test]
fn edits_that_make_no_sense_are_refused_and_change_nothing() {
    let (directory, _folder) = directory();
    let refused = |result: Result<AccountName, EditError>| result.unwrap_err().to_string();
    assert!(
        refused(directory.add_user("me@example.org", &password(), Scram::Off))
            .contains("domain add example.org")
    );
    directory.add_domain("example.org").unwrap();
    assert!(matches!(directory.add_domain("EXAMPLE.org"), Err(EditError::DomainExists { .. })));
    directory.add_user("me@example.org", &password(), Scram::Off).unwrap();
    let again = directory.add_user("ME@example.org", &password(), Scram::Off);
    assert!(matches!(again, Err(EditError::AddressTaken { .. })));
    directory.add_alias("sales@example.org", "me@example.org").unwrap();
    let taken = directory.add_user("sales@example.org", &password(), Scram::Off);
    assert!(matches!(taken, Err(EditError::AddressTaken { .. })));
    let twice = directory.add_alias("sales@example.org", "me@example.org");
    assert!(matches!(twice, Err(EditError::AddressTaken { .. })));
    let own = directory.add_alias("me@example.org", "me@example.org");
    assert!(matches!(own, Err(EditError::AddressTaken { .. })));
    let nobody = directory.add_alias("x@example.org", "nobody@example.org");
    assert!(matches!(nobody, Err(EditError::UnknownUser { .. })));
    assert!(matches!(
        directory.remove_domain("example.org"),
        Err(EditError::DomainInUse { addresses: 2, .. })
    ));
    let in_use = |addresses| EditError::DomainInUse { domain: "localhost".to_owned(), addresses }.to_string();
    assert_eq!(in_use(1), "localhost still has 1 user or alias: remove it first");
    assert_eq!(in_use(2), "localhost still has 2 users and aliases: remove them first");
    assert!(matches!(directory.remove_domain("example.net"), Err(EditError::UnknownDomain { .. })));
    assert!(matches!(directory.remove_user("you@example.org"), Err(EditError::UnknownUser { .. })));
    let unset = directory.set_password("you@example.org", &password(), Scram::Off);
    assert!(matches!(unset, Err(EditError::UnknownUser { .. })));
    let unknown = directory.remove_alias("x@example.org", "me@example.org");
    assert!(matches!(unknown, Err(EditError::UnknownAlias { .. })));
    assert_eq!(directory.list_users().unwrap().len(), 1);
    assert_eq!(directory.list_aliases().unwrap().len(), 1);
}

#[test]
fn a_removed_user_takes_his_aliases_along() {
    let (directory, _folder) = directory();
    directory.add_domain("example.org").unwrap();
    for user in ["a@example.org", "b@example.org"] {
        directory.add_user(user, &password(), Scram::Off).unwrap();
        directory.add_alias("both@example.org", user).unwrap();
    }
    directory.remove_user("a@example.org").unwrap();
    let aliases = directory.list_aliases().unwrap();
    assert_eq!(aliases.iter().map(|alias| alias.target.to_string()).collect::<Vec<_>>(), ["b@example.org"]);
    directory.remove_alias("both@example.org", "b@example.org").unwrap();
    directory.remove_user("b@example.org").unwrap();
    directory.remove_domain("example.org").unwrap();
    assert_eq!(directory.list_domains().unwrap(), []);
}

#[test]
fn a_new_password_replaces_hash_and_verifier() {
    let (directory, _folder) = directory();
    directory.add_domain("example.org").unwrap();
    directory.add_user("me@example.org", &password(), Scram::On).unwrap();
    let before =
        directory.snapshot().account("me@example.org").unwrap().credentials.scram().cloned().unwrap();
    let other = Password::prepare(b"ballpoint").unwrap();
    directory.set_password("me@example.org", &other, Scram::On).unwrap();
    let after = Arc::clone(&directory.snapshot().account("me@example.org").unwrap().credentials);
    let mut workspace = Workspace::default();
    assert!(after.matches(&other, &mut workspace) && !after.matches(&password(), &mut workspace));
    assert_ne!(after.scram().unwrap(), &before);
    directory.set_password("me@example.org", &other, Scram::Off).unwrap();
    assert_eq!(directory.snapshot().account("me@example.org").unwrap().credentials.scram(), None);
    assert!(!directory.list_users().unwrap()[0].scram);
}

#[test]
fn everything_is_there_again_after_a_restart_and_no_file_holds_the_password() {
    let (directory, folder) = directory();
    directory.add_domain("example.org").unwrap();
    directory.add_user("me@example.org", &password(), Scram::On).unwrap();
    let credentials = Arc::clone(&directory.snapshot().account("me@example.org").unwrap().credentials);
    let decoy = directory.decoy_verifier("nobody@example.org");
    drop(directory);
    let directory = Directory::open(&file(&folder)).unwrap();
    assert_eq!(directory.snapshot().account("me@example.org").unwrap().credentials, credentials);
    assert_eq!(directory.decoy_verifier("NOBODY@example.org"), decoy);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let octets = fs::read(&path).unwrap();
        assert!(!octets.windows(6).any(|window| window == b"pencil"), "{}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let (directory, folder) = directory();
    drop(directory);
    fs::set_permissions(file(&folder), fs::Permissions::from_mode(0o640)).unwrap();
    let error = Directory::open(&file(&folder)).unwrap_err();
    assert!(matches!(error, DirectoryError::Permissions { mode: 0o640, .. }), "{error}");
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let (directory, folder) = directory();
    drop(directory);
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(matches!(Directory::open(&file(&folder)), Err(DirectoryError::Newer { found: 99, .. })));
}

#[test]
fn an_edit_of_another_process_is_seen_by_the_running_server() {
    let (server, folder) = directory();
    let cli = Directory::open(&file(&folder)).unwrap();
    cli.add_domain("example.org").unwrap();
    cli.add_user("me@example.org", &password(), Scram::Off).unwrap();
    let started_at = Instant::now();
    while server.snapshot().account("me@example.org").is_none() {
        assert!(started_at.elapsed() < Duration::from_secs(20), "not seen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_decoy_is_stable_for_a_name_and_differs_between_names_and_sites() {
    let (directory, _folder) = directory();
    let (other, _other_folder) = self::directory();
    let decoy = directory.decoy_verifier("a@example.org");
    assert_eq!(decoy, directory.decoy_verifier("A@EXAMPLE.ORG"));
    assert_ne!(decoy.salt, directory.decoy_verifier("b@example.org").salt);
    assert_ne!(decoy.salt, other.decoy_verifier("a@example.org").salt);
    assert_eq!((decoy.salt.len(), decoy.iterations), (SALT_OCTETS, SCRAM_ITERATIONS));
}

#[test]
fn an_account_without_a_mailbox_is_in_nobodys_way_and_nobody_in_its() {
    let (directory, _folder) = directory();
    directory.add_domain("example.org").unwrap();
    let name =
        directory.add_account("relay@example.org", AccountClass::Server, &password(), Scram::On).unwrap();
    assert_eq!(directory.list_users().unwrap(), [summary(&name, AccountClass::Server)]);
    let taken = directory.add_user("relay@example.org", &password(), Scram::Off);
    assert!(matches!(taken, Err(EditError::AddressTaken { .. })));
    let alias = directory.add_alias("in@example.org", "relay@example.org");
    assert!(matches!(alias, Err(EditError::NoMailbox { class: AccountClass::Server, .. })));
    let recipient = "<relay@example.org>".parse().unwrap();
    assert_eq!(directory.resolve(&recipient), Resolution::UnknownLocal);
    directory.set_class("relay@example.org", AccountClass::User).unwrap();
    assert!(matches!(directory.resolve(&recipient), Resolution::Local(_)));
    directory.add_alias("in@example.org", "relay@example.org").unwrap();
    let back = directory.set_class("relay@example.org", AccountClass::Partner).unwrap_err();
    assert!(back.to_string().contains("relay@example.org still has 1 alias"), "{back}");
    directory.remove_alias("in@example.org", "relay@example.org").unwrap();
    directory.set_class("relay@example.org", AccountClass::Partner).unwrap();
    assert_eq!(directory.resolve(&recipient), Resolution::UnknownLocal);
    let nobody = directory.set_class("nobody@example.org", AccountClass::User);
    assert!(matches!(nobody, Err(EditError::UnknownUser { .. })));
}

#[test]
fn an_alias_leads_to_users_aliases_and_elsewhere_and_never_to_itself() {
    let (directory, folder) = directory();
    directory.add_domain("example.org").unwrap();
    directory.add_user("me@example.org", &password(), Scram::Off).unwrap();
    let added = directory.add_aliases("sales@example.org", &["me@example.org", "B@Other.Example"]).unwrap();
    assert_eq!(added.len(), 2);
    directory.add_alias("info@example.org", "sales@example.org").unwrap();
    let resolve = |address: &str| directory.resolve(&format!("<{address}>").parse().unwrap());
    let Resolution::Forwarded(forwarding) = resolve("info@example.org") else { panic!("not forwarded") };
    assert_eq!(*forwarding.mailboxes, ["me@example.org".to_owned()]);
    assert_eq!(forwarding.targets, ["B@other.example".parse().unwrap()]);

    for (address, target) in [
        ("sales@example.org", "info@example.org"),
        ("sales@example.org", "sales@example.org"),
        ("new@example.org", "new@example.org"),
    ] {
        let refused = directory.add_alias(address, target).unwrap_err();
        assert!(matches!(refused, EditError::AliasLoop { .. }), "{address}: {refused}");
    }
    let half = directory.add_aliases("new@example.org", &["me@example.org", "nobody@example.org"]);
    assert!(matches!(half, Err(EditError::UnknownUser { .. })));
    assert_eq!(resolve("new@example.org"), Resolution::UnknownLocal, "nothing of it was added");
    let taken = directory.add_user("info@example.org", &password(), Scram::Off);
    assert!(matches!(taken, Err(EditError::AddressTaken { .. })));
    let many: Vec<String> = (0..1001).map(|number| format!("a{number}@other.example")).collect();
    let many =
        directory.add_aliases("many@example.org", &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(matches!(many, Err(EditError::TooManyTargets { limit: 1000, .. })));

    drop(directory);
    let directory = Directory::open(&file(&folder)).unwrap();
    let lines: Vec<_> = directory.list_aliases().unwrap();
    let lines: Vec<_> = lines.iter().map(|alias| format!("{} {}", alias.address, alias.target)).collect();
    let expected = [
        "info@example.org sales@example.org",
        "sales@example.org me@example.org",
        "sales@example.org B@other.example",
    ];
    assert_eq!(lines, expected);
    directory.remove_alias("info@example.org", "sales@example.org").unwrap();
    directory.remove_alias("sales@example.org", "B@other.example").unwrap();
    let again = directory.remove_alias("sales@example.org", "B@other.example").unwrap_err();
    assert!(again.to_string().contains("sales@example.org that leads to B@other.example"), "{again}");
    let left = directory.resolve(&"<sales@example.org>".parse().unwrap());
    assert_eq!(left, Resolution::Local(["me@example.org".to_owned()].into()));
}

#[test]
fn a_domain_that_becomes_local_leaves_every_alias_readable_and_removable() {
    let (directory, folder) = directory();
    directory.add_domain("example.org").unwrap();
    let targets = ["a/b@other.example", "\"c d\"@other.example", "E@other.example"];
    directory.add_aliases("away@example.org", &targets).unwrap();
    directory.add_domain("other.example").unwrap();
    let again = Directory::open(&file(&folder)).unwrap();
    assert!(again.has_domain("other.example"));
    assert_eq!(again.list_aliases().unwrap().len(), targets.len());
    let late = again.add_alias("late@example.org", "a/b@other.example").unwrap_err();
    assert!(matches!(late, EditError::Name(_)), "no new ones: {late}");
    for target in targets {
        again.remove_alias("away@example.org", target).unwrap();
    }
    assert_eq!(again.list_aliases().unwrap(), []);
}

#[test]
fn a_file_without_forwarding_gets_it() {
    let (directory, folder) = directory();
    directory.add_domain("example.org").unwrap();
    directory.add_user("me@example.org", &password(), Scram::Off).unwrap();
    drop(directory);
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection
        .execute_batch("DROP TABLE forwards; DROP TABLE srs_secrets; PRAGMA user_version = 2;")
        .unwrap();
    drop(connection);
    let directory = Directory::open(&file(&folder)).unwrap();
    directory.add_alias("away@example.org", "a@other.example").unwrap();
    assert!(matches!(directory.resolve(&"<away@example.org>".parse().unwrap()), Resolution::Forwarded(_)));
}

#[test]
fn senders_are_rewritten_and_found_again_until_their_secret_is_forgotten() {
    let (directory, folder) = directory();
    directory.add_domain("example.org").unwrap();
    let sender: ReversePath = "<ann@first.example>".parse().unwrap();
    assert_eq!(directory.rewritten(&sender), None, "nobody has said so");
    let settings = srs::Settings {
        domain: "bounces.example.org".parse().unwrap(),
        days: 21,
        mac_characters: 6,
        bounces_only: true,
    };
    directory.rewrite_with(Some(settings.clone()));
    let rewritten = directory.rewritten(&sender).unwrap();
    for stays in ["<>", "<me@example.org>", "<x@bounces.example.org>"] {
        assert_eq!(directory.rewritten(&stays.parse().unwrap()), None, "{stays}");
    }
    let resolve = |directory: &Directory| directory.resolve(&rewritten.to_string().parse().unwrap());
    let found =
        |resolution| matches!(resolution, Resolution::Rewritten { leads_to: Ok(_), bounces_only: true });
    assert!(found(resolve(&directory)));
    // What the command line does beside a running server.
    let other = Directory::open(&file(&folder)).unwrap();
    other.rewrite_with(Some(settings));
    for _ in 0..3 {
        other.rotate_secret().unwrap();
        assert!(found(resolve(&other)));
    }
    assert_ne!(other.rewritten(&sender), Some(rewritten.clone()), "the newest secret signs");
    other.rotate_secret().unwrap();
    let forged = Resolution::Rewritten { leads_to: Err(srs::NotOurs::Forged), bounces_only: true };
    assert_eq!(resolve(&other), forged);
    other.rewrite_with(None);
    assert_eq!(resolve(&other), Resolution::Foreign);
}

/// As version 1 wrote it.
#[test]
fn accounts_of_a_file_without_classes_are_users() {
    let (directory, folder) = directory();
    directory.add_domain("example.org").unwrap();
    directory.add_user("me@example.org", &password(), Scram::On).unwrap();
    drop(directory);
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection
        .execute_batch(
            "ALTER TABLE users DROP COLUMN class; DROP TABLE forwards; \
             DROP TABLE srs_secrets; PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(connection);
    for _ in 0..2 {
        let directory = Directory::open(&file(&folder)).unwrap();
        let summaries = directory.list_users().unwrap();
        assert_eq!(summaries, [summary(&"me@example.org".parse().unwrap(), AccountClass::User)]);
        let credentials = Arc::clone(&directory.snapshot().account("me@example.org").unwrap().credentials);
        assert!(credentials.matches(&password(), &mut Workspace::default()));
    }
}

#[test]
fn a_class_that_this_version_does_not_know_is_not_guessed() {
    let (directory, folder) = directory();
    directory.add_domain("example.org").unwrap();
    directory.add_user("me@example.org", &password(), Scram::Off).unwrap();
    drop(directory);
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection.execute("UPDATE users SET class = 'superuser'", []).unwrap();
    drop(connection);
    assert!(matches!(Directory::open(&file(&folder)), Err(DirectoryError::Damaged { .. })));
}

fn summary(name: &AccountName, class: AccountClass) -> UserSummary {
    UserSummary { name: name.clone(), class, scram: true }
}

fn directory() -> (Directory, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Directory::open(&file(&folder)).unwrap(), folder)
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("directory.sqlite")
}

fn password() -> Password {
    Password::prepare(b"pencil").unwrap()
}
