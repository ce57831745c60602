//! Why a connection ended: feeds the log line, the metric's label and the tests.

use gatepost_core::access::pop3;
use gatepost_smtp::server::CloseReason;

/// Exactly one a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The SMTP session said so.
    Smtp(CloseReason),
    /// The POP3 session said so.
    Pop3(pop3::CloseReason),
    /// The handshake failed or took too long, at the start or after STARTTLS.
    TlsFailed,
    /// The peer did not read what we wrote.
    NotReading,
    /// A write failed: the peer is gone.
    WriteFailed,
    /// The drain's patience was spent.
    Cut,
    /// A stranger that got nowhere made room for others.
    Displaced,
    /// The machine took nothing, said nothing and waited for nothing. A defect of ours; closing is the safe answer.
    Stalled,
}

// === impl Ending ===

impl Ending {
    /// A stable name for metric labels and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp(reason) => reason.name(),
            Self::Pop3(reason) => pop3_name(reason),
            Self::TlsFailed => "tls_failed",
            Self::NotReading => "not_reading",
            Self::WriteFailed => "write_failed",
            Self::Cut => "cut",
            Self::Displaced => "displaced",
            Self::Stalled => "stalled",
        }
    }

    /// Whether the peer ended it, with or without QUIT: nothing to explain.
    pub(crate) const fn is_ordinary(self) -> bool {
        matches!(
            self,
            Self::Smtp(CloseReason::Quit | CloseReason::PeerClosed)
                | Self::Pop3(pop3::CloseReason::Quit | pop3::CloseReason::PeerClosed)
        )
    }

    /// Whether the peer has said that this is the end.
    pub(crate) const fn is_quit(self) -> bool {
        matches!(self, Self::Smtp(CloseReason::Quit) | Self::Pop3(pop3::CloseReason::Quit))
    }

    /// Whether there may be a peer who still reads: then the close is a slow one.
    pub(crate) const fn deserves_farewell(self) -> bool {
        match self {
            Self::Smtp(CloseReason::PeerClosed | CloseReason::Io | CloseReason::TlsFailed)
            | Self::Pop3(pop3::CloseReason::PeerClosed)
            | Self::TlsFailed
            | Self::NotReading
            | Self::WriteFailed
            | Self::Cut
            | Self::Displaced => false,
            Self::Smtp(_) | Self::Pop3(_) | Self::Stalled => true,
        }
    }
}

const fn pop3_name(reason: pop3::CloseReason) -> &'static str {
    match reason {
        pop3::CloseReason::Quit => "quit",
        pop3::CloseReason::NotDeleted => "not_deleted",
        pop3::CloseReason::PeerClosed => "peer_closed",
        pop3::CloseReason::TimedOut => "timed_out",
        pop3::CloseReason::TooManyFailures => "too_many_failures",
        pop3::CloseReason::TooManyErrors => "too_many_errors",
        pop3::CloseReason::BadFraming => "bad_framing",
        pop3::CloseReason::PlaintextAfterStls => "plaintext_after_starttls",
        pop3::CloseReason::Shutdown => "shutdown",
    }
}
