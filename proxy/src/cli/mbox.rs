//! The mboxrd format: messages in one file, told apart by `From ` lines; such lines in a message get one more `>`.

use std::io::{self, Write};

/// Writes one message. Lines end in LF, as they do in every mbox.
pub(super) fn write(into: &mut dyn Write, message: &[u8], received_at_ms: u64) -> io::Result<()> {
    let date = i64::try_from(received_at_ms)
        .ok()
        .and_then(|at| jiff::Timestamp::from_millisecond(at).ok())
        .unwrap_or_default()
        .strftime("%a %b %e %H:%M:%S %Y");
    writeln!(into, "From MAILER-DAEMON {date}")?;
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if is_from_line(text) {
            into.write_all(b">")?;
        }
        into.write_all(text)?;
        into.write_all(b"\n")?;
    }
    into.write_all(b"\n")
}

/// `>*From `: quoting is undone by taking one `>` away, so lines that are quoted already are quoted again.
fn is_from_line(line: &[u8]) -> bool {
    let start = line.iter().position(|octet| *octet != b'>').unwrap_or(line.len());
    line.split_at_checked(start).is_some_and(|(_, rest)| rest.starts_with(b"From "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(message: &[u8]) -> Vec<u8> {
        let mut into = Vec::new();
        write(&mut into, message, 0).unwrap();
        into
    }

    /// Takes one message apart again.
    fn read(file: &[u8]) -> Vec<u8> {
        let lines: Vec<&[u8]> = file.split(|octet| *octet == b'\n').collect();
        assert!(lines[0].starts_with(b"From ") && lines.ends_with(&[b"", b""]));
        let lines = lines[1..lines.len() - 2].iter();
        lines
            .flat_map(|line| {
                let line = if is_from_line(line) { &line[1..] } else { line };
                [line, b"\r\n"].concat()
            })
            .collect()
    }

    #[test]
    fn a_message_stands_between_a_from_line_and_an_empty_one() {
        let file = written(b"Subject: x\r\n\r\nFrom me\r\n>From you\r\nfrom\r\n");
        let text = String::from_utf8(file).unwrap();
        let head = "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n";
        assert_eq!(text, format!("{head}Subject: x\n\n>From me\n>>From you\nfrom\n\n"));
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read_back(lines in prop::collection::vec("(>{0,3}From .{0,9}|[^\r\n]{0,20})", 1..9)) {
            let message: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
            prop_assert_eq!(read(&written(&message)), message);
        }
    }
}
