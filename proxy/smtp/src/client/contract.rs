//! The values that cross the client machine's border.

use std::fmt;

use super::scram::{Challenge, ScramFault};
use crate::server::Envelope;
use crate::wire::params::BodyKind;
use crate::wire::reply_parse::{ReplyFault, ServerReply};

/// One mail for a server: the recipients are those that it shall get it for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// From and to whom. `params.size` and `params.body` are not looked at: `content` says what is so.
    pub envelope: Envelope,
    /// What will come through `Session::body`.
    pub content: Content,
}

/// What a message is made of, found by looking at it rather than by believing its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Its length, exactly.
    pub octets: u64,
    /// `SevenBit` and `EightBitMime`: CRLF lines. `BinaryMime`: anything.
    pub kind: BodyKind,
    /// Whether its header has octets outside of ASCII, which under SMTPUTF8 only a server with SMTPUTF8 may get.
    pub has_utf8_header: bool,
}

/// What became of one recipient.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server has taken over: it said so after the whole body.
    Accepted(ServerReply),
    /// 4yz to the recipient, the sender or the body; try again later.
    Temporary(ServerReply),
    /// 5yz to the recipient, the sender or the body; do not try again.
    Permanent(ServerReply),
    /// The server does not offer what this mail needs for this recipient. It was not asked.
    Unsuited(Unsuited),
    /// The session ended before the server had answered for this recipient; try again, here or elsewhere.
    Lost(Failure),
}

/// What a mail needs and a server does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unsuited {
    /// The sender's or the recipient's address, without SMTPUTF8 (RFC 6531 section 3.5).
    #[error("5.6.7 the next hop takes no addresses outside of ASCII")]
    Utf8Address,
    /// The header, without SMTPUTF8.
    #[error("5.6.9 the next hop takes no headers outside of ASCII")]
    Utf8Header,
    /// The body, without 8BITMIME (RFC 6152 section 3).
    #[error("5.6.3 the next hop takes no 8-bit content")]
    EightBit,
    /// The body, without BINARYMIME and CHUNKING (RFC 3030 section 3).
    #[error("5.6.3 the next hop takes no binary content")]
    Binary,
    /// Notices were asked for, without DSN (RFC 3461 section 4).
    #[error("5.5.4 the next hop does not support DSN")]
    Notices,
    /// REQUIRETLS was asked for (RFC 8689 section 4.2).
    #[error("5.7.30 the next hop does not support REQUIRETLS")]
    RequireTls,
    /// A login by this mechanism.
    #[error("5.5.4 the next hop does not offer the mechanism")]
    Mechanism,
    /// A verb between servers.
    #[error("5.5.1 the next hop does not offer the verb")]
    Verb,
    /// Larger than its SIZE (RFC 1870 section 6.2).
    #[error("5.3.4 the message is too large for the next hop")]
    TooLarge,
}

/// What a session was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Waiting for the greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// The TLS handshake behind it.
    Handshake,
    /// XCLIENT.
    Xclient,
    /// AUTH.
    Auth,
    /// Between mails.
    Idle,
    /// RSET.
    Reset,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The body.
    Body,
    /// Behind the final dot or the last chunk: the server may have taken the mail.
    EndOfData,
    /// A verb between servers.
    Extension,
    /// The blob behind XEXCH50.
    Blob,
    /// QUIT.
    Quit,
}

/// Why a session has ended before its time. Grouped by who is at fault: see `fault`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// 4yz or 5yz to something that no mail can go on without.
    #[error("{stage} refused: {reply}")]
    Refused {
        /// To what.
        stage: Stage,
        /// With what.
        reply: ServerReply,
    },
    /// 421, at any time.
    #[error("closed by the next hop at {stage}: {reply}")]
    ServiceClosing {
        /// When.
        stage: Stage,
        /// With what.
        reply: ServerReply,
    },
    /// A reply that the command cannot have, such as 250 to DATA.
    #[error("unexpected reply to {stage}: {reply}")]
    Unexpected {
        /// To what.
        stage: Stage,
        /// What it said.
        reply: ServerReply,
    },
    /// A reply to nothing.
    #[error("a reply without a command at {0}")]
    Unsolicited(Stage),
    /// Octets that are no reply.
    #[error("{fault} at {stage}")]
    NoReply {
        /// When.
        stage: Stage,
        /// What they are.
        fault: ReplyFault,
    },
    /// Octets between 220 to STARTTLS and the handshake: somebody wants them to be taken for something said inside TLS.
    #[error("octets injected behind STARTTLS")]
    Injected,
    /// TLS is required and not offered.
    #[error("TLS is required and was not offered")]
    NoTls,
    /// The handshake failed, for a reason that the driver knows.
    #[error("the TLS handshake failed")]
    TlsFailed,
    /// We speak for somebody, and the server offers no XCLIENT that would take his address: it would take him for us.
    #[error("XCLIENT with ADDR is required and was not offered")]
    NoXclient,
    /// A login is set, and the connection has no TLS, or no mechanism that we have is offered.
    #[error("no way to log in was offered inside TLS")]
    NoAuth,
    /// A login by SCRAM that the server did not take part in as it must; it has heard nothing that it could log in with.
    #[error("AUTH failed: {0}")]
    Scram(ScramFault),
    /// The connection ended.
    #[error("connection lost at {0}")]
    Closed(Stage),
    /// It took longer than `Patience` allows.
    #[error("timed out at {0}")]
    TimedOut(Stage),
    /// Our own message cannot be sent: it is not what `Content` says.
    #[error("the message is not what was announced")]
    BadContent,
    /// We broke it off.
    #[error("broken off at {0}")]
    Aborted(Stage),
}

