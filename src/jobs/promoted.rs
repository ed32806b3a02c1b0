//! Promotions → jobs: what is stale of each dataset that follows them.

use std::time::Duration;

use super::{JobError, Submission, Work, submit};
use crate::fence::clock;
use crate::promotion;
use crate::relabel;
use crate::workspace::Workspace;

/// How often datasets are looked at that may have come to follow since.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Notices promotions.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The last promotion that was acted on, and when.
    seen: Option<(u32, Duration)>,
}

impl Follower {
    /// Submits a job for each dataset that follows promotions, once a promotion and dataset; the ids of the new ones.
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
        let mut ids = Vec::new();
        for dataset in relabel::followers(workspace).await? {
            let submission = Submission {
                key: Some(format!("relabel/{}/{dataset}", current.number)),
                work: Work::Relabel {
                    dataset: Some(dataset),
                    promotion: Some(current.number),
                    newest_first,
                },
                by: Some(format!("promotion {}", current.number)),
            };
            match submit(workspace, submission).await {
                Ok((job, true)) => ids.push(job.file.id),
                // Another worker was first, perhaps with another order.
                Ok((_, false)) | Err(JobError::OtherJob { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        self.seen = Some((current.number, clock()));
        Ok(ids)
    }
}
