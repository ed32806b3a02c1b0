//! Jobs that have ended, which a process that lists jobs again and again reads once: nothing comes after a journal's last entry.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::{FOLDER, in_order, some};
use super::{Job, JobError};
use crate::workspace::Workspace;

/// Jobs that are held: a year of one an hour. Of more the rest is read each time.
const HELD: usize = 10_000;

/// See the module. A clone is the same.
#[derive(Clone, Default)]
pub struct Ended(Arc<Mutex<HashMap<String, Job>>>);

impl Ended {
    fn held(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, jobs: &[Job]) {
        let mut held = self.held();
        let room = HELD.saturating_sub(held.len());
        let ended = jobs.iter().filter(|job| job.state().is_final());
        held.extend(
            ended
                .take(room)
                .map(|job| (job.file.id.clone(), job.clone())),
        );
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended jobs", self.held().len())
    }
}

/// All jobs, in the order in which they were submitted, as [`list`](super::list) gives them.
///
/// # Errors
/// The store's.
pub async fn list_again(workspace: &Workspace, ended: &Ended) -> Result<Vec<Job>, JobError> {
    let (mut jobs, mut others) = (Vec::new(), Vec::new());
    let ids = workspace.folders(FOLDER).await?;
    {
        let held = ended.held();
        for id in ids {
            match held.get(&id) {
                Some(job) => jobs.push(job.clone()),
                None => others.push(id),
            }
        }
    }
    let found = some(workspace, others).await?.jobs;
    ended.hold(&found);
    jobs.extend(found);
    Ok(in_order(jobs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{State, Submission, Work, cancel, list, submit};
    use crate::store::{self, StorageOptions};

    #[tokio::test]
    async fn an_ended_job_is_read_once_and_an_open_one_each_time() {
        let at = store::open("memory:///w", &StorageOptions::default()).unwrap();
        let workspace = Workspace::init_at(at).await.unwrap().0;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let work = Work::Relabel {
                dataset: None,
                promotion: None,
                newest_first: false,
            };
            let (key, by) = (None, None);
            let submission = Submission { work, key, by };
            let (job, _) = submit(&workspace, submission).await.unwrap();
            ids.push(job.file.id);
        }
        cancel(&workspace, &ids[0], None).await.unwrap();
        let ended = Ended::default();
        let states = async || {
            let jobs = list_again(&workspace, &ended).await.unwrap();
            let state = |job: &Job| (job.file.id.clone(), job.state());
            jobs.iter().map(state).collect::<HashMap<_, _>>()
        };
        let both =
            |first, second| HashMap::from([(ids[0].clone(), first), (ids[1].clone(), second)]);
        assert_eq!(states().await, both(State::Cancelled, State::Queued));
        // What is left of its folder tells of it no more.
        let file = format!("{FOLDER}/{}/job.json", ids[0]);
        workspace.remove(&file).await.unwrap();
        cancel(&workspace, &ids[1], None).await.unwrap();
        assert_eq!(states().await, both(State::Cancelled, State::Cancelled));
        let alone = list(&workspace).await.unwrap();
        assert_eq!(alone.len(), 1);
    }
}
