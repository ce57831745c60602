//! What each request does.

use std::io::{self, Read as _};
use std::sync::Arc;

use gatepost_core::BoxFuture;
use gatepost_core::events::About;
use gatepost_core::quarantine::Releaser;
use gatepost_core::queue::{Affected, OrderError, Queue, QueueId, Removal, Selection};
use gatepost_core::scan::{Ensemble, Reload};

use super::Rooms;
use super::background::BackgroundOrder;
use super::kept::QuarantineRequest;
use super::message::{Engine, FailedKind, Line, NotAnId, Request, parse_id};
use super::quarantine::{self, Hearer};
use super::queued::{Filter, Order};
use super::server::Answer;

/// Why a request ends early, as its peer is told.
struct Refused {
    kind: FailedKind,
    text: String,
}

/// Keeps errors of the connection apart from those of the request.
struct Connection<'a> {
    answer: &'a mut Answer,
    broken: Option<io::Error>,
}

/// Does it and tells what came of it. An error is one of the connection.
pub(super) async fn answer(request: Request, uid: u32, rooms: &Rooms, answer: &mut Answer) -> io::Result<()> {
    let (name, queue) = (request.name(), &rooms.queue);
    let answered = match request {
        Request::List(filter) => list(filter, queue, answer).await?,
        Request::Show(id) => show(&id, queue, answer).await?,
        Request::Cat(id) => cat(&id, queue, answer).await?,
        Request::Quarantine(request) => look_after(request, uid, &rooms.releaser, answer).await?,
        Request::Stats => {
            answer.line(&Line::Stats(Box::new(queue.stats().await.into()))).await?;
            Ok(())
        }
        Request::BackgroundScan(order) => {
            if order != BackgroundOrder::Status {
                tracing::info!(order = name, uid, "the background scan was given an order");
            }
            for status in order.give(&rooms.background).await {
                answer.line(&Line::BackgroundScan(Box::new(status))).await?;
            }
            Ok(())
        }
        Request::ScanStatus => {
            engines(&rooms.engines, &[], answer).await?;
            Ok(())
        }
        Request::ScanReload => reload(rooms, answer).await?,
        Request::Change(order) => match change(order, uid, rooms).await {
            Ok(affected) => {
                answer.line(&Line::Affected(affected.into())).await?;
                Ok(())
            }
            Err(refused) => Err(refused),
        },
    };
    match answered {
        Ok(()) => answer.done().await,
        Err(Refused { kind, text }) => answer.fail(kind, &text).await,
    }
}

/// Does it, and leaves word of who wanted what.
async fn change(order: Order, uid: u32, rooms: &Rooms) -> Result<Affected, Refused> {
    let (name, filter, by) = (order.name(), order.about(), format!("uid {uid}"));
    let obeyed = obey(order, &by, rooms).await;
    match &obeyed {
        Ok(affected) => {
            let Affected { messages, in_delivery, .. } = *affected;
            tracing::info!(order = name, filter, uid, messages, in_delivery, "the queue was given an order");
            rooms.events.record(About::default(), Order::event(name, filter, &by, *affected));
        }
        Err(refused) => {
            tracing::warn!(order = name, filter, uid, reason = refused.text, "an order to the queue failed");
        }
    }
    obeyed
}

async fn obey(order: Order, by: &str, rooms: &Rooms) -> Result<Affected, Refused> {
    let queue = &rooms.queue;
    let reached = match order {
        Order::Hold(filter) => queue.hold(&filter.try_into()?).await?,
        Order::Release(filter) => queue.thaw(&filter.try_into()?).await?,
        Order::Retry(filter) => {
            let selection = filter.try_into()?;
            // What is due at a server that is left alone would be put off again.
            if let Some(remote) = &rooms.remote {
                remote.try_again();
            }
            queue.retry_now(&selection).await
        }
        Order::Delete { filter, bounce } => {
            let removal = if bounce { Removal::Bounce } else { Removal::Silent };
            let removed = queue.remove(&filter.try_into()?, removal, by).await?;
            if let Some(remote) = &rooms.remote {
                remote.close_ranks();
            }
            removed
        }
    };
    Ok(reached)
}

/// Engines outside of this process may take their time.
async fn reload(rooms: &Rooms, answer: &mut Answer) -> io::Result<Result<(), Refused>> {
    let reloading = Arc::clone(&rooms.engines);
    match tokio::task::spawn_blocking(move || reloading.reload_each()).await {
        Ok(reloads) => {
            rooms.releaser.scanner.forget();
            engines(&rooms.engines, &reloads, answer).await?;
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(Refused { kind: FailedKind::Scanner, text: error.to_string() })),
    }
}

