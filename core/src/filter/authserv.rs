//! Who speaks in an `Authentication-Results:` field.

/// What the beginning of a field's value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    /// Not yet known: only comments and white space so far, or a name that may go on.
    Undecided,
    /// The name that was asked for, or nothing that could be told from it.
    Ours,
    /// Somebody else.
    Other,
}

/// ```text
/// authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ...      ; RFC 8601 section 2.2
/// authserv-id     = value                                                ; RFC 2045: token / quoted-string
/// ```
/// `is_whole` says that nothing follows. What has no readable name could be read as ours by somebody, so it counts as
/// ours.
pub(super) fn speaker(value: &[u8], ours: &str, is_whole: bool) -> Speaker {
    let undecided = if is_whole { Speaker::Ours } else { Speaker::Undecided };
    let Some(rest) = skip_comments(value) else { return undecided };
    let name = match rest.split_first() {
        None => return undecided,
        Some((b'"', rest)) => quoted(rest),
        Some(_) => token(rest),
    };
    match name {
        Name::Unfinished if !is_whole => Speaker::Undecided,
        Name::Unfinished if rest.starts_with(b"\"") || rest.eq_ignore_ascii_case(ours.as_bytes()) => {
            // A token may end with the field; a quoted string may not.
            Speaker::Ours
        }
        Name::Unfinished => Speaker::Other,
        Name::Is(name) if name.is_empty() || name.eq_ignore_ascii_case(ours.as_bytes()) => Speaker::Ours,
        Name::Is(_) => Speaker::Other,
    }
}

enum Name {
    Is(Vec<u8>),
    Unfinished,
}

/// `CFWS`: white space, line ends and nested comments with quoted pairs. `None` where a comment goes on.
fn skip_comments(value: &[u8]) -> Option<&[u8]> {
    let mut rest = value;
    let mut depth = 0_usize;
    while let Some((&octet, after)) = rest.split_first() {
        match octet {
            b'(' => depth = depth.saturating_add(1),
            b')' if depth > 0 => depth = depth.saturating_sub(1),
            b'\\' if depth > 0 => {
                rest = after.get(1..)?;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if depth == 0 => return Some(rest),
            _ => {}
        }
        rest = after;
    }
    (depth == 0).then_some(rest)
}

fn token(rest: &[u8]) -> Name {
    let is_end = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b'/');
    match rest.iter().position(is_end) {
        Some(end) => Name::Is(rest.get(..end).unwrap_or_default().to_vec()),
        None => Name::Unfinished,
    }
}

/// Behind the opening quote.
fn quoted(rest: &[u8]) -> Name {
    let mut name = Vec::new();
    let mut octets = rest.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => return Name::Is(name),
            b'\\' => match octets.next() {
                Some(quoted) => name.push(*quoted),
                None => return Name::Unfinished,
            },
            // A folded line end is not part of the string (RFC 5322 section 3.2.4).
            b'\r' | b'\n' => {}
            other => name.push(*other),
        }
    }
    Name::Unfinished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speaker_is_found_behind_comments_and_in_quotes() {
        for value in [
            " mx.example; spf=pass",
            "MX.Example;",
            " mx.example 1; none",
            " (a (nested \\) one)) mx.example ; none",
            "\r\n\tmx.example; none",
            " \"mx.example\"; none",
            " \"mx\\.example\"; none",
            " mx.example(comment)",
            " mx.example/1;",
            " ; spf=pass",
        ] {
            assert_eq!(speaker(value.as_bytes(), "mx.example", false), Speaker::Ours, "{value}");
        }
        for value in [" other.example; spf=pass", " (mx.example) other.example;", " mx.example.org;"] {
            assert_eq!(speaker(value.as_bytes(), "mx.example", false), Speaker::Other, "{value}");
        }
    }

    #[test]
    fn what_has_not_ended_is_undecided_until_nothing_follows() {
        for (value, whole) in [
            ("", Speaker::Ours),
            (" (comment", Speaker::Ours),
            (" mx.example", Speaker::Ours),
            (" \"mx.exa", Speaker::Ours),
            // Once a space in the open quote made it a name that is somebody else's.
            (" \"mx.example x", Speaker::Ours),
            (" mx.exa", Speaker::Other),
        ] {
            assert_eq!(speaker(value.as_bytes(), "mx.example", false), Speaker::Undecided, "{value}");
            assert_eq!(speaker(value.as_bytes(), "mx.example", true), whole, "{value}");
        }
    }
}
