//! The quarantine of a data folder that no server works on.

use std::future::ready;
use std::io;
use std::sync::Arc;

use gatepost_core::BoxFuture;
use gatepost_core::disk::RealDisk;
use gatepost_core::events::Log;
use gatepost_core::quarantine::{Quarantine, Settings};
use gatepost_core::scan::Overruled;

use super::super::Failure;
use super::super::queue::source::lock;
use crate::control::client::Part;
use crate::control::kept::QuarantineRequest;
use crate::control::message::Line;
use crate::control::quarantine::{Hearer, Refused, answer};
use crate::data_folder::DataFolder;

/// As the server would, but for releases. Who looks is noted in the event log, so it is done under the folder's lock.
pub(in crate::cli) fn answer_from_files(
    folder: &DataFolder,
    request: QuarantineRequest,
    take: &mut dyn FnMut(Part<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let by = format!("uid {}", rustix::process::getuid().as_raw());
    let _lock = lock(folder)?;
    let events = Log::start(&folder.events(), None).map_err(Failure::general)?;
    let (disk, root) = (Arc::new(RealDisk), folder.quarantine());
    let quarantine =
        Quarantine::open(disk, &root, Settings::UNBOUNDED, Overruled::default(), events.clone(), None)
            .map_err(Failure::general)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.map_err(Failure::general)?.block_on(async {
        let mut reader = Reader { take, refused: None };
        let answered = answer(request, &by, &quarantine, None, &mut reader).await;
        events.flush().await;
        reader.refused.map_or_else(|| answered.map_err(failure), Err)
    })
}

/// What `take` says is more than an error of the disk can carry.
struct Reader<'a> {
    take: &'a mut dyn FnMut(Part<'_>) -> Result<(), Failure>,
    refused: Option<Failure>,
}

// === impl Reader ===

impl Hearer for Reader<'_> {
    fn hear(&mut self, line: Line) -> BoxFuture<'_, io::Result<()>> {
        let told = (self.take)(Part::Line(line)).map_err(|failure| {
            self.refused = Some(failure);
            io::ErrorKind::Other.into()
        });
        Box::pin(ready(told))
    }
}

fn failure(refused: Refused) -> Failure {
    match refused {
        Refused::NoServer => Failure::no_server(),
        Refused::NotAnId(_) | Refused::Unknown(_) | Refused::Io(_) => Failure::general(refused),
    }
}
