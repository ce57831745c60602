use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use prometheus::Registry;

use super::super::{Metrics, Obstacle, Priority, Scanner, Settings};
use super::*;
use crate::intake::Body;

/// Says the same of everything.
struct Fixed {
    name: &'static str,
    signatures: Mutex<&'static str>,
    verdict: Verdict,
    is_available: AtomicBool,
}

impl Engine for Fixed {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new(self.name, *self.signatures.lock().unwrap()).unwrap()
    }

    fn scan(&self, _: &[u8], _: Instant) -> Verdict {
        assert_ne!(self.name, "panics");
        self.verdict.clone()
    }

    fn is_available(&self) -> bool {
        self.is_available.load(Ordering::SeqCst)
    }
}

fn fixed(name: &'static str, verdict: Verdict) -> Arc<Fixed> {
    Arc::new(Fixed { name, signatures: Mutex::new("1"), verdict, is_available: AtomicBool::new(true) })
}

fn ensemble(policy: EnginePolicy, engines: &[&Arc<Fixed>]) -> Ensemble {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    engines.iter().fold(Ensemble::new(policy), |ensemble, engine| {
        let engine = Arc::clone(engine);
        ensemble.with(engine.name, engine.clone(), metrics.engine(engine.name))
    })
}

fn infected() -> Verdict {
    Verdict::Infected { threat: "T".into() }
}

fn said(policy: EnginePolicy, verdicts: &[Verdict]) -> Verdict {
    let names = ["a", "b", "c"];
    let engines: Vec<_> =
        names.into_iter().zip(verdicts).map(|(name, verdict)| fixed(name, verdict.clone())).collect();
    let engines: Vec<_> = engines.iter().collect();
    ensemble(policy, &engines).scan(b"x", Instant::now() + Duration::from_secs(60))
}

#[test]
fn with_any_one_engine_suffices_to_find_and_all_are_needed_to_clear() {
    let (clean, failed) = (|| Verdict::Clean, || Verdict::Failed);
    assert_eq!(said(EnginePolicy::Any, &[clean(), infected()]), infected());
    assert_eq!(said(EnginePolicy::Any, &[failed(), infected()]), infected());
    assert_eq!(said(EnginePolicy::Any, &[clean(), failed()]), failed());
    assert_eq!(said(EnginePolicy::Any, &[clean(), clean()]), clean());
    let beyond = || Verdict::Unscannable { reason: Obstacle::EngineLimit };
    assert_eq!(said(EnginePolicy::Any, &[beyond(), clean()]), beyond());
}

#[test]
fn with_all_every_engine_must_find_it() {
    let (clean, failed) = (|| Verdict::Clean, || Verdict::Failed);
    assert_eq!(said(EnginePolicy::All, &[infected(), infected()]), infected());
    assert_eq!(said(EnginePolicy::All, &[infected(), clean()]), clean());
    assert_eq!(said(EnginePolicy::All, &[infected(), failed()]), failed());
    assert_eq!(said(EnginePolicy::All, &[clean(), failed()]), clean());
}

#[test]
fn with_first_the_others_stand_in_and_the_stamp_tells_who_decided() {
    let (main, other) = (fixed("main", Verdict::Clean), fixed("other", infected()));
    let ensemble = ensemble(EnginePolicy::First, &[&main, &other]);
    let scan = || ensemble.scan(b"x", Instant::now() + Duration::from_secs(60));
    assert_eq!((scan(), ensemble.identity().name()), (Verdict::Clean, "main"));
    main.is_available.store(false, Ordering::SeqCst);
    assert_eq!((scan(), ensemble.identity().name()), (infected(), "other"));
    other.is_available.store(false, Ordering::SeqCst);
    assert_eq!((scan(), ensemble.is_available()), (Verdict::Failed, false));
}

#[test]
fn no_engine_vouches_for_nothing() {
    for policy in [EnginePolicy::Any, EnginePolicy::All, EnginePolicy::First] {
        assert_eq!(said(policy, &[]), Verdict::Failed);
    }
}

#[test]
fn an_engine_that_panics_is_one_that_failed() {
    let (panics, finds) = (fixed("panics", Verdict::Clean), fixed("finds", infected()));
    let both = ensemble(EnginePolicy::Any, &[&panics, &finds]);
    assert_eq!(both.scan(b"x", Instant::now() + Duration::from_secs(60)), infected());
    let alone = ensemble(EnginePolicy::Any, &[&panics]);
    assert_eq!(alone.scan(b"x", Instant::now() + Duration::from_secs(60)), Verdict::Failed);
}

