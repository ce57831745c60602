//! The step from plaintext to TLS, and what is no SMTP at all.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_tests::mail;
use gatepost_tests::pop3::Pop3;
use gatepost_tests::wire::Wire;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::arena::Arena;
use super::table::{Row, row, run};

pub const ROWS: &[Row] = &[
    row!(
        "CVE-2011-0411, CVE-2011-1430, CVE-2011-1431, CVE-2014-3556, CVE-2020-15955",
        "Postfix, IMail, netqmail, nginx, s/qmail",
        "Commands sent in plaintext behind STARTTLS were kept in the buffer and executed inside TLS.",
        plaintext_behind_starttls_is_never_a_command_inside_tls,
    ),
    row!(
        "CVE-2011-1926, CVE-2021-33515",
        "Cyrus IMAP, Dovecot",
        "The same for other protocols and for the mail that they hand in.",
        plaintext_behind_stls_is_never_a_command_inside_tls,
    ),
    row!(
        "CVE-2020-28018",
        "Exim 4.94",
        "A command cut in half by the end of TLS was finished in plaintext, with memory that was free by then.",
        no_command_goes_on_in_plaintext_where_tls_ends,
    ),
    row!(
        "EXIM-Security-2026-05-01.1",
        "Exim 4.97 to 4.99.2",
        "TLS ended within a chunk, and the body parser went on with a buffer that was free by then.",
        no_chunk_goes_on_in_plaintext_where_tls_ends,
    ),
    row!(
        "CVE-2019-15846",
        "Exim 4.92.1",
        "A backslash at the end of the server name in the TLS greeting led behind its string, and to root.",
        server_names_that_are_none_get_no_session_and_harm_nobody,
    ),
    row!(
        "CVE-2013-2125",
        "OpenSMTPD 5.3.1",
        "A client that stalled in its TLS handshake held up all others.",
        stalled_handshakes_hold_nobody_up,
    ),
    row!(
        "CVE-2021-3618",
        "sendmail, nginx, vsftpd",
        "HTTP requests of a browser were answered line by line until commands of SMTP followed (ALPACA).",
        an_http_request_is_no_session,
    ),
];

#[test]
fn starttls_and_tls() {
    run(ROWS, Arena::open(""));
}

fn plaintext_behind_starttls_is_never_a_command_inside_tls(arena: &Arena) {
    let mail = "MAIL FROM:<someone@remote.example>\r\nRCPT TO:<me@localhost>\r\nDATA\r\nx\r\n.\r\n";
    for injected in
        ["RSET\r\n", "EHLO evil.example\r\n", &format!("EHLO evil.example\r\n{mail}"), "N", "\r\n", "\0"]
    {
        let mut smtp = arena.smtp();
        smtp.send(format!("STARTTLS\r\n{injected}").as_bytes());
        let said = smtp.rest();
        assert!(said.starts_with("554 5.5.0") || said.starts_with('5'), "{injected:?}: {said:?}");
        assert_eq!(said.lines().count(), 1, "{injected:?}: {said:?}");
    }
    // Where they come late they are no handshake.
    let mut smtp = arena.smtp();
    smtp.say("STARTTLS").must("220 2.0.0");
    smtp.send(format!("EHLO evil.example\r\n{mail}").as_bytes());
    let said = smtp.rest();
    assert!(!said.contains("250"), "{said:?}");
}

fn plaintext_behind_stls_is_never_a_command_inside_tls(arena: &Arena) {
    for injected in ["CAPA\r\n", "USER me@localhost\r\nPASS x\r\n", "Q"] {
        let mut pop3 = Pop3::connect(arena.server.ports.pop3);
        pop3.wire().send(format!("STLS\r\n{injected}").as_bytes());
        // Closed instead of a handshake.
        assert_eq!(pop3.wire().rest(), b"+OK begin TLS\r\n", "{injected:?}");
    }
}

fn no_command_goes_on_in_plaintext_where_tls_ends(arena: &Arena) {
    let mut smtp = arena.smtp();
    smtp.starttls(arena.server.trust());
    smtp.begin("someone@remote.example", &["me@localhost"]);
    smtp.send(b"NO");
    smtp.wire().leave_tls();
    let _ = smtp.wire().try_send(b"OP\r\nDATA\r\n");
    assert_says_nothing_readable(smtp.wire());
}

