//! Jobs: commands that are submitted to the bucket, and done by whichever worker gets them, once.
//!
//! ```text
//! work.rs                       what a job does: a command with its settings
//!   │ journal.rs                submitted once by its key: jobs/JOB/job.json
//!   │ ended.rs                  listed again and again by a server
//!   ▼
//! lease.rs                      taken, renewed, ended: jobs/JOB/000001.json, …, each the next number
//!   │ worker.rs                 of several workers one has it
//!   ▼
//! command.rs, process.rs        the same command as a child behind a fence (crate::fence)
//!
//! schedule.rs, promoted.rs      what is submitted without anybody's doing: at due times, after promotions
//! ```
//! The bucket is the queue: a job's state is what the highest entry of its journal says, whoever reads it.

mod command;
mod config;
mod ended;
mod error;
mod journal;
mod lease;
mod process;
mod promoted;
mod record;
mod schedule;
mod table;
mod work;
mod worker;

pub use self::config::{JobsConfig, WorkerConfig};
pub use self::ended::{Ended, list_again};
pub use self::error::JobError;
pub(crate) use self::journal::number_of;
pub use self::journal::{cancel, get, list, submit};
pub use self::lease::{End, Lease, MARGIN, Watch};
pub use self::record::{
    CancelFile, Entry, Event, Failure, Job, JobFile, JobProgress, JobView, State,
};
pub use self::schedule::Schedule;
pub use self::table::{describe, table};
pub use self::work::{Submission, Work};
pub use self::worker::Worker;
