//! What the server says. No reply has room for a client's octets.

/// One line, complete with its indicator and, where one fits, its response code (RFC 2449 section 8, RFC 3206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply(pub(super) &'static str);

impl Reply {
    pub(super) const GREETING: Self = Self("+OK Gatepost POP3 ready");
    pub(super) const BEGIN_TLS: Self = Self("+OK begin TLS");
    pub(super) const UTF8: Self = Self("+OK UTF8 enabled");
    pub(super) const NAME_TAKEN: Self = Self("+OK now PASS");
    /// An empty SASL challenge (RFC 5034 section 4).
    pub(super) const CONTINUE: Self = Self("+ ");
    pub(super) const DONE: Self = Self("+OK");
    pub(super) const MARKED: Self = Self("+OK marked as deleted");
    pub(super) const GOODBYE: Self = Self("+OK goodbye");
    pub(super) const MESSAGE_FOLLOWS: Self = Self("+OK message follows");

    pub(super) const UNKNOWN: Self = Self("-ERR unknown command");
    pub(super) const ARGUMENTS: Self = Self("-ERR wrong arguments");
    pub(super) const NOT_NOW: Self = Self("-ERR not in this state");
    pub(super) const USE_STLS: Self = Self("-ERR [AUTH] passwords are taken inside TLS only (STLS)");
    pub(super) const NO_TLS: Self = Self("-ERR TLS cannot be started here");
    pub(super) const NO_NAME: Self = Self("-ERR USER first");
    pub(super) const MECHANISM: Self = Self("-ERR [AUTH] PLAIN is the only mechanism");
    pub(super) const CANCELLED: Self = Self("-ERR authentication cancelled");
    pub(super) const NOT_AUTHENTICATED: Self = Self("-ERR [AUTH] name or password is wrong");
    pub(super) const AUTH_UNAVAILABLE: Self =
        Self("-ERR [SYS/TEMP] passwords cannot be verified now, try later");
    pub(super) const IN_USE: Self = Self("-ERR [IN-USE] another session has the mailbox");
    pub(super) const MAILBOX_UNAVAILABLE: Self =
        Self("-ERR [SYS/TEMP] the mailbox cannot be opened now, try later");
    pub(super) const NO_SUCH_MESSAGE: Self = Self("-ERR no such message");
    pub(super) const DELETED: Self = Self("-ERR message is marked as deleted");
    pub(super) const GONE: Self = Self("-ERR [SYS/PERM] the message is gone");
    pub(super) const WITHHELD: Self =
        Self("-ERR [SYS/PERM] the message is withheld: a virus was found in it");
    pub(super) const REPLACED: Self =
        Self("-ERR [SYS/TEMP] a virus was taken out of the message: the next session has what is left");
    pub(super) const MESSAGE_UNAVAILABLE: Self =
        Self("-ERR [SYS/TEMP] the message cannot be scanned or read now, try later");
    pub(super) const NOT_DELETED: Self = Self("-ERR [SYS/TEMP] marked messages are not deleted, try later");
    pub(super) const BAD_FRAMING: Self = Self("-ERR bad line: CRLF ends a line, and lines are short");
    pub(super) const TOO_MANY_FAILURES: Self = Self("-ERR [AUTH] too many failures");
    pub(super) const TOO_MANY_ERRORS: Self = Self("-ERR too many errors");
    pub(super) const TIMED_OUT: Self = Self("-ERR [SYS/TEMP] timed out");
    pub(super) const SHUTDOWN: Self = Self("-ERR [SYS/TEMP] going down, try later");
}
