//! The beginning: the greeting of a new session.

use std::sync::Arc;
use std::time::Instant;

use super::budget::Budget;
use super::deadline::Deadlines;
use super::outputs::Outputs;
use super::session::State;
use super::{Config, PeerFacts, Session};
use crate::client::Capabilities;
use crate::wire::client_name::ClientName;
use crate::wire::reply::Reply;
use crate::wire::token::Tokens;
use crate::wire::verb::Verb;

/// What EHLO or HELO has said.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) name: ClientName,
    pub(super) is_esmtp: bool,
}

// === impl Session ===

impl Session {
    /// Opens a session; the greeting is the first output.
    #[must_use]
    pub fn open(config: Arc<Config>, peer: PeerFacts, now: Instant) -> Self {
        let deadlines = Deadlines::start(now, &config.limits);
        let mut session = Self::fresh(config, peer, deadlines, Outputs::default(), Budget::default());
        session.greet();
        session
    }

    pub(super) fn greet(&mut self) {
        self.outputs.reply(&Reply::named(220, &self.config.hostname, " ESMTP Gatepost"));
    }

    /// Has refusals by policy carry a token from here on.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// The peer has shown a certificate in the handshake of this session's TLS, and it was verified: EXTERNAL is offered
    /// where the listener has it. Whom the certificate names is known outside.
    #[must_use]
    pub fn with_certificate(mut self) -> Self {
        self.has_certificate = self.peer.tls.is_some();
        self
    }

    /// A server stands behind that offers this: the session offers and takes no more. To be said again inside TLS.
    #[must_use]
    pub fn before(mut self, behind: Capabilities) -> Self {
        self.behind = Some(behind);
        self
    }

    /// A session that has heard nothing yet.
    pub(super) fn fresh(
        config: Arc<Config>,
        peer: PeerFacts,
        deadlines: Deadlines,
        outputs: Outputs,
        budget: Budget,
    ) -> Self {
        let reader = peer.quirks.line_reader();
        Self {
            config,
            peer,
            state: State::Command,
            reader,
            hello: None,
            identity: None,
            has_certificate: false,
            transaction: None,
            has_refused_chunk: false,
            has_link_state: false,
            budget,
            deadlines,
            outputs,
            is_shutting_down: false,
            has_peer_closed: false,
            verb: Verb::Unknown,
            has_tried_auth: false,
            tokens: None,
            behind: None,
            group: None,
        }
    }
}
