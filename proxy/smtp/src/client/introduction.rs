//! XCLIENT: whom we speak for, told to a server that believes us (`wire::xclient` has its grammar).
//!
//! It is said once, behind TLS and before a login. The server then is where it was when it greeted, with somebody else on
//! the line; so EHLO follows, with the name that he gave.

use std::net::SocketAddr;

use super::awaited::Awaited;
use super::capabilities::XclientOffer;
use super::contract::{Failure, Stage};
use super::session::Session;
use crate::wire::client_name::ClientName;
use crate::wire::command::Argument;
use crate::wire::limits::COMMAND_LINE_OCTETS;
use crate::wire::reply_parse::ServerReply;
use crate::wire::xclient::{Attribute, Protocol, Xclient};

/// Whom a session speaks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Introduction {
    /// For ourselves: nothing is said.
    #[default]
    Ourselves,
    /// For somebody or nobody, as was said before the greeting and outside of SMTP (the PROXY protocol). A server that did not
    /// expect that takes it for a command: so who does not understand EHLO is none for us, rather than an old one.
    Before,
    /// For nobody yet: nothing is said, and a server to which nothing could be said is none for us.
    Nobody,
    /// For this client.
    Client(Box<Represented>),
}

/// What we know of somebody for whom we speak. Each part has passed its grammar, which leaves nothing that could end a line
/// or a word unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Represented {
    /// Where he comes from; port 0: nobody knows.
    pub address: SocketAddr,
    /// Where he has connected to.
    pub destination: Option<SocketAddr>,
    /// What he has called himself.
    pub name: Option<ClientName>,
    /// In which command.
    pub protocol: Protocol,
    /// Who he has logged in as, before us.
    pub login: Option<Argument>,
}

/// How far it has come.
#[derive(Debug, Default)]
pub(super) struct Introduced {
    introduction: Introduction,
    is_done: bool,
}

// === impl Session ===

impl Session {
    /// Says whom we speak for, where that is somebody, and goes on to the login.
    pub(super) fn introduce(&mut self) {
        let Introduced { introduction, is_done } = &self.introduced;
        let xclient = match introduction {
            _ if *is_done => return self.log_in(),
            Introduction::Ourselves | Introduction::Before => return self.log_in(),
            Introduction::Nobody if takes_address(self.offered.xclient) => return self.log_in(),
            Introduction::Nobody => None,
            Introduction::Client(client) => client.xclient(self.offered.xclient),
        };
        match xclient {
            Some(xclient) => self.command(Awaited::Xclient, format!("XCLIENT {xclient}\r\n").into_bytes()),
            None => self.fail(Failure::NoXclient),
        }
    }

    /// 220 is the server's greeting to him. Another one is what it has to say to him instead.
    pub(super) fn xclient_replied(&mut self, reply: ServerReply) {
        if reply.code() == READY {
            self.introduced.is_done = true;
            self.say_hello();
        } else {
            self.refused(Stage::Xclient, reply);
        }
    }

    pub(super) const fn has_introduced(&self) -> bool {
        self.introduced.is_done
    }

    pub(super) fn is_of_before(&self) -> bool {
        self.introduced.introduction == Introduction::Before
    }

    /// Ours, until he has the word.
    pub(super) fn hello_name(&self) -> &ClientName {
        match &self.introduced {
            Introduced { introduction: Introduction::Client(client), is_done: true } => {
                client.name.as_ref().unwrap_or(&self.config.name)
            }
            _ => &self.config.name,
        }
    }
}

// === impl Introduced ===

impl Introduced {
    pub(super) const fn not_yet(introduction: Introduction) -> Self {
        Self { introduction, is_done: false }
    }
}

// === impl Represented ===

impl Represented {
    /// All of it that the server takes. What is not known is said to be so: what is left out stays what it was, which is ours.
    /// `None` where the server does not take the address.
    fn xclient(&self, offered: XclientOffer) -> Option<Xclient> {
        if !takes_address(offered) {
            return None;
        }
        let said = |name| Xclient::of(self.attributes(name).filter(|it| offered.takes(it)).collect());
        // EHLO will say the name again, so it is what a line that is too long can do without.
        said(self.name.clone())
            .filter(|xclient| xclient.to_string().len() <= ATTRIBUTE_OCTETS_MAX)
            .or_else(|| said(None))
    }

    fn attributes(&self, name: Option<ClientName>) -> impl Iterator<Item = Attribute> {
        let port = |address: SocketAddr| Some(address.port()).filter(|port| *port != 0);
        [
            // Of the address in the DNS, where nobody has looked.
            Attribute::Name(None),
            Attribute::Addr(Some(self.address.ip())),
            Attribute::Port(port(self.address)),
            Attribute::Proto(self.protocol),
            Attribute::Helo(name),
            Attribute::Login(self.login.clone().filter(|login| !is_word_for_none(login.as_str()))),
            Attribute::DestAddr(self.destination.map(|it| it.ip())),
            Attribute::DestPort(self.destination.and_then(port)),
        ]
        .into_iter()
    }
}

fn takes_address(offered: XclientOffer) -> bool {
    offered.takes(&Attribute::Addr(None))
}

/// Some servers look for these behind the escape.
fn is_word_for_none(login: &str) -> bool {
    ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|word| word.eq_ignore_ascii_case(login))
}

/// The one positive reply to XCLIENT.
const READY: u16 = 220;

/// What a command line leaves besides the verb, a space and CRLF.
const ATTRIBUTE_OCTETS_MAX: usize = COMMAND_LINE_OCTETS.saturating_sub("XCLIENT \r\n".len());
