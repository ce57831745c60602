//! Random work on the simulated disk, with failing calls and the power going at any call; after each restart the
//! queue is compared with a ledger of what it had promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use gatepost_smtp::server::Recipient;
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

use super::committer::{Committer, Work};
use super::handle::assemble;
use super::index::Due;
use super::shared::{Lease, Loaded, Shared};
use super::test_support::message;
use super::*;
use crate::delivery::Disposition;
use crate::disk::{Dice, Disk, Fault, SimulatedDisk};
use crate::intake::{Body, Spool};

/// What is promised of one message.
#[derive(Debug, Clone)]
struct Promise {
    body: Bytes,
    /// The sets of pending recipients that a restart may find: the one that was promised and, behind it, those of
    /// settles that failed since.
    pending: Vec<Vec<usize>>,
    /// Whether it may be missing: its append failed, so nobody knows.
    may_be_missing: bool,
}

struct Life {
    disk: SimulatedDisk,
    committer: Committer,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Ledger {
    promises: BTreeMap<QueueId, Promise>,
    /// Refused for want of space: never to be seen again.
    refused: BTreeSet<QueueId>,
}

// === impl Ledger ===

impl Ledger {
    /// A fresh segment has flushed and told where the failed one ends: what failed before never comes back.
    fn forget_failures(&mut self) {
        for promise in self.promises.values_mut() {
            promise.pending.truncate(1);
        }
        let failed = self.promises.extract_if(.., |_, promise| promise.may_be_missing);
        self.refused.extend(failed.map(|(id, _)| id));
    }
}

const ROOT: &str = "/queue";
const RECIPIENTS: usize = 3;

fn seeds() -> u64 {
    std::env::var("GATEPOST_CRASH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

fn begin_life(disk: &SimulatedDisk) -> (Life, Recovered) {
    let settings = Settings { segment_octets: 16 * 1024, free_octets_min: 0, ..Settings::default() };
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
    fn new_message(&self, dice: &mut Dice) -> (NewMessage, Bytes) {
        let id = self.shared.ids.allocate(dice.below(1_000));
        let octets = Bytes::from(dice.roll().to_le_bytes().repeat(dice.below_usize(400)));
        let stored = if dice.chance(1, 5) { self.shared.spool.store(&octets).ok() } else { None };
        let body = stored.map_or_else(|| Body::Memory(octets.clone()), |file| Body::File(Arc::new(file)));
        let mut message = message(id, RECIPIENTS, body);
        // The grammar of addresses is tested elsewhere and would take half of the time here.
        let envelope = &mut message.submission.envelope;
        (envelope.reverse_path, envelope.params) = (ReversePath::Null, MailParams::default());
        for recipient in &mut envelope.recipients {
            *recipient = Recipient { path: ForwardPath::Postmaster, params: RcptParams::default() };
        }
        (message, octets)
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

    /// One batch of appends and settles; writes into the ledger what came of them.
    fn work(&mut self, dice: &mut Dice, ledger: &mut Ledger) {
        enum Expected {
            Appended(QueueId, Bytes),
            Settled(QueueId, Vec<usize>),
        }
        let (mut work, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..=dice.below(5) {
            let (message, octets) = self.new_message(dice);
            // An id that never reached the disk may be given again after a restart with a clock that went back.
            ledger.refused.remove(&message.id);
            expected.push(Expected::Appended(message.id, octets));
            work.push(Work::append(message));
        }
        for _ in 0..dice.below(4) {
            let Some(due) = self.shared.index().pop_due(u64::MAX) else { break };
            let Some(claim) = self.claim(&due) else { continue };
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
            let left = due.pending.iter().copied().filter(|recipient| !done.contains(recipient)).collect();
            expected.push(Expected::Settled(due.id, left));
            work.push(Work::settle(change, claim, Vec::new()));
        }
        for (result, expected) in self.committer.commit(work).into_iter().zip(expected) {
            match expected {
                Expected::Appended(id, _) if result == Err(AppendError::Full) => {
                    ledger.refused.insert(id);
                }
                Expected::Appended(id, body) => {
                    let pending = vec![(0..RECIPIENTS).collect()];
                    ledger.promises.insert(id, Promise { body, pending, may_be_missing: result.is_err() });
                }
                Expected::Settled(id, left) => {
                    let promise = ledger.promises.get_mut(&id).unwrap();
                    match result {
                        Ok(()) => promise.pending = vec![left],
                        Err(AppendError::Full) => {}
                        Err(_) => promise.pending.push(left),
                    }
                }
            }
        }
        self.committer.remove_segments();
        if self.committer.is_stopped() && self.committer.lift_stop() {
            ledger.forget_failures();
        }
    }

    /// Compares what recovery found with what was promised; from here on that is what is known.
    fn check(&self, ledger: &mut Ledger, seed: u64) {
        let found: BTreeSet<QueueId> = self.shared.index().ids().into_iter().collect();
        for id in &found {
            assert!(!ledger.refused.contains(id), "seed {seed}: {id} came back after 452");
            assert!(ledger.promises.contains_key(id), "seed {seed}: {id} was never taken");
        }
        ledger.promises.retain(|id, promise| {
            let pending = self.shared.index().get(*id).map_or(Vec::new(), |entry| entry.pending.indices());
            if !found.contains(id) && promise.may_be_missing {
                return false;
            }
            assert!(
                promise.pending.contains(&pending),
                "seed {seed}: {id} has {pending:?} pending, promised was {:?}",
                promise.pending
            );
            promise.pending = vec![pending.clone()];
            promise.may_be_missing = false;
            if !pending.is_empty() {
                let place = self.shared.index().get(*id).unwrap().place();
                let Loaded::Whole(message) = self.shared.load(*id, place) else {
                    panic!("seed {seed}: {id} unreadable")
                };
                assert!(message.body.read().unwrap() == promise.body, "seed {seed}: {id} has other octets");
            }
            true
        });
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
            life.disk.fail_nth(disk.calls() + 1 + dice.below(60), fault);
        }
        life.disk.fail_nth(disk.calls() + 1 + dice.below(80), Fault::PowerOff);
        for _ in 0..10 {
            life.work(&mut dice, &mut ledger);
        }
        drop(life);
        disk.crash(dice.roll());
    }
    let (mut life, _) = begin_life(&disk);
    life.check(&mut ledger, seed);
    drain(&mut life);
    let (life, recovered) = begin_life(&disk);
    assert_eq!((recovered.messages, recovered.corrupt_records), (0, 0), "seed {seed}: something came back");
    assert_eq!(disk.list(&Path::new(ROOT).join("bodies")).unwrap().len(), 0, "seed {seed}: bodies are left");
    assert_eq!(disk.list(Path::new(ROOT)).unwrap().len(), 1, "seed {seed}: segments are left");
    drop(life);
}

fn drain(life: &mut Life) {
    loop {
        let Some(due) = life.shared.index().pop_due(u64::MAX) else { return };
        let claim = life.claim(&due).unwrap();
        let outcomes =
            due.pending.iter().map(|recipient| (*recipient, Outcome::Done(Disposition::Delivered)));
        let change = life.shared.index().plan(due.id, outcomes.collect()).unwrap();
        assert_eq!(life.committer.commit(vec![Work::settle(change, claim, Vec::new())]), [Ok(())]);
        life.committer.remove_segments();
    }
}

/// In four parts, which run side by side.
fn play_part(part: u64) {
    for seed in (0..seeds()).filter(|seed| seed % 4 == part) {
        play(seed);
    }
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
    for call in 1..120 {
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
