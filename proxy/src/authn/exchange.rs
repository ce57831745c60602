//! One authentication exchange, whatever the mechanism.

use std::fmt;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gatepost_core::directory::{Password, Plain, may_act_as};
use gatepost_smtp::server::{Identity, Mechanism};

use super::Authenticator;
use super::login::Login;
use super::scram::{self, AwaitingFinal, Candidate};
use crate::admission::guest::{Guest, LogIn};
use crate::admission::verdict::Refused;

/// `tls-exporter` of RFC 9266: 32 octets that both ends of one TLS connection can derive, and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelBinding {
    /// `EXPORTER-Channel-Binding`, no context, 32 octets; TLS 1.3, or TLS 1.2 with extended master secret.
    pub exporter: [u8; 32],
}

/// What the connection below an exchange is, and what it proves by itself. The default is one without TLS.
#[derive(Debug, Clone, Default)]
pub struct Channel {
    /// For mechanisms that bind to it.
    pub binding: Option<ChannelBinding>,
    /// Whether EHLO offered SCRAM-SHA-256-PLUS on it.
    pub plus_offered: bool,
    /// Whom the configuration names for the certificate that the client has shown, once that was verified: for EXTERNAL.
    pub client: Option<Identity>,
}

/// One exchange. Dropping it is aborting it. After `Success` or `Failed` every further step fails.
#[derive(Debug)]
pub struct Exchange {
    authenticator: Authenticator,
    state: State,
    guest: Option<Arc<Guest>>,
    /// The name in SCRAM's first message, until its last.
    claimed: String,
}

/// What comes next.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this as a 334, then feed the client's response.
    Challenge(Vec<u8>),
    /// A validated identity: the only variant that lets anybody in.
    Success {
        /// Who.
        identity: Identity,
        /// SCRAM's server-final message.
        final_data: Option<Vec<u8>>,
    },
    /// 535 5.7.8, whatever the cause.
    Failed,
    /// 454 4.7.0: nothing is known about the password.
    Unavailable,
}

#[derive(Debug)]
enum State {
    External(Option<Identity>),
    Plain,
    Login(Login),
    ScramFirst(scram::Channel),
    ScramFinal(Box<AwaitingFinal>),
    Over,
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn begin(
        authenticator: Authenticator,
        mechanism: Mechanism,
        channel: Channel,
        guest: Option<Arc<Guest>>,
    ) -> Self {
        let has_scram = authenticator.settings.scram;
        let Channel { binding, plus_offered, client } = channel;
        let state = match (mechanism, binding) {
            (Mechanism::External, _) => State::External(client),
            (Mechanism::Plain, _) => State::Plain,
            (Mechanism::Login, _) => State::Login(Login::default()),
            (Mechanism::ScramSha256, _) if has_scram => {
                State::ScramFirst(scram::Channel::Unbound { plus_offered })
            }
            (Mechanism::ScramSha256Plus, Some(binding)) if has_scram => {
                State::ScramFirst(scram::Channel::Bound(binding))
            }
            (Mechanism::ScramSha256 | Mechanism::ScramSha256Plus, _) => State::Over,
            // Of these we are no server.
            (
                Mechanism::Gssapi
                | Mechanism::Ntlm
                | Mechanism::CramMd5
                | Mechanism::OauthBearer
                | Mechanism::Xoauth2,
                _,
            ) => State::Over,
        };
        Self { authenticator, state, guest, claimed: String::new() }
    }

