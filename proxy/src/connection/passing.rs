//! A session that is passed through: the server behind answers the questions about a mail.
//!
//! What is asked of it is bounded in time by the passage, which knows what is waited for; what is asked of nobody behind is
//! answered as in every session.

use gatepost_core::BoxFuture;
use gatepost_core::events::{What, evidence};
use gatepost_smtp::client::Represented;
use gatepost_smtp::server::{Answer, Envelope, Identity, PeerClass, Question, Refusal, Session, Ticket};
use gatepost_smtp::wire::path::ForwardPath;
use gatepost_smtp::wire::reply_parse::{ReplyClass, ServerReply};
use gatepost_smtp::wire::xclient::Protocol;

use super::Peer;
use super::drive::now;
use super::smtp::SmtpMachine;
use crate::backend::pass_through::{Findings, Passage, Who};

/// A question that was put, and who it is about. Its answer is there, or comes with the next reply.
struct Put {
    ticket: Ticket,
    answer: Option<Answer>,
    about: About,
}

enum About {
    Sender,
    Recipient(ForwardPath),
}

// === impl SmtpMachine ===

impl SmtpMachine {
    /// Whether a server behind has the answer.
    pub(super) fn is_for_behind(&self, question: &Question) -> bool {
        self.passage.is_some()
            && match question {
                Question::Authenticate { mechanism, .. } => self.relays(*mechanism),
                Question::AuthenticateContinue { .. } | Question::AuthenticateAbort => self.relayed.is_some(),
                Question::Xclient(_) => false,
                Question::Behind
                | Question::Mail { .. }
                | Question::Recipient { .. }
                | Question::Body { .. }
                | Question::Commit
                | Question::Extension(_)
                | Question::ExtensionEnd
                | Question::Abort => true,
            }
    }

