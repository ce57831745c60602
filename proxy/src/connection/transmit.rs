//! Writing and closing within bounds: a peer that does not read must not hold us.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::Ledger;
use super::buffer::Pool;
use super::drive::as_octets;

/// The peer could not be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriteError {
    /// It does not read, or too slowly.
    TimedOut,
    /// It is gone.
    Failed,
}

/// For one write of some octets. It begins with the first wait: most replies fit into the kernel's buffer, and cost no look at
/// the clock.
struct Patience {
    time: Duration,
    until: Option<Instant>,
}

/// Writes all octets and empties the vector, keeping no memory. Each write must get on within `STALL_TIME_MAX`, all of them
/// at `OCTETS_PER_SECOND_MIN` or faster.
pub(super) async fn write<S>(
    stream: &mut S,
    octets: &mut Vec<u8>,
    ledger: &mut Ledger,
) -> Result<(), WriteError>
where
    S: AsyncWrite + Unpin,
{
    if octets.is_empty() {
        return Ok(());
    }
    let octets = std::mem::take(octets);
    let size = as_octets(octets.len());
    let mut patience = Patience::of(size);
    let mut rest = octets.as_slice();
    while !rest.is_empty() {
        let written = patience.bound(stream.write(rest)).await?;
        if written == 0 {
            return Err(WriteError::Failed);
        }
        rest = rest.get(written..).unwrap_or_default();
    }
    // A TLS stream may hold the last record back.
    patience.bound(stream.flush()).await?;
    ledger.octets_out = ledger.octets_out.saturating_add(size);
    ledger.progress();
    Ok(())
}

/// Shuts down the write side first and then discards what still comes, for a bounded time and size. Closing a socket with
/// unread octets in it makes the kernel send a reset, which may destroy the reply before the peer has read it.
pub(super) async fn farewell<S>(stream: &mut S, pool: &Pool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let parting = async {
        if stream.shutdown().await.is_ok() {
            discard(stream, pool).await;
        }
    };
    // The close comes either way.
    let _ = timeout(FAREWELL_TIME_MAX, parting).await;
}

/// As `farewell`, for a peer that has nothing more to say: what it has sent all the same is discarded, as far as it is there,
/// and nobody waits for more.
pub(super) async fn quick_farewell<S>(stream: &mut S, pool: &Pool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ended = Patience { time: FAREWELL_TIME_MAX, until: None }.bound(stream.shutdown()).await;
    if ended.is_ok() {
        let mut discarded = pin!(discard(stream, pool));
        poll_fn(|cx| Poll::Ready(discarded.as_mut().poll(cx).is_ready())).await;
    }
}

async fn discard<S: AsyncRead + Unpin>(stream: &mut S, pool: &Pool) {
    let mut discarded = 0_usize;
    while discarded < FAREWELL_OCTETS_MAX {
        match pool.read(stream).await {
            Ok(input) if !input.rest().is_empty() => {
                discarded = discarded.saturating_add(input.rest().len());
            }
            Ok(_) | Err(_) => return,
        }
    }
}

// === impl Patience ===

impl Patience {
    fn of(octets: u64) -> Self {
        let time = STALL_TIME_MAX.saturating_add(Duration::from_secs(octets / OCTETS_PER_SECOND_MIN));
        Self { time, until: None }
    }

    async fn bound<T>(&mut self, operation: impl Future<Output = io::Result<T>>) -> Result<T, WriteError> {
        let mut operation = pin!(operation);
        let at_once = poll_fn(|cx| Poll::Ready(operation.as_mut().poll(cx))).await;
        let done = match at_once {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => {
                let until = *self.until.get_or_insert_with(|| later(self.time));
                // On the heap, so that a session that waits for its peer's words has no room for it.
                Box::pin(timeout_at(until.min(later(STALL_TIME_MAX)), operation)).await
            }
        };
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(WriteError::Failed),
            Err(_) => Err(WriteError::TimedOut),
        }
    }
}

/// A time that cannot be expressed is never reached: none of ours comes near.
fn later(patience: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(patience).unwrap_or(now)
}

/// A minute without a single octet acknowledged: the peer or its network is gone.
const STALL_TIME_MAX: Duration = Duration::from_secs(60);
/// 1 KiB a second: slower than any modem, and a message of 50 MiB ends within a day.
const OCTETS_PER_SECOND_MIN: u64 = 1024;
/// A round trip around the world, with a retransmission.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(5);
/// What a peer may have under way: a full window.
const FAREWELL_OCTETS_MAX: usize = 1024 * 1024;
