//! The parent of a command's processes: a loop without a thread, which reads one octet and one descriptor at a time.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use gatepost_core::scan::engines::command::wire;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, setsid, waitid};

use super::settings::Settings;
use super::{NAME, OURSELVES, SUBCOMMAND};
use crate::hardening;
use crate::sandbox::programs::{self, Reach, Stage};

/// Ends with the server: nobody else has the other end of its socket.
pub(super) fn run(settings: &Settings, text: &str) -> io::Result<()> {
    let server = io::stdin().as_fd().try_clone_to_owned()?;
    if let Err(reason) = get_ready(settings) {
        let mut packet = vec![wire::FAILED];
        packet.extend_from_slice(reason.as_bytes());
        packet.truncate(wire::TEXT_OCTETS_MAX);
        send(&server, &packet, SendFlags::NOSIGNAL)?;
        return Ok(());
    }
    send(&server, &[wire::READY], SendFlags::NOSIGNAL)?;
    let mut parent = Parent { settings, text, children: Vec::new() };
    let ended = parent.serve(&server);
    parent.end_all();
    ended
}

struct Parent<'a> {
    settings: &'a Settings,
    /// The same, as a child is told it.
    text: &'a str,
    children: Vec<Child>,
}

/// What the server has sent.
enum Request {
    Open(OwnedFd),
    Nothing,
    End,
}

// === impl Parent ===

impl Parent<'_> {
    fn serve(&mut self, server: &OwnedFd) -> io::Result<()> {
        loop {
            self.reap();
            let has_room = self.children.len() < self.children_max();
            let events = if has_room { PollFlags::IN } else { PollFlags::empty() };
            let mut polled = [PollFd::new(server, events)];
            let wait = if self.children.is_empty() { None } else { Some(&REAP_INTERVAL) };
            match poll(&mut polled, wait) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if polled.iter().all(|polled| polled.revents().is_empty()) {
                continue;
            }
            match receive(server)? {
                Request::Open(session) => self.start(session),
                Request::Nothing => {}
                Request::End => return Ok(()),
            }
        }
    }

    /// Those for items, the one that tells the version, and as many that are about to end.
    fn children_max(&self) -> usize {
        usize::from(self.settings.processes).saturating_add(1).saturating_mul(2)
    }

    /// Where the system refuses a process the session ends, and its item gets no verdict.
    fn start(&mut self, session: OwnedFd) {
        let mut command = Command::new(OURSELVES);
        command.arg0(NAME).args([SUBCOMMAND, "--item", self.text]).env_clear();
        command.stdin(Stdio::from(session)).stdout(Stdio::null()).process_group(0);
        self.children.extend(command.spawn().ok());
    }

    /// Ends what children that have ended have left behind, and only then lets go of their numbers.
    fn reap(&mut self) {
        let settings = self.settings;
        self.children.retain_mut(|child| {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let is_running = process_id(child)
                .is_some_and(|pid| waitid(WaitId::Pid(pid), options).is_ok_and(|status| status.is_none()));
            if !is_running {
                end(child, settings);
            }
            is_running
        });
    }

    fn end_all(&mut self) {
        for mut child in self.children.drain(..) {
            end(&mut child, self.settings);
        }
    }
}

fn get_ready(settings: &Settings) -> Result<(), String> {
    // A session of its own: no terminal, and no signals that are meant for the server.
    setsid().map_err(|error| error.to_string())?;
    hardening::forbid_core_dumps().map_err(|error| error.to_string())?;
    let _ = rustix::thread::set_name(c"gatepost-scan");
    for program in settings.programs() {
        let metadata =
            std::fs::metadata(&program).map_err(|error| format!("{}: {error}", program.display()))?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(format!("{}: not a program", program.display()));
        }
    }
    let mut run = settings.reach();
    if let Some(missing) = run.iter().find(|path| !path.exists()) {
        return Err(format!("{}: there is no such file or folder, or it cannot be read", missing.display()));
    }
    run.push(PathBuf::from(OURSELVES));
    let reach = Reach { run: &run, write: &settings.scratch };
    programs::confine(settings.sandbox, Stage::Parent, &reach, settings.limits())
        .map_err(|error| error.to_string())
}

fn receive(server: &OwnedFd) -> io::Result<Request> {
    let mut octet = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    match recvmsg(server, &mut [IoSliceMut::new(&mut octet)], &mut control, flags) {
        Ok(packet) if packet.bytes == 0 => return Ok(Request::End),
        Ok(_) => {}
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Request::Nothing),
        Err(rustix::io::Errno::CONNRESET) => return Ok(Request::End),
        Err(error) => return Err(error.into()),
    }
    let passed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match passed {
        Some(session) if octet == [wire::OPEN] => Ok(Request::Open(session)),
        _ => Ok(Request::Nothing),
    }
}

/// The child is the first of its group, which nothing that it has started can leave.
fn end(child: &mut Child, settings: &Settings) {
    if let Some(pid) = process_id(child) {
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = child.wait();
        let _ = std::fs::remove_dir_all(settings.scratch.join(pid.as_raw_pid().to_string()));
    }
}

fn process_id(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Nobody waits for the end of a child; its folder does, and its place.
const REAP_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
