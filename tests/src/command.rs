//! Runs a program with a time limit.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program to run.
#[derive(Debug)]
pub struct Run {
    command: Command,
    program: OsString,
    stdin: Vec<u8>,
    limit: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, as text.
    pub stderr: String,
}

// === impl Run ===

impl Run {
    /// Prepares `program`; nothing on its standard input, one minute to finish.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        Self { command: Command::new(&program), program, stdin: Vec::new(), limit: Duration::from_secs(60) }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes every variable but `PATH` and `GATEPOST_SANDBOX` from the environment.
    #[must_use]
    pub fn clean_environment(mut self) -> Self {
        self.command.env_clear();
        for name in ["PATH", "GATEPOST_SANDBOX"] {
            if let Some(value) = std::env::var_os(name) {
                self.command.env(name, value);
            }
        }
        self
    }

    /// Runs in `folder`.
    #[must_use]
    pub fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Gives it these octets on standard input.
    #[must_use]
    pub fn stdin(mut self, octets: impl Into<Vec<u8>>) -> Self {
        self.stdin = octets.into();
        self
    }

    /// Allows it this long.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not start, or is not done in time (it is killed then).
    #[must_use]
    pub fn outcome(mut self) -> Outcome {
        let name = self.program.to_string_lossy().into_owned();
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name} does not start ({error}); tests/run installs what the tests use")
            });
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let octets = self.stdin;
        // A program that has seen enough closes its end: that is its right.
        thread::spawn(move || stdin.write_all(&octets).ok());
        let stdout = drain(child.stdout.take().expect("stdout is piped"));
        let stderr = drain(child.stderr.take().expect("stderr is piped"));

        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if start.elapsed() > self.limit {
                child.kill().ok();
                child.wait().ok();
                let said = String::from_utf8_lossy(&stderr.join().expect("reader")).into_owned();
                panic!("{name} was not done within {:?}; it said: {said}", self.limit);
            }
            thread::sleep(Duration::from_millis(5));
        };
        Outcome {
            status,
            stdout: stdout.join().expect("reader"),
            stderr: String::from_utf8_lossy(&stderr.join().expect("reader")).into_owned(),
        }
    }

    /// Runs it to its end, which must be exit code 0.
    ///
    /// # Panics
    /// As `outcome`, and on any other exit code.
    pub fn succeed(self) -> Outcome {
        let name = self.program.to_string_lossy().into_owned();
        let outcome = self.outcome();
        assert!(outcome.status.success(), "{name}: {outcome}");
        outcome
    }
}

// === impl Outcome ===

impl Outcome {
    /// The exit code.
    ///
    /// # Panics
    /// When a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self}"))
    }

    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.text(), self.stderr)
    }
}

/// Whether `program` is on the search path.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let also = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(also).any(|folder| folder.join(program).is_file())
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut octets = Vec::new();
        pipe.read_to_end(&mut octets).ok();
        octets
    })
}
