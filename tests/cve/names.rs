//! What a balancer, a relay or a name server says.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gatepost_tests::setup::Setup;
use gatepost_tests::wait_until;
use gatepost_tests::wire::Wire;

use super::arena::Arena;
use super::table::{Row, row, run};

pub const ROWS: &[Row] = &[
    row!(
        "CVE-2023-42117",
        "Exim 4.96",
        "The header of a PROXY protocol was read without checking what it says.",
        a_broken_proxy_header_gets_no_session,
    ),
    row!(
        "CVE-2026-28753",
        "nginx 1.29",
        "CR LF in the name of a client, as its name server told it, became a line of XCLIENT.",
        an_encoded_line_feed_in_xclient_is_refused,
    ),
    row!(
        "CVE-2010-0024, CVE-2010-0025, MS10-024",
        "Windows SMTP, Exchange 2000 to 2010",
        "Answers of name servers were taken whatever their id, and malformed ones crashed the service.",
        an_answer_to_another_question_decides_nothing,
    ),
    row!(
        "CVE-2004-0840, CVE-2011-4315, CVE-2023-42119, MS04-035",
        "Windows SMTP, nginx 1.0, Exim 4.96",
        "Lengths in the answers of name servers were believed.",
        an_answer_with_wrong_lengths_decides_nothing,
    ),
];

#[test]
fn names_and_balancers() {
    let fakes = FakeNameServer::start();
    let setup =
        Setup::new().open_listener().listener_keys("xclient_from = [\"127.0.0.1\"]").sections(&format!(
            "[dns]\nservers = [\"{}\"]\n[dnsbl]\ntimeout = \"1s\"\n[[dnsbl.list]]\nzone = \"bl.example\"\n\
             [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:{}\"\nprotocol = \"smtp\"\ntls = \"none\"\n\
             require_auth = false\nproxy_protocol_from = [\"127.0.0.1\"]",
            fakes.address,
            mx_port()
        ));
    run(ROWS, Arena::around(setup));
    assert!(fakes.answers.load(Ordering::Relaxed) > 0, "nobody was asked");
}

/// The same for all rows of this process.
fn mx_port() -> u16 {
    static PORT: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
    *PORT.get_or_init(|| {
        let [port] = gatepost_tests::ports::free();
        port
    })
}

fn a_broken_proxy_header_gets_no_session(_: &Arena) {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n".as_slice();
    let long = [b"PROXY TCP4 ".as_slice(), &b"1".repeat(5_000)].concat();
    let headers: [&[u8]; 12] = [
        b"PROXY TCP4 192.0.2.1 127.0.0.1 99999 25\r\n",
        b"PROXY TCP4 192.0.2.1\0 127.0.0.1 4660 25\r\n",
        b"PROXY TCP4 192.0.2.1 127.0.0.1 4660 25\n",
        b"PROXY TCP6 :::::: ::1 4660 25\r\n",
        b"PROXY TCP4 192.0.2.1; 127.0.0.1 4660 25\r\n",
        &long,
        b"EHLO client.example\r\n",
        b"PROXY \r\n",
        &[v2, b"\x21\x11\0\x0b", &[0; 11]].concat(),
        &[v2, b"\x21\x11\xff\xff", &[0; 400]].concat(),
        &[v2, b"\x21\x21\0\x04", &[1; 4]].concat(),
        &[v2, b"\x51\x11\0\x0c", &[1; 12]].concat(),
    ];
    for header in headers {
        let mut wire = Wire::connect(mx_port());
        wire.send(&[header, b"EHLO client.example\r\n"].concat());
        wire.finish_sending();
        assert_eq!(wire.rest(), b"", "{}", header.escape_ascii());
    }
}

fn an_encoded_line_feed_in_xclient_is_refused(arena: &Arena) {
    let mut smtp = arena.smtp();
    let attributes = [
        "NAME=evil.example+0D+0AMAIL+20FROM:<a@b.example>",
        "ADDR=192.0.2.1+0A",
        "HELO=x+0D+0Ax",
        "NAME=x+00",
        "LOGIN=me@localhost+0D+0A",
        "ADDR=[192.0.2.1",
    ];
    for attribute in attributes {
        let reply = smtp.say(&format!("XCLIENT {attribute}"));
        assert!(matches!(reply.code, 501 | 550), "{attribute}: {reply:?}");
        smtp.say("NOOP").must("250 2.0.0");
    }
    smtp.quit();
}

