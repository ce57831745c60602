use std::num::NonZeroU32;

use super::*;
use gatepost_core::directory::Password;

// RFC 7677 section 3.
const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

#[test]
fn the_dialog_of_rfc_7677_ends_with_a_proof_of_the_user() {
    let (server_first, awaiting) = begin(unbound(), CLIENT_FIRST, SERVER_NONCE, user).unwrap();
    assert_eq!(server_first, SERVER_FIRST);
    let proven = awaiting.finish(CLIENT_FINAL).unwrap();
    assert_eq!(
        proven,
        Proven { identity: Identity::of_user("user".to_owned()), server_final: SERVER_FINAL.to_owned() }
    );
}

#[test]
fn the_right_proof_of_nobody_is_a_failure() {
    let nobody = |name: &str| Candidate { identity: None, ..user(name) };
    let (server_first, awaiting) = begin(unbound(), CLIENT_FIRST, SERVER_NONCE, nobody).unwrap();
    assert_eq!(server_first, SERVER_FIRST);
    assert_eq!(awaiting.finish(CLIENT_FINAL), None);
}

#[test]
fn a_wrong_proof_nonce_or_binding_is_a_failure() {
    let right = String::from_utf8(CLIENT_FINAL.to_vec()).unwrap();
    for (from, to) in [
        ("p=dHz", "p=eHz"),
        ("$k0", "$k1"),
        ("r=rOpr", "r=sOpr"),
        ("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""),
        // `y,,` and `n,a=user,` instead of `n,,`.
        ("c=biws", "c=eSws"),
        ("c=biws", "c=bixhPXVzZXIs"),
        ("c=biws", "c="),
    ] {
        let (_, awaiting) = begin(unbound(), CLIENT_FIRST, SERVER_NONCE, user).unwrap();
        let wrong = right.replacen(from, to, 1);
        assert_ne!(wrong, right);
        assert_eq!(awaiting.finish(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn a_binding_on_the_mechanism_without_one_is_refused() {
    let first = b"p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    assert!(begin(unbound(), first, SERVER_NONCE, user).is_none());
    let offered = Channel::Unbound { plus_offered: true };
    assert!(begin(offered, first, SERVER_NONCE, user).is_none());
}

#[test]
fn a_client_that_missed_our_offer_of_plus_was_downgraded() {
    let first = b"y,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    assert!(begin(Channel::Unbound { plus_offered: true }, first, SERVER_NONCE, user).is_none());
    assert!(begin(Channel::Unbound { plus_offered: false }, first, SERVER_NONCE, user).is_some());
    assert!(begin(Channel::Unbound { plus_offered: true }, CLIENT_FIRST, SERVER_NONCE, user).is_some());
}

#[test]
fn plus_takes_tls_exporter_and_nothing_else() {
    for flag in ["n", "y", "p=tls-unique", "p=tls-server-end-point", "p=TLS-EXPORTER"] {
        let first = format!("{flag},,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert!(begin(bound(1), first.as_bytes(), SERVER_NONCE, user).is_none(), "{flag}");
    }
}

#[test]
fn plus_holds_on_the_connection_that_the_client_sees_and_on_no_other() {
    let first = b"p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let finish = |server_sees: u8, client_sees: u8| {
        let (server_first, awaiting) = begin(bound(server_sees), first, SERVER_NONCE, user).unwrap();
        let mut binding = b"p=tls-exporter,,".to_vec();
        binding.extend([client_sees; 32]);
        awaiting.finish(
            client_final("pencil", "n=user,r=rOprNGfwEbeRWgbNEkqO", &server_first, &binding).as_bytes(),
        )
    };
    assert!(finish(1, 1).is_some());
    assert_eq!(finish(1, 2), None);
}

#[test]
fn a_binding_without_its_data_does_not_hold() {
    let first = b"p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let (server_first, awaiting) = begin(bound(1), first, SERVER_NONCE, user).unwrap();
    let message = client_final("pencil", "n=user,r=rOprNGfwEbeRWgbNEkqO", &server_first, b"p=tls-exporter,,");
    assert_eq!(awaiting.finish(message.as_bytes()), None);
}

#[test]
fn nobody_acts_as_somebody_else() {
    for (authzid, is_allowed) in [("", true), ("a=user", true), ("a=root", false), ("a=user=2C", false)] {
        let first = format!("n,{authzid},n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(begin(unbound(), first.as_bytes(), SERVER_NONCE, user).is_some(), is_allowed, "{authzid}");
    }
}

fn unbound() -> Channel {
    Channel::Unbound { plus_offered: false }
}

fn bound(octet: u8) -> Channel {
    Channel::Bound(ChannelBinding { exporter: [octet; 32] })
}

fn user(name: &str) -> Candidate {
    let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let pencil = Password::prepare(b"pencil").unwrap();
    let verifier = ScramVerifier::derive(&pencil, salt, NonZeroU32::new(4096).unwrap());
    Candidate { identity: Some(Identity::of_user(name.to_owned())), verifier }
}

/// What a client answers.
pub(in crate::authn) fn client_final(
    password: &str,
    bare: &str,
    server_first: &str,
    binding: &[u8],
) -> String {
    use aws_lc_rs::{digest, hmac, pbkdf2};
    let attribute = |name: &str| server_first.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
    let salt = BASE64_STANDARD.decode(attribute("s=")).unwrap();
    let mut salted = [0; 32];
    let rounds = attribute("i=").parse().unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let client_key = mac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let without_proof = format!("c={},r={}", BASE64_STANDARD.encode(binding), attribute("r="));
    let signature = mac(stored_key.as_ref(), format!("{bare},{server_first},{without_proof}").as_bytes());
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", BASE64_STANDARD.encode(proof))
}
