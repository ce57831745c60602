use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use prometheus::Registry;

use super::super::samples::{attachment, eicar, encrypted, multipart, zip};
use super::super::{EngineIdentity, Obstacle, Ruling, UnscannableAction, YaraEngine};
use super::*;
use crate::disk::RealDisk;
use crate::intake::Spool;

/// Does what the item says: `panic`, `hang` (until the test ends), or a virus at `marker`.
struct Scripted {
    scanned: AtomicUsize,
    signatures: Mutex<&'static str>,
    hang: Mutex<mpsc::Receiver<()>>,
}

impl Engine for Scripted {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("scripted", *self.signatures.lock().unwrap()).unwrap()
    }

    fn scan(&self, item: &[u8], _: Instant) -> Verdict {
        self.scanned.fetch_add(1, Ordering::SeqCst);
        let says = |word: &[u8]| memchr::memmem::find(item, word).is_some();
        if says(b"update once") {
            *self.signatures.lock().unwrap() = "2";
        }
        if says(b"update always") {
            let mut signatures = self.signatures.lock().unwrap();
            *signatures = if *signatures == "1" { "2" } else { "1" };
        }
        if says(b"hang") {
            let _ = self.hang.lock().unwrap().recv();
        }
        assert!(!says(b"panic"), "as the item says");
        match () {
            () if says(b"marker") => Verdict::Infected { threat: "Marker".into() },
            () if says(b"second") => Verdict::Infected { threat: "Second".into() },
            () => Verdict::Clean,
        }
    }
}

struct Rig {
    scanner: Scanner,
    engine: Arc<Scripted>,
    /// Dropped, it lets a hanging engine go.
    _hang: mpsc::Sender<()>,
}

impl Rig {
    async fn upholds(&self, message: &str, report: &ScanReport) -> bool {
        self.scanner.upholds(&body(message), None, &report.stamp).await
    }
}

fn rig() -> Rig {
    let (hang, hang_receiver) = mpsc::channel();
    let engine = Arc::new(Scripted {
        scanned: AtomicUsize::new(0),
        signatures: Mutex::new("1"),
        hang: Mutex::new(hang_receiver),
    });
    let scanner = start(engine.clone(), UnscannablePolicy::default());
    Rig { scanner, engine, _hang: hang }
}

fn start(engine: Arc<dyn Engine>, unscannable: UnscannablePolicy) -> Scanner {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    Scanner::start(engine, &Settings { unscannable, ..Settings::default() }, metrics).unwrap()
}

fn body(octets: impl Into<Vec<u8>>) -> Body {
    Body::Memory(Bytes::from(octets.into()))
}

const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_clean_message_is_stamped_and_counted() {
    let rig = rig();
    let report = rig.scanner.scan(body("Subject: x\r\n\r\nhello"), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Clean);
    assert!(rig.upholds("Subject: x\r\n\r\nhello", &report).await);
    // The raw message and its body.
    assert_eq!((report.items, report.octets), (2, 19 + 5));
    assert_eq!(rig.scanner.metrics.items.get(), 2);
    assert_eq!(rig.scanner.metrics.octets.get(), 24);
}

#[tokio::test]
async fn a_virus_is_named_and_ends_the_scan() {
    let rig = rig();
    let report = rig.scanner.scan(body("Subject: marker\r\n\r\nhello"), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Infected { threat: "Marker".into() });
    assert_eq!(report.items, 1);
    assert_eq!(rig.scanner.metrics.infected.get(), 1);
}

#[tokio::test]
async fn what_is_forgiven_does_not_hide_what_is_found_elsewhere_in_the_mail() {
    let rig = rig();
    let message = multipart(&[("", b"the marker".to_vec()), ("", b"and a second".to_vec())]);
    let body = body(message);
    let content = content_hash(&body).await;
    let scan = || rig.scanner.scan(body.clone(), Priority::High, PATIENT);
    let infected = |threat: &str| Verdict::Infected { threat: threat.into() };
    assert_eq!(scan().await.verdict, infected("Marker"));
    let overrule = |threat: &str| rig.scanner.overruled.insert(Ruling { content, threat: threat.into() });
    overrule("Marker");
    let report = scan().await;
    assert_eq!(report.verdict, infected("Second"));
    assert!(report.culprit.is_some());
    overrule("Second");
    assert_eq!(scan().await.verdict, Verdict::Clean);
    assert_eq!(scan().await.verdict, Verdict::Clean, "and that is remembered");
}

