//! Mails that show whether something between a client and a server changes an octet: each is legal, and each is one that a
//! careless program would alter.

use std::fmt;

use crate::mail;
use crate::smtp::{Reply, Smtp};

/// A mail of the corpus.
#[derive(Clone)]
pub struct Specimen {
    /// What is special about it.
    pub name: &'static str,
    /// Its octets.
    pub octets: Vec<u8>,
    /// What it has to be declared as.
    pub content: Content,
}

/// What the octets of a mail are (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// ASCII in lines.
    SevenBit,
    /// Any octet but NUL, in lines.
    EightBit,
    /// No lines at all: goes in chunks alone.
    Binary,
}

/// How a mail is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Behind DATA, in one write.
    Data,
    /// Behind DATA, in writes of so many octets: what is looked for lies across their borders.
    Pieces(usize),
    /// In chunks of so many octets (BDAT).
    Chunks(usize),
}

// === impl Specimen ===

impl Specimen {
    fn new(name: &'static str, octets: impl Into<Vec<u8>>) -> Self {
        let octets = octets.into();
        let content = if octets.is_ascii() { Content::SevenBit } else { Content::EightBit };
        Self { name, octets, content }
    }

    /// Sends it over a connection on which EHLO was said; what comes before the body must be accepted. Returns the
    /// reply to the body.
    ///
    /// # Panics
    /// When MAIL, RCPT, DATA or a chunk before the last is refused, or it cannot go this way.
    pub fn send(&self, smtp: &mut Smtp, way: Way, from: &str, to: &[&str]) -> Reply {
        smtp.say(&format!("MAIL FROM:<{from}>{}", self.declared())).must("250");
        for recipient in to {
            smtp.say(&format!("RCPT TO:<{recipient}>")).must("250");
        }
        match way {
            Way::Chunks(octets) => self.send_chunks(smtp, octets),
            Way::Data => self.send_data(smtp, usize::MAX),
            Way::Pieces(octets) => self.send_data(smtp, octets),
        }
    }

    fn declared(&self) -> &'static str {
        match self.content {
            Content::SevenBit => "",
            Content::EightBit => " BODY=8BITMIME",
            Content::Binary => " BODY=BINARYMIME",
        }
    }

    fn send_data(&self, smtp: &mut Smtp, piece: usize) -> Reply {
        assert_ne!(self.content, Content::Binary, "{}: DATA is for lines", self.name);
        smtp.say("DATA").must("354");
        for piece in behind_data(&self.octets).chunks(piece) {
            smtp.send(piece);
        }
        smtp.reply()
    }

    fn send_chunks(&self, smtp: &mut Smtp, octets: usize) -> Reply {
        let mut rest = self.octets.as_slice();
        while rest.len() > octets {
            let (chunk, behind) = rest.split_at(octets);
            smtp.bdat(chunk, false).must("250");
            rest = behind;
        }
        smtp.bdat(rest, true)
    }
}

impl fmt::Debug for Specimen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} octets, {:?})", self.name, self.octets.len(), self.content)
    }
}

/// All mails that consist of lines.
#[must_use]
pub fn lines() -> Vec<Specimen> {
    let mut specimens = vec![
        Specimen::new("small", mail::small("small")),
        Specimen::new("8-bit", mail::eight_bit("8-bit")),
        Specimen::new("1 MiB", mail::large("1-MiB", 1024 * 1024)),
    ];
    specimens.extend(frames());
    specimens.extend(dots());
    specimens.extend(long_lines());
    specimens.extend(odd_texts());
    specimens
}

/// All mails that consist of octets.
#[must_use]
pub fn binaries() -> Vec<Specimen> {
    let all: Vec<u8> = (0..=255).collect();
    let breaks = b"\r\n.\r\n\n.\n\r.\r\0\r\n.\r\nQUIT\r\n".to_vec();
    let noise = noise(300_000);
    [("all octets", all), ("ends of data", breaks), ("noise", noise), ("a lone CR", b"\r".to_vec())]
        .map(|(name, octets)| Specimen { name, octets, content: Content::Binary })
        .into()
}

/// Where a mail begins and ends.
fn frames() -> Vec<Specimen> {
    vec![
        Specimen::new("nothing", ""),
        Specimen::new("an empty line", "\r\n"),
        Specimen::new("a header alone", "Subject: alone\r\n"),
        Specimen::new("a header and no body", "Subject: alone\r\n\r\n"),
        Specimen::new("a body alone", "\r\nno header\r\n"),
        Specimen::new("no header and no body", "neither the one nor the other\r\n"),
        Specimen::new("empty lines at the end", mail::message("empty-lines", b"text\r\n\r\n\r\n\r\n")),
    ]
}

