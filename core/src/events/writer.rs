//! The one thread that writes: batches of lines into the newest file, a new file when that is full, and the oldest
//! removed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{About, Event, Metrics, What};

/// What the handle sends.
#[derive(Debug)]
pub(super) enum Message {
    Event(Box<Event>),
    /// Answered once all before it is written.
    Flush(oneshot::Sender<()>),
}

/// The writer's side of the log.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    octets_max: u64,
    number: u64,
    /// `None` after a failed write: the next batch opens it again.
    file: Option<(File, u64)>,
    lines: Vec<u8>,
    events: u64,
    lost: Arc<AtomicU64>,
    is_failing: bool,
    metrics: Option<Metrics>,
}

/// A line of the log.
#[derive(Serialize)]
struct Line<'e> {
    id: u16,
    #[serde(flatten)]
    event: &'e Event,
}

/// Name and number of each file of the log, oldest first.
pub(super) fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(number_of);
        files.extend(number.map(|number| (number, path)));
    }
    files.sort_unstable();
    Ok(files)
}

// === impl Writer ===

impl Writer {
    /// Goes on with the newest file of the folder, or begins the first.
    pub(super) fn open(folder: &Path, lost: Arc<AtomicU64>, metrics: Option<Metrics>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        let number = files(folder)?.last().map_or(1, |(number, _)| *number);
        let mut writer = Self {
            folder: folder.to_owned(),
            octets_max: FILE_OCTETS_MAX,
            number,
            file: None,
            lines: Vec::new(),
            events: 0,
            lost,
            is_failing: false,
            metrics,
        };
        writer.file = Some(writer.open_file()?);
        Ok(writer)
    }

    /// Until the last handle is gone.
    pub(super) fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut is_behind = false;
        while let Some(first) = receiver.blocking_recv() {
            if !is_behind && matches!(first, Message::Event(_)) {
                std::thread::sleep(GATHER_TIME);
            }
            let mut flushes = Vec::new();
            let mut next = Some(first);
            is_behind = false;
            while let Some(message) = next {
                match message {
                    Message::Event(event) => self.append(&event),
                    Message::Flush(done) => flushes.push(done),
                }
                is_behind = self.lines.len() >= BATCH_OCTETS;
                next = if is_behind { None } else { receiver.try_recv().ok() };
            }
            self.append_gap();
            self.write();
            for done in flushes {
                // Whoever asked may have given up waiting.
                let _ = done.send(());
            }
        }
    }

    fn append(&mut self, event: &Event) {
        let line = Line { id: event.what.id(), event };
        let before = self.lines.len();
        if serde_json::to_writer(&mut self.lines, &line).is_err() {
            self.lines.truncate(before);
            return;
        }
        self.lines.push(b'\n');
        self.events = self.events.saturating_add(1);
    }

    /// Tells a reader that something is missing here.
    fn append_gap(&mut self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.append(&Event::now(About::default(), What::Gap { lost }));
        }
    }

    fn write(&mut self) {
        let events = std::mem::take(&mut self.events);
        let result = self.write_lines();
        self.lines.clear();
        self.lines.shrink_to(BATCH_OCTETS);
        match result {
            Ok(()) => {
                self.is_failing = false;
                if let Some(metrics) = &self.metrics {
                    metrics.written.inc_by(events);
                }
            }
            Err(error) => {
                // What was written of a line is closed with a line end when the file is opened again.
                self.file = None;
                self.lost.fetch_add(events, Ordering::Relaxed);
                if let Some(metrics) = &self.metrics {
                    metrics.unwritten.inc_by(events);
                }
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%error, "the event log cannot be written; events are lost until it can");
                }
            }
        }
    }

    fn write_lines(&mut self) -> io::Result<()> {
        let (mut file, octets) = match self.file.take() {
            Some((_, octets)) if octets >= self.octets_max => self.rotate()?,
            Some(open) => open,
            None => self.open_file()?,
        };
        file.write_all(&self.lines)?;
        self.file = Some((file, octets.saturating_add(self.lines.len() as u64)));
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<(File, u64)> {
        self.number = self.number.saturating_add(1);
        let file = self.open_file()?;
        let files = files(&self.folder)?;
        let surplus = files.len().saturating_sub(FILES_MAX);
        for (_, path) in files.iter().take(surplus) {
            std::fs::remove_file(path)?;
        }
        Ok(file)
    }

    /// The newest file, at the beginning of a line.
    fn open_file(&self) -> io::Result<(File, u64)> {
        let path = self.folder.join(name_of(self.number));
        let mut options = OpenOptions::new();
        let mut file = options.create(true).read(true).append(true).mode(FILE_MODE).open(path)?;
        let octets = file.seek(SeekFrom::End(0))?;
        if octets == 0 {
            return Ok((file, 0));
        }
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last == *b"\n" {
            return Ok((file, octets));
        }
        file.write_all(b"\n")?;
        Ok((file, octets.saturating_add(1)))
    }
}

