//! Manifest rows → their bytes: with retries, a time-out for stuck reads, and a bound on the bytes in flight.
//!
//! A read is repeated with doubling pauses after a 5xx, a time-out or a truncated body; what still fails is a reject with the number
//! of attempts. Refused credentials stop the run: every other image would fail the same way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::LabelError;
use super::infer::{Fetched, Reject};
use super::progress::Timings;
use crate::source::{ImageRef, ReadError, ReadErrorKind, Source};

/// Bytes of images that may be in memory between the store and the decoder: 128 MiB.
pub const IN_FLIGHT_BYTES: usize = 128 * 1024 * 1024;
/// The semaphore counts in these units, since it counts in u32.
const UNIT: usize = 1024;
/// What an image of unknown size counts as: 1 MiB.
const UNKNOWN_SIZE: u64 = 1024 * 1024;
/// The pause after the first failed attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Fetches groups of neighbouring images.
#[derive(Debug)]
pub struct Fetcher {
    source: Source,
    attempts: u16,
    timeout: Duration,
    budget: Arc<Semaphore>,
    most_units: usize,
    timings: Arc<Timings>,
}

impl Fetcher {
    /// A fetcher that asks `attempts` times, each for at most `timeout`.
    ///
    /// `waiting` is how many groups may be held while others are waited for: the batches that are being filled. Each group is charged
    /// so little that they never hold more than half of the budget, or they would wait for each other for ever.
    pub fn new(
        source: Source,
        attempts: u16,
        timeout: Duration,
        waiting: usize,
        timings: Arc<Timings>,
    ) -> Self {
        Self {
            most_units: (IN_FLIGHT_BYTES / UNIT / 2 / waiting.max(1)).max(1),
            source,
            attempts,
            timeout,
            budget: Arc::new(Semaphore::new(IN_FLIGHT_BYTES / UNIT)),
            timings,
        }
    }

    /// Cuts a shard into the groups that one read gives.
    pub fn groups(&self, images: &[ImageRef]) -> Vec<Vec<ImageRef>> {
        let mut groups = Vec::new();
        let mut rest = images;
        while !rest.is_empty() {
            let n = if rest[0].problem.is_some() {
                1
            } else {
                let readable = rest.iter().take_while(|i| i.problem.is_none()).count();
                self.source.group_len(&rest[..readable]).clamp(1, readable)
            };
            groups.push(rest[..n].to_vec());
            rest = &rest[n..];
        }
        groups
    }

    /// Fetches a group; one outcome an image, in order.
    ///
    /// # Errors
    /// [`LabelError::Credentials`] alone.
    pub async fn fetch(&self, images: Vec<ImageRef>) -> Result<Vec<Fetched>, LabelError> {
        if let [image] = &images[..]
            && let Some(problem) = &image.problem
        {
            return Ok(vec![Fetched {
                bytes: Err(Reject {
                    stage: "list",
                    reason: problem.clone(),
                    detail: image.detail.clone().unwrap_or_default(),
                }),
                attempts: 0,
                permit: None,
            }]);
        }
        let bytes: u64 = images.iter().map(|i| i.size.unwrap_or(UNKNOWN_SIZE)).sum();
        let units = (bytes as usize).div_ceil(UNIT).clamp(1, self.most_units);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.budget)
            .acquire_many_owned(units as u32)
            .await
            .ok()
            .map(Arc::new);
        let started = Instant::now();
        let bytes = self.read(&images).await?;
        self.timings.fetch.add(started.elapsed());
        Ok(bytes
            .into_iter()
            .map(|(attempts, bytes)| Fetched {
                bytes,
                attempts,
                permit: permit.clone(),
            })
            .collect())
    }

    async fn read(
        &self,
        images: &[ImageRef],
    ) -> Result<Vec<(u16, Result<bytes::Bytes, Reject>)>, LabelError> {
        let mut done: Vec<Option<(u16, Result<bytes::Bytes, Reject>)>> = vec![None; images.len()];
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=self.attempts {
            let open: Vec<usize> = (0..images.len()).filter(|i| done[*i].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let asked: Vec<ImageRef> = open.iter().map(|i| images[*i].clone()).collect();
            let answers = match tokio::time::timeout(self.timeout, self.source.read(&asked)).await {
                Ok(Ok(answers)) => answers,
                Ok(Err(e)) => vec![Err(e); open.len()],
                Err(_) => vec![
                    Err(ReadError {
                        kind: ReadErrorKind::Retryable,
                        detail: format!(
                            "stuck: no answer within {} s",
                            self.timeout.as_secs_f64()
                        ),
                    });
                    open.len()
                ],
            };
            for (i, answer) in open.into_iter().zip(answers) {
                match answer {
                    Ok(bytes) => done[i] = Some((attempt, Ok(bytes))),
                    Err(e) if e.kind == ReadErrorKind::Credentials => {
                        return Err(LabelError::Credentials {
                            key: images[i].key.clone(),
                            detail: e.detail,
                        });
                    }
                    Err(e) if e.kind == ReadErrorKind::Retryable && attempt < self.attempts => {
                        tracing::debug!(key = images[i].key, attempt, "{}", e.detail);
                    }
                    Err(e) => done[i] = Some((attempt, Err(reject(e)))),
                }
            }
            if done.iter().any(Option::is_none) {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(done.into_iter().flatten().collect())
    }
}

fn reject(error: ReadError) -> Reject {
    Reject {
        stage: "fetch",
        reason: match error.kind {
            ReadErrorKind::Retryable => "unreachable",
            ReadErrorKind::NotFound => "not-found",
            ReadErrorKind::Changed => "changed",
            ReadErrorKind::Credentials => "credentials",
            ReadErrorKind::TooLarge => "too-many-bytes",
            ReadErrorKind::Unreadable => "unreadable",
        }
        .to_owned(),
        detail: error.detail,
    }
}