fn dots() -> Vec<Specimen> {
    let every_place: Vec<u8> = (0..3_000_usize)
        .flat_map(|line| {
            [".".repeat(1 + line % 3), "x".repeat(line % 97), "\r\n".to_owned()].concat().into_bytes()
        })
        .collect();
    vec![
        Specimen::new("a dot", ".\r\n"),
        Specimen::new("dots alone", ".\r\n..\r\n...\r\n.\r\n"),
        Specimen::new("a dot before the header", ".Subject: hidden\r\n\r\ntext\r\n"),
        Specimen::new(
            "dots",
            mail::message("dots", b"..\r\n.\r\n. \r\n.\t.\r\n.x\r\nx.\r\n...\r\n\r\n.\r\n"),
        ),
        Specimen::new("dots at every place of a block", mail::message("places", &every_place)),
        Specimen::new("10,000 dots", mail::message("many", &b".\r\n".repeat(10_000))),
    ]
}

fn long_lines() -> Vec<Specimen> {
    // RFC 5321 section 4.5.3.1.6: 1,000 octets with CRLF, a dot for transparency not counted.
    let longest =
        [".".to_owned() + &"d".repeat(997), "x".repeat(998), "y".repeat(998), String::new()].join("\r\n");
    // Longer than that is not legal, and comes every day.
    let endless = "z".repeat(100_000) + "\r\n.\r\n";
    vec![
        Specimen::new("lines of 998 octets", mail::message("longest", longest.as_bytes())),
        Specimen::new("a line of 100,000 octets", mail::message("endless", endless.as_bytes())),
    ]
}

fn odd_texts() -> Vec<Specimen> {
    let controls: Vec<u8> =
        (1..32).filter(|octet| !b"\r\n".contains(octet)).chain([127]).chain(*b"\r\n").collect();
    let commands = b"QUIT\r\nRSET\r\n250 2.0.0 ok\r\n354 go on\r\nMAIL FROM:<a@b.example>\r\nBDAT 0 LAST\r\n* \r\n\x0b.\r\n";
    let broken = b"\xc3\x28 \xff\xfe \xed\xa0\x80 \xf4\x90\x80\x80\r\n\xc3\r\n\xa9\r\n";
    let header = "From: J\u{fc}rgen <a@b.example>\r\nSubject: \u{6f22}\u{5b57}\r\n folded\r\n\tagain\r\nX:y\r\n\r\ntext\r\n";
    vec![
        Specimen::new("white space", mail::message("white", b"  at both ends  \r\n\t\r\n \r\nend \t \r\n")),
        Specimen::new("control characters", mail::message("controls", &controls)),
        Specimen::new("commands and replies", mail::message("commands", commands)),
        Specimen::new("an 8-bit header", header),
        Specimen::new("what is not UTF-8", mail::message("broken", broken)),
    ]
}

/// As DATA wants it. Other than `smtp::stuffed` it adds no line: an empty mail is one with no line at all.
fn behind_data(octets: &[u8]) -> Vec<u8> {
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    let mut stuffed: Vec<u8> = lines
        .flat_map(|line| [if line.starts_with(b".") { ".".as_bytes() } else { b"" }, line].concat())
        .collect();
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

/// Octets without an order, the same each time (Marsaglia's xorshift).
fn noise(octets: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(octets).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_behind_data_ends_once() {
        assert_eq!(behind_data(b""), b".\r\n");
        assert_eq!(behind_data(b".\r\na\r\n..\r\n"), b"..\r\na\r\n...\r\n.\r\n");
        for specimen in lines() {
            let sent = behind_data(&specimen.octets);
            let at_end = sent.len() - 3;
            let ends = sent.windows(5).enumerate().filter(|(_, five)| five == b"\r\n.\r\n");
            assert!(ends.into_iter().all(|(at, _)| at + 2 == at_end), "{specimen:?} ends early");
        }
    }

    #[test]
    fn each_mail_is_what_it_is_declared_as() {
        for specimen in lines() {
            assert!(specimen.octets.is_empty() || specimen.octets.ends_with(b"\r\n"), "{specimen:?}");
            let text = specimen.octets.strip_suffix(b"\r\n").unwrap_or_default();
            let bare = text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
            let inner = |line: &[u8]| {
                line.strip_suffix(b"\r").unwrap_or(line).iter().any(|octet| b"\r\0".contains(octet))
            };
            assert!(!bare.into_iter().any(inner), "{specimen:?}");
        }
    }
}