/// Whose doing a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Ours: another server would not help.
    Ours,
    /// Nobody can tell: the network or the server.
    Network,
    /// The server's.
    Server,
}

/// What the driver has to do next, in order.
#[derive(Clone, PartialEq, Eq)]
pub enum Output {
    /// Write these octets. `Debug` shows their number alone: they may hold a password.
    Send(Vec<u8>),
    /// Start TLS now; then `into_secured` or `tls_failed`. Only produced with nothing buffered.
    Upgrade,
    /// Compute this from the password (`Login::password`); then `proved` or `abort`.
    Prove(Challenge),
    /// The session is open: `begin` a mail, or `quit`.
    Ready,
    /// The next part of the body is wanted: `body`, once all that was to be written is written.
    NeedBody {
        /// At most so many octets, and at least one of them where this is not 0.
        octets_max: u64,
    },
    /// What the server has said to the oldest command of those that were handed on: never 421, never a code that the command
    /// cannot have.
    Replied(ServerReply),
    /// The mail is over: one outcome a recipient, in the order of the envelope. `Ready` or `Close` follows.
    Done(Vec<Outcome>),
    /// Close the connection: after a good QUIT, or for the reason given.
    Close(Result<(), Failure>),
}

// === impl Failure ===

impl Failure {
    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::BadContent | Self::Aborted(_) => Fault::Ours,
            Self::Closed(_) | Self::TimedOut(_) | Self::TlsFailed => Fault::Network,
            Self::Refused { .. }
            | Self::ServiceClosing { .. }
            | Self::Unexpected { .. }
            | Self::Unsolicited(_)
            | Self::NoReply { .. }
            | Self::Injected
            | Self::NoTls
            | Self::NoXclient
            | Self::NoAuth
            | Self::Scram(_) => Fault::Server,
        }
    }

    /// What the server said, where it said something.
    #[must_use]
    pub const fn reply(&self) -> Option<&ServerReply> {
        match self {
            Self::Refused { reply, .. }
            | Self::ServiceClosing { reply, .. }
            | Self::Unexpected { reply, .. } => Some(reply),
            _ => None,
        }
    }

    /// Whether the server may have taken the mail without our knowing. It is tried again, since a mail may arrive twice
    /// but never not at all: the one duplicate that SMTP itself leaves (RFC 5321 section 4.5.4.2, RFC 1047).
    #[must_use]
    pub const fn may_have_delivered(&self) -> bool {
        matches!(
            self,
            Self::Closed(Stage::EndOfData)
                | Self::TimedOut(Stage::EndOfData)
                | Self::NoReply { stage: Stage::EndOfData, .. }
                | Self::Unexpected { stage: Stage::EndOfData, .. }
                | Self::Aborted(Stage::EndOfData)
        )
    }
}

// === impl Stage ===

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the greeting",
            Self::Hello => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Handshake => "the TLS handshake",
            Self::Xclient => "XCLIENT",
            Self::Auth => "AUTH",
            Self::Idle => "rest",
            Self::Reset => "RSET",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Body => "the body",
            Self::EndOfData => "the end of data",
            Self::Extension => "a verb between servers",
            Self::Blob => "a blob",
            Self::Quit => "QUIT",
        })
    }
}

// === impl Output ===

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(octets) => write!(f, "Send({} octets)", octets.len()),
            Self::Upgrade => f.write_str("Upgrade"),
            Self::Prove(challenge) => f.debug_tuple("Prove").field(challenge).finish(),
            Self::Ready => f.write_str("Ready"),
            Self::NeedBody { octets_max } => write!(f, "NeedBody({octets_max} octets)"),
            Self::Replied(reply) => f.debug_tuple("Replied").field(reply).finish(),
            Self::Done(outcomes) => f.debug_tuple("Done").field(outcomes).finish(),
            Self::Close(ending) => f.debug_tuple("Close").field(ending).finish(),
        }
    }
}
