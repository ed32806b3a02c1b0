//! Labelled and pseudo-labelled images, noised → a student that is a teacher.
//!
//! ```text
//! labelled/ ─┐                    pseudo/ ─┐          each shuffled by its seed, resumed anywhere
//!  data.rs   ▼ examples.rs                 ▼          decoded and noised on all cores, ahead of the step
//!            └────────────▶ batch.rs ◀─────┘          the rows of a step, their weights and masks
//!                              │ start.rs, learn.rs   step, learning rate (schedule.rs), moving average (ema.rs)
//!                              ├─▶ checkpoint.rs      every N steps; what is killed goes on there
//!                              ├─▶ metrics.rs         a row a step, in Parquet
//!                              ▼ job.rs               the ONNX file and its teacher.toml, added as a teacher
//! ```
//! Every draw is a hash of (seed, place) or (seed, step, row), and the streams' places are in the checkpoint: a training that was killed at any moment ends with the
//! weights of an undisturbed one, bit for bit, with the same library and number of threads.

mod batch;
mod checkpoint;
mod config;
mod data;
mod ema;
mod error;
mod examples;
mod job;
mod learn;
mod metrics;
mod progress;
mod record;
mod schedule;
mod spent;
mod start;

pub use self::batch::Position;
pub use self::checkpoint::Checkpoint;
pub use self::config::{Loss, TrainConfig};
pub use self::error::TrainError;
pub use self::job::{Outcome, TrainJob};
pub use self::metrics::{Metrics, schema as metrics_schema};
pub use self::record::{Done, LabelledRecord, PseudoRecord, TrainingRecord, find, get, list};
pub use self::schedule::{Decay, Length, Schedule};
pub use self::spent::{Shares, Spent};

/// Where a training lies in the workspace.
pub fn folder(name: &str) -> String {
    format!("trainings/{name}")
}
