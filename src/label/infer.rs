//! Fetched bytes → outcomes: decoding, preprocessing and inference on threads that own their model.
//!
//! A job is one batch: neighbouring images of a shard, as the manifest has them. On the CPU each thread has a session of its own
//! with one thread, and decodes, hashes, crops and infers in turn, so that pixels never leave its cache. On a CUDA device the threads
//! decode side by side and take turns at one session. An image that fails leaves a zero-filled slot: the others of its batch see the
//! same batch as if it had not. In memory are at most (workers + channel capacity) batches.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::decode::{DecodeConfig, decode};
use super::fingerprint::{gradient_hash, sha256};
use super::noise::NoiseSettings;
use super::preprocess::Preprocessor;
use super::progress::Timings;
use super::soft_label::{Scalars, probabilities, scalars};
use crate::runtime::RuntimeError;
use crate::teacher::TeacherConfig;
use crate::teacher::config::OutputKind;

/// The seam to a model: images [N, 3, H, W] → outputs [N, C], synchronously, on the thread that owns it.
pub trait Classifier: Send {
    /// C.
    fn classes(&self) -> usize;

    /// Runs the model over all of `images` and puts N × C numbers into `out`, which is emptied first.
    ///
    /// An image's numbers may depend on its batch by no more than [`crate::teacher::model::TOLERANCE`] in probability.
    ///
    /// # Errors
    /// [`RuntimeError::Run`].
    fn classify(&mut self, images: &[f32], out: &mut Vec<f32>) -> Result<(), RuntimeError>;
}

/// One classifier that several threads take turns at: a device.
impl Classifier for Arc<Mutex<Box<dyn Classifier>>> {
    fn classes(&self) -> usize {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .classes()
    }

    fn classify(&mut self, images: &[f32], out: &mut Vec<f32>) -> Result<(), RuntimeError> {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .classify(images, out)
    }
}

/// Why an image has no label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// `list`, `fetch`, `decode` or `infer`.
    pub stage: &'static str,
    /// A stable name of the reason, for SQL.
    pub reason: String,
    /// A sentence for people.
    pub detail: String,
}

impl Reject {
    /// Whether it is the store that did not give the image, after all attempts, rather than the image.
    pub fn is_unreachable(&self) -> bool {
        self.stage == "fetch" && self.reason == UNREACHABLE
    }
}

/// The reason of what a store did not give.
pub(super) const UNREACHABLE: &str = "unreachable";

/// An image on its way into a batch.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its key.
    pub key: String,
    /// Its bytes, or why there are none.
    pub bytes: Result<Bytes, Reject>,
    /// How often it was asked for.
    pub attempts: u16,
    /// Its group's share of the memory for bytes in flight.
    pub permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// What became of an image.
#[derive(Debug)]
pub struct Outcome {
    /// How often it was asked for.
    pub attempts: u16,
    /// Of its bytes, where there were any.
    pub sha256: Option<[u8; 32]>,
    /// Its label, or why there is none.
    pub label: Result<SoftLabel, Reject>,
}

/// The label of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftLabel {
    /// Gradient hash of the full image; none where it was decoded at a smaller scale.
    pub phash: Option<u64>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// `[C]`.
    pub probabilities: Vec<f32>,
    /// Derived from `probabilities`.
    pub scalars: Scalars,
}

struct Job {
    images: Vec<Fetched>,
    reply: oneshot::Sender<Result<Vec<Outcome>, RuntimeError>>,
}

/// The threads, and the bounded channel to them.
#[derive(Debug)]
pub struct Workers {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts one thread for each classifier. With `noise` the images are noised before they are normalised.
    pub fn start(
        classifiers: Vec<Box<dyn Classifier>>,
        config: &TeacherConfig,
        decoding: &DecodeConfig,
        noise: Option<&NoiseSettings>,
        timings: &Arc<Timings>,
    ) -> Self {
        let (jobs, receiver) = mpsc::channel(classifiers.len());
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = classifiers
            .into_iter()
            .map(|classifier| {
                let [height, width] = config.input.size;
                let mut worker = Worker {
                    classifier,
                    kind: config.output.kind,
                    preprocessor: Preprocessor::new(
                        &config.preprocess,
                        height as usize,
                        width as usize,
                    ),
                    decoding: decoding.clone(),
                    noise: noise.cloned(),
                    image_len: 3 * (height * width) as usize,
                    input: Vec::new(),
                    output: Vec::new(),
                    timings: Arc::clone(timings),
                };
                let receiver = Arc::clone(&receiver);
                std::thread::spawn(move || {
                    loop {
                        let waiting = Instant::now();
                        let job: Option<Job> = receiver
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .blocking_recv();
                        worker.timings.wait.add(waiting.elapsed());
                        let Some(job) = job else { break };
                        if job.reply.is_closed() {
                            continue;
                        }
                        let outcomes = worker.run(job.images);
                        // Whoever asked may have left meanwhile.
                        let _ = job.reply.send(outcomes);
                    }
                })
            })
            .collect();
        Self {
            jobs: Some(jobs),
            threads,
        }
    }

