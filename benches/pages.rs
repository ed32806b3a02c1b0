//! The pages over 20 million labels in shards of the usual size: how long a person waits for one.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::label;
use crate::programs::{Failure, Report, cache, middle, python};
use crate::serve::{Client, Server};

/// Labels in all.
const ROWS: u64 = 20_000_000;
/// Each page after the first time.
const ROUNDS: usize = 5;
/// Seconds that a page may take.
const MOST_S: f64 = 1.0;

/// A workspace: its name, the teachers that share the labels evenly, and its pages.
struct Workspace {
    name: &'static str,
    teachers: &'static [&'static str],
    pages: &'static [(&'static str, &'static str)],
}

const WORKSPACES: [Workspace; 2] = [
    Workspace {
        name: "workspace-20m",
        teachers: &["lite0@1"],
        pages: &[
            ("overview", "/"),
            ("dataset", "/datasets/d"),
            ("a large class", "/datasets/d/classes/0?teacher=lite0@1"),
            ("a small class", "/datasets/d/classes/900?teacher=lite0@1"),
            ("the dataset as JSON", "/v1/datasets/d"),
        ],
    },
    Workspace {
        name: "workspace-2x10m",
        teachers: &["lite0@1", "again@1"],
        pages: &[
            (
                "two teachers compared",
                "/churn?before=lite0@1&after=again@1",
            ),
            (
                "images that moved",
                "/churn/images?before=lite0@1&after=again@1&from=tench&to=goldfish",
            ),
        ],
    },
];

/// Made once: a dataset that is labelled in truth, grown to so many rows.
fn made(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let folder = cache().join("bench");
    let at = folder.join(workspace.name);
    let marker = folder.join(format!("{}.made", workspace.name));
    if marker.exists() {
        return Ok(at);
    }
    if at.exists() {
        std::fs::remove_dir_all(&at)?;
    }
    let photos = label::photos("photos", &["--count", &label::PHOTOS.to_string()])?;
    let at = label::workspace(&folder, workspace.name)?;
    let (place, rows) = (
        at.display().to_string(),
        (ROWS / workspace.teachers.len() as u64).to_string(),
    );
    let mut arguments = vec![place.as_str(), "--dataset", "d", "--rows", &rows];
    for teacher in workspace.teachers {
        let name = teacher.trim_end_matches("@1");
        label::add(&at, name)?;
        label::label_by(&at, &photos, name, &["--encoding", "topk"])?;
        arguments.extend(["--teacher", teacher]);
    }
    python("make_workspace.py", &arguments)?;
    std::fs::write(marker, rows.as_str())?;
    Ok(at)
}

/// See the module.
pub(crate) fn pages(_: &Path) -> Result<Report, Failure> {
    let mut report = Report::new(&format!(
        "pages over {ROWS} labels of 1,000 classes in shards of 2,048: the first time, and the median of the next {ROUNDS}"
    ));
    let mut slowest = 0.0_f64;
    for workspace in &WORKSPACES {
        let server = Server::start(&made(workspace)?, &[])?;
        for (name, path) in workspace.pages {
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
    }
    report.ratio(
        "the slowest page, in units of 1 s",
        slowest / MOST_S,
        "≤ 1",
        |r| r <= 1.0,
    );
    Ok(report)
}
