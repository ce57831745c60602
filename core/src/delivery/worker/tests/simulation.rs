//! Queue and store under one power switch, which goes off at any call of the disk, before and behind any transaction of
//! the store, and at any other time. The answers of the store get lost, the scanner changes its mind, and yet each
//! recipient has one end, and each bounce one notification.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::house::{ALICE, BOB, House, Mail, in_database, treated};
use super::*;
use crate::BoxFuture;
use crate::delivery::{Pace, Retries, Schedule, Schedules, Watchdog};
use crate::disk::{Dice, Disk, Fault, SimulatedDisk};
use crate::events::Log;
use crate::intake::Body;
use crate::memory::MemoryBudget;
use crate::quarantine::{self, Quarantine, Selection};
use crate::queue::{self, Backoff, Queue, QueueId};
use crate::scan::{self, Disposal, Engine, InfectedAction, Rewriter, Rewriting, Scanner};
use crate::store::{Delivery, Listing, MailStore, MailboxTotals, ScanMark, StoredMessage, Summary};

/// A store of which a crash keeps what was committed.
#[derive(Default)]
struct ModelStore {
    durable: Arc<Mutex<Durable>>,
    /// What goes wrong in this life.
    weather: Mutex<Weather>,
    /// Told when the power goes at a transaction.
    power_gone: Notify,
    /// The old behaviour of KB883522: what the store did is forgotten at once, so that a retry does it again.
    forgets: bool,
}

#[derive(Default)]
struct Durable {
    remembered: BTreeMap<(QueueId, u32), Disposition>,
    /// Every end that a recipient ever had.
    ends: BTreeMap<(QueueId, u32), Vec<Disposition>>,
    /// What lies in the mailboxes.
    copies: Vec<(QueueId, String, Vec<u8>)>,
}

struct Weather {
    dice: Dice,
    /// Moments (two a transaction) until the power goes.
    moments_left: Option<u64>,
    /// Of how many answers one gets lost.
    lost: Option<u64>,
}

impl Default for Weather {
    fn default() -> Self {
        Self { dice: Dice::new(0), moments_left: None, lost: None }
    }
}

// === impl ModelStore ===

impl ModelStore {
    async fn moment(&self) {
        let is_the_last = {
            let mut weather = self.weather.lock().unwrap();
            match &mut weather.moments_left {
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => false,
            }
        };
        if is_the_last {
            self.power_gone.notify_one();
            std::future::pending::<()>().await;
        }
    }

    async fn transaction(
        &self,
        work: impl FnOnce(&mut Durable) -> Vec<(u32, Disposition)> + Send,
    ) -> Result<Vec<(u32, Disposition)>, StoreError> {
        self.moment().await;
        let answer = work(&mut self.durable.lock().unwrap());
        self.moment().await;
        let mut weather = self.weather.lock().unwrap();
        let lost = weather.lost.is_some_and(|whole| weather.dice.chance(1, whole));
        if lost { Err(StoreError::Busy) } else { Ok(answer) }
    }
}

impl Durable {
    /// An earlier disposition wins. Answers what holds, and whether it is this one.
    fn end(&mut self, key: (QueueId, u32), disposition: Disposition, forgets: bool) -> (Disposition, bool) {
        if let Some(earlier) = self.remembered.get(&key) {
            return (earlier.clone(), false);
        }
        self.ends.entry(key).or_default().push(disposition.clone());
        if !forgets {
            self.remembered.insert(key, disposition.clone());
        }
        (disposition, true)
    }
}

