//! The pages over 20 million labels in shards of the usual size: how long a person waits for one.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::label;
use crate::programs::{Failure, Report, cache, middle, python};
use crate::serve::{Client, Server};

const ROWS: u64 = 20_000_000;
/// Each page after the first time.
const ROUNDS: usize = 5;
/// Seconds that a page may take.
const MOST_S: f64 = 1.0;
const PAGES: [(&str, &str); 5] = [
    ("overview", "/"),
    ("dataset", "/datasets/d"),
    ("a large class", "/datasets/d/classes/0?teacher=lite0@1"),
    ("a small class", "/datasets/d/classes/900?teacher=lite0@1"),
    ("the dataset as JSON", "/v1/datasets/d"),
];

/// The workspace, made once: a dataset that is labelled in truth, grown to so many rows.
fn workspace() -> Result<PathBuf, Failure> {
    let folder = cache().join("bench");
    let (at, marker) = (
        folder.join("workspace-20m"),
        folder.join("workspace-20m.made"),
    );
    if marker.exists() {
        return Ok(at);
    }
    if at.exists() {
        std::fs::remove_dir_all(&at)?;
    }
    let photos = label::photos("photos", &["--count", &label::PHOTOS.to_string()])?;
    let at = label::workspace(&folder, "workspace-20m")?;
    label::label(&at, &photos, &["--encoding", "topk"])?;
    let (place, rows) = (at.display().to_string(), ROWS.to_string());
    python(
        "make_workspace.py",
        &[
            &place,
            "--dataset",
            "d",
            "--teacher",
            "lite0@1",
            "--rows",
            &rows,
        ],
    )?;
    std::fs::write(marker, ROWS.to_string())?;
    Ok(at)
}

/// See the module.
pub(crate) fn pages(_: &Path) -> Result<Report, Failure> {
    let at = workspace()?;
    let server = Server::start(&at, &[])?;
    let mut report = Report::new(&format!(
        "pages over {ROWS} labels of 1,000 classes in shards of 2,048: the first time, and the median of the next {ROUNDS}"
    ));
    let mut slowest = 0.0_f64;
    for (name, path) in PAGES {
        let ask = || -> Result<f64, Failure> {
            let started = Instant::now();
            let status = Client::to(&server.address)?.ask(&format!("GET {path}"), b"")?;
            if status != 200 {
                return Err(format!("{path}: status {status}").into());
            }
            Ok(started.elapsed().as_secs_f64())
        };
        let first = ask()?;
        let next = middle((0..ROUNDS).map(|_| ask()).collect::<Result<_, _>>()?);
        slowest = slowest.max(next);
        report.line(name, &format!("{first:.2} s, then {next:.2} s"));
    }
    report.ratio(
        "the slowest page, in units of 1 s",
        slowest / MOST_S,
        "≤ 1",
        |r| r <= 1.0,
    );
    Ok(report)
}
