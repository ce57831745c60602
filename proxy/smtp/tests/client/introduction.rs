use std::net::SocketAddr;

use gatepost_smtp::client::{Config, Introduction, Represented, StartTls};
use gatepost_smtp::wire::client_name::ClientName;
use gatepost_smtp::wire::command::Argument;
use gatepost_smtp::wire::xclient::{Attribute, Protocol, Xclient};
use proptest::prelude::*;

use crate::dialog::{Dialog, config, login};

const ALL: &str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

fn client() -> Represented {
    Represented {
        address: "[2001:db8::7]:4711".parse().unwrap(),
        destination: Some("192.0.2.1:25".parse().unwrap()),
        name: Some("client.example".parse().unwrap()),
        protocol: Protocol::Esmtp,
        login: Some("ann+x=y@example.org".parse().unwrap()),
    }
}

fn represents(config: Config, client: Represented) -> Dialog {
    Dialog::introducing(config, Introduction::Client(Box::new(client)))
}

fn plain() -> Config {
    Config { starttls: StartTls::Never, ..config() }
}

/// What is said of this client to a server that offers these attributes.
fn said(client: Represented, offer: &str) -> String {
    let mut dialog = represents(plain(), client)
        .hears("220 mx")
        .says("EHLO us.example")
        .hears(&format!("250-mx\n250 {offer}"));
    dialog.said()
}

#[test]
fn the_server_hears_whom_we_speak_for_and_is_greeted_in_his_name() {
    represents(plain(), client())
        .hears("220 mx.example")
        .says("EHLO us.example")
        .hears(&format!("250-mx.example\n250-8BITMIME\n250 {ALL}"))
        .says(
            "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::7 PORT=4711 PROTO=ESMTP HELO=client.example \
             LOGIN=ann+2Bx+3Dy@example.org DESTADDR=192.0.2.1 DESTPORT=25",
        )
        .hears("220 mx.example")
        .says("EHLO client.example")
        .hears("250-mx.example\n250 PIPELINING")
        .gets_ready()
        .says_nothing();
}

#[test]
fn only_what_the_server_takes_is_said() {
    assert_eq!(
        said(client(), "xclient addr Helo X-MORE"),
        "XCLIENT ADDR=IPV6:2001:db8::7 HELO=client.example\r\n"
    );
    let unknown = Represented {
        address: "192.0.2.7:0".parse().unwrap(),
        destination: None,
        name: None,
        protocol: Protocol::Smtp,
        login: Some("[unavailable]".parse().unwrap()),
    };
    assert_eq!(
        said(unknown, ALL),
        "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=[UNAVAILABLE] PROTO=SMTP HELO=[UNAVAILABLE] \
         LOGIN=[UNAVAILABLE] DESTADDR=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]\r\n"
    );
}

#[test]
fn a_server_that_would_take_a_client_for_us_gets_no_mail() {
    for offer in ["PIPELINING", "XCLIENT", "XCLIENT NAME HELO LOGIN"] {
        for introduction in [Introduction::Nobody, Introduction::Client(Box::new(client()))] {
            let dialog = Dialog::introducing(plain(), introduction).hears("220 mx");
            dialog
                .hears(&format!("250-mx\n250 {offer}"))
                .says("EHLO us.example\nQUIT")
                .ends("XCLIENT with ADDR is required and was not offered");
        }
    }
    let old = represents(plain(), client()).hears("220 mx").hears("500 what?").hears("250 mx");
    old.ends("XCLIENT with ADDR is required and was not offered");
}

#[test]
fn who_speaks_for_nobody_yet_says_nothing() {
    let probe = Dialog::introducing(plain(), Introduction::Nobody).hears("220 mx").says("EHLO us.example");
    probe.hears("250-mx\n250 XCLIENT ADDR").says_nothing().gets_ready();
}

/// Its replies would be one behind for ever: the first was to what went before.
#[test]
fn a_server_that_takes_what_went_before_for_a_command_is_left() {
    let before =
        || Dialog::introducing(plain(), Introduction::Before).hears("220 mx").says("EHLO us.example");
    before().hears("502 what?").says("QUIT").ends("EHLO refused: 502 what?");
    before().hears("250 mx").gets_ready();
}

#[test]
fn it_is_said_inside_tls_and_before_the_login() {
    let config = Config { starttls: StartTls::Required, login: Some(login()), ..config() };
    represents(config, client())
        .hears("220 mx")
        .says("EHLO us.example")
        .hears("250-mx\n250-XCLIENT ADDR\n250 STARTTLS")
        .says("STARTTLS")
        .hears("220 go")
        .secures()
        .says("EHLO us.example")
        .hears("250-mx\n250-AUTH PLAIN\n250 XCLIENT ADDR")
        .says("XCLIENT ADDR=IPV6:2001:db8::7")
        .hears("220 mx")
        .says("EHLO client.example")
        .hears("250-mx\n250-STARTTLS\n250-AUTH PLAIN\n250 XCLIENT ADDR")
        .says("AUTH PLAIN AHVzZXIAb3BlbiBzZXNhbWU=")
        .hears("235 2.7.0 welcome")
        .gets_ready();
}