impl MailStore for ModelStore {
    fn deliver(&self, delivery: Delivery) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        Box::pin(self.transaction(move |durable| {
            let body = delivery.body.read().unwrap();
            let mut answer = BTreeMap::new();
            for copy in &delivery.copies {
                let key = (delivery.queue_id, copy.recipient);
                let (holds, is_new) = durable.end(key, Disposition::Delivered, self.forgets);
                if is_new {
                    durable.copies.push((delivery.queue_id, copy.mailbox.clone(), body.to_vec()));
                }
                answer.insert(copy.recipient, holds);
            }
            answer.into_iter().collect()
        }))
    }

    fn record(
        &self,
        queue_id: QueueId,
        dispositions: Vec<(u32, Disposition)>,
    ) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        Box::pin(self.transaction(move |durable| {
            let end = |(recipient, disposition)| {
                (recipient, durable.end((queue_id, recipient), disposition, self.forgets).0)
            };
            dispositions.into_iter().map(end).collect()
        }))
    }

    fn remembered(
        &self,
        queue_id: QueueId,
        recipients: Vec<u32>,
    ) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>> {
        Box::pin(self.transaction(move |durable| {
            let known = |recipient| {
                let disposition = durable.remembered.get(&(queue_id, recipient))?;
                Some((recipient, disposition.clone()))
            };
            recipients.into_iter().filter_map(known).collect()
        }))
    }

    fn forget(&self, queue_id: QueueId, recipients: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.moment().await;
            let mut durable = self.durable.lock().unwrap();
            durable
                .remembered
                .retain(|(id, recipient), _| *id != queue_id || !recipients.contains(recipient));
            Ok(())
        })
    }

    fn forget_all_but(&self, held: HashSet<QueueId>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.durable.lock().unwrap().remembered.retain(|(id, _), _| held.contains(id));
            Ok(())
        })
    }

    fn mailboxes(&self) -> BoxFuture<'_, Result<Vec<MailboxTotals>, StoreError>> {
        panic!("no reader here")
    }

    fn list(&self, _mailbox: &str) -> BoxFuture<'_, Result<Listing, StoreError>> {
        panic!("no reader here")
    }

    fn summary(&self, _mailbox: &str, _uid: u32) -> BoxFuture<'_, Result<Option<Summary>, StoreError>> {
        panic!("no reader here")
    }

    fn fetch(&self, _mailbox: &str, _uid: u32) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>> {
        panic!("no reader here")
    }

    fn delete(&self, _mailbox: &str, _uids: Vec<u32>) -> BoxFuture<'_, Result<usize, StoreError>> {
        panic!("no reader here")
    }

    fn mark(&self, _mailbox: &str, _uid: u32, _mark: ScanMark) -> BoxFuture<'_, Result<(), StoreError>> {
        panic!("no reader here")
    }

    fn remove_mailbox(&self, _mailbox: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        panic!("no reader here")
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// What all seeds share.
struct Site {
    house: House,
    scanner: Scanner,
    rewriter: Rewriter,
}

/// One seed's world.
struct World<'a> {
    site: &'a Site,
    disk: SimulatedDisk,
    durable: Arc<Mutex<Durable>>,
    dice: Dice,
    /// How many recipients each acknowledged mail has.
    acknowledged: BTreeMap<QueueId, u32>,
    forgets: bool,
    /// Whether what is infected is taken out, rather than the mail put away.
    rewrites: bool,
    /// Acknowledged mails by what stands in each of them, and whose mailboxes they are for.
    marked: Vec<(String, Vec<&'static str>)>,
}

// === impl Site ===

impl Site {
    fn new() -> Self {
        let house = House::new();
        let engine = Arc::clone(&house.engine) as Arc<dyn Engine>;
        let metrics = scan::Metrics::register(&prometheus::Registry::new()).unwrap();
        let scanner = Scanner::start(engine, &scan::Settings::default(), metrics).unwrap();
        let rewriter = Rewriter::start(scanner.clone(), MemoryBudget::default()).unwrap();
        Self { house, scanner, rewriter }
    }
}

// === impl World ===

impl World<'_> {
    /// Takes mail in until the power goes, somewhere.
    async fn live(&mut self, last: bool) {
        if !last && self.dice.chance(1, 2) {
            let call = self.disk.calls() + self.dice.below(60);
            self.disk.fail_nth(call, Fault::PowerOff);
        }
        let weather = Weather {
            dice: Dice::new(self.dice.below(u64::MAX)),
            moments_left: (!last && self.dice.chance(1, 2)).then(|| self.dice.below(16)),
            lost: (!last).then_some(3),
        };
        let forgets = self.forgets;
        let durable = Arc::clone(&self.durable);
        let store = Arc::new(ModelStore {
            durable,
            weather: Mutex::new(weather),
            power_gone: Notify::new(),
            forgets,
        });
        // The scanner changes its mind between two lives: what was decided stays decided.
        let verdict = if self.dice.chance(1, 2) { infected() } else { Verdict::Clean };
        self.site.house.engine.learn(&self.dice.below(1_000_000).to_string(), verdict);
        let settings =
            queue::Settings { segment_octets: 64 * 1024, free_octets_min: 0, ..queue::Settings::default() };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        if let Ok((queue, _recovered)) = Queue::open(disk, Path::new("/queue"), settings, None) {
            // Where the power goes before they start, nobody works in this life.
            if let Ok(quarantine) = self.quarantine() {
                let rooms = self.rooms(&queue, &store, quarantine);
                let deletion = [self.dice.chance(1, 2), self.dice.chance(1, 2)];
                let policy = if self.rewrites { rewriting(deletion) } else { policy(deletion) };
                if let Ok(workers) = Workers::start(rooms, &Settings::default(), policy, None).await {
                    self.work(workers, &queue, &store, last).await;
                }
            }
            self.disk.crash(self.dice.below(u64::MAX));
            queue.close().await;
        } else {
            self.disk.crash(self.dice.below(u64::MAX));
        }
    }

    async fn work(&mut self, workers: Workers, queue: &Queue, store: &ModelStore, last: bool) {
        for _ in 0..self.dice.below(5) {
            self.accept(queue).await;
        }
        self.wait(queue, store, last).await;
        for task in workers.tasks {
            task.abort();
            let _aborted = task.await;
        }
    }

    fn quarantine(&self) -> std::io::Result<Quarantine> {
        let (disk, settings) = (Arc::new(self.disk.clone()), quarantine::Settings::default());
        let overruled = scan::Overruled::default();
        Quarantine::open(disk, Path::new("/quarantine"), settings, overruled, Log::discarding(), None)
    }

    fn rooms(&self, queue: &Queue, store: &Arc<ModelStore>, quarantine: Quarantine) -> Rooms {
        Rooms {
            queue: queue.clone(),
            scanner: self.site.scanner.clone(),
            directory: crate::directory::Directory::open(
                &self.site.house.folder.path().join("directory.sqlite"),
            )
            .unwrap(),
            store: Arc::clone(store) as Arc<dyn MailStore>,
            proactive: HashMap::new(),
            events: Log::discarding(),
            warned: Pace::default(),
            remote: None,
            watchdog: Watchdog::start(Log::discarding(), None).unwrap(),
            badmail: None,
            quarantine,
            rewriter: self.site.rewriter.clone(),
        }
    }

    async fn wait(&mut self, queue: &Queue, store: &ModelStore, last: bool) {
        if last {
            for _ in 0..4_000 {
                if queue.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            panic!("the queue stays as {:?}", queue.list().await);
        }
        let time = Duration::from_millis(self.dice.below(60));
        let _either = tokio::time::timeout(time, store.power_gone.notified()).await;
    }

    async fn accept(&mut self, queue: &Queue) {
        let everybody = [(ALICE, ""), (BOB, ""), (GONE, "")];
        let recipients: Vec<_> = everybody.into_iter().filter(|_| self.dice.chance(2, 3)).collect();
        let count = u32::try_from(recipients.len()).unwrap();
        let text =
            if self.dice.chance(1, 2) { "Subject: a\r\n\r\nMARK\r\n" } else { "Subject: b\r\n\r\nfine\r\n" };
        let (token, body) = if self.rewrites {
            let token = format!("token-{}.", self.dice.below(u64::MAX));
            (token.clone(), in_parts(&token))
        } else {
            (String::new(), text.to_owned())
        };
        let body = Body::Memory(body.into());
        let mailboxes: Vec<_> =
            recipients.iter().map(|(name, _)| *name).filter(|name| *name != GONE).collect();
        let stamp = self.dice.chance(1, 2).then(|| self.site.house.engine.stamp());
        if count > 0 {
            let mail = Mail {
                sender: "<alice@localhost>",
                // A notification that quotes a virus would be deleted itself.
                params: " RET=HDRS",
                stamp,
                recipients,
                body,
                ..Mail::default()
            };
            if let Ok(id) = mail.try_accept(queue).await {
                self.acknowledged.insert(id, count);
                self.marked.push((token, mailboxes));
            }
        }
    }

    /// What is wrong in the end.
    async fn findings(&self) -> Vec<String> {
        let quarantine = self.quarantine().unwrap();
        let kept = quarantine.list(Selection::default(), "test").await.unwrap();
        let durable = self.durable.lock().unwrap();
        let mut findings = Vec::new();
        for (&id, &recipients) in &self.acknowledged {
            let mut bounced = false;
            for recipient in 0..recipients {
                let ends = durable.ends.get(&(id, recipient)).map_or(&[][..], Vec::as_slice);
                if ends.len() != 1 {
                    findings.push(format!("{id} recipient {recipient}: {ends:?}"));
                }
                bounced |= matches!(ends.first(), Some(Disposition::Bounced { .. }));
                let is_to_be_kept = matches!(ends.first(), Some(Disposition::Quarantined { .. }));
                let of_this = kept.iter().filter(|record| record.id == id.to_string());
                let copies = of_this.flat_map(|record| &record.recipients);
                let is_kept = copies.filter(|copy| copy.index == recipient).count();
                if is_kept != usize::from(is_to_be_kept) {
                    findings.push(format!("{id} recipient {recipient}: {ends:?}, {is_kept} in quarantine"));
                }
            }
            let name = format!("Its name here is {id}.");
            let copies = durable.copies.iter();
            let told = copies.filter(|(_, _, mail)| String::from_utf8_lossy(mail).contains(&name)).count();
            if told != usize::from(bounced) {
                findings.push(format!("{id}: {told} notifications"));
            }
        }
        findings
    }

    /// As above, where what is infected is taken out: whatever it is called in the queue in the end, everybody has the rest of
    /// it, and has it once.
    fn findings_of_rewriting(&self) -> Vec<String> {
        let durable = self.durable.lock().unwrap();
        let mut findings = Vec::new();
        for (token, mailboxes) in &self.marked {
            for mailbox in mailboxes {
                let has = |(_, of, mail): &&(QueueId, String, Vec<u8>)| {
                    // What comes back of the mail for who is gone has no body.
                    of == mailbox && String::from_utf8_lossy(mail).contains(token)
                };
                let copies = durable.copies.iter().filter(has).count();
                if copies != 1 {
                    findings.push(format!("{token} {mailbox}: {copies} copies"));
                }
            }
        }
        findings
    }
}

/// Several lives of a world, the last one without faults, and what is wrong behind them.
async fn history(site: &Site, seed: u64, forgets: bool) -> Vec<String> {
    lived(site, seed, forgets, false).await.findings().await
}

async fn lived(site: &Site, seed: u64, forgets: bool, rewrites: bool) -> World<'_> {
    let mut world = World {
        site,
        disk: SimulatedDisk::new(),
        durable: Arc::default(),
        dice: Dice::new(seed),
        acknowledged: BTreeMap::new(),
        forgets,
        rewrites,
        marked: Vec::new(),
    };
    for _ in 0..=world.dice.below(3) {
        world.live(false).await;
    }
    world.live(true).await;
    world
}

