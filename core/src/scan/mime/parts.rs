//! Where the parts of a multipart lie.

/// The parts of a multipart body: what stands between delimiter lines.
///
/// A delimiter line is `--` and the boundary. RFC 2046 wants the rest of such a line blank; many readers take any line with that
/// beginning, and some take a lone CR for a line end. Preamble and blank pieces are left out, the epilogue is not: some readers
/// go on after the closing line.
#[derive(Debug)]
pub(in crate::scan) struct Parts<'a> {
    rest: Option<&'a [u8]>,
    delimiter: Vec<u8>,
    is_strict: bool,
    has_odd_delimiter: bool,
    has_lone_return: bool,
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// Every line that some reader takes for a delimiter is one.
    pub(in crate::scan) fn lax(body: &'a [u8], boundary: &[u8]) -> Self {
        Self::new(body, boundary, false)
    }

    /// Only what RFC 2046 calls a delimiter is one.
    pub(in crate::scan) fn strict(body: &'a [u8], boundary: &[u8]) -> Self {
        Self::new(body, boundary, true)
    }

    fn new(body: &'a [u8], boundary: &[u8], is_strict: bool) -> Self {
        let delimiter = [b"--", boundary].concat();
        let mut parts =
            Self { rest: Some(body), delimiter, is_strict, has_odd_delimiter: false, has_lone_return: false };
        // The preamble.
        parts.take_piece();
        parts
    }

    /// Whether one of the delimiters so far is none to a strict reader.
    pub(in crate::scan) fn has_odd_delimiter(&self) -> bool {
        self.has_odd_delimiter
    }

    /// Whether a CR without LF begins or ends one of the delimiter lines so far: to other readers the line begins or ends
    /// elsewhere, and what follows is another part.
    pub(in crate::scan) fn has_lone_return(&self) -> bool {
        self.has_lone_return
    }

    /// What stands before the next delimiter line, and moves behind that line.
    fn take_piece(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let mut is_odd = false;
        let hit = memchr::memmem::find_iter(rest, &self.delimiter).find(|at| {
            let before = at.checked_sub(1).and_then(|before| rest.get(before));
            let behind = rest.get(at.saturating_add(self.delimiter.len())..).unwrap_or_default();
            is_odd = before == Some(&b'\r') || !ends_delimiter(behind);
            matches!(before, None | Some(b'\n' | b'\r')) && !(self.is_strict && is_odd)
        });
        let Some(at) = hit else {
            self.rest = None;
            return Some(rest);
        };
        self.has_odd_delimiter |= is_odd;
        let (piece, delimiter_on) = rest.split_at_checked(at)?;
        let end = memchr::memchr2(b'\r', b'\n', delimiter_on).and_then(|end| delimiter_on.get(end..));
        let behind = end.and_then(|end| end.strip_prefix(b"\r\n").or_else(|| end.strip_prefix(b"\n")));
        self.has_lone_return |= piece.ends_with(b"\r") || (end.is_some() && behind.is_none());
        self.rest = behind.or_else(|| end.and_then(|end| end.get(1..)));
        Some(piece)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let piece = self.take_piece()?;
            if !piece.trim_ascii().is_empty() {
                return Some(piece);
            }
        }
    }
}

/// Whether a delimiter line may go on like this: two dashes if it is the last, and blanks.
fn ends_delimiter(behind: &[u8]) -> bool {
    let line = behind.strip_prefix(b"--").unwrap_or(behind);
    let end = line.iter().position(|octet| !matches!(octet, b' ' | b'\t'));
    let rest = end.and_then(|end| line.get(end..)).unwrap_or_default();
    rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
}
