//! What readers laxer than the parser make of a `Content-Type`: where else they find a boundary, and whether they would look
//! for one at all.

/// What all `Content-Type` fields of a part may mean beside what the standard lets them mean.
#[derive(Debug, Default)]
pub(in crate::scan) struct LaxTypes {
    /// The type of each field, without blanks, quotes and comments.
    media: Vec<Vec<u8>>,
    /// Every text behind a `boundary=`, cut where some reader cuts it.
    pub(in crate::scan) boundaries: Vec<Vec<u8>>,
    /// Whether some reader takes the part for a multipart.
    pub(in crate::scan) is_multipart: bool,
    /// Whether some reader takes it for a digest.
    pub(in crate::scan) is_digest: bool,
    /// Whether the type or a boundary is an RFC 2047 encoded word, which must not be there and which some readers decode, or
    /// the boundary an RFC 2231 extended value, which readers decode by the character sets that they know.
    pub(in crate::scan) is_coded: bool,
}

// === impl LaxTypes ===

impl LaxTypes {
    /// Adds the value of one field, unfolded.
    pub(super) fn add(&mut self, value: &[u8]) {
        let lower = value.to_ascii_lowercase();
        let bare = bare(&lower);
        self.media.push(bare.split(|octet| *octet == b';').next().unwrap_or_default().to_vec());
        let media = lower.split(|octet| *octet == b';').next().unwrap_or_default();
        let contains = |word: &[u8]| memchr::memmem::find(media, word).is_some();
        self.is_coded |= contains(b"=?");
        self.is_multipart |= contains(b"multipart") || contains(b"=?");
        self.is_digest |= contains(b"digest");
        self.is_coded |= has_extended_boundary(&bare);
        for at in memchr::memmem::find_iter(&lower, PARAMETER) {
            let behind = value.get(at.saturating_add(PARAMETER.len())..).unwrap_or_default();
            self.add_boundaries(behind);
        }
    }

    /// Whether there is no field at all.
    pub(in crate::scan) fn is_silent(&self) -> bool {
        self.media.is_empty()
    }

    /// Whether some reader finds this type in some field.
    pub(in crate::scan) fn names(&self, media_type: &str) -> bool {
        self.media.iter().any(|media| memchr::memmem::find(media, media_type.as_bytes()).is_some())
    }

    fn add_boundaries(&mut self, behind_name: &[u8]) {
        // `*`, digits and `*` are RFC 2231's; the first piece is enough, since a delimiter need only begin with the boundary.
        let from =
            behind_name.iter().position(|octet| !is_blank(*octet) && !matches!(octet, b'*' | b'0'..=b'9'));
        let Some(value) = from
            .and_then(|from| behind_name.get(from..))
            .map(skip_comment)
            .and_then(|rest| rest.strip_prefix(b"="))
        else {
            return;
        };
        let value = value.trim_ascii();
        self.add_cuts(value);
        self.add_cuts(skip_comment(value));
    }

    fn add_cuts(&mut self, value: &[u8]) {
        for quote in [b'"', b'\''] {
            if let Some(quoted) = value.strip_prefix(&[quote]) {
                self.add_boundary(until(quoted, |octet| octet == quote));
                let bare: Vec<u8> = quoted.iter().copied().filter(|octet| *octet != b'\\').collect();
                self.add_boundary(until(&bare, |octet| octet == quote));
            }
        }
        if !value.starts_with(b"\"") {
            self.add_boundary(until(value, |octet| octet == b';'));
            self.add_boundary(until(value, |octet| octet == b';' || is_blank(octet)));
            self.add_boundary(until(value, |octet| {
                matches!(octet, b';' | b',' | b'(' | b'"') || is_blank(octet)
            }));
        }
    }

    fn add_boundary(&mut self, boundary: &[u8]) {
        self.is_coded |= boundary.starts_with(b"=?") && boundary.ends_with(b"?=");
        for boundary in [boundary.trim_ascii_end(), boundary.trim_ascii()] {
            if !boundary.is_empty() && !self.boundaries.iter().any(|known| known == boundary) {
                self.boundaries.push(boundary.to_vec());
            }
        }
    }
}

/// A field's value, in lower case, without what some reader skips or takes away: blanks, quotes, backslashes and comments.
pub(super) fn bare(lower: &[u8]) -> Vec<u8> {
    let mut comments = 0_usize;
    let mut bare = Vec::with_capacity(lower.len());
    for octet in lower {
        match octet {
            b'(' => comments = comments.saturating_add(1),
            b')' => comments = comments.saturating_sub(1),
            b'"' | b'\'' | b'\\' => {}
            octet if comments > 0 || octet.is_ascii_whitespace() || octet.is_ascii_control() => {}
            octet => bare.push(*octet),
        }
    }
    bare
}

/// Whether any line looks like a delimiter, of whatever boundary.
pub(in crate::scan) fn has_delimiter(body: &[u8]) -> bool {
    let has = |delimiter: &[u8]| memchr::memmem::find(body, delimiter).is_some();
    body.starts_with(b"--") || has(b"\n--") || has(b"\r--")
}

/// Whether a parameter `boundary*` or `boundary*0*` is among these, which stand in lower case and without blanks and comments.
fn has_extended_boundary(bare: &[u8]) -> bool {
    memchr::memmem::find_iter(bare, PARAMETER).any(|at| {
        let behind = bare.get(at.saturating_add(PARAMETER.len())..).unwrap_or_default();
        let name_end = until(behind, |octet| octet != b'*' && !octet.is_ascii_digit());
        name_end.ends_with(b"*") && behind.get(name_end.len()) == Some(&b'=')
    })
}

fn until(text: &[u8], is_end: impl Fn(u8) -> bool) -> &[u8] {
    let end = text.iter().position(|octet| is_end(*octet)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// What follows a comment at the beginning, or all.
fn skip_comment(text: &[u8]) -> &[u8] {
    let behind = text
        .starts_with(b"(")
        .then(|| memchr::memchr(b')', text))
        .flatten()
        .and_then(|end| text.get(end.saturating_add(1)..));
    behind.map_or(text, <[u8]>::trim_ascii_start)
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

const PARAMETER: &[u8] = b"boundary";
