//! A clock that is set while a server runs: libfaketime shows it another time, and leaves the steady clock alone, as the
//! system does when somebody sets the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary;
use crate::server::Server;

/// The clock of one server.
#[derive(Debug)]
pub struct Clock {
    /// What libfaketime reads at every look, in a folder that the sandbox lets the server read.
    file: PathBuf,
}

// === impl Clock ===

impl Clock {
    /// Starts the server again under a clock that is so many seconds off. `None`, with a note, where libfaketime is not there.
    ///
    /// # Panics
    /// When the server does not get ready.
    #[must_use]
    pub fn begin(server: &mut Server, seconds: i64) -> Option<Self> {
        if library().is_none() {
            eprintln!("SKIPPED: libfaketime is not installed");
            return None;
        }
        server.stop();
        let clock = Self { file: server.data().join("clock") };
        clock.set(seconds);
        clock.restart(server);
        Some(clock)
    }

    /// Starts the server again under this clock, after `kill` or `stop`.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn restart(&self, server: &mut Server) {
        let mut command = Command::new(binary::gatepost());
        command.args(["run", "--config"]).arg(server.config());
        let (library, on) = (library().expect("libfaketime"), Path::new("1"));
        let environment = [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", &*self.file),
            ("FAKETIME_NO_CACHE", on),
            ("FAKETIME_DONT_FAKE_MONOTONIC", on),
            ("DONT_FAKE_MONOTONIC", on),
            ("NO_FAKE_STAT", on),
        ];
        server.restart_by(command, &environment);
        // It has them open, and would leave their names behind where it is killed.
        for name in ["faketime_shm", "sem.faketime_sem"] {
            fs::remove_file(format!("/dev/shm/{name}_{}", server.pid())).ok();
        }
    }

    /// From now on it is so many seconds off the machine's.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) {
        // Whole or not at all: it may be read at any time.
        let draft = self.file.with_extension("draft");
        fs::write(&draft, format!("{seconds:+}\n")).expect("the clock can be set");
        fs::rename(draft, &self.file).expect("the clock can be set");
    }
}

/// Where Debian has it.
fn library() -> Option<&'static Path> {
    const PLACES: [&str; 2] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ];
    PLACES.into_iter().map(Path::new).find(|place| place.exists())
}
