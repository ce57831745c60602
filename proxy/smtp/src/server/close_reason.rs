//! Why a session ended: feeds the log line, the metric label and the test.

/// Exactly one a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// QUIT was answered.
    Quit,
    /// The peer closed its side without QUIT.
    PeerClosed,
    /// A deadline passed: 421 4.4.2.
    TimedOut,
    /// The session's time, octets, commands or transactions are used up: 421 4.7.0.
    BudgetSpent,
    /// More refusals than the error budget allows: 421 4.7.0.
    TooManyErrors,
    /// Bare CR, bare LF or NUL in a command or a body.
    BadFraming,
    /// Octets behind DATA, sent before the 354: they could be read as commands were DATA refused.
    EarlyTalker,
    /// Octets behind STARTTLS: the upgrade would have read plaintext as TLS.
    PlaintextAfterStarttls,
    /// A request of HTTP instead of a command.
    ForeignProtocol,
    /// The TLS handshake failed.
    TlsFailed,
    /// A refused or oversized chunk could not be drained within the limit.
    DrainLimit,
    /// The server is going down: 421 4.3.2.
    Shutdown,
    /// The backend said that the session cannot go on.
    Backend,
    /// A read or write failed.
    Io,
}

// === impl CloseReason ===

impl CloseReason {
    /// A stable name for metric labels and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::PeerClosed => "peer_closed",
            Self::TimedOut => "timed_out",
            Self::BudgetSpent => "budget_spent",
            Self::TooManyErrors => "too_many_errors",
            Self::BadFraming => "bad_framing",
            Self::EarlyTalker => "early_talker",
            Self::PlaintextAfterStarttls => "plaintext_after_starttls",
            Self::ForeignProtocol => "foreign_protocol",
            Self::TlsFailed => "tls_failed",
            Self::DrainLimit => "drain_limit",
            Self::Shutdown => "shutdown",
            Self::Backend => "backend",
            Self::Io => "io",
        }
    }
}
