//! A worker: takes jobs that are free, runs each as a child, renews its lease, and writes down how it ended.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use tokio::task::{self, JoinSet};
use tracing::Instrument as _;

use super::command::{Here, command};
use super::journal::{self, FOLDER};
use super::lease::{End, Lease, Watch};
use super::process::{Ended, Running};
use super::record::{Failure, Job};
use super::schedule::{Schedule, Seen};
use super::{JobError, WorkerConfig, promoted};
use crate::child;
use crate::error::{Error, INTERRUPTED};
use crate::store::StorageOptions;
use crate::workspace::Workspace;

/// Renewals within a lease's length: three may fail before its holder stops.
const RENEWALS: u32 = 4;
/// How often is looked how much memory a job holds, where that is limited.
const LOOK_AT_MEMORY: Duration = Duration::from_millis(500);
/// How long a look that is under way may take when the worker is told to stop.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How long after a job was ended from outside the worker hears of it itself, if it does.
const HEAR_WITHIN: Duration = Duration::from_secs(1);
/// Seconds between two tries to write down how a job ended, where the store fails.
const AGAIN: Duration = Duration::from_secs(1);

/// Works on the jobs of a workspace.
#[derive(Debug, Clone)]
pub struct Worker {
    /// The workspace.
    pub workspace: Workspace,
    /// The same as typed: children are told.
    pub url: String,
    /// For all stores.
    pub storage: StorageOptions,
    /// How much at once, and where.
    pub config: WorkerConfig,
    /// What is due when.
    pub schedules: Vec<Schedule>,
    /// The executable that jobs run.
    pub executable: PathBuf,
}

/// What a worker is doing and has seen.
struct Doing {
    running: JoinSet<()>,
    /// The jobs that run, each in its task, and whether they train.
    ids: HashMap<task::Id, (String, bool)>,
    watch: Watch,
    /// Jobs that are at their end, or cannot be read: they are not read again.
    ended: HashSet<String>,
    schedules: Vec<Seen>,
    follower: promoted::Follower,
    shutdown: watch::Receiver<bool>,
}

impl Worker {
    /// A worker with this very executable.
    ///
    /// # Errors
    /// The operating system's, where it does not say what that is.
    pub fn new(
        workspace: Workspace,
        url: &str,
        storage: StorageOptions,
        config: super::JobsConfig,
    ) -> Result<Self, Error> {
        Ok(Self {
            workspace,
            url: url.to_owned(),
            storage,
            config: config.worker,
            schedules: config.schedules,
            executable: child::this()?,
        })
    }

