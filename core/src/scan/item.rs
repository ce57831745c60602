//! One thing that an engine looks at, and what a report calls it.

use std::fmt;

/// The way to an item, fit for a terminal and a log: `part 2 (application/zip) > invoice.exe`.
///
/// Peers choose file names, so every segment is escaped, each is cut to 100 characters and the whole to 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemName(String);

// === impl ItemName ===

impl ItemName {
    /// The whole of what is scanned, such as `message`.
    #[must_use]
    pub fn root(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// Something inside: an archive's entry, a nested message's part.
    #[must_use]
    pub fn inside(&self, segment: &str) -> Self {
        let segment = escaped(segment, SEGMENT_CHARS_MAX);
        Self(cut(format!("{} > {segment}", self.0)))
    }

    /// The same item with its media type.
    #[must_use]
    pub fn typed(&self, media_type: &str) -> Self {
        let media_type = escaped(media_type, SEGMENT_CHARS_MAX);
        Self(cut(format!("{} ({media_type})", self.0)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Control and format characters (line ends, escape sequences, right-to-left overrides) lose their power.
fn escaped(text: &str, chars_max: usize) -> String {
    let mut shown: String = text.chars().take(chars_max).flat_map(char::escape_debug).collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

fn cut(name: String) -> String {
    if name.chars().nth(NAME_CHARS_MAX).is_none() {
        return name;
    }
    let mut short: String = name.chars().take(NAME_CHARS_MAX).collect();
    short.push('…');
    short
}

/// A file name of a hundred characters is still recognised by its beginning.
const SEGMENT_CHARS_MAX: usize = 100;
/// Keeps a deep path to a few lines of a report.
const NAME_CHARS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_shows_the_way_in() {
        let name = ItemName::root("message").inside("part 2").typed("application/zip").inside("invoice.exe");
        assert_eq!(name.as_str(), "message > part 2 (application/zip) > invoice.exe");
    }

    #[test]
    fn a_right_to_left_override_is_shown_and_not_obeyed() {
        let name = ItemName::root("message").inside("cod\u{202e}exe.doc\x1b[2J");
        assert_eq!(name.as_str(), r"message > cod\u{202e}exe.doc\u{1b}[2J");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_name_is_bounded_and_on_one_line(segments in prop::collection::vec(".{0,200}", 0..12)) {
            let name = segments.iter().fold(ItemName::root("message"), |name, s| name.inside(s));
            prop_assert!(name.as_str().chars().count() <= NAME_CHARS_MAX + 1);
            prop_assert!(!name.as_str().chars().any(char::is_control));
        }
    }
}
