//! A session's sockets: moves its octets both ways at once, and watches its time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use gatepost_smtp::client::scram::Challenge;
use gatepost_smtp::client::{Failure, Outcome, Output, Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outgoing::Outgoing;
use super::source::Source;

/// What a session runs over, plaintext or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Why a conversation has stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The session can take a mail.
    Ready,
    /// The server waits for our side of a handshake.
    Upgrade,
    /// The server wants a proof of the password.
    Prove(Challenge),
    /// The end.
    Closed(Result<(), Failure>),
}

/// What a conversation has led to.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) stop: Stop,
    /// Of the mail, where one was begun.
    pub(super) outcomes: Option<Vec<Outcome>>,
    /// Set where our own disk broke the mail off.
    pub(super) unreadable: Option<io::ErrorKind>,
}

/// One conversation: from an input of ours to where the session needs the next.
pub(super) struct Wire<'a> {
    session: &'a mut Session,
    stream: &'a mut dyn Stream,
    outgoing: Outgoing,
    /// Whether writing has failed. What the server said before that is still read.
    is_broken: bool,
    input: Box<[u8]>,
}

/// What has happened on the sockets.
enum Event {
    Read(usize),
    Over,
    Written,
    WriteFailed,
}

// === impl Wire ===

impl<'a> Wire<'a> {
    pub(super) fn new(session: &'a mut Session, stream: &'a mut dyn Stream) -> Self {
        Self {
            session,
            stream,
            outgoing: Outgoing::default(),
            is_broken: false,
            input: vec![0; INPUT_OCTETS].into(),
        }
    }

    /// Until the session is ready, wants TLS or is over. `source` gives the body of the mail that was begun.
    pub(super) async fn converse(mut self, mut source: Option<Source<'_>>) -> Conversation {
        let (mut outcomes, mut unreadable) = (None, None);
        let mut wanted = None;
        let stop = loop {
            match self.session.poll() {
                Some(Output::Send(octets)) => self.outgoing.end().extend_from_slice(&octets),
                Some(Output::NeedBody { octets_max }) => wanted = Some(octets_max),
                Some(Output::Done(done)) => outcomes = Some(done),
                // Nothing is handed on here.
                Some(Output::Replied(_)) => {}
                Some(Output::Ready) => break Stop::Ready,
                Some(Output::Upgrade) => break Stop::Upgrade,
                Some(Output::Prove(challenge)) => break Stop::Prove(challenge),
                Some(Output::Close(ending)) => break Stop::Closed(ending),
                None if self.outgoing.has_left() && !self.is_broken && wanted.is_some() => {
                    match next_part(source.as_mut(), wanted.take().unwrap_or_default()).await {
                        Ok(part) => self.session.body(now(), &part),
                        Err(error) => {
                            unreadable = Some(error.kind());
                            self.session.abort(now());
                        }
                    }
                }
                None => self.exchange().await,
            }
        };
        if matches!(stop, Stop::Closed(_)) {
            self.write_rest().await;
        }
        Conversation { stop, outcomes, unreadable }
    }

    /// Waits for the server, for room to write, or for the deadline.
    async fn exchange(&mut self) {
        let deadline = self.session.deadline();
        let event = match deadline {
            None => self.event().await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), self.event()).await {
                Ok(event) => event,
                Err(_) => return self.session.tick(now()),
            },
        };
        match event {
            Event::Read(count) => {
                let octets = self.input.get(..count).unwrap_or_default();
                self.session.feed(now(), octets);
            }
            Event::Written => {}
            Event::Over => self.session.eof(now()),
            Event::WriteFailed => {
                self.is_broken = true;
                self.outgoing = Outgoing::default();
                // A last reply, such as 421, may be waiting; a server that keeps the other direction open is not.
                if let Ok(Event::Read(count)) = tokio::time::timeout(LAST_WORD_TIME, self.event()).await {
                    self.session.feed(now(), self.input.get(..count).unwrap_or_default());
                }
                self.session.eof(now());
            }
        }
    }

    async fn event(&mut self) -> Event {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// Reading first: a server that has said no need not be sent the rest.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let mut buffer = ReadBuf::new(&mut self.input);
        match Pin::new(&mut *self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                return Poll::Ready(Event::Read(buffer.filled().len()));
            }
            Poll::Ready(_) => return Poll::Ready(Event::Over),
            Poll::Pending => {}
        }
        if self.is_broken || self.outgoing.has_left() {
            return Poll::Pending;
        }
        let written = ready!(self.poll_write(context));
        Poll::Ready(if written.is_ok() { Event::Written } else { Event::WriteFailed })
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_write(self.stream, usize::MAX, context)
    }

    /// A QUIT that nobody waits for, then the end of our side.
    async fn write_rest(&mut self) {
        let leave = async {
            if !self.is_broken {
                std::future::poll_fn(|context| self.poll_write(context)).await?;
            }
            std::future::poll_fn(|context| Pin::new(&mut *self.stream).poll_shutdown(context)).await
        };
        if !matches!(tokio::time::timeout(LAST_WORD_TIME, leave).await, Ok(Ok(()))) {
            tracing::trace!("a next hop did not take the end of its connection");
        }
    }
}

/// Whether the server has closed the connection or said something.
pub(super) async fn is_silent(stream: &mut dyn Stream) -> bool {
    std::future::poll_fn(|context| {
        let mut octet = [0; 1];
        let read = Pin::new(&mut *stream).poll_read(context, &mut ReadBuf::new(&mut octet));
        Poll::Ready(read.is_pending())
    })
    .await
}

async fn next_part(source: Option<&mut Source<'_>>, octets_max: u64) -> io::Result<bytes::Bytes> {
    match source {
        Some(source) => source.next(octets_max).await,
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The runtime's clock, so that tests can stop it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Replies are short; a multi-line one takes a few reads.
const INPUT_OCTETS: usize = 4 * 1024;

/// For words that nothing depends on.
pub(super) const LAST_WORD_TIME: Duration = Duration::from_secs(1);
