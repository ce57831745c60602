//! Faults of the disk under a running server.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::command::is_installed;
use crate::server::Server;

/// strace on the running server: some of its system calls fail or are slow while this is there.
#[derive(Debug)]
pub struct Fault {
    strace: Child,
}

// === impl Fault ===

impl Fault {
    /// Does this (`error=EIO`, `delay_enter=700000`) to these system calls, which have commas in between. `None`, with a note,
    /// where the machine does not allow tracing.
    ///
    /// # Panics
    /// When strace does not speak.
    #[must_use]
    pub fn inject(server: &Server, calls: &str, what: &str) -> Option<Self> {
        if !is_installed("strace") {
            eprintln!("SKIPPED: strace is not installed");
            return None;
        }
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &server.pid().to_string(), "-e"])
            .arg(format!("trace={calls}"))
            .arg("-e")
            .arg(format!("inject={calls}:{what}"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace starts");
        let mut said = BufReader::new(strace.stderr.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("strace speaks");
        if !line.contains("attached") {
            eprintln!("SKIPPED: strace may not attach: {line}");
            strace.wait().ok();
            return None;
        }
        // It goes on to speak, and must not be stopped by a full pipe.
        thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        thread::sleep(Duration::from_millis(200));
        Some(Self { strace })
    }

    /// Detaches; the server goes on.
    ///
    /// # Panics
    /// When strace is gone.
    pub fn end(mut self) {
        let pid =
            rustix::process::Pid::from_raw(self.strace.id().try_into().expect("a pid")).expect("not zero");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("strace is there");
        self.strace.wait().expect("strace ends");
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.strace.kill().ok();
        self.strace.wait().ok();
    }
}
