//! What the process cannot do, whatever happens in it: run programs, reach other processes, open files outside its
//! folders, listen anew, hold a privilege.
//!
//! ```text
//! root?  bind -> become the user -> \
//! any:   bind -------------------->  no capabilities, limits -> landlock -> seccomp -> runtime, pools -> self-test
//!        \______________ one thread: these calls act on the calling thread alone ________________/
//! ```
//! Every later thread inherits it, and tries at its start whether it holds (`self_test`). Nothing of this can be undone
//! while the process runs: a new listener or a file elsewhere takes a restart.

pub mod accounts;
mod folders;
mod landlock;
mod metrics;
mod privileges;
pub mod programs;
mod seccomp;
mod self_test;
mod syscalls;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatepost_core::threads;

use self::landlock::Pins;
pub use self::landlock::{Folders, LandlockError};
use crate::config::SandboxMode;
use accounts::Account;
pub use folders::{files, folders};
pub use metrics::Metrics;
pub use seccomp::SeccompError;
pub use self_test::{Deed, Hole, NotTested, SelfTest};

/// The sandbox around this process.
#[derive(Debug)]
pub struct Sandbox {
    mode: SandboxMode,
    /// Where landlock holds.
    folders: Option<Folders>,
    /// Where seccomp holds.
    forbids_listening: bool,
    test: SelfTest,
    _pins: Option<Pins>,
}

/// Why the process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It is already too late: other threads would stay outside.
    #[error("the sandbox needs the process to have one thread, and it has {0}")]
    Threads(usize),
    /// The user cannot be changed to.
    #[error("cannot go on as user {user}: {error}")]
    User {
        /// Whom.
        user: String,
        /// Why not.
        error: io::Error,
    },
    /// The system cannot do a part of it.
    #[error(
        "{part} is not to be had here: {error}. `sandbox = \"best-effort\"` in [server], or `--sandbox best-effort`, \
         starts without what the system cannot do"
    )]
    Missing {
        /// Which part.
        part: Part,
        /// Why.
        error: String,
    },
    /// A thread could do what it must not.
    #[error("the sandbox does not hold: {}. `sandbox = \"best-effort\"` in [server] would start all the same", list(.0))]
    Holes(Vec<Hole>),
    /// A thread has not said whether it holds.
    #[error("the sandbox's self-test: {0}")]
    NotTested(#[from] NotTested),
}

/// A file that the sandbox keeps closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} lies outside of the folders that the sandbox left open at the start: restart to use it", .0.display())]
pub struct Outside(PathBuf);

/// A part of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// No capabilities, no new privileges.
    Capabilities,
    /// Bounds on descriptors and the like.
    Limits,
    /// Files and addresses.
    Landlock,
    /// System calls.
    Seccomp,
}

/// Goes on as another user. A data folder that is not there yet is made for him.
///
/// # Errors
/// Only root may do that.
pub fn become_user(account: &Account, data: &Path) -> Result<(), SandboxError> {
    privileges::become_user(account, data)
        .map_err(|error| SandboxError::User { user: account.name().to_owned(), error })
}

/// Goes on as the owner of a folder, where root works on it for him. The process must have one thread.
///
/// # Errors
/// The system refuses.
pub fn become_owner(folder: &Path) -> io::Result<()> {
    privileges::become_owner(folder)
}

// === impl Sandbox ===

impl Sandbox {
    /// Confines the process. Everything must be bound, and no other thread may run.
    ///
    /// # Errors
    /// In `enforce`: a part is missing, or there is another thread. In `best-effort` that is logged.
    pub fn enter(mode: SandboxMode, folders: Folders) -> Result<Self, SandboxError> {
        let mut sandbox =
            Self { mode, folders: None, forbids_listening: false, test: SelfTest::default(), _pins: None };
        if mode == SandboxMode::Off {
            tracing::warn!("there is no sandbox: `sandbox = \"off\"`");
            return Ok(sandbox);
        }
        match count_threads() {
            1 => (),
            count => return Err(SandboxError::Threads(count)),
        }
        sandbox.part(Part::Capabilities, privileges::drop_capabilities())?;
        sandbox.part(Part::Limits, privileges::limit_resources())?;
        if let Some((pins, abi)) = sandbox.part(Part::Landlock, landlock::confine(&folders))? {
            tracing::debug!(version = abi as i32, ?folders, "landlock holds");
            sandbox._pins = Some(pins);
            sandbox.folders = Some(folders);
        }
        sandbox.forbids_listening = sandbox.part(Part::Seccomp, seccomp::confine())?.is_some();
        threads::watch(sandbox.test.clone());
        sandbox.test.run();
        sandbox.judge()?;
        Ok(sandbox)
    }

