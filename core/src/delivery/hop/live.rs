//! A connection over which a mail is handed on while it comes in.
//!
//! Commands are put into a buffer and leave together with the first wait for a reply, so that a group is one write. A body
//! is put as it comes; `push` writes it, and waits where the server does not take it. Memory: the buffer, which holds
//! `PUSH_OCTETS` and one `put` at most where `push` is called whenever `wants_push` says so.

mod servers;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gatepost_smtp::client::hand_on::NotHandedOn;
use gatepost_smtp::client::{Capabilities, Failure, NotReady, Output, Session, Stage};
use gatepost_smtp::server::TlsFacts;
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use gatepost_smtp::wire::reply_parse::ServerReply;
use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::outgoing::Outgoing;
use super::source::Source;
use super::wire::{LAST_WORD_TIME, Stream, is_silent, now};
use crate::disk::IoPool;
use crate::intake::Body;

/// A session that follows somebody else's. Dropped, its connection is closed without a word: a body that was not ended is
/// none.
pub struct Live {
    session: Session,
    stream: Box<dyn Stream>,
    tls: Option<TlsFacts>,
    name: String,
    pool: IoPool,
    outgoing: Outgoing,
    /// Of a body that goes by BDAT: what is not in a chunk yet.
    chunk: Option<Vec<u8>>,
    replies: VecDeque<ServerReply>,
    ending: Option<Failure>,
    /// For deadlines. It stays from one to the next, may go off before they come, and is set anew then.
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl Live ===

impl Live {
    pub(super) fn new(
        session: Session,
        stream: Box<dyn Stream>,
        tls: Option<TlsFacts>,
        name: String,
        pool: IoPool,
    ) -> Self {
        Self {
            session,
            stream,
            tls,
            name,
            pool,
            outgoing: Outgoing::default(),
            chunk: None,
            replies: VecDeque::new(),
            ending: None,
            timer: None,
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

    /// Whether the server has a transaction.
    #[must_use]
    pub const fn is_in_transaction(&self) -> bool {
        self.session.is_in_transaction()
    }

    /// Whether another mail could go over it, once `clear` is done.
    #[must_use]
    pub fn is_between_mails(&self) -> bool {
        self.ending.is_none() && self.chunk.is_none() && self.replies.is_empty() && self.session.is_resting()
    }

    /// Whether a connection that was kept can still be used: the server has neither closed it nor said anything.
    pub async fn is_usable(&mut self) -> bool {
        is_silent(&mut *self.stream).await
    }

    /// Whether a MAIL could be put.
    ///
    /// # Errors
    /// As `mail`.
    pub fn suits(&self, path: &ReversePath, params: &MailParams) -> Result<(), NotHandedOn> {
        self.session.suits_mail(path, params).map_err(NotHandedOn::from)
    }

    /// MAIL, with the next `reply`.
    ///
    /// # Errors
    /// Where the server lacks what it needs; then nothing is sent.
    pub fn mail(&mut self, path: &ReversePath, params: &MailParams) -> Result<(), NotHandedOn> {
        self.session.hand_on_mail(now(), path, params, self.outgoing.end())
    }

    /// RCPT, in the same way.
    ///
    /// # Errors
    /// As `mail`.
    pub fn rcpt(&mut self, path: &ForwardPath, params: &RcptParams) -> Result<(), NotHandedOn> {
        self.session.hand_on_rcpt(now(), path, params, self.outgoing.end())
    }

    /// DATA. Behind a reply of 354 the body follows.
    ///
    /// # Errors
    /// Where it is out of place.
    pub fn data(&mut self) -> Result<(), NotReady> {
        self.session.hand_on_data(now(), self.outgoing.end())
    }

    /// Has the body go by BDAT, which has no reply before it.
    pub fn chunks(&mut self) {
        self.chunk = Some(Vec::new());
    }

    /// RSET, where the server has a transaction.
    ///
    /// # Errors
    /// The end of the session.
    pub async fn clear(&mut self) -> Result<(), Failure> {
        if !self.session.is_in_transaction() {
            return Ok(());
        }
        if self.session.hand_on_reset(now(), self.outgoing.end()).is_err() {
            return Err(self.aborted());
        }
        let reply = self.reply().await?;
        match self.session.is_in_transaction() {
            false => Ok(()),
            true => Err(Failure::Refused { stage: Stage::Reset, reply }),
        }
    }

    /// Sends what was put, and waits for the reply to the oldest command that has none.
    ///
    /// # Errors
    /// The end of the session. Commands without a reply will have none.
    pub async fn reply(&mut self) -> Result<ServerReply, Failure> {
        loop {
            self.take_outputs();
            if let Some(reply) = self.replies.pop_front() {
                return Ok(reply);
            }
            if let Some(ending) = &self.ending {
                return Err(ending.clone());
            }
            self.exchange().await;
        }
    }

    /// Octets of the body. What goes wrong is told by `end`.
    pub fn put(&mut self, octets: &[u8]) {
        match &mut self.chunk {
            _ if self.ending.is_some() => {}
            Some(chunk) => chunk.extend_from_slice(octets),
            None => self.session.hand_on_body(octets, self.outgoing.end()),
        }
    }

    /// All of a body that is there as a whole, as fast as the server takes it. What goes wrong with the server is told by `end`.
    ///
    /// # Errors
    /// The disk's. The body must not be ended then.
    pub async fn put_body(&mut self, body: &Body, stall_max: Duration) -> io::Result<()> {
        let pool = self.pool.clone();
        let mut source = Source::of_body(body, &pool);
        let mut left = body.octets();
        while left > 0 && self.ending.is_none() {
            let part = source.next(left).await?;
            if part.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(part.len() as u64);
            self.put(&part);
            if self.wants_push() {
                self.push(stall_max).await;
            }
        }
        Ok(())
    }

    /// Whether `push` should be called before more is put.
    #[must_use]
    pub fn wants_push(&self) -> bool {
        self.ending.is_none()
            && self.outgoing.len().saturating_add(self.chunk.as_ref().map_or(0, Vec::len)) >= PUSH_OCTETS
    }

    /// Writes the body as far as it has come, as fast as the server takes it. What goes wrong is told by `end`.
    pub async fn push(&mut self, stall_max: Duration) {
        self.make_chunk(false);
        while self.ending.is_none()
            && (!self.outgoing.has_left() || self.session.awaited_replies() > CHUNKS_AWAITED_MAX)
        {
            if timeout(stall_max, self.exchange()).await.is_err() {
                self.end_with(Failure::TimedOut(Stage::Body));
            }
            self.take_outputs();
        }
    }

    /// The body is whole: ends it, and waits for the reply that decides.
    ///
    /// # Errors
    /// The end of the session, before or behind the end of the body. A server that has said something before it is not
    /// told the end.
    pub async fn end(&mut self) -> Result<ServerReply, Failure> {
        self.listen().await;
        self.take_outputs();
        if let Some(ending) = &self.ending {
            return Err(ending.clone());
        }
        let ended = match self.chunk {
            Some(_) => {
                self.make_chunk(true);
                self.chunk = None;
                Ok(())
            }
            None => self.session.hand_on_end(now(), self.outgoing.end()),
        };
        match ended {
            Ok(()) => self.reply().await,
            Err(NotReady) => {
                self.take_outputs();
                Err(self.aborted())
            }
        }
    }

    /// Takes leave: QUIT, and its reply is not waited for.
    pub async fn quit(mut self) {
        if self.session.quit(now()).is_err() {
            return;
        }
        self.take_outputs();
        let leave = async {
            std::future::poll_fn(|context| self.poll_write(context)).await?;
            std::future::poll_fn(|context| Pin::new(&mut *self.stream).poll_shutdown(context)).await
        };
        if !matches!(timeout(LAST_WORD_TIME, leave).await, Ok(Ok(()))) {
            tracing::trace!("a server did not take the end of its connection");
        }
    }

    fn make_chunk(&mut self, is_last: bool) {
        let Some(chunk) = self.chunk.as_mut().filter(|chunk| is_last || !chunk.is_empty()) else { return };
        let octets = std::mem::take(chunk);
        if self.session.hand_on_chunk(now(), &octets, is_last, self.outgoing.end()).is_err() {
            let ending = self.aborted();
            self.end_with(ending);
        }
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Replied(reply) => self.replies.push_back(reply),
                Output::Close(Err(failure)) => self.end_with(failure),
                Output::Close(Ok(())) => self.end_with(Failure::Closed(Stage::Quit)),
                // Of a QUIT alone; at a failure nobody waits for it.
                Output::Send(octets) if self.ending.is_none() => {
                    self.outgoing.end().extend_from_slice(&octets);
                }
                _ => {}
            }
        }
    }