#[test]
fn new_signatures_of_any_engine_change_the_identity_of_all() {
    let (one, two) = (fixed("one", Verdict::Clean), fixed("two", Verdict::Clean));
    let both = ensemble(EnginePolicy::Any, &[&one, &two]);
    let before = both.identity();
    assert_eq!(before.name(), "any.one.two");
    *two.signatures.lock().unwrap() = "2";
    assert_ne!(both.identity(), before);
    assert_ne!(ensemble(EnginePolicy::All, &[&one, &two]).identity(), both.identity());
    assert_eq!(ensemble(EnginePolicy::Any, &[&one]).identity(), one.identity());
}

#[test]
fn what_is_forgiven_one_engine_has_the_others_asked() {
    let (one, two) = (fixed("one", infected()), fixed("two", Verdict::Infected { threat: "Other".into() }));
    let both = ensemble(EnginePolicy::Any, &[&one, &two]);
    let due = Instant::now() + Duration::from_secs(60);
    assert_eq!(both.scan(b"x", due), infected());
    let other = both.scan_for_others(b"x", due, &|threat| threat == "T");
    assert_eq!(other, Verdict::Infected { threat: "Other".into() });
    assert_eq!(both.scan_for_others(b"x", due, &|_| true), Verdict::Clean);
    assert_eq!(both.scan(b"x", due), infected(), "in another mail it counts");
}

#[test]
fn an_engine_is_asked_once_for_the_same_octets() {
    let one = fixed("one", Verdict::Clean);
    let alone = ensemble(EnginePolicy::Any, &[&one]);
    for _ in 0..3 {
        assert_eq!(alone.scan(b"x", Instant::now() + Duration::from_secs(60)), Verdict::Clean);
    }
    let status = &alone.status()[0];
    assert_eq!((status.calls, status.remembered), (1, 2));
}

/// Is away for as long as another engine has an item, if that is ever given one.
struct Flapping {
    name: &'static str,
    /// Whether the first of both can be asked.
    is_there: Arc<AtomicBool>,
    items: AtomicUsize,
}

impl Engine for Flapping {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new(self.name, "1").unwrap()
    }

    fn scan(&self, item: &[u8], _: Instant) -> Verdict {
        self.items.fetch_add(1, Ordering::SeqCst);
        self.is_there.store(self.name != "main", Ordering::SeqCst);
        if self.name == "main" && item == b"body" { infected() } else { Verdict::Clean }
    }

    fn is_available(&self) -> bool {
        self.name != "main" || self.is_there.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn with_first_no_item_of_a_message_is_cleared_by_a_stand_in_under_the_name_of_another() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let is_there = Arc::new(AtomicBool::new(true));
    let [main, other] = ["main", "other"]
        .map(|name| Arc::new(Flapping { name, is_there: Arc::clone(&is_there), items: AtomicUsize::new(0) }));
    let both = Ensemble::new(EnginePolicy::First).with("main", main.clone(), metrics.engine("main")).with(
        "other",
        other.clone(),
        metrics.engine("other"),
    );
    let scanner = Scanner::start(Arc::new(both), &Settings::default(), metrics).unwrap();
    let message = Body::Memory("Subject: x\r\n\r\nbody".into());
    let report = scanner.scan(message, Priority::High, Duration::from_secs(60)).await;
    assert_eq!(report.verdict, infected());
    assert_eq!((main.items.load(Ordering::SeqCst), other.items.load(Ordering::SeqCst)), (2, 0));
}

#[test]
fn a_reload_has_everything_asked_anew() {
    let one = fixed("one", Verdict::Clean);
    let alone = ensemble(EnginePolicy::Any, &[&one]);
    for calls in [1, 1, 2, 2] {
        if calls == 2 && alone.status()[0].calls == 1 {
            assert_eq!(alone.reload_each(), [("one".to_owned(), Reload::Unchanged)]);
        }
        assert_eq!(alone.scan(b"x", Instant::now() + Duration::from_secs(60)), Verdict::Clean);
        assert_eq!(alone.status()[0].calls, calls);
    }
}
