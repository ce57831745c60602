use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::scan::{EngineIdentity, Obstacle, POLICY_VERSION};

const KEY: [u8; SealKey::OCTETS] = [7; SealKey::OCTETS];

fn key() -> SealKey {
    SealKey::new(&KEY)
}

fn stamp() -> Stamp {
    Stamp::new(EngineIdentity::new("clamd", "1.4-27000").unwrap(), POLICY_VERSION)
}

fn infected(threat: &str) -> Verdict {
    Verdict::Infected { threat: threat.to_owned() }
}

fn written(verdicts: &[(ItemHash, Verdict)]) -> Vec<u8> {
    let mut draft = Draft::new("clamd", &stamp(), verdicts.len());
    for (item, verdict) in verdicts {
        draft.add(item, verdict);
    }
    draft.sealed(&key())
}

/// What it would be if we had written it.
fn resealed(sealed: &[u8]) -> Vec<u8> {
    [sealed, key().sign(sealed).as_ref()].concat()
}

fn kept() -> impl Strategy<Value = Verdict> {
    let threat = "[A-Za-z0-9._-]{1,128}".prop_map(|threat| Verdict::Infected { threat });
    prop_oneof![Just(Verdict::Clean), threat]
}

proptest! {
    #[test]
    fn what_is_written_is_read(verdicts in vec((any::<ItemHash>(), kept()), 0..20)) {
        let octets = written(&verdicts);
        let most = FRAME_OCTETS_MAX + verdicts.len() * VERDICT_OCTETS_MAX;
        prop_assert!(octets.len() <= most, "{} > {most}", octets.len());
        prop_assert_eq!(read(&octets, "clamd", &key()), Ok(Recalled { stamp: stamp(), verdicts }));
    }

    #[test]
    fn nothing_in_a_file_that_was_changed_is_believed(
        verdicts in vec((any::<ItemHash>(), kept()), 0..5),
        place: prop::sample::Index,
        mask in 1..=u8::MAX,
        more in vec(any::<u8>(), 1..40),
    ) {
        let octets = written(&verdicts);
        let mut other = octets.clone();
        other[place.index(octets.len())] ^= mask;
        prop_assert!(read(&other, "clamd", &key()).is_err());
        prop_assert!(read(&octets[..place.index(octets.len())], "clamd", &key()).is_err());
        prop_assert!(read(&[octets, more].concat(), "clamd", &key()).is_err());
    }

    #[test]
    fn whatever_has_our_seal_is_read_as_it_is_written_or_not_at_all(
        is_headed: bool,
        rest in prop_oneof![vec(any::<u8>(), 0..200), vec(0..3_u8, 0..200)],
    ) {
        let mut octets = if is_headed { Draft::new("clamd", &stamp(), 0).octets } else { MAGIC.to_vec() };
        octets.extend(rest);
        let octets = resealed(&octets);
        if let Ok(Recalled { stamp: said, verdicts }) = read(&octets, "clamd", &key()) {
            prop_assert_eq!(said, stamp());
            prop_assert_eq!(written(&verdicts), octets);
        }
    }
}

#[test]
fn a_file_of_the_first_version_is_read_for_ever() {
    let octets = written(&[([1; 32], Verdict::Clean), ([2; 32], infected("Test.Eicar"))]);
    let stamp_text = format!("clamd/1.4-27000/{POLICY_VERSION}");
    let mut expected = b"gpitems\n\x01\x00\x05clamd".to_vec();
    expected.push(u8::try_from(stamp_text.len()).unwrap());
    expected.extend_from_slice(stamp_text.as_bytes());
    expected.extend_from_slice(&[1; 32]);
    expected.push(0);
    expected.extend_from_slice(&[2; 32]);
    expected.extend_from_slice(b"\x0aTest.Eicar");
    assert_eq!(octets, resealed(&expected));
}

#[test]
fn a_file_says_why_it_is_of_no_use() {
    let octets = written(&[([1; 32], Verdict::Clean)]);
    let refused = |octets: &[u8], engine: &str, key: &SealKey| read(octets, engine, key).unwrap_err();
    assert_eq!(refused(b"", "clamd", &key()), Unusable::NotOne);
    assert_eq!(refused(b"gpitems\n\x02\x00", "clamd", &key()), Unusable::Newer);
    assert_eq!(refused(b"gpitems\n\x00\x00", "clamd", &key()), Unusable::NotOne);
    assert_eq!(refused(b"gpitems\n\x01\x00", "clamd", &key()), Unusable::NotOurs);
    assert_eq!(refused(&octets, "clamd", &SealKey::new(&[8; 32])), Unusable::NotOurs);
    assert_eq!(refused(&octets, "icap", &key()), Unusable::OtherEngine);
    let cut = &octets[..octets.len() - SealKey::OCTETS - 1];
    assert_eq!(refused(&resealed(cut), "clamd", &key()), Unusable::Form);
    let sealed_stamp = key().seal(&[1; 32], None, &stamp()).to_string();
    let mut other = b"gpitems\n\x01\x00\x05clamd".to_vec();
    other.push(u8::try_from(sealed_stamp.len()).unwrap());
    other.extend_from_slice(sealed_stamp.as_bytes());
    assert_eq!(refused(&resealed(&other), "clamd", &key()), Unusable::Form);
}

#[test]
fn only_what_the_engine_would_say_again_is_written() {
    let unscannable = Verdict::Unscannable { reason: Obstacle::EngineLimit };
    for verdict in [unscannable, Verdict::TimedOut, Verdict::Failed, infected("not a name"), infected("")] {
        assert_eq!(written(&[([1; 32], verdict.clone())]), written(&[]), "{verdict}");
    }
}
