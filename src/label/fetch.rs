//! Manifest rows → their bytes: with retries, a time-out for stuck reads, and a bound on the bytes in flight.
//!
//! A read is repeated with doubling pauses after a 5xx, a time-out or a truncated body; what still fails is a reject with the number
//! of attempts. Credentials that are wrong or have run out stop the run, and so do many refusals in a row: every other image would fail
//! the same way, which another object tells then. One refused image among others is a reject. An image is given up only while the store gives others: an outage is no property
//! of the images, and stops the run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::sync::Semaphore;

use super::infer::{Fetched, Reject, UNREACHABLE};
use super::progress::Timings;
use super::{LabelError, SHARDS_IN_FLIGHT};
use crate::source::{GROUP_BYTES, ImageRef, Kind, ReadError, ReadErrorKind, Source};

/// Bytes of images that may be in memory between the store and the decoder: 128 MiB.
pub const IN_FLIGHT_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes of a shard's containers that are read ahead: three groups, or more of smaller ones.
const CONTAINER_BYTES_AHEAD: u64 = 3 * GROUP_BYTES;
/// The semaphore counts in these units, since it counts in u32.
const UNIT: u64 = 1024;
/// What an image of unknown size counts as: 1 MiB.
const UNKNOWN_SIZE: u64 = 1024 * 1024;
/// The pause after the first failed attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Refusals in a row, with no image read between them, after which the credentials are taken to be wrong.
const REFUSALS: u64 = 16;

/// Fetches neighbouring images.
#[derive(Debug)]
pub struct Fetcher {
    source: Arc<Source>,
    attempts: u16,
    /// Images in a batch.
    batch: usize,
    budget: Arc<Semaphore>,
    refused: AtomicU64,
    /// Images that were given, and the object of the last one.
    given: AtomicU64,
    last_given: Mutex<Option<String>>,
    timings: Arc<Timings>,
    /// Reads that were repeated.
    pub repeated: AtomicU64,
}

/// A shard, cut into what is fetched together.
#[derive(Debug)]
pub struct Groups {
    /// Its images, in order.
    pub images: Vec<Vec<ImageRef>>,
    /// How many groups are fetched side by side.
    pub ahead: usize,
    /// What a group counts as at most.
    pub most_bytes: u64,
}

/// How one image's reading went: the attempts, and the bytes or the reject.
type Read = (u16, Result<bytes::Bytes, Reject>);

impl Fetcher {
    /// A fetcher that asks for an image `attempts` times, for batches of `batch` images.
    pub fn new(
        source: impl Into<Arc<Source>>,
        attempts: u16,
        batch: usize,
        timings: Arc<Timings>,
    ) -> Self {
        Self {
            source: source.into(),
            attempts,
            batch,
            budget: Arc::new(Semaphore::new((IN_FLIGHT_BYTES / UNIT) as usize)),
            refused: AtomicU64::new(0),
            given: AtomicU64::new(0),
            last_given: Mutex::new(None),
            timings,
            repeated: AtomicU64::new(0),
        }
    }

    /// Images in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The source.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Cuts a shard into what is fetched together: loose objects by batch, so that a batch that holds memory waits for none; neighbours
    /// in a container as one read gives them. `ahead` is how many batches are on their way.
    ///
    /// A batch over containers may hold its first groups while it waits for its last, with another shard's batch beside it. So groups count
    /// as no more than lets all of these have their share: with batches of 64 images of 5 MB more bytes are in memory than are counted.
    pub fn groups(&self, images: &[ImageRef], ahead: usize) -> Groups {
        let of_a_shard = IN_FLIGHT_BYTES / SHARDS_IN_FLIGHT as u64;
        let cut = self.cut(images);
        if images.first().is_none_or(|i| i.kind == Kind::Object) {
            return Groups {
                images: cut,
                ahead,
                most_bytes: of_a_shard,
            };
        }
        let bytes: u64 = cut.iter().map(|group| self.source.span(group)).sum();
        let average = (bytes / cut.len().max(1) as u64).max(1);
        let fewest = CONTAINER_BYTES_AHEAD / GROUP_BYTES;
        let most = (ahead * self.batch) as u64;
        let side_by_side = (CONTAINER_BYTES_AHEAD / average).min(most).max(fewest);
        Groups {
            images: cut,
            ahead: side_by_side as usize,
            most_bytes: GROUP_BYTES.min(of_a_shard / (self.batch as u64 + side_by_side + 1)),
        }
    }

