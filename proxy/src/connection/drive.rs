//! The driver loop: feeds a machine, does what it says, waits. It knows no protocol.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use gatepost_core::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep_until};

use super::buffer::{Input, Pool};
use super::data_rate::{DataRate, Pace};
use super::machine::{Machine, Step};
use super::transmit::{self, WriteError};
use super::{Ending, Ledger, Phase};

/// Why the loop has stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The peer waits for our side of a TLS handshake.
    Upgrade,
    /// The end.
    Closed(Ending),
}

/// What is left to do of a machine's step.
enum Work<'a> {
    Nothing,
    Write,
    Await(BoxFuture<'a, ()>),
    Stop(Stop),
}

/// Why a wait is over.
enum Event {
    Displaced,
    Read(io::Result<Input>),
    PhaseChanged,
    Time,
}

/// One machine on one stream.
pub(super) struct Driver<'a, S, M> {
    stream: &'a mut S,
    machine: &'a mut M,
    ledger: &'a mut Ledger,
    pool: &'a Pool,
    phase: &'a mut watch::Receiver<Phase>,
    /// Replies that are not written yet: those of a pipelined group leave together.
    replies: Vec<u8>,
    /// Held only while there is something in it.
    input: Option<Input>,
    /// Of the body that is coming in.
    rate: DataRate,
    /// Whether the machine knows that we are going down.
    is_told: bool,
    /// Whether the peer has closed its side.
    is_over: bool,
    /// Whether others need the place.
    is_displaced: bool,
}

// === impl Driver ===

impl<'a, S, M> Driver<'a, S, M>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    M: Machine,
{
    pub(super) const fn new(
        stream: &'a mut S,
        machine: &'a mut M,
        ledger: &'a mut Ledger,
        pool: &'a Pool,
        phase: &'a mut watch::Receiver<Phase>,
    ) -> Self {
        Self {
            stream,
            machine,
            ledger,
            pool,
            phase,
            replies: Vec::new(),
            input: None,
            rate: DataRate::new(),
            is_told: false,
            is_over: false,
            is_displaced: false,
        }
    }

    /// Until the machine wants TLS or the connection is over.
    pub(super) async fn run(mut self) -> Stop {
        match self.converse().await {
            Ok(stop) => stop,
            Err(WriteError::TimedOut) => Stop::Closed(Ending::NotReading),
            Err(WriteError::Failed) => Stop::Closed(Ending::WriteFailed),
        }
    }

    async fn converse(&mut self) -> Result<Stop, WriteError> {
        if *self.phase.borrow() != Phase::Serve {
            self.go_down();
        }
        // It stays from one wait to the next, since every octet ends one; where it goes off before the deadline it is set anew.
        let mut timer = pin!(sleep_until(self.machine.deadline().into()));
        let mut took_nothing = false;
        loop {
            let (stop, progress) = self.drain().await?;
            if let Some(stop) = stop {
                self.flush().await?;
                return Ok(stop);
            }
            if took_nothing && !progress {
                return Ok(Stop::Closed(Ending::Stalled));
            }
            // A peer that never pauses must not keep us from seeing it.
            if !self.is_told && self.phase.has_changed().unwrap_or(true) {
                self.go_down();
                continue;
            }
            if let Some(taken) = self.feed().await {
                took_nothing = taken == 0;
                continue;
            }
            if self.is_over {
                return Ok(Stop::Closed(Ending::Stalled));
            }
            took_nothing = false;
            self.flush().await?;
            self.wait(timer.as_mut()).await;
            if self.is_displaced {
                self.replies.extend_from_slice(self.machine.displaced().as_bytes());
                self.flush().await?;
                return Ok(Stop::Closed(Ending::Displaced));
            }
        }
    }

    /// Does what the machine wants done now. Tells whether there was anything.
    async fn drain(&mut self) -> Result<(Option<Stop>, bool), WriteError> {
        let mut progress = false;
        while let Some(work) = advance(self.machine, &mut self.replies, self.ledger) {
            progress = true;
            match work {
                Work::Nothing => {}
                Work::Stop(stop) => return Ok((Some(stop), true)),
                Work::Write => transmit::write(self.stream, &mut self.replies, self.ledger).await?,
                Work::Await(answer) => {
                    answered(answer, self.stream, &mut self.replies, self.ledger).await?;
                }
            }
        }
        Ok((None, progress))
    }

    /// Feeds what was read. `None` when there is nothing left: the buffer is given back.
    async fn feed(&mut self) -> Option<usize> {
        let input = self.input.as_mut()?;
        if input.rest().is_empty() {
            self.input = None;
            return None;
        }
        let taken = self.machine.feed(now(), input.rest());
        input.take(taken);
        if let Some(settled) = self.machine.settle() {
            settled.await;
        }
        Some(taken)
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        transmit::write(self.stream, &mut self.replies, self.ledger).await
    }

