//! The values that cross the session machine's border: configuration in, questions and replies out.

use std::time::Duration;

use super::{CloseReason, Envelope, Refusal};
use crate::wire::auth::Secret;
use crate::wire::limits;
use crate::wire::params::{MailParams, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};

/// How this listener does TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// STARTTLS is offered; MAIL before it gets 530 5.7.0 where AUTH is required.
    StartTls,
    /// TLS from the first octet.
    Implicit,
    /// Plaintext for good.
    None,
}

/// A SASL mechanism that this server can offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 7677 with RFC 9266 channel binding.
    ScramSha256Plus,
    /// RFC 7677.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// The obsolete LOGIN, still asked for by clients.
    Login,
}

/// What AUTH offers inside and outside of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthOffer {
    /// Inside TLS, in the order of EHLO.
    pub inside_tls: Vec<Mechanism>,
    /// Outside: empty, or SCRAM-SHA-256 alone.
    pub outside_tls: Vec<Mechanism>,
}

/// Bounds of one session. Every default is a named constant beside its rule in `wire::limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, octets.
    pub message_octets: u64,
    /// RCPTs a transaction, at least 100 (RFC 5321 section 4.5.3.1.8).
    pub recipients: usize,
    /// Transactions a session.
    pub transactions: u32,
    /// Commands a session.
    pub commands: u32,
    /// Refusals before 421.
    pub errors: u32,
    /// A command must be complete this long after we are ready for it.
    pub command: Duration,
    /// Between two body octets (RFC 5321 section 4.5.3.2.5).
    pub data_idle: Duration,
    /// From the start of a body to its end.
    pub data_total: Duration,
    /// From accept to close.
    pub session: Duration,
    /// Octets a session, whatever they are.
    pub octets: u64,
    /// Octets a second that a body must come at.
    pub data_rate: u64,
    /// Octets that are dropped before 421: of refused chunks since the last stored message, of an illegal or oversized
    /// DATA body beyond `message_octets`, of one over-long command line.
    pub drain_octets: u64,
}

/// What a listener lets its sessions do. Shared by all of them.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our name in the greeting and in EHLO; a checked domain name.
    pub hostname: String,
    /// How TLS begins here.
    pub tls: TlsMode,
    /// Whether MAIL needs AUTH: 530 5.7.0.
    pub require_auth: bool,
    /// Which mechanisms are offered when.
    pub auth: AuthOffer,
    /// Whether BINARYMIME is offered.
    pub binarymime: bool,
    /// The bounds.
    pub limits: Limits,
}

/// What is known of a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// Such as `TLSv1.3`.
    pub version: String,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
}

/// What is known of the peer before its first octet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerFacts {
    /// Its address.
    pub address: std::net::SocketAddr,
    /// Set where TLS came first.
    pub tls: Option<TlsFacts>,
}

/// Who has been authenticated: only ever made from a validated identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The account's name in the directory.
    pub user: String,
}

/// Binds an answer to its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// What the machine cannot know by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// AUTH began: a fresh exchange. Answer: Challenge, Authenticated, Refused.
    Authenticate {
        /// Which mechanism; it was offered.
        mechanism: Mechanism,
        /// The initial response, base64 decoded; empty for `=`.
        initial_response: Option<Secret>,
    },
    /// The client's next response, base64 decoded. Answer as above.
    AuthenticateContinue {
        /// The response.
        response: Secret,
    },
    /// The exchange was cancelled (`*`) or broken off: forget its state. No answer is awaited.
    AuthenticateAbort,
    /// MAIL: begin a transaction. Answer: Accepted or Refused.
    Mail {
        /// From whom.
        reverse_path: ReversePath,
        /// With which parameters.
        params: MailParams,
    },
    /// RCPT. Answer: Accepted or Refused.
    Recipient {
        /// To whom.
        path: ForwardPath,
        /// With which parameters.
        params: RcptParams,
    },
    /// DATA or the first BDAT: make ready for the body. Answer: Accepted or Refused.
    Body {
        /// The envelope so far.
        envelope: Envelope,
    },
    /// The body is whole and legal. Answer: Stored or Refused.
    Commit,
    /// A transaction that MAIL began is over and `Commit` was not asked: RSET, EHLO, STARTTLS, a refused `Body`, an
    /// illegal or oversized body, the end of the session. No answer is awaited. Never asked after `Commit`, which ends
    /// the transaction whatever its answer.
    Abort,
}

/// An answer from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The server's next SASL challenge, not yet base64.
    Challenge(Vec<u8>),
    /// The identity was validated. `final_data` is SCRAM's server-final, sent as a last challenge where the mechanism has one.
    Authenticated {
        /// Who.
        identity: Identity,
        /// The additional data with success, if the mechanism has any.
        final_data: Option<Vec<u8>>,
    },
    /// Go on.
    Accepted,
    /// Do not.
    Refused(Refusal),
    /// Durable under this queue id, which goes into the 250 reply.
    Stored {
        /// At most 32 characters of `[0-9A-Z]`.
        queue_id: String,
    },
}

/// What the driver has to do next, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write these octets. Replies that follow one another come as one `Send`; the driver may join `Send`s further, and
    /// must write before it waits for the peer or for a slow answer.
    Send(Vec<u8>),
    /// Find the answer.
    Ask(Ticket, Question),
    /// Start TLS now; then `into_secured`. Only produced with nothing buffered.
    Upgrade,
    /// Something that an operator may want to know.
    Notice(Notice),
    /// Close: write side first, then discard input for a bounded time.
    Close(CloseReason),
}

/// For the log and the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A command or body was refused.
    Refused {
        /// The stable name of the rule, such as `framing.bare_lf`.
        rule: &'static str,
        /// The verb it was in, from our own list.
        verb: &'static str,
        /// The reply's code.
        code: u16,
    },
    /// A transaction was committed.
    Stored {
        /// Its queue id.
        queue_id: String,
        /// Octets of the body.
        octets: u64,
        /// Accepted recipients.
        recipients: usize,
    },
    /// AUTH succeeded.
    Authenticated {
        /// Who.
        user: String,
        /// How.
        mechanism: Mechanism,
    },
}

/// Where body octets go: appended without a further copy.
pub trait BodySink {
    /// Takes decoded body octets (dot-unstuffed, lines ending in CRLF unless BINARYMIME).
    fn put(&mut self, octets: &[u8]);
}

// === impl Mechanism ===

impl Mechanism {
    /// Every mechanism that the machine knows.
    pub const ALL: [Self; 4] = [Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// The name of the IANA registry, upper-case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of that name, compared case-insensitively (RFC 4954 section 4).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Whether it binds to the TLS channel and so makes sense inside TLS only.
    #[must_use]
    pub const fn binds_channel(self) -> bool {
        matches!(self, Self::ScramSha256Plus)
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_octets: limits::MESSAGE_OCTETS,
            recipients: limits::RECIPIENTS,
            transactions: limits::TRANSACTIONS,
            commands: limits::COMMANDS,
            errors: limits::ERRORS,
            command: limits::COMMAND_TIME,
            data_idle: limits::DATA_IDLE_TIME,
            data_total: limits::DATA_TOTAL_TIME,
            session: limits::SESSION_TIME,
            octets: limits::SESSION_OCTETS,
            data_rate: limits::DATA_RATE,
            drain_octets: limits::DRAIN_OCTETS,
        }
    }
}

// === impl BodySink ===

impl BodySink for Vec<u8> {
    fn put(&mut self, octets: &[u8]) {
        self.extend_from_slice(octets);
    }
}
