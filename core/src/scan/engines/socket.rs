//! A connection to an engine outside this process. Every step has a deadline, since scan threads wait for it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, socket_with,
};

use super::health::CallError;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket of this machine; its path has at most 107 octets.
    Unix(PathBuf),
    /// Mail goes there in the clear.
    Tcp(SocketAddr),
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

// === impl Address ===

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

// === impl Socket ===

impl Socket {
    pub(super) fn connect(address: &Address, due: Instant) -> Result<Self, CallError> {
        let stream = match address {
            Address::Unix(path) => Stream::Unix(connect_unix(path, due)?),
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, time_left(due)?)
                    .map_err(|error| CallError::Unreachable(error.to_string()))?;
                stream.set_nodelay(true).map_err(lost)?;
                Stream::Tcp(stream)
            }
        };
        Ok(Self { stream })
    }

    /// One end of a pair that somebody has made.
    pub(super) const fn of(stream: UnixStream) -> Self {
        Self { stream: Stream::Unix(stream) }
    }

    /// Writes as long as the other side reads. `false`: it has said something before it had all, and the rest was not
    /// written.
    pub(super) fn write_while_unanswered(&mut self, octets: &[u8], due: Instant) -> Result<bool, CallError> {
        for piece in octets.chunks(PIECE_OCTETS) {
            if self.has_input() {
                return Ok(false);
            }
            match self.write(piece, due) {
                Ok(()) => {}
                // Closed, but perhaps with a last word.
                Err(CallError::Lost(_)) if self.has_input() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    pub(super) fn write(&mut self, mut octets: &[u8], due: Instant) -> Result<(), CallError> {
        while !octets.is_empty() {
            self.stream.set_write_timeout(time_left(due)?).map_err(lost)?;
            match self.stream.write(octets) {
                Ok(count) => octets = octets.get(count..).unwrap_or_default(),
                Err(error) => interrupted(error)?,
            }
        }
        Ok(())
    }

    /// At least one octet into `buffer`, behind `filled`.
    pub(super) fn read(&mut self, buffer: &mut [u8], due: Instant) -> Result<usize, CallError> {
        loop {
            self.stream.set_read_timeout(time_left(due)?).map_err(lost)?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(CallError::Lost("closed by the engine".to_owned())),
                Ok(count) => return Ok(count),
                Err(error) => interrupted(error)?,
            }
        }
    }

    /// Whether something can be read without waiting; what ends the connection does not count.
    pub(super) fn has_input(&self) -> bool {
        let mut octet = [0];
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(self.stream.as_fd(), &mut octet, peek).is_ok_and(|(_, count)| count > 0)
    }

    /// Whether nothing has come, not even the end: what lay idle can be used again.
    pub(super) fn is_quiet(&self) -> bool {
        let mut octet = [0];
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(self.stream.as_fd(), &mut octet, peek).is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }
}

// === impl Stream ===

impl Stream {
    fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(time)),
            Self::Tcp(stream) => stream.set_read_timeout(Some(time)),
        }
    }

    fn set_write_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(Some(time)),
            Self::Tcp(stream) => stream.set_write_timeout(Some(time)),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(octets),
            Self::Tcp(stream) => stream.write(octets),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

/// The standard library connects without a bound: a process that hangs with a full backlog would hang us too.
fn connect_unix(path: &Path, due: Instant) -> Result<UnixStream, CallError> {
    let unreachable = |error: rustix::io::Errno| CallError::Unreachable(error.to_string());
    let address = SocketAddrUnix::new(path).map_err(unreachable)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(unreachable)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => break,
            Err(rustix::io::Errno::AGAIN) => thread::sleep(BACKLOG_PAUSE.min(time_left(due)?)),
            Err(error) => return Err(unreachable(error)),
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).map_err(lost)?;
    Ok(stream)
}

fn time_left(due: Instant) -> Result<Duration, CallError> {
    let left = due.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(CallError::Late) } else { Ok(left) }
}

/// `Ok` where the call is to be made again.
fn interrupted(error: io::Error) -> Result<(), CallError> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(CallError::Late),
        _ => Err(lost(error)),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it stands where an error is mapped")]
fn lost(error: io::Error) -> CallError {
    CallError::Lost(error.to_string())
}

/// Often enough to notice an early answer, seldom enough to cost nothing.
const PIECE_OCTETS: usize = 256 * 1024;
/// Until a place in the backlog may have become free.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);
