//! A persistent connection to an ICAP server: OPTIONS first, then RESPMOD for each item, with a preview where it wants one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Service;
use super::response::{Encapsulated, Head};
use crate::scan::engines::health::CallError;
use crate::scan::engines::outside::{Answer, Scanned, Session};
use crate::scan::engines::places::Place;
use crate::scan::engines::socket::{Address, Socket};

#[derive(Debug)]
pub(super) struct IcapSession {
    socket: Socket,
    service: Arc<Service>,
    _place: Place,
    /// How much the server wants to see before it says whether it needs the rest (section 4.5).
    preview: Option<usize>,
    /// Read, and not looked at yet.
    buffer: Vec<u8>,
    keeps: bool,
}

/// How much of an item the server had when it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// It wanted no more than this.
    Preview,
    /// It answered in the middle of what was being sent.
    Part,
}

// === impl IcapSession ===

impl IcapSession {
    pub(super) fn open(
        address: &Address,
        service: Arc<Service>,
        place: Place,
        due: Instant,
    ) -> Result<(Self, String), CallError> {
        let socket = Socket::connect(address, due)?;
        let mut session =
            Self { socket, service, _place: place, preview: None, buffer: Vec::new(), keeps: true };
        let tag = session.version(due)?;
        Ok((session, tag))
    }

    /// OPTIONS (section 4.10).
    fn options(&mut self, due: Instant) -> Result<Head, CallError> {
        let Service { uri, host, .. } = &*self.service;
        let request = format!(
            "OPTIONS {uri} ICAP/1.0\r\nHost: {host}\r\nUser-Agent: Gatepost\r\nEncapsulated: null-body=0\r\n\r\n"
        );
        self.socket.write(request.as_bytes(), due)?;
        let head = self.head(due)?;
        // A list of what the service offers, which nobody needs.
        if let Some(Encapsulated::Body(_)) = head.encapsulated() {
            self.keeps = false;
        }
        match head.status {
            200 => Ok(head),
            status => Err(CallError::refused(&format!("status {status} to OPTIONS"))),
        }
    }

    /// Hands the item over, as far as the server wants it. The head of its last response, and what it had by then.
    fn respmod(&mut self, item: &[u8], due: Instant) -> Result<(Head, Sent), CallError> {
        let preview = self.preview.map(|octets| octets.min(item.len()));
        self.socket.write(self.request(item.len(), preview).as_bytes(), due)?;
        let (first, rest) = item.split_at_checked(preview.unwrap_or(item.len())).unwrap_or((item, &[]));
        let mut is_whole = self.chunk(first, due)?;
        if is_whole {
            let end = if preview.is_some() && rest.is_empty() { PREVIEW_IS_ALL } else { LAST_CHUNK };
            self.socket.write(end, due)?;
        }
        let mut head = self.head(due)?;
        let mut is_preview = !rest.is_empty();
        if head.status == 100 && is_preview {
            is_preview = false;
            is_whole = self.chunk(rest, due)?;
            if is_whole {
                self.socket.write(LAST_CHUNK, due)?;
            }
            head = self.head(due)?;
        }
        // The rest of a request that was answered early is not sent any more.
        self.keeps &= is_whole;
        let sent = match () {
            () if !is_whole => Sent::Part,
            () if is_preview => Sent::Preview,
            () => Sent::All,
        };
        Ok((head, sent))
    }