fn name_of(number: u64) -> String {
    format!("{NAME_PREFIX}{number:010}{NAME_SUFFIX}")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(NAME_PREFIX)?.strip_suffix(NAME_SUFFIX)?.parse().ok()
}

const NAME_PREFIX: &str = "events-";
const NAME_SUFFIX: &str = ".jsonl";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Some 30,000 events.
const FILE_OCTETS_MAX: u64 = 8 * 1024 * 1024;
/// With the size of a file: 256 MiB of history, days on a busy server and years on a small one.
const FILES_MAX: usize = 32;
/// So that a busy server wakes this thread and writes a few dozen times a second instead of once an event. Nobody waits for
/// a line that long who would notice.
const GATHER_TIME: Duration = Duration::from_millis(20);
/// One write takes at least what waits, up to about this much.
const BATCH_OCTETS: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::History;
    use super::*;

    fn writer(folder: &Path) -> Writer {
        Writer::open(folder, Arc::default(), None).unwrap()
    }

    fn event(session: &str) -> Event {
        let about = About { session: Some(session.into()), ..About::default() };
        Event::now(about, What::SessionClosed { reason: "timed_out".into() })
    }

    fn put(writer: &mut Writer, event: &Event) {
        writer.append(event);
        writer.write();
    }

    #[test]
    fn what_is_written_is_found_again_across_restarts_and_torn_lines() {
        let folder = tempfile::tempdir().unwrap();
        let first = event("A");
        put(&mut writer(folder.path()), &first);
        let (_, path) = files(folder.path()).unwrap().remove(0);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, FILE_MODE);
        File::options().append(true).open(&path).unwrap().write_all(b"{\"at_ms\":1,\"sess").unwrap();
        let second = event("A");
        put(&mut writer(folder.path()), &second);
        let found = History::open(folder.path()).of_session("A").unwrap();
        assert_eq!(found.events, [first, second]);
        assert_eq!(found.unreadable, 1);
    }

    #[test]
    fn the_log_keeps_its_bound_and_forgets_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        writer.octets_max = 1;
        for number in 0..FILES_MAX + 5 {
            put(&mut writer, &event(&number.to_string()));
        }
        let files = files(folder.path()).unwrap();
        assert_eq!(files.len(), FILES_MAX);
        assert_eq!(files[0].0, 6);
        let history = History::open(folder.path());
        assert!(history.of_session("4").unwrap().events.is_empty());
        assert_eq!(history.of_session("5").unwrap().events.len(), 1);
    }

    #[test]
    fn a_failed_write_leaves_a_gap_and_the_log_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        // A file that is open for reading alone fails like a full disk.
        let (_, path) = files(folder.path()).unwrap().remove(0);
        writer.file = Some((File::open(path).unwrap(), 0));
        put(&mut writer, &event("A"));
        writer.append_gap();
        put(&mut writer, &event("B"));
        let history = History::open(folder.path());
        assert!(history.of_session("A").unwrap().events.is_empty());
        let found = history.of_session("B").unwrap();
        assert_eq!((found.events.len(), found.lost), (1, 1));
    }
}
