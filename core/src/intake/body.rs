//! A mail's octets: in memory while small, in a file of their own when large.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use gatepost_smtp::server::BodySink;

use super::Spool;
use super::spool::{BodyFile, PartialFile};
use crate::memory::{Drawn, MemoryBudget};
use crate::queue::AppendError;

/// Largest body that is kept in the queue's record itself (DESIGN: 256 KiB). Larger ones stream to a file.
pub const INLINE_OCTETS_MAX: usize = 256 * 1024;

/// A whole body, cheap to clone. A file stays as long as the queue or a clone needs it.
#[derive(Clone)]
pub enum Body {
    /// At most `INLINE_OCTETS_MAX` octets.
    Memory(Bytes),
    /// A flushed file.
    File(Arc<BodyFile>),
}

/// Collects a body as it arrives. `put` (the machine's `BodySink`) appends; `settle` moves what is too much for memory
/// into a file, on the spool's threads; `finish` makes the file durable. Dropping it leaves nothing behind.
///
/// Memory stays below `INLINE_OCTETS_MAX` and one `put` where `settle` follows each feed, and below the budget that all
/// bodies share and one `put` each.
#[derive(Debug)]
pub struct BodyBuffer {
    spool: Spool,
    memory: Vec<u8>,
    drawn: Drawn,
    /// Whether the budget had no more: then the body goes on in its file.
    is_denied: bool,
    file: Option<Arc<PartialFile>>,
    octets: u64,
}

// === impl Body ===

impl Body {
    /// Its length in octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        match self {
            Self::Memory(octets) => octets.len() as u64,
            Self::File(file) => file.octets(),
        }
    }

    /// Reads the whole body. Blocking where it is a file: call it on a blocking thread. Bounded by the message limit.
    ///
    /// # Errors
    /// The disk's; `InvalidData` where the file was damaged.
    pub fn read(&self) -> io::Result<Bytes> {
        match self {
            Self::Memory(octets) => Ok(octets.clone()),
            Self::File(file) => {
                let mut octets = Vec::with_capacity(usize::try_from(file.octets()).unwrap_or(0));
                file.reader()?.read_to_end(&mut octets)?;
                Ok(octets.into())
            }
        }
    }

    /// A blocking reader over it. At the end of a file that was damaged it fails with `InvalidData`, so what was read
    /// counts only once the end was reached.
    ///
    /// # Errors
    /// The disk's.
    pub fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Memory(octets) => Box::new(io::Cursor::new(octets.clone())),
            Self::File(file) => Box::new(file.reader()?),
        })
    }
}

/// The length alone: mail content belongs in no log.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(octets) => write!(f, "Memory({} octets)", octets.len()),
            Self::File(file) => write!(f, "File({:?}, {} octets)", file.name(), file.octets()),
        }
    }
}

// === impl BodyBuffer ===

impl BodyBuffer {
    /// An empty one, which draws the memory that it grows by from a budget.
    #[must_use]
    pub const fn new(spool: Spool, budget: MemoryBudget) -> Self {
        let drawn = budget.draw();
        Self { spool, memory: Vec::new(), drawn, is_denied: false, file: None, octets: 0 }
    }

    /// Whether `settle` has something to do.
    #[must_use]
    pub const fn wants_settling(&self) -> bool {
        let octets_max = if self.file.is_some() { WRITE_OCTETS_MIN } else { INLINE_OCTETS_MAX };
        self.is_denied || self.memory.len() > octets_max
    }

    /// Moves what is too much for memory into the file. Call it after each feed of at most a socket buffer (64 KiB);
    /// costs nothing while the body is small. Cancel-safe.
    ///
    /// # Errors
    /// `Full` without space, `Failed` where the disk fails. The error stands: `finish` repeats it.
    pub async fn settle(&mut self) -> Result<(), AppendError> {
        if !self.wants_settling() {
            return Ok(());
        }
        self.spill().await?;
        if std::mem::take(&mut self.is_denied) {
            self.memory = Vec::new();
            self.drawn.give_back();
        }
        Ok(())
    }

