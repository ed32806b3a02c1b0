//! RandAugment's operations against Pillow's, on one photo of 224×224.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use understudy::random::Draws;
use understudy::student::noise::{Operation, Pixels, RandAugment};

use crate::programs::{Failure, Report, cache, middle, python};

/// Pixels.
const SIDE: u32 = 224;
/// Rounds of both sides in turns.
const ROUNDS: usize = 7;
/// Runs of an operation in a round.
const REPEATS: u32 = 50;

/// Every operation that Pillow has, at the paper's magnitude for ResNet-50. Solarize-add and cutout it has not: numpy's time would say little.
fn operations() -> Vec<Operation> {
    let all = RandAugment {
        operations: 1,
        magnitude: 9.0,
        probability: [1.0, 1.0],
        ..RandAugment::default()
    };
    let mut found: Vec<Operation> = Vec::new();
    for row in 0.. {
        let drawn = all.draw(Draws::of_row(0, 0, row), SIDE, SIDE).next();
        let new = drawn.filter(|new| {
            let same = |old: &Operation| std::mem::discriminant(old) == std::mem::discriminant(new);
            !found.iter().any(same)
        });
        found.extend(new);
        if found.len() == 16 {
            break;
        }
    }
    found.retain(|o| !matches!(o, Operation::SolarizeAdd { .. } | Operation::Cutout { .. }));
    found
}

/// Median microseconds of one operation on the photo, the copy that it is done on not counted.
fn ours(operation: Operation, photo: &[u8], spare: &mut Vec<u8>) -> f64 {
    let mut bytes = photo.to_vec();
    let mut microseconds = Vec::new();
    for _ in 0..REPEATS {
        bytes.copy_from_slice(photo);
        let started = Instant::now();
        operation.apply(
            &mut Pixels::new(SIDE, SIDE, black_box(&mut bytes), spare),
            [128; 3],
        );
        microseconds.push(started.elapsed().as_secs_f64() * 1e6);
        black_box(&bytes);
    }
    middle(microseconds)
}

/// Each operation: understudy in place on one buffer, Pillow making a new image, as it always does.
pub(crate) fn pillow(folder: &Path) -> Result<Report, Failure> {
    let folder = folder.join("noise");
    std::fs::create_dir(&folder)?;
    let photo = image::open(cache().join("demo/photos/chelsea.png"))?.to_rgb8();
    let photo = image::imageops::thumbnail(&photo, SIDE, SIDE).into_raw();
    std::fs::write(folder.join("photo"), &photo)?;
    let operations = operations();
    let jobs: Result<Vec<String>, _> = operations
        .iter()
        .map(|operation| serde_json::to_string(&("photo", SIDE, SIDE, operation)))
        .collect();
    std::fs::write(folder.join("jobs"), jobs?.join("\n"))?;
    let count = operations.len();
    let (mut own, mut theirs) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    let mut spare = Vec::new();
    for _ in 0..ROUNDS {
        let peer = python(
            "noise_peer.py",
            &[
                &folder.display().to_string(),
                "--time",
                &REPEATS.to_string(),
            ],
        )?;
        for (place, operation) in operations.iter().enumerate() {
            own[place].push(ours(*operation, &photo, &mut spare));
            let time = peer.json["microseconds"][place].as_f64();
            theirs[place].push(time.unwrap_or(f64::NAN));
        }
    }
    let mut report = Report::new(&format!(
        "noise: RandAugment's operations on a photo of {SIDE}×{SIDE}, one thread, median of {ROUNDS} interleaved rounds"
    ));
    let (mut sums, mut worst) = ([0.0; 2], f64::INFINITY);
    for ((operation, own), theirs) in operations.iter().zip(own).zip(theirs) {
        let name = format!("{operation:?}");
        let [own, theirs] = [own, theirs].map(middle);
        report.line(
            name.split(' ').next().unwrap_or_default(),
            &format!("{own:.0} µs, Pillow {theirs:.0} µs: {:.1}", theirs / own),
        );
        sums = [sums[0] + own, sums[1] + theirs];
        worst = worst.min(theirs / own);
    }
    report.line(
        "an operation on average",
        &format!(
            "{:.0} µs, Pillow {:.0} µs",
            sums[0] / count as f64,
            sums[1] / count as f64
        ),
    );
    report.ratio(
        "Pillow's time over understudy's, all",
        sums[1] / sums[0],
        "≥ 1",
        |r| r >= 1.0,
    );
    report.ratio(
        "and of the operation that gains least",
        worst,
        "≥ 1",
        |r| r >= 1.0,
    );
    Ok(report)
}
