//! What reads the files themselves, also beside a running server: are they as they were written, and what can be had out
//! of them where they are not?

use std::path::Path;
use std::sync::Arc;

use gatepost_core::disk::{Disk, RealDisk};
use gatepost_core::queue::{Problem, Queue, Salvaged, Verified};
use serde_json::{Value, json};

use super::super::output::{Output, printable};
use super::super::{Exit, Failure};
use crate::data_folder::DataFolder;

pub(super) fn verify(folder: &DataFolder, as_json: bool, output: &mut Output) -> Result<(), Failure> {
    let verified = Queue::verify(Arc::new(RealDisk), &folder.queue()).map_err(Failure::general)?;
    if as_json {
        output.json(&verified_json(&verified))?;
    } else {
        let Verified { segments, records, messages, bodies, octets, problems } = &verified;
        for problem in problems {
            output.line(one_line(problem))?;
        }
        output.line(format_args!(
            "{segments} segments, {records} records, {messages} messages, {bodies} body files, {octets} octets read"
        ))?;
    }
    match verified.problems.iter().filter(|problem| !problem.was_told).count() {
        0 => Ok(()),
        count => {
            let hint = "`gatepost queue salvage --output FOLDER` gets out what can be read";
            Err(Failure::general(format!("problems in the queue: {count}; {hint}")))
        }
    }
}

pub(super) fn salvage(
    folder: &DataFolder,
    to: &Path,
    as_json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let salvaged = Queue::salvage(&disk, &folder.queue(), to)
        .map_err(|error| Failure::new(Exit::CannotCreate, error))?;
    let Salvaged { whole, damaged, lost } = salvaged;
    if as_json {
        return output.json(&json!({ "whole": whole, "damaged": damaged, "lost": lost }));
    }
    output.line(format_args!("{whole} mails written whole, {damaged} with damage; {lost} records gave none"))
}

fn one_line(problem: &Problem) -> String {
    let Problem { path, offset, id, flaw, was_told } = problem;
    let mail = id.map_or_else(String::new, |id| format!("{id}: "));
    let aside = if *was_told { "; was found before and set aside in corrupt/" } else { "" };
    printable(&format!("{mail}{flaw} ({} at {offset}){aside}", path.display()))
}

fn verified_json(verified: &Verified) -> Value {
    let problem = |problem: &Problem| {
        json!({
            "path": problem.path.display().to_string(),
            "offset": problem.offset,
            "id": problem.id.map(|id| id.to_string()),
            "problem": problem.flaw.to_string(),
            "set_aside": problem.was_told,
        })
    };
    json!({
        "segments": verified.segments,
        "records": verified.records,
        "messages": verified.messages,
        "bodies": verified.bodies,
        "octets": verified.octets,
        "problems": verified.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}
