//! Connections of the control socket: few, of known users, bounded like those of strangers.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::Rooms;
use super::message::{Call, Failed, FailedKind, Line, REQUEST_OCTETS_MAX, Request, VERSION};
use super::requests;
use super::socket::{ControlSocket, SocketFile, may_enter};

/// The running server. Dropped, it answers nobody any more and its socket is gone.
#[derive(Debug)]
pub struct ControlServer {
    task: JoinHandle<()>,
    _file: SocketFile,
}

/// What goes back to the peer.
pub(super) struct Answer {
    stream: OwnedWriteHalf,
    buffer: Vec<u8>,
}

// === impl ControlServer ===

impl ControlServer {
    /// Serves on the socket. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn start(socket: ControlSocket, rooms: Rooms) -> io::Result<Self> {
        let (listener, file) = socket.into_parts();
        let task = tokio::spawn(serve(UnixListener::from_std(listener)?, rooms));
        Ok(Self { task, _file: file })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: UnixListener, rooms: Rooms) {
    let mut connections = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _address)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let is_full = connections.len() >= CONNECTIONS_MAX;
        let rooms = rooms.clone();
        connections.spawn(async move {
            match timeout(CONNECTION_TIME, connection(stream, is_full, &rooms)).await {
                Ok(Ok(())) => (),
                Ok(Err(error)) => tracing::debug!(%error, "a connection to the control socket failed"),
                Err(_) => tracing::warn!("a connection to the control socket was cut at its time limit"),
            }
        });
        if connections.len() >= REFUSALS_MAX {
            // Each of them ends within its time; until then the others wait in the kernel's backlog.
            connections.join_next().await;
        }
    }
}

async fn connection(stream: UnixStream, is_full: bool, rooms: &Rooms) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut answer = Answer { stream: writer, buffer: Vec::new() };
    converse(&mut reader, &mut answer, peer, is_full, rooms).await?;
    // What is left unread when a socket closes would take the answer from its peer.
    answer.stream.shutdown().await?;
    let (mut rest, mut nowhere) = (reader.take(REST_OCTETS_MAX), tokio::io::sink());
    let _cut = timeout(REST_TIME, tokio::io::copy(&mut rest, &mut nowhere)).await;
    Ok(())
}

async fn converse(
    reader: &mut BufReader<OwnedReadHalf>,
    answer: &mut Answer,
    peer: UCred,
    is_full: bool,
    rooms: &Rooms,
) -> io::Result<()> {
    if !may_enter(peer.uid()) {
        tracing::warn!(uid = peer.uid(), pid = peer.pid(), "the control socket was refused to another user");
        return answer.fail(FailedKind::Forbidden, "this is for the server's own user and for root").await;
    }
    if is_full {
        return answer.fail(FailedKind::Busy, "too many connections to the control socket").await;
    }
    while let Some(line) = read_line(reader).await? {
        match parse(&line) {
            Ok(request) => requests::answer(request, peer.uid(), rooms, answer).await?,
            // What follows a line that cannot be read is not worth reading either.
            Err(Failed { kind, text }) => return answer.fail(kind, &text).await,
        }
    }
    Ok(())
}

/// The next line, without its end; `None` where the peer has nothing more to ask.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut bounded = reader.take(REQUEST_OCTETS_MAX);
    timeout(REQUEST_TIME, bounded.read_until(b'\n', &mut line))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    // A line that is cut by its bound, or by the end, is no request: `parse` says so.
    Ok((!line.is_empty()).then_some(line))
}

fn parse(line: &[u8]) -> Result<Request, Failed> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let bad = |text: String| Failed { kind: FailedKind::BadRequest, text };
    if line.last() != Some(&b'\n') {
        return Err(bad(format!("no line of at most {REQUEST_OCTETS_MAX} octets")));
    }
    // The version first: what else another version says cannot be judged.
    let versioned: Versioned = serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
    if versioned.version != VERSION {
        let text = format!(
            "this server speaks version {VERSION}, not {}: was it restarted after an update?",
            versioned.version
        );
        return Err(Failed { kind: FailedKind::Version, text });
    }
    let call: Call = serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
    Ok(call.request)
}

// === impl Answer ===

impl Answer {
    /// Adds a line, which leaves now or together with others.
    pub(super) async fn line(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_OCTETS { self.flush().await } else { Ok(()) }
    }

    /// Adds octets that a `Content` line announced.
    pub(super) async fn octets(&mut self, octets: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= BUFFER_OCTETS { self.flush().await } else { Ok(()) }
    }

    /// Ends the answer.
    pub(super) async fn done(&mut self) -> io::Result<()> {
        self.line(&Line::Done).await?;
        self.flush().await
    }

    /// Ends the answer with a failure.
    pub(super) async fn fail(&mut self, kind: FailedKind, text: &str) -> io::Result<()> {
        self.line(&Line::Failed(Failed { kind, text: text.to_owned() })).await?;
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        let written = timeout(WRITE_TIME, self.stream.write_all(&self.buffer)).await;
        self.buffer.clear();
        written.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

/// Operators and their scripts at the same time.
const CONNECTIONS_MAX: usize = 16;
/// With those that are only told that there are too many.
const REFUSALS_MAX: usize = 64;
/// For a whole request, and between two requests.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// For a peer to take a part of an answer: a pager may be in between.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// A list of a million messages may take a while; nothing takes longer than this.
const CONNECTION_TIME: Duration = Duration::from_secs(3600);
/// What a peer still says when it has been answered for the last time.
const REST_OCTETS_MAX: u64 = 4 * 1024 * 1024;
const REST_TIME: Duration = Duration::from_secs(2);
/// Out of descriptors, most likely: those of finished sessions come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BUFFER_OCTETS: usize = 64 * 1024;

#[cfg(test)]
mod tests;
