//! How fast mailboxes are scanned in the background, and what readers notice of it.
//!
//! `cargo bench -p gatepost-core --bench background -- [messages] [folder]` fills a mailbox database with mails of 4 KiB, scans
//! them with an engine that answers at once, unthrottled and alone; then has a reader fetch mails whose stamps are stale,
//! with and without a scan in the background at its default throttle: many short pairs, of which every other begins with the
//! scan. Told is the median of what the pairs differ by, with the range that it lies in at 95 % and the pairs at either end. The
//! same pairs without any scan tell how much of that is the machine's own noise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gatepost_core::access::ScanGate;
use gatepost_core::background::{Background, Database, Rooms, Settings, State};
use gatepost_core::events::Log;
use gatepost_core::intake::Body;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::queue::QueueId;
use gatepost_core::scan::{self, Engine, EngineIdentity, POLICY_VERSION, Scanner, Stamp, Verdict};
use gatepost_core::store::{self, Delivery, MailStore, MailboxCopy, SqliteStore};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    let messages = arguments.first().map_or(MESSAGES_DEFAULT, |text| text.parse().expect("a number"));
    assert!(messages >= 20_000, "the reads need mailboxes of two hundred messages");
    let own = tempfile::tempdir().unwrap();
    let folder = arguments.get(1).map_or_else(|| own.path().to_owned(), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(&folder, messages));
}

async fn measure(folder: &Path, messages: u64) {
    let house = House::open(folder);
    house.fill(messages).await;
    let alone = house.scan_alone().await;
    println!("scanned unthrottled and alone   {:>10.0} messages/s", messages as f64 / alone.as_secs_f64());
    let gate = ScanGate::new(Arc::clone(&house.store) as Arc<dyn MailStore>, house.scanner.clone(), None);
    let background = house.background(Settings { enabled: false, ..Settings::default() }).await;
    for (series, (name, has_scan)) in
        [("beside no scan either", false), ("beside a scan", true)].into_iter().enumerate()
    {
        let mut pairs = Vec::new();
        for number in 0..PAIRS {
            let place = series as u64 * PAIRS + number;
            pairs.push(house.pair(&gate, &background, messages, place, has_scan).await);
        }
        tell(name, &pairs);
    }
    background.close().await;
    house.store.close().await;
}

/// An engine that answers at once. Its signatures are a number.
struct Prompt(AtomicU32);

struct House {
    store: Arc<SqliteStore>,
    engine: Arc<Prompt>,
    scanner: Scanner,
}

// === impl Prompt ===

impl Prompt {
    fn update(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Engine for Prompt {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("instant", &self.0.load(Ordering::SeqCst).to_string()).unwrap()
    }

    fn scan(&self, _item: &[u8], _deadline: Instant) -> Verdict {
        Verdict::Clean
    }
}

// === impl House ===

impl House {
    fn open(folder: &Path) -> Self {
        let path = folder.join("store/default.sqlite");
        let store = Arc::new(SqliteStore::open(&path, &store::Settings::default(), None).unwrap());
        let engine = Arc::new(Prompt(AtomicU32::new(1)));
        let metrics = scan::Metrics::register(&prometheus::Registry::new()).unwrap();
        let scanner =
            Scanner::start(Arc::clone(&engine) as Arc<dyn Engine>, &scan::Settings::default(), metrics)
                .unwrap();
        Self { store, engine, scanner }
    }

    /// Many at a time, so that they share flushes.
    async fn fill(&self, messages: u64) {
        let stamp = Stamp::new(self.engine.identity(), POLICY_VERSION);
        let mut deliveries = tokio::task::JoinSet::new();
        for number in 0..messages {
            let mailbox = format!("user{}@localhost", number % MAILBOXES);
            let line = format!("{number:016x}{}\r\n", "x".repeat(60));
            let body = format!("Subject: {number}\r\n\r\n{}", line.repeat(52));
            let delivery = Delivery {
                queue_id: QueueId(number),
                body: Body::Memory(body.into()),
                stamp: Some(stamp.clone()),
                received_at_ms: 1_700_000_000_000,
                copies: vec![MailboxCopy { recipient: 0, mailbox, head: HEAD.into() }],
            };
            let store = Arc::clone(&self.store);
            deliveries.spawn(async move { store.deliver(delivery).await.map(|_| ()) });
            if deliveries.len() >= 512 {
                deliveries.join_next().await.unwrap().unwrap().unwrap();
            }
        }
        while let Some(delivered) = deliveries.join_next().await {
            delivered.unwrap().unwrap();
        }
    }