fn an_answer_to_another_question_decides_nothing(_: &Arena) {
    for lie in [Lie::AnotherId, Lie::AnotherName, Lie::NoResponse] {
        assert_welcome(lie);
    }
    // Unless it comes too late, which it may on a busy machine.
    wait_until("the truth decides", || greeting(Lie::None).starts_with(b"554 5.7.1"));
}

fn an_answer_with_wrong_lengths_decides_nothing(_: &Arena) {
    for lie in [Lie::CutOff, Lie::LongData, Lie::Loop, Lie::Counts, Lie::Noise] {
        assert_welcome(lie);
    }
}

fn assert_welcome(lie: Lie) {
    let start = Instant::now();
    let greeting = greeting(lie);
    assert!(greeting.starts_with(b"220 "), "{lie:?}: {}", greeting.escape_ascii());
    assert!(start.elapsed() < Duration::from_secs(30), "{lie:?}: {:?}", start.elapsed());
}

/// The last octet of the client's address tells the name server how to lie. While other tests stress the server, strangers
/// hear that.
fn greeting(lie: Lie) -> Vec<u8> {
    loop {
        let mut wire = Wire::connect(mx_port());
        wire.send(format!("PROXY TCP4 192.0.2.{} 127.0.0.1 4660 25\r\n", lie as u8).as_bytes());
        let greeting = wire.line();
        if !greeting.starts_with(b"421 4.3.2") {
            return greeting;
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// How an answer that would list the client goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    AnotherId = 1,
    AnotherName,
    NoResponse,
    CutOff,
    LongData,
    Loop,
    Counts,
    Noise,
    /// Not at all.
    None,
}

/// Says of everybody that he is listed, and mostly not rightly.
struct FakeNameServer {
    address: SocketAddr,
    answers: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeNameServer {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out can be set");
        let address = socket.local_addr().expect("a bound socket has an address");
        let (answers, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, ends) = (Arc::clone(&answers), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut query = [0; 1500];
            while !ends.load(Ordering::Relaxed) {
                let Ok((octets, from)) = socket.recv_from(&mut query) else { continue };
                if let Some(answer) = lie_to(&query[..octets]) {
                    count.fetch_add(1, Ordering::Relaxed);
                    socket.send_to(&answer, from).ok();
                }
            }
        });
        Self { address, answers, is_over, thread: Some(thread) }
    }
}

impl Drop for FakeNameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Header, question and one record that says 127.0.0.2 (RFC 1035 section 4.1), but for one fault. The first label of the
/// query is the last octet of the client's address, one digit.
fn lie_to(query: &[u8]) -> Option<Vec<u8>> {
    let lie = query.get(13)?.checked_sub(b'0')?;
    let is = |wanted: Lie| lie == wanted as u8;
    let name_end = query.get(12..)?.iter().position(|&octet| octet == 0)? + 13;
    let question = query.get(12..name_end + 4)?;
    let mut answer = vec![query[0], query[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    answer.extend_from_slice(question);
    // The owner is the name of the question.
    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 127, 0, 0, 2]);
    let record = answer.len() - 16;
    if is(Lie::AnotherId) {
        answer[1] ^= 0x55;
    } else if is(Lie::AnotherName) {
        answer[13] = b'x';
    } else if is(Lie::NoResponse) {
        answer[2] = 0x01;
    } else if is(Lie::CutOff) {
        answer.truncate(record + 13);
    } else if is(Lie::LongData) {
        answer[record + 10..record + 12].copy_from_slice(&[0xff, 0xff]);
    } else if is(Lie::Loop) {
        // A name that points to itself.
        let at = u16::try_from(record).ok()?;
        answer[record..record + 2].copy_from_slice(&(0xc000 | at).to_be_bytes());
    } else if is(Lie::Counts) {
        answer[6..12].fill(0xff);
    } else if is(Lie::Noise) {
        answer.iter_mut().skip(4).for_each(|octet| *octet = 0xff);
    } else if !is(Lie::None) {
        return None;
    }
    Some(answer)
}
