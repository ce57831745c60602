use std::collections::HashMap;

use gatepost_core::BoxFuture;

use super::resolver::Unanswered;
use super::*;

/// Answers from a table; a name that is not in it does not exist, one that has no answers is never answered.
#[derive(Debug, Default)]
struct Zones(HashMap<&'static str, Vec<[u8; 4]>>);

impl Resolver for Zones {
    fn addresses(&self, name: String) -> BoxFuture<'_, Result<Vec<Ipv4Addr>, Unanswered>> {
        Box::pin(async move {
            match self.0.get(name.as_str()) {
                None => Ok(Vec::new()),
                Some(answers) if answers.is_empty() => std::future::pending().await,
                Some(answers) => Ok(answers.iter().copied().map(Ipv4Addr::from).collect()),
            }
        })
    }
}

fn list(zone: &str, weight: i32, answers: &[&str]) -> List {
    let answers = answers.iter().map(|network| network.parse().unwrap()).collect();
    List { zone: zone.into(), weight, answers }
}

fn lists(zones: &[(&'static str, &[[u8; 4]])]) -> BlockLists {
    let settings = Settings {
        lists: vec![
            list("one.example", 3, &[]),
            list("two.example", 2, &["127.0.0.4/30"]),
            list("good.example", -4, &[]),
        ],
        threshold: 5,
        timeout: Duration::from_secs(2),
        servers: Vec::new(),
    };
    let zones = zones.iter().map(|(name, answers)| (*name, answers.to_vec())).collect();
    let lists = Lists::of(settings, Some(Arc::new(Zones(zones))));
    BlockLists::of(lists, Metrics::register(&Registry::new()).unwrap())
}

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ON_ONE: &str = "1.2.0.192.one.example.";
const ON_TWO: &str = "1.2.0.192.two.example.";
const ON_GOOD: &str = "1.2.0.192.good.example.";

#[tokio::test]
async fn weights_add_up_and_the_evidence_says_how() {
    let both = lists(&[(ON_ONE, &[[127, 0, 0, 2]]), (ON_TWO, &[[127, 0, 0, 5]])]);
    assert_eq!(
        both.refuse(PEER).await.unwrap(),
        "score 5 of 5: one.example says 127.0.0.2 (+3), two.example says 127.0.0.5 (+2)"
    );
    let one = lists(&[(ON_ONE, &[[127, 0, 0, 2]])]);
    assert_eq!(one.ask(PEER).await.score, 3);
    assert_eq!(one.refuse(PEER).await, None);
}

#[tokio::test]
async fn an_allow_list_outweighs() {
    let listed: &[[u8; 4]] = &[[127, 0, 0, 4]];
    let report = lists(&[(ON_ONE, listed), (ON_TWO, listed), (ON_GOOD, listed)]).ask(PEER).await;
    assert_eq!((report.score, report.listings.len()), (1, 3));
}

#[tokio::test]
async fn only_the_wanted_answers_of_a_list_count() {
    let report = lists(&[(ON_TWO, &[[127, 0, 0, 2], [127, 0, 0, 3]])]).ask(PEER).await;
    assert_eq!(report, Report::default());
    let report = lists(&[(ON_TWO, &[[127, 0, 0, 2], [127, 0, 0, 7]])]).ask(PEER).await;
    assert_eq!(report.listings[0].answer, Ipv4Addr::new(127, 0, 0, 7));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_counts_for_nothing_and_is_recorded() {
    let started_at = tokio::time::Instant::now();
    let lists = lists(&[(ON_ONE, &[]), (ON_TWO, &[[203, 0, 113, 9]]), (ON_GOOD, &[[127, 255, 255, 254]])]);
    let report = lists.ask(PEER).await;
    assert_eq!((report.score, report.failed.len()), (0, 3));
    assert_eq!(started_at.elapsed(), Duration::from_secs(2), "one time-out, not their sum");
    let counted = |list, result| lists.metrics.queries.with_label_values(&[list, result]).get();
    assert_eq!(counted("one.example", "timed_out"), 1);
    assert_eq!(counted("two.example", "not_a_list"), 1);
    assert_eq!(counted("good.example", "refused"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_list_does_not_keep_the_others_from_being_heard() {
    let lists = lists(&[(ON_ONE, &[]), (ON_TWO, &[[127, 0, 0, 4]])]);
    let report = lists.ask(PEER).await;
    assert_eq!((report.score, report.failed), (2, vec!["one.example".to_owned()]));
}

#[tokio::test]
async fn addresses_of_our_own_are_not_asked_for() {
    let lists = lists(&[("1.0.0.127.one.example.", &[[127, 0, 0, 2]])]);
    assert_eq!(lists.ask("127.0.0.1".parse().unwrap()).await, Report::default());
    assert_eq!(lists.metrics.queries.with_label_values(&["one.example", "not_listed"]).get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_list_costs_a_few_strangers_their_time_and_not_each_of_them() {
    let lists = lists(&[(ON_ONE, &[]), (ON_TWO, &[[127, 0, 0, 4]])]);
    let ask = async || {
        let started_at = tokio::time::Instant::now();
        let report = lists.ask(PEER).await;
        assert_eq!((report.score, report.failed), (2, vec!["one.example".to_owned()]));
        started_at.elapsed()
    };
    for _ in 0..5 {
        assert_eq!(ask().await, Duration::from_secs(2));
    }
    let skipped = || lists.metrics.skipped.with_label_values(&["one.example"]).get();
    assert_eq!(skipped(), 1);
    for _ in 0..10 {
        assert_eq!(ask().await, Duration::ZERO);
    }
    tokio::time::advance(breaker::PAUSE).await;
    assert_eq!(ask().await, Duration::from_secs(2), "one finds out");
    assert_eq!(ask().await, Duration::ZERO);
    assert_eq!(skipped(), 1);
}
