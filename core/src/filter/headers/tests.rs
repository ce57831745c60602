use proptest::prelude::*;

use super::*;

const HOST: &str = "mx.example";

/// What comes out of the firewall when the octets arrive in these pieces.
fn filtered(pieces: &[&[u8]], trust: Trust) -> (Vec<u8>, Result<Stripped, Overflow>) {
    let mut firewall = HeaderFirewall::new(HOST.into(), trust);
    let mut out = Vec::new();
    for piece in pieces {
        firewall.put(piece, &mut |octets| out.extend_from_slice(octets));
        assert!(firewall.held.len() <= RESULTS_OCTETS_HELD_MAX);
    }
    let result = firewall.finish(&mut |octets| out.extend_from_slice(octets));
    (out, result)
}

/// The same on the whole mail at once: fields are unfolded lines, and a field goes as a whole.
fn reference(mail: &str) -> String {
    let (section, body) = match mail.find("\r\n\r\n") {
        _ if mail.starts_with("\r\n") => ("", mail),
        Some(end) => mail.split_at(end + 2),
        None => (mail, ""),
    };
    let mut fields: Vec<String> = Vec::new();
    for line in section.split_inclusive('\n') {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => field.push_str(line),
            _ => fields.push(line.to_owned()),
        }
    }
    fields.retain(|field| !is_trusted(field));
    fields.concat() + body
}

fn is_trusted(field: &str) -> bool {
    let lower = field.to_ascii_lowercase();
    let prefixes = ["x-ms-exchange-organization-", "x-ms-exchange-forest-", "x-gatepost-", "resent-"];
    let behind = |name: &str| {
        lower.strip_prefix(name).filter(|rest| rest.starts_with([':', ' ', '\t', '\r'])).map(str::to_owned)
    };
    let results = behind("authentication-results").is_some_and(|rest| {
        let Some((_, value)) = rest.split_once(':') else { return true };
        let name = value.trim_start().split([';', ' ', '\r', '\t']).next().unwrap_or_default();
        name == HOST || name.is_empty()
    });
    let is_exact = ["return-path", "received"].iter().any(|name| behind(name).is_some());
    prefixes.iter().any(|prefix| lower.starts_with(prefix)) || is_exact || results
}

fn line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "Subject",
        "Return-Path",
        "return-path ",
        "Return-Path-Not",
        "Return-Pat",
        "X-MS-Exchange-Organization-SCL",
        "X-MS-EXCHANGE-FOREST-x",
        "X-MS-Exchange-Transport-x",
        "X-Gatepost-Scan",
        "X-Gatepost",
        "Received",
        "received ",
        "Received-SPF",
        "Resent-From",
        "RESENT-",
        "Resent",
        "Authentication-Results",
        "Authentication-Results\t",
        "ARC-Authentication-Results",
        " folded",
        "\tfolded",
        "no colon here",
    ]);
    let value = prop::sample::select(vec![
        ": x",
        ": mx.example; spf=pass",
        ":MX.example ; none",
        ": other.example; spf=pass",
        ":\r\n\tmx.example; none",
        ":\r\n\tother.example; none",
        "",
        ": ",
        ":\r\n folded",
    ]);
    (name, value).prop_map(|(name, value)| format!("{name}{value}\r\n"))
}

fn mail() -> impl Strategy<Value = String> {
    let lines = |count| prop::collection::vec(line(), count).prop_map(|lines| lines.concat());
    (lines(0..8), prop::bool::ANY, lines(0..3))
        .prop_map(|(head, has_body, body)| if has_body { format!("{head}\r\n{body}") } else { head })
}

