//! A pipeline file → teacher, labels, selection, student, round after round: the whole method as one command.
//!
//! ```text
//! file.rs, set.rs      the file, with what --set puts into it
//! stage.rs             its stages: teacher/student, teacher/train, …, round-1/label, round-1/select, round-1/train, …
//! task.rs, job.rs      each stage that has no record yet, as the command of its own would do it
//! record.rs            pipelines/NAME/STAGE-HASH.json: what a stage came to, by a hash of all that it was made of
//! outcome.rs, table.rs the models with their figures
//! ```
//! A stage can be resumed by itself, and changes nothing where it is done. Its record is put last: who is killed between the two finds the stage's work done, and writes the record.

mod control;
mod dry;
mod error;
mod evaluate;
mod file;
mod job;
mod outcome;
mod record;
mod set;
mod stage;
mod table;
mod task;

pub use self::control::control;
pub use self::dry::{Amount, Planned};
pub use self::error::PipelineError;
pub use self::file::{First, Pipeline, Round, RunConfig};
pub use self::job::{Bounds, RunJob};
pub use self::outcome::{Finished, Model, Outcome};
pub use self::record::{Judged, Made};
pub use self::set::Setting;
pub use self::stage::{Stage, What, find, stages};
pub use self::table::{line, models, planned};
