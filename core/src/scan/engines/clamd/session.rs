//! One session with clamd (IDSESSION): command after command, each answered before the next is sent.

use std::time::{Duration, Instant};

use super::protocol::{self, Reply};
use crate::scan::engines::health::CallError;
use crate::scan::engines::outside::{Answer, Scanned, Session};
use crate::scan::engines::socket::{Address, Socket};

#[derive(Debug)]
pub(super) struct ClamdSession {
    socket: Socket,
    commands: u64,
    /// Clamd closes it: it has refused an item before it had read all of it.
    is_spent: bool,
}

// === impl ClamdSession ===

impl ClamdSession {
    pub(super) fn open(address: &Address, due: Instant) -> Result<(Self, String), CallError> {
        let mut socket = Socket::connect(address, due)?;
        socket.write(b"zIDSESSION\0", due)?;
        let mut session = Self { socket, commands: 0, is_spent: false };
        let version = session.version(due)?;
        Ok((session, version))
    }

    /// Whether an item of so many octets would be refused for its size. Clamd answers to the announcement of a chunk that is
    /// too large, so nothing has to be sent; where it is not, it waits for the chunk, and the session is of no more use.
    pub(super) fn refuses_size(mut self, octets: u32, due: Instant) -> Result<bool, CallError> {
        self.commands = self.commands.saturating_add(1);
        self.socket.write(b"zINSTREAM\0", due)?;
        self.socket.write(&octets.to_be_bytes(), due)?;
        match self.reply(due) {
            Ok(reply) => Ok(protocol::scan_reply(&reply) == Some(Reply::Answer(Answer::BeyondLimits))),
            Err(CallError::Late) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn scan_item(&mut self, item: &[u8], due: Instant) -> Result<Answer, CallError> {
        self.commands = self.commands.saturating_add(1);
        self.socket.write(b"zINSTREAM\0", due)?;
        let is_whole = self.stream(item, due)?;
        let reply = self.reply(due)?;
        self.is_spent = !is_whole || reply == protocol::SIZE_LIMIT;
        match protocol::scan_reply(&reply) {
            Some(Reply::Failed(reason)) => Err(CallError::refused(&reason)),
            // A verdict on the whole is none where it has not seen the whole.
            Some(Reply::Answer(Answer::Clean)) if !is_whole => Err(CallError::wrong_answer(&reply)),
            Some(Reply::Answer(answer)) => Ok(answer),
            None => Err(CallError::wrong_answer(&reply)),
        }
    }

    /// Chunks, each behind its length, and an empty one at the end. As few as there can be, so that clamd objects to an item
    /// that is too large before it is sent. `false`: clamd has answered before it had all.
    fn stream(&mut self, item: &[u8], due: Instant) -> Result<bool, CallError> {
        for chunk in item.chunks(CHUNK_OCTETS_MAX) {
            let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            self.socket.write(&length.to_be_bytes(), due)?;
            if !self.socket.write_while_unanswered(chunk, due)? {
                return Ok(false);
            }
        }
        self.socket.write(&0_u32.to_be_bytes(), due)?;
        Ok(true)
    }

    /// The answer to the latest command, without number and end.
    fn reply(&mut self, due: Instant) -> Result<String, CallError> {
        let mut octets = Vec::new();
        let mut buffer = [0; 512];
        while octets.last() != Some(&0) {
            let count = self.socket.read(&mut buffer, due)?;
            octets.extend_from_slice(buffer.get(..count).unwrap_or_default());
            if octets.len() > REPLY_OCTETS_MAX {
                return Err(CallError::WrongAnswer(format!("longer than {REPLY_OCTETS_MAX} octets")));
            }
        }
        octets.pop();
        let reply = String::from_utf8_lossy(&octets);
        match protocol::numbered(&reply, self.commands) {
            // Two answers to one command.
            Some(answer) if !answer.contains('\0') => Ok(answer.to_owned()),
            _ => Err(CallError::wrong_answer(&reply)),
        }
    }
}

impl Session for ClamdSession {
    fn is_usable(&self, idle: Duration) -> bool {
        !self.is_spent && idle < IDLE_TIME_MAX && self.socket.is_quiet()
    }

    fn version(&mut self, due: Instant) -> Result<String, CallError> {
        self.commands = self.commands.saturating_add(1);
        self.socket.write(b"zVERSION\0", due)?;
        let reply = self.reply(due)?;
        match protocol::version_reply(&reply) {
            Some(version) => Ok(version.to_owned()),
            None => Err(CallError::wrong_answer(&reply)),
        }
    }

    fn scan(&mut self, item: &[u8], due: Instant) -> Result<Scanned, CallError> {
        let answer = self.scan_item(item, due)?;
        let version = if self.is_spent { None } else { Some(self.version(due)?) };
        Ok(Scanned { answer, version })
    }
}

/// Below clamd's default `IdleTimeout` and `CommandReadTimeout` of 30 s.
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
/// Names of viruses are short, and so are reasons.
const REPLY_OCTETS_MAX: usize = 4 * 1024;
/// Larger than any item.
const CHUNK_OCTETS_MAX: usize = 1 << 30;