#[tokio::test]
async fn an_engine_that_panics_is_a_failure_and_costs_no_thread() {
    let rig = rig();
    for number in 0..50 {
        let report =
            rig.scanner.scan(body(format!("panic: {number}\r\n\r\n")), Priority::High, PATIENT).await;
        assert_eq!(report.verdict, Verdict::Failed);
    }
    assert_eq!(rig.scanner.metrics.failures.get(), 50);
    let report = rig.scanner.scan(body("fine"), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Clean);
}

#[tokio::test]
async fn a_virus_beside_a_failure_is_the_verdict() {
    let rig = rig();
    let message =
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\npanic\r\n--b\r\n\r\nmarker\r\n--b--";
    let report = rig.scanner.scan(body(message), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Infected { threat: "Marker".into() });
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_costs_the_waiter_its_deadline_and_no_more() {
    let rig = rig();
    let began = tokio::time::Instant::now();
    let report = rig.scanner.scan(body("hang"), Priority::High, Duration::from_secs(20)).await;
    assert_eq!(report.verdict, Verdict::TimedOut);
    let waited = began.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(21)).contains(&waited), "{waited:?}");
    assert_eq!(rig.scanner.metrics.timeouts.get(), 1);
}

/// Gives up when its time is over, as engines do; answers at once from its second call on.
struct Punctual(AtomicUsize);

impl Engine for Punctual {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("punctual", "1").unwrap()
    }

    fn scan(&self, _: &[u8], deadline: Instant) -> Verdict {
        if self.0.fetch_add(1, Ordering::SeqCst) > 0 {
            return Verdict::Clean;
        }
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        Verdict::TimedOut
    }
}

#[tokio::test]
async fn who_joins_a_scan_of_little_time_has_all_of_his_own() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let engine = Arc::new(Punctual(AtomicUsize::new(0)));
    let scanner = Scanner::start(engine.clone(), &Settings::default(), metrics).unwrap();
    let hasty = scanner.scan(body("hello"), Priority::High, Duration::from_secs(1));
    let patient = async {
        while engine.0.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scanner.scan(body("hello"), Priority::Low, Duration::from_secs(60)).await
    };
    let (hasty, patient) = tokio::join!(hasty, patient);
    assert_eq!((hasty.verdict, patient.verdict), (Verdict::TimedOut, Verdict::Clean));
    assert_eq!(scanner.metrics.timeouts.get(), 1);
}

#[tokio::test]
async fn the_same_content_is_scanned_again_only_under_new_signatures() {
    let rig = rig();
    let first = rig.scanner.scan(body("hello"), Priority::High, PATIENT).await;
    let scanned = rig.engine.scanned.load(Ordering::SeqCst);
    assert_eq!(rig.scanner.scan(body("hello"), Priority::Low, PATIENT).await, first);
    assert_eq!(rig.engine.scanned.load(Ordering::SeqCst), scanned);

    *rig.engine.signatures.lock().unwrap() = "2";
    assert!(!rig.upholds("hello", &first).await);
    let second = rig.scanner.scan(body("hello"), Priority::High, PATIENT).await;
    assert!(rig.upholds("hello", &second).await);
    assert!(!rig.upholds("hallo", &second).await, "of another content it says nothing");
    assert_eq!(rig.engine.scanned.load(Ordering::SeqCst), 2 * scanned);
}

#[tokio::test]
async fn signatures_that_change_during_a_scan_have_it_made_again() {
    let rig = rig();
    let report = rig.scanner.scan(body("update once"), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Clean);
    assert_eq!(report.stamp.engine.signatures(), "2");
    assert!(rig.upholds("update once", &report).await);
    assert_eq!(rig.scanner.metrics.stale.get(), 1);
    let scanned = rig.engine.scanned.load(Ordering::SeqCst);
    assert_eq!(rig.scanner.scan(body("update once"), Priority::High, PATIENT).await, report);
    assert_eq!(
        rig.engine.scanned.load(Ordering::SeqCst),
        scanned,
        "the second verdict is the one remembered"
    );
}

#[tokio::test]
async fn signatures_that_never_settle_vouch_for_nothing() {
    let rig = rig();
    // One item: the body is empty.
    let report = rig.scanner.scan(body("Subject: update always\r\n"), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Failed);
}