proptest! {
    #[test]
    fn the_firewall_is_the_naive_one_however_the_mail_is_split(
        mail in mail(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(mail.len() + 1)).collect();
        cuts.extend([0, mail.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &mail.as_bytes()[cut[0]..cut[1]]).collect();
        let expected = reference(&mail);
        let (found, stripped) = filtered(&pieces, Trust::default());
        prop_assert_eq!(String::from_utf8(found).unwrap(), expected.clone());
        prop_assert_eq!(stripped.unwrap().is_empty(), expected == mail);
        let single: Vec<_> = mail.as_bytes().chunks(1).collect();
        prop_assert_eq!(filtered(&single, Trust::default()).0, expected.as_bytes());
        let trusted = Trust { organization: true, forest: true, routing: true };
        prop_assert_eq!(filtered(&pieces, trusted).0, mail.as_bytes());
    }

    #[test]
    fn octets_without_a_trust_header_pass_unchanged(
        octets in prop::collection::vec(any::<u8>(), 0..2000),
        step in 1_usize..100,
    ) {
        let mail = [b"Subject: x\r\n".as_slice(), &octets].concat();
        let lower = mail.to_ascii_lowercase();
        prop_assume!(!["return-path", "x-ms-", "x-gate", "authent", "received", "resent-"].iter().any(|name| {
            lower.windows(name.len()).any(|window| window == name.as_bytes())
        }));
        let pieces: Vec<_> = mail.chunks(step).collect();
        prop_assert_eq!(filtered(&pieces, Trust::default()).0, mail);
    }
}

#[test]
fn a_field_is_stripped_with_its_folded_lines_and_counted() {
    let mail = b"Return-Path: <a@b>\r\n\tfolded\r\nSubject: x\r\nx-gatepost-scan: clean\r\n\r\nReturn-Path: body\r\n";
    let (out, stripped) = filtered(&[mail], Trust::default());
    assert_eq!(out, b"Subject: x\r\n\r\nReturn-Path: body\r\n");
    assert_eq!(stripped.unwrap().to_string(), "X-Gatepost- 1, Return-Path 1");
}

#[test]
fn our_results_are_stripped_however_their_speaker_is_disguised() {
    for value in ["(c) mx.example; spf=pass", "\"MX.example\"; none", "\r\n (a)\r\n mx.example 1; none"] {
        let mail = format!("Authentication-Results: {value}\r\nSubject: x\r\n\r\n");
        assert_eq!(filtered(&[mail.as_bytes()], Trust::default()).0, b"Subject: x\r\n\r\n", "{value:?}");
    }
    let hidden = format!("Authentication-Results: ({}) mx.example; spf=pass\r\n\r\n", "x".repeat(5000));
    assert_eq!(filtered(&[hidden.as_bytes()], Trust::default()).0, b"\r\n");
}

#[test]
fn each_right_covers_its_own_fields() {
    let mail =
        b"X-MS-Exchange-Organization-SCL: -1\r\nX-MS-Exchange-Forest-A: b\r\nReceived: c\r\nResent-To: d\r\n\r\n";
    let nothing = Trust::default();
    let organization = Trust { organization: true, ..nothing };
    assert_eq!(filtered(&[mail], organization).0, b"X-MS-Exchange-Organization-SCL: -1\r\n\r\n");
    let forest = Trust { forest: true, ..nothing };
    assert_eq!(filtered(&[mail], forest).0, b"X-MS-Exchange-Forest-A: b\r\n\r\n");
    let routing = Trust { routing: true, ..nothing };
    assert_eq!(filtered(&[mail], routing).0, b"Received: c\r\nResent-To: d\r\n\r\n");
}

#[test]
fn a_section_over_the_limit_is_told_and_a_body_may_be_larger() {
    let field = b"X: y\r\n".repeat(HEADER_OCTETS_MAX / 6 + 1);
    assert_eq!(filtered(&[&field, b"Return-Path: x\r\n\r\n"], Trust::default()).1, Err(Overflow));
    let body = [b"\r\n".as_slice(), &field, &field].concat();
    let (out, stripped) = filtered(&[&body], Trust::default());
    assert!(stripped.is_ok() && out == body);
}
