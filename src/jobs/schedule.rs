//! Schedules: each due time of a cron expression is a job, once, whoever notices it.

use std::str::FromStr as _;

use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use serde::{Deserialize, Serialize};

use super::{JobError, Submission, Work, submit};
use crate::config::ConfigError;
use crate::workspace::{Workspace, check_name, to_json};

/// `[[schedule]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its name; another name is another schedule.
    pub name: String,
    /// Minute, hour, day of the month, month, day of the week by name; with seconds before them where there are six. In UTC.
    pub cron: String,
    /// What is done then.
    pub job: Work,
}

/// `schedules/NAME/since.json`: when it was seen first. What was due before is past.
#[derive(Debug, Serialize, Deserialize)]
struct Since {
    since: DateTime<Utc>,
}

/// What a worker knows of a schedule already: it asks the workspace once a due time, not at each look.
#[derive(Debug, Default)]
pub(super) struct Seen {
    since: Option<DateTime<Utc>>,
    submitted: Option<DateTime<Utc>>,
}

impl Schedule {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check_name("schedule", &self.name).map_err(|e| ConfigError::Value {
            key: "schedule.name",
            value: format!("`{}`", self.name),
            advice: e.hint().unwrap_or_default(),
        })?;
        self.cron()?;
        self.job.validate()
    }

    fn cron(&self) -> Result<cron::Schedule, ConfigError> {
        let bad = |advice: String| ConfigError::Value {
            key: "schedule.cron",
            value: format!("`{}`", self.cron),
            advice,
        };
        let fields: Vec<&str> = self.cron.split_whitespace().collect();
        let text = match fields.len() {
            5 => format!("0 {}", self.cron),
            6 => self.cron.clone(),
            _ => {
                let advice = "write minute, hour, day of the month, month and day of the week, such as `0 3 * * *`";
                return Err(bad(advice.into()));
            }
        };
        if fields
            .last()
            .is_some_and(|day| day.contains(|c: char| c.is_ascii_digit()))
        {
            let advice = "write days of the week by name, such as `Mon-Fri`: some count them from 0, some from 1";
            return Err(bad(advice.into()));
        }
        cron::Schedule::from_str(&text).map_err(|e| bad(e.to_string().replace('\n', " ")))
    }

    /// The last time at which it was due, up to `now` and after `since`.
    fn due(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, ConfigError> {
        let cron = self.cron()?;
        let now = now.trunc_subsecs(0);
        let due = if cron.includes(now) {
            Some(now)
        } else {
            cron.after(&now).next_back()
        };
        Ok(due.filter(|due| *due > since))
    }

    /// Submits the job of the last due time, if that is not done: of several that were missed the last one alone. `now` is the time of day.
    ///
    /// # Errors
    /// [`JobError`].
    pub(super) async fn submit(
        &self,
        workspace: &Workspace,
        now: DateTime<Utc>,
        seen: &mut Seen,
    ) -> Result<Option<String>, JobError> {
        let since = match seen.since {
            Some(since) => since,
            None => self.since(workspace, now).await?,
        };
        seen.since = Some(since);
        let due = self.due(since, now)?;
        let Some(due) = due.filter(|due| seen.submitted != Some(*due)) else {
            return Ok(None);
        };
        let id = self.submit_due(workspace, due).await?;
        seen.submitted = Some(due);
        Ok(id)
    }

    /// When it was seen first, by whichever worker.
    async fn since(
        &self,
        workspace: &Workspace,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, JobError> {
        let place = format!("schedules/{}/since.json", self.name);
        if let Some(Since { since }) = workspace.find_json(&place).await? {
            return Ok(since);
        }
        let first = Since { since: now };
        workspace.create(&place, to_json(&first)).await?;
        // Another one may have been first.
        let Since { since } = workspace.read_json(&place).await?;
        Ok(since)
    }

    async fn submit_due(
        &self,
        workspace: &Workspace,
        due: DateTime<Utc>,
    ) -> Result<Option<String>, JobError> {
        let due = due.to_rfc3339_opts(SecondsFormat::Secs, true);
        let submission = Submission {
            work: self.job.clone(),
            key: Some(format!("schedule/{}/{due}", self.name)),
            by: Some(format!("schedule {}", self.name)),
        };
        match submit(workspace, submission).await {
            Ok((job, new)) => Ok(new.then_some(job.file.id)),
            // What was due then was submitted, as the file said then.
            Err(JobError::OtherJob { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::list;
    use crate::store::{self, StorageOptions};

    fn schedule(cron: &str) -> Schedule {
        Schedule {
            name: "n".into(),
            cron: cron.into(),
            job: Work::Relabel {
                dataset: None,
                promotion: None,
                newest_first: false,
            },
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_due_is_the_last_time_after_it_was_seen_first() {
        let nightly = schedule("0 3 * * *");
        let due = |since: &str, now: &str| nightly.due(at(since), at(now)).unwrap();
        let first = "2026-05-01T12:00:00Z";
        assert_eq!(due(first, "2026-05-02T02:59:59.9Z"), None);
        let third = Some(at("2026-05-02T03:00:00Z"));
        assert_eq!(due(first, "2026-05-02T03:00:00Z"), third);
        assert_eq!(due(first, "2026-05-02T03:00:00.5Z"), third);
        assert_eq!(due(first, "2026-05-03T02:00:00Z"), third);
        let weekdays = schedule("30 6 * * Mon-Fri");
        // A Sunday.
        let sunday = weekdays.due(at(first), at("2026-05-10T08:00:00Z")).unwrap();
        assert_eq!(sunday, Some(at("2026-05-08T06:30:00Z")));
    }

    #[tokio::test]
    async fn a_due_time_is_one_job_and_missed_ones_are_one_job_together() {
        let opened = store::open("memory:///w", &StorageOptions::default()).unwrap();
        let (w, _) = Workspace::init_at(opened).await.unwrap();
        let hourly = schedule("0 * * * *");
        // Each time another worker, which knows nothing yet.
        let submit = async |now: &str| hourly.submit(&w, at(now), &mut Seen::default()).await;
        assert_eq!(submit("2026-05-01T12:30:00Z").await.unwrap(), None);
        let (a, b) = tokio::join!(
            submit("2026-05-01T13:00:01Z"),
            submit("2026-05-01T13:00:02Z")
        );
        assert_eq!([a.unwrap(), b.unwrap()].iter().flatten().count(), 1);
        assert_eq!(submit("2026-05-01T13:20:00Z").await.unwrap(), None);
        // Four were missed.
        assert!(submit("2026-05-01T17:10:00Z").await.unwrap().is_some());
        let keys: Vec<_> = list(&w)
            .await
            .unwrap()
            .into_iter()
            .filter_map(|j| j.file.key)
            .collect();
        assert_eq!(keys.len(), 2);
        // One that knows that it is submitted asks no more, even where nothing is there.
        let mut seen = Seen::default();
        let again = hourly.submit(&w, at("2026-05-01T17:20:00Z"), &mut seen);
        assert_eq!(again.await.unwrap(), None);
        let opened = store::open("memory:///empty", &StorageOptions::default()).unwrap();
        let (empty, _) = Workspace::init_at(opened).await.unwrap();
        let again = hourly.submit(&empty, at("2026-05-01T17:21:00Z"), &mut seen);
        assert_eq!(again.await.unwrap(), None);
        let next = hourly.submit(&empty, at("2026-05-01T18:00:00Z"), &mut seen);
        assert!(next.await.unwrap().is_some());
        assert!(keys.contains(&"schedule/n/2026-05-01T17:00:00Z".to_owned()));
    }
}
