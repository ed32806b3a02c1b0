//! The integration tests, one binary: the real executable, the real ONNX Runtime, real images, a real S3 server.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, wherever the helper is"
)]

mod support;

mod child;
mod columns;
mod compared;
mod damage;
mod evaluate;
mod export;
mod gc;
mod jobs;
mod label;
mod labelled;
mod labelled_errors;
mod lineage;
mod noise;
mod pages;
mod pipeline_files;
mod pipeline_stages;
mod pipelines;
mod promote;
mod pseudo;
mod readers;
mod report;
mod runs;
mod s3;
mod select;
mod select_foreign;
mod select_properties;
mod serve;
mod serve_access;
mod serve_flight;
mod serve_jobs;
mod serve_label;
mod serve_limits;
mod serve_sql;
mod sessions;
mod slt;
mod sql;
mod student;
mod student_commands;
mod subset;
mod telemetry;
mod train;
mod training_pages;
mod wrong_inputs;
