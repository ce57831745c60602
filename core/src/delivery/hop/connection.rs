//! A live connection to a next hop.

use std::{fmt, io};

use gatepost_smtp::client::{self, Capabilities, Content, Failure, Mail, NotReady, Outcome, Session};
use gatepost_smtp::server::TlsFacts;
use gatepost_smtp::wire::path::ForwardPath;

use super::source::{self, Source};
use super::wire::{Conversation, Stop, Stream, Wire, is_silent, now};
use super::{Consignment, HopFailure, Live, Served, Verdict, seven_bit};
use crate::delivery::HopReport;
use crate::disk::IoPool;

/// An open session, between two mails.
pub struct Connection {
    session: Session,
    stream: Box<dyn Stream>,
    tls: Option<TlsFacts>,
    missed: Option<HopFailure>,
    name: String,
    pool: IoPool,
}

/// What a connection made of a mail.
#[must_use]
#[derive(Debug)]
pub struct Delivered {
    /// One a recipient, in the order of the consignment.
    pub served: Vec<Served>,
    /// For the next mail, where the server can take one.
    pub connection: Option<Connection>,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(
        session: Session,
        stream: Box<dyn Stream>,
        tls: Option<TlsFacts>,
        name: &str,
        pool: &IoPool,
    ) -> Self {
        Self { session, stream, tls, missed: None, name: name.to_owned(), pool: pool.clone() }
    }

    /// The same, after this has failed on another one.
    pub(super) fn missing(self, failure: HopFailure) -> Self {
        Self { missed: Some(failure), ..self }
    }

    /// Why TLS is not what was asked for first, where something less does.
    #[must_use]
    pub const fn missed(&self) -> Option<&HopFailure> {
        self.missed.as_ref()
    }

    /// Takes a mail to the server. Whatever happens, every recipient gets its verdict.
    pub async fn deliver(mut self, consignment: &Consignment) -> Delivered {
        let (converted, content) = match self.prepare(consignment).await {
            Ok(prepared) => prepared,
            Err(error) => return self.unreadable(consignment, error.kind()),
        };
        let consignment = converted.as_ref().unwrap_or(consignment);
        let mail = Mail { envelope: consignment.envelope(), content };
        let takes_dsn = self.session.capabilities().dsn;
        if let Err(NotReady) = self.session.begin(now(), mail) {
            // Nobody can hold such a connection; it is not worth a panic, and the mail is tried again.
            let failure = HopFailure::Session(Failure::Aborted(client::Stage::Idle));
            return Delivered { served: self.failed(consignment, &failure), connection: None };
        }
        let source = Source::new(consignment, &self.pool);
        let Conversation { stop, outcomes, unreadable } =
            Wire::new(&mut self.session, &mut *self.stream).converse(Some(source)).await;
        let outcomes = outcomes.unwrap_or_default();
        let served = consignment
            .recipients
            .iter()
            .zip(outcomes)
            .map(|((recipient, _), outcome)| {
                let report = HopReport::of(&self.name, &outcome, takes_dsn);
                let verdict = match (outcome, unreadable) {
                    (Outcome::Lost(_), Some(kind)) => Verdict::Failed(HopFailure::Body(kind)),
                    (outcome, _) => Verdict::of(outcome),
                };
                Served { recipient: *recipient, verdict, report }
            })
            .collect();
        Delivered { served, connection: matches!(stop, Stop::Ready).then_some(self) }
    }

    /// Asks whether the server would take a mail from the null sender for this recipient, then takes leave.
    pub async fn verify(mut self, path: ForwardPath) -> Outcome {
        let aborted = || Outcome::Lost(Failure::Aborted(client::Stage::Idle));
        if let Err(NotReady) = self.session.verify(now(), path) {
            return aborted();
        }
        let conversed = Wire::new(&mut self.session, &mut *self.stream).converse(None).await;
        if matches!(conversed.stop, Stop::Ready) {
            self.quit().await;
        }
        conversed.outcomes.unwrap_or_default().pop().unwrap_or_else(aborted)
    }

    /// For mails that are handed on while they come in.
    #[must_use]
    pub fn into_live(self) -> Live {
        Live::new(self.session, self.stream, self.tls, self.name)
    }

    /// Whether a connection that was kept can still be used: the server has neither closed it nor said anything.
    pub async fn is_usable(&mut self) -> bool {
        is_silent(&mut *self.stream).await
    }

    /// Takes leave. Never fails: what is left of the connection is dropped.
    pub async fn quit(mut self) {
        if self.session.quit(now()).is_ok() {
            let left = Wire::new(&mut self.session, &mut *self.stream).converse(None).await;
            tracing::trace!(hop = self.name, ending = ?left.stop, "took leave of a next hop");
        }
    }

    /// What the server offers.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        self.session.capabilities()
    }

    /// Its TLS, where it has any.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// What the message is made of, and another one where the server cannot take it as it is.
    async fn prepare(&self, consignment: &Consignment) -> io::Result<(Option<Consignment>, Content)> {
        let offered = self.session.capabilities();
        let content = source::look(consignment, offered, &self.pool).await?;
        let converted = seven_bit::convert(consignment, &content, offered, &self.pool).await?;
        Ok(converted.map_or((None, content), |(converted, content)| (Some(converted), content)))
    }

    /// Our disk is at fault, and the server has not heard of the mail.
    fn unreadable(self, consignment: &Consignment, kind: io::ErrorKind) -> Delivered {
        let served = self.failed(consignment, &HopFailure::Body(kind));
        Delivered { served, connection: Some(self) }
    }

    fn failed(&self, consignment: &Consignment, failure: &HopFailure) -> Vec<Served> {
        let recipients = consignment.recipients.iter().map(|(recipient, _)| *recipient);
        recipients.map(|recipient| Served::failed(recipient, &self.name, failure)).collect()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("name", &self.name).field("tls", &self.tls).finish_non_exhaustive()
    }
}
