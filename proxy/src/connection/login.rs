//! Logins that are decided here.

use std::sync::Arc;

use gatepost_core::events::evidence;
use gatepost_smtp::server::{Answer, Identity, Mechanism, Refusal};

use super::smtp::SmtpMachine;
use crate::authn::{Channel, ChannelBinding, Exchange, Step};

// === impl SmtpMachine ===

impl SmtpMachine {
    pub(super) fn begin_exchange(&self, mechanism: Mechanism) -> Exchange {
        let proof = self.tls.as_ref().map(|(_, proof)| proof);
        let exporter = proof.and_then(|proof| proof.exporter.as_ref());
        let binding = exporter.map(|exporter| ChannelBinding { exporter: exporter.0 });
        let client = proof.and_then(|proof| proof.client.as_ref()?.identity.clone());
        let plus_offered =
            binding.is_some() && self.config.auth.inside_tls.contains(&Mechanism::ScramSha256Plus);
        let guest = Some(Arc::clone(&self.peer.guest));
        let channel = Channel { binding, plus_offered, client };
        self.peer.context.services.authenticator.begin(mechanism, channel, guest)
    }

    pub(super) async fn step(&mut self, response: Option<&[u8]>) -> Answer {
        let Some((mechanism, exchange)) = self.exchange.as_deref_mut() else {
            return Answer::Refused(Refusal::LocalError);
        };
        let mechanism = *mechanism;
        let (outcome, answer) = match exchange.step(response).await {
            Step::Challenge(challenge) => return Answer::Challenge(challenge),
            Step::Success { identity, final_data } => ("ok", Answer::Authenticated { identity, final_data }),
            Step::Failed => ("failed", Answer::Refused(Refusal::AuthenticationFailed)),
            Step::Unavailable => ("unavailable", Answer::Refused(Refusal::AuthenticationUnavailable)),
        };
        self.peer.context.metrics.authenticated(mechanism.name(), outcome);
        if matches!(answer, Answer::Refused(_)) {
            let told = self.told_of(mechanism);
            self.evidence.push_back(told);
        }
        if outcome != "ok" {
            // Without the name: people type their password where it belongs.
            let (session, peer, mechanism) = (&self.peer.session, &self.peer.address, mechanism.name());
            tracing::info!(%session, %peer, mechanism, outcome, "authentication failed");
        }
        self.exchange = None;
        answer
    }

    /// Whom the client's certificate names, if that is somebody here.
    pub(super) fn certified(&self) -> Option<&Identity> {
        let (_, proof) = self.tls.as_ref()?;
        proof.client.as_deref()?.identity.as_ref()
    }

    /// The mechanism, and whom the certificate names where that is what counts.
    fn told_of(&self, mechanism: Mechanism) -> String {
        let client = self.tls.as_ref().and_then(|(_, proof)| proof.client.as_deref());
        match (mechanism, client) {
            (Mechanism::External, Some(client)) => {
                evidence(&format!("EXTERNAL with a certificate of {:?}", client.name))
            }
            _ => mechanism.name().to_owned(),
        }
    }
}