#[tokio::test]
async fn a_failure_is_not_remembered() {
    let rig = rig();
    for _ in 0..2 {
        let report = rig.scanner.scan(body("panic"), Priority::High, PATIENT).await;
        assert_eq!(report.verdict, Verdict::Failed);
    }
    assert_eq!(rig.scanner.metrics.remembered.get(), 0);
}

#[tokio::test]
async fn an_encrypted_archive_passes_by_default_and_is_told() {
    let message = attachment("locked.zip", &encrypted(zip(&[("a", b"secret")])));
    let report = rig().scanner.scan(body(message.clone()), Priority::High, PATIENT).await;
    assert_eq!((report.verdict, report.tolerated), (Verdict::Clean, vec![Obstacle::Encrypted]));

    let strict = UnscannablePolicy { encrypted: UnscannableAction::Refuse, ..UnscannablePolicy::default() };
    let strict = start(rig().engine, strict);
    let report = strict.scan(body(message), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Unscannable { reason: Obstacle::Encrypted });
    assert_eq!(strict.metrics.unscannable.get(), 1);
}

#[tokio::test]
async fn a_bomb_is_refused_by_default_and_a_virus_in_it_is_named() {
    let zeros = vec![0; 20 * 1024 * 1024];
    let bomb = attachment("bomb.zip", &zip(&[("zeros", &zeros)]));
    let rig = rig();
    let report = rig.scanner.scan(body(bomb), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Unscannable { reason: Obstacle::TooLarge });
    let both = attachment("bomb.zip", &zip(&[("zeros", &zeros), ("a", b"marker")]));
    let report = rig.scanner.scan(body(both), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Infected { threat: "Marker".into() });
}

#[tokio::test]
async fn the_embedded_engine_finds_the_test_file_behind_the_handle() {
    let scanner = start(YaraEngine::start(None).unwrap(), UnscannablePolicy::default());
    let message = attachment("eicar.zip", &zip(&[("inner.zip", &zip(&[("eicar.com", &eicar())]))]));
    let report = scanner.scan(body(message), Priority::High, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Infected { threat: "EICAR_Test_File".into() });
    assert_eq!(report.stamp.to_string().split('/').next(), Some("yara"));
}

#[tokio::test]
async fn the_hash_of_a_body_does_not_depend_on_its_slices() {
    for octets in [0, 1, INLINE_OCTETS_MAX, INLINE_OCTETS_MAX + 1, 3 * INLINE_OCTETS_MAX] {
        let content = vec![7; octets];
        let expected = *blake3::hash(&content).as_bytes();
        assert_eq!(content_hash(&body(content)).await, expected, "{octets}");
    }
}

#[tokio::test]
async fn a_large_body_is_scanned_from_its_file_and_a_lost_file_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::inline(Arc::new(RealDisk), folder.path()).unwrap();
    let rig = rig();
    let mut octets = b"Subject: large\r\n\r\n".to_vec();
    octets.resize(1024 * 1024, b'x');
    octets.extend_from_slice(b"marker");
    let file = Arc::new(spool.store(&octets).unwrap());
    let report = rig.scanner.scan(Body::File(Arc::clone(&file)), Priority::Low, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Infected { threat: "Marker".into() });

    let lost = Arc::new(spool.store(&[octets, b"2".to_vec()].concat()).unwrap());
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let report = rig.scanner.scan(Body::File(lost), Priority::Low, PATIENT).await;
    assert_eq!(report.verdict, Verdict::Failed);
}

#[test]
fn a_thread_count_outside_the_bounds_means_the_default() {
    let count = |wanted, processors| thread_count(wanted, processors).regular;
    assert_eq!(count(None, 4), 9);
    assert_eq!(count(Some(2), 4), 2);
    assert_eq!(count(Some(21), 4), 21);
    assert_eq!(count(Some(22), 4), 9);
    assert_eq!(count(Some(1), 4), 9);
    assert_eq!(count(Some(0), 1), 3);
}

#[tokio::test]
async fn by_order_a_message_is_scanned_again_though_no_version_has_changed() {
    let rig = rig();
    let scan = || rig.scanner.scan(body("Subject: x\r\n\r\nhello"), Priority::High, PATIENT);
    for scanned in [2, 2, 4, 4] {
        if scanned == 4 && rig.engine.scanned.load(Ordering::SeqCst) == 2 {
            rig.scanner.forget();
        }
        assert_eq!(scan().await.verdict, Verdict::Clean);
        assert_eq!(rig.engine.scanned.load(Ordering::SeqCst), scanned);
    }
}
