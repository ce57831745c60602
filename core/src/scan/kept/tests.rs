use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus::Registry;

use super::super::verdict_file::Draft;
use super::super::{Engine, EngineIdentity, EnginePolicy, Ensemble, Metrics, POLICY_VERSION, Stamp, Verdict};
use super::*;
use crate::disk::{Fault, SimulatedDisk};

const ROOT: &str = "/verdicts";
const FILE: &str = "/verdicts/one.verdicts";

/// Finds what begins with `bad`, or nothing.
struct Counting {
    signatures: Mutex<&'static str>,
    finds: bool,
    calls: AtomicUsize,
}

impl Engine for Counting {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("one", *self.signatures.lock().unwrap()).unwrap()
    }

    fn scan(&self, item: &[u8], _: Instant) -> Verdict {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.finds && item.starts_with(b"bad") { infected() } else { Verdict::Clean }
    }
}

/// From one start to the next.
struct Run {
    engine: Arc<Counting>,
    ensemble: Ensemble,
}

impl Run {
    fn start(disk: &SimulatedDisk) -> Self {
        Self::with(disk, 7, "1", true)
    }

    fn with(disk: &SimulatedDisk, key: u8, signatures: &'static str, finds: bool) -> Self {
        let signatures = Mutex::new(signatures);
        let engine = Arc::new(Counting { signatures, finds, calls: AtomicUsize::new(0) });
        let folder = VerdictFolder::new(Arc::new(disk.clone()), Path::new(ROOT), SealKey::new(&[key; 32]));
        let metrics = Metrics::register(&Registry::new()).unwrap().engine("one");
        let ensemble = Ensemble::new(EnginePolicy::Any).with("one", engine.clone(), metrics);
        Self { engine, ensemble: ensemble.keeping_in(&folder) }
    }

    /// The verdict, and whether the engine was asked for it.
    fn scan(&self, item: &str) -> (Verdict, bool) {
        let before = self.engine.calls.load(Ordering::SeqCst);
        let verdict = self.ensemble.scan(item.as_bytes(), Instant::now() + Duration::from_secs(60));
        (verdict, self.engine.calls.load(Ordering::SeqCst) != before)
    }

    fn kept(&self) -> u64 {
        self.ensemble.status()[0].kept
    }
}

fn infected() -> Verdict {
    Verdict::Infected { threat: "T".to_owned() }
}

fn names(disk: &SimulatedDisk) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = disk.list(Path::new(ROOT)).unwrap().into_iter().map(name).collect();
    names.sort();
    names
}

fn put(disk: &SimulatedDisk, path: &str, octets: &[u8]) {
    let file = disk.create(Path::new(path)).unwrap();
    file.write_all_at(0, &[IoSlice::new(octets)]).unwrap();
}

/// With what the engine has said of a good item and a bad one.
fn disk_with_two() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let run = Run::start(&disk);
    assert_eq!((run.scan("good"), run.scan("bad")), ((Verdict::Clean, true), (infected(), true)));
    run.ensemble.keep();
    assert_eq!(run.kept(), 2);
    disk
}

#[test]
fn what_was_said_before_a_restart_is_not_asked_again() {
    let disk = disk_with_two();
    disk.crash(1);
    let run = Run::start(&disk);
    assert_eq!(run.kept(), 2);
    assert_eq!((run.scan("good"), run.scan("bad")), ((Verdict::Clean, false), (infected(), false)));
    assert_eq!(run.ensemble.status()[0].remembered, 2);
    let calls = disk.calls();
    run.ensemble.keep();
    assert_eq!(disk.calls(), calls, "there is nothing new to write");
    assert_eq!(run.scan("other"), (Verdict::Clean, true));
    run.ensemble.keep();
    let next = Run::start(&disk);
    assert_eq!((next.scan("other"), next.scan("bad")), ((Verdict::Clean, false), (infected(), false)));
}

#[test]
fn what_was_said_under_other_signatures_does_not_count() {
    let disk = disk_with_two();
    let run = Run::with(&disk, 7, "2", true);
    assert_eq!(run.scan("good"), (Verdict::Clean, true));
    run.ensemble.keep();
    assert_eq!(run.kept(), 1);
    assert_eq!(Run::start(&disk).scan("good"), (Verdict::Clean, true), "nor do these for the older ones");
}

#[test]
fn what_was_said_waits_for_an_engine_that_is_not_there_yet() {
    let disk = disk_with_two();
    let run = Run::with(&disk, 7, "unknown", true);
    let away = |run: &Run| run.ensemble.identity();
    assert_eq!(away(&run).signatures(), "unknown");
    *run.engine.signatures.lock().unwrap() = "1";
    assert_eq!(run.scan("bad"), (infected(), false));

    let run = Run::with(&disk, 7, "2", true);
    assert_eq!(run.scan("good"), (Verdict::Clean, true));
    *run.engine.signatures.lock().unwrap() = "1";
    assert_eq!(run.scan("good"), (Verdict::Clean, true), "it has said something under others meanwhile");
}

