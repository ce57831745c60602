//! The server's side of ICAP, as far as a scanner needs it: OPTIONS, and RESPMOD with a whole body.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What scans.
pub(crate) trait Service: Send + Sync + 'static {
    /// The version of its signatures.
    fn tag(&self) -> String;
    /// Looks at an item, as long as it likes.
    fn look(&self, item: Vec<u8>) -> Said;
}

/// What it says of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Clean,
    Infected(&'static str),
    /// Infected, and this is what is left of it without.
    Repaired(&'static str, Vec<u8>),
}

/// Serves on a free port of 127.0.0.1 until the process ends.
pub(crate) fn start(service: &Arc<impl Service>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let service = Arc::clone(service);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let service = Arc::clone(&service);
            // The server leaves when it likes.
            thread::spawn(move || serve(&*service, &stream).ok());
        }
    });
    port
}

fn serve(service: &impl Service, stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let head = head(&mut reader)?;
        if head.starts_with("OPTIONS ") {
            answer(service, stream, "200 OK\r\nMethods: RESPMOD", b"")?;
            continue;
        }
        let body_at = head.split("res-body=").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let octets = body_at.parse().map_err(io::Error::other)?;
        io::copy(&mut reader.by_ref().take(octets), &mut io::sink())?;
        let (threat, left) = match service.look(body(&mut reader)?) {
            Said::Clean => {
                answer(service, stream, "204 No Content", b"")?;
                continue;
            }
            Said::Infected(threat) => (threat, b"blocked".to_vec()),
            Said::Repaired(threat, left) => (threat, left),
        };
        let http = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n";
        let mut sent = format!("{http}{:x}\r\n", left.len()).into_bytes();
        sent.extend_from_slice(&left);
        sent.extend_from_slice(b"\r\n0\r\n\r\n");
        let fields = format!(
            "200 OK\r\nX-Infection-Found: Type=0; Resolution=1; Threat={threat};\r\n\
             Encapsulated: res-hdr=0, res-body={}",
            http.len()
        );
        answer(service, stream, &fields, &sent)?;
    }
}

fn answer(service: &impl Service, mut stream: &TcpStream, fields: &str, rest: &[u8]) -> io::Result<()> {
    stream.write_all(format!("ICAP/1.0 {fields}\r\nISTag: \"{}\"\r\n\r\n", service.tag()).as_bytes())?;
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
