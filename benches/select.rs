//! Selection against DuckDB, the same rows in one run, and how time and memory grow with the rows.

use std::path::Path;
use std::sync::Arc;

use crate::onnx::Model;
use crate::programs::{Failure, Measured, Report, cache, median, middle, python, understudy};
use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use parquet::arrow::ArrowWriter;

/// Rows of the comparison.
const ROWS: u64 = 20_000_000;
/// Rounds of the comparison.
const ROUNDS: usize = 7;
/// K of the comparison.
const PER_CLASS: &str = "10000";
/// Held-out images.
const HELD_OUT: usize = 50_000;
/// The most memory of a selection, in MB.
const MOST_MB: f64 = 400.0;

/// A folder of labels; gives the glob of its files.
fn labels(rows: u64, fingerprints: bool) -> Result<String, Failure> {
    let kind = if fingerprints { "prints" } else { "plain" };
    let folder = cache().join("bench").join(format!("labels-{kind}-{rows}"));
    std::fs::create_dir_all(&folder)?;
    let (at, rows) = (folder.display().to_string(), rows.to_string());
    let mut arguments = vec![at.as_str(), "--rows", &rows];
    if fingerprints {
        arguments.push("--fingerprints");
    }
    python("make_labels.py", &arguments)?;
    Ok(format!("{at}/*.parquet"))
}

/// Selects into a workspace, which is made where it is not there, and removed.
fn select(
    folder: &Path,
    name: &str,
    labels: &str,
    per_class: &str,
    more: &[&str],
) -> Result<Measured, Failure> {
    let at = folder.join(name);
    understudy(&at, &["init"])?;
    let mut arguments = vec![
        "select",
        "--name",
        "s",
        "--labels",
        labels,
        "--per-class",
        per_class,
        "--json",
    ];
    arguments.extend(more);
    let measured = understudy(&at, &arguments)?;
    std::fs::remove_dir_all(&at)?;
    Ok(measured)
}

/// 20 million rows of key, class and confidence: understudy and DuckDB in turns.
pub(crate) fn duckdb(folder: &Path) -> Result<Report, Failure> {
    let labels = labels(ROWS, false)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(select(
            folder,
            &format!("duckdb-{round}"),
            &labels,
            PER_CLASS,
            &[],
        )?);
        let out = folder.join("theirs.parquet").display().to_string();
        theirs.push(python(
            "select_peer.py",
            &["--labels", &labels, "--out", &out, "--per-class", PER_CLASS],
        )?);
    }
    let totals = |m: &Measured| m.json["totals"].clone();
    let same = |name: &str| totals(&ours[0])[name] == theirs[0].json[name];
    if !same("rows") || !same("copies") {
        return Err(format!("{} and {} differ", totals(&ours[0]), theirs[0].json).into());
    }
    let seconds = median(&ours, |m| m.wall);
    // DuckDB's own clock: without the start of Python.
    let own_clock = |m: &Measured| m.json["seconds"].as_f64().unwrap_or(f64::NAN);
    let duckdb = median(&theirs, own_clock);
    let ratios = theirs.iter().map(own_clock).zip(&ours);
    let ratios = ratios.map(|(theirs, ours)| theirs / ours.wall);
    let mut report = Report::new(&format!(
        "select {PER_CLASS} a class of {ROWS} rows, threshold 0.3, copies and Parquet written, median of {ROUNDS} interleaved rounds"
    ));
    let peak = |runs: &[Measured]| median(runs, |m| m.peak_mb);
    report.line(
        "understudy, the whole process",
        &format!("{seconds:.2} s, {:.0} MB", peak(&ours)),
    );
    report.line(
        "DuckDB, its query alone",
        &format!("{duckdb:.2} s, {:.0} MB", peak(&theirs)),
    );
    report.line(
        "rows chosen, with copies",
        &format!(
            "{} {}",
            totals(&ours[0])["rows"],
            totals(&ours[0])["copies"]
        ),
    );
    report.ratio(
        "DuckDB's time over understudy's",
        middle(ratios.collect()),
        "≥ 3",
        |r| r >= 3.0,
    );
    report.ratio(
        "peak memory in units of 400 MB",
        peak(&ours) / MOST_MB,
        "≤ 1",
        |r| r <= 1.0,
    );
    Ok(report)
}

