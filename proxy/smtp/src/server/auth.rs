//! AUTH (RFC 4954). The exchange itself is outside; every attempt begins with a fresh one.

use super::session::{Pending, State};
use super::{Answer, Identity, Mechanism, Notice, Question, Refusal, Session, TlsMode, offer};
use crate::wire::auth::Secret;
use crate::wire::command::MechanismName;
use crate::wire::reply::Reply;
use crate::wire::reply_parse::ReplyClass;
use crate::wire::verb::Verb;

/// An exchange in which the client has the word.
#[derive(Debug)]
pub(super) struct Exchange {
    mechanism: Mechanism,
    /// Set where the identity is already validated and the client only has to acknowledge the final data.
    validated: Option<Identity>,
}

// === impl Session ===

impl Session {
    /// Whether an exchange could begin here, whoever it is and wherever the session stands.
    pub(super) fn permit_mechanisms(&self, verb: Verb) -> Result<(), Refusal> {
        let offer = &self.config.auth;
        if !self.budget.may_authenticate() {
            return Err(Refusal::TooManyAuthFailures);
        }
        if offer.inside_tls.is_empty() && offer.outside_tls.is_empty() {
            return Err(Refusal::NotImplemented);
        }
        if offer::mechanisms(self, verb).is_empty() {
            if offer.is_relayed && self.tls().is_some() {
                return Err(Refusal::NotImplemented);
            }
            let may_start_tls = self.config.tls == TlsMode::StartTls;
            return Err(if may_start_tls { Refusal::StartTlsRequired } else { Refusal::EncryptionRequired });
        }
        Ok(())
    }

    pub(super) fn on_auth(&mut self, name: &MechanismName, initial_response: Option<Secret>) {
        let Some(mechanism) = Mechanism::from_name(name.as_str()) else {
            return self.refuse(Refusal::UnknownMechanism);
        };
        if !offer::mechanisms(self, self.verb).contains(&mechanism) {
            let needs_tls = self.tls().is_none() && self.config.auth.inside_tls.contains(&mechanism);
            return self.refuse(if needs_tls {
                Refusal::EncryptionRequired
            } else {
                Refusal::UnknownMechanism
            });
        }
        self.wait_for(
            Question::Authenticate { verb: self.verb, mechanism, initial_response },
            Pending::Authenticate(mechanism),
        );
    }

    pub(super) fn authenticate_answered(&mut self, mechanism: Mechanism, answer: Answer) {
        match answer {
            Answer::Challenge(challenge) => {
                self.challenge(&challenge, Exchange { mechanism, validated: None });
            }
            Answer::Authenticated { identity, final_data: Some(data) } => {
                self.challenge(&data, Exchange { mechanism, validated: Some(identity) });
            }
            Answer::Authenticated { identity, final_data: None } => self.authenticated(mechanism, identity),
            Answer::Refused(refusal) => {
                if refusal == Refusal::AuthenticationFailed {
                    self.budget.count_auth_failure();
                }
                self.refuse(refusal);
            }
            Answer::Said(said) => {
                if said.class() == ReplyClass::Permanent {
                    self.budget.count_auth_failure();
                }
                self.relay_refusal(&said);
            }
            Answer::Accepted | Answer::Stored { .. } | Answer::Behind(_) | Answer::Peer(_) => {
                self.refuse(Refusal::BackendFailed);
            }
        }
    }

    /// A line of the client within an exchange; `*` cancels it.
    pub(super) fn on_response(&mut self, line: &[u8]) {
        self.verb = Verb::Auth;
        self.deadlines.arm_command(&self.config.limits);
        if line == b"*" {
            return self.break_off_authentication(Refusal::AuthenticationCancelled);
        }
        let Ok(response) = Secret::from_response(line) else {
            return self.break_off_authentication(Refusal::AuthenticationMalformed);
        };
        let State::AuthResponse(exchange) = std::mem::replace(&mut self.state, State::Command) else {
            return;
        };
        let mechanism = exchange.mechanism;
        match exchange.validated {
            Some(identity) if response.expose().is_empty() => self.authenticated(mechanism, identity),
            Some(_) => self.break_off_authentication(Refusal::AuthenticationMalformed),
            None => {
                self.wait_for(Question::AuthenticateContinue { response }, Pending::Authenticate(mechanism));
            }
        }
    }

    /// Has the exchange forgotten outside, and goes on with commands.
    pub(super) fn break_off_authentication(&mut self, refusal: Refusal) {
        self.outputs.tell(Question::AuthenticateAbort);
        // The session behind, where there is one, ends with the exchange: no series is open in the next one.
        self.has_link_state &= !self.config.auth.is_relayed;
        self.state = State::Command;
        self.refuse(refusal);
    }

    /// The session ends within an exchange.
    pub(super) fn abort_authentication(&mut self) {
        if matches!(self.state, State::AuthResponse(_) | State::Waiting(_, Pending::Authenticate(_))) {
            self.outputs.tell(Question::AuthenticateAbort);
        }
    }

    fn challenge(&mut self, challenge: &[u8], exchange: Exchange) {
        if self.is_shutting_down {
            self.outputs.tell(Question::AuthenticateAbort);
            return;
        }
        self.reply(&Reply::challenge(challenge));
        if self.config.auth.is_relayed {
            self.deadlines.arm_relayed_response();
        }
        self.state = State::AuthResponse(exchange);
    }

    fn authenticated(&mut self, mechanism: Mechanism, identity: Identity) {
        self.reply(&Reply::fixed(235, 7, 0, "Authentication successful"));
        self.outputs.notice(Notice::Authenticated { user: identity.user.clone(), mechanism });
        self.identity = Some(identity);
    }
}
