//! What passes through besides mails: somebody's login, and the verbs between servers.
//!
//! From the first of them on the session behind belongs to the client's: it says something of who he is. It goes to nobody
//! else, is closed with the client's, and no other takes its place where it is lost.

use std::sync::Arc;

use gatepost_smtp::client::{Capabilities, Stage};
use gatepost_smtp::server::{Answer, Extension, Mechanism, Mechanisms, Refusal};
use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::reply_parse::{ReplyClass, ServerReply};
use gatepost_smtp::wire::verb::Verb;

use super::{Attempt, Failure, Passage};

/// What has come of a step of a login.
#[derive(Debug)]
pub(crate) enum Login {
    /// The client has the word.
    Challenge(Vec<u8>),
    /// He is in.
    Success,
    /// He is not, as the server behind says or we.
    Failed(Answer),
}

// === impl Passage ===

impl Passage {
    /// What a session behind offers, for the reply to EHLO. Whoever is nobody yet does not keep it: anybody can say EHLO, and the
    /// connections behind are few. What the one that he gets in the end lacks is not asked of it.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn connect(&mut self) -> Result<Capabilities, Answer> {
        let link = self.usable_link().await?;
        let offered = *link.live.capabilities();
        let mechanisms = |mechanisms: Mechanisms| {
            // A password that somebody else may read is none any more.
            if link.upstream().is_verified() { mechanisms } else { mechanisms.without_secrets() }
        };
        let offered = Capabilities {
            mechanisms: mechanisms(offered.mechanisms),
            server_mechanisms: mechanisms(offered.server_mechanisms),
            ..offered
        };
        self.met = Some(Arc::clone(link.upstream()));
        if let Some(link) = self.link.take_if(|link| link.is_told() && !self.is_bound) {
            // It would go to nobody else, and keep its place for somebody who may never log in.
            link.leave();
        }
        self.rest();
        Ok(offered)
    }

    /// AUTH or X-EXPS: begins a login behind.
    pub(crate) async fn begin_login(
        &mut self,
        verb: Verb,
        mechanism: Mechanism,
        initial_response: Option<&Secret>,
    ) -> Login {
        self.login = Attempt { steps: 0, was_bound: self.is_bound };
        let link = match self.usable_link().await {
            Ok(link) => link,
            Err(answer) => return Login::Failed(answer),
        };
        if mechanism.reveals_secret() && !link.upstream().is_verified() {
            return Login::Failed(Answer::Refused(Refusal::LessBehind));
        }
        let begun = link.live.auth(verb, mechanism, initial_response);
        self.is_bound = true;
        let login = match begun {
            Ok(()) => self.login_replied().await,
            Err(error) => Login::Failed(self.not_put(error)),
        };
        self.login_ended(login)
    }

    /// The client's response to the last challenge.
    pub(crate) async fn continue_login(&mut self, response: &Secret) -> Login {
        self.login.steps = self.login.steps.saturating_add(1);
        let sent = self.link.as_mut().map(|link| link.live.response(response));
        let login = match sent {
            Some(Ok(())) if self.login.steps <= LOGIN_STEPS_MAX => self.login_replied().await,
            _ => Login::Failed(self.lose(&Failure::Aborted(Stage::Auth))),
        };
        self.login_ended(login)
    }

    /// Whoever was not let in is nobody as before: he keeps no session behind for it, and his next attempt begins in a fresh one.
    fn login_ended(&mut self, login: Login) -> Login {
        if matches!(login, Login::Failed(_)) && !self.login.was_bound {
            self.forget_login();
        }
        login
    }

    /// The client has given up in the middle. The session behind goes with it: the next attempt is to know nothing of this one.
    pub(crate) fn forget_login(&mut self) {
        self.link = None;
        self.aside = None;
        self.is_bound = false;
    }

    /// A verb between servers. Behind XEXCH50 and `Accepted` the blob goes to `BodySink::put_blob`.
    pub(crate) async fn extension(&mut self, extension: &Extension) -> Answer {
        // A blob speaks of the mail that has begun, and there is none in another session.
        let is_of_mail = matches!(extension, Extension::Exch50(_));
        if let Err(answer) = self.tell_sender().await {
            return answer;
        }
        if is_of_mail && self.link.is_none() {
            return Answer::Refused(Refusal::BehindLost);
        }
        let link = match &mut self.link {
            Some(link) if is_of_mail || (self.is_in_mail && link.live.is_in_transaction()) => link,
            _ => match self.usable_link().await {
                Ok(link) => link,
                Err(answer) => return answer,
            },
        };
        let put = link.live.extension(extension);
        self.is_bound = true;
        match put {
            Ok(()) => self.extension_reply().await,
            Err(error) => self.not_put(error),
        }
    }

    /// The blob is whole.
    pub(crate) async fn extension_end(&mut self) -> Answer {
        self.extension_reply().await
    }

    /// 354 alone is no reply for the client: its own is said here.
    async fn extension_reply(&mut self) -> Answer {
        match self.reply().await {
            Answer::Said(said) if said.class() == ReplyClass::Intermediate => Answer::Accepted,
            answer => answer,
        }
    }

    async fn login_replied(&mut self) -> Login {
        match self.reply().await {
            Answer::Said(said) => match said.class() {
                ReplyClass::Positive => Login::Success,
                ReplyClass::Intermediate => match challenge(&said) {
                    Some(challenge) => Login::Challenge(challenge),
                    None => {
                        Login::Failed(self.lose(&Failure::Unexpected { stage: Stage::Auth, reply: said }))
                    }
                },
                ReplyClass::Temporary | ReplyClass::Permanent => Login::Failed(Answer::Said(said)),
            },
            answer => Login::Failed(answer),
        }
    }
}

/// One line of base64, as RFC 4954 section 4 has it. Whatever else stands there, no client can answer it.
fn challenge(said: &ServerReply) -> Option<Vec<u8>> {
    match said.lines() {
        [line] if said.code() == CHALLENGE => {
            Secret::from_response(line.trim_ascii().as_bytes()).ok().map(Secret::into_exposed)
        }
        _ => None,
    }
}

/// RFC 4954 section 4.
const CHALLENGE: u16 = 334;

/// Kerberos and NTLM need three, SCRAM two; a server that goes on asking is none to wait for.
const LOGIN_STEPS_MAX: u32 = 16;
