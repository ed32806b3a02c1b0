//! Noisy Student Training (Xie et al., 2020) as a data system.
//!
//! ```text
//!  source bucket                                                workspace bucket
//!  loose objects │ tar shards │ Parquet with image bytes
//!       │ list                                     manifests/dataset=D/…parquet    what there is, cut into shards
//!       ▼                                               │
//!   manifest ──▶ fetch ──▶ decode+resize ──▶ infer ──▶ labels/dataset=D/teacher=NAME@V/shard-000042.parquet
//!                (async)     (CPU threads)   (ort)      every image of the shard once: its soft label, or why there is none
//!                                                        │
//!                                                   SQL (DataFusion): labels, rejects, manifest, teachers
//! ```
//!
//! The modules, in the order in which data meets them: [`store`] opens a URL, [`source`] lists and reads images, [`manifest`] cuts them
//! into shards, [`teacher`] is a model with its preprocessing, [`label`] makes the labels, [`catalog`] shows them as tables, [`shell`] takes
//! queries of people, [`select`] makes a balanced training set of them, [`export`] writes it with its images for other trainers, [`report`] as a
//! page that a person looks at; [`student`] is what learns from it, [`labelled`] reads images whose classes are known, [`pseudo`] those of a
//! selection with their soft labels, [`train`] teaches a student with both, [`evaluate`] tells how right a model is, and [`promotion`] which teacher is the
//! current one; [`pipeline`] does all that, round after round, [`relabel`] labels again what is stale after a promotion, [`jobs`] are what workers do of
//! all that, whoever submits it, and [`serve`] offers it over HTTP, to people as the pages of [`dashboard`]. [`runs`] remembers what was done, [`audit`] what
//! was changed through the service, [`lineage`] where something comes from, and [`gc`] removes what nobody needs any more.

pub mod child;
pub mod cli;
pub mod config;
pub mod error;
pub mod fence;
pub mod run;

pub mod allocator;
pub mod audit;
mod entries;
pub mod hex;
pub mod random;
pub mod runs;
pub mod runtime;
pub mod say;
pub mod store;
pub mod workspace;

pub mod dataset;
pub mod source;

pub mod manifest;

pub mod teacher;

pub mod label;
pub mod schema;

pub mod evaluate;
pub mod labelled;
pub mod promotion;

pub mod catalog;
pub mod dashboard;
pub mod export;
pub mod lineage;
pub mod report;
pub mod select;

pub mod pseudo;
pub mod student;
pub mod train;

pub mod gc;
pub mod jobs;
pub mod pipeline;
pub mod relabel;

pub mod serve;

pub mod doctor;
pub mod logging;
pub mod output;
pub mod shell;
pub mod telemetry;

pub use error::{Error, Result};
