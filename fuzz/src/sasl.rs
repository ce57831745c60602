//! SASL: only the one right message lets anybody in.

use std::future::Future;
use std::pin::pin;
use std::sync::{LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use gatepost::authn::{Authenticator, Channel, ChannelBinding, Settings, Step};
use gatepost_core::directory::{
    self, Directory, Metrics, Password, PasswordVerifier, Plain, Scram, may_act_as,
};
use gatepost_smtp::server::Mechanism;

use crate::input::Input;

/// The first octet chooses: PLAIN's message of any octets, a SCRAM exchange of any octets, or a right one with some octets
/// of its last message changed.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let choice = input.octet();
    match choice % 3 {
        0 => check_plain(input.rest()),
        1 => check_hostile(choice & 0x10 != 0, &mut input),
        _ => check_changed(choice & 0x10 != 0, &mut input),
    }
}

/// RFC 4616 section 2, by hand.
fn check_plain(message: &[u8]) {
    let parts: Vec<&[u8]> = message.split(|octet| *octet == 0).collect();
    match Plain::parse(message) {
        Some(plain) => {
            assert_eq!(parts, [plain.authzid.as_bytes(), plain.authcid.as_bytes(), plain.password]);
            assert!(!plain.authcid.is_empty());
            let _may_be_refused = may_act_as(plain.authzid, plain.authcid);
        }
        None => {
            let is_text = |part: &[u8]| std::str::from_utf8(part).is_ok();
            let is_whole = matches!(parts[..], [authzid, authcid, _] if is_text(authzid) && is_text(authcid) && !authcid.is_empty());
            assert!(!is_whole, "{:?}", message.escape_ascii());
        }
    }
    let _no_panic = Password::prepare(message);
}

/// Who does not know the password stays outside, whatever he says.
fn check_hostile(is_plus: bool, input: &mut Input<'_>) {
    let (mechanism, binding) = channel(is_plus);
    let mut exchange = SITE.begin(mechanism, Channel { binding, plus_offered: true, client: None }, None);
    for _ in 0..4 {
        let response = input.octets();
        match now(exchange.step(Some(response))) {
            Step::Success { identity, .. } => panic!("{identity:?} without a password"),
            Step::Unavailable => panic!("nothing can be unavailable"),
            Step::Challenge(challenge) => assert!(challenge.iter().all(u8::is_ascii_graphic)),
            Step::Failed => return,
        }
    }
}

/// A client that knows the password gets in; with one octet changed in what it says last it does not.
fn check_changed(is_plus: bool, input: &mut Input<'_>) {
    let (mechanism, binding) = channel(is_plus);
    let mut exchange = SITE.begin(mechanism, Channel { binding, plus_offered: is_plus, client: None }, None);
    let gs2 = if is_plus { "p=tls-exporter,," } else { "n,," };
    let bare = "n=me@localhost,r=clientnonce";
    let Step::Challenge(server_first) = now(exchange.step(Some(format!("{gs2}{bare}").as_bytes()))) else {
        panic!("the first message is right");
    };
    let server_first = String::from_utf8(server_first).unwrap();
    let mut said = gs2.as_bytes().to_vec();
    if is_plus {
        said.extend([EXPORTER_OCTET; 32]);
    }
    let right = client_final(bare, &server_first, &said).into_bytes();
    let mut message = right.clone();
    while !input.is_empty() && message.len() < 2 * right.len() {
        let (at, octet) = (usize::from(input.u16()), input.octet());
        let place = at % message.len().max(1);
        match at / 0x4000 {
            0 if !message.is_empty() => message[place] = octet,
            1 if !message.is_empty() => drop(message.remove(place)),
            2 => message.insert(place, octet),
            _ => message.truncate(place),
        }
    }
    let step = now(exchange.step(Some(&message)));
    assert_eq!(
        matches!(step, Step::Success { .. }),
        message == right,
        "{:?} instead of {:?}",
        message.escape_ascii().to_string(),
        right.escape_ascii().to_string()
    );
    assert_eq!(now(exchange.step(Some(&right))), Step::Failed, "an exchange that is over is over");
}

fn channel(is_plus: bool) -> (Mechanism, Option<ChannelBinding>) {
    let binding = ChannelBinding { exporter: [EXPORTER_OCTET; 32] };
    if is_plus { (Mechanism::ScramSha256Plus, Some(binding)) } else { (Mechanism::ScramSha256, None) }
}

/// SCRAM waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("SCRAM does not wait"),
    }
}

fn client_final(bare: &str, server_first: &str, binding: &[u8]) -> String {
    let attribute = |name: &str| server_first.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
    let salted = salted_password(attribute("s="), attribute("i="));
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let client_key = mac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let without_proof = format!("c={},r={}", BASE64_STANDARD.encode(binding), attribute("r="));
    let signature = mac(stored_key.as_ref(), format!("{bare},{server_first},{without_proof}").as_bytes());
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", BASE64_STANDARD.encode(proof))
}

/// The rounds are slow on purpose, and the salt is always the same.
fn salted_password(salt: &str, rounds: &str) -> [u8; 32] {
    static KNOWN: Mutex<Option<(String, [u8; 32])>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap();
    if let Some((known_salt, salted)) = &*known
        && known_salt == salt
    {
        return *salted;
    }
    let mut salted = [0; 32];
    let octets = BASE64_STANDARD.decode(salt).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds.parse().unwrap(), &octets, PASSWORD, &mut salted);
    *known = Some((salt.to_owned(), salted));
    salted
}

/// One user, in a file that is gone as soon as it is open.
static SITE: LazyLock<Authenticator> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
    directory.add_domain("localhost").unwrap();
    directory.add_user("me@localhost", &Password::prepare(PASSWORD).unwrap(), Scram::On).unwrap();
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let settings = directory::Settings { threads: 1, waiting: 1 };
    let verifier = PasswordVerifier::start(directory.clone(), settings, metrics).unwrap();
    Authenticator::new(directory, verifier, Settings { scram: true })
});

const PASSWORD: &[u8] = b"pencil";
const EXPORTER_OCTET: u8 = 7;
