use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use super::*;

fn identity(signatures: &str) -> EngineIdentity {
    EngineIdentity::new("test", signatures).unwrap()
}

fn patient() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn an_item_is_made_once_until_the_signatures_change() {
    let verdicts = ItemVerdicts::default();
    let ask = |signatures: &str, verdict: Verdict| {
        verdicts.find_or_make(b"x", &|| identity(signatures), patient(), || verdict)
    };
    assert_eq!(ask("1", Verdict::Clean), (Verdict::Clean, false));
    assert_eq!(ask("1", Verdict::Failed), (Verdict::Clean, true));
    let infected = Verdict::Infected { threat: "T".into() };
    assert_eq!(ask("2", infected.clone()), (infected, false));
}

#[test]
fn no_verdict_and_one_that_signatures_overtook_are_not_remembered() {
    let verdicts = ItemVerdicts::default();
    for verdict in [Verdict::Failed, Verdict::TimedOut] {
        let made = verdicts.find_or_make(b"x", &|| identity("1"), patient(), || verdict.clone());
        assert_eq!(made, (verdict, false));
    }
    let asked = AtomicUsize::new(0);
    let changing = || identity(if asked.fetch_add(1, Ordering::SeqCst) == 0 { "1" } else { "2" });
    assert_eq!(verdicts.find_or_make(b"x", &changing, patient(), || Verdict::Clean), (Verdict::Clean, false));
    let made = verdicts.find_or_make(b"x", &|| identity("1"), patient(), || Verdict::Failed);
    assert_eq!(made, (Verdict::Failed, false));
}

#[test]
fn all_who_ask_at_the_same_time_share_one_call() {
    let verdicts = Arc::new(ItemVerdicts::default());
    let calls = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (verdicts, calls, start) = (Arc::clone(&verdicts), Arc::clone(&calls), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let call = || {
                    calls.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                    Verdict::Clean
                };
                verdicts.find_or_make(b"x", &|| identity("1"), patient(), call).0
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Verdict::Clean);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn who_waits_for_another_call_leaves_at_his_deadline() {
    let verdicts = Arc::new(ItemVerdicts::default());
    let (inside, outside) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let slow = {
        let (verdicts, inside, outside) = (Arc::clone(&verdicts), Arc::clone(&inside), Arc::clone(&outside));
        thread::spawn(move || {
            verdicts.find_or_make(b"x", &|| identity("1"), patient(), || {
                inside.wait();
                outside.wait();
                Verdict::Clean
            })
        })
    };
    inside.wait();
    let soon = Instant::now() + Duration::from_millis(50);
    let hasty = verdicts.find_or_make(b"x", &|| identity("1"), soon, || Verdict::Clean);
    assert_eq!(hasty, (Verdict::TimedOut, false));
    outside.wait();
    assert_eq!(slow.join().unwrap(), (Verdict::Clean, false));
}

#[test]
fn what_is_asked_for_again_outlives_what_is_not() {
    let mut state = State::default();
    let item = |number: usize| *blake3::hash(&number.to_le_bytes()).as_bytes();
    for number in 0..3 * GENERATION_MAX {
        state.keep(item(number), Verdict::Clean);
        assert!(state.find(&item(0)).is_some(), "{number}");
    }
    assert!(state.young.len() + state.old.len() <= 2 * GENERATION_MAX);
    assert!(state.find(&item(1)).is_none());
}

#[test]
fn what_is_with_the_engine_when_all_is_forgotten_is_not_remembered_behind_it() {
    let verdicts = ItemVerdicts::default();
    let ask = |verdict: Verdict| verdicts.find_or_make(b"x", &|| identity("1"), patient(), || verdict);
    let forgetting = verdicts.find_or_make(b"x", &|| identity("1"), patient(), || {
        verdicts.forget();
        Verdict::Clean
    });
    assert_eq!(forgetting, (Verdict::Clean, false));
    let infected = Verdict::Infected { threat: "T".into() };
    assert_eq!(ask(infected.clone()), (infected.clone(), false));
    assert_eq!(ask(Verdict::Clean), (infected, true));
}
