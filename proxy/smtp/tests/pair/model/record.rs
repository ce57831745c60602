//! What was asked of the server behind on one connection, and the octets that went there: read by the letter of RFC 5321 and
//! RFC 3030, they must be that and nothing else.

use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::command::Command;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Record {
    asked: Vec<Asked>,
    written: Vec<u8>,
}

/// One thing that was asked.
#[derive(Debug)]
pub(super) enum Asked {
    Command(Command),
    /// A line of an AUTH exchange, decoded.
    Response(Vec<u8>),
    /// A body behind 354, with its end or without.
    Body(Vec<u8>, bool),
    /// A chunk, and whether it is the last.
    Chunk(Vec<u8>, bool),
    Blob(Vec<u8>),
}

// === impl Record ===

impl Record {
    pub(super) fn asks(&mut self, asked: Asked) {
        self.asked.push(asked);
    }

    pub(super) fn writes(&mut self, octets: &[u8]) {
        self.written.extend_from_slice(octets);
    }

    pub(super) fn body(&mut self, octets: &[u8]) {
        match self.asked.last_mut() {
            Some(Asked::Body(body, false)) => body.extend_from_slice(octets),
            _ => self.asked.push(Asked::Body(octets.to_vec(), false)),
        }
    }

    pub(super) fn end_body(&mut self) {
        self.body(b"");
        if let Some(Asked::Body(_, is_ended)) = self.asked.last_mut() {
            *is_ended = true;
        }
    }

    pub(super) fn blob(&mut self, octets: &[u8]) {
        match self.asked.last_mut() {
            Some(Asked::Blob(blob)) => blob.extend_from_slice(octets),
            _ => self.asked.push(Asked::Blob(octets.to_vec())),
        }
    }

    /// # Panics
    /// Where the server could read something else.
    pub(super) fn check(&self) {
        let mut rest = self.written.as_slice();
        for asked in &self.asked {
            rest = asked.read_off(rest);
        }
        assert!(rest.is_empty(), "nobody has asked for {}", rest.escape_ascii());
    }
}

// === impl Asked ===

impl Asked {
    /// What stands behind it.
    fn read_off<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Command(command) => {
                let (line, rest) = line(octets);
                assert_eq!(Command::parse(line).as_ref(), Ok(command), "{}", line.escape_ascii());
                rest
            }
            Self::Response(response) => {
                let (line, rest) = line(octets);
                assert_eq!(Secret::from_response(line).unwrap().expose(), response);
                rest
            }
            Self::Body(body, is_ended) => {
                let whole = [b"\r\n", octets].concat();
                let end = whole.windows(5).position(|window| window == b"\r\n.\r\n");
                assert_eq!(end.is_some(), *is_ended, "{}", octets.escape_ascii());
                let end = end.unwrap_or(octets.len());
                let sent = without_stuffing(&octets[..end]);
                // A line end of a body that was broken off may not have been written whole.
                assert!(sent == *body || (!is_ended && body.starts_with(&sent)), "{}", octets.escape_ascii());
                &octets[(end + 3).min(octets.len())..]
            }
            Self::Chunk(chunk, is_last) => {
                let (line, rest) = line(octets);
                let last = if *is_last { " LAST" } else { "" };
                assert_eq!(line, format!("BDAT {}{last}", chunk.len()).as_bytes());
                rest.strip_prefix(chunk.as_slice()).expect("the chunk")
            }
            Self::Blob(blob) => octets.strip_prefix(blob.as_slice()).expect("the blob"),
        }
    }
}

/// The first line, without its end, and what stands behind it.
fn line(octets: &[u8]) -> (&[u8], &[u8]) {
    let end = octets.windows(2).position(|window| window == b"\r\n").expect("a whole line");
    let line = &octets[..end];
    assert!(!line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | b'\0')), "{}", line.escape_ascii());
    (line, &octets[end + 2..])
}

/// One dot less at the start of each line that has one.
fn without_stuffing(octets: &[u8]) -> Vec<u8> {
    let begins_line = |at: usize| at == 0 || octets[..at].ends_with(b"\r\n");
    let is_sent = |at: &usize| octets[*at] != b'.' || !begins_line(*at);
    (0..octets.len()).filter(is_sent).map(|at| octets[at]).collect()
}
