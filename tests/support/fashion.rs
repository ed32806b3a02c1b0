//! Real images of clothes: Fashion-MNIST, and a real classifier of them that needs no training.

use std::io::Read as _;
use std::path::PathBuf;

use super::{Place, cache, onnx};

pub(crate) const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;

pub(crate) const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// The path of one of its files, as `make setup` puts it.
pub(crate) fn file(name: &str) -> String {
    let path: PathBuf = cache().join("fashion-mnist").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    path.display().to_string()
}

/// A file's bytes, inflated.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let packed = std::fs::read(file(name)).unwrap();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut out)
        .unwrap();
    out
}

/// A nearest-centroid classifier of the first `n` training images, as a linear model: 2 m·x − |m|² for each class's mean m, by `scale`.
/// The model and its `teacher.toml`.
pub(crate) fn centroids(n: usize, scale: f32) -> (Vec<u8>, String) {
    let images = bytes("train-images-idx3-ubyte.gz");
    let labels = bytes("train-labels-idx1-ubyte.gz");
    let mut sums = vec![[0.0_f32; PIXELS]; CLASSES.len()];
    let mut counts = [0.0_f32; CLASSES.len()];
    for (image, label) in images[16..].chunks(PIXELS).zip(&labels[8..]).take(n) {
        counts[usize::from(*label)] += 1.0;
        for (sum, pixel) in sums[usize::from(*label)].iter_mut().zip(image) {
            *sum += f32::from(*pixel) / 255.0;
        }
    }
    // Of the three equal planes of a grey image the first one counts.
    let mut weights = vec![0.0; 3 * PIXELS * CLASSES.len()];
    let mut bias = vec![0.0; CLASSES.len()];
    for (class, (sum, count)) in sums.iter().zip(counts).enumerate() {
        for (pixel, sum) in sum.iter().enumerate() {
            let mean = sum / count;
            weights[pixel * CLASSES.len() + class] = 2.0 * mean * scale;
            bias[class] -= mean * mean * scale;
        }
    }
    (onnx::linear(SIDE as u64, &weights, &bias), toml(&CLASSES))
}

/// A `teacher.toml` of the classifier, with these class names.
pub(crate) fn toml(classes: &[&str]) -> String {
    format!(
        "[input]\nsize = [28, 28]\n\n[preprocess]\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n\n\
         [output]\nkind = \"logits\"\n\n[classes]\nnames = {classes:?}\n"
    )
}

/// Writes a model and its `teacher.toml` into a folder of its own, and gives the model's path.
pub(crate) fn model(place: &Place, name: &str, (onnx, toml): &(Vec<u8>, String)) -> String {
    let folder = place.path(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.onnx"), onnx).unwrap();
    std::fs::write(folder.join("teacher.toml"), toml).unwrap();
    folder.join("model.onnx").display().to_string()
}