    /// How many threads there are.
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// Labels a batch, in order; waits where all threads are busy and the channel is full.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] where a worker's model runs no image at all.
    pub async fn label(&self, images: Vec<Fetched>) -> Result<Vec<Outcome>, RuntimeError> {
        let (reply, answer) = oneshot::channel();
        let gone = || RuntimeError::Run {
            detail: "the worker threads have stopped".into(),
        };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job { images, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Worker {
    classifier: Box<dyn Classifier>,
    kind: OutputKind,
    preprocessor: Preprocessor,
    decoding: DecodeConfig,
    noise: Option<NoiseSettings>,
    image_len: usize,
    input: Vec<f32>,
    output: Vec<f32>,
    timings: Arc<Timings>,
}

/// What decoding leaves of an image besides its slot in the batch.
struct Seen {
    sha256: [u8; 32],
    decoded: Result<(Option<u64>, u32, u32), Reject>,
}

impl Worker {
    fn run(&mut self, images: Vec<Fetched>) -> Result<Vec<Outcome>, RuntimeError> {
        let started = Instant::now();
        let n = images.len();
        // Each slot is overwritten, by its image or by zeros.
        self.input.resize(n * self.image_len, 0.0);
        let mut seen = Vec::with_capacity(n);
        for (slot, image) in images.into_iter().enumerate() {
            let decoded = image
                .bytes
                .map(|bytes| self.decode(slot, &image.key, &bytes));
            if !matches!(&decoded, Ok(seen) if seen.decoded.is_ok()) {
                self.input[slot * self.image_len..(slot + 1) * self.image_len].fill(0.0);
            }
            seen.push((image.attempts, decoded));
            drop(image.permit);
        }
        self.timings.decode.add(started.elapsed());
        let started = Instant::now();
        let failures = if seen
            .iter()
            .any(|(_, s)| matches!(s, Ok(s) if s.decoded.is_ok()))
        {
            self.infer(n, &seen)?
        } else {
            vec![None; n]
        };
        self.timings.infer.add(started.elapsed());
        let classes = self.classifier.classes();
        Ok(seen
            .into_iter()
            .zip(failures)
            .enumerate()
            .map(|(slot, ((attempts, seen), failure))| {
                let (sha256, decoded) = match seen {
                    Ok(seen) => (Some(seen.sha256), seen.decoded),
                    Err(reject) => (None, Err(reject)),
                };
                let label = decoded.and_then(|(phash, width, height)| {
                    if let Some(detail) = failure {
                        return Err(infer_reject("inference-failed", detail));
                    }
                    let output = &self.output[slot * classes..(slot + 1) * classes];
                    let probabilities = probabilities(output, self.kind);
                    match scalars(&probabilities) {
                        Some(scalars) => Ok(SoftLabel {
                            phash,
                            width,
                            height,
                            probabilities,
                            scalars,
                        }),
                        None => Err(infer_reject(
                            "non-finite-output",
                            "the model's output is not finite".into(),
                        )),
                    }
                });
                Outcome {
                    attempts,
                    sha256,
                    label,
                }
            })
            .collect())
    }

    /// Decodes an image into its slot, which is left in any state where it fails.
    fn decode(&mut self, slot: usize, key: &str, bytes: &[u8]) -> Seen {
        // Of a random crop, which may be small, all pixels are wanted.
        let crops = self.noise.as_ref().is_some_and(|n| n.image.crops());
        let short =
            (self.decoding.scaled_jpeg && !crops).then(|| self.preprocessor.target_short_side());
        let decoded = decode(bytes, &self.decoding, short)
            .map_err(|e| (e.reason(), e.to_string()))
            .and_then(|image| {
                let range = slot * self.image_len..(slot + 1) * self.image_len;
                let out = &mut self.input[range];
                match &self.noise {
                    None => self.preprocessor.run(&image, out),
                    Some(noise) => {
                        let draws = noise.draws(key);
                        self.preprocessor
                            .run_noised(&image, &noise.image, draws, out)
                    }
                }
                .map_err(|e| ("not-resizable", e.to_string()))?;
                let phash = (!image.scaled).then(|| gradient_hash(&image));
                Ok((phash, image.full_width, image.full_height))
            })
            .map_err(|(reason, detail)| Reject {
                stage: "decode",
                reason: reason.to_owned(),
                detail,
            });
        Seen {
            sha256: sha256(bytes),
            decoded,
        }
    }

    /// Runs the batch; where it fails, each of its images alone, with zeros beside it nowhere. Gives each image's failure.
    fn infer(
        &mut self,
        n: usize,
        seen: &[(u16, Result<Seen, Reject>)],
    ) -> Result<Vec<Option<String>>, RuntimeError> {
        let error = match self.classifier.classify(&self.input, &mut self.output) {
            Ok(()) => return Ok(vec![None; n]),
            Err(error) => error,
        };
        let classes = self.classifier.classes();
        let mut all = vec![0.0; n * classes];
        let mut one = Vec::new();
        let mut runs = false;
        let mut failures = vec![None; n];
        for (slot, (_, seen)) in seen.iter().enumerate() {
            if !matches!(seen, Ok(s) if s.decoded.is_ok()) {
                continue;
            }
            let image = &self.input[slot * self.image_len..(slot + 1) * self.image_len];
            match self.classifier.classify(image, &mut one) {
                Ok(()) => {
                    all[slot * classes..(slot + 1) * classes].copy_from_slice(&one);
                    runs = true;
                }
                Err(e) => failures[slot] = Some(e.to_string()),
            }
        }
        self.output = all;
        // An image is given up only while the model runs at all: a device that is lost is no property of the images.
        let zeros = || vec![0.0; self.image_len];
        if runs || self.classifier.classify(&zeros(), &mut one).is_ok() {
            Ok(failures)
        } else {
            Err(error)
        }
    }
}

fn infer_reject(reason: &str, detail: String) -> Reject {
    Reject {
        stage: "infer",
        reason: reason.to_owned(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of two classes that runs for so many batches, and then refuses images that are brighter than others, or whatever it is given.
    struct Failing {
        batches: usize,
        wholly: bool,
    }

    impl Classifier for Failing {
        fn classes(&self) -> usize {
            2
        }

        fn classify(&mut self, images: &[f32], out: &mut Vec<f32>) -> Result<(), RuntimeError> {
            let is_refused = self.wholly || images.iter().any(|v| *v > 0.5);
            if self.batches == 0 && is_refused {
                let detail = "the device is lost".into();
                return Err(RuntimeError::Run { detail });
            }
            self.batches = self.batches.saturating_sub(1);
            *out = [1.0, 0.0].repeat(images.len() / (3 * 8 * 8));
            Ok(())
        }
    }

    fn image(brightness: u8) -> Fetched {
        let pixels = image::RgbImage::from_pixel(8, 8, image::Rgb([brightness; 3]));
        let mut png = std::io::Cursor::new(Vec::new());
        pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
        Fetched {
            key: "k".into(),
            bytes: Ok(png.into_inner().into()),
            attempts: 1,
            permit: None,
        }
    }

    #[tokio::test]
    async fn an_image_is_given_up_only_while_the_model_runs_others() {
        let config = "[input]\nsize = [8, 8]\n[preprocess]\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n[output]\nkind = \"logits\"\n[classes]\nnames = [\"a\", \"b\"]\n";
        let config: TeacherConfig = toml::from_str(config).unwrap();
        for (wholly, is_lost) in [(false, false), (true, true)] {
            let failing = Failing { batches: 1, wholly };
            let timings = Arc::new(Timings::default());
            let decoding = DecodeConfig::default();
            let classifiers: Vec<Box<dyn Classifier>> = vec![Box::new(failing)];
            let workers = Workers::start(classifiers, &config, &decoding, None, &timings);
            let labelled = workers.label(vec![image(250), image(0)]).await.unwrap();
            assert!(labelled.iter().all(|outcome| outcome.label.is_ok()));
            // A batch of its own: whether it is the image's fault or the model's shows by an image of zeros.
            let next = workers.label(vec![image(250)]).await;
            match next {
                Ok(outcomes) => {
                    assert!(!is_lost);
                    let reject = outcomes[0].label.as_ref().unwrap_err();
                    assert_eq!(reject.reason, "inference-failed");
                }
                Err(e) => assert!(is_lost && e.to_string().contains("the device is lost")),
            }
        }
    }
}
