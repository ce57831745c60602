//! Mails as fast as a server takes them, and what they cost it.
//!
//! Without an address it starts a Gatepost of its own, whose queue is held and whose scanner does not look in the session, so
//! that what is measured is acceptance into the durable queue:
//! `GATEPOST_BINARY=target/release/gatepost cargo run --release -p gatepost-tests --bin load -- --sessions 20`.
//! With `--address` any server that takes mail from here is measured in the same way, which gives figures to compare.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use clap::Parser;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use rustix::param::clock_ticks_per_second;

#[derive(Debug, Clone, Parser)]
#[command(
    about = "Sends mails as fast as a server takes them, and tells the rate, the times and the CPU they cost"
)]
struct Arguments {
    /// Where the server is; without it, a Gatepost is started from GATEPOST_BINARY.
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
    /// The process whose CPU time is counted, with `--address`.
    #[arg(long, requires = "address")]
    pid: Option<u32>,
    /// How many at a time.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    sessions: u64,
    /// How many in all.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    messages: u64,
    /// Of each mail's content.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(128..=1_073_741_824))]
    octets: u64,
    /// Connects anew for each mail.
    #[arg(long)]
    one_per_connection: bool,
    /// Sends MAIL, RCPT and DATA at once (RFC 2920).
    #[arg(long)]
    pipelining: bool,
    /// The envelope sender.
    #[arg(long, default_value = "load@client.example")]
    from: String,
    /// The recipient of all mails.
    #[arg(long, default_value = "me@localhost")]
    to: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let own = arguments.address.is_none().then(|| start(arguments.octets));
    let open = own.as_ref().map(|server| SocketAddr::from(([127, 0, 0, 1], server.ports.open)));
    let Some(address) = arguments.address.or(open) else { return ExitCode::FAILURE };
    let process = own.as_ref().map(Server::pid).or(arguments.pid);
    let flushes = || own.as_ref().map(|server| server.metric("gatepost_queue_flushes_total"));

    let (cpu_before, flushes_before, started_at) = (process.map(cpu), flushes(), Instant::now());
    let sent = send_all(address, &arguments);
    let elapsed = started_at.elapsed();
    let cpu_after = process.map(cpu);
    let mut times = match sent {
        Ok(times) => times,
        Err(error) => {
            eprintln!("load: {address}: {error}");
            return ExitCode::FAILURE;
        }
    };
    times.sort_unstable();
    let count = times.len() as f64;
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("mails      {} of {} octets, {} sessions", times.len(), arguments.octets, arguments.sessions);
    println!("rate       {:.0} mails/s", count / elapsed.as_secs_f64());
    println!("a mail     p50 {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
    if let (Some(before), Some(after)) = (cpu_before, cpu_after) {
        println!("CPU        {:.0} us a mail", (after - before).as_secs_f64() * 1e6 / count);
    }
    if let (Some(before), Some(after)) = (flushes_before, flushes()) {
        println!("flushes    {:.3} a mail", (after - before) / count);
    }
    ExitCode::SUCCESS
}

/// A server that only accepts: nothing leaves its queue, and nobody is scanned or turned away.
fn start(octets: u64) -> Server {
    let sections = format!(
        "[limits]\nmessage = {}\ntransactions = 10000000\ncommands = 100000000\nsession_octets = \"100000 GiB\"\n\
         [admission]\nconnection_rate = 10000000\nmessage_rate = 10000000\nrecipient_rate = 10000000\n\
         [scan]\nin_session = false",
        octets.saturating_mul(2).max(1 << 20),
    );
    let server = Setup::new()
        .open_listener()
        .log_level("warn")
        .listener_keys("connections = 2000")
        .sections(&sections)
        .start();
    server.cli(["queue", "hold", "--all"]).succeed();
    server
}

/// The time of each mail.
fn send_all(address: SocketAddr, arguments: &Arguments) -> io::Result<Vec<Duration>> {
    let (taken, content) = (Arc::new(AtomicU64::new(0)), Arc::new(content(arguments.octets)));
    let sessions: Vec<_> = (0..arguments.sessions)
        .map(|_| {
            let (taken, content, arguments) = (Arc::clone(&taken), Arc::clone(&content), arguments.clone());
            thread::spawn(move || send_some(address, &arguments, &content, &taken))
        })
        .collect();
    let mut times = Vec::new();
    for session in sessions {
        times.extend(session.join().map_err(|_| io::Error::other("a session panicked"))??);
    }
    Ok(times)
}

fn send_some(
    address: SocketAddr,
    arguments: &Arguments,
    content: &[u8],
    taken: &AtomicU64,
) -> io::Result<Vec<Duration>> {
    let (mut times, mut kept) = (Vec::new(), None);
    while taken.fetch_add(1, Ordering::Relaxed) < arguments.messages {
        let started_at = Instant::now();
        let mut client = match kept.take() {
            Some(client) => client,
            None => Client::connect(address)?,
        };
        client.mail(arguments, content)?;
        times.push(started_at.elapsed());
        if arguments.one_per_connection {
            client.say(b"QUIT\r\n", "221")?;
        } else {
            kept = Some(client);
        }
    }
    Ok(times)
}

/// Lines below their limit, none with a leading dot; the end of data behind it.
fn content(octets: u64) -> Vec<u8> {
    let line = b"Octets that stand for what people write to each other, line after line of it.\r\n";
    let length = usize::try_from(octets).unwrap_or(usize::MAX);
    let mut content = b"Subject: load\r\n\r\n".to_vec();
    while content.len() + line.len() <= length {
        content.extend_from_slice(line);
    }
    content.extend_from_slice(b".\r\n");
    content
}

/// A session of its own, without encryption.
struct Client {
    replies: BufReader<TcpStream>,
}

// === impl Client ===

impl Client {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Self { replies: BufReader::new(stream) };
        client.expect("220")?;
        client.say(b"EHLO client.example\r\n", "250")?;
        Ok(client)
    }

    fn mail(&mut self, arguments: &Arguments, content: &[u8]) -> io::Result<()> {
        let mail = format!("MAIL FROM:<{}>\r\n", arguments.from);
        let rcpt = format!("RCPT TO:<{}>\r\n", arguments.to);
        if arguments.pipelining {
            self.say(format!("{mail}{rcpt}DATA\r\n").as_bytes(), "250")?;
            self.expect("250")?;
            self.expect("354")?;
        } else {
            self.say(mail.as_bytes(), "250")?;
            self.say(rcpt.as_bytes(), "250")?;
            self.say(b"DATA\r\n", "354")?;
        }
        self.say(content, "250")
    }

    fn say(&mut self, octets: &[u8], code: &str) -> io::Result<()> {
        self.replies.get_mut().write_all(octets)?;
        self.expect(code)
    }

    /// Reads a whole reply.
    fn expect(&mut self, code: &str) -> io::Result<()> {
        loop {
            let mut line = String::new();
            self.replies.read_line(&mut line)?;
            if !line.starts_with(code) {
                return Err(io::Error::other(format!("{code} was expected, and came {line:?}")));
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// User and system time of a process with all its threads (proc(5), fields 14 and 15 of `stat`).
fn cpu(process: u32) -> Duration {
    let text =
        fs::read_to_string(format!("/proc/{process}/stat")).expect("a running process has its numbers");
    // The name in field 2 may hold blanks and brackets.
    let behind_name = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
}

/// Of every wait for the server.
const PATIENCE: Duration = Duration::from_secs(60);
