//! One thing that an engine looks at, and what a report calls it.

use std::fmt;
use std::sync::Arc;

/// The way to an item, fit for a terminal and a log: `part 2 (application/zip) > invoice.exe`.
///
/// Peers choose file names, so every segment is escaped, each is cut to 100 characters and the whole to 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemName(Arc<Way>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    path: String,
    place: Place,
}

/// Where an item lies as its readers would say it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Whole,
    /// Of the message: `2`, or `2.1` for a part of that.
    Part(String),
    File {
        name: String,
        /// The outermost file around it, which is the one that readers see.
        within: Option<String>,
    },
}

// === impl ItemName ===

impl ItemName {
    /// The whole of what is scanned, such as `message`.
    #[must_use]
    pub fn root(name: &'static str) -> Self {
        Self::new(name.to_owned(), Place::Whole)
    }

    /// Something inside that is no file of its own: a nested message, a text.
    #[must_use]
    pub fn inside(&self, segment: &str) -> Self {
        let segment = escaped(segment, SEGMENT_CHARS_MAX);
        Self::new(cut(format!("{} > {segment}", self.0.path)), self.0.place.clone())
    }

    /// A part of a multipart, counted from 1.
    #[must_use]
    pub fn inside_part(&self, number: usize) -> Self {
        let inside = self.inside(&format!("part {number}"));
        Self::new(inside.0.path.clone(), self.0.place.part(number))
    }

    /// A file inside: an archive's entry.
    #[must_use]
    pub fn inside_file(&self, file_name: &str) -> Self {
        self.inside(file_name).called(file_name)
    }

    /// The same item with its media type.
    #[must_use]
    pub fn typed(&self, media_type: &str) -> Self {
        let media_type = escaped(media_type, SEGMENT_CHARS_MAX);
        Self::new(cut(format!("{} ({media_type})", self.0.path)), self.0.place.clone())
    }

    /// The same item as a file of this name.
    #[must_use]
    pub fn called(&self, file_name: &str) -> Self {
        Self::new(self.0.path.clone(), self.0.place.file(file_name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.path
    }

    /// For people who know nothing of MIME: `"invoice.exe" in "invoice.zip"`, `part 2`, or `the message`. Printable ASCII, no
    /// more than `PLAIN_WORDS_OCTETS_MAX`; what a peer has written stands between quotation marks and has none in it.
    #[must_use]
    pub fn plain_words(&self) -> String {
        match &self.0.place {
            Place::Whole => "the message".to_owned(),
            Place::Part(number) => format!("part {number}"),
            Place::File { name, within: None } => format!("\"{name}\""),
            Place::File { name, within: Some(within) } => format!("\"{name}\" in \"{within}\""),
        }
    }

    fn new(path: String, place: Place) -> Self {
        Self(Arc::new(Way { path, place }))
    }
}

impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Place ===

impl Place {
    /// Parts of a message that is a file itself are nothing that its readers see.
    fn part(&self, number: usize) -> Self {
        match self {
            Self::Whole => Self::Part(number.to_string()),
            Self::Part(outer) if outer.len() < PART_OCTETS_MAX => Self::Part(format!("{outer}.{number}")),
            Self::Part(_) | Self::File { .. } => self.clone(),
        }
    }

    fn file(&self, name: &str) -> Self {
        let within = match self {
            Self::Whole | Self::Part(_) => None,
            Self::File { name, within } => Some(within.as_ref().unwrap_or(name).clone()),
        };
        Self::File { name: plain(name), within }
    }
}

/// Both ends of a long name stay, since the last one says what the file is.
fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && c != '"' || c == ' ';
    let plain = |c: char| if is_plain(c) { c } else { '?' };
    let length = name.chars().count();
    if length <= FILE_CHARS_MAX {
        return name.chars().map(plain).collect();
    }
    let end = name.chars().skip(length.saturating_sub(FILE_END_CHARS)).map(plain);
    name.chars().take(FILE_BEGINNING_CHARS).map(plain).chain("...".chars()).chain(end).collect()
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
/// Fits on a line of a letter, as do two of them.
const FILE_CHARS_MAX: usize = 60;
const FILE_BEGINNING_CHARS: usize = 40;
const FILE_END_CHARS: usize = 17;
/// A number more may stand behind it, of twenty digits at most.
const PART_OCTETS_MAX: usize = 20;
/// Two files in quotation marks, and the word between them.
pub const PLAIN_WORDS_OCTETS_MAX: usize = 2 * (FILE_CHARS_MAX + 2) + 4;

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

    #[test]
    fn readers_are_told_the_file_and_the_one_that_they_see_it_in() {
        let message = ItemName::root("message");
        assert_eq!(message.inside("message").plain_words(), "the message");
        let part = message.inside_part(2).inside_part(1).typed("text/html");
        assert_eq!(
            (part.plain_words().as_str(), part.as_str()),
            ("part 2.1", "message > part 2 > part 1 (text/html)")
        );
        let file = message.inside_part(2).called("docs.zip");
        assert_eq!(file.plain_words(), "\"docs.zip\"");
        let entry = file.inside_file("inner.tar").inside("gzip").inside_file("invoice.exe");
        assert_eq!(entry.plain_words(), "\"invoice.exe\" in \"docs.zip\"");
        assert_eq!(entry.inside("message").inside_part(3).plain_words(), entry.plain_words());
    }

    #[test]
    fn what_a_peer_calls_a_file_ends_no_quotation_and_shows_what_the_file_is() {
        let words = |name| ItemName::root("message").called(name).plain_words();
        assert_eq!(words("a\" is fine.\r\nVisit\u{202e}\u{e9}.exe"), "\"a? is fine.??Visit??.exe\"");
        let long = format!("invoice.pdf{}.exe", " ".repeat(90));
        assert_eq!(words(&long), format!("\"invoice.pdf{}...{}.exe\"", " ".repeat(29), " ".repeat(13)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_name_is_bounded_and_on_one_line(segments in prop::collection::vec(".{0,200}", 0..12)) {
            let name = segments.iter().fold(ItemName::root("message"), |name, s| name.inside(s));
            prop_assert!(name.as_str().chars().count() <= NAME_CHARS_MAX + 1);
            prop_assert!(!name.as_str().chars().any(char::is_control));
        }

        #[test]
        fn plain_words_are_bounded_and_plain(steps in prop::collection::vec((0_usize..3, ".{0,90}", 0_usize..1_000_000), 0..12)) {
            let name = steps.iter().fold(ItemName::root("message"), |name, (step, text, number)| match step {
                0 => name.inside_part(*number),
                1 => name.inside_file(text),
                _ => name.inside(text),
            });
            let words = name.plain_words();
            prop_assert!(words.len() <= PLAIN_WORDS_OCTETS_MAX);
            prop_assert!(words.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' '));
        }
    }
}
