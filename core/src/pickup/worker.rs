//! Takes what lies in the folder to the queue, or to the bad mail.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gatepost_smtp::server::{BodySink as _, Envelope};
use gatepost_smtp::wire::path::{Domain, ForwardPath, ReversePath};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::folder::{self, Contents, Folder, Found, NotTaken, Taken};
use super::message::{self, Dropped};
use super::{Metrics, Rooms, Settings};
use crate::badmail::{BadMessage, Cause};
use crate::clock::now_ms;
use crate::directory::Resolution;
use crate::disk::IoPool;
use crate::events::{About, Details, What, evidence};
use crate::filter::{HeaderFirewall, Trust};
use crate::forwarding::forward;
use crate::intake::{BodyBuffer, Origin, Submission, trace};
use crate::queue::{AppendError, NewMessage, QueueId};

/// Works until it is told to stop.
pub(super) struct Worker {
    folder: Folder,
    rooms: Rooms,
    settings: Arc<ArcSwap<Settings>>,
    metrics: Option<Metrics>,
    /// One thread, for the folder and its files.
    pool: IoPool,
    stop: watch::Receiver<bool>,
    /// What cannot be taken: told once, and not looked at again.
    hopeless: HashSet<PathBuf>,
    /// In the queue already, but their files could not be removed.
    queued: HashSet<QueueId>,
}