    /// Feeds the client's response, base64 decoded; `None` where the client sent no initial response.
    pub async fn step(&mut self, response: Option<&[u8]>) -> Step {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, response) {
            (State::Over, _) | (State::ScramFinal(_), None) => Step::Failed,
            // These clients speak first: they are asked with an empty challenge (RFC 4954 section 4).
            (state @ (State::External(_) | State::Plain | State::ScramFirst(_)), None) => {
                self.state = state;
                Step::Challenge(Vec::new())
            }
            (State::External(client), Some(authzid)) => self.external(client, authzid).await,
            (State::Plain, Some(response)) => match Plain::parse(response) {
                Some(plain) if may_act_as(plain.authzid, plain.authcid) => {
                    self.verify(plain.authcid, plain.password).await
                }
                _ => Step::Failed,
            },
            (State::Login(login), response) => self.login(login, response).await,
            (State::ScramFirst(channel), Some(response)) => self.scram_first(channel, response),
            (State::ScramFinal(awaiting), Some(response)) => self.scram_final(*awaiting, response).await,
        }
    }

    async fn login(&mut self, login: Login, response: Option<&[u8]>) -> Step {
        let (prompt, next) = match (login, response) {
            (Login::AwaitingName, None) => (Login::NAME_PROMPT, Login::AwaitingName),
            (Login::AwaitingName, Some(name)) => match std::str::from_utf8(name) {
                Ok(name) => (Login::PASSWORD_PROMPT, Login::AwaitingPassword { name: name.to_owned() }),
                Err(_) => return Step::Failed,
            },
            (Login::AwaitingPassword { name }, Some(password)) => return self.verify(&name, password).await,
            (Login::AwaitingPassword { .. }, None) => return Step::Failed,
        };
        self.state = State::Login(next);
        Step::Challenge(prompt.to_vec())
    }

    /// Who needs no password cannot have it guessed, so he is not locked out with others who claim his name. He acts as
    /// himself: the authorization identity is empty or his name.
    async fn external(&self, client: Option<Identity>, authzid: &[u8]) -> Step {
        let Ok(log_in) = self.guest.as_deref().map(Guest::log_in_by_certificate).transpose() else {
            return Step::Unavailable;
        };
        let is_himself = |name: &str| authzid.is_empty() || authzid.eq_ignore_ascii_case(name.as_bytes());
        let identity = client.filter(|client| is_himself(&client.user));
        settle(log_in, NOBODY, identity.as_ref()).await;
        match identity {
            Some(identity) => Step::Success { identity, final_data: None },
            None => Step::Failed,
        }
    }

    /// A password that cannot have been set is not worth a hash: that says nothing about the user.
    async fn verify(&self, user: &str, password: &[u8]) -> Step {
        let Ok(password) = Password::prepare(password) else {
            return Step::Failed;
        };
        let Ok(log_in) = self.log_in(user) else {
            return Step::Unavailable;
        };
        let Ok(identity) = self.authenticator.verifier.verify(user, password).await else {
            return Step::Unavailable;
        };
        settle(log_in, user, identity.as_ref()).await;
        match identity {
            Some(identity) => Step::Success { identity, final_data: None },
            None => Step::Failed,
        }
    }

    /// Whether admission lets this user try.
    fn log_in(&self, user: &str) -> Result<Option<LogIn<'_>>, Refused> {
        self.guest.as_ref().map(|guest| guest.log_in(user)).transpose()
    }

    async fn scram_final(&self, awaiting: AwaitingFinal, response: &[u8]) -> Step {
        let Ok(log_in) = self.log_in(&self.claimed) else {
            return Step::Unavailable;
        };
        let proven = awaiting.finish(response);
        settle(log_in, &self.claimed, proven.as_ref().map(|proven| &proven.identity)).await;
        match proven {
            Some(scram::Proven { identity, server_final }) => {
                Step::Success { identity, final_data: Some(server_final.into_bytes()) }
            }
            None => Step::Failed,
        }
    }

    fn scram_first(&mut self, channel: scram::Channel, client_first: &[u8]) -> Step {
        let mut nonce = [0; NONCE_OCTETS];
        if getrandom::fill(&mut nonce).is_err() {
            return Step::Unavailable;
        }
        let directory = &self.authenticator.directory;
        let mut claimed = String::new();
        let candidate = |name: &str| {
            name.clone_into(&mut claimed);
            // Made for everybody, so that the time does not tell who needs one.
            let decoy = Candidate { identity: None, verifier: directory.decoy_verifier(name) };
            let snapshot = directory.snapshot();
            let known = snapshot.account(name).and_then(|account| {
                let verifier = account.credentials.scram()?.clone();
                Some(Candidate { identity: Some(account.identity()), verifier })
            });
            known.unwrap_or(decoy)
        };
        let begun = scram::begin(channel, client_first, &BASE64_STANDARD.encode(nonce), candidate);
        let Some((server_first, awaiting)) = begun else {
            return Step::Failed;
        };
        if self.log_in(&claimed).is_err() {
            return Step::Unavailable;
        }
        self.claimed = claimed;
        self.state = State::ScramFinal(Box::new(awaiting));
        Step::Challenge(server_first.into_bytes())
    }
}

/// Tells admission how a log-in went.
async fn settle(log_in: Option<LogIn<'_>>, user: &str, identity: Option<&Identity>) {
    match (log_in, identity) {
        (Some(log_in), Some(identity)) => log_in.succeeded(&identity.user),
        (Some(log_in), None) => log_in.failed(user).await,
        (None, _) => {}
    }
}

// === impl ChannelBinding ===

/// Redacted.
impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelBinding(..)")
    }
}

/// Whom failed log-ins count for where no user was named: it is no account's name.
const NOBODY: &str = "";
/// 144 bits: never repeats by chance, and base64 without padding.
const NONCE_OCTETS: usize = 18;
