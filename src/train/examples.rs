//! Fetched images → examples: decoded, noised, normalised, on all cores and ahead of the step that needs them.
//!
//! What is done to an image follows from its place in the stream and the seed alone. An image that cannot be decoded is left out; its place is used up, so a
//! training that resumes leaves out the same ones, and how many there were follows from the places.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::TrainError;
use crate::label::decode::{self, DecodeConfig};
use crate::label::infer::Fetched;
use crate::label::preprocess::{Preprocess, Preprocessor};
use crate::labelled::Sample;
use crate::pseudo::PseudoSample;
use crate::random::Draws;
use crate::student::noise::ImageNoise;

/// Images that a worker takes at once.
const CHUNK: usize = 16;
/// So many images in a row without one that can be used are no accident.
const HOPELESS: u64 = 10_000;

/// An image and what it is learned to be.
#[derive(Debug)]
pub(super) struct Raw {
    /// Its place in its stream.
    pub(super) at: u64,
    pub(super) target: Target,
    pub(super) fetched: Fetched,
}

impl From<Sample> for Raw {
    fn from(sample: Sample) -> Self {
        Self {
            at: sample.at,
            target: Target::Hard(sample.class),
            fetched: sample.fetched,
        }
    }
}

impl From<PseudoSample> for Raw {
    fn from(sample: PseudoSample) -> Self {
        Self {
            at: sample.at,
            target: sample.soft.map_or(Target::Hard(sample.class), Target::Soft),
            fetched: sample.fetched,
        }
    }
}

/// What an image is learned to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// A class.
    Hard(u16),
    /// A distribution over all classes.
    Soft(Vec<f32>),
}

impl Target {
    /// Writes the distribution into `row`, [classes]. A hard one gives `smoothing` away, evenly to all classes (Szegedy et al., 2016).
    pub(super) fn write(&self, smoothing: f32, row: &mut [f32]) {
        match self {
            Self::Soft(soft) => row.copy_from_slice(soft),
            Self::Hard(class) => {
                row.fill(smoothing / row.len() as f32);
                row[usize::from(*class)] += 1.0 - smoothing;
            }
        }
    }
}

/// An image as the network takes it.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) at: u64,
    pub(super) target: Target,
    /// [channels, height, width].
    pub(super) pixels: Vec<f32>,
}

/// An image that cannot be looked at.
struct Unseen {
    key: String,
    detail: String,
    /// Whether the store is to blame, after all attempts.
    unreachable: bool,
}

/// How images of one kind are looked at.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// What they are of, for errors.
    pub(super) of: String,
    /// Whether they are a list of URLs: of many stores one may be gone for good.
    pub(super) list: bool,
    pub(super) decode: DecodeConfig,
    pub(super) preprocess: Preprocess,
    /// Channels, height, width.
    pub(super) input: [usize; 3],
    pub(super) noise: Option<ImageNoise>,
    /// Of the noise: another one for each kind of images.
    pub(super) seed: u64,
}

impl Look {
    /// Decodes, noises and normalises.
    fn see(&self, preprocessor: &mut Preprocessor, raw: Raw) -> Result<Example, Unseen> {
        let key = raw.fetched.key;
        let unseen = |key: &str, detail: String| Unseen {
            key: key.to_owned(),
            detail,
            unreachable: false,
        };
        let bytes = match raw.fetched.bytes {
            Ok(bytes) => bytes,
            Err(reject) => {
                return Err(Unseen {
                    unreachable: !self.list && reject.is_unreachable(),
                    ..unseen(&key, reject.detail)
                });
            }
        };
        // Of a random crop, which may be small, all pixels are wanted.
        let crops = self.noise.as_ref().is_some_and(ImageNoise::crops);
        let short_side =
            (self.decode.scaled_jpeg && !crops).then(|| preprocessor.target_short_side());
        let image = decode::decode(&bytes, &self.decode, short_side);
        let image = image.map_err(|e| unseen(&key, e.to_string()))?;
        let [channels, height, width] = self.input;
        let plane = height * width;
        let mut pixels = vec![0.0; 3 * plane];
        let seen = match &self.noise {
            None => preprocessor.run(&image, &mut pixels),
            Some(noise) => {
                let draws = Draws::of_row(self.seed, raw.at, 0);
                preprocessor.run_noised(&image, noise, draws, &mut pixels)
            }
        };
        seen.map_err(|e| unseen(&key, e.to_string()))?;
        if channels == 1 {
            // As the exported student does it.
            for place in 0..plane {
                let sum: f32 = (0..3).map(|c| pixels[c * plane + place]).sum();
                pixels[place] = sum / 3.0;
            }
            pixels.truncate(plane);
        }
        Ok(Example {
            at: raw.at,
            target: raw.target,
            pixels,
        })
    }
}

/// Examples in the order of their images, `workers` chunks of them under way.
pub(super) fn examples(
    raw: BoxStream<'_, Result<Raw, TrainError>>,
    look: Look,
    workers: usize,
) -> BoxStream<'_, Result<Example, TrainError>> {
    let look = Arc::new(look);
    let of = look.of.clone();
    let mut in_a_row = 0;
    raw.try_chunks(CHUNK)
        .map_err(|e| e.1)
        .map(move |chunk| {
            let look = Arc::clone(&look);
            async move {
                let chunk = chunk?;
                let seen = tokio::task::spawn_blocking(move || {
                    let [_, height, width] = look.input;
                    let mut preprocessor = Preprocessor::new(&look.preprocess, height, width);
                    let see = |raw| look.see(&mut preprocessor, raw);
                    chunk.into_iter().map(see).collect::<Vec<_>>()
                });
                Ok::<_, TrainError>(stream::iter(seen.await?.into_iter().map(Ok)))
            }
        })
        .buffered(workers.max(1))
        .try_flatten()
        .try_filter_map(move |seen| {
            let kept = match seen {
                Ok(example) => {
                    in_a_row = 0;
                    Ok(Some(example))
                }
                // The store's fault, and no property of the image: without it, it would be another training.
                Err(Unseen {
                    key,
                    detail,
                    unreachable: true,
                }) => Err(TrainError::Unreachable {
                    of: of.clone(),
                    key,
                    detail,
                }),
                Err(Unseen { key, detail, .. }) => {
                    in_a_row += 1;
                    if in_a_row < HOPELESS {
                        Ok(None)
                    } else {
                        Err(TrainError::Unusable {
                            images: in_a_row,
                            of: of.clone(),
                            key,
                            detail,
                        })
                    }
                }
            };
            std::future::ready(kept)
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_targets_are_smoothed_and_soft_ones_stay() {
        let row = |target: Target, smoothing| {
            let mut row = [0.0; 4];
            target.write(smoothing, &mut row);
            row.map(|p| (p * 1000.0).round() as i32)
        };
        assert_eq!(row(Target::Hard(1), 0.1), [25, 925, 25, 25]);
        assert_eq!(row(Target::Hard(3), 0.0), [0, 0, 0, 1000]);
        let soft = vec![0.5, 0.25, 0.125, 0.125];
        assert_eq!(row(Target::Soft(soft), 0.1), [500, 250, 125, 125]);
    }
}
