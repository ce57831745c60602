//! AUTH, inside TLS alone: the strongest mechanism that both sides have, and no other one where that fails.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::awaited::{AuthStep, Awaited};
use super::contract::{Failure, Output, Stage};
use super::scram::{AwaitingFirst, Exchange, Means, Proof, ScramFault, Variant};
use super::session::Session;
use super::state::State;
use crate::wire::auth::Secret;
use crate::wire::reply_parse::{ReplyClass, ServerReply};

/// By which we log in.
#[derive(Debug, Clone, Copy)]
enum Mechanism {
    Scram(Variant),
    Plain,
    Login,
}

// === impl Session ===

impl Session {
    pub(super) fn log_in(&mut self) {
        let Some(login) = &self.config.login else { return self.ready() };
        if !self.is_secured {
            return self.fail(Failure::NoAuth);
        }
        let means = self.means.take();
        match (self.mechanism(means.as_ref()), means) {
            (Some(Mechanism::Scram(variant)), Some(means)) => {
                let (message, exchange) = AwaitingFirst::begin(variant, login.user(), &means);
                self.exchange = Some(Exchange::First(exchange));
                let line = format!("AUTH {} {}\r\n", variant.name(), STANDARD.encode(message));
                self.command(Awaited::Auth(AuthStep::ServerFirst), line.into_bytes());
            }
            (Some(Mechanism::Plain), _) => {
                let message = [b"\0", login.user().as_bytes(), b"\0", login.password().expose()].concat();
                let line = format!("AUTH PLAIN {}\r\n", Secret::new(message).to_initial_response());
                self.command(Awaited::Auth(AuthStep::Verdict), line.into_bytes());
            }
            (Some(Mechanism::Login), _) => {
                self.command(Awaited::Auth(AuthStep::User), b"AUTH LOGIN\r\n".to_vec());
            }
            (Some(Mechanism::Scram(_)) | None, _) => self.fail(Failure::NoAuth),
        }
    }

    pub(super) fn auth_replied(&mut self, step: AuthStep, reply: ServerReply) {
        let login = self.config.login.as_ref();
        match (step, reply.class(), login) {
            (AuthStep::Verdict, ReplyClass::Positive, _) => self.ready(),
            // What these challenges say is not looked at: their texts differ, their order does not.
            (AuthStep::User, ReplyClass::Intermediate, Some(login)) => {
                let line = response(login.user().as_bytes());
                self.command(Awaited::Auth(AuthStep::Password), line);
            }
            (AuthStep::Password, ReplyClass::Intermediate, Some(login)) => {
                let line = response(login.password().expose());
                self.command(Awaited::Auth(AuthStep::Verdict), line);
            }
            (AuthStep::ServerFirst | AuthStep::ServerFinal, ReplyClass::Intermediate, _) => {
                if let Err(fault) = self.scram_challenged(&reply) {
                    self.fail(Failure::Scram(fault));
                }
            }
            (AuthStep::ServerFinal, ReplyClass::Positive, _) => {
                self.fail(Failure::Scram(ScramFault::Unproven));
            }
            _ => self.refused(Stage::Auth, reply),
        }
    }

    fn scram_challenged(&mut self, reply: &ServerReply) -> Result<(), ScramFault> {
        let [text] = reply.lines() else { return Err(ScramFault::Malformed) };
        let message = STANDARD.decode(text).map_err(|_| ScramFault::Malformed)?;
        match self.exchange.take() {
            Some(Exchange::First(exchange)) => {
                let (challenge, exchange) = exchange.challenged(&message)?;
                self.exchange = Some(Exchange::Proof(exchange));
                self.state = State::Proving;
                self.output(Output::Prove(challenge));
            }
            Some(Exchange::Final(exchange)) => {
                exchange.concluded(&message)?;
                // RFC 4954 section 4: what comes with success is a challenge, and has an empty response.
                self.command(Awaited::Auth(AuthStep::Verdict), response(b""));
            }
            Some(Exchange::Proof(_)) | None => return Err(ScramFault::Malformed),
        }
        Ok(())
    }

    pub(super) fn say_proof(&mut self, proof: &Proof) {
        let Some(Exchange::Proof(exchange)) = self.exchange.take() else {
            return self.fail(Failure::Aborted(Stage::Auth));
        };
        let (message, exchange) = exchange.proved(proof);
        self.exchange = Some(Exchange::Final(exchange));
        self.command(Awaited::Auth(AuthStep::ServerFinal), response(message.as_bytes()));
    }

    /// What a password cannot do, or we, is not asked for; nor is less than what was, since a server that fails at SCRAM
    /// may be one that wants to hear the password.
    fn mechanism(&self, means: Option<&Means>) -> Option<Mechanism> {
        let can_bind = means.is_some_and(|means| means.exporter.is_some());
        let table = [
            (self.offered.auth_scram_plus && can_bind, Mechanism::Scram(Variant::Plus)),
            (self.offered.auth_scram && means.is_some(), Mechanism::Scram(Variant::Unbound)),
            (self.offered.auth_plain, Mechanism::Plain),
            (self.offered.auth_login, Mechanism::Login),
        ];
        table.into_iter().find_map(|(can, mechanism)| can.then_some(mechanism))
    }
}

fn response(octets: &[u8]) -> Vec<u8> {
    format!("{}\r\n", STANDARD.encode(octets)).into_bytes()
}
