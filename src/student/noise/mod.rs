//! What a student is noised with: of images RandAugment, standard augmentation and cutout; of the student itself dropout and stochastic depth.
//!
//! ```text
//! decoded image ─▶ crop, resize ─▶ flip ─▶ translate ─▶ RandAugment ─▶ cutout ─▶ normalise ─▶ the model, with dropout and depth masks
//!                  standard.rs     standard.rs          randaugment.rs cutout.rs              dropout.rs, stochastic_depth.rs
//!                                                       operation.rs: levels.rs, enhance.rs, affine.rs
//! ```
//! Images are [H, W, 3] bytes, changed in place; an operation that reads what it overwrites needs one buffer more of that size, which is used again.
//! All chance comes from [`Draws`](crate::random::Draws), hashes of (seed, step, row) in training and of (seed, key) in labelling: which operations an
//! image gets and with what parameters is a pure function of these, so a run that resumes draws the same.

pub mod config;
pub mod cutout;
pub mod dropout;
pub mod image;
pub mod operation;
pub mod pixels;
pub mod randaugment;
pub mod standard;
pub mod stochastic_depth;

mod affine;
mod enhance;
mod levels;

pub use self::config::{Images, ModelNoise, Noise};
pub use self::image::ImageNoise;
pub use self::operation::Operation;
pub use self::pixels::Pixels;
pub use self::randaugment::RandAugment;
