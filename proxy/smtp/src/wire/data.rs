//! The one definition of end-of-data: CRLF "." CRLF, and the transparency of dots (RFC 5321 section 4.5.2).
//!
//! Body lines have no length limit of their own. RFC 5321 section 4.5.3.1.6 lets a server refuse more than 1,000 octets,
//! but much real mail has longer lines, the decoder streams and never holds one, and the message limit bounds them.
//! Octets above 127 are taken under `BODY=7BIT` too: clients send them undeclared every day, and turning such a mail
//! away helps nobody; whoever sends it on must look at the content, not at the declaration.

use super::line::{self, CR, CRLF, Fault, LF, Scan};

/// Decodes what follows a 354, in parts of any size.
///
/// After a fault it puts nothing more, and goes on to the true end of data: what stands behind a bare LF must never be
/// taken for commands.
#[derive(Debug, Default)]
pub struct DataDecoder {
    at: At,
    fault: Option<Fault>,
    lf_ends_lines: bool,
    has_normalised: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// Behind a CRLF; the one of the DATA command counts (RFC 5321 section 4.1.1.4).
    #[default]
    LineStart,
    /// In a line's text.
    Text,
    /// Behind a CR in a line.
    Cr,
    /// Behind a dot at the start of a line.
    Dot,
    /// Behind such a dot and a CR.
    DotCr,
    /// Behind the end of data.
    End,
}

// === impl DataDecoder ===

impl DataDecoder {
    /// A decoder for peers whose lines may end with a bare LF: it is put as CRLF, and so ends the data behind a dot as well.
    #[must_use]
    pub fn quirk_bare_lf() -> Self {
        Self { lf_ends_lines: true, ..Self::default() }
    }

    /// Whether a line ended with a bare LF.
    #[must_use]
    pub const fn has_normalised(&self) -> bool {
        self.has_normalised
    }

    /// Decodes some octets; returns how many belong to the body. All do until `is_finished`. Lines without a leading dot
    /// are put as slices of `octets`, as many as possible at once.
    pub fn decode(&mut self, octets: &[u8], put: &mut dyn FnMut(&[u8])) -> usize {
        let mut rest = octets;
        while let (Some((&first, tail)), false) = (rest.split_first(), self.is_finished()) {
            (self.at, rest) = match (self.at, first) {
                (At::LineStart, b'.') => (At::Dot, tail),
                (At::LineStart | At::Text, _) => self.run(rest, put),
                (At::Cr, LF) => {
                    self.put(CRLF, put);
                    (At::LineStart, tail)
                }
                (At::Dot, CR) => (At::DotCr, tail),
                (At::Dot, LF) if self.lf_ends_lines => {
                    self.has_normalised = true;
                    (At::End, tail)
                }
                // The dot was there for transparency: it is dropped.
                (At::Dot, _) => (At::Text, rest),
                (At::DotCr, LF) => (At::End, tail),
                (At::Cr | At::DotCr, _) => {
                    self.fault.get_or_insert(Fault::BareCr);
                    (At::Text, rest)
                }
                (At::End, _) => (At::End, rest),
            };
        }
        octets.len().saturating_sub(rest.len())
    }

    /// Whether the end of data has been read.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.at == At::End
    }

    /// The first fault of the body, if it has one.
    #[must_use]
    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Takes text and whole lines up to a leading dot, a fault or the end of `octets`.
    fn run<'a>(&mut self, octets: &'a [u8], put: &mut dyn FnMut(&[u8])) -> (At, &'a [u8]) {
        let mut run: usize = 0;
        let (at, skipped) = loop {
            run = run.saturating_add(line::plain_lines(octets.get(run..).unwrap_or_default()));
            let tail = octets.get(run..).unwrap_or_default();
            match line::scan(tail) {
                Scan::Text => {
                    run = octets.len();
                    break (At::Text, 0);
                }
                Scan::Line(text) => {
                    run = run.saturating_add(text).saturating_add(CRLF.len());
                    if matches!(octets.get(run), None | Some(b'.')) {
                        break (At::LineStart, 0);
                    }
                }
                Scan::Cr(text) => {
                    run = run.saturating_add(text);
                    break (At::Cr, 1);
                }
                Scan::Fault(text, Fault::BareLf) if self.lf_ends_lines => {
                    let end = run.saturating_add(text);
                    return self.run_ended_by_lf(octets, end, put);
                }
                Scan::Fault(text, fault) => {
                    run = run.saturating_add(text);
                    self.fault.get_or_insert(fault);
                    break (At::Text, 1);
                }
            }
        };
        let (lines, rest) = octets.split_at_checked(run).unwrap_or((octets, &[]));
        self.put(lines, put);
        (at, rest.get(skipped..).unwrap_or_default())
    }

    fn run_ended_by_lf<'a>(
        &mut self,
        octets: &'a [u8],
        end: usize,
        put: &mut dyn FnMut(&[u8]),
    ) -> (At, &'a [u8]) {
        self.has_normalised = true;
        let (lines, rest) = octets.split_at_checked(end).unwrap_or((octets, &[]));
        self.put(lines, put);
        self.put(CRLF, put);
        (At::LineStart, rest.get(1..).unwrap_or_default())
    }

    fn put(&self, octets: &[u8], put: &mut dyn FnMut(&[u8])) {
        if self.fault.is_none() && !octets.is_empty() {
            put(octets);
        }
    }
}

