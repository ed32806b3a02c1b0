//! Which teacher is the current one: promotions, each the next numbered file, and the gate that a candidate has to pass.
//!
//! ```text
//! gate.toml          held-out data and limits
//!   │ evaluate/      the candidate and the current teacher on the same images
//!   ▼
//! verdict.rs         each rule with its limit and what was found
//!   │ job.rs         refused, or
//!   ▼
//! record.rs          promotions/000002.json, created once: of two promotions at the same time one comes second and is told
//! rollback.rs        a promotion of a former teacher
//! ```
//! The newest number is the state: there is no pointer that could differ from it.

mod error;
mod gate;
mod job;
mod record;
mod rollback;
mod table;
mod verdict;

pub use self::error::PromotionError;
pub use self::gate::{GateConfig, GateFile};
pub use self::job::{Outcome, PromoteJob, Promoted};
pub use self::record::{CURRENT, Kind, Promotion, current, history, later};
pub use self::rollback::rollback;
pub use self::table::{table, verdict};
pub use self::verdict::{Candidate, Check, Rule, Verdict};
