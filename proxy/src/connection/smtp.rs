//! SMTP on the driver: the session of `gatepost_smtp`, and the rooms that answer its questions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_core::BoxFuture;
use gatepost_core::clock::now_ms;
use gatepost_core::events::Details;
use gatepost_core::intake::{Origin, trace};
use gatepost_smtp::server::{
    Answer, BodySink, Config, Envelope, Mechanism, Notice, Output, PeerFacts, Question, Refusal, Session,
    Ticket, TlsFacts,
};
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use gatepost_smtp::wire::token::Tokens;

use super::drive::now;
use super::machine::{Machine, Step};
use super::{Ending, Peer};
use crate::authn::Exchange;
use crate::backend::pass_through::Passage;
use crate::backend::{Discard, Transaction};
use crate::tls::Proof;

/// One SMTP session and what it holds.
pub(super) struct SmtpMachine {
    pub(super) session: Session,
    pub(super) config: Arc<Config>,
    pub(super) peer: Peer,
    pub(super) tls: Option<(TlsFacts, Proof)>,
    /// From AUTH to its last word.
    pub(super) exchange: Option<Box<(Mechanism, Exchange)>>,
    /// Where sessions are passed through to a server behind.
    pub(super) passage: Option<Box<Passage>>,
    /// From AUTH to its last word, where a server behind has that.
    pub(super) relayed: Option<Mechanism>,
    /// From MAIL to commit or abort.
    transaction: Option<Box<dyn Transaction>>,
    /// Of the transaction, for its one log line.
    pub(super) sender: Option<ReversePath>,
    /// Of the transaction, from its body on.
    pub(super) details: Option<Box<Details>>,
    /// What the answers outside of the session were decided on, where they were refusals that were not told yet.
    pub(super) evidence: VecDeque<String>,
}

// === impl SmtpMachine ===

impl SmtpMachine {
    pub(super) fn open(
        config: Arc<Config>,
        peer: Peer,
        tls: Option<(TlsFacts, Proof)>,
        now: Instant,
    ) -> Self {
        let facts = PeerFacts {
            class: peer.context.classes.of(peer.address.ip()),
            may_xclient: peer.context.relays.contains(peer.address.ip()),
            quirks: peer.context.quirks.of(peer.address.ip()),
            ..PeerFacts::anonymous(peer.address, tls.as_ref().map(|(facts, _)| facts.clone()))
        };
        let tokens = Tokens::seeded(peer.session.number());
        let session = Session::open(Arc::clone(&config), facts, now).with_tokens(tokens);
        let passage = peer.context.services.pass_through.passage(&peer.context.listener);
        Self::fresh(session, config, peer, tls, passage)
    }

    /// Nothing was said in it yet.
    fn fresh(
        session: Session,
        config: Arc<Config>,
        peer: Peer,
        tls: Option<(TlsFacts, Proof)>,
        passage: Option<Box<Passage>>,
    ) -> Self {
        let has_certificate = tls.as_ref().is_some_and(|(_, proof)| proof.client.is_some());
        let session = if has_certificate { session.with_certificate() } else { session };
        Self {
            session: before(session, passage.as_deref()),
            config,
            peer,
            tls,
            exchange: None,
            passage,
            relayed: None,
            transaction: None,
            sender: None,
            details: None,
            evidence: VecDeque::new(),
        }
    }

    /// `None` where no answer is awaited.
    async fn find(&mut self, question: Question) -> Option<Answer> {
        Some(match question {
            Question::Authenticate { mechanism, initial_response, .. } => {
                self.exchange = Some(Box::new((mechanism, self.begin_exchange(mechanism))));
                self.step(initial_response.as_ref().map(|secret| secret.expose())).await
            }
            Question::AuthenticateContinue { response } => self.step(Some(response.expose())).await,
            Question::AuthenticateAbort => {
                self.exchange = None;
                return None;
            }
            // Where there is a passage, the answer is not found here: `passing`.
            Question::Mail { reverse_path, params } => self.begin(reverse_path, &params).await,
            Question::Recipient { path, params } => {
                let result = self.recipient(&path, &params).await;
                self.judged(result, || path.to_string())
            }
            Question::Body { envelope } => {
                self.details = Some(Box::new(self.details_of(&envelope)));
                match self.transaction.as_mut() {
                    Some(transaction) => {
                        let result = transaction.prepare(envelope).await;
                        self.judged(result, || "the body".to_owned())
                    }
                    None => Answer::Refused(Refusal::LocalError),
                }
            }
            Question::Commit => self.commit().await,
            Question::Abort => {
                self.transaction = None;
                return None;
            }
            Question::Xclient(xclient) => match self.on_behalf(&xclient).await {
                Ok(facts) => Answer::Peer(facts),
                Err(refusal) => self.judged(Err(refusal), || xclient.to_string()),
            },
            Question::Behind | Question::Extension(_) | Question::ExtensionEnd => {
                Answer::Refused(Refusal::NotImplemented)
            }
        })
    }

    async fn begin(&mut self, reverse_path: ReversePath, params: &MailParams) -> Answer {
        self.transaction = None;
        if self.peer.guest.message().is_err() {
            return self.judged(Err(Refusal::RateLimited), || reverse_path.to_string());
        }
        let (origin, rights) = (self.origin(), self.session.rights());
        match self.peer.context.services.backend.begin(origin, rights, &reverse_path, params).await {
            Ok(transaction) => {
                self.transaction = Some(transaction);
                self.sender = Some(reverse_path);
                Answer::Accepted
            }
            Err(refusal) => self.judged(Err(refusal), || reverse_path.to_string()),
        }
    }