/// Writes a body that comes in parts of any size, and lets nothing pass that is not CRLF lines: a bare CR or LF could end a
/// line, and with it the data, for whoever reads it next.
#[derive(Debug)]
pub struct LineEncoder {
    at: At,
    doubles_dots: bool,
}

// === impl LineEncoder ===

impl LineEncoder {
    /// For DATA: leading dots are doubled.
    #[must_use]
    pub const fn for_data() -> Self {
        Self { at: At::LineStart, doubles_dots: true }
    }

    /// For BDAT: as it is.
    #[must_use]
    pub const fn for_chunks() -> Self {
        Self { at: At::LineStart, doubles_dots: false }
    }

    /// Appends the next part.
    ///
    /// # Errors
    /// At the first octet that has no place in a body of lines.
    pub fn encode(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut rest = octets;
        while let Some((&first, tail)) = rest.split_first() {
            if self.at == At::Cr {
                if first != LF {
                    return Err(Fault::BareCr);
                }
                out.push(LF);
                (self.at, rest) = (At::LineStart, tail);
                continue;
            }
            if self.doubles_dots && self.at == At::LineStart && first == b'.' {
                out.push(b'.');
            }
            if let Some((lines @ [_, ..], tail)) = rest.split_at_checked(line::plain_lines(rest)) {
                out.extend_from_slice(lines);
                (self.at, rest) = (At::LineStart, tail);
                continue;
            }
            let (at, taken) = match line::scan(rest) {
                Scan::Text => (At::Text, rest.len()),
                Scan::Cr(_) => (At::Cr, rest.len()),
                Scan::Line(text) => (At::LineStart, text.saturating_add(CRLF.len())),
                Scan::Fault(_, fault) => return Err(fault),
            };
            let (taken, tail) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            out.extend_from_slice(taken);
            (self.at, rest) = (at, tail);
        }
        Ok(())
    }

    /// Whether an LF must follow.
    #[must_use]
    pub fn is_behind_cr(&self) -> bool {
        self.at == At::Cr
    }

    /// Appends the end of data, and a CRLF before it where the last line has none.
    ///
    /// # Errors
    /// Where the body ends with a CR.
    pub fn end_data(self, out: &mut Vec<u8>) -> Result<(), Fault> {
        match self.at {
            At::LineStart => {}
            At::Cr => return Err(Fault::BareCr),
            _ => out.extend_from_slice(CRLF),
        }
        out.extend_from_slice(b".\r\n");
        Ok(())
    }
}

