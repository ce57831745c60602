//! The values that cross the session machine's border: facts and answers in, questions and replies out.

use std::fmt;

use super::rights::PeerClass;
use super::{CloseReason, Envelope, Evidence, Limit, Mechanism, Refusal};
use crate::client::Capabilities;
use crate::wire::auth::Secret;
use crate::wire::command::Argument;
use crate::wire::extension::{Exch50, LinkState};
use crate::wire::line::LineReader;
use crate::wire::params::{MailParams, RcptParams};
use crate::wire::path::{ForwardPath, ReversePath};
use crate::wire::reply_parse::ServerReply;
use crate::wire::token::Token;
use crate::wire::verb::Verb;
use crate::wire::xclient::Xclient;

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
    /// What it is before it authenticates: anonymous, unless its address says more.
    pub class: PeerClass,
    /// Whether it is a listed relay that may say on whose behalf it speaks.
    pub may_xclient: bool,
    /// Which deviations it is allowed.
    pub quirks: Quirks,
}

/// Deviations that are tolerated from a peer; each use is noticed. None by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// `MAIL FROM: <path>` and `RCPT TO: <path>`: one space behind the colon, which RFC 5321 section 3.3 forbids and some
    /// devices send.
    pub space_after_colon: bool,
    /// A bare LF ends a line as CRLF does, in commands and behind DATA, where it is turned into CRLF: some devices send
    /// nothing else. Behind BDAT it stays a fault.
    pub bare_lf_normalise: bool,
}

/// Who has been authenticated: only ever made from a validated identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The account's name in the directory.
    pub user: String,
    /// What the account is.
    pub class: PeerClass,
}

/// Binds an answer to its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// What the machine cannot know by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// EHLO, where its reply depends on the very session that the server behind will see: connect to it. Answer: Behind, Said
    /// or Refused.
    Behind,
    /// AUTH began: a fresh exchange. Answer: Challenge, Authenticated, Refused.
    Authenticate {
        /// AUTH or X-EXPS.
        verb: Verb,
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
    /// MAIL: begin a transaction. Answer: Accepted, Refused or Said.
    Mail {
        /// From whom.
        reverse_path: ReversePath,
        /// With which parameters.
        params: MailParams,
    },
    /// RCPT. Answer: Accepted, Refused or Said.
    Recipient {
        /// To whom.
        path: ForwardPath,
        /// With which parameters.
        params: RcptParams,
    },
    /// DATA or the first BDAT: make ready for the body. Answer: Accepted or Refused, or Said with a refusal.
    Body {
        /// The envelope so far.
        envelope: Envelope,
    },
    /// The body is whole and legal. Answer: Stored, Refused or Said.
    Commit,
    /// A verb between servers, from a peer with the right to it, where `Config::extensions` lets it through. Answer: Accepted
    /// or Refused. Behind an accepted XEXCH50 its blob goes to `BodySink::put_blob`, then `ExtensionEnd` is asked.
    Extension(Extension),
    /// The blob is whole. Answer: Accepted or Refused.
    ExtensionEnd,
    /// A listed relay says on whose behalf it speaks. Answer: Peer or Refused.
    Xclient(Xclient),
    /// A transaction that MAIL began is over and `Commit` was not asked: RSET, EHLO, STARTTLS, a refused `Body`, an
    /// illegal or oversized body, the end of the session. No answer is awaited. Never asked after `Commit`, which ends
    /// the transaction whatever its answer.
    Abort,
}

/// A verb between servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// XEXCH50; its size is within the configured one.
    Exch50(Exch50),
    /// X-LINK2STATE; it has its place in a series.
    LinkState(LinkState),
    /// ETRN, ATRN, or a verb whose argument is not public.
    Line {
        /// The verb.
        verb: Verb,
        /// The rest, printable.
        argument: Option<Argument>,
    },
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
    /// What the server behind offers in this session.
    Behind(Capabilities),
    /// Go on.
    Accepted,
    /// Do not.
    Refused(Refusal),
    /// The session begins anew with this peer; its `tls` is ignored, that of the connection stays.
    Peer(PeerFacts),
    /// What a server behind has said to the same command: for MAIL, RCPT, a refused body and the end of one. For EHLO and MAIL
    /// also what it has said to this client instead of greeting him.
    Said(ServerReply),
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
        /// What the peer sent, where the machine itself has refused it.
        evidence: Evidence,
        /// The limit that it stands on.
        limit: Option<Limit>,
        /// The name that the reply gives it.
        token: Option<Token>,
    },
    /// A verb that is for servers, from a peer without the right to it, or one that is for nobody. It was refused, of which
    /// `Refused` tells as well.
    Attack {
        /// The stable name of the rule.
        rule: &'static str,
        /// The verb, from our own list.
        verb: &'static str,
        /// What the peer is.
        class: PeerClass,
        /// What it said.
        evidence: Evidence,
    },
    /// A deviation was tolerated, as `PeerFacts::quirks` allows.
    Quirk {
        /// Its name in configuration files.
        quirk: &'static str,
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
    /// A transaction was taken by a server behind.
    HandedOn {
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

    /// Takes octets of XEXCH50's blob, as they came. A backend that never accepts `Question::Extension` never gets any.
    fn put_blob(&mut self, _octets: &[u8]) {}
}

// === impl Extension ===

impl Extension {
    /// Its verb.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Exch50(_) => Verb::Xexch50,
            Self::LinkState(_) => Verb::XLink2State,
            Self::Line { verb, .. } => *verb,
        }
    }
}

/// The command, without its CRLF.
impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.verb().name();
        match self {
            Self::Exch50(exch50) => write!(f, "{name} {exch50}"),
            Self::LinkState(chunk) => write!(f, "{name} {chunk}"),
            Self::Line { argument: None, .. } => f.write_str(name),
            Self::Line { argument: Some(argument), .. } => write!(f, "{name} {}", argument.as_str()),
        }
    }
}

// === impl Notice ===

impl Notice {
    /// `Quirks::bare_lf_normalise` was used.
    pub const BARE_LF: Self = Self::Quirk { quirk: "bare_lf_normalise" };

    /// `Quirks::space_after_colon` was used.
    pub const SPACE_AFTER_COLON: Self = Self::Quirk { quirk: "space_after_colon" };
}

// === impl PeerFacts ===

impl PeerFacts {
    /// A stranger at this address.
    #[must_use]
    pub const fn anonymous(address: std::net::SocketAddr, tls: Option<TlsFacts>) -> Self {
        let quirks = Quirks { space_after_colon: false, bare_lf_normalise: false };
        Self { address, tls, class: PeerClass::Anonymous, may_xclient: false, quirks }
    }
}

// === impl Quirks ===

impl Quirks {
    pub(super) fn line_reader(self) -> LineReader {
        if self.bare_lf_normalise { LineReader::quirk_bare_lf() } else { LineReader::default() }
    }
}

// === impl Identity ===

impl Identity {
    /// Somebody whom a server behind has let in, and whose name is between him and that server.
    #[must_use]
    pub fn relayed(class: PeerClass) -> Self {
        Self { user: RELAYED_USER.to_owned(), class }
    }

    /// Whether a server behind has let him in, and not we.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        self.user == RELAYED_USER
    }

    /// A user.
    #[must_use]
    pub const fn of_user(user: String) -> Self {
        Self { user, class: PeerClass::User }
    }
}

/// No address, so no account of ours has this name.
const RELAYED_USER: &str = "(of the server behind)";

// === impl BodySink ===

impl BodySink for Vec<u8> {
    fn put(&mut self, octets: &[u8]) {
        self.extend_from_slice(octets);
    }
}
