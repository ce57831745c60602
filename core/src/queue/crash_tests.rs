//! Random work on the simulated disk, with failing calls and the power going at any call; after each restart the
//! queue is compared with a ledger of what it had promised.

mod ledger;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use gatepost_smtp::server::Recipient;
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

use self::ledger::{Expected, Flags, Ledger};
use super::committer::{Committer, Work};
use super::handle::assemble;
use super::index::{Due, Stage};
use super::shared::{Lease, Loaded, Shared};
use super::standing::{Mark, Marks};
use super::test_support::message;
use super::*;
use crate::delivery::Disposition;
use crate::disk::{Dice, Disk, Fault, SimulatedDisk};
use crate::intake::{Body, Spool};

struct Life {
    disk: SimulatedDisk,
    committer: Committer,
    shared: Arc<Shared>,
}

fn seeds() -> u64 {
    std::env::var("GATEPOST_CRASH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

fn begin_life(disk: &SimulatedDisk) -> (Life, Recovered) {
    let settings = Settings { segment_octets: 4 * 1024, free_octets_min: 0, ..Settings::default() };
    let shared_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let spool = Spool::inline(Arc::clone(&shared_disk), &Path::new(ROOT).join("bodies")).unwrap();
    let (mut committer, shared, recovered) =
        assemble(shared_disk, Path::new(ROOT), &settings, spool, None, None, false).unwrap();
    committer.lift_stop();
    committer.remove_segments();
    (Life { disk: disk.clone(), committer, shared }, recovered)
}

// === impl Life ===

impl Life {
    fn new_message(&self, dice: &mut Dice) -> (NewMessage, usize, Bytes) {
        let id = self.shared.ids.allocate(dice.below(1_000));
        let octets = Bytes::from(dice.roll().to_le_bytes().repeat(dice.below_usize(250)));
        let stored = if dice.chance(1, 5) { self.shared.spool.store(&octets).ok() } else { None };
        let body = stored.map_or_else(|| Body::Memory(octets.clone()), |file| Body::File(Arc::new(file)));
        let mut message = message(id, RECIPIENTS, body);
        // The grammar of addresses is tested elsewhere and would take half of the time here.
        let domain = dice.below_usize(DOMAINS.len());
        let envelope = &mut message.submission.envelope;
        (envelope.reverse_path, envelope.params) = (ReversePath::Null, MailParams::default());
        for recipient in &mut envelope.recipients {
            *recipient = Recipient { path: PATHS[domain].clone(), params: RcptParams::default() };
        }
        (message, domain, octets)
    }

    fn claim(&self, due: &Due) -> Option<Claim> {
        let message = match due.fresh.clone() {
            Some(message) => message,
            None => match self.shared.load(due.id, due.place) {
                Loaded::Whole(message) => message,
                Loaded::Damaged => panic!("{} is damaged", due.id),
                Loaded::Unreadable(_) => return None,
            },
        };
        Some(Lease::claim(&self.shared, due, message))
    }

    /// One batch of all that sessions, workers and operators hand in; writes into the ledger what came of it.
    fn work(&mut self, dice: &mut Dice, ledger: &mut Ledger) {
        let mut work = Vec::new();
        for _ in 0..=dice.below(5) {
            let (message, domain, octets) = self.new_message(dice);
            ledger.given_again(message.id);
            work.push((Work::append(message.clone()), Expected::Appended(message.id, domain, octets)));
        }
        for _ in 0..dice.below(4) {
            work.extend(self.attempt(dice, ledger));
        }
        if dice.chance(1, 6) {
            let rules: Vec<usize> = (0..DOMAINS.len()).filter(|_| dice.chance(1, 3)).collect();
            let holds = rules.iter().map(|domain| HoldRule::Domain(DOMAINS[*domain].to_owned()));
            work.push((Work::rules(holds.collect()), Expected::Rules(rules.into_iter().collect())));
        }
        if dice.chance(1, 4) {
            let mark = [Mark::Hold, Mark::Thaw, Mark::Thaw, Mark::GiveUp][dice.below_usize(4)];
            let ids = self.shared.index().ids().into_iter().filter(|_| dice.chance(1, 4));
            let ids: Vec<QueueId> = ids.collect();
            work.push((Work::marks(Marks { mark, ids: ids.clone() }), Expected::Marked(mark, ids)));
        }
        if dice.chance(1, 4) {
            work.extend(self.removal(dice));
        }
        let (work, expected): (Vec<_>, Vec<_>) = work.into_iter().unzip();
        for (result, expected) in self.committer.commit(work).into_iter().zip(expected) {
            ledger.note(expected, result);
        }
        self.committer.remove_segments();
        for _ in 0..dice.below(4) {
            self.committer.carry_on();
        }
        if self.committer.is_stopped() && self.committer.lift_stop() {
            ledger.forget_failures();
        }
    }

    /// An attempt that ends for some recipients, and has something to tell the sender now and then.
    fn attempt(&self, dice: &mut Dice, ledger: &mut Ledger) -> Option<(Work, Expected)> {
        let due = self.shared.index().pop_due(u64::MAX, |_| true)?;
        let claim = self.claim(&due)?;
        let done: Vec<usize> = due.pending.iter().copied().filter(|_| dice.chance(2, 3)).collect();
        let outcomes = due.pending.iter().map(|recipient| {
            let outcome = if done.contains(recipient) {
                Outcome::Done(Disposition::Delivered)
            } else {
                Outcome::Retry { reason: "4.2.0 not now".to_owned(), not_before_ms: 5 }
            };
            (*recipient, outcome)
        });
        let change = self.shared.index().plan(claim.id, outcomes.collect()).unwrap();
        let left: Vec<usize> =
            due.pending.iter().copied().filter(|recipient| !done.contains(recipient)).collect();
        let (mut follow_ups, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..if done.is_empty() { 0 } else { dice.below(3) } {
            let (message, domain, octets) = self.new_message(dice);
            ledger.given_again(message.id);
            expected.push((message.id, domain, octets));
            follow_ups.push(message);
        }
        Some((Work::settle(change, claim, follow_ups), Expected::Settled(due.id, left, expected)))
    }

    /// An operator takes a message out in silence.
    fn removal(&self, dice: &mut Dice) -> Option<(Work, Expected)> {
        let mut index = self.shared.index();
        let waiting = index.ids();
        let id = *waiting.get(dice.below_usize(waiting.len()))?;
        let entry = index.get(id).filter(|entry| entry.stage != Stage::Claimed)?;
        let (place, has_file) = (entry.place(), entry.has_file);
        let change = index.plan_removal(id)?;
        index.take(id);
        drop(index);
        let lease = Lease::claim_guard(&self.shared, id);
        let message = match has_file.then(|| self.shared.load(id, place)) {
            Some(Loaded::Whole(message)) => Some(message),
            _ => None,
        };
        Some((Work::remove(change, message, lease), Expected::Settled(id, Vec::new(), Vec::new())))
    }

    /// Compares what recovery found with what was promised; from here on that is what is known.
    fn check(&self, ledger: &mut Ledger, seed: u64) {
        let index = self.shared.index();
        let found = index.ids().into_iter().filter_map(|id| {
            let entry = index.get(id)?;
            let flags = Flags { held: entry.held, given_up: entry.given_up };
            Some((id, (entry.pending.indices(), flags)))
        });
        let found = found.collect();
        let rules = index.rules().as_slice().iter().map(|rule| match rule {
            HoldRule::Domain(domain) => DOMAINS.iter().position(|known| known == domain).unwrap(),
            other => panic!("nobody set {other:?}"),
        });
        let rules = rules.collect();
        drop(index);
        ledger.check(&found, rules, seed);
        for (id, body) in ledger.pending_bodies() {
            let place = self.shared.index().get(id).unwrap().place();
            let Loaded::Whole(message) = self.shared.load(id, place) else {
                panic!("seed {seed}: {id} unreadable")
            };
            assert!(message.body.read().unwrap() == body, "seed {seed}: {id} has other octets");
        }
    }

    /// Frees and delivers all that is left.
    fn drain(&mut self) {
        let ids = self.shared.index().ids();
        let freed = vec![Work::rules(Vec::new()), Work::marks(Marks { mark: Mark::Thaw, ids })];
        assert_eq!(self.committer.commit(freed), [Ok(()), Ok(())]);
        while let Some(due) = { self.shared.index().pop_due(u64::MAX, |_| true) } {
            let claim = self.claim(&due).unwrap();
            let outcomes =
                due.pending.iter().map(|recipient| (*recipient, Outcome::Done(Disposition::Delivered)));
            let change = self.shared.index().plan(due.id, outcomes.collect()).unwrap();
            assert_eq!(self.committer.commit(vec![Work::settle(change, claim, Vec::new())]), [Ok(())]);
            self.committer.remove_segments();
        }
    }
}

fn play(seed: u64) {
    let mut dice = Dice::new(seed);
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    for _ in 0..3 {
        let (mut life, recovered) = begin_life(&disk);
        assert_eq!(recovered.corrupt_records, 0, "seed {seed}: a torn tail was taken for damage");
        life.check(&mut ledger, seed);
        for _ in 0..dice.below(3) {
            let fault = [Fault::Io, Fault::Full, Fault::ShortWrite][dice.below_usize(3)];
            life.disk.fail_nth(disk.calls() + 1 + dice.below(100), fault);
        }
        if dice.chance(3, 4) {
            life.disk.fail_nth(disk.calls() + 1 + dice.below(150), Fault::PowerOff);
        }
        for _ in 0..16 {
            if disk.is_off() {
                break;
            }
            life.work(&mut dice, &mut ledger);
        }
        CARRIED.fetch_add(life.shared.counts.carried.load(Ordering::Relaxed), Ordering::Relaxed);
        drop(life);
        disk.crash(dice.roll());
    }
    let (mut life, _) = begin_life(&disk);
    life.check(&mut ledger, seed);
    life.drain();
    let (life, recovered) = begin_life(&disk);
    assert_eq!((recovered.messages, recovered.corrupt_records), (0, 0), "seed {seed}: something came back");
    assert_eq!(disk.list(&Path::new(ROOT).join("bodies")).unwrap().len(), 0, "seed {seed}: bodies are left");
    assert_eq!(disk.list(Path::new(ROOT)).unwrap().len(), 1, "seed {seed}: segments are left");
    drop(life);
}

/// In four parts, which run side by side.
fn play_part(part: u64) {
    for seed in (0..seeds()).filter(|seed| seed % 4 == part) {
        play(seed);
    }
    assert!(seeds() < 400 || CARRIED.load(Ordering::Relaxed) > 0, "no mail was carried on");
}

#[test]
fn no_crash_loses_doubles_or_changes_an_acknowledged_mail_part_0() {
    play_part(0);
}

#[test]
fn no_crash_loses_doubles_or_changes_an_acknowledged_mail_part_1() {
    play_part(1);
}

#[test]
fn no_crash_loses_doubles_or_changes_an_acknowledged_mail_part_2() {
    play_part(2);
}

#[test]
fn no_crash_loses_doubles_or_changes_an_acknowledged_mail_part_3() {
    play_part(3);
}

#[test]
fn the_power_may_go_at_every_single_call() {
    for call in 1..200 {
        let disk = SimulatedDisk::new();
        let mut dice = Dice::new(call);
        let mut ledger = Ledger::default();
        let (mut life, _) = begin_life(&disk);
        disk.fail_nth(disk.calls() + call, Fault::PowerOff);
        for _ in 0..12 {
            life.work(&mut dice, &mut ledger);
        }
        disk.crash(call);
        let (life, recovered) = begin_life(&disk);
        assert_eq!(recovered.corrupt_records, 0);
        life.check(&mut ledger, call);
    }
}

const ROOT: &str = "/queue";
const RECIPIENTS: usize = 3;
const DOMAINS: [&str; 3] = ["one.example", "two.example", "three.example"];
static PATHS: LazyLock<[ForwardPath; 3]> =
    LazyLock::new(|| DOMAINS.map(|domain| format!("<x@{domain}>").parse().unwrap()));
/// Mails carried on in all lives of this process.
static CARRIED: AtomicU64 = AtomicU64::new(0);
