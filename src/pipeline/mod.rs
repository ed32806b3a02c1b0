//! A pipeline file → teacher, labels, selection, student, round after round: the whole method as one command.
//!
//! ```text
//! file.rs, set.rs      the file, with what --set puts into it, and the noise files that it names (noise.rs)
//! check.rs             what is wrong with it
//! stage.rs             its stages: filter/label, …, teacher/student, teacher/train, …, round-1/label, round-1/select, round-1/train, …
//! task.rs, job.rs      what each stage that has no record yet is asked to do
//! execute.rs           that, as the command of its own would do it
//! evaluate.rs          each model once, and comparisons from their predictions
//! record.rs            pipelines/NAME/STAGE-HASH.json: what a stage came to, by a hash of all that it was made of
//! outcome.rs, table.rs the models with their figures
//! ```
//! A stage can be resumed by itself, and changes nothing where it is done. Its record is put last: who is killed between the two finds the stage's work done, and writes the record.

mod check;
mod control;
mod dry;
mod error;
mod evaluate;
mod execute;
mod file;
mod job;
mod noise;
mod outcome;
mod record;
mod set;
mod stage;
mod table;
mod task;

pub use self::control::control;
pub use self::dry::{Amount, Planned};
pub use self::error::PipelineError;
pub use self::file::{Finetune, First, Pipeline, Round, RunConfig};
pub use self::job::{Bounds, RunJob};
pub use self::outcome::{Finished, Model, Outcome};
pub use self::record::{Evaluated, Judged, Made, Recorded, evaluations, records};
pub use self::set::Setting;
pub use self::stage::{Part, Stage, What, find, stages};
pub use self::table::{line, models, planned};
