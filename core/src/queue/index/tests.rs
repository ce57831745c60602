use super::super::Outcome;
use super::*;

fn facts(domains: &[&str]) -> Facts {
    let domain_of = if domains.len() > 1 { (0..).take(domains.len()).collect() } else { Vec::new() };
    Facts {
        received_at_ms: 1,
        octets: 10,
        sender: super::super::facts::SenderKey(7),
        user: Some("me".to_owned()),
        file: None,
        recipients: domains.len(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        domain_of,
    }
}

fn place() -> Location {
    Location { segment: SegmentId(1), offset: 512, payload_octets: 100 }
}

#[test]
fn what_waits_for_a_time_follows_a_clock_that_was_set_back() {
    let mut index = Index::default();
    let id = QueueId(5);
    index.insert(id, place(), &facts(&["a"]));
    index.postpone(id, 10_000, None);
    index.set_back(4_000);
    assert_eq!(index.next_due_ms(|_| true), Some(6_000));
    assert!(index.pop_due(5_999, |_| true).is_none());
    assert_eq!(index.pop_due(6_000, |_| true).map(|due| due.id), Some(id));
}

#[test]
fn a_message_is_local_as_long_as_somebody_here_waits_for_it() {
    let mut index = Index::default();
    index.insert(QueueId(1), place(), &facts(&["here", "there"]));
    index.insert(QueueId(2), place(), &facts(&["there"]));
    index.schedule_all(0, u64::MAX);
    let remote = |lane| lane == Lane::Remote;
    assert!(index.pop_due(1, remote).is_none(), "nobody has said what is remote");
    index.set_lanes(|domain| if domain == "here" { Lane::Local } else { Lane::Remote });
    assert_eq!(index.pop_due(1, remote).map(|due| due.id), Some(QueueId(2)));
    assert!(index.pop_due(1, remote).is_none());
    assert_eq!(index.pop_due(1, |lane| lane == Lane::Local).map(|due| due.id), Some(QueueId(1)));
    let change = index.plan(QueueId(1), vec![(0, Outcome::Removed)]).unwrap();
    index.apply(&change, SegmentId(1));
    assert!(index.schedule(QueueId(1)));
    assert_eq!(index.pop_due(1, remote).map(|due| due.id), Some(QueueId(1)));
}

#[test]
fn a_message_counts_for_its_user_and_for_domains_that_still_wait() {
    let mut index = Index::default();
    let quota = |messages| Quota { messages: Some(messages), octets: None };
    let one = Quotas { user: Quota::default(), domain: quota(1) };
    let is_over = |index: &Index, domain: &str| index.is_over(&one, None, &[domain.to_owned()]);
    index.insert(QueueId(1), place(), &facts(&["a", "b"]));
    assert!(is_over(&index, "a") && is_over(&index, "b") && !is_over(&index, "c"));
    let change = index.plan(QueueId(1), vec![(0, Outcome::Removed)]).unwrap();
    index.apply(&change, SegmentId(1));
    assert!(!is_over(&index, "a") && is_over(&index, "b"));
    let users = Quotas { user: quota(1), domain: Quota::default() };
    assert!(index.is_over(&users, Some("me"), &[]) && !index.is_over(&users, Some("you"), &[]));
    index.forget(QueueId(1));
    assert!(!is_over(&index, "b") && !index.is_over(&users, Some("me"), &[]));
    assert_eq!((index.domains.len(), index.users.len()), (0, 0));
}

#[test]
fn a_message_costs_no_more_memory_than_the_module_says() {
    let entry = size_of::<Entry>();
    assert!(entry <= 96, "{entry}");
    // What comes in order leaves the nodes of a B-tree at 6 of 11 places; each has 16 octets of its own.
    let node = |place: usize| (place * 11 + 16) / 6;
    let octets = node(size_of::<QueueId>() + entry) + node(size_of::<(u64, QueueId)>());
    assert!(octets <= 260, "{octets}");
}
