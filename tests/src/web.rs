//! A web server on loopback that has one page, inside TLS.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::trust;

/// The server; takes no connection any more when dropped.
#[derive(Debug)]
pub struct WebServer {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Arc<ServerConfig>,
    /// Status line, header fields and body.
    answer: String,
    asked: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

// === impl WebServer ===

impl WebServer {
    /// One that answers everything with this: a status and its phrase, header fields each with its CRLF, a body.
    ///
    /// # Panics
    /// When no port is free, or the files hold no certificate and key.
    #[must_use]
    pub fn start(certificate: &Path, key: &Path, status: &str, fields: &str, body: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let shared = Arc::new(Shared {
            config: trust::server(certificate, key),
            answer,
            asked: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.is_over.load(Ordering::Relaxed) {
                    return;
                }
                // A client that does not like the certificate is no failure of the test's server.
                serve(stream, &theirs).ok();
            }
        });
        Self { address, shared }
    }

    /// The first line of each request.
    ///
    /// # Panics
    /// When the server's thread has panicked.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().expect("no thread has panicked").clone()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        TcpStream::connect(self.address).ok();
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let session = ServerConnection::new(Arc::clone(&shared.config)).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    let mut first = String::new();
    stream.read_line(&mut first)?;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    shared.asked.lock().expect("no thread has panicked").push(first.trim_end().to_owned());
    stream.get_mut().write_all(shared.answer.as_bytes())?;
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush()
}