    /// For the peer, the deadline or the shutdown, whichever comes first.
    async fn wait(&mut self, timer: Pin<&mut Sleep>) {
        let started_at = now();
        let rate_min = self.machine.body_rate_min();
        let deadline = match rate_min {
            None => {
                self.rate = DataRate::new();
                self.machine.deadline()
            }
            Some(_) => self.machine.deadline().min(later(started_at, self.rate.patience())),
        };
        let event = self.event(timer, deadline).await;
        let mut octets = 0;
        match event {
            Event::Read(Ok(input)) if !input.rest().is_empty() => {
                octets = as_octets(input.rest().len());
                self.ledger.read(octets);
                self.input = Some(input);
            }
            // A read error and the end of the stream come to the same: nothing more will be heard.
            Event::Read(Ok(_) | Err(_)) => {
                self.is_over = true;
                self.machine.eof(now());
            }
            Event::Displaced => self.is_displaced = true,
            Event::PhaseChanged => self.go_down(),
            Event::Time => {}
        }
        let now = now();
        let waited = now.saturating_duration_since(started_at);
        if rate_min.is_some_and(|rate_min| self.rate.record(waited, octets, rate_min) == Pace::TooSlow) {
            self.machine.too_slow(now);
        }
        if now >= self.machine.deadline() {
            self.machine.tick(now);
        }
    }

    /// The first of them, most urgent first. Whoever polls the driver wakes it where the phase changes, or its place is wanted.
    async fn event(&mut self, mut timer: Pin<&mut Sleep>, deadline: Instant) -> Event {
        if timer.is_elapsed() || deadline < timer.deadline().into_std() {
            timer.as_mut().reset(deadline.into());
        }
        let mut read = pin!(self.pool.read(self.stream));
        poll_fn(|context| {
            if self.ledger.is_displaced() {
                return Poll::Ready(Event::Displaced);
            }
            if let Poll::Ready(read) = read.as_mut().poll(context) {
                return Poll::Ready(Event::Read(read));
            }
            if !self.is_told && self.phase.has_changed().unwrap_or(true) {
                return Poll::Ready(Event::PhaseChanged);
            }
            timer.as_mut().poll(context).map(|()| Event::Time)
        })
        .await
    }

    fn go_down(&mut self) {
        self.is_told = true;
        self.machine.shutdown(now());
    }
}

/// The machine's next step, as far as it can be gone without waiting. Apart from `drain`, so that a step, which may hold a
/// whole envelope, does not count into the size of an idle session.
fn advance<'m, M: Machine>(
    machine: &'m mut M,
    replies: &mut Vec<u8>,
    ledger: &mut Ledger,
) -> Option<Work<'m>> {
    Some(match machine.poll()? {
        Step::Send(octets) => {
            replies.extend_from_slice(&octets);
            if replies.len() < REPLY_OCTETS_HELD_MAX { Work::Nothing } else { Work::Write }
        }
        Step::Reply(octets) => {
            match replies.is_empty() {
                true => *replies = octets,
                false => replies.extend_from_slice(&octets),
            }
            if replies.len() < REPLY_OCTETS_HELD_MAX { Work::Nothing } else { Work::Write }
        }
        Step::Ask(question) => Work::Await(machine.resolve(question)),
        Step::Mail => {
            ledger.mails = ledger.mails.saturating_add(1);
            Work::Nothing
        }
        Step::Upgrade => Work::Stop(Stop::Upgrade),
        Step::Close(ending) => Work::Stop(Stop::Closed(ending)),
    })
}

/// A fast answer costs no write of its own; before a slow one the peer gets what it is owed.
async fn answered<S: AsyncWrite + Unpin>(
    mut answer: BoxFuture<'_, ()>,
    stream: &mut S,
    replies: &mut Vec<u8>,
    ledger: &mut Ledger,
) -> Result<(), WriteError> {
    let is_slow = std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await;
    if is_slow {
        ledger.set_owed(true);
        transmit::write(stream, replies, ledger).await?;
        answer.await;
        ledger.set_owed(false);
    }
    Ok(())
}

/// A time that the clock cannot hold is never reached: none of ours comes near.
fn later(now: Instant, patience: Duration) -> Instant {
    now.checked_add(patience).unwrap_or(now)
}

/// The runtime's clock, so that tests can stop it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) fn as_octets(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Joined replies are written beyond this much, however many commands were pipelined.
const REPLY_OCTETS_HELD_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests;
