//! The process for one item, or the one that tells the version. It ends by ending its process group: so nothing that a
//! command has started outlives the item.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use gatepost_core::scan::engines::command::wire::{self, Answer};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Signal, kill_current_process_group};

use super::OURSELVES;
use super::program::{self, Ended};
use super::settings::Settings;
use super::version::Versions;
use crate::config::SandboxMode;
use crate::hardening;
use crate::private::FOLDER_MODE;
use crate::sandbox::programs::{self, Reach, Stage};

/// Serves the session that is its standard input.
pub(super) fn run(settings: &Settings) -> io::Result<()> {
    let mut session = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let served = match get_ready(settings) {
        Ok(scratch) => serve(settings, &scratch, &mut session),
        Err(reason) => Answer::Failed(reason).write_to(&mut session),
    };
    // Never comes back. The server reads what was written all the same.
    kill_current_process_group(Signal::KILL)?;
    served
}

fn get_ready(settings: &Settings) -> Result<PathBuf, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    hardening::forbid_core_dumps().map_err(|error| text(&error))?;
    let _ = rustix::thread::set_name(c"gatepost-item");
    let scratch = settings.scratch.join(std::process::id().to_string());
    DirBuilder::new()
        .mode(FOLDER_MODE)
        .create(&scratch)
        .map_err(|error| format!("a folder for the item: {error}"))?;
    let mut run = settings.reach();
    run.push(PathBuf::from(OURSELVES));
    let reach = Reach { run: &run, write: &scratch };
    programs::confine(settings.sandbox, Stage::Item, &reach, settings.limits())
        .map_err(|error| text(&error))?;
    if settings.sandbox == SandboxMode::Enforce {
        let holes = programs::holes();
        if !holes.is_empty() {
            return Err(format!("the sandbox does not hold: {}", holes.join(", ")));
        }
    }
    Ok(scratch)
}

/// One request after the other; an item, or a version by a command, is the last.
fn serve(settings: &Settings, scratch: &Path, session: &mut UnixStream) -> io::Result<()> {
    let mut versions = Versions::default();
    let mut kind = [0];
    loop {
        session.read_exact(&mut kind)?;
        match kind {
            [wire::VERSION] => {
                let (answer, is_last) = versions.tell(settings, scratch, session);
                answer.write_to(session)?;
                if is_last {
                    return Ok(());
                }
            }
            [wire::ITEM] => {
                let answer = match receive(settings, session)? {
                    Ok(item) => scan(settings, scratch, session, item),
                    Err(reason) => Answer::Failed(reason),
                };
                return answer.write_to(session);
            }
            _ => return Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }
}

/// Into memory that the command has as its standard input, and can read there in any order.
fn receive(settings: &Settings, session: &mut UnixStream) -> io::Result<Result<File, String>> {
    let mut length = [0; 8];
    session.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    if length > settings.item_octets_max {
        return Ok(Err(format!("an item of {length} octets")));
    }
    let mut item = File::from(memfd_create(c"item", MemfdFlags::CLOEXEC)?);
    let copied = io::copy(&mut session.take(length), &mut item)?;
    if copied < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    item.flush()?;
    item.rewind()?;
    Ok(Ok(item))
}

fn scan(settings: &Settings, scratch: &Path, session: &UnixStream, item: File) -> Answer {
    let ended = match program::run(&settings.command, item, scratch, settings.timeout(), session) {
        Ok(ended) => ended,
        Err(error) => return Answer::Failed(error.to_string()),
    };
    let Ended { code, output, .. } = &ended;
    match code {
        Some(code) if settings.clean.contains(code) => Answer::Clean,
        Some(code) if settings.infected.contains(code) => Answer::Infected(output.clone()),
        _ => Answer::Failed(ended.failure()),
    }
}