    /// Makes a large body durable. Its file is removed again if the body is dropped before the queue has taken it.
    ///
    /// # Errors
    /// As `settle`.
    pub async fn finish(mut self) -> Result<Body, AppendError> {
        if self.file.is_none() && self.memory.len() <= INLINE_OCTETS_MAX {
            let Self { mut memory, mut drawn, .. } = self;
            // It may lie in memory until it is delivered, and most mails are smaller than the step by which they grow.
            let spare = memory.capacity();
            memory.shrink_to_fit();
            drawn.shrink(spare.saturating_sub(memory.capacity()) as u64);
            return Ok(Body::Memory(Bytes::from_owner(Counted { memory, _drawn: drawn })));
        }
        self.spill().await?;
        let file = self.partial();
        let finished = self.spool.run(move || file.finish()).await?;
        Ok(Body::File(Arc::new(finished)))
    }

    /// Octets put so far.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// The part that is still in memory: the whole body as long as it is small.
    #[must_use]
    pub fn memory(&self) -> &[u8] {
        &self.memory
    }

    async fn spill(&mut self) -> Result<(), AppendError> {
        let file = self.partial();
        let octets = std::mem::take(&mut self.memory);
        // Where this future is dropped the job still runs and the file keeps its failure, so nothing goes missing
        // unnoticed. The buffer comes back for the next part.
        let mut octets = self.spool.run(move || file.append(&octets).map(|()| octets)).await?;
        octets.clear();
        self.memory = octets;
        Ok(())
    }

    fn partial(&mut self) -> Arc<PartialFile> {
        Arc::clone(self.file.get_or_insert_with(|| Arc::new(self.spool.begin())))
    }
}

impl BodySink for BodyBuffer {
    fn put(&mut self, octets: &[u8]) {
        let spare = self.memory.capacity().saturating_sub(self.memory.len());
        if spare < octets.len() {
            let wanted = self.memory.len().saturating_add(octets.len());
            let stepped = wanted.checked_next_multiple_of(GROWTH_OCTETS).unwrap_or(wanted);
            let before = self.memory.capacity();
            self.memory.reserve_exact(stepped.saturating_sub(self.memory.len()));
            let grown = self.memory.capacity().saturating_sub(before);
            self.is_denied |= !self.drawn.grow(grown as u64);
        }
        self.memory.extend_from_slice(octets);
        self.octets = self.octets.saturating_add(octets.len() as u64);
    }
}

/// Octets that count against their budget as long as anybody has them.
struct Counted {
    memory: Vec<u8>,
    _drawn: Drawn,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

/// A session pays for what has arrived, not for what doubling would give it.
const GROWTH_OCTETS: usize = 16 * 1024;

/// Once a body goes to a file, it goes in writes of at least this size.
const WRITE_OCTETS_MIN: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::{Disk, Fault, SimulatedDisk};

    fn spool(disk: &SimulatedDisk) -> Spool {
        Spool::inline(Arc::new(disk.clone()), Path::new("/bodies")).unwrap()
    }

    fn files(disk: &SimulatedDisk) -> usize {
        disk.list(Path::new("/bodies")).unwrap().len()
    }

    async fn collect(spool: &Spool, octets: &[u8], step: usize) -> Result<Body, AppendError> {
        let mut buffer = BodyBuffer::new(spool.clone(), MemoryBudget::default());
        for part in octets.chunks(step) {
            buffer.put(part);
            buffer.settle().await?;
            assert!(buffer.memory.capacity() <= INLINE_OCTETS_MAX + step.next_multiple_of(GROWTH_OCTETS));
        }
        buffer.finish().await
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_body_of_any_size_reads_back_however_it_was_split(octets in 0_usize..700_000, step in 1_000_usize..65_536) {
            let disk = SimulatedDisk::new();
            let octets: Vec<u8> = (0..octets).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let body = run(collect(&spool(&disk), &octets, step)).unwrap();
            prop_assert_eq!(matches!(body, Body::Memory(_)), octets.len() <= INLINE_OCTETS_MAX);
            prop_assert_eq!(body.octets(), octets.len() as u64);
            prop_assert!(body.read().unwrap() == octets);
            drop(body);
            prop_assert_eq!(files(&disk), 0);
        }
    }

