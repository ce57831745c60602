//! What a helper process is told. It is on its command line, where operators can see what it may run.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::values::Octets;
use crate::config::{CommandEngine, CommandVersion, SandboxMode};
use crate::sandbox::programs::Limits;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) command: Vec<String>,
    pub(super) clean: Vec<u8>,
    pub(super) infected: Vec<u8>,
    pub(super) version: Version,
    pub(super) folders: Vec<PathBuf>,
    pub(super) timeout_ms: u64,
    pub(super) memory: u64,
    pub(super) item_octets_max: u64,
    pub(super) processes: u8,
    pub(super) sandbox: SandboxMode,
    /// Its own folder, which is there.
    pub(super) scratch: PathBuf,
}

/// What tells the version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Version {
    Command(Vec<String>),
    Files(Vec<PathBuf>),
}

// === impl Settings ===

impl Settings {
    pub(super) fn of(
        command: &CommandEngine,
        largest_mail: Octets,
        sandbox: SandboxMode,
        scratch: PathBuf,
    ) -> Self {
        Self {
            command: command.command.clone(),
            clean: command.clean.clone(),
            infected: command.infected.clone(),
            version: match &command.version {
                CommandVersion::Command(words) => Version::Command(words.clone()),
                CommandVersion::Files(paths) => Version::Files(paths.clone()),
            },
            folders: command.folders.clone(),
            timeout_ms: u64::try_from(command.timeout.duration().as_millis()).unwrap_or(u64::MAX),
            memory: command.memory.count(),
            item_octets_max: command.item_max.unwrap_or(largest_mail).count(),
            processes: command.processes,
            sandbox,
            scratch,
        }
    }

    /// How long an item may take. The server gives up first, and says so; this is for a server that hangs.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms).saturating_add(GRACE)
    }

    /// The programs that it runs.
    pub(super) fn programs(&self) -> impl Iterator<Item = PathBuf> {
        let version = match &self.version {
            Version::Command(words) => words.first(),
            Version::Files(_) => None,
        };
        self.command.first().into_iter().chain(version).map(PathBuf::from)
    }

    /// What its processes may read and run.
    pub(super) fn reach(&self) -> Vec<PathBuf> {
        let files = match &self.version {
            Version::Command(_) => &[],
            Version::Files(paths) => paths.as_slice(),
        };
        self.programs().chain(self.folders.iter().cloned()).chain(files.iter().cloned()).collect()
    }

    /// How much one of its processes may take.
    pub(super) fn limits(&self) -> Limits {
        Limits { memory: self.memory, file: self.item_octets_max.max(FILE_OCTETS_MAX) }
    }
}

/// To tell the server's time-out from this one.
const GRACE: Duration = Duration::from_secs(2);
/// What a scanner may unpack into one file of its folder.
const FILE_OCTETS_MAX: u64 = 1 << 30;
