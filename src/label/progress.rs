//! How far a run is and where its time goes: a bar on a terminal, JSON lines otherwise, and a summary at the end.

use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::selection::OfSelection;
use crate::child;

/// How often a JSON line is written where there is no terminal: often where a worker reads it, for those who watch the job.
pub(crate) fn line_every() -> Duration {
    Duration::from_secs(if child::fence().is_some() { 1 } else { 10 })
}
/// How often the bar is drawn anew.
pub(crate) const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Time spent, added up over threads or requests.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// Adds a stretch of time.
    pub fn add(&self, time: Duration) {
        self.0.fetch_add(
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// The sum in seconds.
    pub fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// Where the time of a run goes. `decode`, `infer` and `wait` are of the worker threads and add up to their time.
#[derive(Debug, Default)]
pub struct Timings {
    /// Requests for images, from the first attempt to the last; many run side by side.
    pub fetch: Clock,
    /// Decoding, hashing and preprocessing.
    pub decode: Clock,
    /// Running the model.
    pub infer: Clock,
    /// Workers that had nothing to do, because images had not arrived or a result was being written.
    pub wait: Clock,
    /// Encoding Parquet and committing it.
    pub write: Clock,
}

/// How far a run is.
#[derive(Debug, Default)]
pub struct Counters {
    /// Images with a label.
    pub labelled: AtomicU64,
    /// Images without.
    pub rejected: AtomicU64,
    /// Shards committed by this run.
    pub shards: AtomicU64,
    /// Images of shards that another process committed while this run went on.
    pub elsewhere: AtomicU64,
}

/// The share of the workers' time that each stage takes, from 0 to 1.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
pub struct Split {
    /// Waiting for images to arrive.
    pub fetch: f64,
    /// Decoding, hashing, preprocessing.
    pub decode: f64,
    /// Running the model.
    pub infer: f64,
    /// Encoding and committing, which goes on beside the workers: its share of the run's time.
    pub write: f64,
}

impl Split {
    /// The stage that takes most.
    pub fn bottleneck(&self) -> &'static str {
        [
            ("fetch", self.fetch),
            ("decode", self.decode),
            ("infer", self.infer),
            ("write", self.write),
        ]
        .into_iter()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or("infer", |(name, _)| name)
    }
}

/// What a run has done; `--json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The dataset.
    pub dataset: String,
    /// NAME@VERSION.
    pub teacher: String,
    /// Where a selection's images alone were labelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<OfSelection>,
    /// Where the model ran.
    pub device: String,
    /// Images of the manifest's newest state that this run had to do.
    pub images: u64,
    /// Of these, labelled.
    pub labelled: u64,
    /// Of these, rejected.
    pub rejected: u64,
    /// Of these, in shards that another process committed meanwhile.
    pub elsewhere: u64,
    /// Reads of images that had to be repeated after a fault of the store.
    pub repeated_reads: u64,
    /// Shards committed.
    pub shards: u64,
    /// Shards that had been committed before, by any run.
    pub shards_before: u64,
    /// Of the label stage, without start-up and listing.
    pub seconds: f64,
    /// Images a second over `seconds`.
    pub images_per_second: f64,
    /// Where the time went.
    pub time: Split,
    /// The stage that took most.
    pub bottleneck: &'static str,
    /// Whether Ctrl-C ended it before everything was done.
    pub interrupted: bool,
}

impl Summary {
    /// Of a run that found nothing to do.
    pub fn nothing_to_do(
        dataset: &str,
        teacher: &str,
        shards_before: u64,
        selection: Option<OfSelection>,
    ) -> Self {
        Self {
            dataset: dataset.to_owned(),
            teacher: teacher.to_owned(),
            selection,
            device: "none".into(),
            images: 0,
            labelled: 0,
            rejected: 0,
            elsewhere: 0,
            repeated_reads: 0,
            shards: 0,
            shards_before,
            seconds: 0.0,
            images_per_second: 0.0,
            time: Split {
                fetch: 0.0,
                decode: 0.0,
                infer: 0.0,
                write: 0.0,
            },
            bottleneck: "none",
            interrupted: false,
        }
    }
}

/// Shows a run while it goes on.
#[derive(Debug)]
pub struct Progress {
    /// Where the time goes.
    pub timings: Arc<Timings>,
    /// How far it is.
    pub counters: Counters,
    total: u64,
    workers: usize,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A run of `total` images on `workers` threads. `visible` is false in tests and libraries.
    pub fn new(total: u64, workers: usize, timings: Arc<Timings>, visible: bool) -> Self {
        let bar = (visible && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template(
                "{bar:32.cyan/dim} {human_pos}/{human_len} images  {msg}",
            ) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            timings,
            counters: Counters::default(),
            total,
            workers,
            started: Instant::now(),
            bar,
        }
    }

