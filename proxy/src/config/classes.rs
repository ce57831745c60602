//! Who is more than a stranger, what each class may do, and which verbs there are: `peers`, `client_certificates`,
//! `rights` and `switched_off` of a listener.

use std::collections::HashSet;
use std::path::PathBuf;

use gatepost_smtp::server::{ClassRights, PeerClass, Right, Rights};
use gatepost_smtp::wire::verb::Verb;
use serde::Deserialize;

use super::network::TrustedNetwork;
use super::values::Hostname;

/// Peers of these networks are of this class before they authenticate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerNetworks {
    /// Which class.
    pub class: ListedClass,
    /// From where.
    pub networks: Vec<TrustedNetwork>,
}

/// Clients are asked for a certificate, and those with a good one may log in by it (SASL EXTERNAL).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// A PEM file with the certificates of those who vouch for clients.
    pub authorities: PathBuf,
    /// Whom they vouch for.
    pub peers: Vec<PeerNames>,
}

/// Clients with one of these names in their certificate are of this class once they have logged in by it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerNames {
    /// Which class.
    pub class: ListedClass,
    /// Domain names; no wildcards.
    pub names: Vec<Hostname>,
}

/// What an address or a certificate can make of a peer: never a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListedClass {
    /// Another organisation's server.
    Partner,
    /// A server of the same organisation.
    Server,
    /// Secured by other means.
    ExternallySecured,
}

/// The rights of each class that differ from the usual ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WrittenRights {
    anonymous: Option<Vec<GrantedRight>>,
    user: Option<Vec<GrantedRight>>,
    partner: Option<Vec<GrantedRight>>,
    server: Option<Vec<GrantedRight>>,
    externally_secured: Option<Vec<GrantedRight>>,
}

/// A right that a class can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct GrantedRight(Right);

/// A verb that mail can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SwitchableVerb(Verb);

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClass {
    /// Not a right, or none that a class can be given.
    #[error("not a right: {0:?}; the rights are {names}", names = grantable())]
    Right(String),
    /// Mail cannot do without it, or there is none.
    #[error("not a verb that can be switched off (BDAT, HELO, HELP or VRFY): {0:?}")]
    Verb(String),
}

// === impl ListedClass ===

impl From<ListedClass> for PeerClass {
    fn from(class: ListedClass) -> Self {
        match class {
            ListedClass::Partner => Self::Partner,
            ListedClass::Server => Self::Server,
            ListedClass::ExternallySecured => Self::ExternallySecured,
        }
    }
}

// === impl ClientCertificates ===

impl ClientCertificates {
    /// A name that is there twice: one of its classes would be lost.
    pub(super) fn repeated_name(&self) -> Option<&Hostname> {
        let mut seen = HashSet::new();
        let mut names = self.peers.iter().flat_map(|peers| &peers.names);
        names.find(|name| !seen.insert(name.as_str().to_ascii_lowercase()))
    }
}

// === impl WrittenRights ===

impl WrittenRights {
    /// With the usual rights where nothing is written.
    pub(super) fn resolve(&self) -> ClassRights {
        let written = [
            (PeerClass::Anonymous, &self.anonymous),
            (PeerClass::User, &self.user),
            (PeerClass::Partner, &self.partner),
            (PeerClass::Server, &self.server),
            (PeerClass::ExternallySecured, &self.externally_secured),
        ];
        written.into_iter().fold(ClassRights::default(), |rights, (class, written)| match written {
            Some(granted) => rights.with(class, granted.iter().map(|right| right.0).collect::<Rights>()),
            None => rights,
        })
    }

    /// Whether strangers are said to hand in mail, in so many words.
    pub(super) fn lets_anonymous_submit(&self) -> bool {
        self.anonymous.as_ref().is_some_and(|granted| granted.contains(&GrantedRight(Right::Submit)))
    }
}

// === impl GrantedRight ===

impl TryFrom<String> for GrantedRight {
    type Error = InvalidClass;

    /// XCLIENT is for listed addresses, whatever their class.
    fn try_from(name: String) -> Result<Self, InvalidClass> {
        match name.parse() {
            Ok(Right::AcceptXclient) | Err(_) => Err(InvalidClass::Right(name)),
            Ok(right) => Ok(Self(right)),
        }
    }
}

fn grantable() -> String {
    let names = Right::ALL.into_iter().filter(|right| *right != Right::AcceptXclient).map(Right::name);
    names.collect::<Vec<_>>().join(", ")
}

// === impl SwitchableVerb ===

impl SwitchableVerb {
    /// The verb.
    #[must_use]
    pub const fn verb(self) -> Verb {
        self.0
    }
}

impl TryFrom<String> for SwitchableVerb {
    type Error = InvalidClass;

    fn try_from(name: String) -> Result<Self, InvalidClass> {
        match Verb::split(name.as_bytes()) {
            (verb @ (Verb::Bdat | Verb::Helo | Verb::Help | Verb::Vrfy), []) => Ok(Self(verb)),
            _ => Err(InvalidClass::Verb(name)),
        }
    }
}
