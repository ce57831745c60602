//! The process of a server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::Run;
use crate::{binary, http};

/// The process of a server and the file that takes what it says.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

// === impl Process ===

impl Process {
    /// Starts `gatepost` with nothing in its environment but `PATH` and what is given. `log` is appended to.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn spawn(args: &[&str], log: &Path, environment: &[(&str, &Path)]) -> Self {
        let mut command = Command::new(binary::gatepost());
        command.args(args);
        Self::spawn_command(command, log, environment)
    }

    pub(crate) fn spawn_command(mut command: Command, log: &Path, environment: &[(&str, &Path)]) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("the log can be opened");
        let errors = file.try_clone().expect("a file can be shared");
        let child = command
            .env_clear()
            // The second lets the tests run where the kernel has no landlock: `GATEPOST_SANDBOX=best-effort tests/run`.
            .envs(
                ["PATH", "GATEPOST_SANDBOX"]
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .expect("gatepost starts");
        Self { child, log: log.to_owned() }
    }

    /// Waits until `/readyz` says so, or misses nothing but servers behind, which are the test's own.
    ///
    /// # Panics
    /// When it ends instead, or takes too long.
    pub fn wait_until_ready(&mut self, admin: u16) {
        let start = Instant::now();
        loop {
            match http::get(admin, "/readyz") {
                Some((200, _)) => return,
                Some((503, reasons)) if reasons.lines().all(|reason| reason.ends_with(NOBODY_BEHIND)) => {
                    return;
                }
                _ => {}
            }
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                panic!("gatepost ended ({status}) instead of getting ready");
            }
            assert!(start.elapsed() < START, "gatepost is not ready after {START:?}");
            thread::sleep(POLL);
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to this process alone.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id")).expect("not zero");
        kill_process(pid, signal).expect("the process is there");
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(start.elapsed() < limit, "gatepost still runs after {limit:?}");
            thread::sleep(POLL);
        }
    }

    /// All that it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the server's log, its last {LOG_LINES} lines");
            for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
                eprintln!("{line}");
            }
        }
    }
}

/// Prepares a `gatepost` command with this configuration file.
#[must_use]
pub fn gatepost<const N: usize>(config: &Path, args: [&str; N]) -> Run {
    Run::new(binary::gatepost()).clean_environment().args(args).arg("--config").arg(config)
}

const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const LOG_LINES: usize = 120;
const NOBODY_BEHIND: &str = ": no server behind answers";

/// A command of root's: where the tests run as somebody else, by `sudo`, which must not ask for a password.
pub(crate) fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}
