use std::os::unix::fs::PermissionsExt as _;

use gatepost_core::scan::{EngineIdentity, Stamp};

use super::*;

#[test]
fn the_key_of_stamps_is_made_once_and_closed_to_others() {
    let outer = tempfile::tempdir().unwrap();
    let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
    assert!(folder.find_stamp_key().unwrap().is_none());
    let stamp = Stamp::new(EngineIdentity::new("fake", "1").unwrap(), 1);
    let sealed = folder.stamp_key().unwrap().seal(&[1; 32], None, &stamp);
    assert!(folder.stamp_key().unwrap().holds(&[1; 32], None, &sealed));
    assert!(folder.find_stamp_key().unwrap().unwrap().holds(&[1; 32], None, &sealed));
    let path = folder.root().join(STAMP_KEY);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & PERMISSION_BITS, FILE_MODE);
    std::fs::write(&path, "cut").unwrap();
    assert!(!folder.stamp_key().unwrap().holds(&[1; 32], None, &sealed), "a new one");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(folder.stamp_key(), Err(FolderError::Exposed { .. })));
}

#[test]
fn the_folder_is_named_by_the_first_that_knows() {
    let mut environment = Environment::default();
    let located = |environment: &Environment| DataFolder::locate(None, environment);
    assert!(matches!(located(&environment), Err(FolderError::Unknown)));
    environment.home = Some("/h".into());
    assert_eq!(located(&environment).unwrap(), Path::new("/h/.local/share/gatepost"));
    environment.xdg_data_home = Some("/x".into());
    assert_eq!(located(&environment).unwrap(), Path::new("/x/gatepost"));
    environment.state_directory = Some("/s:/t".into());
    assert_eq!(located(&environment).unwrap(), Path::new("/s"));
    environment.gatepost_data = Some("/g".into());
    assert_eq!(located(&environment).unwrap(), Path::new("/g"));
    assert_eq!(DataFolder::locate(Some(Path::new("/n")), &environment).unwrap(), Path::new("/n"));
}

#[test]
fn a_new_folder_is_closed_to_others_and_an_open_one_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("a/b");
    let folder = DataFolder::prepare(root.clone()).unwrap();
    assert_eq!(std::fs::metadata(folder.root()).unwrap().mode() & 0o7777, 0o700);
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o750)).unwrap();
    let refused = DataFolder::prepare(root).unwrap_err().to_string();
    assert!(refused.contains("has mode 0750") && refused.contains("chmod 0700"), "{refused}");
}

#[test]
fn the_pickup_folder_is_not_for_everybody_and_not_in_the_data_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
    let pickup = outer.path().join("pickup");
    folder.prepare_pickup(&pickup).unwrap();
    assert_eq!(std::fs::metadata(&pickup).unwrap().mode() & 0o7777, 0o700);
    std::fs::set_permissions(&pickup, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let refused = folder.prepare_pickup(&pickup).unwrap_err().to_string();
    assert!(refused.contains("has mode 1777") && refused.contains("chmod o-w"), "{refused}");
    std::fs::set_permissions(&pickup, std::fs::Permissions::from_mode(0o2770)).unwrap();
    folder.prepare_pickup(&pickup).unwrap();
    std::fs::create_dir(folder.root().join("queue")).unwrap();
    for path in [folder.root().join("queue"), outer.path().to_owned(), folder.root().to_owned()] {
        assert!(matches!(folder.prepare_pickup(&path), Err(FolderError::Overlap { .. })), "{path:?}");
    }
}

#[test]
fn a_file_in_the_place_of_the_folder_is_named() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("file");
    std::fs::write(&path, "").unwrap();
    for refused in [DataFolder::prepare(path.clone()), DataFolder::open(path.clone())] {
        let text = refused.unwrap_err().to_string();
        assert_eq!(text, format!("{} is not a folder: name one with --data", path.display()));
    }
}

#[test]
fn a_missing_folder_is_not_made_by_opening_it() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("none");
    assert!(matches!(DataFolder::open(root.clone()), Err(FolderError::Missing { .. })));
    assert!(!root.exists());
}

#[test]
fn only_one_at_a_time_holds_the_lock() {
    let outer = tempfile::tempdir().unwrap();
    let folder = DataFolder::prepare(outer.path().join("d")).unwrap();
    let held = folder.lock().unwrap();
    assert!(matches!(folder.lock(), Err(FolderError::Locked { .. })));
    drop(held);
    folder.lock().unwrap();
}

#[test]
fn a_file_is_written_whole_and_for_the_owner_alone() {
    let outer = tempfile::tempdir().unwrap();
    let folder = DataFolder::prepare(outer.path().join("d")).unwrap();
    std::fs::write(folder.root().join("key.new"), b"left over").unwrap();
    for contents in [&b"first"[..], b"second"] {
        let path = folder.replace("key.pem", contents).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read(path).unwrap(), contents);
    }
    assert!(!folder.root().join("key.new").exists());
}