    async fn background(&self, settings: Settings) -> Background {
        let database =
            Database { name: "default".into(), store: Arc::clone(&self.store), settings, remedy: None };
        let rooms = Rooms {
            scanner: self.scanner.clone(),
            memory: MemoryBudget::default(),
            events: Log::discarding(),
            metrics: None,
        };
        Background::start(vec![database], None, &rooms).await.unwrap()
    }

    async fn scan_alone(&self) -> Duration {
        let settings = Settings { enabled: false, messages_per_second: None, ..Settings::default() };
        let background = self.background(settings).await;
        self.engine.update();
        let begun = Instant::now();
        background.begin().await;
        while background.status()[0].progress.as_ref().unwrap().state == State::Running {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let time = begun.elapsed();
        let progress = background.status().remove(0).progress.unwrap();
        assert_eq!((progress.scanned, progress.messages), (progress.total, progress.total));
        background.close().await;
        time
    }

    /// A block of reads alone, and one beside a scan where there is one to be.
    async fn pair(
        &self,
        gate: &ScanGate,
        background: &Background,
        messages: u64,
        place: u64,
        has_scan: bool,
    ) -> Pair {
        // All stamps are stale again, so that each read costs a scan, and the background has something to do.
        self.engine.update();
        let mut medians = [Duration::ZERO; 2];
        let is_odd = !place.is_multiple_of(2);
        for is_beside in [is_odd, !is_odd] {
            if is_beside && has_scan {
                background.begin().await;
            }
            // That the beginning of a scan is written down is no part of it.
            tokio::time::sleep(SETTLING).await;
            medians[usize::from(is_beside)] = read_block(gate, messages, place, is_beside).await;
            if is_beside && has_scan {
                assert!(background.status()[0].progress.as_ref().unwrap().is_running());
                background.stop().await;
            }
        }
        Pair { alone: medians[0], beside: medians[1] }
    }
}

/// The medians of two blocks of reads.
struct Pair {
    alone: Duration,
    beside: Duration,
}

fn tell(name: &str, pairs: &[Pair]) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let alone = micros(median(pairs.iter().map(|pair| pair.alone).collect()));
    let beside = micros(median(pairs.iter().map(|pair| pair.beside).collect()));
    let change = |pair: &Pair| (pair.beside.as_secs_f64() / pair.alone.as_secs_f64() - 1.0) * 100.0;
    let mut changes: Vec<f64> = pairs.iter().map(change).collect();
    changes.sort_by(f64::total_cmp);
    // Between these ranks lies the median of all pairs that there could be, in 95 of 100 cases.
    let (middle, margin) = (changes.len() / 2, changes.len().isqrt());
    println!(
        "a read that has to scan, alone  {alone:>10.1} us, {name} {beside:.1} us: {:+.1} % (95 %: {:+.1} to {:+.1}; {} pairs: {:+.1} to {:+.1})",
        changes[middle],
        changes[middle - margin],
        changes[middle + margin],
        changes.len(),
        changes[0],
        changes[changes.len() - 1],
    );
}

/// Each message is read once in all pairs, from the mailboxes that the walk comes to last.
async fn read_block(gate: &ScanGate, messages: u64, place: u64, is_beside: bool) -> Duration {
    let per_mailbox = messages / MAILBOXES;
    let mut times = Vec::new();
    for step in 0..READS {
        let read = place * READS + step;
        let mailbox = format!("user{}@localhost", MAILBOXES - 1 - read % (MAILBOXES / 2));
        let behind = read / (MAILBOXES / 2) * 2 + u64::from(is_beside);
        let uid = u32::try_from(per_mailbox - behind).unwrap();
        tokio::time::sleep(BETWEEN_READS).await;
        let begun = Instant::now();
        let released = gate.release(&mailbox, uid).await.unwrap();
        times.push(begun.elapsed());
        drop(released);
    }
    median(times)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

const MESSAGES_DEFAULT: u64 = 100_000;
const MAILBOXES: u64 = 100;
const PAIRS: u64 = 100;
/// In each half of a pair.
const READS: u64 = 20;
const BETWEEN_READS: Duration = Duration::from_millis(5);
const SETTLING: Duration = Duration::from_millis(50);
const HEAD: &str =
    "Return-Path: <sender@example.org>\r\nDelivered-To: user@localhost\r\nReceived: from client\r\n";
