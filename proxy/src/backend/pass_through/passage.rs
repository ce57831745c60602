//! A client's session on its way through.

mod sender;
mod servers;
mod silence;

use std::sync::Arc;

use gatepost_core::intake::{Origin, trace};
use gatepost_smtp::client::hand_on::NotHandedOn;
use gatepost_smtp::client::{Capabilities, Failure, Represented, Stage, Unsuited};
use gatepost_smtp::server::{Answer, BodySink, Envelope, Refusal, Rights};
use gatepost_smtp::wire::params::{BodyKind, MailParams, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use gatepost_smtp::wire::reply_parse::{ReplyClass, ServerReply};

use super::inspection::{Findings, Inspection};
use super::places::Aside;
use super::road::Road;
use super::upstream::{Link, Room, Upstream, Whom};
use sender::Sender;
pub(crate) use servers::Login;

/// One session of a client, and while a mail goes through, the one behind. Dropped in the middle of a mail, it closes the
/// connection behind: a body that has not ended is none.
#[derive(Debug)]
pub(crate) struct Passage {
    road: Arc<Road>,
    /// As it is now, where a server behind is told of it.
    client: Option<Box<Represented>>,
    link: Option<Link>,
    /// The same, while the client is waited for and somebody else may need it more.
    aside: Option<Aside>,
    /// Whether nothing is known of the client but his address.
    is_stranger: bool,
    /// Of the body that comes in.
    inspection: Option<Box<Inspection>>,
    findings: Findings,
    /// Whether the client's transaction is the one behind. One that the client has given up stays open there until the
    /// session behind is used again.
    is_in_mail: bool,
    /// Whether there may be more of a body.
    is_in_body: bool,
    sender: Sender,
    /// Whether the connection was lost within the transaction.
    is_lost: bool,
    /// Whether the session behind says something of who the client is: then it is this client's alone.
    is_bound: bool,
    /// Which server has said what the client was offered.
    met: Option<Arc<Upstream>>,
    login: Attempt,
}

/// A login that is on its way behind.
#[derive(Debug, Clone, Copy, Default)]
struct Attempt {
    steps: u32,
    /// Whether the session behind was the client's alone before.
    was_bound: bool,
}

/// Who hands in a mail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    /// The account that it logged in as.
    pub(crate) user: Option<&'a str>,
    /// Whether the server behind has let it in, and knows whom it may send as.
    pub(crate) is_relayed: bool,
    /// What it may do.
    pub(crate) rights: Rights,
}

// === impl Passage ===

impl Passage {
    pub(super) const fn new(road: Arc<Road>) -> Self {
        Self {
            road,
            client: None,
            link: None,
            aside: None,
            is_stranger: true,
            is_bound: false,
            met: None,
            login: Attempt { steps: 0, was_bound: false },
            inspection: None,
            findings: Findings { verdict: None, stripped: None },
            is_in_mail: false,
            is_in_body: false,
            sender: Sender::Told,
            is_lost: false,
        }
    }

    /// What can be offered to the client, as far as it is up to the servers behind.
    pub(crate) fn offered(&self) -> Capabilities {
        self.road.offered()
    }

    /// Whether `introduce` has to be called before a server behind is asked for anything.
    pub(crate) fn wants_client(&self) -> bool {
        self.road.tells()
    }

    /// Says who the client is.
    pub(crate) fn introduce(&mut self, client: Represented) {
        self.client = Some(Box::new(client));
    }

