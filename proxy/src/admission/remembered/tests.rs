use prometheus::Registry;
use proptest::prelude::*;

use super::*;
use crate::testing::admission;

const HOUR: Duration = Duration::from_secs(3600);

fn fresh() -> std::sync::Arc<Admission> {
    admission(&Registry::new(), &crate::config::Admission::default())
}

fn address(host: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, host])
}

/// One of each: banned and locked out for an hour, known since an hour.
fn knowing(moment: Moment) -> std::sync::Arc<Admission> {
    let admission = fresh();
    admission.bans.ban(address(1), Rule::AuthFailureRate, moment.now, HOUR);
    admission.lockouts.restore("ann@example.org", 20, moment.now, HOUR);
    admission.lockouts.failed("hunter2", moment.now, HOUR);
    admission.known_good.add("bob@example.org", address(2), moment.now.checked_sub(HOUR).unwrap());
    admission
}

#[test]
fn what_was_known_holds_after_a_restart_until_its_end() {
    let before = Moment::now();
    let octets = knowing(before).remember(before);
    let half = HOUR / 2;
    let after = Moment { now: before.now, wall: before.wall + half };
    let admission = fresh();
    assert_eq!(admission.recall(&octets, after), Ok(3));
    let ban = admission.bans.find(address(1), after.now).unwrap();
    assert_eq!(ban.reason, Rule::AuthFailureRate);
    let left = ban.until.saturating_duration_since(after.now);
    // Whole seconds are kept, the nearest ones.
    let second = Duration::from_secs(1);
    assert!(left <= half + second && left >= half - second, "{left:?}");
    assert!(admission.lockouts.is_locked("ann@example.org", 20, after.now));
    assert!(admission.known_good.has_pair("bob@example.org", address(2), after.now));
    assert!(!admission.known_good.has_pair("ann@example.org", address(2), after.now));
}

#[test]
fn what_is_over_by_the_clock_of_the_world_is_not_taken_over() {
    let before = Moment::now();
    let octets = knowing(before).remember(before);
    let (month, later) = (30 * 24 * HOUR, HOUR + Duration::from_secs(2));
    let admission = fresh();
    let after = Moment { now: before.now, wall: before.wall + later };
    assert_eq!(admission.recall(&octets, after), Ok(1));
    assert!(admission.bans.find(address(1), after.now).is_none());
    let after = Moment { now: before.now, wall: before.wall + month };
    let admission = fresh();
    assert!(admission.recall(&octets, after).is_ok());
    assert!(!admission.known_good.has_network(address(2), after.now));
}

#[test]
fn a_clock_that_was_set_back_bans_nobody_for_longer_than_a_day() {
    let before = Moment::now();
    let octets = knowing(before).remember(before);
    let admission = fresh();
    let after = Moment { now: before.now, wall: UNIX_EPOCH };
    assert_eq!(admission.recall(&octets, after), Ok(3));
    let until = admission.bans.find(address(1), after.now).unwrap().until;
    assert!(until.saturating_duration_since(after.now) <= LEFT_MAX);
    assert!(admission.known_good.has_network(address(2), after.now));
}

#[test]
fn nothing_is_written_of_names_that_are_not_locked_out() {
    let moment = Moment::now();
    let text = String::from_utf8(knowing(moment).remember(moment)).unwrap();
    assert!(text.contains("ann@example.org") && !text.contains("hunter2"), "{text}");
}

#[test]
fn the_same_knowledge_gives_the_same_octets() {
    let moment = Moment::now();
    let admission = knowing(moment);
    let octets = admission.remember(moment);
    let copy = fresh();
    copy.recall(&octets, moment).unwrap();
    assert_eq!(copy.remember(moment), octets);
}

proptest! {
    #[test]
    fn a_damaged_file_is_never_believed(at in any::<prop::sample::Index>(), bit in 0..8_u32, cut in any::<bool>()) {
        let moment = Moment::now();
        let mut octets = knowing(moment).remember(moment);
        let at = at.index(octets.len());
        if cut {
            octets.truncate(at);
        } else {
            octets[at] ^= 1 << bit;
        }
        prop_assert!(fresh().recall(&octets, moment).is_err());
    }

    #[test]
    fn no_octets_break_it(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(fresh().recall(&octets, Moment::now()).is_err());
    }
}