    /// Works until `shutdown`; then what runs is stopped in good order within [`WorkerConfig::grace_s`], and handed back. Faults of the store are waited out.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        let mut doing = Doing {
            running: JoinSet::new(),
            ids: HashMap::new(),
            watch: Watch::default(),
            ended: HashSet::new(),
            schedules: self.schedules.iter().map(|_| Seen::default()).collect(),
            follower: promoted::Follower::default(),
            shutdown: stopped,
        };
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            {
                let mut look = std::pin::pin!(self.look(&mut doing));
                let looked = tokio::select! {
                    looked = &mut look => looked,
                    () = &mut shutdown => {
                        // What runs is told at once, however long the store takes to answer. A job that is being taken is held then, or its lease ends by itself.
                        stop.send_replace(true);
                        let _ = tokio::time::timeout(LAST_LOOK, look).await;
                        break;
                    }
                };
                if let Err(e) = looked {
                    tracing::warn!("cannot look for jobs: {e}");
                }
            }
            tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep(Duration::from_secs_f64(self.config.poll_s)) => {}
                Some(ended) = doing.running.join_next_with_id() => doing.forget(ended),
            }
        }
        stop.send_replace(true);
        while doing.running.join_next().await.is_some() {}
    }

    /// One look at the workspace: what is due, who was promoted, which jobs are free. What goes wrong with one of these holds up none of the others.
    async fn look(&self, doing: &mut Doing) -> Result<(), JobError> {
        for (schedule, seen) in self.schedules.iter().zip(&mut doing.schedules) {
            let name = &schedule.name;
            match schedule.submit(&self.workspace, Utc::now(), seen).await {
                Ok(None) => {}
                Ok(Some(id)) => tracing::info!("schedule {name}: submitted {id}"),
                Err(e) => tracing::warn!("schedule {name}: cannot submit what is due: {e}"),
            }
        }
        if self.config.relabel {
            let newest_first = self.config.newest_first;
            match doing.follower.look(&self.workspace, newest_first).await {
                Ok(submitted) => submitted
                    .iter()
                    .for_each(|id| tracing::info!("a promotion: submitted {id}")),
                Err(e) => tracing::warn!("cannot submit what a promotion left stale: {e}"),
            }
        }
        let mut ids = self.workspace.folders(FOLDER).await?;
        ids.retain(|id| !doing.ended.contains(id));
        let found = journal::some(&self.workspace, ids).await?;
        doing.ended.extend(found.damaged);
        let (ended, open): (Vec<Job>, Vec<Job>) = found
            .jobs
            .into_iter()
            .partition(|job| job.state().is_final());
        doing.ended.extend(ended.into_iter().map(|job| job.file.id));
        doing.watch.keep(&open);
        for job in open {
            // All are looked at, whether there is room for them or not: what is seen now counts later.
            let free = doing.watch.is_free(&job);
            if free && self.has_room(doing, &job) {
                self.take(doing, job).await?;
            }
        }
        Ok(())
    }

    fn has_room(&self, doing: &Doing, job: &Job) -> bool {
        let training = doing.ids.values().filter(|(_, trains)| *trains).count();
        doing.ids.len() < self.config.jobs
            && doing.ids.values().all(|(id, _)| *id != job.file.id)
            && (!job.file.work.trains() || training < self.config.training)
    }

    async fn take(&self, doing: &mut Doing, job: Job) -> Result<(), JobError> {
        let trains = job.file.work.trains();
        let taken = Lease::take(&self.workspace, job, self.config.lease()).await?;
        let Some(lease) = taken else {
            return Ok(());
        };
        let id = lease.job.file.id.clone();
        let (worker, shutdown) = (self.clone(), doing.shutdown.clone());
        let span = tracing::info_span!(
            "job",
            "otel.name" = format!("job {}", lease.job.file.work.kind()),
            "job.id" = id,
            "job.outcome" = tracing::field::Empty,
        );
        let work = async move { worker.work(lease, shutdown).await };
        let task = doing.running.spawn(work.instrument(span));
        doing.ids.insert(task.id(), (id, trains));
        Ok(())
    }

    /// Does a job that is leased, and writes down how it ended.
    async fn work(&self, mut lease: Lease, shutdown: watch::Receiver<bool>) {
        let (id, kind) = (lease.job.file.id.clone(), lease.job.file.work.kind());
        tracing::info!("{id} ({kind}): begun");
        let Some(end) = self.go(&mut lease, shutdown).await else {
            tracing::warn!("{id} ({kind}): the lease is lost; whoever has it goes on");
            return;
        };
        let words = match &end {
            End::Released => "handed back".to_owned(),
            End::Gone => "ended from outside, handed back".to_owned(),
            End::Done(_) => "done".into(),
            End::Cancelled => "cancelled".into(),
            End::Failed(failure) => format!("failed: {}", failure.message),
        };
        tracing::Span::current().record("job.outcome", words.as_str());
        loop {
            match lease.end(&end).await {
                Ok(true) => return tracing::info!("{id} ({kind}): {words}"),
                Err(e) if lease.fence.is_open() => {
                    tracing::warn!("{id} ({kind}): cannot write down its end yet: {e}");
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(false) | Err(_) => break,
            }
        }
        tracing::warn!("{id} ({kind}): {words}, but the lease was lost; whoever has it goes on");
    }

    /// Runs the command; none where the lease is lost on the way.
    async fn go(&self, lease: &mut Lease, mut shutdown: watch::Receiver<bool>) -> Option<End> {
        // Who cancels looks at the journal after this lease was written there, or wrote its wish before.
        if lease.is_cancelled().await.unwrap_or(false) {
            return Some(End::Cancelled);
        }
        if lease.lost() >= self.config.losses {
            return Some(End::Failed(Failure {
                message: format!(
                    "{} workers in a row were gone before it got any further",
                    lease.lost()
                ),
                hint: Some(
                    "their logs, or their machines', may say whether it was what ended them, such as by too much memory; submitted anew it goes on where it was".into(),
                ),
                code: None,
            }));
        }
        let here = Here {
            workspace: &self.url,
            storage: &self.storage,
            config: &self.config,
        };
        let started = command(&lease.job.file.work, here)
            .and_then(|command| Running::start(&self.executable, command, &lease.fence));
        let mut running = match started {
            Ok(running) => running,
            Err(e) => {
                let message = format!("cannot run its command: {e}");
                let (hint, code) = (None, None);
                return Some(End::Failed(Failure {
                    message,
                    hint,
                    code,
                }));
            }
        };
        let fence = lease.fence.clone();
        let mut renew = tokio::time::interval(self.config.lease() / RENEWALS);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        renew.reset();
        let grace = Duration::from_secs_f64(self.config.grace_s);
        let mut given_up = std::pin::pin!(async {
            if shutdown.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        let mut look = tokio::time::interval(LOOK_AT_MEMORY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let most = Some(self.config.memory).filter(|most| *most > 0);
        let (mut stopping, mut deadline) = (false, std::pin::pin!(tokio::time::sleep(grace)));
        loop {
            tokio::select! {
                biased;
                () = fence.ended() => {
                    let _ = running.end().await;
                    return None;
                }
                status = running.ended() => {
                    let status = status.ok()?;
                    // In good order before its end, or by a signal: it goes on from there.
                    let is_interrupted = status.code() == Some(i32::from(INTERRUPTED));
                    if is_interrupted || child::was_asked_to_end(status) {
                        // A service's manager, or a terminal, tells all of its processes at once: this one is about to hear it as well.
                        let hears = tokio::time::timeout(HEAR_WITHIN, &mut given_up);
                        let told = stopping || hears.await.is_ok();
                        return Some(if told { End::Released } else { End::Gone });
                    }
                    return Some(came_to(running.close(status).await));
                }
                _ = renew.tick() => match renewed(lease, &running).await {
                    Ok(Kept::Yes) => {}
                    Ok(Kept::Cancelled) => {
                        let _ = running.end().await;
                        return Some(End::Cancelled);
                    }
                    Ok(Kept::No) => {
                        let _ = running.end().await;
                        return None;
                    }
                    Err(e) => tracing::warn!("{}: cannot renew its lease yet: {e}", fence.job()),
                },
                _ = look.tick(), if most.is_some() => {
                    let held = running.memory();
                    if let Some(most) = most.filter(|most| held > *most) {
                        let _ = running.end().await;
                        return Some(too_much(held, most));
                    }
                }
                () = &mut given_up, if !stopping => {
                    stopping = true;
                    running.stop();
                    deadline.as_mut().reset(tokio::time::Instant::now() + grace);
                }
                () = &mut deadline, if stopping => {
                    let _ = running.end().await;
                    return Some(End::Released);
                }
            }
        }
    }
}

/// Whether a job is still this worker's to do.
enum Kept {
    Yes,
    No,
    Cancelled,
}

async fn renewed(lease: &mut Lease, running: &Running) -> Result<Kept, JobError> {
    if !lease.renew(running.progress()).await? {
        return Ok(Kept::No);
    }
    Ok(if lease.is_cancelled().await? {
        Kept::Cancelled
    } else {
        Kept::Yes
    })
}

fn too_much(held: u64, most: u64) -> End {
    End::Failed(Failure {
        message: format!("it held {held} bytes of memory, of the {most} that a job may"),
        hint: Some(
            "the worker's `memory` is the limit; a smaller batch, or fewer threads, need less"
                .into(),
        ),
        code: None,
    })
}

fn came_to(ended: Ended) -> End {
    match ended.status.code() {
        Some(0) => End::Done(ended.result),
        _ => End::Failed(ended.failure),
    }
}

impl Doing {
    /// Of a task that panicked as well: its job's lease ends by itself.
    fn forget(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        let task = ended.map_or_else(|e| e.id(), |(task, ())| task);
        self.ids.remove(&task);
    }
}
