//! Quoted-printable as readers of mail take it. They agree about texts, and not about what else is in it.

/// One way to read quoted-printable (RFC 2045 section 6.7). The standard's: `=` that begins neither an octet nor a soft line
/// break stands for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan) struct Quoted {
    /// A line end that is not quoted is LF, as in mailboxes whose lines end so.
    lf: bool,
    /// `==` stands for one `=`.
    doubled: bool,
    /// Blanks before a line end were added on the way and are dropped.
    trimmed: bool,
}

// === impl Quoted ===

impl Quoted {
    pub(in crate::scan) const STANDARD: Self = Self { lf: false, doubled: false, trimmed: false };

    /// As what else this body is read: under every combination of what sets it apart. Nothing for ordinary mail.
    pub(in crate::scan) fn others(body: &[u8]) -> Vec<Self> {
        let odd = Self::all_that_matters(body);
        let both = |matters: bool| [false, true].into_iter().filter(move |on| matters || !on);
        let mut readings = Vec::new();
        for lf in both(odd.lf) {
            for doubled in both(odd.doubled) {
                readings.extend(both(odd.trimmed).map(|trimmed| Self { lf, doubled, trimmed }));
            }
        }
        readings.retain(|reading| *reading != Self::STANDARD);
        readings
    }

    /// Which differences between readers this body brings to light. Line ends of a text mean the same to all.
    fn all_that_matters(body: &[u8]) -> Self {
        // The last line end belongs to the delimiter behind it.
        let body = body.trim_ascii_end();
        let mut odd = Self { doubled: memchr::memmem::find(body, b"==").is_some(), ..Self::STANDARD };
        if is_text(body) {
            return odd;
        }
        for line in body.split_inclusive(|octet| *octet == b'\n') {
            let Some(text) = line.strip_suffix(b"\n") else { continue };
            let content = text.strip_suffix(b"\r").unwrap_or(text);
            let end = content.trim_ascii_end();
            let is_soft = end.ends_with(b"=") && !end.ends_with(b"==");
            odd.lf |= !is_soft && content.len() < text.len();
            odd.trimmed |= !is_soft && content.last().is_some_and(|last| is_blank(*last));
        }
        odd
    }

    pub(in crate::scan) fn decode(self, body: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::with_capacity(body.len());
        let mut rest = body;
        while let Some(at) = memchr::memchr(b'=', rest) {
            let (literal, escape) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            self.push_literal(literal, &mut decoded);
            let after = escape.get(1..).unwrap_or_default();
            rest = if let Some((octet, after)) = hex_octet(after) {
                decoded.push(octet);
                after
            } else if let Some(after) = soft_break(after) {
                after
            } else {
                decoded.push(b'=');
                if self.doubled { after.strip_prefix(b"=").unwrap_or(after) } else { after }
            };
        }
        self.push_literal(rest, &mut decoded);
        decoded
    }

    /// What stands for itself.
    fn push_literal(self, literal: &[u8], decoded: &mut Vec<u8>) {
        if !self.lf && !self.trimmed {
            decoded.extend_from_slice(literal);
            return;
        }
        for line in literal.split_inclusive(|octet| *octet == b'\n') {
            let Some(text) = line.strip_suffix(b"\n") else {
                decoded.extend_from_slice(line);
                continue;
            };
            let content = text.strip_suffix(b"\r").unwrap_or(text);
            let has_return = content.len() < text.len();
            let end =
                content.iter().rposition(|octet| !is_blank(*octet)).map_or(0, |last| last.saturating_add(1));
            let kept = if self.trimmed { content.get(..end).unwrap_or_default() } else { content };
            decoded.extend_from_slice(kept);
            decoded.extend_from_slice(if has_return && !self.lf { b"\r\n" } else { b"\n" });
        }
    }
}

/// Whether nothing that is encoded here would be out of place in a text. ESC is in Japanese ones.
fn is_text(body: &[u8]) -> bool {
    let is_odd =
        |octet: u8| octet.is_ascii_control() && !matches!(octet, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    let is_odd_escape = |at: usize| {
        let digits = at.checked_add(1).and_then(|from| body.get(from..));
        digits.and_then(hex_octet).is_some_and(|(octet, _)| is_odd(octet))
    };
    !body.iter().any(|octet| is_odd(*octet)) && !memchr::memchr_iter(b'=', body).any(is_odd_escape)
}

fn hex_octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = text.split_at_checked(2)?;
    let value = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    // `from_str_radix` takes a sign.
    digits.iter().all(u8::is_ascii_hexdigit).then_some((value, after))
}

/// Blanks and a line end (RFC 2045 section 6.7 rule 5; blanks may have been added on the way).
fn soft_break(text: &[u8]) -> Option<&[u8]> {
    let blanks = text.iter().take_while(|octet| is_blank(**octet)).count();
    let line_end = text.get(blanks..)?;
    line_end.strip_prefix(b"\r\n").or_else(|| line_end.strip_prefix(b"\n"))
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}
