//! Header sections: where they end, and their MIME fields.

use crate::scan::verdict::Obstacle;

/// A header section and what follows.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// The MIME fields, unfolded, one a line, and the empty line that the parser wants behind them.
    pub(super) fields: Vec<u8>,
    /// The first `Content-Disposition`, which no reading depends on, by itself: whatever stands in it changes nothing about the
    /// others. Blank where there is none, or one that is too long to be honest.
    pub(super) disposition: Vec<u8>,
    /// Whether it holds octets that some reader takes for the end of a line or of everything.
    pub(super) is_ambiguous: bool,
    pub(super) body: &'a [u8],
}

/// The section, once for every place where some reader ends it: at the first empty line, at the first line of blanks alone
/// (RFC 5322 section 4.2 calls it a fold, many readers an end), and before the first line that is neither a field nor the
/// folded rest of one. Usually they are one place. The standard's comes first.
pub(super) fn sections(octets: &[u8]) -> Result<Vec<Section<'_>>, Obstacle> {
    let mut reader = Reader { octets, rest: octets, unfolded: Unfolded::default(), is_ambiguous: false };
    let mut sections = Vec::new();
    let (mut blank_seen, mut stray_seen) = (false, false);
    loop {
        let (line, before) = (reader.line()?, reader.rest);
        reader.rest = before.get(line.len()..).unwrap_or_default();
        if line.is_empty() || matches!(line, b"\n" | b"\r\n") {
            sections.insert(0, reader.section(reader.rest));
            return Ok(sections);
        }
        let text = line.trim_ascii_end();
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        if text.is_empty() && !blank_seen {
            blank_seen = true;
            sections.push(reader.section(reader.rest));
        } else if !folded && !stray_seen && memchr::memchr(b':', text).is_none() {
            stray_seen = true;
            sections.push(reader.section(before));
        }
        reader.is_ambiguous |= is_odd(line);
        reader.unfolded.add(text, folded)?;
    }
}

/// The value of an unfolded line, if it is this field (in lower case). Readers allow blanks before the colon.
pub(super) fn field_value<'a>(line: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
    name.trim_ascii_end().eq_ignore_ascii_case(wanted.as_bytes()).then(|| value.get(1..))?
}

/// Whether a line begins with the name of a field and a colon.
pub(in crate::scan) fn is_field(line: &[u8]) -> bool {
    let name = memchr::memchr(b':', line).and_then(|colon| line.get(..colon));
    name.is_some_and(|name| !name.is_empty() && name.trim_ascii_end().iter().all(u8::is_ascii_graphic))
}

pub(super) fn is_mime_field(line: &[u8]) -> bool {
    ["content-type", "content-transfer-encoding"].iter().any(|name| field_value(line, name).is_some())
}

/// How far a section has been read.
struct Reader<'a> {
    octets: &'a [u8],
    rest: &'a [u8],
    unfolded: Unfolded,
    is_ambiguous: bool,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// The next line with its end.
    fn line(&self) -> Result<&'a [u8], Obstacle> {
        if self.octets.len().saturating_sub(self.rest.len()) > HEADER_OCTETS_MAX {
            return Err(Obstacle::HeadersTooLong);
        }
        let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |end| end.saturating_add(1));
        Ok(self.rest.get(..end).unwrap_or_default())
    }

    /// What has been read as a section of its own.
    fn section(&self, body: &'a [u8]) -> Section<'a> {
        let fields = [&self.unfolded.fields, &b"\r\n\r\n"[..]].concat();
        let disposition = [&self.unfolded.disposition, &b"\r\n\r\n"[..]].concat();
        Section { fields, disposition, is_ambiguous: self.is_ambiguous, body }
    }
}

/// The MIME fields so far.
#[derive(Default)]
struct Unfolded {
    fields: Vec<u8>,
    /// Whether the last field is one of them, and so are the lines that it is folded to.
    is_wanted: bool,
    disposition: Vec<u8>,
    is_disposition: bool,
}

// === impl Unfolded ===

impl Unfolded {
    fn add(&mut self, text: &[u8], folded: bool) -> Result<(), Obstacle> {
        if !folded {
            self.is_wanted = is_mime_field(text);
            self.is_disposition =
                self.disposition.is_empty() && field_value(text, "content-disposition").is_some();
        }
        if self.is_disposition {
            self.add_disposition(text, folded);
        }
        if !self.is_wanted {
            return Ok(());
        }
        if folded {
            self.fields.push(b' ');
        } else if !self.fields.is_empty() {
            self.fields.extend_from_slice(b"\r\n");
        }
        self.fields.extend_from_slice(if folded { text.trim_ascii_start() } else { text });
        if self.fields.len() > MIME_FIELD_OCTETS_MAX {
            return Err(Obstacle::HeadersTooLong);
        }
        Ok(())
    }

    fn add_disposition(&mut self, text: &[u8], folded: bool) {
        if self.disposition.len().saturating_add(text.len()) > DISPOSITION_OCTETS_MAX {
            self.disposition.clear();
            self.is_disposition = false;
            return;
        }
        if folded {
            self.disposition.push(b' ');
        }
        self.disposition.extend_from_slice(if folded { text.trim_ascii_start() } else { text });
    }
}

/// NUL ends a text for some programs, and a lone CR a line.
fn is_odd(line: &[u8]) -> bool {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    memchr::memchr2(0, b'\r', text.strip_suffix(b"\r").unwrap_or(text)).is_some()
}

/// A thousand recipients and a long chain of signatures stay under a quarter of this.
const HEADER_OCTETS_MAX: usize = 1024 * 1024;
/// A type with a long file name in many RFC 2231 pieces has some 2 KiB. The parser compares parameters with each other, so this
/// also bounds its time.
const MIME_FIELD_OCTETS_MAX: usize = 16 * 1024;
/// As above.
const DISPOSITION_OCTETS_MAX: usize = 4 * 1024;
