//! Passwords are checked on threads of their own: argon2 costs 20 ms and 19 MiB, and a flood of guesses must neither
//! stop the runtime nor fill the memory.

use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use gatepost_smtp::server::Identity;
use tokio::sync::oneshot;

use super::credentials::{Credentials, Scram, Workspace};
use super::metrics::Metrics;
use super::{Directory, DirectoryError, Password};
use crate::threads;

/// Checks name and password. Shared by SMTP and POP3; clones share the threads, which end with the last clone.
#[derive(Debug, Clone)]
pub struct PasswordVerifier {
    directory: Directory,
    queue: SyncSender<Job>,
    metrics: Metrics,
}

/// How much verification may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Threads, each with 19 MiB while it hashes; at least one.
    pub threads: usize,
    /// Verifications that may wait for a thread.
    pub waiting: usize,
}

/// The password was not checked: 454 4.7.0, `-ERR [SYS/TEMP]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// As many verifications wait as may.
    #[error("too many passwords are being verified")]
    Busy,
    /// The threads are gone.
    #[error("the password verifier has stopped")]
    Stopped,
}

#[derive(Debug)]
struct Job {
    /// `None` for an unknown user: the decoy is hashed instead.
    credentials: Option<Arc<Credentials>>,
    password: Password,
    reply: oneshot::Sender<bool>,
}

// === impl PasswordVerifier ===

impl PasswordVerifier {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`DirectoryError::System`] where the system refuses a thread or random numbers.
    pub fn start(directory: Directory, settings: Settings, metrics: Metrics) -> Result<Self, DirectoryError> {
        let (queue, jobs) = mpsc::sync_channel(settings.waiting);
        let jobs = Arc::new(Mutex::new(jobs));
        let decoy = Arc::new(decoy()?);
        for _ in 0..settings.threads.max(1) {
            let (jobs, decoy, metrics) = (Arc::clone(&jobs), Arc::clone(&decoy), metrics.clone());
            threads::spawn("verify", move || work(&jobs, &decoy, &metrics))
                .map_err(|_| DirectoryError::System("a thread"))?;
        }
        Ok(Self { directory, queue, metrics })
    }

    /// The identity, if there is such a user and this is his password; `None` for a wrong password and for an unknown
    /// user, after the same time. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// [`Unavailable`]: nothing is known about the password.
    pub async fn verify(&self, name: &str, password: Password) -> Result<Option<Identity>, Unavailable> {
        let account = self.directory.snapshot().account(name).cloned();
        let credentials = account.as_ref().map(|account| Arc::clone(&account.credentials));
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job { credentials, password, reply }).map_err(|refused| match refused {
            TrySendError::Full(_) => {
                self.metrics.busy.inc();
                Unavailable::Busy
            }
            TrySendError::Disconnected(_) => Unavailable::Stopped,
        })?;
        let is_right = answer.await.map_err(|_| Unavailable::Stopped)?;
        Ok(account.filter(|_| is_right).map(|account| account.identity()))
    }

    /// The users it checks against.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }
}

// === impl Settings ===

impl Default for Settings {
    /// Half of the cores, and a second's worth of work in the queue.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let threads = cores.div_ceil(2);
        Self { threads, waiting: threads.saturating_mul(WAITING_PER_THREAD) }
    }
}

/// Until the last sender is gone.
fn work(jobs: &Mutex<Receiver<Job>>, decoy: &Credentials, metrics: &Metrics) {
    let mut workspace = Workspace::default();
    loop {
        // The lock is held while waiting: another idle thread waits for the lock instead of for the queue.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { credentials, password, reply }) = job else {
            return;
        };
        if reply.is_closed() {
            continue;
        }
        let started_at = Instant::now();
        let is_known = credentials.is_some();
        let matches = credentials.as_deref().unwrap_or(decoy).matches(&password, &mut workspace);
        let is_right = matches && is_known;
        metrics.seconds.observe(started_at.elapsed().as_secs_f64());
        let counter = if is_right { &metrics.right } else { &metrics.wrong };
        counter.inc();
        // Nobody waits any more: the client has gone.
        let _ = reply.send(is_right);
    }
}

/// What an unknown user's password is compared with: a hash of today's parameters whose password nobody knows.
fn decoy() -> Result<Credentials, DirectoryError> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|_| DirectoryError::System("random numbers"))?;
    let text = octets.map(|octet| format!("{octet:02x}")).concat();
    let password = Password::prepare(text.as_bytes()).map_err(|_| DirectoryError::System("a password"))?;
    Credentials::of(&password, Scram::Off).map_err(|_| DirectoryError::System("a password hash"))
}

/// About a second of hashing at 20 to 30 ms each: a client that waits longer would rather be told to come back.
const WAITING_PER_THREAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_user_gives_an_identity() {
        let (verifier, _folder) = verifier(Settings { threads: 1, waiting: 8 });
        let identity = verifier.verify("ME@localhost", password("pencil")).await.unwrap();
        assert_eq!(identity, Some(Identity::of_user("me@localhost".to_owned())));
        for (user, text) in
            [("me@localhost", "ballpoint"), ("you@localhost", "pencil"), ("", "pencil"), ("me", "pencil")]
        {
            assert_eq!(verifier.verify(user, password(text)).await, Ok(None), "{user:?}");
        }
        assert_eq!((verifier.metrics.right.get(), verifier.metrics.wrong.get()), (1, 4));
    }

    /// The same work is done for both, one hash of the same cost: a clock would say little on a busy machine.
    #[tokio::test]
    async fn an_unknown_user_costs_a_hash_too() {
        let (verifier, _folder) = verifier(Settings { threads: 1, waiting: 8 });
        for user in ["me@localhost", "you@localhost", "not an address"] {
            let before = verifier.metrics.seconds.get_sample_count();
            assert_eq!(verifier.verify(user, password("wrong")).await, Ok(None));
            assert_eq!(verifier.metrics.seconds.get_sample_count(), before + 1, "{user}");
        }
        let known = verifier.directory.snapshot().account("me@localhost").unwrap().credentials.clone();
        assert_eq!(decoy().unwrap().cost(), known.cost());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_recovers() {
        let (verifier, _folder) = verifier(Settings { threads: 1, waiting: 1 });
        let flood = (0..16).map(|_| {
            let verifier = verifier.clone();
            tokio::spawn(async move { verifier.verify("me@localhost", password("pencil")).await })
        });
        let mut answers = Vec::new();
        for answer in flood.collect::<Vec<_>>() {
            answers.push(answer.await.unwrap());
        }
        let busy = answers.iter().filter(|answer| **answer == Err(Unavailable::Busy)).count();
        assert!((1..16).contains(&busy), "{answers:?}");
        assert_eq!(verifier.metrics.busy.get(), u64::try_from(busy).unwrap());
        assert!(answers.iter().all(|answer| !matches!(answer, Ok(None))));
        assert!(verifier.verify("me@localhost", password("pencil")).await.unwrap().is_some());
    }

    fn verifier(settings: Settings) -> (PasswordVerifier, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
        directory.add_domain("localhost").unwrap();
        directory.add_user("me@localhost", &password("pencil"), Scram::On).unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        (PasswordVerifier::start(directory, settings, metrics).unwrap(), folder)
    }

    fn password(text: &str) -> Password {
        Password::prepare(text.as_bytes()).unwrap()
    }
}