#[test]
fn it_is_said_once_and_starttls_that_was_refused_is_not_asked_for_again() {
    let offer = "250-mx\n250-STARTTLS\n250 XCLIENT ADDR";
    represents(config(), client())
        .hears("220 mx")
        .hears(offer)
        .says("EHLO us.example\nSTARTTLS")
        .hears("454 no key")
        .says("XCLIENT ADDR=IPV6:2001:db8::7")
        .hears("220 mx")
        .says("EHLO client.example")
        .hears(offer)
        .says_nothing()
        .gets_ready();
}

#[test]
fn what_the_server_says_to_him_instead_of_a_greeting_is_told() {
    let asked = || represents(plain(), client()).hears("220 mx").hears("250-mx\n250 XCLIENT ADDR");
    asked().hears("554 5.7.1 not you").ends("XCLIENT refused: 554 5.7.1 not you");
    asked().hears("421 4.7.0 too many").ends("closed by the next hop at XCLIENT: 421 4.7.0 too many");
    asked().hears("250 2.0.0 ok").ends("unexpected reply to XCLIENT: 250 2.0.0 ok");
    asked().hears("220 mx\n250 mx").ends("a reply without a command at EHLO");
    asked().cut().ends("connection lost at XCLIENT");
    asked().hears("220 mx").hears("501 bad name").hears("501 bad name").ends("EHLO refused: 501 bad name");
}

#[test]
fn a_line_has_room_for_the_longest_of_everything() {
    let long = Represented {
        address: "[1111:2222:3333:4444:5555:6666:7777:8888]:65535".parse().unwrap(),
        destination: Some("[1111:2222:3333:4444:5555:6666:7777:8889]:65535".parse().unwrap()),
        name: Some(["a".repeat(63).as_str(); 3].join(".").parse().unwrap()),
        login: Some(format!("{}@{}", "a".repeat(64), "b".repeat(120)).parse().unwrap()),
        protocol: Protocol::Esmtp,
    };
    let line = said(long, ALL);
    assert!(line.len() <= 512 && line.contains(" HELO=[UNAVAILABLE] LOGIN=a"), "{line}");
}

fn represented() -> impl Strategy<Value = Represented> {
    let address = || any::<(std::net::IpAddr, u16)>().prop_map(SocketAddr::from);
    let text = prop_oneof![
        any::<String>(),
        "[ -~\\r\\n\\t=+\\x00]{0,40}",
        "(ADDR|NAME|LOGIN)=[0-9.]{1,8} (HELO|PROTO)=[A-Z]{1,5}",
        Just("[UNAVAILABLE]".to_owned()),
    ];
    (address(), prop::option::of(address()), any::<bool>(), text.clone(), text).prop_map(
        |(address, destination, is_esmtp, name, login)| Represented {
            address,
            destination,
            name: name.parse::<ClientName>().ok(),
            protocol: if is_esmtp { Protocol::Esmtp } else { Protocol::Smtp },
            login: login.parse::<Argument>().ok(),
        },
    )
}

proptest! {
    /// CVE-2026-28753 was this: what a client said of itself became words and lines of XCLIENT.
    #[test]
    fn nothing_that_a_client_says_becomes_an_attribute_a_word_or_a_line(client in represented()) {
        let line = said(client.clone(), ALL);
        let argument = line.strip_prefix("XCLIENT").and_then(|line| line.strip_suffix("\r\n")).unwrap();
        prop_assert!(argument.bytes().all(|octet| matches!(octet, b' '..=b'~')));
        let words: Vec<_> = argument.split(' ').skip(1).map(|word| word.split_once('=').unwrap()).collect();
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        prop_assert_eq!(names.join(" "), ALL.strip_prefix("XCLIENT ").unwrap());
        prop_assert!(words.iter().all(|(_, value)| !value.contains('=')));
        // What another server reads is what was to be said.
        let read = Xclient::parse(argument).unwrap();
        let read = read.attributes();
        prop_assert_eq!(&read[1], &Attribute::Addr(Some(client.address.ip())));
        let login = client.login.filter(|login| !login.as_str().eq_ignore_ascii_case("[UNAVAILABLE]"));
        prop_assert_eq!(&read[5], &Attribute::Login(login));
        prop_assert_eq!(&read[6], &Attribute::DestAddr(client.destination.map(|it| it.ip())));
    }
}
