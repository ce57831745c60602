//! Whole exchanges against a real directory. The client is rsasl's, so that both sides are not wrong together; but for
//! -PLUS, where rsasl 2.3.1 sends the flag `n`: there it is the one of `scram::tests`.

use std::io::Cursor;

use gatepost_core::directory::{
    AccountClass, Directory, Metrics, Password, PasswordVerifier, Scram, Settings as VerifierSettings,
};
use gatepost_smtp::server::{Identity, PeerClass};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::prelude::{Mechname, SASLClient, SASLConfig, SessionError, State};
use rsasl::property::{AuthId, AuthzId, Password as PasswordProperty};

use super::*;

#[tokio::test]
async fn every_mechanism_lets_a_user_with_his_password_in() {
    let site = Site::open(Scram::On);
    for mechanism in MECHANISMS {
        let step = site.dialog(mechanism, Client::default()).await;
        assert_eq!(user(&step), Some("me@localhost"), "{mechanism:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_fail_alike() {
    let site = Site::open(Scram::On);
    for mechanism in MECHANISMS {
        let wrong = Client { password: "ballpoint", ..Client::default() };
        assert_eq!(site.dialog(mechanism, wrong).await, Step::Failed, "{mechanism:?}");
        let unknown = Client { user: "you@localhost", ..Client::default() };
        assert_eq!(site.dialog(mechanism, unknown).await, Step::Failed, "{mechanism:?}");
    }
}

#[tokio::test]
async fn a_log_in_gives_the_class_of_its_account_and_no_other() {
    let site = Site::open(Scram::On);
    for (user, class) in [("me@localhost", PeerClass::User), ("relay@localhost", PeerClass::Server)] {
        for mechanism in MECHANISMS {
            let step = site.dialog(mechanism, Client { user, ..Client::default() }).await;
            let Step::Success { identity, .. } = step else { panic!("{mechanism:?}: {step:?}") };
            assert_eq!(identity, Identity { user: user.to_owned(), class }, "{mechanism:?}");
        }
    }
}

/// RFC 4422 appendix A.
#[tokio::test]
async fn external_lets_in_whom_the_certificate_names_and_as_nobody_else() {
    let site = Site::open(Scram::On);
    let server = Identity { user: "mx2.example.org".to_owned(), class: PeerClass::Server };
    let begin = |client: Option<&Identity>| {
        let channel = Channel { client: client.cloned(), ..channel() };
        site.authenticator.begin(Mechanism::External, channel, None)
    };
    let success = Step::Success { identity: server.clone(), final_data: None };
    for authzid in [&b""[..], b"mx2.example.org", b"MX2.Example.ORG"] {
        assert_eq!(begin(Some(&server)).step(Some(authzid)).await, success, "{authzid:?}");
    }
    for authzid in [&b"me@localhost"[..], b"mx3.example.org", b"mx2.example.org\0", b"\xff", b"\0"] {
        assert_eq!(begin(Some(&server)).step(Some(authzid)).await, Step::Failed, "{authzid:?}");
    }
    let mut asked = begin(Some(&server));
    assert_eq!(asked.step(None).await, Step::Challenge(Vec::new()));
    assert_eq!(asked.step(Some(b"")).await, success);
    assert_eq!(asked.step(Some(b"")).await, Step::Failed, "once");
    for authzid in [&b""[..], b"me@localhost"] {
        assert_eq!(begin(None).step(Some(authzid)).await, Step::Failed, "no certificate, or one of nobody");
    }
}

#[tokio::test]
async fn a_user_acts_as_himself_only() {
    let site = Site::open(Scram::On);
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha256Plus] {
        let himself = Client { authzid: Some("ME@LOCALHOST"), ..Client::default() };
        assert_eq!(user(&site.dialog(mechanism, himself).await), Some("me@localhost"), "{mechanism:?}");
        let other = Client { authzid: Some("other@localhost"), ..Client::default() };
        assert_eq!(site.dialog(mechanism, other).await, Step::Failed, "{mechanism:?}");
    }
}

#[tokio::test]
async fn plus_fails_where_two_tls_connections_meet() {
    let site = Site::open(Scram::On);
    let relayed = Client { exporter: [2; 32], ..Client::default() };
    assert_eq!(site.dialog(Mechanism::ScramSha256Plus, relayed).await, Step::Failed);
    let other_kind = Client { binding: "tls-unique", ..Client::default() };
    assert_eq!(site.dialog(Mechanism::ScramSha256Plus, other_kind).await, Step::Failed);
    let mut unbound = site.authenticator.begin(Mechanism::ScramSha256Plus, Channel::default(), None);
    assert_eq!(unbound.step(Some(b"p=tls-exporter,,n=me@localhost,r=abc")).await, Step::Failed);
}

#[tokio::test]
async fn a_user_without_a_verifier_logs_in_by_password_alone() {
    let site = Site::open(Scram::Off);
    assert_eq!(user(&site.dialog(Mechanism::Plain, Client::default()).await), Some("me@localhost"));
    assert_eq!(site.dialog(Mechanism::ScramSha256, Client::default()).await, Step::Failed);
}

#[tokio::test]
async fn an_unknown_user_looks_like_a_known_one_until_the_end() {
    let site = Site::open(Scram::On);
    let known = site.server_first("me@localhost").await;
    let unknown = site.server_first("you@localhost").await;
    assert_eq!(unknown, site.server_first("you@localhost").await);
    assert_eq!(known, site.server_first("me@localhost").await);
    assert_ne!(known.0, unknown.0);
    assert_eq!((known.0.len(), known.1), (unknown.0.len(), unknown.1));
}

#[tokio::test]
async fn a_site_without_scram_neither_offers_nor_takes_it() {
    let site = Site::open(Scram::On);
    let settings = Settings { scram: false };
    assert_eq!(settings.offer(true).inside_tls, [Mechanism::Plain, Mechanism::Login]);
    assert_eq!(settings.offer(true).outside_tls, []);
    let authenticator = Authenticator { settings, ..site.authenticator.clone() };
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha256Plus] {
        let mut exchange = authenticator.begin(mechanism, channel(), None);
        assert_eq!(exchange.step(None).await, Step::Failed);
    }
}

