//! The label path against ONNX Runtime alone and against the plain Python program, and how its memory grows.

use std::path::{Path, PathBuf};

use crate::onnx::Model;
use crate::programs::{
    Failure, Measured, Report, cache, count, median, middle, python, rows, understudy,
};

/// Photos of the speed part.
pub(crate) const PHOTOS: usize = 3000;
/// Rounds of the speed part.
const ROUNDS: usize = 5;
/// Large photos of the part that decodes at a fraction.
const LARGE_PHOTOS: usize = 200;
/// Images of the memory part. The sort of a listing may hold 64 MiB, which some 500,000 objects fill: both are beside that or beyond it.
const FEW: u64 = 300_000;
const MANY: u64 = 1_000_000;

/// A workspace with EfficientNet-Lite0 as the teacher `lite0`.
pub(crate) fn workspace(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let at = folder.join(name);
    understudy(&at, &["init"])?;
    add(&at, "lite0")?;
    Ok(at)
}

/// Adds EfficientNet-Lite0 under a name.
pub(crate) fn add(workspace: &Path, name: &str) -> Result<(), Failure> {
    let config = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/pipelines/teachers/efficientnet-lite0.toml"
    );
    let model = model().display().to_string();
    understudy(
        workspace,
        &[
            "teachers", "add", name, "--model", &model, "--config", config,
        ],
    )?;
    Ok(())
}

fn model() -> PathBuf {
    cache().join("demo/efficientnet-lite0.onnx")
}

pub(crate) fn photos(name: &str, arguments: &[&str]) -> Result<String, Failure> {
    let folder = cache().join("bench").join(name).display().to_string();
    std::fs::create_dir_all(&folder)?;
    let mut all = vec![folder.as_str()];
    all.extend(arguments);
    python("make_photos.py", &all)?;
    Ok(folder)
}

pub(crate) fn label(workspace: &Path, photos: &str, more: &[&str]) -> Result<Measured, Failure> {
    label_by(workspace, photos, "lite0", more)
}

/// Labels the photos by a teacher.
pub(crate) fn label_by(
    workspace: &Path,
    photos: &str,
    teacher: &str,
    more: &[&str],
) -> Result<Measured, Failure> {
    let mut arguments = vec![
        "label",
        "--dataset",
        "d",
        "--source",
        photos,
        "--teacher",
        teacher,
        "--json",
    ];
    arguments.extend(more);
    understudy(workspace, &arguments)
}

/// 3,000 photos: understudy, ONNX Runtime alone on tensors in memory, the Python program.
pub(crate) fn speed(folder: &Path) -> Result<Report, Failure> {
    let photos = photos("photos", &["--count", &PHOTOS.to_string()])?;
    let model = model().display().to_string();
    let (mut ours, mut alone, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        alone.push(python(
            "runtime_alone.py",
            &["--model", &model, "--repeats", "1"],
        )?);
        let at = workspace(folder, &format!("speed-{round}"))?;
        ours.push(label(&at, &photos, &[])?);
        let out = folder.join("peer.parquet").display().to_string();
        peer.push(python(
            "label_peer.py",
            &["--model", &model, "--images", &photos, "--out", &out],
        )?);
    }
    let mut report = Report::new(&format!(
        "label {PHOTOS} photos of 400×300 to 640×480 with EfficientNet-Lite0, hashes and Parquet included, median of {ROUNDS} interleaved rounds"
    ));
    let rate = |runs: &[Measured]| median(runs, |m| m.rate);
    // The whole process: start, model, listing, manifest and all.
    let whole = |runs: &[Measured]| median(runs, |m| PHOTOS as f64 / m.wall);
    let peak = |runs: &[Measured]| median(runs, |m| m.peak_mb);
    report.line(
        "ONNX Runtime alone, two one-thread sessions, batch 4",
        &format!("{:.0} images/s", rate(&alone)),
    );
    for (name, runs) in [("understudy", &ours), ("the Python program", &peer)] {
        report.line(
            name,
            &format!(
                "{:.0} images/s ({:.0} as a whole process), {:.0} MB at its peak",
                rate(runs),
                whole(runs),
                peak(runs)
            ),
        );
    }
    // Round by round: what ran side by side met the same machine.
    let of = |runs: &[Measured], figure: fn(&Measured) -> f64| {
        let ratios = ours.iter().zip(runs).map(|(a, b)| figure(a) / figure(b));
        middle(ratios.collect())
    };
    report.ratio(
        "of ONNX Runtime alone",
        of(&alone, |m| m.rate),
        "≥ 0.88",
        |r| r >= 0.88,
    );
    report.ratio(
        "of the Python program",
        of(&peer, |m| m.rate),
        "≥ 1.4",
        |r| r >= 1.4,
    );
    report.ratio(
        "of the Python program, whole processes",
        of(&peer, |m| 1.0 / m.wall),
        "≥ 1.4",
        |r| r >= 1.4,
    );
    Ok(report)
}

