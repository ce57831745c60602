//! What the machine is told before it meets a server.

use std::time::Duration;

use crate::wire::auth::Secret;
use crate::wire::client_name::ClientName;

/// How to talk to a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// What we call ourselves in EHLO, HELO and LHLO.
    pub name: ClientName,
    /// Which protocol it speaks.
    pub protocol: Protocol,
    /// What to do about STARTTLS.
    pub starttls: StartTls,
    /// Set where the server wants to know who we are. Only ever sent inside TLS.
    pub login: Option<Login>,
    /// How long to wait for what.
    pub patience: Patience,
}

/// The two protocols of a next hop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, and behind the final dot a reply for each accepted recipient.
    Lmtp,
}

/// What to do about STARTTLS (RFC 3207). Inside TLS it is never asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum StartTls {
    /// Stay in plaintext.
    Never,
    /// Where it is offered; where the server then has no TLS after all, go on in plaintext.
    #[default]
    IfOffered,
    /// No mail without.
    Required,
}

/// Name and password for AUTH. Its `Debug` shows no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: Secret,
}

/// The name or the password is empty, too long, or has a NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name and a password have 1 to {LOGIN_OCTETS} octets and no NUL")]
pub struct InvalidLogin;

/// How long to wait for what, by command (RFC 5321 section 4.5.3.2 gives the least that a client should wait).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the greeting.
    pub greeting: Duration,
    /// For the replies to EHLO, HELO, LHLO, STARTTLS, AUTH, RSET, MAIL and RCPT, each; and for the TLS handshake.
    pub command: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// For each part of a body to be written.
    pub block: Duration,
    /// For the reply to the final dot or the last chunk; LMTP: for each of them.
    pub end_of_data: Duration,
    /// For one mail from MAIL to its last reply: a bound for servers that use up every other limit.
    pub transaction: Duration,
    /// For the reply to QUIT: nothing depends on it.
    pub quit: Duration,
}

// === impl Login ===

impl Login {
    /// A name and a password that every mechanism can carry.
    ///
    /// # Errors
    /// Where one of them is empty, over `LOGIN_OCTETS`, or has a NUL, which separates them in PLAIN (RFC 4616).
    pub fn new(user: String, password: Secret) -> Result<Self, InvalidLogin> {
        let fits = |octets: &[u8]| (1..=LOGIN_OCTETS).contains(&octets.len()) && !octets.contains(&0);
        if fits(user.as_bytes()) && fits(password.expose()) {
            Ok(Self { user, password })
        } else {
            Err(InvalidLogin)
        }
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// For what its mechanism asks to be computed from it.
    #[must_use]
    pub const fn password(&self) -> &Secret {
        &self.password
    }
}

// === impl Patience ===

impl Default for Patience {
    fn default() -> Self {
        Self {
            greeting: GREETING_TIME,
            command: COMMAND_TIME,
            data: DATA_TIME,
            block: BLOCK_TIME,
            end_of_data: END_OF_DATA_TIME,
            transaction: TRANSACTION_TIME,
            quit: QUIT_TIME,
        }
    }
}

/// RFC 5321 section 4.5.3.2.1.
pub const GREETING_TIME: Duration = Duration::from_secs(5 * 60);

/// RFC 5321 sections 4.5.3.2.2 and 4.5.3.2.3 for MAIL and RCPT; it has none for the other commands.
pub const COMMAND_TIME: Duration = Duration::from_secs(5 * 60);

/// RFC 5321 section 4.5.3.2.4.
pub const DATA_TIME: Duration = Duration::from_secs(2 * 60);

/// RFC 5321 section 4.5.3.2.5.
pub const BLOCK_TIME: Duration = Duration::from_secs(3 * 60);

/// RFC 5321 section 4.5.3.2.6: a shorter one makes duplicates, since the server may have the mail already.
pub const END_OF_DATA_TIME: Duration = Duration::from_secs(10 * 60);

/// 50 MiB at 15 KiB a second, and as long again for a server that thinks about every recipient.
pub const TRANSACTION_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// A server that does not answer QUIT is not worth a worker's time.
pub const QUIT_TIME: Duration = Duration::from_secs(5);

/// Above what any directory takes for a name or a password.
pub const LOGIN_OCTETS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_a_mechanism_would_tear_apart_is_none() {
        let login = |user: &str, password: &[u8]| Login::new(user.to_owned(), Secret::new(password.to_vec()));
        assert!(login("user", b"pass word").is_ok());
        for (user, password) in
            [("", "x"), ("x", ""), ("a\0b", "x"), ("x", "a\0b"), (&"x".repeat(1_001), "x")]
        {
            assert_eq!(login(user, password.as_bytes()), Err(InvalidLogin));
        }
        assert!(!format!("{:?}", login("user", b"hunter2")).contains("hunter2"));
    }
}
