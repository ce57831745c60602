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
    /// Whether the standard's reading ends it further on, so that what begins the body here are fields there.
    pub(super) is_cut: bool,
    pub(super) body: &'a [u8],
}

/// The section, once for every place where some reader ends it: at the first empty line, at a line of blanks alone (RFC 5322
/// section 4.2 calls it a fold, many readers an end), and before a line that is neither a field nor the folded rest of one.
/// Readers pass over some such lines and end at others, so that each counts that makes a difference. Usually all are one
/// place. The standard's comes first.
pub(super) fn sections(octets: &[u8]) -> Result<Vec<Section<'_>>, Obstacle> {
    let mut reader = Reader { octets, rest: octets, unfolded: Unfolded::default(), is_ambiguous: false };
    let mut ends = Ends::default();
    let mut is_first = true;
    loop {
        let (line, before) = (reader.line()?, reader.rest);
        reader.rest = before.get(line.len()..).unwrap_or_default();
        if line.is_empty() || matches!(line, b"\n" | b"\r\n") {
            let section = Section { is_cut: false, ..reader.section(reader.rest) };
            ends.sections.insert(0, section);
            return Ok(ends.sections);
        }
        let text = line.trim_ascii_end();
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        let is_stray = if folded { is_first } else { !is_plain_field(text) };
        if text.is_empty() {
            ends.add_blank(&mut reader, line);
        } else if is_stray {
            ends.add_stray(&mut reader, before, text);
        }
        reader.is_ambiguous |= is_odd(line);
        reader.unfolded.add(text, folded)?;
        is_first = false;
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

/// Whether a line begins as RFC 5322 section 2.2 wants a field: no blank before the colon, which some readers take for the end
/// of the section.
fn is_plain_field(line: &[u8]) -> bool {
    let name = memchr::memchr(b':', line).and_then(|colon| line.get(..colon));
    name.is_some_and(|name| !name.is_empty() && name.iter().all(u8::is_ascii_graphic))
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
        Section { fields, disposition, is_ambiguous: self.is_ambiguous, is_cut: true, body }
    }
}

/// Where else than at the first empty line a section ends.
#[derive(Default)]
struct Ends<'a> {
    sections: Vec<Section<'a>>,
    /// The lines of blanks so far: who goes on behind one goes on behind the next like it.
    blanks: Vec<&'a [u8]>,
    /// How long the MIME fields were before the last stray line.
    stray_fields: Option<usize>,
}

// === impl Ends ===

impl<'a> Ends<'a> {
    /// Behind a line of blanks.
    fn add_blank(&mut self, reader: &mut Reader<'a>, line: &'a [u8]) {
        if !self.blanks.contains(&line) && self.has_room(reader) {
            self.blanks.push(line);
            self.sections.push(reader.section(reader.rest));
        }
    }

    /// Before a line that is no field. A text that follows its fields without an empty line is full of them: one that begins a
    /// line or two later is in the one before, unless what it begins with decides how it is decoded or opened.
    fn add_stray(&mut self, reader: &mut Reader<'a>, from_line: &'a [u8], text: &[u8]) {
        let fields = reader.unfolded.fields.len();
        // ESC is in Japanese texts, form feeds in old ones.
        let is_text =
            !text.iter().any(|octet| octet.is_ascii_control() && !matches!(octet, b'\t' | 0x0c | 0x1b));
        let is_same = self.stray_fields == Some(fields) && is_text && !reader.unfolded.is_encoded();
        if !is_same && self.has_room(reader) {
            self.sections.push(reader.section(from_line));
        }
        self.stray_fields = Some(fields);
    }

    /// Whether one more counts; if not, readers disagree about more than is followed.
    fn has_room(&self, reader: &mut Reader<'a>) -> bool {
        let has_room = self.sections.len() < ENDS_MAX;
        reader.is_ambiguous |= !has_room;
        has_room
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
    /// Whether some reader decodes the body by what the fields so far say.
    fn is_encoded(&self) -> bool {
        let lower = self.fields.to_ascii_lowercase();
        [&b"64"[..], b"quoted", b"printable", b"=?"]
            .iter()
            .any(|word| memchr::memmem::find(&lower, word).is_some())
    }

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
/// Ends beside the standard's. Readers tell apart a handful of kinds of lines that are no fields, and some pass over the first.
/// Each is one more pass over the body.
const ENDS_MAX: usize = 8;
