//! The one mapping from refusal to reply, to the rule's name, and to who is at fault.

use super::CloseReason;
use crate::wire::command::SyntaxError;
use crate::wire::line::Fault;
use crate::wire::reply::Reply;

/// Why something was refused: by the machine itself, or outside of it (directory, policy, storage, scanner).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    // Decided outside of the machine.
    /// 550 5.1.1: no such mailbox here.
    UnknownRecipient,
    /// 451 4.4.3: the server behind that knows the recipients gives no answer.
    RecipientUnverified,
    /// 553 5.6.7: the sender or this recipient is outside of ASCII, and the server behind takes no such address.
    NoSmtpUtf8Behind,
    /// 451 4.4.1: the server behind cannot be reached.
    BehindUnavailable,
    /// 451 4.4.2: the connection to the server behind was lost, or it has taken too long.
    BehindLost,
    /// 451 4.3.0: the server behind has less now than what was offered for it.
    LessBehind,
    /// 550 5.7.1: neither a local domain nor a right to relay.
    RelayDenied,
    /// 550 5.7.1: the user may not send as this address.
    SenderNotOwned,
    /// 535 5.7.8.
    AuthenticationFailed,
    /// 454 4.7.0: the verification pool is full or the directory failed.
    AuthenticationUnavailable,
    /// 452 4.3.1: no space.
    StorageFull,
    /// 451 4.3.0: the flush failed, or the backend did.
    StorageFailed,
    /// 554 5.7.1: a virus was found.
    Infected,
    /// 451 4.7.1: the scanner gave no verdict and the listener fails closed.
    ScanUnavailable,
    /// 554 5.6.0: the content cannot be taken (broken or forbidden by policy).
    ContentRejected,
    /// 451 4.3.0: the directory or another part of ours failed.
    LocalError,
    /// 452 4.5.3.
    TooManyRecipients,
    /// 451 4.7.1: too many messages or recipients within a while.
    RateLimited,
    /// 554 5.4.6: more Received headers than the loop limit.
    RoutingLoop,

    // Framing and syntax.
    /// 500 5.5.2, then closed: a command with a bare CR, a bare LF or a NUL.
    CommandFraming(Fault),
    /// 554 5.6.0, then closed: a body with one of them.
    BodyFraming(Fault),
    /// 500 5.5.2: a line over its verb's limit.
    LineTooLong,
    /// 500 5.5.6: a line of an AUTH exchange over its limit (RFC 4954 section 4).
    AuthLineTooLong,
    /// 500 5.5.1.
    UnknownVerb,
    /// 500 5.5.1, like an unknown one: a verb that is for nobody.
    ForbiddenVerb,
    /// 501 5.5.4, 5.5.2, 5.1.7, 5.1.3 or 555 5.5.4.
    Syntax(SyntaxError),
    /// 501 5.5.4, then closed: a BDAT without a readable size, so that nobody knows what follows.
    ChunkSyntax,
    /// 502 5.5.1: a verb that this listener has switched off.
    NotImplemented,

    // Rights.
    /// 530 5.7.0: STARTTLS first.
    StartTlsRequired,
    /// 530 5.7.0: AUTH first.
    AuthenticationRequired,
    /// 538 5.7.11: this mechanism inside TLS only.
    EncryptionRequired,

    /// 550 5.7.1: the peer is known, and may not hand in mail.
    SubmissionDenied,
    /// 504 5.7.0: XEXCH50 or X-LINK2STATE without the right to it.
    ServersOnly,
    /// 530 5.7.0: another verb between servers, from a stranger.
    ExtensionUnauthenticated,
    /// 550 5.7.1: another verb between servers, from a known peer without the right to it.
    ExtensionDenied,

    // Order and parameters.
    /// 503 5.5.1.
    BadSequence,
    /// 554 5.5.1: no RCPT was accepted.
    NoValidRecipients,
    /// 503 5.5.1: a BINARYMIME body needs BDAT.
    BinaryNeedsChunks,
    /// 555 5.5.4: a parameter whose extension is not offered here.
    ParameterNotOffered,
    /// 550 5.6.7: a sender outside of ASCII without SMTPUTF8.
    SenderNeedsSmtpUtf8,
    /// 553 5.6.7: a recipient outside of ASCII without SMTPUTF8.
    RecipientNeedsSmtpUtf8,
    /// 552 5.3.4.
    MessageTooLarge,
    /// 552 5.3.4: the blob of XEXCH50.
    BlobTooLarge,
    /// 504 5.5.4.
    UnknownMechanism,
    /// 501 5.5.2: a response of the AUTH exchange is not base64, or not empty where it must be.
    AuthenticationMalformed,
    /// 501 5.7.0: the client cancelled with `*`.
    AuthenticationCancelled,

    // Refusals that end the session.
    /// 554 5.5.0: octets behind DATA before the 354.
    EarlyTalker,
    /// 554 5.5.0: octets behind STARTTLS.
    PlaintextAfterStarttls,
    /// 500 5.5.1: a request of HTTP. Its body may hold commands that whoever led the browser here could not send himself.
    ForeignProtocol,
    /// 421 4.7.0: one AUTH after too many failed ones.
    TooManyAuthFailures,
    /// 421 4.7.0: one refusal more than the error budget.
    TooManyErrors,
    /// 421 4.7.0: the session's time, commands or transactions are used up.
    BudgetSpent,
    /// 421 4.7.0: more octets to drain than the limit.
    DrainLimit,
    /// 421 4.4.2.
    TimedOut,
    /// 421 4.4.2: a body comes too slowly.
    TooSlow,
    /// 421 4.3.2.
    ShuttingDown,
    /// 421 4.3.0: an answer from outside never came, or does not fit its question.
    BackendFailed,
}

