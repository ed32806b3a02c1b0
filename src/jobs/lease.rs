//! Who works on a job: the writer of the highest entry of its journal, for the length of its lease.
//!
//! Taking a job, renewing its lease, giving it back and ending it are all the same act: creating the next number. Of several that want a number one gets it. A lease is over for
//! an observer that has itself seen no newer number for the lease's length ([`Watch`]); clocks of different machines are never compared. Its holder counts from before it asked
//! for it, and less ([`MARGIN`]), so that it stops before anybody else may begin.

use std::collections::HashMap;
use std::time::Duration;

use super::journal::{host, number_of, place, unique};
use super::record::{Entry, Event, Failure, Job, JobProgress};
use super::{JobError, State, journal};
use crate::fence::{Fence, clock};
use crate::runs;
use crate::store::Created;
use crate::workspace::{Workspace, to_json};

/// The share of a lease's length after which its holder writes nothing more; others wait for all of it.
pub const MARGIN: f64 = 0.8;
/// Entries of a journal that stay while it goes on. Only the highest counts; the others show how it came to that.
const KEPT: u32 = 8;

/// What an observer has seen of leases, by its own clock.
#[derive(Debug, Default)]
pub struct Watch {
    seen: HashMap<String, (u32, Duration)>,
}

impl Watch {
    /// Whether a job may be taken now: it is queued, or its lease is over. To be asked again and again, of all jobs that are not at their end.
    pub fn is_free(&mut self, job: &Job) -> bool {
        match (job.state(), &job.last) {
            (State::Queued, _) => true,
            (State::Running, Some(last)) => {
                let now = clock();
                let id = job.file.id.clone();
                let (number, since) = self.seen.entry(id).or_insert((last.number, now));
                if *number != last.number {
                    (*number, *since) = (last.number, now);
                }
                let length = Duration::try_from_secs_f64(last.length_s);
                now.saturating_sub(*since) > length.unwrap_or(Duration::MAX)
            }
            _ => false,
        }
    }

    /// Forgets jobs that are at their end.
    pub fn keep(&mut self, open: &[Job]) {
        let is_open = |id: &String| open.iter().any(|job| job.file.id == *id);
        self.seen.retain(|id, _| is_open(id));
    }
}

/// A job that this process works on.
#[derive(Debug)]
pub struct Lease {
    /// Until when anything may be written for it; shared with what does.
    pub fence: Fence,
    /// As it was when it was taken.
    pub job: Job,
    /// The journal, written as long as the fence is open.
    workspace: Workspace,
    length: Duration,
    last: Entry,
}

impl Lease {
    /// Takes a job that was seen to be free; none where another one was first.
    ///
    /// # Errors
    /// The store's.
    pub async fn take(
        workspace: &Workspace,
        job: Job,
        length: Duration,
    ) -> Result<Option<Self>, JobError> {
        let until = end(length);
        let before = job.last.as_ref();
        let number = job.number() + 1;
        let since = before.map_or(0, done);
        let lost = match before {
            Some(e) if e.event == Event::Lease => lost(e),
            Some(e) => e.lost,
            None => 0,
        };
        let entry = Entry {
            number,
            event: Event::Lease,
            holder: format!("{}-{}-{}", host(), std::process::id(), unique()),
            term: number,
            length_s: length.as_secs_f64(),
            attempt: before.map_or(0, |e| e.attempt) + 1,
            lost,
            since,
            started: before
                .and_then(|e| e.started.clone())
                .or_else(|| Some(runs::now())),
            at: runs::now(),
            progress: before.and_then(|e| e.progress.clone()),
            result: None,
            error: None,
        };
        let fence = Fence::new(&job.file.id, number, until);
        let lease = Self {
            workspace: workspace.clone().fenced(fence.clone()),
            fence,
            job,
            length,
            last: entry.clone(),
        };
        let entry = lease.put(entry).await?;
        Ok(entry.map(|entry| Self {
            last: entry,
            ..lease
        }))
    }