fn no_chunk_goes_on_in_plaintext_where_tls_ends(arena: &Arena) {
    for opening in ["BDAT 40 LAST\r\nSubject: half\r\n\r\nx", "BDAT 10\r\n", "BDAT 0\r\nBDAT 5 LAST\r\nab"] {
        let mut smtp = arena.smtp();
        smtp.starttls(arena.server.trust());
        smtp.begin("someone@remote.example", &["me@localhost"]);
        smtp.send(opening.as_bytes());
        smtp.wire().leave_tls();
        let _ = smtp.wire().try_send(&b"x".repeat(100));
        let _ = smtp.wire().try_send(b"\r\nNOOP\r\n");
        assert_says_nothing_readable(smtp.wire());
    }
}

/// Records of TLS may still come, such as its own farewell.
fn assert_says_nothing_readable(wire: &mut Wire) {
    let said = wire.rest();
    let reply = |window: &[u8]| window.starts_with(b"250 ") || window.starts_with(b"354 ");
    assert!(!said.windows(4).any(reply), "{}", said.escape_ascii());
}

fn server_names_that_are_none_get_no_session_and_harm_nobody(arena: &Arena) {
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").expect("a legal name");
    let mut tls = ClientConnection::new(Arc::clone(&arena.server.trust()), name).expect("TLS can begin");
    tls.write_tls(&mut hello).expect("a vector takes everything");
    let at = hello.windows(9).position(|window| window == b"localhost").expect("the greeting has the name");
    for name in
        [b"localhos\\", b"\\\\\\\\\\\\\\\\\\", b"${run{x}}", b"local\0hos", b"a\r\nb\r\nc\r\n", &[0xff; 9]]
    {
        hello[at..at + 9].copy_from_slice(name);
        let mut wire = Wire::connect(arena.server.ports.implicit);
        wire.send(&hello);
        wire.finish_sending();
        let said = wire.rest();
        assert!(!said.windows(4).any(|window| window == b"220 "), "{}", name.escape_ascii());
    }
    // The length of the name is of the attacker's choice as well.
    hello[at - 2..at].copy_from_slice(&[0xff, 0xff]);
    let mut wire = Wire::connect(arena.server.ports.implicit);
    wire.send(&hello);
    wire.finish_sending();
    let _ = wire.rest();
}

fn stalled_handshakes_hold_nobody_up(arena: &Arena) {
    let half_a_greeting = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00];
    let stalled: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream =
                TcpStream::connect(("127.0.0.1", arena.server.ports.implicit)).expect("a connection");
            stream.write_all(&half_a_greeting).expect("it is sent");
            stream
        })
        .collect();
    let start = Instant::now();
    arena.server.smtp_as_me().say("NOOP").must("250 2.0.0");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop(stalled);
}

fn an_http_request_is_no_session(arena: &Arena) {
    let body = [
        b"EHLO evil.example\r\nMAIL FROM:<someone@remote.example>\r\nRCPT TO:<me@localhost>\r\n".as_slice(),
        b"BDAT 5 LAST\r\nabc\r\nQUIT\r\n",
    ]
    .concat();
    for line in [
        "POST / HTTP/1.1",
        "GET / HTTP/1.1",
        "PUT /x HTTP/1.0",
        "OPTIONS * HTTP/1.1",
        "CONNECT a.example:25 HTTP/1.1",
    ] {
        let head = format!("{line}\r\nHost: gatepost.test:25\r\nContent-Type: text/plain\r\n\r\n");
        let mut wire = Wire::connect(arena.server.ports.open);
        assert!(wire.line().starts_with(b"220 "));
        wire.send(&[head.as_bytes(), &body].concat());
        let said = wire.rest();
        assert!(!said.windows(4).any(|window| window == b"250 "), "{line}: {}", said.escape_ascii());
        // Nothing that a page could have put there comes back as a page.
        assert!(!said.windows(4).any(|window| window == b"evil"), "{line}: {}", said.escape_ascii());
    }
    // Inside TLS it is the same.
    let mut wire = Wire::connect(arena.server.ports.implicit);
    wire.secure(arena.server.trust());
    assert!(wire.line().starts_with(b"220 "));
    wire.send(b"POST / HTTP/1.1\r\nHost: gatepost.test\r\n\r\nEHLO evil.example\r\nNOOP\r\n");
    let said = wire.rest();
    assert!(!said.windows(4).any(|window| window == b"250 "), "{}", said.escape_ascii());
    arena.deliver(&mail::small("behind-http"));
}