#[test]
fn nothing_but_scram_is_offered_outside_of_tls_and_that_when_asked_for() {
    assert_eq!(Settings::default().offer(false).outside_tls, []);
    assert_eq!(Settings::default().offer(true).outside_tls, [Mechanism::ScramSha256]);
    assert_eq!(Settings::default().offer(false).inside_tls, MECHANISMS);
}

#[tokio::test]
async fn login_takes_the_name_with_the_command_or_after_a_prompt() {
    let site = Site::open(Scram::On);
    let mut prompted = site.begin(Mechanism::Login);
    assert_eq!(prompted.step(None).await, Step::Challenge(b"Username:".to_vec()));
    assert_eq!(prompted.step(Some(b"me@localhost")).await, Step::Challenge(b"Password:".to_vec()));
    assert_eq!(user(&prompted.step(Some(b"pencil")).await), Some("me@localhost"));
    let mut initial = site.begin(Mechanism::Login);
    assert_eq!(initial.step(Some(b"me@localhost")).await, Step::Challenge(b"Password:".to_vec()));
    assert_eq!(user(&initial.step(Some(b"pencil")).await), Some("me@localhost"));
}

#[tokio::test]
async fn an_exchange_that_is_over_stays_over() {
    let site = Site::open(Scram::On);
    let message = b"\0me@localhost\0pencil";
    let mut exchange = site.begin(Mechanism::Plain);
    assert!(matches!(exchange.step(Some(message)).await, Step::Success { .. }));
    assert_eq!(exchange.step(Some(message)).await, Step::Failed);
    let mut exchange = site.begin(Mechanism::Plain);
    assert_eq!(exchange.step(Some(b"\0me@localhost\0wrong")).await, Step::Failed);
    assert_eq!(exchange.step(Some(message)).await, Step::Failed);
}

#[tokio::test]
async fn responses_that_are_no_messages_fail() {
    let site = Site::open(Scram::On);
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha256Plus] {
        for response in
            [&b""[..], b"\0", b"\xff\xff", b"n,,", b"\0me@localhost\0", b"\0me@localhost\0pen\x07cil"]
        {
            assert_eq!(
                site.begin(mechanism).step(Some(response)).await,
                Step::Failed,
                "{mechanism:?} {response:?}"
            );
        }
    }
}

const MECHANISMS: [Mechanism; 4] =
    [Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];

struct Site {
    authenticator: Authenticator,
    _folder: tempfile::TempDir,
}

/// What the client believes.
#[derive(Clone, Copy)]
struct Client {
    user: &'static str,
    password: &'static str,
    authzid: Option<&'static str>,
    binding: &'static str,
    exporter: [u8; 32],
}

impl Default for Client {
    fn default() -> Self {
        Self {
            user: "me@localhost",
            password: "pencil",
            authzid: None,
            binding: "tls-exporter",
            exporter: binding().exporter,
        }
    }
}

