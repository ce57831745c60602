//! The values that cross the session's door.

use std::time::Duration;

use bytes::Bytes;
use gatepost_smtp::server::{Identity, TlsMode};

use crate::directory::Password;

/// What a listener lets its sessions do. Shared by all of them.
#[derive(Debug, Clone)]
pub struct Config {
    /// How TLS begins here. With `None` nobody can log in: POP3 has no mechanism that is safe in plaintext.
    pub tls: TlsMode,
    /// The bounds.
    pub limits: Limits,
}

/// Bounds of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the greeting to the log-in; TLS and commands do not prolong it.
    pub authorization: Duration,
    /// A logged-in client may be silent this long; at least 10 minutes (RFC 1939 section 3).
    pub idle: Duration,
    /// From the greeting to the close.
    pub session: Duration,
    /// Failed log-ins before the session is closed.
    pub failures: u32,
    /// Commands that were not understood or not allowed before the session is closed.
    pub errors: u32,
}

/// Binds an answer to its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// What the session cannot know by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Is this user's password right? Answer: `Authenticated`, `NotAuthenticated`, `Unavailable`.
    Authenticate {
        /// As it was typed.
        user: String,
        /// As it was typed, prepared.
        password: Password,
    },
    /// Lock and list the mailbox. Answer: `Opened`, `InUse`, `Unavailable`.
    Open {
        /// Whose.
        identity: Identity,
    },
    /// The octets of a message, through the scan gate. Answer: `Message`, `Withheld`,
    /// `Replaced`, `Gone`, `Unavailable`.
    Fetch {
        /// Which.
        uid: u32,
        /// Whether more than its header goes out.
        is_read: bool,
    },
    /// Delete these messages (RFC 1939 section 6: UPDATE). Answer: `Deleted`, `Unavailable`.
    Delete {
        /// At least one.
        uids: Vec<u32>,
    },
}

/// An answer from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The identity was validated.
    Authenticated(Identity),
    /// Wrong password or unknown user.
    NotAuthenticated,
    /// The mailbox is locked for this session until it ends, and holds this.
    Opened(Maildrop),
    /// Another session has the mailbox.
    InUse,
    /// Head and body.
    Message(Bytes),
    /// A virus was found.
    Withheld,
    /// A virus was found, and what is left of it is another message now, which a later session has.
    Replaced,
    /// Somebody else has deleted it.
    Gone,
    /// They are deleted for good.
    Deleted,
    /// Not now: the verifier is busy, the scan takes too long, the store fails.
    Unavailable,
}

/// A mailbox as it was when it was opened; it does not change while it is locked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maildrop {
    /// With a message's uid it names the message for ever.
    pub uid_validity: u32,
    /// Oldest first: message 1 is the first.
    pub entries: Vec<Entry>,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its uid.
    pub uid: u32,
    /// Octets of head and body.
    pub octets: u64,
}

/// What the driver has to do next, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these octets. Large replies come in pieces: write one before polling for the next.
    Send(Bytes),
    /// Find the answer.
    Ask(Ticket, Question),
    /// Start TLS now, then `into_secured`. Only produced with nothing buffered.
    Upgrade,
    /// Close: write side first, then discard input for a bounded time.
    Close(CloseReason),
}

/// Why a session ended: exactly one a session. Messages are deleted before `Quit` alone (RFC 1939 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// QUIT was answered.
    Quit,
    /// QUIT was answered, but the messages marked as deleted are still there.
    NotDeleted,
    /// The client closed its side without QUIT.
    PeerClosed,
    /// A deadline passed.
    TimedOut,
    /// Too many failed log-ins.
    TooManyFailures,
    /// Too many commands that were not understood or not allowed.
    TooManyErrors,
    /// Bare CR, bare LF, NUL or too long a line.
    BadFraming,
    /// Octets behind STLS: the upgrade would have read plaintext as TLS.
    PlaintextAfterStls,
    /// The server is going down.
    Shutdown,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            authorization: AUTHORIZATION_TIME,
            idle: IDLE_TIME,
            session: SESSION_TIME,
            failures: FAILURES_MAX,
            errors: ERRORS_MAX,
        }
    }
}

/// A program logs in within seconds; a stranger must not hold a connection longer.
const AUTHORIZATION_TIME: Duration = Duration::from_secs(60);
/// The least that RFC 1939 section 3 allows.
const IDLE_TIME: Duration = Duration::from_secs(10 * 60);
/// A session locks its mailbox: NOOP must not hold it for ever. A day of downloading is more than enough.
const SESSION_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A person mistypes twice; a guesser needs a new connection, which admission counts.
const FAILURES_MAX: u32 = 3;
/// Clients probe for extensions, a few at a time.
const ERRORS_MAX: u32 = 10;