    fn request(&self, octets: usize, preview: Option<usize>) -> String {
        let Service { uri, host, .. } = &*self.service;
        let asked = "GET /item HTTP/1.1\r\nHost: gatepost\r\n\r\n";
        let answered = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {octets}\r\n\r\n"
        );
        let answered_at = asked.len();
        let body_at = answered_at.saturating_add(answered.len());
        let preview = preview.map_or_else(String::new, |octets| format!("Preview: {octets}\r\n"));
        format!(
            "RESPMOD {uri} ICAP/1.0\r\nHost: {host}\r\nUser-Agent: Gatepost\r\nAllow: 204\r\n{preview}\
             Encapsulated: req-hdr=0, res-hdr={answered_at}, res-body={body_at}\r\n\r\n{asked}{answered}"
        )
    }

    /// One chunk, unless there is nothing in it. `false`: the server has answered before it had all.
    fn chunk(&mut self, octets: &[u8], due: Instant) -> Result<bool, CallError> {
        if octets.is_empty() {
            return Ok(true);
        }
        self.socket.write(format!("{:x}\r\n", octets.len()).as_bytes(), due)?;
        if !self.socket.write_while_unanswered(octets, due)? {
            return Ok(false);
        }
        self.socket.write(b"\r\n", due)?;
        Ok(true)
    }

    fn head(&mut self, due: Instant) -> Result<Head, CallError> {
        let octets = self.until(b"\r\n\r\n", HEAD_OCTETS_MAX, due)?;
        let Some(head) = Head::parse(&octets) else {
            return Err(CallError::wrong_answer(&String::from_utf8_lossy(&octets)));
        };
        self.keeps &= head.keeps_connection();
        Ok(head)
    }

    /// Whether the server sends the item back as it was. Some do so instead of 204, and what they change they have
    /// objected to.
    fn sends_back(&mut self, item: &[u8], head: &Head, due: Instant) -> Result<bool, CallError> {
        if self.sections(head, due)?.is_none() {
            return Ok(false);
        }
        let mut rest = item;
        loop {
            let size = self.chunk_size(due)?;
            if size == 0 {
                return Ok(rest.is_empty());
            }
            let Some((expected, more)) = rest.split_at_checked(size) else {
                self.keeps = false;
                return Ok(false);
            };
            if self.exactly(size, due)? != expected || self.exactly(2, due)? != b"\r\n" {
                self.keeps = false;
                return Ok(false);
            }
            rest = more;
        }
    }

    /// What the server sends in the item's place; `None` where that is a page about it, as its type or its length shows.
    fn replacement(
        &mut self,
        head: &Head,
        octets_max: usize,
        due: Instant,
    ) -> Result<Option<Vec<u8>>, CallError> {
        let Some(sections) = self.sections(head, due)? else { return Ok(None) };
        if !is_of_our_type(&sections) {
            return Ok(None);
        }
        let mut octets = Vec::new();
        loop {
            let size = self.chunk_size(due)?;
            if size == 0 {
                return Ok(Some(octets));
            }
            if octets.len().saturating_add(size) > octets_max {
                return Ok(None);
            }
            octets.extend(self.exactly(size, due)?);
            if self.exactly(2, due)? != b"\r\n" {
                return Err(CallError::WrongAnswer("a chunk of another length".to_owned()));
            }
        }
    }

    /// The header sections in front of a body that is in the item's place; `None` where there is none.
    fn sections(&mut self, head: &Head, due: Instant) -> Result<Option<Vec<u8>>, CallError> {
        let Some(Encapsulated::Body(at)) = head.encapsulated() else { return Ok(None) };
        if at > HEAD_OCTETS_MAX {
            return Err(CallError::WrongAnswer("header sections without end".to_owned()));
        }
        let sections = self.exactly(at, due)?;
        // A page of another status is about the item, not the item.
        let is_item = sections.starts_with(b"HTTP/1.1 200 ") || sections.starts_with(b"HTTP/1.0 200 ");
        Ok(is_item.then_some(sections))
    }

    /// The size of the next chunk; behind the last one, 0, also what ends the body.
    fn chunk_size(&mut self, due: Instant) -> Result<usize, CallError> {
        let line = self.until(b"\r\n", CHUNK_LINE_MAX, due)?;
        let size = std::str::from_utf8(&line).ok().and_then(|line| line.split(';').next());
        let Some(size) = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok()) else {
            return Err(CallError::wrong_answer(&String::from_utf8_lossy(&line)));
        };
        if size == 0 {
            self.until(b"\r\n", CHUNK_LINE_MAX, due)?;
        }
        Ok(size)
    }

    /// What comes before this mark, which is taken off.
    fn until(&mut self, mark: &[u8], octets_max: usize, due: Instant) -> Result<Vec<u8>, CallError> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, mark) {
                let rest = self.buffer.split_off(at);
                let found = std::mem::replace(&mut self.buffer, rest);
                self.buffer.drain(..mark.len());
                return Ok(found);
            }
            if self.buffer.len() > octets_max {
                return Err(CallError::WrongAnswer(format!("longer than {octets_max} octets")));
            }
            self.fill(due)?;
        }
    }

    fn exactly(&mut self, octets: usize, due: Instant) -> Result<Vec<u8>, CallError> {
        while self.buffer.len() < octets {
            self.fill(due)?;
        }
        let rest = self.buffer.split_off(octets);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn fill(&mut self, due: Instant) -> Result<(), CallError> {
        let mut buffer = [0; 16 * 1024];
        let count = self.socket.read(&mut buffer, due)?;
        self.buffer.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(())
    }
}

