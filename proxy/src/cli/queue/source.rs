//! The queue that a command works on: the running server's, or the files where none runs.

use std::io::{self, Read as _};
use std::sync::Arc;

use gatepost_core::disk::RealDisk;
use gatepost_core::events::{About, Log};
use gatepost_core::queue::{self, Affected, Queue, Removal, Selection, Snapshot};

use super::super::site::folder_failure;
use super::super::{Exit, Failure, quarantine};
use crate::control::client::Part;
use crate::control::message::{FailedKind, Line, Request, parse_id};
use crate::control::queued::{Filter, Order};
use crate::control::{Client, ClientError};
use crate::data_folder::{DataFolder, FolderError, FolderLock};
use crate::sandbox;

/// Answers requests, wherever the queue is.
pub(in crate::cli) enum Source {
    /// A server runs.
    Live(Client),
    /// None does.
    Files(DataFolder),
}

// === impl Source ===

impl Source {
    pub(in crate::cli) fn open(folder: &DataFolder) -> Result<Self, Failure> {
        match Client::connect(folder) {
            Ok(Some(client)) => Ok(Self::Live(client)),
            Ok(None) => Ok(Self::Files(folder.clone())),
            Err(error) => Err(failure(error)),
        }
    }

    /// Hands over the answer part by part.
    pub(in crate::cli) fn ask(
        &mut self,
        request: Request,
        take: &mut dyn FnMut(Part<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Self::Live(client) => {
                // What `take` says is more than an error of a connection can carry.
                let mut refused = None;
                let answered = client.ask(request, &mut |part| {
                    take(part).map_err(|failure| {
                        refused = Some(failure);
                        io::ErrorKind::Other.into()
                    })
                });
                refused.map_or_else(|| answered.map_err(failure), Err)
            }
            Self::Files(folder) => answer(folder, request, take),
        }
    }
}

/// As the server would.
fn answer(
    folder: &DataFolder,
    request: Request,
    take: &mut dyn FnMut(Part<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match request {
        Request::List(filter) => {
            let (snapshot, selection) = (snapshot(folder)?, selection(filter)?);
            for id in snapshot.select(&selection) {
                if let Some(details) = snapshot.show(id) {
                    take(Part::Line(Line::Item(Box::new(details.summary.into()))))?;
                }
            }
            Ok(())
        }
        Request::Show(id) => {
            let id = parse_id(&id).map_err(Failure::general)?;
            let details = snapshot(folder)?.show(id).ok_or_else(|| gone(&id))?;
            take(Part::Line(Line::Details(Box::new(details.into()))))
        }
        Request::Cat(id) => {
            let id = parse_id(&id).map_err(Failure::general)?;
            let unreadable =
                |error: io::Error| Failure::general(format!("{id} cannot be read to its end: {error}"));
            let mut content = snapshot(folder)?.content(id).map_err(unreadable)?.ok_or_else(|| gone(&id))?;
            let mut piece = vec![0; PIECE_OCTETS];
            loop {
                let count = content.read(&mut piece).map_err(unreadable)?;
                if count == 0 {
                    return Ok(());
                }
                take(Part::Octets(piece.get(..count).unwrap_or_default()))?;
            }
        }
        Request::Quarantine(request) => quarantine::answer_from_files(folder, request, take),
        Request::Stats => take(Part::Line(Line::Stats(Box::new(snapshot(folder)?.stats().into())))),
        Request::ScanStatus | Request::ScanReload | Request::BackgroundScan(_) => Err(Failure::no_server()),
        Request::Change(order) => take(Part::Line(Line::Affected(obey(folder, order)?.into()))),
    }
}

fn snapshot(folder: &DataFolder) -> Result<Snapshot, Failure> {
    Queue::inspect(Arc::new(RealDisk), &folder.queue()).map_err(Failure::general)
}

/// For what changes the files: as their owner, and as nobody else.
pub(in crate::cli) fn lock(folder: &DataFolder) -> Result<FolderLock, Failure> {
    sandbox::become_owner(folder.root()).map_err(|error| {
        Failure::general(format!("cannot go on as the owner of {}: {error}", folder.root().display()))
    })?;
    folder.lock().map_err(|error| match error {
        FolderError::Locked { .. } => Failure::new(
            Exit::Unavailable,
            "a server runs on this data folder, but nobody answers at its control socket; try again, or look at its log",
        ),
        other => folder_failure(&other),
    })
}

/// Opens the queue as a server would, and closes it behind the order.
fn obey(folder: &DataFolder, order: Order) -> Result<Affected, Failure> {
    // Asked before the lock is taken, as its owner: root stays root in what is told of him.
    let user = rustix::process::getuid();
    let _lock = lock(folder)?;
    let settings = queue::Settings::default();
    let (queue, _recovered) =
        Queue::open(Arc::new(RealDisk), &folder.queue(), settings, None).map_err(Failure::general)?;
    let events = Log::start(&folder.events(), None).map_err(Failure::general)?;
    queue.report_to(events.clone());
    let by = format!("uid {}", user.as_raw());
    let (name, about) = (order.name(), order.about());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.map_err(Failure::general)?.block_on(async {
        let done = change(&queue, order, &by).await;
        queue.close().await;
        if let Ok(affected) = &done {
            events.record(About::default(), Order::event(name, about, &by, *affected));
        }
        events.flush().await;
        done
    })
}

async fn change(queue: &Queue, order: Order, by: &str) -> Result<Affected, Failure> {
    match order {
        Order::Hold(filter) => queue.hold(&selection(filter)?).await.map_err(Failure::general),
        Order::Release(filter) => queue.thaw(&selection(filter)?).await.map_err(Failure::general),
        Order::Delete { filter, bounce } => {
            let removal = if bounce { Removal::Bounce } else { Removal::Silent };
            queue.remove(&selection(filter)?, removal, by).await.map_err(Failure::general)
        }
        // A start of the server would try them at their own time all the same.
        Order::Retry(_) => Err(Failure::no_server()),
    }
}

fn selection(filter: Filter) -> Result<Selection, Failure> {
    filter.try_into().map_err(Failure::general)
}

fn gone(id: &queue::QueueId) -> Failure {
    Failure::general(format!("{id} is not in the queue"))
}

fn failure(error: ClientError) -> Failure {
    let exit = match &error {
        ClientError::Failed(failed) if matches!(failed.kind, FailedKind::Busy | FailedKind::Version) => {
            Exit::Unavailable
        }
        ClientError::Connection(_) | ClientError::BrokenOff => Exit::Unavailable,
        _ => Exit::Failure,
    };
    Failure::new(exit, error)
}

const PIECE_OCTETS: usize = 64 * 1024;
