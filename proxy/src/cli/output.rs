//! Everything that commands print goes through here.

use std::fmt::{self, Display};
use std::io::{self, BufWriter, IsTerminal as _, Write};

use super::Failure;

/// Standard output, buffered. A failed write ends the command.
pub(super) struct Output {
    writer: BufWriter<io::Stdout>,
}

/// A table of text, columns as wide as they need to be.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

// === impl Output ===

impl Output {
    /// Of this process.
    pub(super) fn stdout() -> Self {
        Self { writer: BufWriter::new(io::stdout()) }
    }

    /// A line.
    pub(super) fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        writeln!(self.writer, "{text}").map_err(|error| Failure::of_output(&error))
    }

    /// Octets as they are.
    pub(super) fn octets(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(octets).map_err(|error| Failure::of_output(&error))
    }

    /// One JSON value, indented.
    pub(super) fn json(&mut self, value: &serde_json::Value) -> Result<(), Failure> {
        self.line(format_args!("{value:#}"))
    }

    /// Everything so far leaves now.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| Failure::of_output(&error))
    }

    /// Whether a person reads it.
    pub(super) fn is_terminal(&self) -> bool {
        self.writer.get_ref().is_terminal()
    }
}

// === impl Table ===

impl Table {
    /// With its head line.
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// Adds a row; control characters are escaped, since much of it comes from peers.
    pub(super) fn row<const N: usize>(&mut self, cells: [&dyn Display; N]) {
        self.rows.push(cells.iter().map(|cell| printable(&cell.to_string())).collect());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let line = row
                .iter()
                .zip(&widths)
                .fold(String::new(), |line, (cell, width)| line + &format!("{cell:width$}  "));
            let end = if index.saturating_add(1) < self.rows.len() { "\n" } else { "" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Says on standard error what went wrong.
pub(super) fn complain(message: &dyn Display) {
    // Nobody is left to tell when this fails.
    let _ = writeln!(io::stderr(), "gatepost: {message}");
}

/// A text of a peer, fit for a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// A moment, for people: milliseconds since 1970 as RFC 3339 in UTC, `-` where no calendar reaches.
pub(super) fn time(at_ms: u64) -> String {
    written(at_ms, "%Y-%m-%dT%H:%M:%SZ")
}

/// To the millisecond: a whole dialog may fit into one second.
pub(super) fn precise_time(at_ms: u64) -> String {
    written(at_ms, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

fn written(at_ms: u64, format: &str) -> String {
    i64::try_from(at_ms)
        .ok()
        .and_then(|at| jiff::Timestamp::from_millisecond(at).ok())
        .map_or_else(|| "-".to_owned(), |at| at.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_blanks_behind() {
        let mut table = Table::new(&["ID", "SIZE"]);
        table.row([&"abcdef", &7]);
        table.row([&"ü", &"\u{1b}[31m"]);
        assert_eq!(table.to_string(), "ID      SIZE\nabcdef  7\nü       \\u{1b}[31m");
    }

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(
            (time(0).as_str(), precise_time(7).as_str()),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.007Z")
        );
        assert_eq!(time(u64::MAX), "-");
    }
}
