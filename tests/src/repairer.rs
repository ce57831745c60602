//! An ICAP server that repairs: the test string goes, the rest of the item stays. No program among Debian's does that.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::mail;

/// A running one; it ends with the process.
#[derive(Debug)]
pub struct Repairer {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

// === impl Repairer ===

impl Repairer {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // The server leaves when it likes.
                thread::spawn(move || serve(&stream).ok());
            }
        });
        Self { port }
    }

    /// The server's settings that have it asked.
    #[must_use]
    pub fn engine(&self) -> String {
        let port = self.port;
        format!("[[scan.engine]]\ntype = \"icap\"\naddress = \"127.0.0.1:{port}\"\nservice = \"repair\"\n")
    }
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let head = head(&mut reader)?;
        if head.starts_with("OPTIONS ") {
            answer(stream, "200 OK\r\nMethods: RESPMOD", b"")?;
            continue;
        }
        let body_at = head.split("res-body=").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let octets = body_at.parse().map_err(io::Error::other)?;
        io::copy(&mut reader.by_ref().take(octets), &mut io::sink())?;
        let item = body(&mut reader)?;
        let repaired = without(&item, mail::eicar().as_bytes());
        if repaired == item {
            answer(stream, "204 No Content", b"")?;
            continue;
        }
        let http = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n";
        let mut sent = format!("{http}{:x}\r\n", repaired.len()).into_bytes();
        sent.extend_from_slice(&repaired);
        sent.extend_from_slice(b"\r\n0\r\n\r\n");
        let fields = format!(
            "200 OK\r\nX-Infection-Found: Type=0; Resolution=1; Threat=Repairable;\r\n\
             Encapsulated: res-hdr=0, res-body={}",
            http.len()
        );
        answer(stream, &fields, &sent)?;
    }
}

fn answer(mut stream: &TcpStream, fields: &str, rest: &[u8]) -> io::Result<()> {
    stream.write_all(format!("ICAP/1.0 {fields}\r\nISTag: \"repair-1\"\r\n\r\n").as_bytes())?;
    stream.write_all(rest)
}

fn head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn body(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let octets = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        reader.take(octets).read_to_end(&mut body)?;
        reader.read_line(&mut line)?;
        if octets == 0 {
            return Ok(body);
        }
    }
}

fn without(item: &[u8], bad: &[u8]) -> Vec<u8> {
    let mut left = Vec::with_capacity(item.len());
    let mut rest = item;
    while let Some(at) = rest.windows(bad.len()).position(|window| window == bad) {
        left.extend_from_slice(&rest[..at]);
        rest = &rest[at + bad.len()..];
    }
    left.extend_from_slice(rest);
    left
}
