//! How a command ended, for people and for scripts.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The exit codes, after sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It failed, or `scan` found something.
    Failure,
    /// The arguments are wrong.
    Usage,
    /// It cannot start: a port is taken, or another server uses the data folder. Or it needs a server, and none runs.
    Unavailable,
    /// An output file cannot be made.
    CannotCreate,
    /// The configuration, a key or the permissions of a file are wrong.
    Configuration,
}

/// Why a command failed, in words for whoever called it.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    is_broken_pipe: bool,
}

// === impl Exit ===

impl Exit {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Failure, Self::Usage, Self::Unavailable, Self::CannotCreate, Self::Configuration];

    /// What the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::CannotCreate => 73,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

// === impl Failure ===

impl Failure {
    /// With one of the exit codes.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), is_broken_pipe: false }
    }

    /// A plain failure.
    pub fn general(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failure, message)
    }

    /// Only a running server can do it.
    #[must_use]
    pub fn no_server() -> Self {
        Self::new(Exit::Unavailable, NO_SERVER)
    }

    /// Standard output failed. A reader that has seen enough (`| head`) is no failure.
    #[must_use]
    pub fn of_output(error: &io::Error) -> Self {
        let is_broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { is_broken_pipe, ..Self::general(format!("cannot write the output: {error}")) }
    }

    /// What the shell is to see.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether the reader of the output has gone.
    #[must_use]
    pub const fn is_broken_pipe(&self) -> bool {
        self.is_broken_pipe
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What every command says that cannot do without one.
const NO_SERVER: &str = "no server runs on this data folder; start it first";
