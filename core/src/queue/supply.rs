//! Segments made ahead of time, so that the writer never waits for zeros.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::segment::{self, SegmentId};
use crate::disk::{Disk, DiskFile};
use crate::threads;

/// Where the writer gets its next segment from.
pub(super) struct Supply {
    maker: Maker,
    ahead: Option<Ahead>,
}

type Made = io::Result<(SegmentId, Arc<dyn DiskFile>)>;

/// The helper thread, once started.
struct Ahead {
    orders: Sender<Order>,
    made: Receiver<(u64, Made)>,
    ordered: bool,
}

struct Order {
    segment: SegmentId,
    octets: u64,
}

#[derive(Clone)]
struct Maker {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    last: SegmentId,
}

// === impl Supply ===

impl Supply {
    /// Makes segments behind `last` when they are asked for.
    pub(super) fn inline(disk: Arc<dyn Disk>, root: PathBuf, last: SegmentId) -> Self {
        Self { maker: Maker { disk, root, last }, ahead: None }
    }

    /// As `inline`, but one segment ahead, on a thread of its own.
    pub(super) fn threaded(self) -> io::Result<Self> {
        let (orders, inbox) = channel::<Order>();
        let (outbox, made) = channel();
        let maker = self.maker.clone();
        let work = move || {
            for order in inbox {
                let result = maker.make(order.segment, order.octets);
                if outbox.send((order.octets, result)).is_err() {
                    return;
                }
            }
        };
        threads::spawn("gatepost-fill", work)?;
        Ok(Self { ahead: Some(Ahead { orders, made, ordered: false }), ..self })
    }

    /// Asks for a segment ahead of time.
    pub(super) fn order(&mut self, octets: u64) {
        let Some(ahead) = self.ahead.as_mut().filter(|ahead| !ahead.ordered) else { return };
        let Ok(segment) = self.maker.next_id() else { return };
        ahead.ordered = ahead.orders.send(Order { segment, octets }).is_ok();
    }

    /// A segment of at least this size, filled and flushed, under its unfinished name.
    pub(super) fn take(&mut self, octets: u64) -> Made {
        if let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.ordered) {
            ahead.ordered = false;
            let made = ahead.made.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            match made {
                (size, Ok(segment)) if size >= octets => return Ok(segment),
                (_, Ok((segment, _))) => self.maker.discard(segment),
                // It failed some time ago: perhaps there is room now.
                (_, Err(_)) => {}
            }
        }
        let segment = self.maker.next_id()?;
        self.maker.make(segment, octets)
    }
}

// === impl Maker ===

impl Maker {
    fn next_id(&mut self) -> io::Result<SegmentId> {
        let random = getrandom::u32().map_err(|_| io::ErrorKind::Unsupported)?;
        self.last = self.last.successor(random).ok_or(io::ErrorKind::QuotaExceeded)?;
        Ok(self.last)
    }

    fn make(&self, segment: SegmentId, octets: u64) -> Made {
        // Filling a disk to the brim only to find out that it is full would hurt all others on it.
        if self.disk.free_octets(&self.root)? < octets {
            return Err(io::ErrorKind::StorageFull.into());
        }
        segment::prepare(&*self.disk, &self.root, segment, octets).map(|file| (segment, file))
    }

    fn discard(&self, segment: SegmentId) {
        segment::discard(&*self.disk, &self.root, segment);
    }
}
