//! Read buffers, shared by all connections: an idle session holds none.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};

use gatepost_core::memory::{Drawn, MemoryBudget};
use tokio::io::{AsyncRead, ReadBuf};

/// Buffers that nobody uses right now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    idle: Mutex<Vec<Buffer>>,
    memory: MemoryBudget,
}

/// One word, since every session has room for one.
#[derive(Debug)]
struct Buffer(Box<Counted>);

/// Counted as long as it is there, in use or not. What has come has to be read: a buffer is never refused.
#[derive(Debug)]
struct Counted {
    octets: Box<[u8]>,
    _drawn: Drawn,
}

/// Octets that were read and not yet taken. Goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Input {
    /// `None` only while it is dropped.
    buffer: Option<Buffer>,
    taken: usize,
    filled: usize,
    pool: Pool,
}

// === impl Pool ===

impl Pool {
    /// One whose buffers are drawn from this budget.
    pub(crate) fn new(memory: MemoryBudget) -> Self {
        Self { shared: Arc::new(Shared { idle: Mutex::default(), memory }) }
    }

    /// Waits until the peer has sent something and reads it. While it waits it holds no buffer.
    pub(crate) async fn read<S>(&self, stream: &mut S) -> io::Result<Input>
    where
        S: AsyncRead + Unpin,
    {
        std::future::poll_fn(|cx| {
            let mut input = self.take();
            let mut space =
                ReadBuf::new(input.buffer.as_mut().map_or(&mut [], |buffer| &mut buffer.0.octets));
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut space))?;
            input.filled = space.filled().len();
            Poll::Ready(Ok(input))
        })
        .await
    }

    fn take(&self) -> Input {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let buffer = idle.unwrap_or_else(|| self.make());
        Input { buffer: Some(buffer), taken: 0, filled: 0, pool: self.clone() }
    }

    fn make(&self) -> Buffer {
        let mut drawn = self.shared.memory.clone().draw();
        let _ = drawn.grow(BUFFER_OCTETS as u64);
        Buffer(Box::new(Counted { octets: vec![0; BUFFER_OCTETS].into_boxed_slice(), _drawn: drawn }))
    }

    fn give_back(&self, buffer: Buffer) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_BUFFERS_MAX {
            idle.push(buffer);
        }
    }
}

// === impl Input ===

impl Input {
    /// Marks octets of `rest` as taken.
    pub(crate) fn take(&mut self, octets: usize) {
        self.taken = self.taken.saturating_add(octets).min(self.filled);
    }

    /// What was read and not yet taken.
    pub(crate) fn rest(&self) -> &[u8] {
        self.buffer
            .as_ref()
            .and_then(|buffer| buffer.0.octets.get(self.taken..self.filled))
            .unwrap_or_default()
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.give_back(buffer);
        }
    }
}

/// What one read takes at most: four TLS records, and what a body may grow by before it is settled.
pub(crate) const BUFFER_OCTETS: usize = 64 * 1024;
/// 4 MiB kept for the next rush; more are freed.
const IDLE_BUFFERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_waiting_reader_holds_no_buffer() {
        let pool = Pool::default();
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let mut read = Box::pin(pool.read(&mut ours));
        assert!(std::future::poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await);
        assert_eq!(pool.shared.idle.lock().unwrap().len(), 1, "the probe's buffer went back");
        theirs.write_all(b"hello").await.unwrap();
        let mut input = read.await.unwrap();
        assert_eq!(pool.shared.idle.lock().unwrap().len(), 0);
        input.take(2);
        assert_eq!(input.rest(), b"llo");
        drop(input);
        assert_eq!(pool.shared.idle.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_rush_leaves_a_bounded_number_of_buffers() {
        let pool = Pool::default();
        let rush: Vec<Input> = (0..IDLE_BUFFERS_MAX + 10).map(|_| pool.take()).collect();
        drop(rush);
        assert_eq!(pool.shared.idle.lock().unwrap().len(), IDLE_BUFFERS_MAX);
    }

    #[test]
    fn buffers_are_counted_in_use_and_idle_and_freed_ones_are_not() {
        let memory = MemoryBudget::new(1);
        let pool = Pool::new(memory.clone());
        let rush: Vec<Input> = (0..IDLE_BUFFERS_MAX + 10).map(|_| pool.take()).collect();
        assert_eq!(memory.used(), (BUFFER_OCTETS * (IDLE_BUFFERS_MAX + 10)) as u64);
        drop(rush);
        assert_eq!(memory.used(), (BUFFER_OCTETS * IDLE_BUFFERS_MAX) as u64);
        drop(pool);
        assert_eq!(memory.used(), 0);
    }
}
