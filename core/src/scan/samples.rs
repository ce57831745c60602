//! Messages and archives for this room's tests.

use std::io::{Cursor, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The EICAR test file, put together here so that this source file is not one.
pub(super) fn eicar() -> Vec<u8> {
    let head = r"X5O!P%@AP[4\PZX54(P^)7CC)7}";
    [head, "$EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!$H+H*"].concat().into_bytes()
}

/// A message with one body and the given MIME fields (each with its line end).
pub(super) fn message(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("From: a@example.org\r\nSubject: test\r\nMIME-Version: 1.0\r\n{fields}\r\n");
    [head.as_bytes(), body, b"\r\n"].concat()
}

/// A multipart with a text and these parts, each fields and body.
pub(super) fn multipart(parts: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut body = b"--frontier\r\n\r\nHello\r\n".to_vec();
    for (fields, octets) in parts {
        body.extend_from_slice(format!("--frontier\r\n{fields}\r\n").as_bytes());
        body.extend_from_slice(octets);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--frontier--\r\n");
    message("Content-Type: multipart/mixed; boundary=\"frontier\"\r\n", &body)
}

/// A multipart with one base64 attachment.
pub(super) fn attachment(name: &str, octets: &[u8]) -> Vec<u8> {
    let fields = format!(
        "Content-Type: application/octet-stream; name=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n"
    );
    multipart(&[(&fields, base64_lines(octets))])
}

/// Base64 in lines of 76.
pub(super) fn base64_lines(octets: &[u8]) -> Vec<u8> {
    let encoded = STANDARD.encode(octets);
    encoded.as_bytes().chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..])
}

/// A deflated zip archive of these entries.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zip_by(CompressionMethod::Deflated, entries)
}

/// A zip archive of these entries.
pub(super) fn zip_by(method: CompressionMethod, entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, octets) in entries {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(octets).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Sets the encryption flag of every entry, in both headers.
pub(super) fn encrypted(mut archive: Vec<u8>) -> Vec<u8> {
    for (mark, flag_at) in [(&b"PK\x03\x04"[..], 6), (&b"PK\x01\x02"[..], 8)] {
        let places: Vec<usize> = memchr::memmem::find_iter(&archive, mark).collect();
        for place in places {
            archive[place + flag_at] |= 1;
        }
    }
    archive
}
