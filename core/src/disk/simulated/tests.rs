use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;

use super::*;

fn filled(disk: &SimulatedDisk, path: &str, octets: &[u8]) -> Box<dyn DiskFile> {
    let file = disk.create(Path::new(path)).unwrap();
    file.write_all_at(0, &[IoSlice::new(octets)]).unwrap();
    file
}

fn contents(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), true).ok()?;
    let mut octets = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut octets).unwrap();
    Some(octets)
}

#[test]
fn what_was_flushed_survives_every_crash() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new();
        filled(&disk, "/q/a", &[7; 3000]).flush().unwrap();
        disk.flush_folder(Path::new("/q")).unwrap();
        disk.crash(seed);
        assert_eq!(contents(&disk, "/q/a"), Some(vec![7; 3000]));
    }
}

#[test]
fn sectors_that_were_not_flushed_are_kept_lost_or_torn() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimulatedDisk::new();
        let file = filled(&disk, "/q/a", &[1; 1024]);
        file.flush().unwrap();
        disk.flush_folder(Path::new("/q")).unwrap();
        file.write_all_at(0, &[IoSlice::new(&[2; 1024])]).unwrap();
        disk.crash(seed);
        let octets = contents(&disk, "/q/a").unwrap();
        let new = octets[..512].iter().filter(|octet| **octet == 2).count();
        seen.insert(match new {
            0 => "lost",
            512 => "kept",
            _ => "torn",
        });
        assert!(file.flush().is_err(), "a handle from before the crash is dead");
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_name_survives_for_sure_only_after_its_folder_was_flushed() {
    let survivors = (0..100).filter(|seed| {
        let disk = SimulatedDisk::new();
        filled(&disk, "/q/a", b"x").flush().unwrap();
        disk.crash(*seed);
        contents(&disk, "/q/a").is_some()
    });
    assert!((1..100).contains(&survivors.count()));
}

#[test]
fn a_failed_flush_drops_what_it_should_have_written() {
    let disk = SimulatedDisk::new();
    let file = filled(&disk, "/q/a", &[1; 512]);
    file.flush().unwrap();
    disk.flush_folder(Path::new("/q")).unwrap();
    file.write_all_at(0, &[IoSlice::new(&[2; 512])]).unwrap();
    disk.fail_nth(disk.calls() + 1, Fault::Io);
    assert!(file.flush().is_err());
    file.flush().unwrap();
    assert_eq!(contents(&disk, "/q/a"), Some(vec![2; 512]));
    disk.crash(1);
    assert_eq!(contents(&disk, "/q/a"), Some(vec![1; 512]));
}

#[test]
fn a_full_disk_and_a_short_write_say_so() {
    let disk = SimulatedDisk::new();
    disk.set_capacity(Some(1000));
    let file = disk.create(Path::new("/q/a")).unwrap();
    let full = file.write_all_at(0, &[IoSlice::new(&[1; 1001])]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    disk.fail_nth(disk.calls() + 1, Fault::ShortWrite);
    let short = file.write_all_at(0, &[IoSlice::new(&[1; 100])]).unwrap_err();
    assert_eq!(short.kind(), io::ErrorKind::StorageFull);
    assert_eq!(contents(&disk, "/q/a"), Some(vec![1; 50]));
    assert_eq!(disk.free_octets(Path::new("/q")).unwrap(), 950);
}

#[test]
fn nothing_works_between_power_off_and_restart() {
    let disk = SimulatedDisk::new();
    disk.fail_nth(2, Fault::PowerOff);
    let file = disk.create(Path::new("/q/a")).unwrap();
    assert!(file.flush().is_err());
    assert!(disk.list(Path::new("/q")).is_err());
    disk.crash(3);
    assert!(disk.list(Path::new("/q")).is_ok());
}