/// Trouble of ours: the files stay where they are.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the folder: {0}")]
    Folder(#[from] io::Error),
    #[error("the queue: {0}")]
    Queue(#[from] AppendError),
    #[error("the bad mail: {0}")]
    Badmail(io::Error),
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(
        folder: Folder,
        rooms: Rooms,
        settings: Arc<ArcSwap<Settings>>,
        metrics: Option<Metrics>,
        pool: IoPool,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let (hopeless, queued) = (HashSet::new(), HashSet::new());
        Self { folder, rooms, settings, metrics, pool, stop, hopeless, queued }
    }

    pub(super) async fn run(mut self) {
        loop {
            let pause = match self.look().await {
                Ok(0) => LOOK_INTERVAL,
                Ok(_) => Duration::ZERO,
                Err(trouble) => {
                    warn!(%trouble, "the pickup folder is left alone for a while");
                    if let Some(metrics) = &self.metrics {
                        metrics.troubles.inc();
                    }
                    TROUBLE_PAUSE
                }
            };
            let stopped = self.stop.wait_for(|stop| *stop);
            if tokio::time::timeout(pause, stopped).await.is_ok() {
                return;
            }
        }
    }

    /// Empties the folder once, as far as it goes. Answers how many files it took.
    async fn look(&mut self) -> Result<usize, Trouble> {
        let (folder, hopeless) = (self.folder.clone(), self.hopeless.clone());
        let found = self.pool.run(move || folder.look(&hopeless)).await??;
        let found = self.forget_queued(found).await?;
        let taken = self.take(found).await?;
        let count = taken.len();
        let result = self.serve(taken).await;
        if count > 0 {
            let folder = self.folder.clone();
            self.pool.run(move || folder.flush()).await??;
        }
        result.map(|()| count)
    }

    /// Removes what a crash, or a failure to remove it, left behind in the queue and in the folder.
    async fn forget_queued(&mut self, found: Vec<Found>) -> Result<Vec<Found>, Trouble> {
        if found.iter().all(|found| found.taken_as.is_none()) {
            return Ok(found);
        }
        let ids: HashSet<QueueId> = self.rooms.queue.ids().into_iter().collect();
        let is_queued =
            |found: &Found| found.taken_as.is_some_and(|id| ids.contains(&id) || self.queued.contains(&id));
        let (queued, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(is_queued);
        for found in queued {
            self.pool.run(move || folder::remove(&found.path)).await??;
            if let Some(id) = found.taken_as {
                self.queued.remove(&id);
            }
        }
        Ok(rest)
    }

    /// Makes them ours, with one flush for all.
    async fn take(&mut self, found: Vec<Found>) -> Result<Vec<Taken>, Trouble> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let (folder, queue) = (self.folder.clone(), self.rooms.queue.clone());
        let (taken, hopeless) = self
            .pool
            .run(move || {
                let (mut taken, mut hopeless) = (Vec::new(), Vec::new());
                let mut trouble = None;
                for found in found {
                    match folder.take(&found, queue.allocate_id()) {
                        Ok(Some(file)) => taken.push(file),
                        Ok(None) => (),
                        Err(NotTaken::File(error)) => hopeless.push((found.path, error)),
                        Err(NotTaken::Folder(error)) => {
                            trouble = Some(error);
                            break;
                        }
                    }
                }
                match trouble {
                    // What was taken before it is served first.
                    Some(error) if taken.is_empty() => Err(error),
                    _ => folder.flush().map(|()| (taken, hopeless)),
                }
            })
            .await??;
        if self.hopeless.len() > HOPELESS_MAX {
            self.hopeless.clear();
        }
        for (path, error) in hopeless {
            error!(?path, %error, "a file in the pickup folder cannot be taken; it stays there");
            self.hopeless.insert(path);
        }
        Ok(taken)
    }

    async fn serve(&mut self, files: Vec<Taken>) -> Result<(), Trouble> {
        for file in files {
            if *self.stop.borrow() {
                return Ok(());
            }
            self.serve_one(file).await?;
        }
        Ok(())
    }

    async fn serve_one(&mut self, mut file: Taken) -> Result<(), Trouble> {
        let settings = self.settings.load_full();
        let (file, read) = self
            .pool
            .run(move || {
                let read = read(&mut file, &settings);
                (file, read)
            })
            .await?;
        let refused = match read? {
            Ok(dropped) => match self.judge(&dropped.envelope) {
                Ok(()) => {
                    self.submit(&file, dropped).await?;
                    None
                }
                Err(reason) => Some(reason),
            },
            Err(reason) => Some(reason),
        };
        if let Some(reason) = refused {
            self.discard(&file, reason).await?;
        }
        self.queued.insert(file.id);
        let id = file.id;
        self.pool.run(move || file.remove()).await??;
        self.queued.remove(&id);
        Ok(())
    }

    /// What the edge asks of a user's mail, without a user.
    fn judge(&self, envelope: &Envelope) -> Result<(), String> {
        let (directory, sends_on) = (&self.rooms.directory, self.settings.load().sends_on);
        if let ReversePath::Mailbox(sender) = &envelope.reverse_path
            && !directory.resolve(&ForwardPath::Mailbox(sender.clone())).is_here()
        {
            return Err(format!("5.7.1 the sender {} does not live here", evidence(&sender.to_string())));
        }
        for recipient in &envelope.recipients {
            let path = || evidence(&recipient.path.to_string());
            let resolution = if self.relays(&recipient.path) {
                Resolution::Foreign
            } else {
                directory.resolve(&recipient.path)
            };
            match resolution {
                Resolution::Local(_) => (),
                // Where no mail leaves, its mailboxes here are served.
                Resolution::Forwarded(forwarding) if sends_on || !forwarding.mailboxes.is_empty() => (),
                Resolution::Forwarded(_) => {
                    return Err(format!(
                        "5.7.1 {} leads to another server, and no mail leaves this one",
                        path()
                    ));
                }
                Resolution::Foreign if sends_on && has_a_name(&recipient.path) => (),
                Resolution::UnknownLocal | Resolution::Rewritten { .. } => {
                    return Err(format!("5.1.1 nobody here is called {}", path()));
                }
                Resolution::Foreign => return Err(format!("5.7.1 {} does not live here", path())),
            }
        }
        Ok(())
    }

    /// Whether a recipient lives on a server behind this one.
    fn relays(&self, path: &ForwardPath) -> bool {
        self.rooms.remote.as_ref().is_some_and(|remote| remote.relays(path))
    }

    async fn submit(&self, file: &Taken, dropped: Dropped) -> Result<(), Trouble> {
        let id = file.id;
        let Dropped { envelope, content, lacks_date, lacks_message_id } = dropped;
        let mut body = BodyBuffer::new(self.rooms.queue.spool(), self.rooms.memory.clone());
        for piece in content.chunks(PIECE_OCTETS) {
            body.put(piece);
            body.settle().await?;
        }
        let (octets, body) = (body.octets(), body.finish().await?);
        let hostname = self.settings.load().hostname.clone();
        let origin = origin(id, &hostname);
        let mut trace = trace::picked_up(&hostname, id, &envelope, origin.received_at_ms);
        if lacks_date {
            trace.extend(trace::date_field(origin.received_at_ms));
        }
        if lacks_message_id {
            trace.extend_from_slice(format!("Message-ID: <{id}@{hostname}>\r\n").as_bytes());
        }
        let about = About { queue_id: Some(id.to_string()), ..About::from(&origin) };
        let protocol = Some(trace::way_of(&origin, envelope.params.smtputf8).to_owned());
        let details = Details { protocol, ..Details::of_envelope(&envelope) };
        let what = What::Accepted { details, octets, user: None };
        let submission = forward(
            &self.rooms.directory,
            Submission::new(envelope, origin),
            self.settings.load().sends_on,
            |path| self.relays(path),
        );
        self.append(NewMessage { id, submission, trace, body, stamp: None }).await?;
        info!(queue_id = %id, name = ?file.name, octets, "a dropped mail was queued");
        self.rooms.events.record(about, what);
        if let Some(metrics) = &self.metrics {
            metrics.queued.inc();
        }
        Ok(())
    }

    async fn append(&self, message: NewMessage) -> Result<(), AppendError> {
        self.rooms.queue.append(message).await.map(drop)
    }

    async fn discard(&self, file: &Taken, reason: String) -> Result<(), Trouble> {
        warn!(name = ?file.name, reason, "a dropped file must not be sent; it goes to the bad mail");
        let (content, refusal): (File, String) = (file.file.try_clone()?, evidence(&reason));
        let bad = BadMessage {
            id: file.id,
            cause: Cause::Pickup,
            reason: format!("{}: {reason}", evidence(&file.name)),
            sender: String::new(),
            recipients: Vec::new(),
            content: Box::new(content),
        };
        self.rooms.badmail.keep(bad).await.map_err(Trouble::Badmail)?;
        let about = About {
            queue_id: Some(file.id.to_string()),
            listener: Some(LISTENER.to_owned()),
            ..About::default()
        };
        let name = evidence(&file.name);
        self.rooms.events.record(about, What::NotSent { name, reason: refusal });
        if let Some(metrics) = &self.metrics {
            metrics.bad.inc();
        }
        Ok(())
    }
}

/// The mail in a file, or why there is none. What must not come from strangers is taken out here as well: whoever may drop
/// files is no server of ours.
fn read(file: &mut Taken, settings: &Settings) -> io::Result<Result<Dropped, String>> {
    let octets = match file.read(settings.message_octets)? {
        Contents::Whole(octets) => octets,
        Contents::TooLarge => {
            return Ok(Err(format!("5.3.4 larger than {} octets", settings.message_octets)));
        }
    };
    let mut dropped = match message::parse(&octets, settings.recipients) {
        Ok(dropped) => dropped,
        Err(error) => return Ok(Err(format!("5.6.0 {error}"))),
    };
    drop(octets);
    let mut kept = Vec::with_capacity(dropped.content.len());
    let mut firewall = HeaderFirewall::new(settings.hostname.as_str().into(), Trust::default());
    firewall.put(&dropped.content, &mut |octets| kept.extend_from_slice(octets));
    if let Err(error) = firewall.finish(&mut |octets| kept.extend_from_slice(octets)) {
        return Ok(Err(format!("5.6.0 {error}")));
    }
    dropped.content = kept;
    Ok(Ok(dropped))
}

/// An address literal could lead into this machine's own network.
fn has_a_name(path: &ForwardPath) -> bool {
    match path {
        ForwardPath::Mailbox(mailbox) => matches!(mailbox.domain(), Domain::Name(_)),
        ForwardPath::Postmaster => false,
    }
}

/// The mail's own name stands for the session.
fn origin(id: QueueId, hostname: &str) -> Origin {
    Origin::here(id.to_string(), LISTENER, hostname, now_ms())
}

/// What `queue show` and the event log call it.
pub(crate) const LISTENER: &str = "pickup";
/// People and scripts do not notice more.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A full disk does not get better by asking.
const TROUBLE_PAUSE: Duration = Duration::from_secs(15);
const PIECE_OCTETS: usize = 64 * 1024;
/// Names in memory. Beyond, they are looked at, and told, again.
const HOPELESS_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
