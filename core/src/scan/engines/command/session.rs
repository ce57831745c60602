//! The helper's socket, and one session: the right to have an item scanned, and a process of its own for it.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};

use super::wire::{self, Answer as Said};
use crate::scan::engines::health::CallError;
use crate::scan::engines::outside::{Answer, LOOK_TIME, Scanned, Session, soon};
use crate::scan::engines::places::{Place, Places};
use crate::scan::engines::socket::Socket;
use crate::scan::threat_name;

/// The way to the helper that runs one command. Clones are the same one; with the last of them the helper ends.
#[derive(Debug, Clone)]
pub struct Helper {
    socket: Arc<OwnedFd>,
}

/// What the sessions with one command share.
#[derive(Debug)]
pub(super) struct Shared {
    helper: Helper,
    places: Arc<Places>,
    item_octets_max: u64,
    looker: Mutex<Looker>,
}

/// A process that tells the version. It remembers what it has hashed, so it is kept.
#[derive(Debug, Default)]
struct Looker {
    socket: Option<Socket>,
    /// When the version was last told.
    at: Option<Instant>,
}

/// A session. What it has is a place; a process is there only while an item is scanned.
#[derive(Debug)]
pub(super) struct CommandSession {
    shared: Arc<Shared>,
    _place: Place,
}

// === impl Helper ===

impl Helper {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket: Arc::new(socket) }
    }

    /// A new process of the helper's, by the socket to it.
    fn open(&self) -> Result<Socket, CallError> {
        let unreachable = |error: io::Error| CallError::Unreachable(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(unreachable)?;
        let passed = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&passed)) {
            return Err(CallError::Unreachable("no room for a descriptor".to_owned()));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(&self.socket, &[IoSlice::new(&[wire::OPEN])], &mut control, flags) {
            Ok(_) => Ok(Socket::of(ours)),
            Err(Errno::AGAIN) => Err(CallError::Busy),
            Err(error) => Err(gone(&error)),
        }
    }

    /// Processes that it has started may be there without it, and are of no use then.
    fn check(&self) -> Result<(), CallError> {
        let mut octet = [0];
        match recv(&self.socket, &mut octet, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(gone(&error)),
            Ok(_) => Err(gone(&"it has closed its socket")),
        }
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(helper: Helper, processes: usize, item_octets_max: u64) -> Arc<Self> {
        let (places, looker) = (Places::new(processes), Mutex::default());
        Arc::new(Self { helper, places, item_octets_max, looker })
    }

    pub(super) const fn item_octets_max(&self) -> u64 {
        self.item_octets_max
    }

    fn version(&self, due: Instant) -> Result<String, CallError> {
        let mut looker = self.looker.lock().unwrap_or_else(PoisonError::into_inner);
        self.helper.check()?;
        let kept = looker.socket.take().filter(Socket::is_quiet);
        let mut socket = match kept {
            Some(socket) => socket,
            None => self.helper.open()?,
        };
        socket.write(&[wire::VERSION], due)?;
        match read_answer(&mut socket, due)? {
            Said::Version(version) => {
                *looker = Looker { socket: Some(socket), at: Some(Instant::now()) };
                Ok(version)
            }
            Said::Failed(reason) => Err(CallError::refused(&reason)),
            other => Err(CallError::wrong_answer(&format!("{other:?}"))),
        }
    }

    /// Where all sessions are in use for long, nobody else asks for it. One that cannot be told now is told by the next look.
    fn version_if_old(&self) -> Option<String> {
        let told_at = self.looker.lock().unwrap_or_else(PoisonError::into_inner).at;
        let is_old = told_at.is_none_or(|at| at.elapsed() >= VERSION_AGE_MAX);
        if is_old { self.version(soon(LOOK_TIME)).ok() } else { None }
    }

    pub(super) fn scan(&self, item: &[u8], due: Instant) -> Result<Answer, CallError> {
        let length = u64::try_from(item.len()).unwrap_or(u64::MAX);
        if length > self.item_octets_max {
            return Ok(Answer::BeyondLimits);
        }
        let mut socket = self.helper.open()?;
        let mut head = vec![wire::ITEM];
        head.extend_from_slice(&length.to_be_bytes());
        let sent = socket.write(&head, due).and_then(|()| socket.write(item, due));
        match (sent, read_answer(&mut socket, due)) {
            (_, Ok(Said::Failed(reason))) => Err(CallError::refused(&reason)),
            (Err(CallError::Lost(_)), _) | (_, Err(CallError::Lost(_))) => Err(CallError::Crashed),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(()), Ok(Said::Clean)) => Ok(Answer::Clean),
            (Ok(()), Ok(Said::Infected(name))) => Ok(Answer::Found(threat_name(&name))),
            (Ok(()), Ok(other)) => Err(CallError::wrong_answer(&format!("{other:?}"))),
        }
    }
}

// === impl CommandSession ===

impl CommandSession {
    pub(super) fn open(shared: &Arc<Shared>, due: Instant) -> Result<(Self, String), CallError> {
        let place = shared.places.take().ok_or(CallError::Busy)?;
        let version = shared.version(due)?;
        Ok((Self { shared: Arc::clone(shared), _place: place }, version))
    }
}

impl Session for CommandSession {
    fn is_usable(&self, _idle: Duration) -> bool {
        true
    }

    fn version(&mut self, due: Instant) -> Result<String, CallError> {
        self.shared.version(due)
    }

    fn scan(&mut self, item: &[u8], due: Instant) -> Result<Scanned, CallError> {
        let answer = self.shared.scan(item, due)?;
        Ok(Scanned { answer, version: self.shared.version_if_old() })
    }
}

/// A socket as a reader with an end of time.
struct Timed<'a> {
    socket: &'a mut Socket,
    due: Instant,
    /// What an `io::Error` cannot carry.
    failure: Option<CallError>,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer, self.due).map_err(|error| {
            self.failure = Some(error);
            io::Error::from(io::ErrorKind::Other)
        })
    }
}

fn read_answer(socket: &mut Socket, due: Instant) -> Result<Said, CallError> {
    let mut reader = Timed { socket, due, failure: None };
    let answer = Said::read_from(&mut reader);
    answer.map_err(|error| reader.failure.unwrap_or_else(|| CallError::WrongAnswer(error.to_string())))
}

fn gone(why: &dyn std::fmt::Display) -> CallError {
    CallError::Unreachable(format!(
        "its helper process has ended, and a restart of the server starts it anew ({why})"
    ))
}

/// As often as the watching thread looks.
const VERSION_AGE_MAX: Duration = Duration::from_secs(5);