    /// Creates an entry, with the next number where this holder had created that one before an error; `None` where it is not the highest then. A number
    /// that is free because entries before the newest were removed is not.
    async fn put(&self, mut entry: Entry) -> Result<Option<Entry>, JobError> {
        let id = &self.job.file.id;
        loop {
            let place = place(id, entry.number);
            let created = self.workspace.create(&place, to_json(&entry)).await?;
            if created != Created::Other {
                break;
            }
            let there = self.workspace.find_json::<Entry>(&place).await?;
            match there.filter(|there| there.holder == entry.holder) {
                None => return Ok(None),
                // A lease counts from now; an end that was put is the end.
                Some(there) if there.event == entry.event && there.event != Event::Lease => break,
                Some(_) => entry.number += 1,
            }
        }
        let names = self.workspace.names(&journal::folder(id)).await?;
        let highest = names.iter().filter_map(|name| number_of(name)).max();
        Ok((highest == Some(entry.number)).then_some(entry))
    }

    /// Goes on holding the job, and says how far it is; `false` where it is held no more.
    ///
    /// # Errors
    /// The store's; it may be tried again while the fence is open.
    pub async fn renew(&mut self, progress: Option<JobProgress>) -> Result<bool, JobError> {
        let until = end(self.length);
        let entry = Entry {
            progress: progress.or_else(|| self.last.progress.clone()),
            ..self.next(Event::Lease)
        };
        let Some(entry) = self.put(entry).await? else {
            self.fence.close();
            return Ok(false);
        };
        self.fence.extend(until);
        self.last = entry;
        if let Some(old) = self.last.number.checked_sub(KEPT).filter(|old| *old > 0) {
            let place = place(&self.job.file.id, old);
            self.workspace.remove(&place).await?;
        }
        Ok(true)
    }

    /// Ends the job, or gives it back; `false` where it was held no more, so that it does not count.
    ///
    /// # Errors
    /// The store's; it may be tried again while the fence is open.
    pub async fn end(&self, end: &End) -> Result<bool, JobError> {
        let mut entry = self.next(end.event());
        match end {
            End::Released | End::Cancelled => entry.lost = 0,
            End::Gone => entry.lost = lost(&entry),
            End::Done(result) => {
                entry.result.clone_from(result);
                if let Some(progress) = &mut entry.progress {
                    progress.done = progress.total;
                }
            }
            End::Failed(failure) => entry.error = Some(failure.clone()),
        }
        let counts = self.put(entry).await?;
        self.fence.close();
        Ok(counts.is_some())
    }

    fn next(&self, event: Event) -> Entry {
        Entry {
            number: self.last.number + 1,
            event,
            at: runs::now(),
            ..self.last.clone()
        }
    }

    /// How often in a row those that held the job before were gone without having got any further.
    pub fn lost(&self) -> u32 {
        self.last.lost
    }

    /// Whether somebody wants the job cancelled.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_cancelled(&self) -> Result<bool, JobError> {
        let wish = format!("{}/cancel.json", journal::folder(&self.job.file.id));
        Ok(self.workspace.exists(&wish).await?)
    }
}

/// How a job's work ended.
#[derive(Debug, Clone)]
pub enum End {
    /// It is to go on elsewhere.
    Released,
    /// Somebody else ended its command: it is to go on elsewhere, as if its holder were gone.
    Gone,
    /// It is done, and came to that.
    Done(Option<serde_json::Value>),
    /// It failed.
    Failed(Failure),
    /// It was cancelled.
    Cancelled,
}

impl End {
    fn event(&self) -> Event {
        match self {
            Self::Released | Self::Gone => Event::Released,
            Self::Done(_) => Event::Done,
            Self::Failed(_) => Event::Failed,
            Self::Cancelled => Event::Cancelled,
        }
    }
}

/// How far a job was.
fn done(entry: &Entry) -> u64 {
    entry.progress.as_ref().map_or(0, |p| p.done)
}

/// How often in a row holders were gone without having got any further, where the one that wrote this is.
fn lost(last: &Entry) -> u32 {
    if done(last) > last.since {
        1
    } else {
        last.lost + 1
    }
}