/// Appends a body of CRLF lines as it travels behind DATA: leading dots doubled, a missing last CRLF added, end of data
/// behind it. The reverse of `DataDecoder` for every body that ends with CRLF or is empty.
pub fn encode(body: &[u8], out: &mut Vec<u8>) {
    for line in body.split_inclusive(|&octet| octet == LF) {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !body.is_empty() && !body.ends_with(CRLF) {
        out.extend_from_slice(CRLF);
    }
    out.extend_from_slice(b".\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(parts: &[&[u8]]) -> (Vec<u8>, DataDecoder, usize) {
        let mut decoder = DataDecoder::default();
        let mut body = Vec::new();
        let mut used = 0;
        for part in parts {
            used += decoder.decode(part, &mut |octets| body.extend_from_slice(octets));
        }
        (body, decoder, used)
    }

    proptest! {
        #[test]
        fn a_body_of_lines_survives_the_way_in_parts(
            lines in prop::collection::vec("[.a ]{0,5}|[a ]{60,80}", 0..40),
            cuts in prop::collection::vec(prop_oneof![1_usize..6, 1_usize..600], 1..20),
        ) {
            let body: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), CRLF].concat()).collect();
            let (mut encoder, mut sent, mut rest) = (LineEncoder::for_data(), Vec::new(), body.as_slice());
            for cut in cuts.iter().cycle() {
                let (part, tail) = rest.split_at((*cut).min(rest.len()));
                encoder.encode(part, &mut sent).unwrap();
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            encoder.end_data(&mut sent).unwrap();
            let mut whole = Vec::new();
            encode(&body, &mut whole);
            prop_assert_eq!(&sent, &whole);
            let (decoded, decoder, used) = decode(&[&sent]);
            prop_assert!(decoder.is_finished() && decoder.fault().is_none());
            prop_assert_eq!((decoded, used), (body, sent.len()));
        }
    }

    #[test]
    fn what_is_not_lines_is_not_encoded() {
        for (parts, fault) in [
            ([b"a\n".as_slice(), b""], Fault::BareLf),
            ([b"a\r", b"b\r\n"], Fault::BareCr),
            ([b"a\r", b"\r\n"], Fault::BareCr),
            ([b"a\r\n.\r", b".\r\n"], Fault::BareCr),
            ([b"a", b"\0"], Fault::Nul),
        ] {
            for encoder in [LineEncoder::for_data(), LineEncoder::for_chunks()] {
                let (mut encoder, mut out) = (encoder, Vec::new());
                let first = encoder.encode(parts[0], &mut out);
                assert_eq!(first.and_then(|()| encoder.encode(parts[1], &mut out)), Err(fault), "{parts:?}");
            }
        }
        let mut encoder = LineEncoder::for_data();
        encoder.encode(b"a\r", &mut Vec::new()).unwrap();
        assert_eq!(encoder.end_data(&mut Vec::new()), Err(Fault::BareCr));
    }

    #[test]
    fn a_last_line_without_an_end_gets_one() {
        let (mut encoder, mut out) = (LineEncoder::for_data(), Vec::new());
        encoder.encode(b".a", &mut out).unwrap();
        encoder.end_data(&mut out).unwrap();
        assert_eq!(out, b"..a\r\n.\r\n");
    }

    #[test]
    fn a_leading_dot_is_dropped_and_the_single_dot_ends() {
        let (body, decoder, used) = decode(&[b"a\r\n..\r\n.b.\r\n\r\n.\r\nQUIT\r\n"]);
        assert_eq!(body, b"a\r\n.\r\nb.\r\n\r\n");
        assert!(decoder.is_finished());
        assert_eq!(used, b"a\r\n..\r\n.b.\r\n\r\n.\r\n".len());
    }

    #[test]
    fn an_empty_body_is_legal() {
        let (body, decoder, _) = decode(&[b".\r\n"]);
        assert!(body.is_empty() && decoder.is_finished() && decoder.fault().is_none());
    }

    #[test]
    fn whole_lines_are_put_at_once_and_uncopied() {
        let octets = b"one\r\ntwo\r\nthree\r\n.\r\n";
        let mut puts = Vec::new();
        DataDecoder::default().decode(octets, &mut |run| puts.push(run.as_ptr_range()));
        assert_eq!(puts, [octets[..17].as_ptr_range()]);
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_the_data() {
        let fakes: [&[u8]; 12] = [
            b"\n.\n",
            b"\n.\r\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\n",
            b"\r\n.\r",
            b"\r\n.\r\r\n",
            b"\r\n.\0\r\n",
            b"\r\n\0.\r\n",
            b"\n\n.\r\n",
            b"\r\r\n\r.\r\n",
            b"\r\n .\r\n",
        ];
        for fake in fakes {
            for split in 0..=fake.len() {
                let (_, decoder, used) = decode(&[b"text", &fake[..split], &fake[split..], b"evil\r\n"]);
                assert!(!decoder.is_finished(), "{fake:?} split at {split}");
                assert_eq!(used, fake.len() + 10);
                assert_eq!(decoder.fault().is_some(), fake != b"\r\n .\r\n", "{fake:?} split at {split}");
            }
        }
    }

    #[test]
    fn a_faulty_body_is_drained_to_its_true_end() {
        let (body, decoder, used) = decode(&[b"a\r\nb\nc\r\n.\r\nNOOP\r\n"]);
        assert_eq!(decoder.fault(), Some(Fault::BareLf));
        assert!(decoder.is_finished());
        assert_eq!(used, b"a\r\nb\nc\r\n.\r\n".len());
        assert!(!body.ends_with(b"c\r\n"));
    }
}
