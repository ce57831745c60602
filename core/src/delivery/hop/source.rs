//! The octets of a consignment: its head, then its body, in parts. Files are read on threads made for it.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use gatepost_smtp::client::{Capabilities, Content};
use gatepost_smtp::wire::params::BodyKind;

use super::Consignment;
use crate::disk::IoPool;
use crate::intake::Body;

/// A message that is being read.
pub(super) struct Source<'a> {
    pool: &'a IoPool,
    head: Bytes,
    body: Unread,
}

enum Unread {
    Memory(Bytes),
    /// Opened with its first part.
    Unopened(Body),
    File(Box<dyn Read + Send>),
    /// Its reader was lost with a part that nobody waited for.
    Nothing,
}

/// What a message is made of.
#[derive(Debug)]
struct Look {
    /// Octets of the blank line behind the header that have been seen; the header stands at the start of a line.
    blank: usize,
    has_utf8_header: bool,
    has_utf8: bool,
}

// === impl Source ===

impl<'a> Source<'a> {
    pub(super) fn new(consignment: &Consignment, pool: &'a IoPool) -> Self {
        Self { head: consignment.head.clone(), ..Self::of_body(&consignment.body, pool) }
    }

    /// Without a head.
    pub(super) fn of_body(body: &Body, pool: &'a IoPool) -> Self {
        let body = match body {
            Body::Memory(octets) => Unread::Memory(octets.clone()),
            file @ Body::File(_) => Unread::Unopened(file.clone()),
        };
        Self { pool, head: Bytes::new(), body }
    }

