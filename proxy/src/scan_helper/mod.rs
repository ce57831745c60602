//! The processes that run scan commands for a server that cannot run any program.
//!
//! ```text
//! server --socket pair--> parent (parent.rs)          starts a process for each socket that it is sent, and sees it end
//!        --------socket-> process (item.rs)           one item, or the version:
//!                           `- the command (program.rs)   item on standard input -> exit code, first line of its output
//! ```
//! A parent is started for each command before the server's sandbox closes, and only where a command is configured. It has a
//! sandbox of its own (`sandbox::programs`), which its processes and the commands inherit. It knows one command and runs
//! nothing else, whatever the server asks for. Whatever happens to an item's process - a crash, a hang, an answer that makes no
//! sense - costs that item alone: the next one gets a process of its own. The parent never looks at an item; should somebody
//! kill it all the same, the engine is unavailable until the server is started again.

mod item;
mod parent;
mod program;
mod settings;
mod version;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use gatepost_core::scan::engines::command::{Helper, wire};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair, sockopt};

use self::settings::Settings;
use crate::config::{Config, EngineKind};
use crate::private;

/// The helpers of a configuration, by the names of their engines.
#[derive(Debug)]
pub struct Helpers {
    by_name: HashMap<String, Helper>,
    parents: Vec<Child>,
    scratch: PathBuf,
}

/// What a helper process is told on its command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Be the process for one item.
    #[arg(long)]
    item: bool,
    /// What to run, and how.
    settings: String,
}

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The helper says so.
    #[error("the scan engine {engine}: {reason}")]
    Unusable {
        /// Whose helper.
        engine: String,
        /// In its words.
        reason: String,
    },
    /// There is none.
    #[error("the helper of the scan engine {engine} cannot be started: {error}")]
    Start {
        /// Whose helper.
        engine: String,
        /// Why not.
        error: io::Error,
    },
}

/// Starts a helper for each command of the configuration; without one, nothing is started and no folder made. `scratch` is for
/// this process alone; what lies there is removed.
///
/// # Errors
/// The first that cannot be used: its program is not there, or the sandbox not to be had.
pub fn start(config: &Config, scratch: &Path) -> Result<Helpers, HelperError> {
    let mut helpers = Helpers { by_name: HashMap::new(), parents: Vec::new(), scratch: scratch.to_owned() };
    for engine in &config.scan.engines {
        let EngineKind::Command(command) = &engine.kind else { continue };
        let name = engine.name.as_str();
        let folder = scratch.join(name);
        let largest_mail = config.limits.message.max(config.limits.message_bypass);
        let settings = Settings::of(command, largest_mail, config.sandbox, folder.clone());
        let failed = |error| HelperError::Start { engine: name.to_owned(), error };
        empty(&folder).map_err(failed)?;
        let (ours, child) = spawn(&settings).map_err(failed)?;
        helpers.parents.push(child);
        match hear(&ours) {
            Ok(Ok(())) => drop(helpers.by_name.insert(name.to_owned(), Helper::from(ours))),
            Ok(Err(reason)) => {
                return Err(HelperError::Unusable { engine: name.to_owned(), reason });
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(helpers)
}

/// As `start`, for a command of the command line, with a folder among the temporary ones.
///
/// # Errors
/// As of `start`.
pub fn start_apart(config: &Config) -> Result<Helpers, HelperError> {
    start(config, &std::env::temp_dir().join(format!("gatepost-scan-{}", std::process::id())))
}

/// What a helper process does, for as long as it lives.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    let Ok(settings) = serde_json::from_str::<Settings>(&arguments.settings) else {
        return ExitCode::from(USAGE);
    };
    let done =
        if arguments.item { item::run(&settings) } else { parent::run(&settings, &arguments.settings) };
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// === impl Helpers ===

impl Helpers {
    /// That of the engine with this name.
    #[must_use]
    pub fn of(&self, engine: &str) -> Option<Helper> {
        self.by_name.get(engine).cloned()
    }

    /// Waits until they have ended, which they do once nobody can ask them any more. For who has no sandbox himself.
    pub fn finish(self) {
        let Self { by_name, parents, scratch } = self;
        let is_any = !by_name.is_empty();
        drop(by_name);
        for mut parent in parents {
            let _ = parent.wait();
        }
        if is_any {
            let _ = std::fs::remove_dir_all(scratch);
        }
    }
}

/// An empty folder of this process's own.
fn empty(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    private::make_folder(folder).map_err(io::Error::other)
}

/// This program itself, with nothing but its end of a socket and our standard error.
fn spawn(settings: &Settings) -> io::Result<(OwnedFd, Child)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let text = serde_json::to_string(settings)?;
    let mut command = Command::new(OURSELVES);
    command.arg0(NAME).args([SUBCOMMAND, &text]).env_clear().current_dir("/");
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
    let child = command.spawn()?;
    Ok((ours, child))
}

/// Its first word: it can be used, or why not.
fn hear(socket: &OwnedFd) -> io::Result<Result<(), String>> {
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    let mut octets = [0; wire::TEXT_OCTETS_MAX];
    let (_, count) = recv(socket.as_fd(), &mut octets, RecvFlags::empty())?;
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, None)?;
    match octets.get(..count) {
        Some([wire::READY]) => Ok(Ok(())),
        Some([wire::FAILED, reason @ ..]) => Ok(Err(String::from_utf8_lossy(reason).into_owned())),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    }
}

/// This very program, also where another file has taken its name meanwhile.
const OURSELVES: &str = "/proc/self/exe";
/// As lists of processes show it.
const NAME: &str = "gatepost";
/// What the command line calls it.
const SUBCOMMAND: &str = "scan-helper";
/// It only has to find its program and to confine itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// sysexits.h: nobody calls it by hand.
const USAGE: u8 = 64;
