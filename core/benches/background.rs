//! How fast mailboxes are scanned in the background, and what readers notice of it.
//!
//! `cargo bench -p gatepost-core --bench background -- [messages] [folder]` fills a mailbox database with mails of 4 KiB, scans
//! them with an engine that answers at once, unthrottled and alone; then has a reader fetch mails whose stamps are stale,
//! with and without a scan in the background at its default throttle, in turns, and compares the medians of the pairs.
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
    assert!(messages >= 10_000, "the reads need mailboxes of a hundred messages");
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
    let Reads { with, without, ratio } = house.read(messages).await;
    let change = (ratio - 1.0) * 100.0;
    println!("a read that has to scan, alone  {:>10.1} us", without.as_secs_f64() * 1e6);
    println!("the same beside a scan          {:>10.1} us ({change:+.1} %)", with.as_secs_f64() * 1e6);
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
        let stamp = Stamp { engine: self.engine.identity(), policy: POLICY_VERSION };
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
        let database = Database { name: "default".into(), store: Arc::clone(&self.store), settings };
        let rooms = Rooms {
            scanner: self.scanner.clone(),
            memory: MemoryBudget::default(),
            events: Log::discarding(),
            remedy: None,
            metrics: None,
        };
        Background::start(vec![database], &rooms).await.unwrap()
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

    /// What reads take beside a scan and without one, in blocks that take turns: the median of the blocks' medians, and how
    /// much more the former take, as the median over pairs of blocks.
    async fn read(&self, messages: u64) -> Reads {
        let gate = ScanGate::new(Arc::clone(&self.store) as Arc<dyn MailStore>, self.scanner.clone(), None);
        let background = self.background(Settings { enabled: false, ..Settings::default() }).await;
        let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // All stamps are stale again, so that each read costs a scan, and the background has something to do.
            self.engine.update();
            let mut medians = [Duration::ZERO; 2];
            for is_beside in [round % 2 == 0, round % 2 != 0] {
                if is_beside {
                    background.begin().await;
                }
                medians[usize::from(is_beside)] = read_block(&gate, messages, round, is_beside).await;
                if is_beside {
                    assert!(background.status()[0].progress.as_ref().unwrap().is_running());
                    background.stop().await;
                }
            }
            without.push(medians[0]);
            with.push(medians[1]);
            ratios.push(medians[1].as_secs_f64() / medians[0].as_secs_f64());
        }
        background.close().await;
        ratios.sort_by(f64::total_cmp);
        Reads { with: median(with), without: median(without), ratio: ratios[ratios.len() / 2] }
    }
}

struct Reads {
    with: Duration,
    without: Duration,
    ratio: f64,
}

/// Each message is read once in all rounds, from the mailboxes that the walk comes to last.
async fn read_block(gate: &ScanGate, messages: u64, round: u64, is_beside: bool) -> Duration {
    let per_mailbox = messages / MAILBOXES;
    let mut times = Vec::new();
    for step in 0..READS {
        let pair = round * READS + step;
        let mailbox = format!("user{}@localhost", MAILBOXES - 1 - pair % (MAILBOXES / 2));
        let behind = pair / (MAILBOXES / 2) * 2 + u64::from(is_beside);
        let uid = u32::try_from(per_mailbox - behind).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
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
const ROUNDS: u64 = 10;
const READS: u64 = 100;
const HEAD: &str =
    "Return-Path: <sender@example.org>\r\nDelivered-To: user@localhost\r\nReceived: from client\r\n";
