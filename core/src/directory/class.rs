//! What an account is: a person's, or another server's.

use std::fmt;
use std::str::FromStr;

use gatepost_smtp::server::PeerClass;

/// The class that a log-in gives. Never the anonymous one: who has logged in is somebody.
///
/// Accounts of all classes but `User` are keys for machines. They have no mailbox: no mail is delivered to them, no alias
/// leads to them, they are nobody's postmaster, and POP3 does not know them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccountClass {
    /// A person with a mailbox.
    #[default]
    User,
    /// Another organisation's server.
    Partner,
    /// A server of the same organisation.
    Server,
    /// A peer that is secured by other means.
    ExternallySecured,
}

/// No class of accounts has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no class of accounts: these are user, partner, server and externally-secured")]
pub struct UnknownClass {
    /// What was given.
    text: String,
}

// === impl AccountClass ===

impl AccountClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::User, Self::Partner, Self::Server, Self::ExternallySecured];

    /// Whether an account of this class has a mailbox.
    #[must_use]
    pub const fn has_mailbox(self) -> bool {
        matches!(self, Self::User)
    }

    /// The name in the directory and on the command line: that of the class of peers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.peer_class().name()
    }

    /// What a peer is that has logged in.
    #[must_use]
    pub const fn peer_class(self) -> PeerClass {
        match self {
            Self::User => PeerClass::User,
            Self::Partner => PeerClass::Partner,
            Self::Server => PeerClass::Server,
            Self::ExternallySecured => PeerClass::ExternallySecured,
        }
    }
}

impl FromStr for AccountClass {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        let known = Self::ALL.into_iter().find(|class| class.name() == text);
        known.ok_or_else(|| UnknownClass { text: text.to_owned() })
    }
}

impl fmt::Display for AccountClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_reads_back_as_itself_and_nobody_is_anonymous() {
        for class in AccountClass::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
            assert_ne!(class.peer_class(), PeerClass::Anonymous);
        }
        for text in ["anonymous", "Server", ""] {
            assert!(text.parse::<AccountClass>().is_err(), "{text:?}");
        }
    }
}
