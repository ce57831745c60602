//! Read buffers, shared by all connections: an idle session holds none.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Buffers that nobody uses right now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
}

/// Octets that were read and not yet taken. Goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Input {
    octets: Box<[u8]>,
    taken: usize,
    filled: usize,
    pool: Pool,
}

// === impl Pool ===

impl Pool {
    /// Waits until the peer has sent something and reads it. While it waits it holds no buffer.
    pub(crate) async fn read<S>(&self, stream: &mut S) -> io::Result<Input>
    where
        S: AsyncRead + Unpin,
    {
        std::future::poll_fn(|cx| {
            let mut input = self.take();
            let mut space = ReadBuf::new(&mut input.octets);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut space))?;
            input.filled = space.filled().len();
            Poll::Ready(Ok(input))
        })
        .await
    }

    fn take(&self) -> Input {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let octets = idle.unwrap_or_else(|| vec![0; BUFFER_OCTETS].into_boxed_slice());
        Input { octets, taken: 0, filled: 0, pool: self.clone() }
    }

    fn give_back(&self, octets: Box<[u8]>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_BUFFERS_MAX {
            idle.push(octets);
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
        self.octets.get(self.taken..self.filled).unwrap_or_default()
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.octets));
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
        assert_eq!(pool.idle.lock().unwrap().len(), 1, "the probe's buffer went back");
        theirs.write_all(b"hello").await.unwrap();
        let mut input = read.await.unwrap();
        assert_eq!(pool.idle.lock().unwrap().len(), 0);
        input.take(2);
        assert_eq!(input.rest(), b"llo");
        drop(input);
        assert_eq!(pool.idle.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_rush_leaves_a_bounded_number_of_buffers() {
        let pool = Pool::default();
        let rush: Vec<Input> = (0..IDLE_BUFFERS_MAX + 10).map(|_| pool.take()).collect();
        drop(rush);
        assert_eq!(pool.idle.lock().unwrap().len(), IDLE_BUFFERS_MAX);
    }
}
