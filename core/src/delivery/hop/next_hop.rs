//! Who is to be talked to, and how.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use gatepost_smtp::client::{Introduction, Login, Protocol};

use super::TlsDemand;
use super::tls::Trust;
use crate::delivery::tls_policy::Applied;

/// One server at one address.
#[derive(Debug, Clone)]
pub struct NextHop {
    name: String,
    address: SocketAddr,
    protocol: Protocol,
    tls: TlsDemand,
    login: Option<Login>,
    policy: Option<Arc<Applied>>,
    tested: Option<Trust>,
    introduction: Introduction,
    preamble: Preamble,
}

/// What goes before everything else, TLS included: a header of the PROXY protocol.
#[derive(Debug, Clone, Default)]
pub enum Preamble {
    /// Nothing.
    #[default]
    None,
    /// These octets.
    Octets(Bytes),
    /// What this makes of the connection's own ends: ours and the server's.
    OfEnds(fn(SocketAddr, SocketAddr) -> Vec<u8>),
}

/// A password was to be sent to a server that does not have to prove who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a login needs a next hop whose certificate is verified")]
pub struct InsecureLogin;

// === impl NextHop ===

impl NextHop {
    /// A server. `name` stands in reports and logs: its host name, or its address in brackets.
    #[must_use]
    pub const fn new(name: String, address: SocketAddr, protocol: Protocol, tls: TlsDemand) -> Self {
        Self {
            name,
            address,
            protocol,
            tls,
            login: None,
            policy: None,
            tested: None,
            introduction: Introduction::Ourselves,
            preamble: Preamble::None,
        }
    }

    /// The same, with a name and a password.
    ///
    /// # Errors
    /// Where `tls` lets anybody pose as the server.
    pub fn with_login(self, login: Login) -> Result<Self, InsecureLogin> {
        if self.tls.is_verified() { Ok(Self { login: Some(login), ..self }) } else { Err(InsecureLogin) }
    }

    /// The same, whose TLS is a matter of the domain's policies.
    #[must_use]
    pub fn under_policy(self, policy: Arc<Applied>) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// The same, which is first asked to prove this; where it does not, it has to meet no more than its demand, and the
    /// connection says what it has missed.
    #[must_use]
    pub fn trying_first(self, tested: Option<Trust>) -> Self {
        Self { tested, ..self }
    }

    /// The same, to which we speak for somebody.
    #[must_use]
    pub fn introducing(self, introduction: Introduction) -> Self {
        Self { introduction, ..self }
    }

    /// The same, to which something is said before everything else.
    #[must_use]
    pub fn preceded_by(self, preamble: Preamble) -> Self {
        Self { preamble, introduction: Introduction::Before, ..self }
    }

    /// As it would be if it had to prove what is tested.
    pub(super) fn as_tested(&self) -> Option<Self> {
        let tls = TlsDemand::StartTls(self.tested.clone()?);
        Some(Self { tls, tested: None, ..self.clone() })
    }

    /// What decided on its TLS; `None` where the configuration did.
    #[must_use]
    pub const fn policy(&self) -> Option<&Arc<Applied>> {
        self.policy.as_ref()
    }

    /// As given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What it must have.
    #[must_use]
    pub const fn tls(&self) -> &TlsDemand {
        &self.tls
    }

    pub(super) const fn introduction(&self) -> &Introduction {
        &self.introduction
    }

    pub(super) const fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    pub(super) const fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }
}