#[test]
fn what_was_said_under_another_plan_does_not_count() {
    let disk = SimulatedDisk::new();
    let identity = EngineIdentity::new("one", "1").unwrap();
    for (policy, is_asked) in
        [(POLICY_VERSION, false), (POLICY_VERSION - 1, true), (POLICY_VERSION + 1, true)]
    {
        let mut draft = Draft::new("one", &Stamp::new(identity.clone(), policy), 1);
        draft.add(blake3::hash(b"good").as_bytes(), &Verdict::Clean);
        put(&disk, FILE, &draft.sealed(&SealKey::new(&[7; 32])));
        assert_eq!(Run::start(&disk).scan("good"), (Verdict::Clean, is_asked), "{policy}");
        disk.remove(Path::new(FILE)).unwrap();
    }
}

#[test]
fn what_another_key_has_sealed_is_not_believed() {
    let disk = SimulatedDisk::new();
    let planted = Run::with(&disk, 8, "1", false);
    assert_eq!(planted.scan("bad"), (Verdict::Clean, true));
    planted.ensemble.keep();
    let run = Run::start(&disk);
    assert_eq!(names(&disk), ["one.damaged"]);
    assert_eq!((run.scan("bad"), run.kept()), ((infected(), true), 0));
    run.ensemble.keep();
    assert_eq!(names(&disk), ["one.damaged", "one.verdicts"]);
    assert_eq!(Run::start(&disk).scan("bad"), (infected(), false));
}

#[test]
fn a_damaged_file_is_set_aside_and_costs_calls_alone() {
    for offset in [0, 8, 9, 60, 100] {
        let disk = disk_with_two();
        disk.damage(Path::new(FILE), offset, 0x40);
        let run = Run::start(&disk);
        assert_eq!(names(&disk), ["one.damaged"], "{offset}");
        assert_eq!(run.scan("bad"), (infected(), true));
    }
    let disk = disk_with_two();
    disk.open(Path::new(FILE), false).unwrap().set_len(FILE_OCTETS_MAX as u64 + 1).unwrap();
    assert_eq!(Run::start(&disk).scan("good"), (Verdict::Clean, true));
    assert_eq!(names(&disk), ["one.damaged"]);
}

#[test]
fn what_is_forgotten_does_not_come_back() {
    let disk = disk_with_two();
    let run = Run::start(&disk);
    let _ = run.ensemble.reload_each();
    assert_eq!((names(&disk).is_empty(), run.kept()), (true, 0));
    run.ensemble.keep();
    assert!(names(&disk).is_empty(), "there is nothing to write");
    disk.crash(1);
    assert_eq!(Run::start(&disk).scan("good"), (Verdict::Clean, true));

    let disk = disk_with_two();
    let run = Run::start(&disk);
    disk.fail_nth(disk.calls() + 1, Fault::Io);
    let _ = run.ensemble.reload_each();
    assert_eq!(names(&disk), ["one.verdicts"], "it could not be removed");
    run.ensemble.keep();
    assert_eq!(Run::start(&disk).scan("good"), (Verdict::Clean, true), "so it was written anew");
}

#[test]
fn a_crash_leaves_the_old_file_or_the_new_one() {
    let mut found = BTreeMap::new();
    for seed in 0..400 {
        let disk = disk_with_two();
        let run = Run::start(&disk);
        assert_eq!(run.scan("third"), (Verdict::Clean, true));
        disk.fail_nth(disk.calls() + 1 + seed % 8, Fault::PowerOff);
        run.ensemble.keep();
        disk.crash(seed);
        let next = Run::start(&disk);
        assert!(!names(&disk).contains(&"one.damaged".to_owned()), "{seed}");
        *found.entry(next.kept()).or_insert(0) += 1;
        assert_eq!(next.scan("bad"), (infected(), false), "{seed}");
        assert_eq!(next.scan("third"), (Verdict::Clean, next.kept() == 2), "{seed}");
        assert!(!names(&disk).contains(&"one.new".to_owned()), "{seed}: a start clears up");
    }
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [2, 3], "{found:?}");
}

#[test]
fn a_full_disk_costs_what_was_new_until_there_is_room() {
    let disk = disk_with_two();
    let run = Run::start(&disk);
    assert_eq!(run.scan("third"), (Verdict::Clean, true));
    disk.set_capacity(Some(10));
    run.ensemble.keep();
    assert_eq!((names(&disk), run.kept()), (vec!["one.verdicts".to_owned()], 2));
    disk.set_capacity(None);
    run.ensemble.keep();
    assert_eq!(run.kept(), 3);
    assert_eq!(Run::start(&disk).scan("third"), (Verdict::Clean, false));
}

#[test]
fn files_of_engines_that_are_no_more_are_removed() {
    let disk = disk_with_two();
    for name in ["gone.verdicts", "gone.damaged", "one.new", "one.damaged", "note.txt"] {
        put(&disk, &format!("{ROOT}/{name}"), b"x");
    }
    let _run = Run::start(&disk);
    assert_eq!(names(&disk), ["note.txt", "one.damaged", "one.verdicts"]);
}