/// Who a refusal is to be blamed on: only a peer's own faults count against its error budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtFault {
    Peer,
    Us,
}

/// All that follows from a refusal.
#[derive(Debug)]
pub(super) struct Explanation {
    /// A stable name.
    pub(super) rule: &'static str,
    pub(super) at_fault: AtFault,
    pub(super) reply: Reply<'static>,
}

// === impl Refusal ===

impl Refusal {
    /// The stable name of the rule that decided, such as `framing.bare_lf`.
    #[must_use]
    pub fn rule(self) -> &'static str {
        self.explain().rule
    }

    /// What the peer hears.
    #[must_use]
    pub fn reply(self) -> Reply<'static> {
        self.explain().reply
    }

    /// Whether its reply names it: where policy, content or our own state decided, so that a person asks why. What is
    /// merely malformed explains itself, and replies about rights to extension verbs never vary.
    #[must_use]
    pub const fn carries_token(self) -> bool {
        matches!(
            self,
            Self::UnknownRecipient
                | Self::RecipientUnverified
                | Self::NoSmtpUtf8Behind
                | Self::BehindUnavailable
                | Self::BehindLost
                | Self::LessBehind
                | Self::RelayDenied
                | Self::SenderNotOwned
                | Self::AuthenticationFailed
                | Self::AuthenticationUnavailable
                | Self::StorageFull
                | Self::StorageFailed
                | Self::Infected
                | Self::ScanUnavailable
                | Self::ContentRejected
                | Self::LocalError
                | Self::RateLimited
                | Self::TooManyRecipients
                | Self::RoutingLoop
                | Self::BodyFraming(_)
                | Self::StartTlsRequired
                | Self::AuthenticationRequired
                | Self::EncryptionRequired
                | Self::MessageTooLarge
                | Self::TooManyAuthFailures
                | Self::TooManyErrors
                | Self::BudgetSpent
                | Self::DrainLimit
                | Self::BackendFailed
        )
    }

    /// How the session ends by it, if it does.
    #[must_use]
    pub const fn close_reason(self) -> Option<CloseReason> {
        match self {
            Self::CommandFraming(_) | Self::BodyFraming(_) | Self::ChunkSyntax => {
                Some(CloseReason::BadFraming)
            }
            Self::EarlyTalker => Some(CloseReason::EarlyTalker),
            Self::PlaintextAfterStarttls => Some(CloseReason::PlaintextAfterStarttls),
            Self::ForeignProtocol => Some(CloseReason::ForeignProtocol),
            Self::TooManyAuthFailures | Self::TooManyErrors => Some(CloseReason::TooManyErrors),
            Self::BudgetSpent => Some(CloseReason::BudgetSpent),
            Self::DrainLimit => Some(CloseReason::DrainLimit),
            Self::TimedOut | Self::TooSlow => Some(CloseReason::TimedOut),
            Self::ShuttingDown => Some(CloseReason::Shutdown),
            Self::BackendFailed => Some(CloseReason::Backend),
            _ => None,
        }
    }

    pub(super) fn explain(self) -> Explanation {
        use AtFault::{Peer, Us};
        let explain = |rule, at_fault, code, subject, detail, text| {
            let reply = Reply::fixed(code, subject, detail, text);
            Explanation { rule, at_fault, reply }
        };
        match self {
            Self::UnknownRecipient => explain("rcpt.unknown", Peer, 550, 1, 1, "No such mailbox here"),
            Self::NoSmtpUtf8Behind => explain(
                "rcpt.no_smtputf8_behind",
                Peer,
                553,
                6,
                7,
                "No SMTPUTF8 on the way to this recipient",
            ),
            Self::RecipientUnverified => {
                explain("rcpt.unverified", Us, 451, 4, 3, "Cannot verify the recipient now, try later")
            }
            Self::RelayDenied => explain("rcpt.relay_denied", Peer, 550, 7, 1, "Relaying denied"),
            Self::BehindUnavailable => {
                explain("behind.unavailable", Us, 451, 4, 1, "No connection to the mail server, try later")
            }
            Self::BehindLost => {
                explain("behind.lost", Us, 451, 4, 2, "Lost the connection to the mail server, try later")
            }
            Self::LessBehind => {
                explain("behind.less", Us, 451, 3, 0, "The mail server cannot take this now, try later")
            }
            Self::SenderNotOwned => explain("mail.not_owner", Peer, 550, 7, 1, "Not your sender address"),
            Self::AuthenticationFailed => explain("auth.failed", Peer, 535, 7, 8, "Authentication failed"),
            Self::AuthenticationUnavailable => {
                explain("auth.unavailable", Us, 454, 7, 0, "Cannot authenticate now")
            }
            Self::StorageFull => explain("storage.full", Us, 452, 3, 1, "Insufficient storage, try later"),
            Self::StorageFailed => {
                explain("storage.failed", Us, 451, 3, 0, "Could not store the message, try later")
            }
            Self::Infected => explain("scan.infected", Peer, 554, 7, 1, "Message refused: malicious content"),
            Self::ScanUnavailable => {
                explain("scan.unavailable", Us, 451, 7, 1, "Cannot check the message, try later")
            }
            Self::ContentRejected => explain("content.rejected", Peer, 554, 6, 0, "Message content refused"),
            Self::LocalError => explain("local.error", Us, 451, 3, 0, "Local error, try later"),
            // Our limit, not the peer's fault: RFC 5321 section 4.5.3.1.10 has it send the rest in the next transaction.
            Self::TooManyRecipients => explain("rcpt.too_many", Us, 452, 5, 3, "Too many recipients"),
            Self::RateLimited => explain("admission.rate", Peer, 451, 7, 1, "Too many at once, try later"),
            Self::RoutingLoop => explain("content.loop", Peer, 554, 4, 6, "Too many hops"),
            Self::CommandFraming(fault) => {
                explain(fault.rule(), Peer, 500, 5, 2, "Lines must end with CR LF")
            }
            Self::BodyFraming(fault) => {
                explain(fault.rule(), Peer, 554, 6, 0, "Message refused: lines must end with CR LF")
            }
            Self::Syntax(error) => explain_syntax(error),
            Self::TooManyErrors => explain("budget.errors", Peer, 421, 7, 0, "Too many errors, closing"),
            Self::TimedOut => explain("budget.timeout", Peer, 421, 4, 2, "Timeout, closing"),
            Self::TooSlow => explain("budget.data_rate", Peer, 421, 4, 2, "Too slow, closing"),
            Self::ShuttingDown => explain("local.shutdown", Us, 421, 3, 2, "Shutting down, try later"),
            Self::BackendFailed => explain("local.backend", Us, 421, 3, 0, "Local error, closing"),
            _ => self.explain_protocol(),
        }
    }

    /// The refusals that come out of the machine's own tables.
    fn explain_protocol(self) -> Explanation {
        let explain = |rule, code, subject, detail, text| {
            let reply = Reply::fixed(code, subject, detail, text);
            Explanation { rule, at_fault: AtFault::Peer, reply }
        };
        match self {
            Self::LineTooLong => explain("line.too_long", 500, 5, 2, "Line too long"),
            Self::AuthLineTooLong => explain("auth.line_too_long", 500, 5, 6, "Authentication line too long"),
            Self::UnknownVerb => explain("verb.unknown", 500, 5, 1, "Unknown command"),
            Self::ForbiddenVerb => explain("verb.forbidden", 500, 5, 1, "Unknown command"),
            Self::SubmissionDenied => explain("right.submit", 550, 7, 1, "You may not send mail here"),
            Self::ServersOnly => explain(EXTENSION_RULE, 504, 7, 0, "Need to authenticate first"),
            Self::ExtensionUnauthenticated => explain(EXTENSION_RULE, 530, 7, 0, "Authentication required"),
            Self::ExtensionDenied => explain(EXTENSION_RULE, 550, 7, 1, "Not permitted"),
            Self::BlobTooLarge => explain("size.blob", 552, 3, 4, "Blob too large"),
            Self::ChunkSyntax => {
                explain("bdat.syntax", 501, 5, 4, "Cannot read the size of this chunk, closing")
            }
            Self::NotImplemented => explain("verb.off", 502, 5, 1, "Not available here"),
            Self::StartTlsRequired => explain("right.tls", 530, 7, 0, "Must issue a STARTTLS command first"),
            Self::AuthenticationRequired => explain("right.auth", 530, 7, 0, "Authentication required"),
            Self::EncryptionRequired => explain("right.encryption", 538, 7, 11, "This mechanism needs TLS"),
            Self::BadSequence => explain("order.bad_sequence", 503, 5, 1, "Bad sequence of commands"),
            Self::NoValidRecipients => explain("order.no_recipients", 554, 5, 1, "No valid recipients"),
            Self::BinaryNeedsChunks => explain("order.binary_data", 503, 5, 1, "BINARYMIME needs BDAT"),
            Self::ParameterNotOffered => {
                explain("param.not_offered", 555, 5, 4, "Parameter not available here")
            }
            Self::SenderNeedsSmtpUtf8 => {
                explain("mail.needs_smtputf8", 550, 6, 7, "This address needs SMTPUTF8")
            }
            Self::RecipientNeedsSmtpUtf8 => {
                explain("rcpt.needs_smtputf8", 553, 6, 7, "This address needs SMTPUTF8")
            }
            Self::MessageTooLarge => explain("size.message", 552, 3, 4, "Message too large"),
            Self::UnknownMechanism => {
                explain("auth.mechanism", 504, 5, 4, "Unknown authentication mechanism")
            }
            Self::AuthenticationMalformed => explain("auth.malformed", 501, 5, 2, "Malformed response"),
            Self::AuthenticationCancelled => explain("auth.cancelled", 501, 7, 0, "Authentication cancelled"),
            Self::EarlyTalker => {
                explain("order.early_talker", 554, 5, 0, "Wait for 354 before sending, closing")
            }
            Self::PlaintextAfterStarttls => {
                explain("tls.plaintext", 554, 5, 0, "Wait for 220 before TLS, closing")
            }
            Self::ForeignProtocol => explain("verb.http", 500, 5, 1, "Not an HTTP server, closing"),
            Self::TooManyAuthFailures => {
                explain("budget.auth", 421, 7, 0, "Too many failed authentications, closing")
            }
            Self::DrainLimit => explain("budget.drain", 421, 7, 0, "Too much refused data, closing"),
            _ => explain("budget.session", 421, 7, 0, "Session budget spent, closing"),
        }
    }
}

/// One rule with three answers: a verb between servers needs its right.
const EXTENSION_RULE: &str = "right.extension";

fn explain_syntax(error: SyntaxError) -> Explanation {
    let (rule, reply) = match error {
        SyntaxError::Verb => ("syntax.verb", Reply::fixed(500, 5, 2, "Syntax error")),
        SyntaxError::Argument => ("syntax.argument", Reply::fixed(501, 5, 4, "Syntax error in argument")),
        SyntaxError::ReversePath => {
            ("syntax.reverse_path", Reply::fixed(501, 1, 7, "Malformed sender address"))
        }
        SyntaxError::ForwardPath => {
            ("syntax.forward_path", Reply::fixed(501, 1, 3, "Malformed recipient address"))
        }
        SyntaxError::UnknownParameter => ("syntax.parameter", Reply::fixed(555, 5, 4, "Unknown parameter")),
        SyntaxError::Base64 => ("syntax.base64", Reply::fixed(501, 5, 2, "Malformed base64")),
    };
    Explanation { rule, at_fault: AtFault::Peer, reply }
}
