//! Replays what fuzzing has left behind: the seeds, and every input that once failed. Needs no instrumentation.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

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

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