    fn end_with(&mut self, failure: Failure) {
        self.ending.get_or_insert(failure);
        self.outgoing = Outgoing::default();
    }

    fn aborted(&self) -> Failure {
        self.ending.clone().unwrap_or(Failure::Aborted(Stage::Idle))
    }

    /// Waits for the server, for room to write, or for the deadline.
    async fn exchange(&mut self) {
        let event = std::future::poll_fn(|context| match self.poll_event(context) {
            Poll::Ready(event) => Poll::Ready(event),
            Poll::Pending => self.poll_deadline(context).map(|()| Event::TimedOut),
        });
        match event.await {
            Event::Moved => {}
            Event::Over => self.session.eof(now()),
            Event::TimedOut => self.session.tick(now()),
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.session.deadline().map(Instant::from_std) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if deadline <= timer.deadline() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// Takes what the server has said by now, and waits for nothing.
    async fn listen(&mut self) {
        let event = std::future::poll_fn(|context| Poll::Ready(self.poll_read(context))).await;
        if matches!(event, Poll::Ready(Event::Over)) {
            self.session.eof(now());
        }
    }

    /// Writing first: what is read answers what was written. A server that does not take any more may have said why.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if !self.outgoing.has_left() {
            match self.poll_write(context) {
                Poll::Ready(Ok(())) => return Poll::Ready(Event::Moved),
                Poll::Ready(Err(_)) => {
                    // What it said before that is still read.
                    return Poll::Ready(match self.poll_read(context) {
                        Poll::Ready(event) => event,
                        Poll::Pending => Event::Over,
                    });
                }
                Poll::Pending => {}
            }
        }
        self.poll_read(context)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        // Replies are short. They are fed at once, so that no session keeps a buffer for them.
        let mut input = [0; INPUT_OCTETS];
        let mut buffer = ReadBuf::new(&mut input);
        let read = ready!(Pin::new(&mut *self.stream).poll_read(context, &mut buffer));
        if read.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(Event::Over);
        }
        self.session.feed(now(), buffer.filled());
        Poll::Ready(Event::Moved)
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_write(&mut *self.stream, KEPT_OCTETS, context)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("name", &self.name).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// What has happened on the socket.
enum Event {
    /// Something was read and fed, or all was written.
    Moved,
    /// The server has closed, or takes nothing any more.
    Over,
    /// The deadline has come.
    TimedOut,
}

/// Half of what one read of a body gives, so that body and end of most mails are one write.
const PUSH_OCTETS: usize = 32 * 1024;
/// Of a buffer that is empty: a group of commands, or a small mail.
const KEPT_OCTETS: usize = 8 * 1024;
/// Of replies, at a time.
const INPUT_OCTETS: usize = 2 * 1024;
/// Chunks that are written before the reply to the first has come.
const CHUNKS_AWAITED_MAX: usize = 16;