    /// Asks the server behind, and feeds its answer. There is a future for each kind of question, since one for all would have
    /// the size of the largest, and is made for every command.
    pub(super) fn pass(&mut self, ticket: Ticket, question: Question) -> BoxFuture<'_, ()> {
        if let Some(passage) = self.passage.as_deref_mut() {
            passage.go_on(is_stranger(&self.session));
            if passage.wants_client() {
                passage.introduce(represented(&self.session, &self.peer));
            }
        }
        match question {
            Question::Mail { .. } | Question::Recipient { .. } => Box::pin(self.pass_group(ticket, question)),
            Question::Body { envelope } => Box::pin(self.pass_body(ticket, envelope)),
            Question::Commit => Box::pin(self.pass_commit(ticket)),
            Question::Behind | Question::Extension(_) | Question::ExtensionEnd => Box::pin(async move {
                let answer = self.pass_extension(question).await;
                self.passed(ticket, answer, "the command");
            }),
            Question::Authenticate { .. }
            | Question::AuthenticateContinue { .. }
            | Question::AuthenticateAbort => Box::pin(async move {
                if let Some(answer) = self.pass_login(question).await {
                    self.passed(ticket, answer, "the login");
                }
            }),
            Question::Abort | Question::Xclient(_) => {
                if let Some(passage) = self.passage.as_deref_mut() {
                    passage.rest();
                    passage.wait(is_stranger(&self.session));
                }
                Box::pin(std::future::ready(()))
            }
        }
    }

    /// Feeds an answer; a refusal is one of `what`.
    fn passed(&mut self, ticket: Ticket, answer: Answer, what: &str) {
        self.evidence.extend(evidence_of(&answer, || what.to_owned()));
        // Behind it comes a body or a blob.
        let is_awaited = matches!(answer, Answer::Accepted);
        self.session.answer(now(), ticket, answer);
        if !is_awaited {
            self.wait_for_client();
        }
    }

    fn wait_for_client(&mut self) {
        if let Some(passage) = self.passage.as_deref_mut() {
            passage.wait(is_stranger(&self.session));
        }
    }

    async fn pass_body(&mut self, ticket: Ticket, envelope: Envelope) {
        self.details = Some(Box::new(self.details_of(&envelope)));
        let wants_trace = self.passage.as_deref().is_some_and(|passage| passage.wants_trace());
        let origin = wants_trace.then(|| self.origin());
        let rights = self.session.rights();
        let answer = match self.passage.as_deref_mut() {
            Some(passage) => passage.prepare(rights, envelope, origin).await,
            None => Answer::Refused(Refusal::LocalError),
        };
        self.passed(ticket, answer, "the body");
    }

    /// A MAIL and the RCPTs that came with it leave together, where the server takes them so.
    async fn pass_group(&mut self, ticket: Ticket, question: Question) {
        let mut group = vec![self.put(ticket, question).await];
        while self.passage.as_deref().is_some_and(|passage| passage.takes_groups())
            && let Some((ticket, question)) = self.session.poll_recipient()
        {
            group.push(self.put(ticket, question).await);
        }
        if let Some(Put { answer: answer @ None, about: About::Sender, .. }) = group.first_mut() {
            *answer = self.passage.as_deref_mut().and_then(Passage::answer_for_sender);
        }
        for Put { ticket, answer, about } in group {
            let answer = match (answer, self.passage.as_deref_mut()) {
                (Some(answer), _) => answer,
                (None, Some(passage)) => passage.reply().await,
                (None, None) => Answer::Refused(Refusal::LocalError),
            };
            match about {
                About::Sender => {
                    let sender = || self.sender.as_ref().map(ToString::to_string).unwrap_or_default();
                    self.evidence.extend(evidence_of(&answer, sender));
                }
                About::Recipient(path) => {
                    self.evidence.extend(evidence_of(&answer, || path.to_string()));
                    let is_about_sender =
                        self.passage.as_deref().is_some_and(|passage| passage.refused_sender().is_some());
                    if !is_about_sender && is_of_nobody(&answer) {
                        Box::pin(self.peer.guest.unknown_recipient()).await;
                    }
                }
            }
            self.session.answer(now(), ticket, answer);
        }
        self.wait_for_client();
    }

    async fn put(&mut self, ticket: Ticket, question: Question) -> Put {
        let user = self.session.identity().map(|identity| identity.user.as_str());
        let is_relayed = self.session.identity().is_some_and(Identity::is_relayed);
        let who = Who { user: user.filter(|_| !is_relayed), is_relayed, rights: self.session.rights() };
        let guest = &self.peer.guest;
        let (answer, about) = match (question, self.passage.as_deref_mut()) {
            (Question::Mail { reverse_path, params }, Some(passage)) => {
                let answer = match guest.message() {
                    Ok(()) => passage.mail(who, &reverse_path, &params).await,
                    Err(_) => Some(Answer::Refused(Refusal::RateLimited)),
                };
                self.sender = Some(reverse_path);
                (answer, About::Sender)
            }
            (Question::Recipient { path, params }, Some(passage)) => {
                let answer = match guest.recipient() {
                    Ok(()) => passage.rcpt(who, &path, &params),
                    Err(_) => Some(Answer::Refused(Refusal::RateLimited)),
                };
                (answer, About::Recipient(path))
            }
            _ => (Some(Answer::Refused(Refusal::LocalError)), About::Sender),
        };
        Put { ticket, answer, about }
    }

    async fn pass_extension(&mut self, question: Question) -> Answer {
        let Some(passage) = self.passage.as_deref_mut() else { return Answer::Refused(Refusal::LocalError) };
        match question {
            Question::Behind => match passage.connect().await {
                Ok(offered) => Answer::Behind(offered),
                Err(answer) => answer,
            },
            Question::Extension(extension) => passage.extension(&extension).await,
            _ => passage.extension_end().await,
        }
    }

    async fn pass_commit(&mut self, ticket: Ticket) {
        let Some(passage) = self.passage.as_deref_mut() else {
            return self.passed(ticket, Answer::Refused(Refusal::LocalError), "the body");
        };
        let started_at = now();
        let upstream = passage.upstream().map(evidence);
        let answer = passage.commit().await;
        let Findings { verdict, stripped } = passage.take_findings();
        if let Some(verdict) = verdict {
            tracing::info!(session = %self.peer.session, peer = %self.peer.address, verdict, "a mail was not passed through");
            let details = self.details.as_deref().cloned().unwrap_or_default();
            self.peer.record(What::Scanned { verdict, details });
        }
        if let Some(stripped) = stripped {
            let fields = stripped.to_string();
            tracing::info!(session = %self.peer.session, fields, "trust headers were removed");
            self.peer.record(What::Stripped { fields });
        }
        if let (Answer::Said(said), Some(details)) = (&answer, &mut self.details) {
            details.upstream = upstream;
            details.reply = Some(evidence(&said.to_string()));
        }
        self.peer.context.metrics.committed(now().saturating_duration_since(started_at));
        self.passed(ticket, answer, "the body");
    }
}

/// What is told of an answer that is a refusal.
fn evidence_of(answer: &Answer, about: impl FnOnce() -> String) -> Option<String> {
    match answer {
        Answer::Said(said) if said.class() >= ReplyClass::Temporary => {
            Some(evidence(&format!("{}: {said}", about())))
        }
        Answer::Refused(_) => Some(evidence(&about())),
        _ => None,
    }
}

/// What a server behind can be told of the client. Who has logged in there is known there.
fn represented(session: &Session, peer: &Peer) -> Represented {
    let login = session.identity().filter(|identity| !identity.is_relayed());
    Represented {
        address: peer.address,
        destination: peer.destination.as_deref().copied(),
        name: session.client_name().cloned(),
        protocol: if session.is_esmtp() { Protocol::Esmtp } else { Protocol::Smtp },
        login: login.and_then(|identity| identity.user.parse().ok()),
    }
}

/// Whether nothing is known of somebody but his address.
fn is_stranger(session: &Session) -> bool {
    session.class() == PeerClass::Anonymous
}

/// Whether there is no such mailbox behind: who asks for many of those guesses.
fn is_of_nobody(answer: &Answer) -> bool {
    let is_unknown = |said: &ServerReply| {
        said.code() == 550 && said.enhanced().is_none_or(|status| status == "5.1.1" || status == "5.1.10")
    };
    matches!(answer, Answer::Said(said) if is_unknown(said))
}
