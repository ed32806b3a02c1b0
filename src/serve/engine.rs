//! A teacher that labels images of requests: they wait in one bounded queue, and leave it as batches, in order, whoever they are of.
//!
//! ```text
//! requests ─▶ queue (label.queue images, 429 beyond) ─▶ batch (label.batch images, label.wait_ms) ─▶ label::infer::Workers
//! ```
//! The workers are those of `label`: the same decoding, preprocessing and model, so that an image's label is the same within the tolerance
//! that holds across batches. A batch is made up when a worker is about to be free: until then images gather, so that batches grow with the load.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::config::LabelConfig;
use super::metrics::Metrics;
use crate::error::Error;
use crate::label::classifiers;
use crate::label::decode::DecodeConfig;
use crate::label::infer::{Fetched, Outcome, Workers};
use crate::label::progress::Timings;
use crate::runtime::{Device, Runtime};
use crate::teacher::Teacher;

/// What came of an image, or why the model could not be run at all.
pub(super) type Labelled = Result<Outcome, String>;

/// An image on its way.
struct Waiting {
    key: String,
    bytes: Bytes,
    /// Of its request's body, which all of its images are parts of.
    room: Arc<OwnedSemaphorePermit>,
    reply: oneshot::Sender<Labelled>,
}

/// See the module. When it is dropped, what waits is still labelled.
pub(super) struct Engine {
    /// NAME@VERSION.
    pub(super) name: String,
    /// The teacher.
    pub(super) teacher: Teacher,
    queue: mpsc::Sender<Waiting>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads the model, and starts its threads and what fills them. To be called on a thread that may block, of a tokio runtime.
    ///
    /// # Errors
    /// [`crate::label::LabelError`].
    pub(super) fn start(
        runtime: &Runtime,
        model: &[u8],
        teacher: Teacher,
        label: &LabelConfig,
        decode: &DecodeConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let settings = crate::config::LabelConfig {
            batch: label.batch,
            workers: label.workers,
            ..crate::config::LabelConfig::default()
        };
        let (device, _) = runtime.resolve(Device::Auto);
        let (classifiers, most) = classifiers(runtime, device, model, &teacher.config, &settings)?;
        let timings = Arc::new(Timings::default());
        let workers = Workers::start(classifiers, &teacher.config, decode, None, &timings);
        let (queue, waiting) = mpsc::channel(label.queue);
        let batches = Batches {
            waiting,
            workers: Arc::new(workers),
            most,
            wait: Duration::from_secs_f64(label.wait_ms / 1e3),
            metrics: Arc::clone(&metrics),
        };
        tokio::spawn(batches.run());
        Ok(Self {
            name: teacher.record.to_string(),
            teacher,
            queue,
            metrics,
        })
    }

    /// Images that the queue holds at most.
    pub(super) fn most(&self) -> usize {
        self.queue.max_capacity()
    }

    /// Whether not even one image has room.
    pub(super) fn is_full(&self) -> bool {
        self.queue.capacity() == 0
    }

    /// Lets images wait, all of a request or none: `None` where they have no room.
    pub(super) fn admit(
        &self,
        images: Vec<(String, Bytes)>,
        room: OwnedSemaphorePermit,
    ) -> Option<Vec<oneshot::Receiver<Labelled>>> {
        let permits = self.queue.try_reserve_many(images.len()).ok()?;
        let mut replies = Vec::with_capacity(images.len());
        let room = Arc::new(room);
        for (permit, (key, bytes)) in permits.zip(images) {
            let (reply, answer) = oneshot::channel();
            self.metrics.waiting.inc();
            let room = Arc::clone(&room);
            permit.send(Waiting {
                key,
                bytes,
                room,
                reply,
            });
            replies.push(answer);
        }
        Some(replies)
    }
}

/// What makes batches of what waits.
struct Batches {
    waiting: mpsc::Receiver<Waiting>,
    workers: Arc<Workers>,
    most: usize,
    wait: Duration,
    metrics: Arc<Metrics>,
}

impl Batches {
    async fn run(mut self) {
        // One batch more than there are workers, so that none of them waits for the next one to be made up.
        let places = Arc::new(Semaphore::new(self.workers.len() + 1));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Some(batch) = self.next().await else {
                return;
            };
            if batch.is_empty() {
                continue;
            }
            self.metrics.batch.observe(batch.len() as f64);
            let workers = Arc::clone(&self.workers);
            tokio::spawn(async move {
                label(&workers, batch).await;
                drop(place);
            });
        }
    }

    /// The images of the next batch; without those whose request has been given up meanwhile.
    async fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut batch = vec![self.waiting.recv().await?];
        let until = Instant::now() + self.wait;
        while batch.len() < self.most {
            match timeout_at(until, self.waiting.recv()).await {
                Ok(Some(next)) => batch.push(next),
                Ok(None) | Err(_) => break,
            }
        }
        self.metrics.waiting.dec_by(batch.len() as i64);
        batch.retain(|image| !image.reply.is_closed());
        Some(batch)
    }
}

async fn label(workers: &Workers, batch: Vec<Waiting>) {
    let (images, replies): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|image| {
            let fetched = Fetched {
                key: image.key,
                bytes: Ok(image.bytes),
                attempts: 1,
                permit: Some(image.room),
            };
            (fetched, image.reply)
        })
        .unzip();
    // Whoever asked may have left meanwhile.
    match workers.label(images).await {
        Ok(outcomes) => {
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                let _ = reply.send(Ok(outcome));
            }
        }
        Err(e) => {
            for reply in replies {
                let _ = reply.send(Err(e.to_string()));
            }
        }
    }
}