impl SessionCallback for Client {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request.satisfy::<AuthId>(self.user)?;
        request.satisfy::<PasswordProperty>(self.password.as_bytes())?;
        if let Some(authzid) = self.authzid {
            request.satisfy::<AuthzId>(authzid)?;
        }
        Ok(())
    }
}

impl Site {
    fn open(scram: Scram) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
        directory.add_domain("localhost").unwrap();
        directory.add_user("me@localhost", &Password::prepare(b"pencil").unwrap(), scram).unwrap();
        directory.add_user("other@localhost", &Password::prepare(b"pencil").unwrap(), scram).unwrap();
        let (pencil, server) = (Password::prepare(b"pencil").unwrap(), AccountClass::Server);
        directory.add_account("relay@localhost", server, &pencil, scram).unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let settings = VerifierSettings { threads: 1, waiting: 8 };
        let verifier = PasswordVerifier::start(directory.clone(), settings, metrics).unwrap();
        Self { authenticator: Authenticator::new(directory, verifier, Settings::default()), _folder: folder }
    }

    fn begin(&self, mechanism: Mechanism) -> Exchange {
        self.authenticator.begin(mechanism, channel(), None)
    }

    /// Runs a whole exchange; a client that ends first, or refuses to go on, has shown a fault of ours.
    async fn dialog(&self, mechanism: Mechanism, client: Client) -> Step {
        let name = Mechname::parse(name(mechanism)).unwrap();
        if mechanism == Mechanism::ScramSha256Plus {
            return self.plus(client).await;
        }
        let config = SASLConfig::builder().with_defaults().with_callback(client).unwrap();
        let mut session = SASLClient::new(config).start_suggested(&[name]).unwrap();
        let mut exchange = self.begin(mechanism);
        let mut response = if session.are_we_first() { Some(respond(&mut session, None)) } else { None };
        for _ in 0..4 {
            match exchange.step(response.as_deref()).await {
                Step::Challenge(challenge) => response = Some(respond(&mut session, Some(&challenge))),
                Step::Success { identity, final_data } => {
                    if let Some(data) = &final_data {
                        // The client checks our proof.
                        let state = session.step(Some(data), &mut Cursor::new(Vec::new())).unwrap();
                        assert!(matches!(state, State::Finished(_)));
                    }
                    return Step::Success { identity, final_data };
                }
                step => return step,
            }
        }
        panic!("the exchange does not end")
    }

    async fn plus(&self, client: Client) -> Step {
        let authzid = client.authzid.map(|name| format!("a={name}")).unwrap_or_default();
        let header = format!("p={},{authzid},", client.binding);
        let bare = format!("n={},r=rOprNGfwEbeRWgbNEkqO", client.user);
        let mut exchange = self.begin(Mechanism::ScramSha256Plus);
        let Step::Challenge(server_first) = exchange.step(Some(format!("{header}{bare}").as_bytes())).await
        else {
            return Step::Failed;
        };
        let server_first = String::from_utf8(server_first).unwrap();
        let binding = [header.as_bytes(), &client.exporter].concat();
        let response = scram::tests::client_final(client.password, &bare, &server_first, &binding);
        exchange.step(Some(response.as_bytes())).await
    }

    /// Salt and iteration count that a name gets.
    async fn server_first(&self, name: &str) -> (String, String) {
        let mut exchange = self.begin(Mechanism::ScramSha256);
        let Step::Challenge(message) = exchange.step(Some(format!("n,,n={name},r=abc").as_bytes())).await
        else {
            panic!("no challenge for {name}");
        };
        let message = String::from_utf8(message).unwrap();
        let mut attributes = message.split(',').skip(1).map(str::to_owned);
        (attributes.next().unwrap(), attributes.next().unwrap())
    }
}

fn respond(session: &mut rsasl::prelude::Session, challenge: Option<&[u8]>) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    session.step(challenge, &mut out).unwrap();
    out.into_inner()
}

/// TLS 1.3, -PLUS offered, no certificate.
fn channel() -> Channel {
    Channel { binding: Some(binding()), plus_offered: true, client: None }
}

fn binding() -> ChannelBinding {
    ChannelBinding { exporter: [1; 32] }
}

fn name(mechanism: Mechanism) -> &'static [u8] {
    mechanism.name().as_bytes()
}

fn user(step: &Step) -> Option<&str> {
    match step {
        Step::Success { identity: Identity { user, .. }, .. } => Some(user),
        _ => None,
    }
}
