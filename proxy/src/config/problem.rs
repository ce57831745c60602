//! What is wrong with a configuration, shown so that it can be mended: file, line, column, the line itself, a hint.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// All that was found wrong. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    file: PathBuf,
    place: Option<Place>,
    message: String,
    hint: Option<String>,
}

/// Where in the file, for a reader: counted from one, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
    text: String,
    width: usize,
}

/// A finding that knows octets of the text but not yet the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

// === impl Problems ===

impl Problems {
    /// Places findings in their file; `None` where there are none.
    pub(super) fn locate(file: &Path, text: &str, findings: Vec<Finding>) -> Option<Self> {
        let problems: Vec<Problem> =
            findings.into_iter().map(|finding| Problem::locate(file, text, finding)).collect();
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// A single problem of a whole file.
    pub(super) fn of_file(file: &Path, message: impl Into<String>, hint: Option<&str>) -> Self {
        let hint = hint.map(str::to_owned);
        Self(vec![Problem { file: file.to_owned(), place: None, message: message.into(), hint }])
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

// === impl Problem ===

impl Problem {
    fn locate(file: &Path, text: &str, finding: Finding) -> Self {
        let place = finding.span.and_then(|span| Place::of(text, span));
        Self { file: file.to_owned(), place, message: finding.message, hint: finding.hint }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match &self.place {
            Some(place) => write!(f, ":{}:{}: {}{place}", place.line, place.column, self.message)?,
            None => write!(f, ": {}", self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

// === impl Place ===

impl Place {
    /// `None` where the span does not lie on character borders of the text.
    fn of(text: &str, span: Range<usize>) -> Option<Self> {
        let before = text.get(..span.start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        let rest_of_text = text.get(line_start..)?;
        let line_text = rest_of_text.lines().next().unwrap_or_default();
        let indent = text.get(line_start..span.start)?.chars().count();
        let marked = text.get(span)?.lines().next().unwrap_or_default().chars().count();
        Some(Self {
            line: before.matches('\n').count().saturating_add(1),
            column: indent.saturating_add(1),
            // A control character would move the mark away from its place, or drive the terminal.
            text: line_text
                .chars()
                .take(LINE_SHOWN_MAX)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
            width: marked.clamp(1, line_text.chars().count().saturating_sub(indent).max(1)),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indent = self.column.saturating_sub(1);
        write!(f, "\n  {:>4} | {}", self.line, self.text)?;
        if indent.saturating_add(self.width) <= LINE_SHOWN_MAX {
            write!(f, "\n       | {:indent$}{}", "", "^".repeat(self.width))?;
        }
        Ok(())
    }
}

// === impl Finding ===

impl Finding {
    /// A finding at a place.
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), hint: None }
    }

    /// With advice.
    #[must_use]
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What the TOML reader found, with the nearest known key or value where one is close.
    pub(super) fn of_toml(error: &toml::de::Error) -> Self {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let hint = nearest_alternative(&message).map(|name| format!("did you mean `{name}`?"));
        Self { span: error.span(), message, hint }
    }
}

/// Serde quotes names in backticks: what it met first, then what it knows.
fn nearest_alternative(message: &str) -> Option<&str> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let met = quoted.next().filter(|_| message.starts_with("unknown "))?;
    let nearest = quoted.map(|known| (strsim::damerau_levenshtein(met, known), known)).min()?;
    (nearest.0 <= met.len().div_ceil(TYPO_SHARE)).then_some(nearest.1)
}

/// Longer lines are cut: a configuration line of a person fits.
const LINE_SHOWN_MAX: usize = 160;
/// Up to a third of the letters may be wrong for a name to count as a typo of another.
const TYPO_SHARE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, finding: Finding) -> String {
        Problems::locate(Path::new("g.toml"), text, vec![finding]).unwrap().to_string()
    }

    #[test]
    fn a_finding_is_shown_with_its_line_and_marked() {
        let text = "[server]\nhostname = \"a b\"\n";
        let shown = shown(text, Finding::at(20..25, "no").hint("try"));
        assert_eq!(
            shown,
            "g.toml:2:12: no\n     2 | hostname = \"a b\"\n       |            ^^^^^\n  hint: try"
        );
    }

    #[test]
    fn a_finding_at_the_end_of_the_text_or_outside_of_it_is_still_shown() {
        assert!(shown("a", Finding::at(1..1, "no")).starts_with("g.toml:1:2: no"));
        assert_eq!(shown("a", Finding::at(7..9, "no")), "g.toml: no");
    }

    #[test]
    fn the_nearest_known_name_is_offered_only_when_it_is_near() {
        let message = "unknown field `adress`, expected one of `name`, `address`, `tls`";
        assert_eq!(nearest_alternative(message), Some("address"));
        assert_eq!(nearest_alternative("unknown field `zebra`, expected `name` or `tls`"), None);
        assert_eq!(nearest_alternative("missing field `name`"), None);
    }
}
