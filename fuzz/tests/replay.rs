//! Replays what fuzzing has left behind: the seeds, and every input that once failed. Needs no instrumentation.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use gatepost_core::disk::Dice;
use gatepost_fuzz::TARGETS;

#[test]
fn every_input_of_corpus_and_regressions_passes() {
    let mut failed = Vec::new();
    for (target, check) in TARGETS {
        let files = [files(&folder("corpus", target)), files(&folder("regressions", target))].concat();
        assert!(!files.is_empty(), "{target} has no seeds");
        for file in files {
            let octets = fs::read(&file).unwrap();
            if catch_unwind(|| check(&octets)).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Not guided by coverage, and so no campaign; but it finds in seconds what a careless change breaks.
#[test]
fn seeds_that_are_cut_joined_and_changed_pass() {
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut failed = Vec::new();
    for (number, (target, check)) in TARGETS.iter().enumerate() {
        let seeds: Vec<_> =
            files(&folder("corpus", target)).iter().map(|file| fs::read(file).unwrap()).collect();
        let mut dice = Dice::new(number as u64);
        for _ in 0..rounds {
            let input = changed(&seeds, &mut dice);
            if catch_unwind(|| check(&input)).is_err() {
                failed.push(format!("{target}: {}", input.escape_ascii()));
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_target_takes_an_empty_input_and_one_of_all_octets() {
    let all: Vec<u8> = (0..=u8::MAX).cycle().take(2_000).collect();
    for (_, check) in TARGETS {
        check(&[]);
        check(&all);
    }
}

#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    for kind in ["corpus", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind);
        let names = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        for name in names {
            assert!(TARGETS.iter().any(|(target, _)| name == *target), "{kind}/{}", name.display());
        }
    }
}

/// The beginning of one seed, the end of another, and some octets that stand elsewhere or are new.
fn changed(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let [one, other] = [(); 2].map(|()| &seeds[dice.below_usize(seeds.len())]);
    let mut input = one[..dice.below_usize(one.len() + 1)].to_vec();
    if dice.chance(1, 2) {
        input.clone_from(one);
    } else {
        input.extend_from_slice(&other[dice.below_usize(other.len() + 1)..]);
    }
    for _ in 0..dice.below(6) {
        let at = dice.below_usize(input.len() + 1);
        let end = (at + dice.below_usize(12)).min(input.len());
        let new = match dice.below(4) {
            0 => Vec::new(),
            1 => input[dice.below_usize(at + 1)..end].to_vec(),
            2 => INTERESTING[dice.below_usize(INTERESTING.len())].to_vec(),
            _ => vec![u8::try_from(dice.below(256)).unwrap()],
        };
        input.splice(at..end, new);
    }
    input
}

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

const ROUNDS: u32 = 100;
const INTERESTING: [&[u8]; 12] = [
    b"\r\n",
    b"\n",
    b"\r",
    b".",
    b"\r\n.\r\n",
    b"\0",
    b"\xff",
    b" ",
    b"RSET\r\n",
    b"DATA\r\n",
    b"BDAT 1\r\n",
    b"9",
];