/// The same with fingerprints: 1 % duplicates, whose rows have to be found first, and 50,000 held-out images that every row is held against.
pub(crate) fn prints(folder: &Path) -> Result<Report, Failure> {
    let labels = labels(ROWS, true)?;
    let with_duplicates = select(folder, "duplicates", &labels, PER_CLASS, &[])?;
    held_out(&folder.join("leaks"))?;
    let with_leaks = select(
        folder,
        "leaks",
        &labels,
        PER_CLASS,
        &["--exclude", "held-out"],
    )?;
    let mut report = Report::new(&format!(
        "the same with sha256 and phash: {ROWS} rows, 1 % of them duplicates"
    ));
    for (name, run) in [
        ("duplicates removed", &with_duplicates),
        ("and 50,000 held-out images looked for", &with_leaks),
    ] {
        report.line(name, &format!("{:.2} s, {:.0} MB", run.wall, run.peak_mb));
    }
    report.line("left out", &with_leaks.json["left_out"].to_string());
    report.line("leakage", &with_leaks.json["leakage"].to_string());
    let peak = with_duplicates.peak_mb.max(with_leaks.peak_mb);
    report.ratio(
        "peak memory in units of 400 MB",
        peak / MOST_MB,
        "≤ 1",
        |r| r <= 1.0,
    );
    Ok(report)
}

/// A workspace with a dataset `held-out` of 50,000 small images of noise, labelled by a small model for their fingerprints.
fn held_out(at: &Path) -> Result<(), Failure> {
    let folder = at.with_extension("images");
    std::fs::create_dir_all(&folder)?;
    let mut state = 1_u32;
    let mut noise = || {
        // A linear congruential generator, Numerical Recipes' constants.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut images = Vec::with_capacity(HELD_OUT);
    for _ in 0..HELD_OUT {
        let pixels = image::GrayImage::from_fn(9, 8, |_, _| image::Luma([noise()]));
        let mut png = std::io::Cursor::new(Vec::new());
        pixels.write_to(&mut png, image::ImageFormat::Png)?;
        images.push(png.into_inner());
    }
    let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(&images));
    let batch = RecordBatch::try_from_iter([("image", column)])?;
    let file = std::fs::File::create(folder.join("held-out.parquet"))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    let (onnx, toml) = (folder.join("tiny.onnx"), folder.join("tiny.toml"));
    std::fs::write(&onnx, Model::default().bytes())?;
    std::fs::write(&toml, Model::default().teacher_toml())?;
    let text = |path: &Path| path.display().to_string();
    understudy(at, &["init"])?;
    let (onnx, toml) = (text(&onnx), text(&toml));
    understudy(
        at,
        &[
            "teachers", "add", "tiny", "--model", &onnx, "--config", &toml,
        ],
    )?;
    let source = text(&folder.join("held-out.parquet"));
    understudy(
        at,
        &[
            "label",
            "--dataset",
            "held-out",
            "--source",
            &source,
            "--teacher",
            "tiny",
            "--json",
        ],
    )?;
    Ok(())
}

/// The paper's K.
pub(crate) fn wide(folder: &Path) -> Result<Report, Failure> {
    let labels = labels(ROWS, false)?;
    let run = select(folder, "wide", &labels, "130000", &[])?;
    let mut report = Report::new(&format!("select 130000 a class of {ROWS} rows"));
    report.line(
        "understudy, the whole process",
        &format!("{:.2} s, {:.0} MB", run.wall, run.peak_mb),
    );
    report.ratio(
        "peak memory in units of 400 MB",
        run.peak_mb / MOST_MB,
        "≤ 1",
        |r| r <= 1.0,
    );
    Ok(report)
}

/// 5, 20 and 80 million rows.
pub(crate) fn growth(folder: &Path) -> Result<Report, Failure> {
    let mut report = Report::new(&format!("select {PER_CLASS} a class as the rows grow"));
    let mut runs = Vec::new();
    for rows in [5_000_000, ROWS, 80_000_000] {
        let run = select(
            folder,
            &format!("growth-{rows}"),
            &labels(rows, false)?,
            PER_CLASS,
            &[],
        )?;
        let million = run.wall / (rows as f64 / 1e6);
        report.line(
            &format!("{rows} rows"),
            &format!(
                "{:.2} s, {:.0} ms a million, {:.0} MB",
                run.wall,
                million * 1e3,
                run.peak_mb
            ),
        );
        runs.push(run);
    }
    report.ratio(
        "time at 80 over time at 20 million",
        runs[2].wall / runs[1].wall,
        "≤ 4.4",
        |r| r <= 4.4,
    );
    report.ratio(
        "memory at 80 over memory at 20 million",
        runs[2].peak_mb / runs[1].peak_mb,
        "≤ 1.3",
        |r| r <= 1.3,
    );
    Ok(report)
}
