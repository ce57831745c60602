//! Where the program under test is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The `gatepost` executable, built from the sources as they are now.
///
/// `tests/run` builds it once and names it in `GATEPOST_BINARY`; without that (a single test started by hand) cargo is
/// asked, which costs a fraction of a second when there is nothing to do.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn gatepost() -> &'static Path {
    &GATEPOST
}

/// The repository's top folder.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests folder has a parent")
}

static GATEPOST: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(named) = std::env::var_os("GATEPOST_BINARY") {
        return PathBuf::from(named);
    }
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--package", "gatepost"])
        .current_dir(repository())
        .status()
        .expect("cargo starts");
    assert!(built.success(), "cargo build --package gatepost failed");
    // A test executable lies in target/debug/deps.
    let test = std::env::current_exe().expect("a process knows its executable");
    let profile = test.ancestors().nth(2).expect("target/debug");
    profile.join("gatepost")
});
