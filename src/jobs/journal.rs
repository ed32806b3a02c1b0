//! Jobs in the bucket: submitted once, looked at, cancelled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::record::{CancelFile, Entry, Event, Job, JobFile};
use super::{JobError, Submission};
use crate::hex::hex;
use crate::runs;
use crate::store::Created;
use crate::workspace::{Workspace, WorkspaceError, check_name, side_by_side, to_json};

/// Where jobs lie in the workspace.
pub(super) const FOLDER: &str = "jobs";
/// How often who wants to cancel a job looks again because its journal went on meanwhile.
const TRIES: u32 = 10;
/// Characters of a key.
const LONGEST_KEY: usize = 200;

/// Where a job lies in the workspace.
pub(super) fn folder(id: &str) -> String {
    format!("{FOLDER}/{id}")
}

/// Where an entry of its journal does.
pub(super) fn place(id: &str, number: u32) -> String {
    format!("{}/{number:06}.json", folder(id))
}

/// The number of an entry of a journal, by its file's name; none of other files.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(".json")?;
    // Not `job`, not `cancel`.
    stem.parse().ok()
}

/// What tells this process's writings from all others.
pub(super) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let salt = format!("{:?}", (std::process::id(), SystemTime::now(), count));
    hex(&Sha256::digest(format!("{}{salt}", host()).as_bytes()))[..12].to_owned()
}

/// This machine's name, where the system tells it.
pub(super) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "host".into(), |name| name.trim().to_owned())
}

/// Submits a job; `false` where there is one with the same key and work already, which is given then.
///
/// # Errors
/// [`JobError::OtherJob`] where the key is that of other work, [`JobError::Config`] for work that makes no sense.
pub async fn submit(
    workspace: &Workspace,
    submission: Submission,
) -> Result<(Job, bool), JobError> {
    let Submission { work, key, by } = submission;
    work.validate()?;
    let length = key.as_ref().map_or(1, |key| key.chars().count());
    if !(1..=LONGEST_KEY).contains(&length) {
        return Err(JobError::BadKey { length });
    }
    let hash = match &key {
        Some(key) => hex(&Sha256::digest(key.as_bytes()))[..16].to_owned(),
        None => unique(),
    };
    // Nothing of the work is in the id: a key means one job, whatever it is sent with.
    let id = format!("job-{hash}");
    let file = JobFile {
        id: id.clone(),
        key,
        work,
        submitted: runs::now(),
        by,
        understudy: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let place = format!("{}/job.json", folder(&id));
    if workspace.create(&place, to_json(&file)).await? == Created::New {
        let job = Job {
            file,
            last: None,
            cancel: false,
        };
        return Ok((job, true));
    }
    let there = get(workspace, &id).await?;
    // As JSON, in which the settings that are left out are written.
    let [one, two] = [&there.file.work, &file.work].map(to_json);
    match file.key {
        Some(key) if one != two => Err(JobError::OtherJob { key, id }),
        _ => Ok((there, false)),
    }
}

/// A job.
///
/// # Errors
/// [`JobError::Unknown`].
pub async fn get(workspace: &Workspace, id: &str) -> Result<Job, JobError> {
    let unknown = || JobError::Unknown { id: id.to_owned() };
    check_name("job", id).map_err(|_| unknown())?;
    find(workspace, id).await?.ok_or_else(unknown)
}

/// A job, where there is one of this id.
pub(super) async fn find(workspace: &Workspace, id: &str) -> Result<Option<Job>, WorkspaceError> {
    let file = format!("{}/job.json", folder(id));
    let Some(file) = workspace.find_json::<JobFile>(&file).await? else {
        return Ok(None);
    };
    loop {
        let names = workspace.names(&folder(id)).await?;
        let cancel = names.iter().any(|name| name == "cancel.json");
        let last = match names.iter().filter_map(|name| number_of(name)).max() {
            None => None,
            Some(highest) => {
                let entry = workspace.find_json::<Entry>(&place(id, highest)).await?;
                if entry.is_none() {
                    // Later ones came and this one went, between the listing and here.
                    continue;
                }
                entry
            }
        };
        return Ok(Some(Job { file, last, cancel }));
    }
}

/// All jobs, in the order in which they were submitted.
///
/// # Errors
/// The store's.
pub async fn list(workspace: &Workspace) -> Result<Vec<Job>, JobError> {
    let ids = workspace.folders(FOLDER).await?;
    Ok(some(workspace, ids).await?.jobs)
}

/// Jobs that were looked for.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order in which they were submitted.
    pub(super) jobs: Vec<Job>,
    /// The ids of those that this understudy cannot read: of a newer one, or damaged.
    pub(super) damaged: Vec<String>,
}

/// The jobs of these ids. One that cannot be read is named in the log, and holds up no other.
pub(super) async fn some(workspace: &Workspace, ids: Vec<String>) -> Result<Found, JobError> {
    let read = |id: String| async move {
        match find(workspace, &id).await {
            Err(e @ (WorkspaceError::Damaged { .. } | WorkspaceError::Empty { .. })) => {
                tracing::warn!("passing over {id}: {e}");
                Ok(Err(id))
            }
            job => job.map(Ok),
        }
    };
    let mut found = Found::default();
    for one in side_by_side(ids, read).await? {
        match one {
            Ok(job) => found.jobs.extend(job),
            Err(id) => found.damaged.push(id),
        }
    }
    found.jobs = in_order(found.jobs);
    Ok(found)
}

/// Jobs in the order in which they were submitted.
pub(super) fn in_order(mut jobs: Vec<Job>) -> Vec<Job> {
    jobs.sort_by(|a, b| {
        let [a, b] = [a, b].map(|job| (&job.file.submitted, &job.file.id));
        a.cmp(&b)
    });
    jobs
}

/// Cancels a job: at once where nobody works on it; otherwise whoever does ends it as soon as it sees that.
///
/// # Errors
/// [`JobError::Ended`] where it has ended otherwise.
pub async fn cancel(workspace: &Workspace, id: &str, by: Option<String>) -> Result<Job, JobError> {
    let job = get(workspace, id).await?;
    if job.state().is_final() && job.state() != super::State::Cancelled {
        return Err(JobError::Ended {
            id: id.to_owned(),
            state: job.state().name(),
        });
    }
    // First the wish, then a look at the journal: who takes the job writes there first and looks for the wish then, so that one of both sees the other.
    let wish = CancelFile {
        by,
        at: runs::now(),
    };
    let place_of_wish = format!("{}/cancel.json", folder(id));
    workspace.create(&place_of_wish, to_json(&wish)).await?;
    for _ in 0..TRIES {
        let job = get(workspace, id).await?;
        if job.state() != super::State::Queued {
            return Ok(job);
        }
        let last = job.last.as_ref();
        let entry = Entry {
            number: job.number() + 1,
            event: Event::Cancelled,
            holder: format!("{}-{}", host(), unique()),
            term: job.number() + 1,
            length_s: 0.0,
            attempt: last.map_or(0, |e| e.attempt),
            lost: last.map_or(0, |e| e.lost),
            since: last.map_or(0, |e| e.since),
            started: last.and_then(|e| e.started.clone()),
            at: runs::now(),
            progress: last.and_then(|e| e.progress.clone()),
            result: None,
            error: None,
        };
        let place = place(id, entry.number);
        if workspace.create(&place, to_json(&entry)).await? == Created::New {
            return get(workspace, id).await;
        }
    }
    Err(JobError::Busy { id: id.to_owned() })
}