    /// Whether commands may be sent before the replies to others.
    pub(crate) fn takes_groups(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.live.capabilities().pipelining)
    }

    /// MAIL: has a connection and puts the command, or keeps it for the first RCPT. `None`: `answer_for_sender` has the answer, or
    /// else `reply`.
    pub(crate) async fn mail(
        &mut self,
        who: Who<'_>,
        path: &ReversePath,
        params: &MailParams,
    ) -> Option<Answer> {
        self.rest();
        self.is_lost = false;
        if !who.is_relayed && !self.road.may_send(who.user, who.rights, path) {
            return Some(Answer::Refused(Refusal::SenderNotOwned));
        }
        let delays_mail = self.road.delays_mail;
        let link = match self.usable_link().await {
            Ok(link) => link,
            Err(answer) => return Some(answer),
        };
        let waits = delays_mail && link.live.capabilities().pipelining;
        let put = if waits { link.live.suits(path, params) } else { link.live.mail(path, params) };
        self.is_in_mail = put.is_ok();
        if waits && put.is_ok() {
            let (path, params) = (path.clone(), params.clone());
            self.sender = Sender::Waiting { path, params, is_answered: false };
        }
        put.err().map(|error| self.not_put(error))
    }

    /// RCPT: puts the command. `None`: `reply` has the answer.
    pub(crate) fn rcpt(&mut self, who: Who<'_>, path: &ForwardPath, params: &RcptParams) -> Option<Answer> {
        if !self.road.may_reach(who.rights, path) {
            return Some(Answer::Refused(Refusal::RelayDenied));
        }
        if let Some(said) = self.refused_sender() {
            return Some(Answer::Said(said.clone()));
        }
        if let Err(answer) = self.put_sender() {
            return Some(answer);
        }
        let Some(link) = self.link.as_mut().filter(|_| self.is_in_mail) else {
            // Without a connection that was lost there is nothing to belong to: its MAIL was refused here.
            let refusal = if self.is_lost { Refusal::BehindLost } else { Refusal::BadSequence };
            return Some(Answer::Refused(refusal));
        };
        let put = link.live.rcpt(path, params);
        put.err().map(|error| self.not_put(error))
    }

    /// The answer to the oldest command that has none.
    pub(crate) async fn reply(&mut self) -> Answer {
        if let Err(answer) = self.hear_sender().await {
            return answer;
        }
        let answer = self.hear().await;
        self.refused_sender().map_or(answer, |said| Answer::Said(said.clone()))
    }

    async fn hear(&mut self) -> Answer {
        let Some(link) = &mut self.link else { return Answer::Refused(Refusal::BehindLost) };
        match link.live.reply().await {
            Ok(said) => Answer::Said(said),
            Err(failure) => self.lose(&failure),
        }
    }

    /// Whether each mail gets a line that says where it came from.
    pub(crate) fn wants_trace(&self) -> bool {
        self.road.trace_header
    }

    /// DATA or the first BDAT: has the server make ready for the body. With an origin, a line about it comes first.
    pub(crate) async fn prepare(
        &mut self,
        rights: Rights,
        envelope: Envelope,
        origin: Option<Origin>,
    ) -> Answer {
        self.inspection = Inspection::of(&self.road, rights).map(Box::new);
        if self.inspection.as_ref().is_none_or(|inspection| !inspection.keeps())
            && let Err(answer) = self.begin_body(envelope.params.body).await
        {
            return answer;
        }
        let Some(link) = &mut self.link else { return Answer::Refused(Refusal::BehindLost) };
        if let Some(origin) = origin {
            let line = trace::passed_through(&self.road.hostname, &envelope, &origin);
            match &mut self.inspection {
                Some(inspection) => inspection.put_ours(&line, &mut link.live),
                None => link.live.put(&line),
            }
        }
        self.is_in_body = true;
        Answer::Accepted
    }

    async fn begin_body(&mut self, kind: BodyKind) -> Result<(), Answer> {
        let Some(link) = &mut self.link else { return Err(Answer::Refused(Refusal::BehindLost)) };
        if kind == BodyKind::BinaryMime {
            link.live.chunks();
            return Ok(());
        }
        if link.live.data().is_err() {
            return Err(self.lose(&Failure::Aborted(Stage::Data)));
        }
        match link.live.reply().await {
            Ok(said) if said.class() == ReplyClass::Intermediate => Ok(()),
            Ok(said) => Err(Answer::Said(said)),
            Err(failure) => Err(self.lose(&failure)),
        }
    }

    /// Whether `settle` has something to do before more octets are put.
    pub(crate) fn wants_settling(&self) -> bool {
        self.inspection.as_ref().is_some_and(|inspection| inspection.wants_settling())
            || self.link.as_ref().is_some_and(|link| link.live.wants_push())
    }

    /// Has the server take what has come of the body.
    pub(crate) async fn settle(&mut self) {
        if let Some(inspection) = &mut self.inspection {
            inspection.settle().await;
        }
        if let Some(link) = &mut self.link {
            link.live.push(self.road.block_time).await;
        }
    }

    /// What was found in the last body.
    pub(crate) fn take_findings(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }

    /// The name of the server behind that has the mail.
    pub(crate) fn upstream(&self) -> Option<&str> {
        self.link.as_ref().map(|link| link.upstream().name())
    }

    /// The body is whole: the server's reply is ours.
    pub(crate) async fn commit(&mut self) -> Answer {
        self.is_in_body = false;
        if let Some(inspection) = self.inspection.take()
            && let Err(answer) = Box::pin(self.pass_on(*inspection)).await
        {
            self.rest();
            return answer;
        }
        let Some(link) = &mut self.link else { return Answer::Refused(Refusal::BehindLost) };
        match link.live.end().await {
            Ok(said) => {
                let metrics = link.upstream().metrics();
                let is_taken = said.class() == ReplyClass::Positive;
                if is_taken {
                    metrics.mails_taken.inc();
                } else {
                    metrics.mails_refused.inc();
                }
                self.rest();
                Answer::Said(said)
            }
            Err(failure) => {
                let metrics = link.upstream().metrics();
                let is_lost = refusal_of(&failure).is_none();
                if is_lost {
                    metrics.mails_lost.inc();
                } else {
                    metrics.mails_refused.inc();
                }
                self.lose(&failure)
            }
        }
    }

    /// What may go through goes, but for its end.
    async fn pass_on(&mut self, inspection: Inspection) -> Result<(), Answer> {
        let Some(link) = &mut self.link else { return Err(Answer::Refused(Refusal::BehindLost)) };
        let finished = inspection.finish(&self.road, &mut link.live, &mut self.findings).await;
        let Some(body) = finished.map_err(Answer::Refused)? else { return Ok(()) };
        // Binary content is not offered where bodies are kept.
        self.begin_body(BodyKind::EightBitMime).await?;
        let Some(link) = &mut self.link else { return Err(Answer::Refused(Refusal::BehindLost)) };
        let sent = link.live.put_body(&body, self.road.block_time).await;
        sent.map_err(|error| {
            tracing::error!(%error, "a body that was kept for its scan cannot be read");
            Answer::Refused(Refusal::StorageFailed)
        })
    }

    /// The transaction is over: the connection is for the next one, whoever has it, or closed in the middle of a body.
    pub(crate) fn rest(&mut self) {
        self.inspection = None;
        self.is_in_mail = false;
        self.is_in_body = false;
        self.sender = Sender::Told;
        if let Some(link) = self.link.take() {
            if !self.is_bound && !link.is_told() {
                link.release();
            } else if link.live.is_between_mails() {
                self.link = Some(link);
            }
        }
    }

    /// The session behind between two mails: the one that is there, or where none is bound to the client a new one.
    async fn usable_link(&mut self) -> Result<&mut Link, Answer> {
        let (client, is_bound) = (self.client.as_deref(), self.is_bound);
        let whom = Whom { client, is_stranger: self.is_stranger };
        if let Some(link) = self.link.take_if(|link| !link.speaks_for(client, is_bound)) {
            // Whatever was said there was said by somebody else.
            link.leave();
            self.is_bound = false;
        }
        let is_usable = match &mut self.link {
            Some(link) => link.live.is_usable().await && link.live.clear().await.is_ok(),
            None => false,
        };
        if !is_usable {
            self.link = None;
            if self.is_bound {
                return Err(Answer::Refused(Refusal::BehindLost));
            }
            let met = match self.met.as_ref().filter(|met| met.is_up()) {
                Some(met) => met.link(whom, Room::Left).await.ok(),
                None => None,
            };
            self.link = Some(match met {
                Some(link) => link,
                None => self.road.link(whom).await?,
            });
        }
        self.link.as_mut().ok_or(Answer::Refused(Refusal::BehindLost))
    }

    /// Something has come between. The connection is closed; what the client hears is that it should come again, or what the
    /// server has said at last.
    fn lose(&mut self, failure: &Failure) -> Answer {
        self.is_lost = true;
        self.sender = Sender::Told;
        if let Some(link) = self.link.take() {
            let upstream = link.upstream();
            tracing::info!(upstream = upstream.name(), %failure, "lost a session with a server behind");
            if matches!(failure, Failure::TimedOut(_)) {
                upstream.set_down();
            }
        }
        refusal_of(failure).map_or(Answer::Refused(Refusal::BehindLost), |said| Answer::Said(said.clone()))
    }

    /// Nothing was sent. What the session behind lacks was offered by another one, or before.
    fn not_put(&mut self, error: NotHandedOn) -> Answer {
        match error {
            NotHandedOn::Unsuited(Unsuited::TooLarge) => Answer::Refused(Refusal::MessageTooLarge),
            NotHandedOn::Unsuited(_) => Answer::Refused(Refusal::LessBehind),
            NotHandedOn::NotReady(_) => self.lose(&Failure::Aborted(Stage::Idle)),
        }
    }
}

impl BodySink for Passage {
    fn put(&mut self, octets: &[u8]) {
        self.take_up();
        match (&mut self.link, &mut self.inspection) {
            (Some(link), Some(inspection)) => inspection.put(octets, &mut link.live),
            (Some(link), None) => link.live.put(octets),
            (None, _) => {}
        }
    }

    fn put_blob(&mut self, octets: &[u8]) {
        if let Some(link) = &mut self.link {
            link.live.put_blob(octets);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.take_up();
        match self.link.take() {
            Some(link) if self.is_bound || link.is_told() => link.leave(),
            Some(link) => link.release(),
            None => {}
        }
    }
}

/// What the server has said no with, where it is that which has ended the session. What it may not say is not told.
fn refusal_of(failure: &Failure) -> Option<&ServerReply> {
    match failure {
        Failure::Refused { reply, .. } | Failure::ServiceClosing { reply, .. } => Some(reply),
        _ => None,
    }
}
