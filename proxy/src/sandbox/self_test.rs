//! Does it hold? Every thread tries what it must not be able to do, before it does anything else.
//!
//! A filter that was installed on the wrong thread, a folder too many, a capability that came back: all of that looks like
//! a sandbox in every log. Only trying tells.

use std::fs::{File, OpenOptions};
use std::io;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatepost_core::threads;
use rustix::net::{AddressFamily, SocketType, ipproto, listen, socket};
use rustix::process::{PidfdFlags, Uid, geteuid, getpid, pidfd_open};
use rustix::thread::{capabilities, no_new_privs, set_thread_uid};

/// What no thread may be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Run another program.
    StartProgram,
    /// Get hold of a process, the first step of reaching into it.
    ReachProcess,
    /// Take connections at a new address.
    Listen,
    /// See the top folder of the file system.
    ReadElsewhere,
    /// Leave a file outside the data folder.
    WriteElsewhere,
    /// Speak below TCP and UDP, or to the kernel.
    RawSocket,
    /// Hold a capability, or be able to get a privilege.
    Privilege,
}

/// What came of the tests so far. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct SelfTest {
    shared: Arc<(Mutex<Findings>, Condvar)>,
}

#[derive(Debug, Default)]
struct Findings {
    /// Spawned and not tested yet.
    pending: usize,
    tested: usize,
    holes: Vec<Hole>,
}

/// A deed that could be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hole {
    /// What.
    pub deed: Deed,
    /// By a thread of this name.
    pub thread: String,
}

// === impl SelfTest ===

impl SelfTest {
    /// Tests the calling thread.
    pub fn run(&self) {
        let thread = std::thread::current().name().unwrap_or("(unnamed)").to_owned();
        let holes = Deed::ALL.into_iter().filter(|deed| deed.is_possible());
        let holes: Vec<Hole> = holes.map(|deed| Hole { deed, thread: thread.clone() }).collect();
        for hole in &holes {
            tracing::error!(thread, deed = hole.deed.name(), "the sandbox does not hold");
        }
        let mut findings = self.lock();
        findings.tested = findings.tested.saturating_add(1);
        findings.holes.extend(holes);
    }

    /// Waits until every thread that was announced has been tested.
    ///
    /// # Errors
    /// One has not been within the time.
    pub fn finish(&self, patience: Duration) -> Result<(), NotTested> {
        let (_, changed) = &*self.shared;
        let waited = changed.wait_timeout_while(self.lock(), patience, |findings| findings.pending > 0);
        let (findings, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if findings.pending > 0 { Err(NotTested(findings.pending)) } else { Ok(()) }
    }

    /// All that could be done so far.
    #[must_use]
    pub fn holes(&self) -> Vec<Hole> {
        self.lock().holes.clone()
    }

    /// How many threads have been tested.
    #[must_use]
    pub fn tested(&self) -> usize {
        self.lock().tested
    }

    fn lock(&self) -> MutexGuard<'_, Findings> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self) {
        let mut findings = self.lock();
        findings.pending = findings.pending.saturating_sub(1);
        self.shared.1.notify_all();
    }
}

/// Threads that have not come as far as their test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} threads were not tested in time")]
pub struct NotTested(usize);

impl threads::Watch for SelfTest {
    fn expected(&self) {
        let mut findings = self.lock();
        findings.pending = findings.pending.saturating_add(1);
    }

    fn missing(&self) {
        self.settle();
    }

    fn started(&self) {
        self.run();
        self.settle();
    }
}

// === impl Deed ===

impl Deed {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::StartProgram,
        Self::ReachProcess,
        Self::Listen,
        Self::ReadElsewhere,
        Self::WriteElsewhere,
        Self::RawSocket,
        Self::Privilege,
    ];

    /// For logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StartProgram => "start-program",
            Self::ReachProcess => "reach-process",
            Self::Listen => "listen",
            Self::ReadElsewhere => "read-elsewhere",
            Self::WriteElsewhere => "write-elsewhere",
            Self::RawSocket => "raw-socket",
            Self::Privilege => "privilege",
        }
    }

    /// Tries it; harmless where it succeeds. A thread that is out of descriptors cannot do it either, and is no hole.
    pub(super) fn is_possible(self) -> bool {
        match self {
            // "No such file" means that the kernel has looked for it.
            Self::StartProgram => Command::new(NO_PROGRAM)
                .spawn()
                .map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |_| true),
            Self::ReachProcess => pidfd_open(getpid(), PidfdFlags::empty()).is_ok(),
            // A socket without an address gets one by listening.
            Self::Listen => socket(AddressFamily::INET, SocketType::STREAM, None)
                .is_ok_and(|socket| listen(&socket, 1).is_ok()),
            Self::ReadElsewhere => File::open("/").is_ok(),
            Self::WriteElsewhere => could_write_elsewhere(),
            Self::RawSocket => {
                RAW_SOCKETS.iter().any(|(family, kind, protocol)| socket(*family, *kind, *protocol).is_ok())
            }
            Self::Privilege => !has_no_privilege(),
        }
    }
}

/// Where anybody else may write. A missing folder is as good as a closed one.
fn could_write_elsewhere() -> bool {
    let name = format!("/tmp/.gatepost-self-test-{}", rustix::thread::gettid().as_raw_nonzero());
    let made = OpenOptions::new().write(true).create_new(true).open(&name).is_ok();
    if made {
        // Who could make it can remove it.
        let _ = std::fs::remove_file(&name);
    }
    made
}

fn has_no_privilege() -> bool {
    let holds_none = capabilities(None).is_ok_and(|sets| {
        sets.effective.is_empty() && sets.permitted.is_empty() && sets.inheritable.is_empty()
    });
    // For root this asks for what it is; without the system call there is no way to be anybody else either.
    let stays = set_thread_uid(Uid::ROOT).is_err() || geteuid().is_root();
    holds_none && stays && no_new_privs().unwrap_or(false)
}

/// Nothing is there.
const NO_PROGRAM: &str = "/gatepost-self-test";
type Protocol = Option<rustix::net::Protocol>;
const RAW_SOCKETS: [(AddressFamily, SocketType, Protocol); 3] = [
    (AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)),
    (AddressFamily::PACKET, SocketType::RAW, None),
    (AddressFamily::NETLINK, SocketType::RAW, None),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A self-test that cannot fail tests nothing.
    #[test]
    fn an_unconfined_thread_is_found_out() {
        let test = SelfTest::default();
        test.run();
        let found: Vec<Deed> = test.holes().into_iter().map(|hole| hole.deed).collect();
        for deed in
            [Deed::StartProgram, Deed::ReachProcess, Deed::Listen, Deed::ReadElsewhere, Deed::Privilege]
        {
            assert!(found.contains(&deed), "{deed:?} is not among {found:?}");
        }
    }

    #[test]
    fn the_end_waits_for_every_thread_that_was_announced() {
        use gatepost_core::threads::Watch as _;
        let test = SelfTest::default();
        test.expected();
        test.expected();
        assert_eq!(test.finish(Duration::ZERO), Err(NotTested(2)));
        let other = test.clone();
        std::thread::spawn(move || other.started());
        test.missing();
        assert_eq!(test.finish(Duration::from_secs(20)), Ok(()));
        assert_eq!(test.tested(), 1);
    }
}