impl Session for IcapSession {
    fn is_usable(&self, idle: Duration) -> bool {
        self.keeps && self.buffer.is_empty() && idle < IDLE_TIME_MAX && self.socket.is_quiet()
    }

    fn version(&mut self, due: Instant) -> Result<String, CallError> {
        let head = self.options(due)?;
        let is_offered = |method: &str| method.trim().eq_ignore_ascii_case("RESPMOD");
        if head.field("methods").is_some_and(|methods| !methods.split(',').any(is_offered)) {
            return Err(CallError::refused("the service does not offer RESPMOD"));
        }
        if let Some(most) = head.field("max-connections").and_then(|most| most.parse().ok()) {
            self.service.connections.limit(most);
        }
        self.preview = head.field("preview").and_then(|octets| octets.parse().ok()).map(cut_preview);
        match head.tag() {
            Some(tag) => Ok(tag.to_owned()),
            None => Err(CallError::WrongAnswer("no ISTag".to_owned())),
        }
    }

    fn scan(&mut self, item: &[u8], due: Instant) -> Result<Scanned, CallError> {
        let (head, sent) = self.respmod(item, due)?;
        let answer = match (head.threat(), head.status) {
            // Whatever the status: the field has no other meaning.
            (Some(threat), _) => {
                // A page that nobody reads may follow.
                self.keeps = false;
                Answer::Found(threat)
            }
            (None, 204) => match sent {
                Sent::All => Answer::Clean,
                // c-icap says so of what is too large for it, of types that it is not to scan, and without an engine.
                Sent::Preview => Answer::BeyondLimits,
                Sent::Part => {
                    return Err(CallError::WrongAnswer("204 before the end of the item".to_owned()));
                }
            },
            (None, 200) if self.sends_back(item, &head, due)? => Answer::Clean,
            (None, 200) => {
                self.keeps = false;
                Answer::Found("content-replaced".to_owned())
            }
            (None, 413) => Answer::BeyondLimits,
            (None, status) => return Err(CallError::refused(&format!("status {status}"))),
        };
        // What is left of such a response does not matter.
        self.keeps &= head.status != 413;
        Ok(Scanned { answer, version: head.tag().map(str::to_owned) })
    }

    /// A server that repairs an item sends it in the item's place (RFC 3507 section 4.9), and where it says what it did, says
    /// that it has repaired it.
    fn clean(&mut self, item: &[u8], due: Instant) -> Result<Option<Vec<u8>>, CallError> {
        let (head, sent) = self.respmod(item, due)?;
        if head.status != 200 || sent != Sent::All || head.is_blocked() {
            self.keeps = false;
            return Ok(None);
        }
        let octets_max = item.len().saturating_mul(2).saturating_add(GROWTH_OCTETS_MAX);
        let cleaned = self.replacement(&head, octets_max, due)?.filter(|cleaned| cleaned != item);
        self.keeps &= cleaned.is_some();
        Ok(cleaned)
    }
}

/// Whether an answer still calls its body what the request has called the item. A page for people is a text.
fn is_of_our_type(sections: &[u8]) -> bool {
    let mut lines = sections.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii);
    let kind = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        name.eq_ignore_ascii_case(b"content-type").then_some(value)
    });
    kind.is_some_and(|value| value.get(1..).unwrap_or_default().trim_ascii() == b"application/octet-stream")
}

/// RFC 3507 leaves it open; scanners ask for a few KiB.
fn cut_preview(octets: usize) -> usize {
    octets.min(PREVIEW_MAX)
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Section 4.5.
const PREVIEW_IS_ALL: &[u8] = b"0; ieof\r\n\r\n";
/// A head has a dozen fields, and those of a finding one line each.
const HEAD_OCTETS_MAX: usize = 16 * 1024;
const CHUNK_LINE_MAX: usize = 128;
/// What a repaired item may have more than twice the item's length.
const GROWTH_OCTETS_MAX: usize = 64 * 1024;
const PREVIEW_MAX: usize = 1024 * 1024;
/// Many servers close what lay idle for a minute or more.
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
