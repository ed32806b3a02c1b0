//! Training against the Python training API of the same ONNX Runtime, on the same artifacts.

use std::path::Path;

use crate::programs::{Failure, Measured, Report, cache, median, python_of, understudy};

/// Steps of a training.
const STEPS: u64 = 100;
/// Images of a step.
const BATCH: u64 = 128;
/// Rounds of all sides in turns.
const ROUNDS: usize = 3;

/// 1,000 labelled images of Fashion-MNIST, a small network of 175,000 parameters, RandAugment, dropout, stochastic depth, averaged weights.
const CONFIG: &str = r#"
[student]
architecture = "small"
input = [1, 28, 28]
classes = 10
optimizer = { kind = "adamw", weight_decay = 0.05 }

[data]
url = "IMAGES"
per_class = 100

[train]
batch = 128
steps = 100
ema = 0.998
learning_rate = { peak = 0.003, decay = { kind = "constant" } }

[noise]
dropout = 0.2
stochastic_depth = 0.2
standard = { flip = true, translate = 0.125 }
randaugment = { operations = 2, magnitude = 5.0, translate = 4.0, cutout = 4.0, reference_size = 28 }
"#;

/// Whole trainings: understudy, the Python program with a process that loads beside it, and the same with all its batches in memory.
pub(crate) fn training(folder: &Path) -> Result<Report, Failure> {
    let data = cache().join("fashion-mnist");
    let [images, labels] = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
        .map(|name| data.join(name).display().to_string());
    let at = folder.join("training");
    let config = folder.join("training.toml").display().to_string();
    std::fs::write(&config, CONFIG.replace("IMAGES", &images))?;
    understudy(&at, &["init"])?;
    understudy(&at, &["student", "init", "net", "--config", &config])?;
    let artifacts = at.join("students/net").display().to_string();
    let loader = cache().join("venv-test/bin/python").display().to_string();
    let (steps, batch) = (STEPS.to_string(), BATCH.to_string());
    let threads = std::thread::available_parallelism()?.to_string();
    let program = [
        artifacts.as_str(),
        "--images",
        &images,
        "--labels",
        &labels,
        "--steps",
        &steps,
        "--batch",
        &batch,
        "--threads",
        &threads,
        "--loader",
        &loader,
    ];
    let (mut ours, mut peer, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let name = format!("round-{round}");
        let command = [
            "train",
            &name,
            "--student",
            "net",
            "--config",
            &config,
            "--json",
        ];
        ours.push(understudy(&at, &command)?);
        peer.push(python_of("venv-student", "train_peer.py", &program)?);
        let command = [&program[..], &["--ready"]].concat();
        ready.push(python_of("venv-student", "train_peer.py", &command)?);
    }
    let mut report = Report::new(&format!(
        "training: {STEPS} steps of {BATCH} images of Fashion-MNIST, noised, {threads} threads, median of {ROUNDS} interleaved rounds"
    ));
    let line = |runs: &[Measured]| {
        let peak = median(runs, |r| r.peak_mb);
        format!("{:.0} images/s, {peak:.0} MB", median(runs, |r| r.rate))
    };
    report.line("understudy", &line(&ours));
    report.line(
        "the Python training API, Pillow in a process beside",
        &line(&peer),
    );
    report.line("the Python training API, batches in memory", &line(&ready));
    let over = |runs: &[Measured]| median(&ours, |r| r.rate) / median(runs, |r| r.rate);
    report.ratio(
        "understudy over the Python training API",
        over(&peer),
        "≥ 1",
        |r| r >= 1.0,
    );
    report.line(
        "and over that with batches in memory",
        &format!("{:.2}", over(&ready)),
    );
    let waited = median(&ours, |r| {
        r.json["time"]["images"].as_f64().unwrap_or(f64::NAN)
    });
    report.ratio(
        "share of the time that a step waits for images",
        waited,
        "< 0.1",
        |r| r < 0.1,
    );
    Ok(report)
}
