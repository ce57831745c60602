//! Messages and archives for this room's tests.

use std::io::{Cursor, Write};
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Obstacle;
use super::item::ItemName;
use super::plan::{Visitor, walk_file, walk_message};

/// Everything that a walk tells.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) items: Vec<(String, Vec<u8>)>,
    pub(super) obstacles: Vec<Obstacle>,
}

impl Found {
    pub(super) fn of(file: &[u8]) -> Self {
        let mut found = Self::default();
        walk_file(file, &mut found);
        found
    }

    pub(super) fn of_message(message: &[u8]) -> Self {
        let mut found = Self::default();
        walk_message(message, &mut found);
        found
    }

    /// Whether this is an item.
    pub(super) fn has(&self, octets: &[u8]) -> bool {
        self.items.iter().any(|(_, item)| item == octets)
    }

    /// Whether an item other than the whole contains the octets.
    pub(super) fn decoded(&self, octets: &[u8]) -> bool {
        self.items.iter().skip(1).any(|(_, item)| memchr::memmem::find(item, octets).is_some())
    }
}

impl Visitor for Found {
    fn item(&mut self, name: &ItemName, octets: &[u8]) -> ControlFlow<()> {
        self.items.push((name.to_string(), octets.to_vec()));
        ControlFlow::Continue(())
    }

    fn obstacle(&mut self, _: &ItemName, obstacle: Obstacle) -> ControlFlow<()> {
        self.obstacles.push(obstacle);
        ControlFlow::Continue(())
    }
}

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

/// A gzip file.
pub(super) fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut writer =
        flate2::GzBuilder::new().filename("inner.tar").write(Vec::new(), flate2::Compression::best());
    writer.write_all(octets).unwrap();
    writer.finish().unwrap()
}

/// A bzip2 file.
pub(super) fn bzip2(octets: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    writer.write_all(octets).unwrap();
    writer.finish().unwrap()
}

/// An xz file.
pub(super) fn xz(octets: &[u8]) -> Vec<u8> {
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(6)).unwrap();
    writer.write_all(octets).unwrap();
    writer.finish().unwrap()
}

/// A file of the old LZMA utilities, which ends with a mark.
pub(super) fn lzma(octets: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::LzmaOptions::with_preset(6);
    let mut writer = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
    writer.write_all(octets).unwrap();
    writer.finish().unwrap()
}

/// A tar archive of these entries.
pub(super) fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, octets) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(octets.len().try_into().unwrap());
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *octets).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A 7z archive of these entries.
pub(super) fn seven_zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = sevenz_rust2::ArchiveWriter::new(Cursor::new(Vec::new())).unwrap();
    for (name, octets) in entries {
        writer.push_archive_entry(sevenz_rust2::ArchiveEntry::new_file(name), Some(*octets)).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// uuencoded lines, with what begins and ends them.
pub(super) fn uuencode(name: &str, octets: &[u8]) -> Vec<u8> {
    let digit = |bits: u32| char::from(b' ' + u8::try_from(bits & 63).unwrap());
    let mut text = format!("begin 644 {name}\r\n");
    for line in octets.chunks(45) {
        text.push(digit(u32::try_from(line.len()).unwrap()));
        for group in line.chunks(3) {
            let octet = |at: usize| u32::from(*group.get(at).unwrap_or(&0));
            let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
            text.extend([digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)]);
        }
        text.push_str("\r\n");
    }
    text.push_str("`\r\nend\r\n");
    text.into_bytes()
}

/// A TNEF file with one attachment, and these properties of the message.
pub(super) fn tnef(name: &str, octets: &[u8], properties: &[u8]) -> Vec<u8> {
    let mut file = vec![0x78, 0x9f, 0x3e, 0x22, 1, 0];
    let title = [name.as_bytes(), &[0]].concat();
    let attributes: [(u8, u32, &[u8]); 3] =
        [(1, 0x0006_9003, properties), (2, 0x0001_8010, &title), (2, 0x0006_800f, octets)];
    for (level, id, value) in attributes {
        file.push(level);
        file.extend_from_slice(&id.to_le_bytes());
        file.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        file.extend_from_slice(value);
        file.extend_from_slice(&[0, 0]);
    }
    file
}

/// A BER element; the length takes four octets.
pub(super) fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], &len[..], content].concat()
}

/// A CMS message of signed data, or of what another last octet of the identifier says.
pub(super) fn cms(kind: u8, content: &[u8]) -> Vec<u8> {
    let identifier = ber(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, kind]);
    let data = ber(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1]);
    let pieces: Vec<u8> = content.chunks(40).flat_map(|piece| ber(4, piece)).collect();
    let encapsulated = ber(0x30, &[data, ber(0xa0, &ber(0x24, &pieces))].concat());
    let signed = ber(0x30, &[ber(2, &[1]), ber(0x31, &[]), encapsulated, ber(0x31, &[])].concat());
    ber(0x30, &[identifier, ber(0xa0, &signed)].concat())
}
