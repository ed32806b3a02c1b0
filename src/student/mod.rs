//! The student: a network, what trains it, and the noise that it is trained with.
//!
//! ```text
//! architecture/ ──▶ builder.rs ──▶ graph.rs ──▶ onnx.rs       a forward graph, with masks as inputs
//!                       │ artifacts.rs (Python, once a student)
//!                       ▼
//!  training, eval and optimizer model, checkpoint ──▶ ort.rs behind the seam `trainer.rs`
//!                                                        │ parameters
//!                                                        ▼
//!                                                    export.rs: the graph without masks, with weights
//! ```

pub mod config;

pub mod architecture;
pub mod builder;
pub mod graph;
pub mod initial;
pub mod onnx;

pub mod artifacts;
pub mod export;
pub mod ort;
pub mod trainer;

pub mod noise;

pub mod error;
pub mod record;

pub use error::StudentError;