    /// What every thread of the runtime has to run at its start.
    pub fn thread_test(&self) -> impl Fn() + Send + Sync + 'static {
        let test = (self.mode != SandboxMode::Off).then(|| self.test.clone());
        move || {
            if let Some(test) = &test {
                test.run();
            }
        }
    }

    /// Waits for the tests of all threads of the rooms, and of a worker of each pool of the runtime, which must have been
    /// built with `thread_test`.
    ///
    /// # Errors
    /// In `enforce`: a thread could do what it must not, or has not been tested.
    pub async fn verify(&self) -> Result<(), SandboxError> {
        if self.mode == SandboxMode::Off {
            return Ok(());
        }
        // Each has run its test before it takes a task. A failure to join would be a panic of nothing.
        let _worker = tokio::spawn(async {}).await;
        let test = self.test.clone();
        let finished = tokio::task::spawn_blocking(move || test.finish(PATIENCE)).await;
        match finished {
            Ok(Ok(())) => (),
            Ok(Err(error)) if self.mode == SandboxMode::Enforce => return Err(error.into()),
            Ok(Err(error)) => tracing::warn!(%error, "the sandbox's self-test is not complete"),
            Err(error) => tracing::error!(%error, "the sandbox's self-test has failed"),
        }
        self.judge()?;
        let (landlock, seccomp) = (self.folders.is_some(), self.forbids_listening);
        tracing::info!(threads = self.test.tested(), landlock, seccomp, "the sandbox was tested");
        Ok(())
    }

    /// Whether a new listener takes a restart.
    #[must_use]
    pub const fn forbids_listening(&self) -> bool {
        self.forbids_listening || self.folders.is_some()
    }

    /// Whether a file that a new configuration names can be read at all.
    ///
    /// # Errors
    /// It lies outside.
    pub fn check<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Result<(), Outside> {
        let Some(folders) = &self.folders else { return Ok(()) };
        match files.into_iter().find(|file| !landlock::is_readable(folders, file)) {
            Some(file) => Err(Outside(file.to_owned())),
            None => Ok(()),
        }
    }

    /// Which parts hold.
    #[must_use]
    pub fn parts(&self) -> [(Part, bool); 2] {
        [(Part::Landlock, self.folders.is_some()), (Part::Seccomp, self.forbids_listening)]
    }

    /// The self-test of this process.
    #[must_use]
    pub const fn test(&self) -> &SelfTest {
        &self.test
    }

    fn part<T, E: fmt::Display>(&self, part: Part, result: Result<T, E>) -> Result<Option<T>, SandboxError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.mode == SandboxMode::Enforce => {
                Err(SandboxError::Missing { part, error: error.to_string() })
            }
            Err(error) => {
                tracing::warn!(%part, %error, "a part of the sandbox is missing");
                Ok(None)
            }
        }
    }

    fn judge(&self) -> Result<(), SandboxError> {
        let holes = self.test.holes();
        if holes.is_empty() || self.mode != SandboxMode::Enforce {
            Ok(())
        } else {
            Err(SandboxError::Holes(holes))
        }
    }
}

// === impl Part ===

impl Part {
    /// For logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Limits => "limits",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Without `/proc` there is no telling, and nothing else would work either.
fn count_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn list(holes: &[Hole]) -> String {
    let deeds: Vec<String> =
        holes.iter().map(|hole| format!("{} (thread {})", hole.deed.name(), hole.thread)).collect();
    deeds.join(", ")
}

/// A test takes less than a millisecond; a thread that waits this long for the processor means that nothing works.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> Folders {
        Folders { data: "/nonexistent".into(), pickup: None, read: Vec::new() }
    }

    /// The harness of the tests has threads of its own; nothing may be confined then, since they would stay outside.
    #[test]
    fn a_process_with_two_threads_is_not_confined_by_half() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || held.recv());
        for mode in [SandboxMode::Enforce, SandboxMode::BestEffort] {
            assert!(matches!(Sandbox::enter(mode, nowhere()), Err(SandboxError::Threads(2..))), "{mode:?}");
        }
        assert!(!rustix::thread::no_new_privs().unwrap(), "nothing was begun");
        drop(hold);
        assert!(other.join().unwrap().is_err());
    }

    #[tokio::test]
    async fn switched_off_it_closes_nothing_and_tests_nothing() {
        let sandbox = Sandbox::enter(SandboxMode::Off, nowhere()).unwrap();
        sandbox.verify().await.unwrap();
        sandbox.thread_test()();
        assert_eq!(sandbox.test().tested(), 0);
        assert!(!sandbox.forbids_listening());
        assert_eq!(sandbox.check([Path::new("/etc/hostname")]), Ok(()));
        assert!(sandbox.parts().iter().all(|(_, holds)| !holds));
    }
}