    fn cut(&self, images: &[ImageRef]) -> Vec<Vec<ImageRef>> {
        let mut groups = Vec::new();
        let mut rest = images;
        while let Some(first) = rest.first() {
            let n = if first.kind == Kind::Object || first.problem.is_some() {
                let loose = |i: &&ImageRef| i.kind == Kind::Object || i.problem.is_some();
                let into = (images.len() - rest.len()) % self.batch;
                rest.iter()
                    .take(self.batch - into)
                    .take_while(loose)
                    .count()
            } else {
                let readable = rest.iter().take_while(|i| i.problem.is_none()).count();
                self.source.group_len(&rest[..readable]).clamp(1, readable)
            };
            groups.push(rest[..n].to_vec());
            rest = &rest[n..];
        }
        groups
    }

    /// Fetches a group that counts as no more than `most_bytes`; one outcome an image, in order.
    ///
    /// # Errors
    /// [`LabelError::Credentials`], [`LabelError::Unreachable`] and [`LabelError::Machine`]: what every other image would meet as well.
    pub async fn fetch(
        &self,
        images: Vec<ImageRef>,
        most_bytes: u64,
    ) -> Result<Vec<Fetched>, LabelError> {
        let container = images
            .iter()
            .all(|i| i.kind != Kind::Object && i.problem.is_none());
        let size = |i: &ImageRef| match i.problem {
            Some(_) => 0,
            None => i.size.unwrap_or(UNKNOWN_SIZE),
        };
        let bytes = if container {
            self.source.span(&images)
        } else {
            images.iter().map(size).sum()
        }
        .min(most_bytes);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.budget)
            .acquire_many_owned(bytes.div_ceil(UNIT) as u32)
            .await
            .ok()
            .map(Arc::new);
        let started = Instant::now();
        let read = if container {
            self.read(&images).await?
        } else {
            let each = images.iter().map(|image| self.one(image));
            try_join_all(each).await?
        };
        self.timings.fetch.add(started.elapsed());
        Ok(read
            .into_iter()
            .zip(images)
            .map(|((attempts, bytes), image)| Fetched {
                key: image.key,
                bytes,
                attempts,
                permit: permit.clone(),
            })
            .collect())
    }

    async fn one(&self, image: &ImageRef) -> Result<Read, LabelError> {
        if let Some(problem) = &image.problem {
            let reject = Reject {
                stage: "list",
                reason: problem.clone(),
                detail: image.detail.clone().unwrap_or_default(),
            };
            return Ok((0, Err(reject)));
        }
        let mut read = self.read(std::slice::from_ref(image)).await?;
        Ok(read.pop().unwrap_or_else(|| (0, Err(no_answer()))))
    }

    /// One read for all of these images, repeated for those that it did not give.
    async fn read(&self, images: &[ImageRef]) -> Result<Vec<Read>, LabelError> {
        let mut done: Vec<Option<Read>> = vec![None; images.len()];
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let open: Vec<usize> = (0..images.len()).filter(|i| done[*i].is_none()).collect();
            let asked: Vec<ImageRef> = open.iter().map(|i| images[*i].clone()).collect();
            let answers = match self.source.read(&asked).await {
                Ok(answers) => answers,
                Err(e) => vec![Err(e); open.len()],
            };
            let (mut lost, mut given) = (Vec::new(), None);
            for (i, answer) in open.into_iter().zip(answers) {
                match answer {
                    Ok(bytes) => {
                        self.refused.store(0, Ordering::Relaxed);
                        self.given.fetch_add(1, Ordering::Relaxed);
                        given = Some(i);
                        done[i] = Some((attempt, Ok(bytes)));
                    }
                    Err(e) if self.is_refusal_of_all(&images[i], &e).await => {
                        return Err(LabelError::Credentials {
                            key: images[i].key.clone(),
                            detail: e.detail,
                        });
                    }
                    Err(e) if e.kind == ReadErrorKind::Machine => {
                        return Err(LabelError::Machine {
                            key: images[i].key.clone(),
                            detail: e.detail,
                        });
                    }
                    Err(e) if e.kind == ReadErrorKind::Retryable => {
                        tracing::debug!(key = images[i].key, attempt, "{}", e.detail);
                        lost.push((i, e));
                    }
                    Err(e) => done[i] = Some((attempt, Err(reject(e)))),
                }
            }
            if let Some(i) = given {
                let object: &String = &images[i].object;
                self.last_given().replace(object.clone());
            }
            if done.iter().all(Option::is_some) {
                break;
            }
            if attempt < self.attempts {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else if let Some((i, e)) = lost.first()
                && self.was_silent(&images[*i], e, pause).await?
            {
                // The source answers again: what was lost meanwhile is asked for once more.
            } else {
                for (i, e) in lost {
                    done[i] = Some((attempt, Err(reject(e))));
                }
                break;
            }
            self.repeated.fetch_add(1, Ordering::Relaxed);
            attempt = attempt.saturating_add(1);
        }
        Ok(done
            .into_iter()
            .map(|read| read.unwrap_or_else(|| (attempt, Err(no_answer()))))
            .collect())
    }

    /// Whether the source gives nothing at all after an image could not be read, neither to somebody else nor of another object. Then it is waited for.
    ///
    /// # Errors
    /// [`LabelError::Unreachable`] where it goes on giving nothing: an outage is no property of the image that was asked for.
    async fn was_silent(
        &self,
        image: &ImageRef,
        error: &ReadError,
        mut pause: Duration,
    ) -> Result<bool, LabelError> {
        // Each of a list's URLs may be another store's.
        if self.source.is_list() {
            return Ok(false);
        }
        let before = self.given.load(Ordering::Relaxed);
        for round in 0..=self.attempts {
            let is_given = self.given.load(Ordering::Relaxed) > before;
            if is_given || self.source.answers(&image.object).await {
                return Ok(round > 0);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(LabelError::Unreachable {
            key: image.key.clone(),
            detail: error.detail.clone(),
        })
    }

    /// Whether every other image would be refused as this one was. Many refusals in a row may be of neighbours: archived together, or under a prefix of their own. So another
    /// object is asked for then, the one that was given last or, where none was, the first ones of the listing.
    async fn is_refusal_of_all(&self, image: &ImageRef, error: &ReadError) -> bool {
        match error.kind {
            ReadErrorKind::Credentials => true,
            ReadErrorKind::Forbidden if !self.source.is_list() => {
                if self.refused.fetch_add(1, Ordering::Relaxed) + 1 < REFUSALS {
                    return false;
                }
                let last = self.last_given().clone();
                let of_all = self.source.refuses_all(&image.object, last.as_deref());
                let of_all = of_all.await;
                if !of_all {
                    self.refused.store(0, Ordering::Relaxed);
                }
                of_all
            }
            _ => false,
        }
    }

    fn last_given(&self) -> MutexGuard<'_, Option<String>> {
        self.last_given
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A container's reader gave fewer answers than were asked for: each image still has its row.
fn no_answer() -> Reject {
    Reject {
        stage: "fetch",
        reason: "unreadable".to_owned(),
        detail: "the container gave no answer for it".to_owned(),
    }
}

fn reject(error: ReadError) -> Reject {
    Reject {
        stage: "fetch",
        reason: match error.kind {
            ReadErrorKind::Retryable => UNREACHABLE,
            ReadErrorKind::NotFound => "not-found",
            ReadErrorKind::Changed => "changed",
            ReadErrorKind::Credentials | ReadErrorKind::Forbidden => "forbidden",
            ReadErrorKind::TooLarge => "too-many-bytes",
            ReadErrorKind::Unreadable | ReadErrorKind::Machine => "unreadable",
        }
        .to_owned(),
        detail: error.detail,
    }
}
