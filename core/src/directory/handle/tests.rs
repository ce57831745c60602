use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use super::*;
use crate::directory::Workspace;

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
    let alias = Alias { address: "sales@xn--bcher-kva.example".parse().unwrap(), user: name };
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
    assert_eq!(aliases.iter().map(|alias| alias.user.as_str()).collect::<Vec<_>>(), ["b@example.org"]);
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

/// As version 1 wrote it.
#[test]
fn accounts_of_a_file_without_classes_are_users() {
    let (directory, folder) = directory();
    directory.add_domain("example.org").unwrap();
    directory.add_user("me@example.org", &password(), Scram::On).unwrap();
    drop(directory);
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection.execute_batch("ALTER TABLE users DROP COLUMN class; PRAGMA user_version = 1;").unwrap();
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
