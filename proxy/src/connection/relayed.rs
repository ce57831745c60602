//! Logins that a server behind decides on, and what somebody is for it that was let in there.

use gatepost_smtp::server::{Answer, Identity, Mechanism, PeerClass, Question, Refusal};
use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::reply_parse::ReplyClass;
use gatepost_smtp::wire::verb::Verb;

use super::smtp::SmtpMachine;
use crate::backend::pass_through::Login;

// === impl SmtpMachine ===

impl SmtpMachine {
    /// Whether a server behind decides on a login by this mechanism. EXTERNAL speaks of a certificate that it never sees.
    pub(super) fn relays(&self, mechanism: Mechanism) -> bool {
        self.passage.is_some() && self.config.auth.is_relayed && mechanism != Mechanism::External
    }

    /// `None` where no answer is awaited.
    pub(super) async fn pass_login(&mut self, question: Question) -> Option<Answer> {
        let login = match question {
            Question::Authenticate { verb, mechanism, initial_response } => {
                self.begin_login(verb, mechanism, initial_response.as_ref()).await
            }
            Question::AuthenticateContinue { response } => match self.passage.as_deref_mut() {
                Some(passage) => passage.continue_login(&response).await,
                None => Login::Failed(Answer::Refused(Refusal::LocalError)),
            },
            _ => {
                self.relayed = None;
                self.passage.as_deref_mut()?.forget_login();
                return None;
            }
        };
        Some(match login {
            Login::Challenge(challenge) => Answer::Challenge(challenge),
            Login::Success => self.let_in(),
            Login::Failed(answer) => self.not_let_in(answer).await,
        })
    }

    async fn begin_login(&mut self, verb: Verb, mechanism: Mechanism, initial: Option<&Secret>) -> Login {
        if self.peer.guest.log_in_by_certificate().is_err() {
            return Login::Failed(Answer::Refused(Refusal::AuthenticationUnavailable));
        }
        self.relayed = Some(mechanism);
        match self.passage.as_deref_mut() {
            Some(passage) => passage.begin_login(verb, mechanism, initial).await,
            None => Login::Failed(Answer::Refused(Refusal::LocalError)),
        }
    }

    /// The one place where an identity is made of another server's word. Whose account it was is not known here, and every user
    /// has one: so it makes a user of somebody and never more, unless he has shown here that he is a server, by where he
    /// comes from or by a certificate.
    fn let_in(&mut self) -> Answer {
        let is_server = self.session.class() == PeerClass::Server
            || self.certified().is_some_and(|certified| certified.class == PeerClass::Server);
        let class = if is_server { PeerClass::Server } else { PeerClass::User };
        let identity = Identity::relayed(class);
        self.count_login("ok");
        if let Ok(log_in) = self.peer.guest.log_in_by_certificate() {
            log_in.succeeded(&identity.user);
        }
        Answer::Authenticated { identity, final_data: None }
    }

    async fn not_let_in(&mut self, answer: Answer) -> Answer {
        let is_decided = matches!(&answer, Answer::Said(said) if said.class() == ReplyClass::Permanent);
        let outcome = if is_decided { "failed" } else { "unavailable" };
        let (session, peer) = (&self.peer.session, &self.peer.address);
        tracing::info!(%session, %peer, outcome, "a server behind has let nobody in");
        self.count_login(outcome);
        if is_decided && let Ok(log_in) = self.peer.guest.log_in_by_certificate() {
            log_in.failed("").await;
        }
        answer
    }

    fn count_login(&mut self, outcome: &'static str) {
        if let Some(mechanism) = self.relayed.take() {
            self.peer.context.metrics.authenticated(mechanism.name(), outcome);
        }
    }
}
