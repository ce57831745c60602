//! AUTHORIZATION (RFC 1939 section 4): who is it? Passwords are taken inside TLS alone.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gatepost_smtp::server::Identity;
use zeroize::Zeroizing;

use super::command::{Command, Invalid};
use super::contract::{Answer, CloseReason, Question};
use super::messages::Messages;
use super::outbox::Outbox;
use super::reply::Reply;
use super::session::State;
use super::transaction::Transaction;
use crate::directory::{Password, Plain, may_act_as};

/// How far the client has come.
#[derive(Debug)]
pub(super) enum Authorization {
    /// A command is awaited.
    Command {
        /// As USER named it.
        user: Option<String>,
    },
    /// The response to AUTH PLAIN's empty challenge is awaited.
    Response,
    /// The password is being verified.
    Verifying,
    /// The mailbox is being opened.
    Opening {
        /// Validated.
        identity: Identity,
    },
}

// === impl Authorization ===

impl Default for Authorization {
    fn default() -> Self {
        Self::Command { user: None }
    }
}

impl Authorization {
    /// Takes a line without its CRLF.
    pub(super) fn line(self, outbox: &mut Outbox, line: &[u8]) -> State {
        match self {
            Self::Response if line == b"*" => outbox.refuse(Reply::CANCELLED, State::default()),
            Self::Response => plain(outbox, line),
            Self::Command { user } => match Command::parse(line) {
                Ok(command) => Self::command(outbox, user, command),
                Err(Invalid::Unknown) => outbox.refuse(Reply::UNKNOWN, Self::Command { user }.into()),
                Err(Invalid::Arguments) => outbox.refuse(Reply::ARGUMENTS, Self::Command { user }.into()),
            },
            // Nothing is read while an answer is awaited.
            waiting @ (Self::Verifying | Self::Opening { .. }) => waiting.into(),
        }
    }

    /// Takes an answer; one that does not fit is none.
    pub(super) fn answer(self, outbox: &mut Outbox, answer: Answer) -> State {
        match (self, answer) {
            (Self::Verifying, Answer::Authenticated(identity)) => {
                outbox.ask(Question::Open { identity: identity.clone() });
                Self::Opening { identity }.into()
            }
            (Self::Verifying, Answer::NotAuthenticated) => outbox.fail(),
            (Self::Verifying, _) => outbox.refuse(Reply::AUTH_UNAVAILABLE, State::default()),
            (Self::Opening { identity }, Answer::Opened(maildrop)) => {
                let messages = Messages::new(maildrop);
                let (count, octets) = messages.totals();
                outbox.line(format_args!("+OK {count} messages, {octets} octets"));
                State::Transaction(Transaction::new(identity, messages))
            }
            (Self::Opening { .. }, Answer::InUse) => outbox.refuse(Reply::IN_USE, State::default()),
            (Self::Opening { .. }, _) => outbox.refuse(Reply::MAILBOX_UNAVAILABLE, State::default()),
            (state @ (Self::Command { .. } | Self::Response), _) => state.into(),
        }
    }

    fn command(outbox: &mut Outbox, user: Option<String>, command: Command) -> State {
        match command {
            Command::Quit => return outbox.close_with(Reply::GOODBYE, CloseReason::Quit),
            Command::Capa => outbox.capabilities(),
            Command::Utf8 => outbox.reply(Reply::UTF8),
            Command::Stls if outbox.may_upgrade() => {
                outbox.reply(Reply::BEGIN_TLS);
                return State::Upgrading;
            }
            Command::Stls => return outbox.refuse(Reply::NO_TLS, Self::Command { user }.into()),
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } if !outbox.secured => {
                return outbox.refuse(Reply::USE_STLS, State::default());
            }
            Command::User(user) => {
                outbox.reply(Reply::NAME_TAKEN);
                return Self::Command { user: Some(user) }.into();
            }
            Command::Pass(password) => {
                let Some(user) = user else {
                    return outbox.refuse(Reply::NO_NAME, State::default());
                };
                return verify(outbox, user, &password.0);
            }
            Command::Auth { mechanism, initial_response } => {
                return auth(outbox, &mechanism, initial_response);
            }
            _ => return outbox.refuse(Reply::NOT_NOW, Self::Command { user }.into()),
        }
        Self::Command { user }.into()
    }
}

impl From<Authorization> for State {
    fn from(state: Authorization) -> Self {
        Self::Authorization(state)
    }
}

fn auth(outbox: &mut Outbox, mechanism: &str, initial_response: Option<super::command::Secret>) -> State {
    if mechanism != "PLAIN" {
        return outbox.refuse(Reply::MECHANISM, State::default());
    }
    match initial_response {
        Some(response) => plain(outbox, &response.0),
        None => {
            outbox.reply(Reply::CONTINUE);
            Authorization::Response.into()
        }
    }
}

/// Takes PLAIN's message in base64.
fn plain(outbox: &mut Outbox, response: &[u8]) -> State {
    let Ok(message) = BASE64_STANDARD.decode(response).map(Zeroizing::new) else {
        return outbox.refuse(Reply::ARGUMENTS, State::default());
    };
    match Plain::parse(&message) {
        Some(plain) if may_act_as(plain.authzid, plain.authcid) => {
            verify(outbox, plain.authcid.to_owned(), plain.password)
        }
        _ => outbox.fail(),
    }
}

/// A password that cannot have been set is wrong.
fn verify(outbox: &mut Outbox, user: String, password: &[u8]) -> State {
    match Password::prepare(password) {
        Ok(password) => {
            outbox.ask(Question::Authenticate { user, password });
            Authorization::Verifying.into()
        }
        Err(_) => outbox.fail(),
    }
}