/// Large photos decoded at full size and at a fraction: speed, and how far the labels agree.
pub(crate) fn scaled(folder: &Path) -> Result<Report, Failure> {
    let count_of = LARGE_PHOTOS.to_string();
    let photos = photos(
        "large-photos",
        &["--count", &count_of, "--widths", "2000", "3000"],
    )?;
    let config = folder.join("scaled.toml");
    std::fs::write(&config, "[decode]\nscaled_jpeg = true\n")?;
    let config = config.display().to_string();
    let (mut full, mut fraction) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let at = workspace(folder, &format!("full-{round}"))?;
        full.push(label(&at, &photos, &[])?);
        let at = workspace(folder, &format!("fraction-{round}"))?;
        fraction.push(label(&at, &photos, &["--config", &config])?);
    }
    let rate = |runs: &[Measured]| median(runs, |m| m.rate);
    let labels = |name: &str| {
        rows(
            &folder.join(name),
            "SELECT class, confidence FROM labels ORDER BY key",
        )
    };
    let (by_full, by_fraction) = (labels("full-0")?, labels("fraction-0")?);
    let same = by_full
        .iter()
        .zip(&by_fraction)
        .filter(|(a, b)| a["class"] == b["class"])
        .count();
    let apart: f64 = by_full
        .iter()
        .zip(&by_fraction)
        .map(|(a, b)| {
            let of = |row: &serde_json::Value| row["confidence"].as_f64().unwrap_or(f64::NAN);
            (of(a) - of(b)).abs()
        })
        .sum::<f64>()
        / by_full.len() as f64;
    let mut report = Report::new(&format!(
        "decode.scaled_jpeg: {LARGE_PHOTOS} photos of 2000×1500 to 3000×2250, median of {ROUNDS} interleaved rounds"
    ));
    report.line(
        "decoded at full size",
        &format!("{:.1} images/s", rate(&full)),
    );
    report.line(
        "decoded at a fraction",
        &format!("{:.1} images/s", rate(&fraction)),
    );
    report.line(
        "the same top-1",
        &format!(
            "{same} of {}, confidence {apart:.4} apart on average",
            by_full.len()
        ),
    );
    report.ratio(
        "of decoding at full size",
        rate(&fraction) / rate(&full),
        "> 1",
        |r| r > 1.0,
    );
    Ok(report)
}

/// A part of a bucket and all of it: memory must not grow with the bucket.
pub(crate) fn memory(folder: &Path) -> Result<Report, Failure> {
    let (onnx, toml) = (folder.join("tiny.onnx"), folder.join("tiny.toml"));
    std::fs::write(&onnx, Model::default().bytes())?;
    std::fs::write(&toml, Model::default().teacher_toml())?;
    let mut runs = Vec::new();
    for images in [FEW, MANY] {
        let source = folder.join(format!("tiny-{images}"));
        tiny_images(&source, images)?;
        let at = folder.join(format!("memory-{images}"));
        understudy(&at, &["init"])?;
        let (onnx, toml) = (onnx.display().to_string(), toml.display().to_string());
        understudy(
            &at,
            &[
                "teachers", "add", "lite0", "--model", &onnx, "--config", &toml,
            ],
        )?;
        runs.push(label(&at, &source.display().to_string(), &[])?);
        let labels = count(&at, "SELECT count(*) AS n FROM labels")?;
        if labels != images {
            return Err(format!("{labels} labels for {images} images").into());
        }
        std::fs::remove_dir_all(&source)?;
    }
    let mut report =
        Report::new("memory: loose objects of 100 bytes, a tiny model, shards of 2,048");
    for (images, run) in [FEW, MANY].iter().zip(&runs) {
        report.line(
            &format!("{images} images"),
            &format!(
                "{:.0} MB at its peak, {:.0} images/s, {:.0} s with listing",
                run.peak_mb, run.rate, run.wall
            ),
        );
    }
    report.ratio(
        "peak memory at a million over 300,000 images",
        runs[1].peak_mb / runs[0].peak_mb,
        "≤ 1.3",
        |r| r <= 1.3,
    );
    report.ratio(
        "peak memory, in units of 600 MB",
        runs[1].peak_mb / 600.0,
        "≤ 1",
        |r| r <= 1.0,
    );
    Ok(report)
}

/// Small PNGs, a thousand a folder. Links to one file a folder: a million files of their own would cost 4 GB of disk.
fn tiny_images(folder: &Path, images: u64) -> Result<(), Failure> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([200, x as u8 * 8, y as u8 * 8]))
        .write_to(&mut bytes, image::ImageFormat::Png)?;
    for thousand in 0..images / 1000 {
        let inside = folder.join(format!("{thousand:04}"));
        std::fs::create_dir_all(&inside)?;
        let first = inside.join("000.png");
        std::fs::write(&first, bytes.get_ref())?;
        for n in 1..1000 {
            std::fs::hard_link(&first, inside.join(format!("{n:03}.png")))?;
        }
    }
    Ok(())
}
