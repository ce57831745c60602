//! The asking side. Blocking: it is for the command line.

use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::message::{Call, Failed, Line, Request};
use super::socket;
use crate::data_folder::DataFolder;

/// A connection to the running server.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is there, and cannot be used.
    #[error("the server's control socket: {0}")]
    Connection(#[from] io::Error),
    /// The connection ended before the answer did.
    #[error("the server broke off its answer; its log tells why")]
    BrokenOff,
    /// What came is none of our lines.
    #[error("the server's answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It refused.
    #[error("{}", .0.text)]
    Failed(Failed),
    /// Who takes the answer has failed.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

/// A part of an answer.
#[derive(Debug)]
pub enum Part<'a> {
    /// A line that does not end it.
    Line(Line),
    /// Octets of a content.
    Octets(&'a [u8]),
}

// === impl Client ===

impl Client {
    /// Connects to the server of this folder; `None` where none runs.
    ///
    /// # Errors
    /// One runs, or may run, and cannot be reached.
    pub fn connect(folder: &DataFolder) -> Result<Option<Self>, ClientError> {
        let stream = match socket::connect(folder) {
            Ok(stream) => stream,
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.set_write_timeout(Some(ANSWER_TIME))?;
        Ok(Some(Self { stream: BufReader::new(stream) }))
    }

    /// Asks, and hands over the answer part by part.
    ///
    /// # Errors
    /// The connection's, the server's, and `Output` where `take` failed.
    pub fn ask(
        &mut self,
        request: Request,
        take: &mut dyn FnMut(Part<'_>) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(&Call::new(request))?;
        line.push(b'\n');
        // A server that refuses the connection has said why, and does not read.
        let written = self.stream.get_mut().write_all(&line);
        loop {
            match self.read_line()? {
                Some(Line::Done) => return Ok(()),
                Some(Line::Failed(failed)) => return Err(ClientError::Failed(failed)),
                Some(Line::Content(octets)) => self.read_content(octets, take)?,
                Some(line) => take(Part::Line(line)).map_err(ClientError::Output)?,
                None => {
                    written?;
                    return Err(ClientError::BrokenOff);
                }
            }
        }
    }

    fn read_line(&mut self) -> Result<Option<Line>, ClientError> {
        let mut line = Vec::new();
        match self.stream.by_ref().take(LINE_OCTETS_MAX).read_until(b'\n', &mut line) {
            Ok(0) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(Some(serde_json::from_slice(&line)?)),
        }
    }

    fn read_content(
        &mut self,
        octets: u64,
        take: &mut dyn FnMut(Part<'_>) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let mut rest = octets;
        while rest > 0 {
            let buffered = self.stream.fill_buf()?;
            let count = usize::try_from(rest).unwrap_or(usize::MAX).min(buffered.len());
            let piece = buffered.get(..count).unwrap_or_default();
            if piece.is_empty() {
                return Err(ClientError::BrokenOff);
            }
            take(Part::Octets(piece)).map_err(ClientError::Output)?;
            self.stream.consume(count);
            rest = rest.saturating_sub(count as u64);
        }
        Ok(())
    }
}

/// Nobody listens: there is no socket, or it is left over from a crash.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// For a part of an answer: an order over a whole large queue is flushed before it is answered.
const ANSWER_TIME: Duration = Duration::from_secs(300);
/// A message with a thousand recipients takes half a mebioctet.
const LINE_OCTETS_MAX: u64 = 64 * 1024 * 1024;
