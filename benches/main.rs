//! `make bench`: understudy against its peers and against the limit of its parts, all in one run, as ratios.
//!
//! `cargo bench --bench benches -- speed wide` runs the parts that are named; none named, all of them. Each part measures whole processes:
//! understudy is the executable that users run; `noise` alone times single operations. Rounds are interleaved, so that a machine that slows
//! down slows all of them. Needs what `make setup` fetches; the 80 million rows of `growth` take 2 GB of disk below the cache, the two workspaces of
//! `pages` 3 GB each.

mod label;
mod noise;
#[path = "../tests/support/onnx.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod onnx;
mod pages;
mod programs;
mod select;
mod serve;
mod train;

use std::path::Path;

use programs::{Failure, Report, cache};

/// A part: its name, and what it does in a folder of its own.
type Part = (&'static str, fn(&Path) -> Result<Report, Failure>);

const PARTS: [Part; 11] = [
    ("speed", label::speed),
    ("scaled", label::scaled),
    ("serve", serve::serve),
    ("pages", pages::pages),
    ("memory", label::memory),
    ("noise", noise::pillow),
    ("training", train::training),
    ("duckdb", select::duckdb),
    ("prints", select::prints),
    ("wide", select::wide),
    ("growth", select::growth),
];

fn main() -> Result<(), Failure> {
    // `cargo bench` passes `--bench`.
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    if let Some(unknown) = asked.iter().find(|a| PARTS.iter().all(|p| p.0 != *a)) {
        let parts: Vec<&str> = PARTS.iter().map(|p| p.0).collect();
        return Err(format!("`{unknown}` is no part; there are {}", parts.join(", ")).into());
    }
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(cache())?;
    for (name, part) in PARTS {
        if asked.is_empty() || asked.iter().any(|a| a == name) {
            part(folder.path())?.print();
        }
    }
    Ok(())
}
