//! Messages as multi-line responses: dot-stuffed, ended by a line with a dot (RFC 1939 section 3), in pieces.

use bytes::Bytes;

/// A message on its way out. Holds the message by reference and makes one piece at a time.
#[derive(Debug)]
pub(super) struct Multiline {
    message: Bytes,
    before: Before,
    /// `None`: the whole message. `Some`: lines of the body that may still go (TOP).
    lines_left: Option<u64>,
    in_body: bool,
    is_over: bool,
}

/// What the next octet stands behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A CRLF, or nothing: it begins a line.
    LineEnd,
    /// A CR.
    Cr,
    /// Another octet of its line.
    Other,
}

// === impl Multiline ===

impl Multiline {
    /// The whole message, or its header and `lines` of its body.
    pub(super) fn new(message: Bytes, lines: Option<u64>) -> Self {
        Self { message, before: Before::LineEnd, lines_left: lines, in_body: false, is_over: false }
    }

    /// The next piece; `None` behind the last one.
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let mut piece = Vec::with_capacity(PIECE_OCTETS.min(self.message.len()).saturating_add(8));
        while piece.len() < PIECE_OCTETS {
            let Some(line) = self.next_line() else {
                self.is_over = true;
                if self.before != Before::LineEnd {
                    piece.extend_from_slice(b"\r\n");
                }
                piece.extend_from_slice(b".\r\n");
                break;
            };
            if self.before == Before::LineEnd && line.starts_with(b".") {
                piece.push(b'.');
            }
            self.before = match line.as_ref() {
                [.., b'\r', b'\n'] => Before::LineEnd,
                [b'\n'] if self.before == Before::Cr => Before::LineEnd,
                [.., b'\r'] => Before::Cr,
                _ => Before::Other,
            };
            piece.extend_from_slice(&line);
        }
        Some(piece.into())
    }

    /// Up to and with the next LF, or a part of a line that is longer than a piece.
    fn next_line(&mut self) -> Option<Bytes> {
        if self.message.is_empty() || self.lines_left == Some(0) && self.in_body {
            return None;
        }
        let end =
            memchr::memchr(b'\n', &self.message).map_or(self.message.len(), |end| end.saturating_add(1));
        let line = self.message.split_to(end.min(PIECE_OCTETS));
        if self.in_body {
            if line.ends_with(b"\n") {
                self.lines_left = self.lines_left.map(|left| left.saturating_sub(1));
            }
        } else if self.before == Before::LineEnd && line.as_ref() == b"\r\n" {
            self.in_body = true;
        }
        Some(line)
    }
}

/// Small enough for many sessions, large enough for few writes.
const PIECE_OCTETS: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dot_at_the_start_of_a_line_is_doubled() {
        assert_eq!(encode("a: b\r\n\r\n.\r\n..x\r\ny.\r\n", None), "a: b\r\n\r\n..\r\n...x\r\ny.\r\n.\r\n");
        assert_eq!(encode(".", None), "..\r\n.\r\n");
        assert_eq!(encode("", None), ".\r\n");
    }

    #[test]
    fn a_message_without_a_last_line_end_gets_one() {
        assert_eq!(encode("a: b\r\n\r\nx", None), "a: b\r\n\r\nx\r\n.\r\n");
    }

    #[test]
    fn top_gives_the_header_and_so_many_lines() {
        let message = "a: b\r\nc: d\r\n\r\n1\r\n.2\r\n3\r\n";
        assert_eq!(encode(message, Some(0)), "a: b\r\nc: d\r\n\r\n.\r\n");
        assert_eq!(encode(message, Some(2)), "a: b\r\nc: d\r\n\r\n1\r\n..2\r\n.\r\n");
        assert_eq!(encode(message, Some(9)), "a: b\r\nc: d\r\n\r\n1\r\n..2\r\n3\r\n.\r\n");
        assert_eq!(encode("a: b\r\n", Some(0)), "a: b\r\n.\r\n");
    }

    #[test]
    fn pieces_are_bounded_and_a_line_may_be_longer_than_one() {
        let message = format!("{}\r\n.\r\n", "x".repeat(3 * PIECE_OCTETS));
        let mut response = Multiline::new(Bytes::from(message.clone().into_bytes()), None);
        let pieces: Vec<Bytes> = std::iter::from_fn(|| response.next_piece()).collect();
        assert!(pieces.len() >= 3 && pieces.iter().all(|piece| piece.len() <= 2 * PIECE_OCTETS + 8));
        assert_eq!(decode(&String::from_utf8(pieces.concat()).unwrap()), message);
    }

    proptest! {
        #[test]
        fn what_a_client_decodes_is_the_message(message in "[.a\r\n]{0,40}", padding in PIECE_OCTETS - 20..PIECE_OCTETS + 4) {
            // As intake makes them: every CR and LF belongs to a CRLF.
            let message = message.replace('\r', "").replace('\n', "\r\n");
            for message in [message.clone(), format!("{}{message}", "x".repeat(padding))] {
                let decoded = decode(&encode(&message, None));
                let ended = if message.is_empty() || message.ends_with("\r\n") { "" } else { "\r\n" };
                prop_assert_eq!(decoded, format!("{message}{ended}"));
            }
        }

        #[test]
        fn the_end_comes_once_whatever_the_octets(message in "[.a\r\n]{0,40}", lines in prop::option::of(0..4_u64)) {
            let encoded = encode(&message, lines);
            prop_assert!(encoded == ".\r\n" || encoded.ends_with("\r\n.\r\n"));
            prop_assert_eq!(encoded.find("\r\n.\r\n").map_or(encoded.len(), |at| at + 5), encoded.len());
        }
    }

    fn encode(message: &str, lines: Option<u64>) -> String {
        let mut response = Multiline::new(Bytes::from(message.to_owned().into_bytes()), lines);
        let pieces: Vec<Bytes> = std::iter::from_fn(|| response.next_piece()).collect();
        String::from_utf8(pieces.concat()).unwrap()
    }

    /// As a client does it: line by line to the dot, the first dot of a line off.
    fn decode(encoded: &str) -> String {
        let mut message = String::new();
        for line in encoded.split_inclusive("\r\n") {
            if line == ".\r\n" {
                return message;
            }
            message.push_str(line.strip_prefix('.').unwrap_or(line));
        }
        panic!("no end");
    }
}