    #[test]
    fn without_memory_a_small_body_goes_to_its_file_and_reads_back() {
        let (disk, budget) = (SimulatedDisk::new(), MemoryBudget::new(40_000));
        run(async {
            let mut buffer = BodyBuffer::new(spool(&disk), budget.clone());
            for part in 0..10_u8 {
                buffer.put(&[part; 10_000]);
                buffer.settle().await.unwrap();
                assert!(budget.used() <= 40_000, "{}", budget.used());
            }
            let body = buffer.finish().await.unwrap();
            assert!(matches!(body, Body::File(_)));
            let expected: Vec<u8> = (0..10_u8).flat_map(|part| [part; 10_000]).collect();
            assert!(body.read().unwrap() == expected);
        });
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_body_in_memory_is_counted_as_long_as_anybody_has_it() {
        let (disk, budget) = (SimulatedDisk::new(), MemoryBudget::new(1_000_000));
        let body = run(async {
            let mut buffer = BodyBuffer::new(spool(&disk), budget.clone());
            buffer.put(&[1; 10_000]);
            buffer.finish().await.unwrap()
        });
        let copy = body.clone();
        drop(body);
        assert_eq!(budget.used(), 10_000);
        drop(copy);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_dropped_buffer_leaves_nothing_behind() {
        let disk = SimulatedDisk::new();
        run(async {
            let mut buffer = BodyBuffer::new(spool(&disk), MemoryBudget::default());
            buffer.put(&[1; 300_000]);
            buffer.settle().await.unwrap();
            assert_eq!(files(&disk), 1);
        });
        assert_eq!(files(&disk), 0);
    }

    #[test]
    fn a_full_disk_is_told_and_stays_told() {
        let disk = SimulatedDisk::new();
        disk.set_capacity(Some(400_000));
        run(async {
            let mut buffer = BodyBuffer::new(spool(&disk), MemoryBudget::default());
            buffer.put(&[1; 300_000]);
            buffer.settle().await.unwrap();
            buffer.put(&[1; 200_000]);
            assert_eq!(buffer.settle().await, Err(AppendError::Full));
            disk.set_capacity(None);
            buffer.put(&[1; 200_000]);
            assert_eq!(buffer.finish().await.err(), Some(AppendError::Full));
        });
        assert_eq!(files(&disk), 0);
    }

    #[test]
    fn a_failed_flush_of_the_file_or_its_folder_fails_the_body() {
        for back in 0..2 {
            let disk = SimulatedDisk::new();
            let spool = spool(&disk);
            let before = disk.calls();
            run(collect(&spool, &[1; 300_000], 65_536)).unwrap();
            let calls = disk.calls() - before - 1;
            disk.fail_nth(disk.calls() + calls - back, Fault::Io);
            assert_eq!(run(collect(&spool, &[1; 300_000], 65_536)).err(), Some(AppendError::Failed));
            assert_eq!(files(&disk), 0);
        }
    }

    #[test]
    fn a_damaged_file_is_never_read_to_its_end() {
        let disk = SimulatedDisk::new();
        let body = run(collect(&spool(&disk), &[1; 300_000], 65_536)).unwrap();
        let Body::File(file) = &body else { panic!("large") };
        disk.damage(&Path::new("/bodies").join(file.name()), 299_999, 0x10);
        assert_eq!(body.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn mail_content_is_not_in_the_debug_text() {
        assert_eq!(format!("{:?}", Body::Memory(Bytes::from_static(b"secret"))), "Memory(6 octets)");
    }
}
