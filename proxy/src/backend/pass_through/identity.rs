//! What a server behind is told of the client whose mail it gets.

use gatepost_smtp::client::{Introduction, Represented};
use serde::Deserialize;

/// How it is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientIdentity {
    /// Not at all: it sees our address, and a connection serves one client after the other.
    #[default]
    None,
    /// By XCLIENT.
    Xclient,
}

// === impl ClientIdentity ===

impl ClientIdentity {
    /// Whether a session behind speaks of its client, and so is his alone.
    pub(super) const fn is_told(self) -> bool {
        match self {
            Self::None => false,
            Self::Xclient => true,
        }
    }

    /// What the server is told in the session; `client`: `None` where we only ask whether it is there.
    pub(super) fn introduction(self, client: Option<&Represented>) -> Introduction {
        match (self, client) {
            (Self::None, _) => Introduction::Ourselves,
            (Self::Xclient, None) => Introduction::Nobody,
            (Self::Xclient, Some(client)) => Introduction::Client(Box::new(client.clone())),
        }
    }

    /// Whether what a server was told still holds. `is_engaged`: whether more than mails has passed in that session, so that
    /// another name, which proves nothing, is no reason to begin anew.
    pub(super) fn still_holds(self, told: &Represented, client: &Represented, is_engaged: bool) -> bool {
        match self {
            Self::None => true,
            Self::Xclient => {
                let is_same_name = told.name == client.name && told.protocol == client.protocol;
                told.address == client.address && told.login == client.login && (is_same_name || is_engaged)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gatepost_smtp::wire::xclient::Protocol;

    use super::*;

    #[test]
    fn another_client_needs_another_session_and_another_name_only_where_nothing_hangs_on_it() {
        let told = Represented {
            address: "192.0.2.7:4711".parse().unwrap(),
            destination: Some("192.0.2.1:25".parse().unwrap()),
            name: Some("client.example".parse().unwrap()),
            protocol: Protocol::Esmtp,
            login: None,
        };
        let by_address = Represented { address: "192.0.2.8:4711".parse().unwrap(), ..told.clone() };
        let by_login = Represented { login: Some("me@localhost".parse().unwrap()), ..told.clone() };
        let by_name = Represented { name: Some("another.example".parse().unwrap()), ..told.clone() };
        let holds = |client, is_engaged| ClientIdentity::Xclient.still_holds(&told, client, is_engaged);
        assert!(holds(&told, false) && holds(&told, true));
        for client in [&by_address, &by_login] {
            assert!(!holds(client, false) && !holds(client, true));
        }
        assert!(!holds(&by_name, false) && holds(&by_name, true));
        assert!(ClientIdentity::None.still_holds(&told, &by_address, false));
    }
}