/// A mail of which one part may be infected.
fn in_parts(token: &str) -> String {
    format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{token}\r\n--b\r\n\r\nMARK\r\n--b--\r\n"
    )
}

/// For those who live here; the others' mail is rewritten as well or put away.
fn rewriting([as_well, deletion]: [bool; 2]) -> Policy {
    let rewriting = Rewriting { cleans: true, keeps_original: false, otherwise: Disposal::Delete };
    let (rewriting, others) = (InfectedAction::Rewrite(rewriting), policy([deletion; 2]));
    let infected = if as_well { rewriting } else { others.usual.infected };
    Policy { usual: treated(infected), databases: in_database(rewriting), ..others }
}

/// Whether mail is deleted for who lives nowhere, and for those who live here.
fn policy([elsewhere, here]: [bool; 2]) -> Policy {
    let pause = Duration::from_millis(8);
    let retries = Retries::Exponential(Backoff { first: pause, longest: pause });
    let local = Schedule { retries, delay_notice: None, expiry: Duration::from_secs(3600) };
    let schedules = Schedules { local, ..Schedules::default() };
    Policy {
        hostname: "mx.localhost".to_owned(),
        schedules,
        usual: treated(InfectedAction::Delete.allowed(elsewhere)),
        databases: in_database(InfectedAction::Delete.allowed(here)),
        warnings_per_hour: 0,
        open_listeners: HashSet::new(),
    }
}

fn infected() -> Verdict {
    Verdict::Infected { threat: "Late".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recipient_has_one_end_wherever_the_power_goes() {
    let site = Site::new();
    for seed in 0..SEEDS {
        let findings = history(&site, seed, false).await;
        assert!(findings.is_empty(), "seed {seed}: {findings:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rewritten_arrives_once_wherever_the_power_goes() {
    let site = Site::new();
    for seed in 0..SEEDS {
        let findings = lived(&site, seed, false, true).await.findings_of_rewriting();
        assert!(findings.is_empty(), "seed {seed}: {findings:#?}");
    }
}

/// The test above would have caught KB883522: with a store that tells nobody what it has deleted, and does not remember,
/// it fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kb883522_the_simulation_finds_the_old_behaviour() {
    let site = Site::new();
    for seed in 0..SEEDS {
        let findings = history(&site, seed, true).await;
        if findings.iter().any(|finding| finding.matches("DeletedByPolicy").count() > 1) {
            return;
        }
    }
    panic!("{SEEDS} histories without a mail that is deleted twice");
}

const SEEDS: u64 = 60;
const GONE: &str = "gone@localhost";