/// Until when a holder writes that asks for a lease now.
fn end(length: Duration) -> Duration {
    clock() + length.mul_f64(MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{Submission, Work, cancel, get, list, submit};
    use crate::store::{self, StorageOptions};

    const LONG: Duration = Duration::from_mins(1);

    async fn workspace() -> Workspace {
        let at = store::open("memory:///w", &StorageOptions::default()).unwrap();
        Workspace::init_at(at).await.unwrap().0
    }

    fn relabel(dataset: &str, key: Option<&str>) -> Submission {
        Submission {
            work: Work::Relabel {
                dataset: Some(dataset.to_owned()),
                promotion: None,
                newest_first: false,
            },
            key: key.map(str::to_owned),
            by: None,
        }
    }

    #[tokio::test]
    async fn a_key_is_one_job_and_other_work_with_it_is_refused() {
        let w = workspace().await;
        let (job, new) = submit(&w, relabel("d", Some("k"))).await.unwrap();
        let (same, again) = submit(&w, relabel("d", Some("k"))).await.unwrap();
        assert_eq!((new, again), (true, false));
        assert_eq!(job.file.id, same.file.id);
        let error = submit(&w, relabel("e", Some("k"))).await.unwrap_err();
        assert!(matches!(error, JobError::OtherJob { .. }), "{error}");
        let error = submit(&w, relabel("e", Some(""))).await.unwrap_err();
        assert!(matches!(error, JobError::BadKey { length: 0 }), "{error}");
        let [one, two] = [relabel("d", None), relabel("d", None)];
        assert!(submit(&w, one).await.unwrap().1 && submit(&w, two).await.unwrap().1);
        assert_eq!(list(&w).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn of_two_that_take_a_job_one_has_it() {
        let w = workspace().await;
        let (job, _) = submit(&w, relabel("d", None)).await.unwrap();
        let (a, b) = tokio::join!(
            Lease::take(&w, job.clone(), LONG),
            Lease::take(&w, job.clone(), LONG)
        );
        assert_eq!(
            [a, b].iter().filter(|l| matches!(l, Ok(Some(_)))).count(),
            1
        );
    }

    #[tokio::test]
    async fn who_was_overtaken_can_neither_renew_nor_end() {
        let w = workspace().await;
        let (job, _) = submit(&w, relabel("d", None)).await.unwrap();
        let id = job.file.id.clone();
        let mut first = Lease::take(&w, job, LONG).await.unwrap().unwrap();
        let seen = get(&w, &id).await.unwrap();
        let mut second = Lease::take(&w, seen, LONG).await.unwrap().unwrap();
        assert!(!first.end(&End::Done(None)).await.unwrap());
        assert!(!first.fence.is_open());
        first.fence.extend(clock() + LONG);
        assert!(!first.renew(None).await.unwrap());
        for _ in 0..20 {
            assert!(second.renew(None).await.unwrap());
        }
        // The numbers that `first` would write next are free again: that makes it no holder.
        first.fence.extend(clock() + LONG);
        let stale = first.job.clone();
        assert!(Lease::take(&w, stale, LONG).await.unwrap().is_none());
        assert!(second.end(&End::Done(None)).await.unwrap());
        let ended = get(&w, &id).await.unwrap();
        assert_eq!((ended.state(), ended.view().attempts), (State::Done, 2));
    }

    #[tokio::test]
    async fn an_entry_that_was_put_before_an_error_does_not_lose_the_lease() {
        let w = workspace().await;
        let (job, _) = submit(&w, relabel("d", None)).await.unwrap();
        let id = job.file.id.clone();
        let mut lease = Lease::take(&w, job, LONG).await.unwrap().unwrap();
        // As when the entry is created and the listing after it fails.
        let unseen = async |lease: &Lease, event: Event, number: u32| {
            let at = runs::now() + "?";
            let entry = Entry {
                number,
                at,
                ..lease.next(event)
            };
            let place = place(&id, number);
            assert_eq!(
                w.create(&place, to_json(&entry)).await.unwrap(),
                Created::New
            );
        };
        unseen(&lease, Event::Lease, 2).await;
        assert!(lease.renew(None).await.unwrap());
        assert_eq!(lease.last.number, 3);
        assert!(lease.fence.is_open());
        unseen(&lease, Event::Lease, 4).await;
        unseen(&lease, Event::Done, 5).await;
        assert!(lease.end(&End::Done(None)).await.unwrap());
        assert_eq!(get(&w, &id).await.unwrap().state(), State::Done);
    }

    #[tokio::test]
    async fn a_lease_is_over_when_its_observer_saw_nothing_newer_for_its_length() {
        let w = workspace().await;
        let (job, _) = submit(&w, relabel("d", None)).await.unwrap();
        let id = job.file.id.clone();
        let length = Duration::from_secs(1);
        let mut watch = Watch::default();
        assert!(watch.is_free(&job));
        let mut lease = Lease::take(&w, job, length).await.unwrap().unwrap();
        let taken = get(&w, &id).await.unwrap();
        tokio::time::sleep(length * 2).await;
        // It looks for the first time: whatever the entry says of the time, it waits for itself.
        assert!(!watch.is_free(&taken));
        assert!(!lease.fence.is_open());
        lease.fence.extend(clock() + LONG);
        assert!(lease.renew(None).await.unwrap());
        let renewed = get(&w, &id).await.unwrap();
        tokio::time::sleep(length * 2).await;
        assert!(!watch.is_free(&renewed));
        tokio::time::sleep(length * 2).await;
        assert!(watch.is_free(&renewed));
    }

    #[tokio::test]
    async fn holders_that_are_lost_are_counted_until_one_gets_further_or_gives_it_back() {
        let w = workspace().await;
        let (job, _) = submit(&w, relabel("d", None)).await.unwrap();
        let id = job.file.id.clone();
        let take = async || {
            let seen = get(&w, &id).await.unwrap();
            Lease::take(&w, seen, LONG).await.unwrap().unwrap()
        };
        for lost in 0..3 {
            assert_eq!(take().await.lost(), lost);
        }
        let progress = |done| JobProgress {
            unit: "images".into(),
            done,
            total: 9,
        };
        let mut further = take().await;
        assert!(further.renew(Some(progress(4))).await.unwrap());
        assert_eq!(take().await.lost(), 1);
        let mut back = take().await;
        assert_eq!(back.lost(), 2);
        // No further than where it began.
        assert!(back.renew(Some(progress(4))).await.unwrap());
        let back = take().await;
        assert_eq!(back.lost(), 3);
        assert!(back.end(&End::Released).await.unwrap());
        let gone = take().await;
        assert_eq!(gone.lost(), 0);
        assert!(gone.end(&End::Gone).await.unwrap());
        let queued = get(&w, &id).await.unwrap();
        assert_eq!(queued.state(), State::Queued);
        assert_eq!(take().await.lost(), 1);
    }

    #[tokio::test]
    async fn a_queued_job_is_cancelled_at_once_and_a_running_one_is_asked() {
        let w = workspace().await;
        let (queued, _) = submit(&w, relabel("d", None)).await.unwrap();
        let cancelled = cancel(&w, &queued.file.id, None).await.unwrap();
        assert_eq!(cancelled.state(), State::Cancelled);
        assert!(Lease::take(&w, queued, LONG).await.unwrap().is_none());
        let (job, _) = submit(&w, relabel("d", None)).await.unwrap();
        let id = job.file.id.clone();
        let lease = Lease::take(&w, job, LONG).await.unwrap().unwrap();
        assert!(!lease.is_cancelled().await.unwrap());
        let asked = cancel(&w, &id, None).await.unwrap();
        assert_eq!((asked.state(), asked.cancel), (State::Running, true));
        assert!(lease.is_cancelled().await.unwrap());
        assert!(lease.end(&End::Cancelled).await.unwrap());
        let (done, _) = submit(&w, relabel("d", None)).await.unwrap();
        let lease = Lease::take(&w, done, LONG).await.unwrap().unwrap();
        lease.end(&End::Done(None)).await.unwrap();
        let error = cancel(&w, &lease.job.file.id, None).await.unwrap_err();
        assert!(matches!(error, JobError::Ended { state: "done", .. }));
    }

    #[tokio::test]
    async fn a_job_that_is_given_back_is_free_at_once() {
        let w = workspace().await;
        let (job, _) = submit(&w, relabel("d", None)).await.unwrap();
        let id = job.file.id.clone();
        let lease = Lease::take(&w, job, LONG).await.unwrap().unwrap();
        assert!(lease.end(&End::Released).await.unwrap());
        let back = get(&w, &id).await.unwrap();
        assert!(Watch::default().is_free(&back));
    }
}
