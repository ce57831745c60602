//! What a server behind is told of the client whose mail it gets.

use std::borrow::Cow;
use std::io;

use gatepost_core::delivery::hop::{NextHop, Preamble};
use gatepost_smtp::client::{Introduction, Represented};
use serde::Deserialize;

use super::proxy_header;

/// How it is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientIdentity {
    /// Not at all: it sees our address, and a connection serves one client after the other.
    #[default]
    None,
    /// By XCLIENT.
    Xclient,
    /// By a header of the PROXY protocol, version 1.
    ProxyV1,
    /// Version 2.
    ProxyV2,
}

// === impl ClientIdentity ===

impl ClientIdentity {
    /// Whether a session behind speaks of its client, and so is his alone.
    pub(super) const fn is_told(self) -> bool {
        match self {
            Self::None => false,
            Self::Xclient | Self::ProxyV1 | Self::ProxyV2 => true,
        }
    }

    /// The server as one that is told of the client; `None` where we only ask whether it is there.
    ///
    /// # Errors
    /// There is no header that would say it.
    pub(super) fn tell<'a>(
        self,
        hop: &'a NextHop,
        client: Option<&Represented>,
    ) -> io::Result<Cow<'a, NextHop>> {
        let ends = client.map(|client| (client.address, client.destination));
        let hop = match self {
            Self::None => return Ok(Cow::Borrowed(hop)),
            Self::Xclient => hop.clone().introducing(match client {
                None => Introduction::Nobody,
                Some(client) => Introduction::Client(Box::new(client.clone())),
            }),
            Self::ProxyV1 => hop.clone().preceded_by(match ends {
                // Postfix does not know how to say that a connection is one of our own (UNKNOWN).
                None => Preamble::OfEnds(|ours, server| proxy_header::text((ours, Some(server)))),
                Some(ends) => Preamble::Octets(proxy_header::text(ends).into()),
            }),
            Self::ProxyV2 => hop.clone().preceded_by(Preamble::Octets(proxy_header::binary(ends)?.into())),
        };
        Ok(Cow::Owned(hop))
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
            Self::ProxyV1 | Self::ProxyV2 => told.address == client.address,
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
        assert!(ClientIdentity::ProxyV1.still_holds(&told, &by_login, false));
        assert!(!ClientIdentity::ProxyV2.still_holds(&told, &by_address, true));
    }
}
