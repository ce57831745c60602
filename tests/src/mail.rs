//! The mails that tests send, and what must be read back.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::process::as_root;
use crate::wait_until;

/// A small legal message with this subject: CRLF lines, a line that begins with a dot, trailing white space.
#[must_use]
pub fn small(subject: &str) -> Vec<u8> {
    message(subject, b"first line\r\n.a line with a leading dot\r\n..two of them\r\n  white space at both ends  \r\n\r\nlast line\r\n")
}

/// A message with this subject and body (CRLF lines).
#[must_use]
pub fn message(subject: &str, body: &[u8]) -> Vec<u8> {
    let mut octets = format!(
        "From: Sender <me@localhost>\r\nTo: me@localhost\r\nSubject: {subject}\r\n\
         Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <{subject}@client.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )
    .into_bytes();
    octets.extend_from_slice(body);
    octets
}

/// A message whose body holds every octet from 128 to 255 and UTF-8 text.
#[must_use]
pub fn eight_bit(subject: &str) -> Vec<u8> {
    let mut body = "Grüße aus dem Norden, 漢字, ещё\r\n".as_bytes().to_vec();
    body.extend(128..=255);
    body.extend_from_slice(b"\r\n");
    message(subject, &body)
}

/// A message of at least `octets`, whose lines differ from each other, so that a lost or doubled block shows.
#[must_use]
pub fn large(subject: &str, octets: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(octets + 128);
    let mut number = 0_u64;
    while body.len() < octets {
        write!(body, "{number:012x} abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQR\r\n")
            .expect("memory");
        if number.is_multiple_of(7) {
            body.extend_from_slice(b".\x20dot\r\n");
        }
        number += 1;
    }
    message(subject, &body)
}

/// The anti-virus test string, put together here so that no file of the repository holds it.
#[must_use]
pub fn eicar() -> String {
    let parts = [r"X5O!P%@AP[4\PZX54(P^)", "7CC)7}", "$EICAR-STANDARD-", "ANTIVIRUS-TEST-", "FILE!$H+H*"];
    parts.concat()
}

/// A message with one attachment, base64 in lines of 76.
#[must_use]
pub fn with_attachment(subject: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let mut octets = format!(
        "From: me@localhost\r\nTo: me@localhost\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"edge\"\r\n\r\n\
         --edge\r\nContent-Type: text/plain\r\n\r\nSee attachment.\r\n\
         --edge\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    .into_bytes();
    for line in BASE64.encode(content).as_bytes().chunks(76) {
        octets.extend_from_slice(line);
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(b"--edge--\r\n");
    octets
}

/// A zip archive with one deflated file.
///
/// # Panics
/// When the archive cannot be written to memory.
#[must_use]
pub fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file(name, zip::write::SimpleFileOptions::default()).expect("a file in memory");
    archive.write_all(content).expect("a file in memory");
    archive.finish().expect("an archive in memory").into_inner()
}

/// What lies below the trace headers that the server has put on top.
///
/// # Panics
/// When they are not exactly Return-Path, Delivered-To and Received, in this order.
#[must_use]
pub fn below_trace(stored: &[u8]) -> &[u8] {
    let mut rest = stored;
    for name in ["Return-Path:", "Delivered-To:", "Received:"] {
        let Some((_, below)) = split_field(rest, name) else {
            panic!("{name} expected, found {:?}", rest[..rest.len().min(200)].escape_ascii().to_string());
        };
        rest = below;
    }
    rest
}

/// The value of the first field of this name in the header, unfolded.
///
/// # Panics
/// When the header is not UTF-8.
#[must_use]
pub fn field(message: &[u8], name: &str) -> Option<String> {
    let mut rest = message;
    while !rest.is_empty() && !rest.starts_with(b"\r\n") {
        let (field, below) = split_field(rest, "")?;
        let field = std::str::from_utf8(field).expect("a UTF-8 header").replace("\r\n", "");
        if let Some((found, value)) = field.split_once(':')
            && found.eq_ignore_ascii_case(name)
        {
            return Some(value.trim().to_owned());
        }
        rest = below;
    }
    None
}

/// The new mails of a Maildir, once there are `count` of them. What is stored there has lines that end in LF; here they end in
/// CRLF again.
///
/// # Panics
/// When that takes too long, or there are more.
#[must_use]
pub fn of_maildir(folder: &Path, count: usize) -> Vec<Vec<u8>> {
    let listed = || {
        let list = as_root("find").arg(folder).args(["-type", "f", "-path", "*/new/*"]).output();
        String::from_utf8(list.expect("find starts").stdout).expect("UTF-8 names")
    };
    wait_until("the mails are delivered", || listed().lines().count() >= count);
    let files = listed();
    assert_eq!(files.lines().count(), count, "mails in {}", folder.display());
    let read = |file| {
        let stored = as_root("cat").arg(file).output().expect("cat starts").stdout;
        let crlf = |line: &[u8]| [line.strip_suffix(b"\n").unwrap_or(line), b"\r\n"].concat();
        stored.split_inclusive(|octet| *octet == b'\n').flat_map(crlf).collect()
    };
    files.lines().map(read).collect()
}

/// Fails with the first difference rather than with megabytes of both.
///
/// # Panics
/// When the two differ.
pub fn assert_same_octets(found: &[u8], expected: &[u8]) {
    if found == expected {
        return;
    }
    let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    let around = |octets: &[u8]| {
        octets[same.saturating_sub(40)..octets.len().min(same + 80)].escape_ascii().to_string()
    };
    panic!(
        "{} octets read, {} expected; they differ from octet {same} on:\n  read     {}\n  expected {}",
        found.len(),
        expected.len(),
        around(found),
        around(expected)
    );
}

/// Splits the first field with its folded lines off, if it is the one named.
fn split_field<'a>(octets: &'a [u8], name: &str) -> Option<(&'a [u8], &'a [u8])> {
    if !octets.get(..name.len())?.eq_ignore_ascii_case(name.as_bytes()) {
        return None;
    }
    let mut end = 0;
    loop {
        end += octets[end..].windows(2).position(|pair| pair == b"\r\n")? + 2;
        if !matches!(octets.get(end), Some(b' ' | b'\t')) {
            return Some(octets.split_at(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_headers_are_taken_off_with_their_folded_lines() {
        let stored = b"Return-Path: <a@b>\r\nDelivered-To: c\r\nReceived: from x\r\n\tby y;\r\n date\r\nReceived: older\r\n\r\nbody";
        assert_eq!(below_trace(stored), b"Received: older\r\n\r\nbody");
        assert_eq!(field(stored, "received").as_deref(), Some("from x\tby y; date"));
        assert_eq!(field(stored, "subject"), None);
    }

    #[test]
    #[should_panic(expected = "Delivered-To: expected")]
    fn a_missing_trace_header_is_noticed() {
        let _ = below_trace(b"Return-Path: <a@b>\r\nReceived: x\r\n\r\nbody");
    }
}