    async fn recipient(&mut self, path: &ForwardPath, params: &RcptParams) -> Result<(), Refusal> {
        let guest = Arc::clone(&self.peer.guest);
        guest.recipient().map_err(|_| Refusal::RateLimited)?;
        let transaction = self.transaction.as_mut().ok_or(Refusal::LocalError)?;
        let result = transaction.recipient(path, params).await;
        if result == Err(Refusal::UnknownRecipient) {
            guest.unknown_recipient().await;
        }
        result
    }

    async fn commit(&mut self) -> Answer {
        let Some(transaction) = self.transaction.take() else {
            return Answer::Refused(Refusal::LocalError);
        };
        let started_at = now();
        let result = transaction.commit().await;
        self.peer.context.metrics.committed(now().saturating_duration_since(started_at));
        match result {
            Ok(queue_id) => Answer::Stored { queue_id },
            Err(refusal) => {
                let sender = self.sender.as_ref().map(ToString::to_string);
                self.judged(Err(refusal), || format!("mail from {}", sender.unwrap_or_default()))
            }
        }
    }

    pub(super) fn origin(&self) -> Origin {
        Origin {
            session: self.peer.session.to_string(),
            listener: self.peer.context.listener.clone(),
            peer: self.peer.address,
            helo: self.session.helo().unwrap_or_default().to_owned(),
            esmtp: self.session.is_esmtp(),
            tls: self.tls.as_ref().map(|(facts, _)| facts.clone()),
            user: self.session.identity().map(|identity| identity.user.clone()),
            received_at_ms: now_ms(),
        }
    }

    /// What events say of a mail with this envelope.
    pub(super) fn details_of(&self, envelope: &Envelope) -> Details {
        let protocol = trace::way_of(&self.origin(), envelope.params.smtputf8).to_owned();
        Details { protocol: Some(protocol), ..Details::of_envelope(envelope) }
    }

    pub(super) fn take_details(&mut self) -> Details {
        self.details.take().map(|details| *details).unwrap_or_default()
    }
}

impl Machine for SmtpMachine {
    type Question = (Ticket, Question);

    fn feed(&mut self, now: Instant, octets: &[u8]) -> usize {
        let mut nowhere = Discard;
        let body: &mut dyn BodySink = match (self.passage.as_deref_mut(), self.transaction.as_mut()) {
            (Some(passage), _) => passage,
            (None, Some(transaction)) => transaction.sink(),
            (None, None) => &mut nowhere,
        };
        self.session.feed(now, octets, body)
    }

    fn settle(&mut self) -> Option<BoxFuture<'_, ()>> {
        if let Some(passage) = self.passage.as_deref_mut() {
            let is_in_body = self.session.is_receiving_body() || self.session.is_waiting();
            if passage.wants_settling() {
                return Some(Box::pin(async move {
                    passage.settle().await;
                    if !is_in_body {
                        passage.wait_for_chunk();
                    }
                }));
            }
            if !is_in_body {
                passage.wait_for_chunk();
            }
            return None;
        }
        self.transaction.as_mut().filter(|transaction| transaction.wants_settling()).map(|it| it.settle())
    }

    fn poll(&mut self) -> Option<Step<Self::Question>> {
        loop {
            return Some(match self.session.poll()? {
                Output::Send(octets) => Step::Reply(octets),
                Output::Ask(ticket, question) => Step::Ask((ticket, question)),
                Output::Upgrade => Step::Upgrade,
                Output::Notice(notice) => {
                    let is_mail = matches!(notice, Notice::Stored { .. } | Notice::HandedOn { .. });
                    self.note(notice);
                    if !is_mail {
                        continue;
                    }
                    Step::Mail
                }
                Output::Close(reason) => Step::Close(Ending::Smtp(reason)),
            });
        }
    }

    fn resolve(&mut self, (ticket, question): Self::Question) -> BoxFuture<'_, ()> {
        if self.is_for_behind(&question) {
            return self.pass(ticket, question);
        }
        Box::pin(async move {
            let answer = match tokio::time::timeout(ANSWER_TIME_MAX, self.find(question)).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return,
                Err(_) => Answer::Refused(Refusal::LocalError),
            };
            self.session.answer(now(), ticket, answer);
        })
    }

    fn tick(&mut self, now: Instant) {
        self.session.tick(now);
    }

    fn body_rate_min(&self) -> Option<u64> {
        self.session.is_receiving_body().then_some(self.config.limits.data_rate)
    }

    fn too_slow(&mut self, now: Instant) {
        self.session.too_slow(now);
    }

    fn eof(&mut self, now: Instant) {
        self.session.eof(now);
    }

    fn shutdown(&mut self, now: Instant) {
        self.session.shutdown(now);
    }

    fn displaced(&self) -> String {
        format!("421 4.3.2 {} needs this place for others, try later\r\n", self.config.hostname)
    }

    fn deadline(&self) -> Instant {
        self.session.deadline()
    }

    fn into_secured(self, facts: TlsFacts, proof: Proof, now: Instant) -> Self {
        let session = self.session.into_secured(facts.clone(), now);
        let mut passage = self.passage;
        if let Some(passage) = passage.as_deref_mut() {
            // Whoever he was in the clear, he is nobody again.
            passage.forget_login();
        }
        Self::fresh(session, self.config, self.peer, Some((facts, proof)), passage)
    }
}

/// What is offered where somebody behind takes part.
fn before(session: Session, passage: Option<&Passage>) -> Session {
    match passage {
        Some(passage) => session.before(passage.offered()),
        None => session,
    }
}

/// A bound for a room that hangs: the scan's budget and a flush are far below, a client's patience of ten minutes
/// (RFC 5321 section 4.5.3.2.6) is far above. A commit that is given up here may still become durable; the peer, told 451,
/// sends the mail again: duplicated, never lost.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
