//! Loop detection: how often a mail has been through a server (RFC 5321 section 6.3).

/// Counts `Received:` fields while the octets go by; looks at the header section alone.
#[derive(Debug, Default)]
pub(super) struct ReceivedCounter {
    count: usize,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    LineStart,
    /// In the first octets of a line, all of which, this many, match the name.
    Matched(usize),
    /// Behind the name: white space may stand before the colon (RFC 5322 section 4.5.8).
    Named,
    /// Somewhere behind them.
    InLine,
    /// The line so far is CR alone: with LF the section ends.
    EmptyLine,
    /// Behind the empty line.
    Body,
}

// === impl ReceivedCounter ===

impl ReceivedCounter {
    /// Looks at the next octets; any split of them counts the same.
    pub(super) fn look(&mut self, octets: &[u8]) {
        if self.state == State::Body {
            return;
        }
        for octet in octets {
            self.step(*octet);
            if self.state == State::Body {
                return;
            }
        }
    }

    /// `Received:` fields seen so far.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    fn step(&mut self, octet: u8) {
        self.state = match (self.state, octet) {
            (State::LineStart, b'\r') => State::EmptyLine,
            (State::EmptyLine, b'\n') => State::Body,
            (_, b'\n') => State::LineStart,
            (State::LineStart, _) => Self::matched(0, octet),
            (State::Matched(length), _) => Self::matched(length, octet),
            (State::Named, b' ' | b'\t') => State::Named,
            (State::Named, b':') => {
                self.count = self.count.saturating_add(1);
                State::InLine
            }
            (State::InLine | State::Named | State::EmptyLine, _) => State::InLine,
            (State::Body, _) => State::Body,
        };
    }

    fn matched(length: usize, octet: u8) -> State {
        let next = length.saturating_add(1);
        match FIELD.get(length) {
            Some(wanted) if octet.eq_ignore_ascii_case(wanted) && next == FIELD.len() => State::Named,
            Some(wanted) if octet.eq_ignore_ascii_case(wanted) => State::Matched(next),
            _ => State::InLine,
        }
    }
}

const FIELD: &[u8] = b"received";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(pieces: &[&[u8]]) -> usize {
        let mut counter = ReceivedCounter::default();
        for piece in pieces {
            counter.look(piece);
        }
        counter.count()
    }

    #[test]
    fn only_fields_of_the_header_section_count() {
        let mail =
            b"Received: a\r\n\treceived: folded\r\nRECEIVED:b\r\nX-Received: c\r\n\r\nReceived: body\r\n";
        assert_eq!(count(&[mail]), 2);
        assert_eq!(count(&[b"received : a\r\nReceived\t \t:b\r\nReceived x: c\r\nReceived \r\n: d\r\n"]), 2);
    }

    #[test]
    fn a_body_without_header_section_has_none() {
        assert_eq!(count(&[b"\r\nReceived: x\r\n"]), 0);
        assert_eq!(count(&[b""]), 0);
        assert_eq!(count(&[b"Received"]), 0);
    }

    proptest! {
        #[test]
        fn any_split_counts_the_same(
            lines in prop::collection::vec("(Received ?: [a-z]{0,3}|R[a-z]{0,4}: x| received:|)", 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mail = lines.join("\r\n").into_bytes();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(mail.len() + 1)).collect();
            ends.push(mail.len());
            ends.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for end in ends {
                pieces.push(&mail[start..end]);
                start = end;
            }
            let header = lines.iter().take_while(|line| !line.is_empty());
            let expected = header.filter(|line| line.starts_with("Received:") || line.starts_with("Received :")).count();
            prop_assert_eq!(count(&pieces), expected);
        }
    }
}