async fn engines(ensemble: &Ensemble, reloads: &[(String, Reload)], answer: &mut Answer) -> io::Result<()> {
    for status in ensemble.status() {
        let reload = reloads.iter().find(|(name, _)| *name == status.name);
        let problem = match reload {
            Some((_, Reload::Kept(reason))) => Some(reason.clone()),
            Some((_, Reload::Unchanged | Reload::Replaced)) | None => None,
        };
        answer.line(&Line::Engine(Box::new(Engine { problem, ..status.into() }))).await?;
    }
    Ok(())
}

/// Of the quarantine.
async fn look_after(
    request: QuarantineRequest,
    uid: u32,
    releaser: &Releaser,
    answer: &mut Answer,
) -> io::Result<Result<(), Refused>> {
    let mut connection = Connection { answer, broken: None };
    let by = format!("uid {uid}");
    let quarantine = &releaser.quarantine;
    let answered = quarantine::answer(request, &by, quarantine, Some(releaser), &mut connection).await;
    match connection.broken {
        Some(error) => Err(error),
        None => Ok(answered.map_err(Refused::from)),
    }
}

/// One record after the other, so that a long list costs no memory.
async fn list(filter: Filter, queue: &Queue, answer: &mut Answer) -> io::Result<Result<(), Refused>> {
    let selection = match Selection::try_from(filter) {
        Ok(selection) => selection,
        Err(error) => return Ok(Err(error.into())),
    };
    for id in queue.select(&selection).await {
        // What has gone meanwhile, or cannot be read, is left out.
        if let Some(details) = queue.show(id).await {
            answer.line(&Line::Item(Box::new(details.summary.into()))).await?;
        }
    }
    Ok(Ok(()))
}

async fn show(id: &str, queue: &Queue, answer: &mut Answer) -> io::Result<Result<(), Refused>> {
    let id = match parse_id(id) {
        Ok(id) => id,
        Err(error) => return Ok(Err(error.into())),
    };
    match queue.show(id).await {
        Some(details) => {
            answer.line(&Line::Details(Box::new(details.into()))).await?;
            Ok(Ok(()))
        }
        None => Ok(Err(Refused::gone(id))),
    }
}

/// Piece by piece: how long it is tells only its end, and whether it is whole only its last octet.
async fn cat(id: &str, queue: &Queue, answer: &mut Answer) -> io::Result<Result<(), Refused>> {
    let id = match parse_id(id) {
        Ok(id) => id,
        Err(error) => return Ok(Err(error.into())),
    };
    let mut reader = match queue.content(id).await {
        Ok(Some(reader)) => reader,
        Ok(None) => return Ok(Err(Refused::gone(id))),
        Err(error) => return Ok(Err(Refused::unreadable(id, &error))),
    };
    loop {
        let piece = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE_OCTETS];
            let count = reader.read(&mut piece)?;
            piece.truncate(count);
            io::Result::Ok((reader, piece))
        });
        match piece.await.map_err(io::Error::other)? {
            Ok((_, piece)) if piece.is_empty() => return Ok(Ok(())),
            Ok((back, piece)) => {
                reader = back;
                answer.line(&Line::Content(piece.len() as u64)).await?;
                answer.octets(&piece).await?;
            }
            Err(error) => return Ok(Err(Refused::unreadable(id, &error))),
        }
    }
}

// === impl Connection ===

impl Hearer for Connection<'_> {
    fn hear(&mut self, line: Line) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let told = self.answer.line(&line).await;
            told.map_err(|error| self.broken.insert(error).kind().into())
        })
    }
}

// === impl Refused ===

impl Refused {
    fn gone(id: QueueId) -> Self {
        Self { kind: FailedKind::NotFound, text: format!("{id} is not in the queue") }
    }

    fn unreadable(id: QueueId, error: &io::Error) -> Self {
        Self { kind: FailedKind::Queue, text: format!("{id} cannot be read to its end: {error}") }
    }
}

impl From<NotAnId> for Refused {
    fn from(error: NotAnId) -> Self {
        Self { kind: FailedKind::BadRequest, text: error.to_string() }
    }
}

impl From<quarantine::Refused> for Refused {
    fn from(error: quarantine::Refused) -> Self {
        Self { kind: error.kind(), text: error.to_string() }
    }
}

impl From<OrderError> for Refused {
    fn from(error: OrderError) -> Self {
        Self { kind: FailedKind::Queue, text: error.to_string() }
    }
}

const PIECE_OCTETS: usize = 64 * 1024;
