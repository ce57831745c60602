use proptest::prelude::*;

use super::*;

const TODAY: u64 = 20_780;

fn settings(domain: &str) -> Settings {
    Settings { domain: domain.parse().unwrap(), days: 21, mac_characters: 6, bounces_only: true }
}

fn secret(octet: u8) -> Secret {
    vec![octet; Secret::OCTETS].try_into().unwrap()
}

fn parse(address: &str) -> Mailbox {
    address.parse().unwrap()
}

/// What a server at this domain makes of a sender.
fn rewrite_at(domain: &str, sender: &str) -> Option<String> {
    let (settings, secrets) = (settings(domain), [secret(1)]);
    let srs = Srs { settings: &settings, secrets: &secrets };
    srs.rewrite(&parse(sender), TODAY).map(|address| address.to_string())
}

fn reverse_at(domain: &str, address: &str, day: u64) -> Option<Result<String, NotOurs>> {
    let (settings, secrets) = (settings(domain), [secret(1)]);
    let srs = Srs { settings: &settings, secrets: &secrets };
    let reversed = srs.reverse(&parse(address), day)?;
    Some(reversed.map(|address| address.to_string()))
}

fn reverse(address: &str) -> Option<Result<String, NotOurs>> {
    reverse_at("here.example", address, TODAY)
}

#[test]
fn a_sender_has_the_published_form_and_finds_back() {
    let rewritten = rewrite_at("here.example", "Ann.B=x@First.Example").unwrap();
    let parts: Vec<_> = rewritten.split('=').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("SRS0", 6, 2), "{rewritten}");
    assert_eq!(parts[3..], ["first.example", "Ann.B", "x@here.example"]);
    assert!(parts[1..3].concat().bytes().all(|octet| ALPHABET.contains(&octet)), "{rewritten}");
    assert_eq!(reverse(&rewritten), Some(Ok("Ann.B=x@first.example".to_owned())));
    assert_eq!(reverse(&rewritten.to_lowercase()), Some(Ok("ann.b=x@first.example".to_owned())));
    assert_eq!(reverse(&rewritten.replacen('=', "+", 1)), Some(Ok("Ann.B=x@first.example".to_owned())));
}

#[test]
fn bounces_of_a_chain_of_forwarders_need_two_hops() {
    let first = rewrite_at("one.example", "ann@first.example").unwrap();
    let second = rewrite_at("two.example", &first).unwrap();
    assert!(second.starts_with("SRS1=") && second.contains("=one.example=="), "{second}");
    let third = rewrite_at("three.example", &second).unwrap();
    assert!(third.contains("=one.example==") && third.len() - second.len() == 2, "{third}");
    assert_eq!(reverse_at("three.example", &third, TODAY), Some(Ok(first.clone())));
    assert_eq!(reverse_at("one.example", &first, TODAY), Some(Ok("ann@first.example".to_owned())));
    assert_eq!(rewrite_at("one.example", &third), Some(first), "it has come round");
}

#[test]
fn who_is_at_home_or_would_be_too_long_stays_as_he_is() {
    assert_eq!(rewrite_at("here.example", "me@Here.Example"), None);
    let of = |octets| format!("{}@first.example", "a".repeat(octets));
    assert_eq!(rewrite_at("here.example", &of(36)), None);
    assert!(rewrite_at("here.example", &of(35)).is_some());
}

#[test]
fn what_is_no_address_of_the_scheme_is_not_touched() {
    for address in
        ["me@here.example", "SRS0@here.example", "srs0x=y@here.example", "SRS0=A=B=c=d@other.example"]
    {
        assert_eq!(reverse(address), None, "{address}");
    }
    for address in
        ["SRS0=@here.example", "SRS0=A=B=c.example@here.example", "SRS1=A=b.example=c@here.example"]
    {
        assert_eq!(reverse(address), Some(Err(NotOurs::Forged)), "{address}");
    }
}

#[test]
fn an_address_is_of_use_for_its_days_and_never_before_them() {
    let rewritten = rewrite_at("here.example", "ann@first.example").unwrap();
    let on = |day| reverse_at("here.example", &rewritten, day).unwrap();
    assert!(on(TODAY + 21).is_ok());
    for day in [TODAY + 22, TODAY + 1023, TODAY - 1] {
        assert_eq!(on(day), Err(NotOurs::Expired), "{day}");
    }
}

#[test]
fn earlier_secrets_are_believed_and_others_are_not() {
    let settings = settings("here.example");
    let at = |secrets: &[Secret]| {
        let srs = Srs { settings: &settings, secrets };
        let rewritten =
            Srs { settings: &settings, secrets: &[secret(1)] }.rewrite(&parse("ann@first.example"), TODAY);
        srs.reverse(&rewritten.unwrap(), TODAY).unwrap()
    };
    assert!(at(&[secret(2), secret(1)]).is_ok());
    assert_eq!(at(&[secret(2)]), Err(NotOurs::Forged));
    assert_eq!(at(&[]), Err(NotOurs::Forged));
    assert!(!format!("{:?}", Srs { settings: &settings, secrets: &[secret(7)] }).contains('7'));
}

proptest! {
    #[test]
    fn every_sender_that_is_rewritten_finds_back(local in "[a-zA-Z0-9.=+\" @\\\\-]{1,20}", domain in "[a-z]{1,9}\\.example") {
        let Some(sender) = mailbox(&local, &domain) else { return Ok(()) };
        if is_tagged(sender.local_part()) { return Ok(()) }
        let rewritten = rewrite_at("here.example", &sender.to_string()).unwrap();
        prop_assert!(rewritten.rsplit_once('@').unwrap().0.len() <= 64);
        prop_assert_eq!(reverse(&rewritten), Some(Ok(sender.to_string())));
    }

    #[test]
    fn an_address_that_was_changed_is_refused(at in 5_usize..40, with in "[a-z0-9=.]") {
        let rewritten = rewrite_at("here.example", "ann.example@first.example").unwrap();
        let local = rewritten.rsplit_once('@').unwrap().0;
        let at = 5 + at % (local.len() - 5);
        let mut changed = local.to_owned();
        changed.replace_range(at..=at, &with);
        prop_assume!(!changed.eq_ignore_ascii_case(local));
        if let Some(changed) = mailbox(&changed, "here.example") {
            prop_assert_eq!(reverse(&changed.to_string()), Some(Err(NotOurs::Forged)));
        }
    }

    #[test]
    fn no_address_panics(local in "(SRS[01][=+-])?.{0,40}", day: u64) {
        if let Some(address) = mailbox(&local, "here.example") {
            let _ = reverse_at("here.example", &address.to_string(), day);
            let _ = rewrite_at("other.example", &address.to_string());
        }
    }
}
