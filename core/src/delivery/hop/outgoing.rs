//! What is to be written to a server: the rest of it, and whether the stream still holds some of it back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::wire::Stream;

/// Octets on their way out. They are put in at the end by whoever makes them, and leave from the front.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    octets: Vec<u8>,
    written: usize,
    needs_flush: bool,
}

// === impl Outgoing ===

impl Outgoing {
    /// Where octets are put in.
    pub(super) const fn end(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// Of all that was put in since the stream last took everything.
    pub(super) const fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether the stream has taken everything and holds nothing back.
    pub(super) const fn has_left(&self) -> bool {
        self.octets.is_empty() && !self.needs_flush
    }

    /// Until everything has left. An empty buffer keeps `kept_octets` of its memory.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut dyn Stream,
        kept_octets: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.octets.get(self.written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut *stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(count);
            self.needs_flush = true;
        }
        self.octets.clear();
        self.octets.shrink_to(kept_octets);
        self.written = 0;
        ready!(Pin::new(&mut *stream).poll_flush(context))?;
        self.needs_flush = false;
        Poll::Ready(Ok(()))
    }
}
