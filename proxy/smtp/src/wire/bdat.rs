//! RFC 3030: the body in chunks of declared size.

use super::line::{self, CRLF, Fault, LF, Scan};

/// `BDAT SP chunk-size [ SP "LAST" ]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the command.
    pub octets: u64,
    /// Whether the body ends with this chunk.
    pub is_last: bool,
}

/// Checks the octets of all chunks of one body; they are put as they come, without a copy.
///
/// The line rule holds across chunk borders: a CR may end one chunk and its LF begin the next. BINARYMIME bodies have no
/// lines and so no faults.
#[derive(Debug)]
pub struct ChunkDecoder {
    at: At,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Behind a CRLF, or before the first octet.
    LineStart,
    /// In a line's text.
    Text,
    /// Behind a CR.
    Cr,
    /// In a body without lines.
    Binary,
}

// === impl ChunkDecoder ===

impl ChunkDecoder {
    /// For a 7BIT or 8BITMIME body.
    #[must_use]
    pub const fn lines() -> Self {
        Self { at: At::LineStart, fault: None }
    }

    /// For a BINARYMIME body.
    #[must_use]
    pub const fn binary() -> Self {
        Self { at: At::Binary, fault: None }
    }

    /// Takes octets of a chunk and puts them, up to and not including the piece in which a fault is found.
    pub fn decode(&mut self, octets: &[u8], put: &mut dyn FnMut(&[u8])) {
        if self.fault.is_none() {
            self.fault = self.check(octets).err();
        }
        if self.fault.is_none() && !octets.is_empty() {
            put(octets);
        }
    }

    /// Ends the body behind the last chunk: a last line without CRLF gets one.
    ///
    /// # Errors
    /// The body's first fault; a CR as its last octet is one.
    pub fn finish(&mut self, put: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        match self.at {
            At::Cr => Err(Fault::BareCr),
            At::Text => {
                put(CRLF);
                Ok(())
            }
            At::LineStart | At::Binary => Ok(()),
        }
    }

    /// The first fault of the body, if it has one.
    #[must_use]
    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    fn check(&mut self, octets: &[u8]) -> Result<(), Fault> {
        let nothing: &[u8] = &[];
        let mut rest = octets;
        while let Some((&first, tail)) = rest.split_first() {
            (self.at, rest) = match (self.at, first) {
                (At::Binary, _) => return Ok(()),
                (At::Cr, LF) => (At::LineStart, tail),
                (At::Cr, _) => return Err(Fault::BareCr),
                (At::LineStart | At::Text, _) => match line::scan(rest) {
                    Scan::Text => (At::Text, nothing),
                    Scan::Cr(_) => (At::Cr, nothing),
                    Scan::Fault(_, fault) => return Err(fault),
                    Scan::Line(text) => {
                        let end = text.saturating_add(CRLF.len());
                        (At::LineStart, rest.get(end..).unwrap_or_default())
                    }
                },
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut decoder: ChunkDecoder, parts: &[&[u8]]) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        for part in parts {
            decoder.decode(part, &mut |octets| body.extend_from_slice(octets));
        }
        decoder.finish(&mut |octets| body.extend_from_slice(octets))?;
        Ok(body)
    }

    #[test]
    fn the_line_rule_holds_across_chunk_borders() {
        assert_eq!(decode(ChunkDecoder::lines(), &[b"a\r", b"\nb\r\n"]), Ok(b"a\r\nb\r\n".to_vec()));
        assert_eq!(decode(ChunkDecoder::lines(), &[b"a\r", b"b\r\n"]), Err(Fault::BareCr));
        assert_eq!(decode(ChunkDecoder::lines(), &[b"a", b"\nb\r\n"]), Err(Fault::BareLf));
        assert_eq!(decode(ChunkDecoder::lines(), &[b"a\r\n", b"\0\r\n"]), Err(Fault::Nul));
    }

    #[test]
    fn a_last_chunk_without_crlf_gets_one() {
        assert_eq!(decode(ChunkDecoder::lines(), &[b"a"]), Ok(b"a\r\n".to_vec()));
        assert_eq!(decode(ChunkDecoder::lines(), &[b"a\r\n"]), Ok(b"a\r\n".to_vec()));
        assert_eq!(decode(ChunkDecoder::lines(), &[b""]), Ok(Vec::new()));
        assert_eq!(decode(ChunkDecoder::lines(), &[b"a\r"]), Err(Fault::BareCr));
    }

    #[test]
    fn dots_mean_nothing_in_a_chunk() {
        assert_eq!(decode(ChunkDecoder::lines(), &[b".\r\n..\r\n"]), Ok(b".\r\n..\r\n".to_vec()));
    }

    #[test]
    fn a_binary_body_has_no_lines() {
        assert_eq!(decode(ChunkDecoder::binary(), &[b"\0\n\r", b"x"]), Ok(b"\0\n\rx".to_vec()));
    }
}
