//! A promotion → what is stale is labelled again, and what moved is written down.
//!
//! ```text
//! follow.rs     which datasets follow promotions: those that have labels which are not pinned
//!   │ stale.rs  how much of one the current teacher has not labelled
//!   ▼
//! job.rs        the labels, by the label stage itself, with the settings of the labels before
//!   │ churn.rs  relabels/dataset=D/000007.json: which labels changed, put once
//!   ▼
//! refresh.rs    selections made of the labels before, made anew as ID@N; old ones stay
//! ```
//! Nothing is deleted here: labels of former teachers stay until [`crate::gc`] removes them.

mod churn;
mod error;
mod follow;
mod job;
mod refresh;
mod stale;

pub use self::churn::{Churn, Moved, churns};
pub use self::error::RelabelError;
pub use self::follow::{LabelledBy, followers, labelled_by, pin};
pub use self::job::{DatasetRelabel, RelabelJob, Relabelled};
pub use self::refresh::{RefreshFile, Refreshed};
pub use self::stale::{Stale, stale};