    /// The next part, at most so many octets; empty at the end.
    ///
    /// # Errors
    /// The disk's; `InvalidData` with the last part of a damaged file, which is then not given out.
    pub(super) async fn next(&mut self, octets_max: u64) -> io::Result<Bytes> {
        let octets_max = usize::try_from(octets_max).unwrap_or(usize::MAX).min(PART_OCTETS);
        if self.head.has_remaining() {
            return Ok(self.head.split_to(octets_max.min(self.head.len())));
        }
        match std::mem::replace(&mut self.body, Unread::Nothing) {
            Unread::Memory(mut octets) => {
                let part = octets.split_to(octets_max.min(octets.len()));
                self.body = Unread::Memory(octets);
                Ok(part)
            }
            Unread::Unopened(body) => self.read(move || body.reader(), octets_max).await,
            Unread::File(reader) => self.read(move || Ok(reader), octets_max).await,
            Unread::Nothing => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    async fn read(
        &mut self,
        open: impl FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
        octets_max: usize,
    ) -> io::Result<Bytes> {
        let job = move || {
            let mut reader = open()?;
            let mut part = Vec::with_capacity(octets_max);
            reader.by_ref().take(octets_max as u64).read_to_end(&mut part)?;
            io::Result::Ok((reader, part))
        };
        let (reader, part) = self.pool.run(job).await??;
        self.body = Unread::File(reader);
        Ok(part.into())
    }
}

/// What the client machine must know of a message for a server that offers this. A large one is read only where the answer
/// decides something; otherwise it counts as 8-bit, which every message may be declared as.
///
/// # Errors
/// The disk's.
pub(super) async fn look(
    consignment: &Consignment,
    offered: &Capabilities,
    pool: &IoPool,
) -> io::Result<Content> {
    let octets = consignment.octets();
    let decides = !offered.eight_bit_mime || (consignment.params.smtputf8 && !offered.smtputf8);
    if matches!(consignment.body, Body::File(_)) && !decides {
        return Ok(Content { octets, kind: BodyKind::EightBitMime, has_utf8_header: false });
    }
    let (mut look, mut source) = (Look::default(), Source::new(consignment, pool));
    let mut left = octets;
    while left > 0 {
        let part = source.next(left).await?;
        if part.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        look.see(&part);
        left = left.saturating_sub(part.len() as u64);
    }
    let kind = if look.has_utf8 { BodyKind::EightBitMime } else { BodyKind::SevenBit };
    Ok(Content { octets, kind, has_utf8_header: look.has_utf8_header })
}

// === impl Look ===

impl Look {
    fn see(&mut self, octets: &[u8]) {
        let mut body = octets;
        while self.blank < BLANK_LINE.len()
            && let Some((&octet, rest)) = body.split_first()
        {
            self.has_utf8_header |= !octet.is_ascii();
            self.blank = match (BLANK_LINE.get(self.blank), octet) {
                (Some(&wanted), octet) if octet == wanted => self.blank.saturating_add(1),
                (_, b'\r') => 1,
                _ => 0,
            };
            body = rest;
        }
        self.has_utf8 |= self.has_utf8_header || !body.is_ascii();
    }
}

impl Default for Look {
    /// At the start of a line: the first line may be the blank one.
    fn default() -> Self {
        Self { blank: 2, has_utf8_header: false, has_utf8: false }
    }
}

const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// Of a part: a socket's buffer takes it, and a thousand connections of it are 64 MiB.
const PART_OCTETS: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use gatepost_smtp::wire::params::MailParams;
    use gatepost_smtp::wire::path::ReversePath;

    use super::*;
    use crate::disk::{Disk as _, SimulatedDisk};
    use crate::intake::Spool;

    fn consignment(head: &str, body: Body) -> Consignment {
        Consignment {
            reverse_path: ReversePath::Null,
            params: MailParams::default(),
            recipients: Vec::new(),
            head: Bytes::copy_from_slice(head.as_bytes()),
            body,
        }
    }

    fn memory(text: &str) -> Body {
        Body::Memory(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn file(disk: &SimulatedDisk, octets: &[u8]) -> Body {
        let spool = Spool::inline(Arc::new(disk.clone()), Path::new("/bodies")).unwrap();
        Body::File(Arc::new(spool.store(octets).unwrap()))
    }

    #[tokio::test]
    async fn head_and_body_come_one_behind_the_other_in_parts_as_asked_for() {
        let pool = IoPool::start("test-hop", 1).unwrap();
        let body: Vec<u8> = (0..200_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        for body in [Body::Memory(body.clone().into()), file(&SimulatedDisk::new(), &body)] {
            let consignment = consignment("head", body.clone());
            let mut source = Source::new(&consignment, &pool);
            let mut read = Vec::new();
            for octets_max in [1_u64, 100, 70_000, u64::MAX].into_iter().cycle() {
                let part = source.next(octets_max).await.unwrap();
                assert!(part.len() as u64 <= octets_max && part.len() <= PART_OCTETS);
                if part.is_empty() {
                    break;
                }
                read.extend_from_slice(&part);
            }
            assert_eq!(read, [b"head".as_slice(), &body.read().unwrap()].concat());
        }
    }

    #[tokio::test]
    async fn the_last_part_of_a_damaged_file_is_not_given_out() {
        let (pool, disk) = (IoPool::start("test-hop", 1).unwrap(), SimulatedDisk::new());
        let body = file(&disk, &vec![b'x'; 100_000]);
        let path = disk.list(Path::new("/bodies")).unwrap().remove(0);
        disk.damage(&path, 10, 1);
        let consignment = consignment("", body);
        let mut source = Source::new(&consignment, &pool);
        assert_eq!(source.next(u64::MAX).await.unwrap().len(), PART_OCTETS);
        assert_eq!(source.next(u64::MAX).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(source.next(u64::MAX).await.is_err(), "and there is nothing behind it");
    }

    #[tokio::test]
    async fn a_message_is_what_its_octets_say_and_not_its_sender() {
        let pool = IoPool::start("test-hop", 1).unwrap();
        let table = [
            ("", "Subject: x\r\n\r\ntext\r\n", BodyKind::SevenBit, false),
            ("", "Subject: x\r\n\r\nt\u{e4}xt\r\n", BodyKind::EightBitMime, false),
            ("", "Subject: \u{e4}\r\n\r\ntext\r\n", BodyKind::EightBitMime, true),
            ("Received: \u{e4}\r\n", "\r\ntext", BodyKind::EightBitMime, true),
            ("Received: x\r\n", "\r\nt\u{e4}xt", BodyKind::EightBitMime, false),
            ("", "\r\n\u{e4}", BodyKind::EightBitMime, false),
            ("", "Subject: x\r\n y\r\n\u{e4}: z\r\n\r\n", BodyKind::EightBitMime, true),
        ];
        for (head, body, kind, has_utf8_header) in table {
            let found =
                look(&consignment(head, memory(body)), &Capabilities::default(), &pool).await.unwrap();
            let octets = (head.len() + body.len()) as u64;
            assert_eq!(found, Content { octets, kind, has_utf8_header }, "{head:?} {body:?}");
        }
    }

    #[tokio::test]
    async fn a_file_is_looked_at_only_where_that_decides_something() {
        let (pool, disk) = (IoPool::start("test-hop", 1).unwrap(), SimulatedDisk::new());
        let consignment = consignment("", file(&disk, b"Subject: x\r\n\r\ntext\r\n"));
        let offered = Capabilities { eight_bit_mime: true, ..Capabilities::default() };
        let before = disk.calls();
        assert_eq!(look(&consignment, &offered, &pool).await.unwrap().kind, BodyKind::EightBitMime);
        assert_eq!(disk.calls(), before);
        let found = look(&consignment, &Capabilities::default(), &pool).await.unwrap();
        assert_eq!(found.kind, BodyKind::SevenBit);
    }
}