    /// Counts the outcomes of a batch.
    pub fn count(&self, labelled: u64, rejected: u64) {
        self.counters
            .labelled
            .fetch_add(labelled, Ordering::Relaxed);
        self.counters
            .rejected
            .fetch_add(rejected, Ordering::Relaxed);
    }

    /// Counts the images of a shard that another process has committed.
    pub fn count_elsewhere(&self, images: u64) {
        self.counters.elsewhere.fetch_add(images, Ordering::Relaxed);
    }

    /// Images that this run has labelled or rejected so far.
    pub fn done(&self) -> u64 {
        self.counters.labelled.load(Ordering::Relaxed)
            + self.counters.rejected.load(Ordering::Relaxed)
    }

    /// Images that nobody has done yet.
    pub fn left(&self) -> u64 {
        let elsewhere = self.counters.elsewhere.load(Ordering::Relaxed);
        self.total.saturating_sub(self.done() + elsewhere)
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Where the time went so far.
    pub fn split(&self) -> Split {
        let t = &self.timings;
        let (decode, infer, wait) = (t.decode.seconds(), t.infer.seconds(), t.wait.seconds());
        // Threads that wait for their first job have waited since the start; the clock knows only of waits that have ended.
        let whole = (decode + infer + wait).max(self.seconds() * self.workers as f64);
        let share = |part: f64, of: f64| if of > 0.0 { (part / of).min(1.0) } else { 0.0 };
        Split {
            fetch: share(whole - decode - infer, whole),
            decode: share(decode, whole),
            infer: share(infer, whole),
            write: share(t.write.seconds(), self.seconds()),
        }
    }

    /// Draws the bar or writes JSON lines until dropped; to be raced against the work.
    pub async fn show(&self, visible: bool) {
        if !visible {
            return std::future::pending().await;
        }
        let every = if self.bar.is_some() {
            DRAW_EVERY
        } else {
            line_every()
        };
        loop {
            tokio::time::sleep(every).await;
            self.draw();
        }
    }

    fn draw(&self) {
        let done = self.done();
        let rate = done as f64 / self.seconds().max(1e-9);
        let left = if rate > 0.0 {
            self.left() as f64 / rate
        } else {
            0.0
        };
        let rejected = self.counters.rejected.load(Ordering::Relaxed);
        let split = self.split();
        if let Some(bar) = &self.bar {
            bar.set_position(self.total - self.left());
            bar.set_message(format!(
                "{rate:.0}/s  ETA {}  {rejected} rejected  fetch {:.0}% decode {:.0}% infer {:.0}% write {:.0}%",
                clock(left),
                split.fetch * 100.0,
                split.decode * 100.0,
                split.infer * 100.0,
                split.write * 100.0,
            ));
        } else {
            let line = serde_json::json!({
                "done": done, "total": self.total, "rejected": rejected,
                "images_per_second": round(rate), "eta_seconds": round(left), "time": split,
                "bottleneck": split.bottleneck(),
            });
            // Nobody reads standard error any more: the work goes on.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Seconds as `1h 02m`, `3m 04s` or `5s`.
pub fn clock(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..=59 => format!("{s}s"),
        60..=3599 => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bottleneck_is_the_stage_that_takes_most() {
        let split = Split {
            fetch: 0.1,
            decode: 0.2,
            infer: 0.7,
            write: 0.05,
        };
        assert_eq!(split.bottleneck(), "infer");
        let starved = Split {
            fetch: 0.8,
            infer: 0.1,
            ..split
        };
        assert_eq!(starved.bottleneck(), "fetch");
    }

    #[test]
    fn durations_read_like_a_clock() {
        assert_eq!([5.0, 184.0, 3725.0].map(clock), ["5s", "3m 04s", "1h 02m"]);
    }

    #[test]
    fn the_shares_of_the_workers_time_sum_to_one() {
        let timings = Arc::new(Timings::default());
        timings.decode.add(Duration::from_secs(1));
        timings.infer.add(Duration::from_secs(3));
        let split = Progress::new(10, 1, timings, false).split();
        assert!((split.fetch + split.decode + split.infer - 1.0).abs() < 1e-9);
        assert!((split.infer - 0.75).abs() < 1e-6);
    }
}
