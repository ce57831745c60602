//! One run of a program, watched: until it ends, its time is over, or nobody waits for it any more.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How a program has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// `None`: by a signal.
    pub(super) code: Option<u8>,
    pub(super) signal: Option<i32>,
    /// The first line of its standard output.
    pub(super) output: String,
    /// The first line of its standard error.
    pub(super) complaint: String,
}

/// Why there is no end to tell of.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("cannot be run: {0}")]
    Start(#[from] io::Error),
    #[error("its time is over")]
    Late,
    #[error("nobody waits for it any more")]
    Abandoned,
    #[error("no program")]
    None,
}

/// Runs it with this standard input, in this folder. What it leaves running is for the caller to end.
pub(super) fn run(
    words: &[String],
    input: File,
    folder: &Path,
    time: Duration,
    session: &UnixStream,
) -> Result<Ended, RunError> {
    let (program, arguments) = words.split_first().ok_or(RunError::None)?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env_clear();
    command.envs([("PATH", PATH), ("LC_ALL", "C")]).env("TMPDIR", folder).env("HOME", folder);
    command.stdin(Stdio::from(input)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut outputs = Outputs::of(&mut child);
    let started = Instant::now();
    let parent = rustix::process::getppid();
    loop {
        outputs.wait(session)?;
        if let Some(status) = child.try_wait()? {
            outputs.drain()?;
            return Ok(outputs.ended(status));
        }
        // A parent that is gone cannot end us.
        if is_closed(session)? || rustix::process::getppid() != parent {
            return Err(RunError::Abandoned);
        }
        if started.elapsed() >= time {
            return Err(RunError::Late);
        }
    }
}

/// What it writes, as far as that is looked at.
struct Outputs {
    output: Line,
    complaint: Line,
}

/// A stream of which the first line counts. The rest is read and forgotten, so that nobody waits for it to be read.
struct Line {
    stream: Option<Box<dyn Stream>>,
    octets: Vec<u8>,
}

trait Stream: Read + AsFd {}

impl<T: Read + AsFd> Stream for T {}

// === impl Outputs ===

impl Outputs {
    fn of(child: &mut Child) -> Self {
        let output = child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Stream>);
        let complaint = child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Stream>);
        Self { output: Line::of(output), complaint: Line::of(complaint) }
    }

    /// For something to be read, for the server to leave, or for a moment.
    fn wait(&mut self, session: &UnixStream) -> io::Result<()> {
        let mut polled = vec![PollFd::new(session, PollFlags::empty())];
        let lines = [&self.output, &self.complaint];
        let streams = lines.iter().filter_map(|line| line.stream.as_deref());
        polled.extend(streams.map(|stream| PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)));
        let tick = if polled.len() > 1 { &TICK } else { &SHORT_TICK };
        match poll(&mut polled, Some(tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.output.read_ready()?;
        self.complaint.read_ready()
    }

    /// What it had written before it ended, and no more: who inherited the stream may write for ever.
    fn drain(&mut self) -> io::Result<()> {
        for line in [&mut self.output, &mut self.complaint] {
            for _ in 0..DRAINED_READS {
                line.read_ready()?;
            }
        }
        Ok(())
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        Ended {
            code: status.code().and_then(|code| u8::try_from(code).ok()),
            signal: status.signal(),
            output: self.output.text(),
            complaint: self.complaint.text(),
        }
    }
}

// === impl Line ===

impl Line {
    const fn of(stream: Option<Box<dyn Stream>>) -> Self {
        Self { stream, octets: Vec::new() }
    }

    /// One read, if it does not wait.
    fn read_ready(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if !is_ready(&**stream)? {
            return Ok(());
        }
        let mut buffer = [0; 4_096];
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            self.stream = None;
        }
        if !self.octets.contains(&b'\n') {
            let room = LINE_OCTETS_MAX.saturating_sub(self.octets.len());
            self.octets.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
        }
        Ok(())
    }

    fn text(&self) -> String {
        let line = self.octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(line).trim().to_owned()
    }
}

// === impl Ended ===

impl Ended {
    /// In words.
    pub(super) fn failure(&self) -> String {
        let how = match (self.code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let said = if self.complaint.is_empty() { &self.output } else { &self.complaint };
        if said.is_empty() { how } else { format!("{how}: {said}") }
    }
}

fn is_ready(stream: &(impl AsFd + ?Sized)) -> io::Result<bool> {
    let mut polled = [PollFd::new(&stream, PollFlags::IN)];
    match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the server has let go of its end.
fn is_closed(session: &UnixStream) -> io::Result<bool> {
    let mut polled = [PollFd::new(session, PollFlags::empty())];
    match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Its programs are those of the system.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// More than a name or a version has.
const LINE_OCTETS_MAX: usize = 4_096;
/// A pipe holds 64 KiB.
const DRAINED_READS: usize = 16;
/// While its streams are open they tell of its end.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// It has closed both, and is about to end, or not.
const SHORT_TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Result<Ended, RunError> {
        let folder = tempfile::tempdir().unwrap();
        let (session, _server) = UnixStream::pair().unwrap();
        let input = folder.path().join("input");
        std::fs::write(&input, "the item").unwrap();
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&words, File::open(input).unwrap(), folder.path(), Duration::from_millis(1_500), &session)
    }

    #[test]
    fn the_first_line_and_the_exit_code_are_told() {
        let ended = sh("cat; echo; echo more; echo oh >&2; exit 3").unwrap();
        assert_eq!((ended.code, ended.output.as_str()), (Some(3), "the item"));
        assert_eq!(ended.failure(), "exit code 3: oh");
        let ended = sh("kill -9 $$").unwrap();
        assert_eq!((ended.code, ended.failure().as_str()), (None, "ended by signal 9"));
    }

    #[test]
    fn a_flood_of_output_is_read_and_forgotten() {
        let ended = sh("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 1").unwrap();
        assert_eq!(ended.code, Some(1));
        assert!(ended.output.len() <= LINE_OCTETS_MAX && ended.complaint.len() <= LINE_OCTETS_MAX);
    }

    #[test]
    fn one_that_does_not_end_is_given_up_and_what_it_leaves_behind_is_not_waited_for() {
        assert!(matches!(sh("exec sleep 60"), Err(RunError::Late)));
        assert!(matches!(sh("exec >&- 2>&-; exec sleep 60"), Err(RunError::Late)));
        let started = Instant::now();
        assert_eq!(sh("sleep 5 & exit 0").unwrap().code, Some(0));
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn one_that_nobody_waits_for_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let (session, server) = UnixStream::pair().unwrap();
        drop(server);
        let words = ["/bin/sleep", "60"].map(str::to_owned);
        let input = File::open("/dev/null").unwrap();
        let ended = run(&words, input, folder.path(), Duration::from_secs(60), &session);
        assert!(matches!(ended, Err(RunError::Abandoned)));
    }
}
