//! Promotions → jobs: what is stale of each dataset that follows them.

use std::collections::HashMap;
use std::time::Duration;

use super::record::Failure;
use super::{JobError, State, Submission, Work, get, submit};
use crate::fence::clock;
use crate::promotion;
use crate::relabel;
use crate::workspace::Workspace;

/// How often datasets are looked at that may have come to follow since.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// After how long a re-labelling that failed is submitted once more, the first, second and third time: by then a source may be back, or somebody has seen to it.
const AGAIN_AFTER: [Duration; 3] = [
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(6),
];

/// Notices promotions.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The last promotion that was acted on, and when.
    seen: Option<(u32, Duration)>,
    /// When what follows a job that was seen to have failed is due, by that one's key.
    due: HashMap<String, Duration>,
}

impl Follower {
    /// Submits a job for each dataset that follows promotions, once a promotion and dataset, and again some time after it failed; the ids of the new ones.
    ///
    /// # Errors
    /// [`JobError`]; the next look begins anew.
    pub(super) async fn look(
        &mut self,
        workspace: &Workspace,
        newest_first: bool,
    ) -> Result<Vec<String>, JobError> {
        let Some(current) = promotion::current(workspace).await? else {
            return Ok(Vec::new());
        };
        let recently = |at: Duration| clock().saturating_sub(at) < LOOK_EVERY;
        if matches!(self.seen, Some((number, at)) if number == current.number && recently(at)) {
            return Ok(Vec::new());
        }
        let (mut ids, mut all) = (Vec::new(), true);
        for dataset in relabel::followers(workspace).await? {
            let submitted = self.submit(workspace, current.number, &dataset, newest_first);
            match submitted.await {
                Ok(id) => ids.extend(id),
                Err(e) => {
                    all = false;
                    tracing::warn!("{dataset}: cannot submit what a promotion left stale: {e}");
                }
            }
        }
        if all {
            self.seen = Some((current.number, clock()));
        }
        Ok(ids)
    }

    /// Submits a dataset's job, and those after it that are due since the ones before failed; the id of one that is new.
    async fn submit(
        &mut self,
        workspace: &Workspace,
        promotion: u32,
        dataset: &str,
        newest_first: bool,
    ) -> Result<Option<String>, JobError> {
        let first = format!("relabel/{promotion}/{dataset}");
        let mut key = first.clone();
        for attempt in 0..=AGAIN_AFTER.len() {
            let submission = Submission {
                key: Some(key.clone()),
                work: Work::Relabel {
                    dataset: Some(dataset.to_owned()),
                    promotion: Some(promotion),
                    newest_first,
                },
                by: Some(format!("promotion {promotion}")),
            };
            let job = match submit(workspace, submission).await {
                Ok((job, true)) => return Ok(Some(job.file.id)),
                Ok((job, false)) => job,
                // Another worker was first, with another order.
                Err(JobError::OtherJob { id, .. }) => get(workspace, &id).await?,
                Err(e) => return Err(e),
            };
            let Some(after) = AGAIN_AFTER.get(attempt) else {
                break;
            };
            // Of what was killed, or whose workers were gone again and again, a person has to find out why.
            let said_why = |error: &Failure| error.code.is_some();
            let error = job.last.as_ref().and_then(|last| last.error.as_ref());
            if job.state() != State::Failed || !error.is_some_and(said_why) {
                break;
            }
            // By this worker's own clock.
            if clock() < *self.due.entry(key).or_insert_with(|| clock() + *after) {
                break;
            }
            key = format!("{first}/{}", attempt + 2);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::lease::{End, Lease};
    use crate::store::{self, StorageOptions};

    #[tokio::test]
    async fn what_failed_is_submitted_again_after_a_while_and_not_for_ever() {
        let opened = store::open("memory:///w", &StorageOptions::default()).unwrap();
        let (w, _) = Workspace::init_at(opened).await.unwrap();
        let mut follower = Follower::default();
        let fail = async |id: &str| {
            let job = get(&w, id).await.unwrap();
            let lease = Lease::take(&w, job, Duration::from_mins(1)).await.unwrap();
            let failure = Failure {
                message: "the source does not answer".into(),
                hint: None,
                code: Some(1),
            };
            assert!(lease.unwrap().end(&End::Failed(failure)).await.unwrap());
        };
        let mut ids = Vec::new();
        for _ in AGAIN_AFTER {
            let id = follower.submit(&w, 3, "d", false).await.unwrap().unwrap();
            // It waits for a worker, and whoever has another order finds the same.
            assert_eq!(follower.submit(&w, 3, "d", true).await.unwrap(), None);
            fail(&id).await;
            ids.push(id);
            assert_eq!(follower.submit(&w, 3, "d", false).await.unwrap(), None);
            follower
                .due
                .values_mut()
                .for_each(|due| *due = Duration::ZERO);
        }
        let last = follower.submit(&w, 3, "d", false).await.unwrap().unwrap();
        fail(&last).await;
        assert_eq!(follower.submit(&w, 3, "d", false).await.unwrap(), None);
        ids.push(last);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), AGAIN_AFTER.len() + 1);
    }
}
