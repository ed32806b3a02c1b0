//! Students: real artifacts by the real Python tool, real training steps in the real training library, in this process.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use understudy::label::infer::Classifier as _;
use understudy::runtime::{Device, Runtime};
use understudy::student::artifacts::{self, Artifacts};
use understudy::student::config::{Optimizer, StudentConfig};
use understudy::student::export::{export, weights};
use understudy::student::graph::Form;
use understudy::student::ort::{On, OrtTrainer};
use understudy::student::trainer::{Batch, Shape, StudentTrainer, TrainerError};
use understudy::teacher::TeacherConfig;
use understudy::teacher::model::OrtClassifier;

use crate::support::{Place, cache};

/// How far the logits of one network may lie apart that two programs compute: batch normalisation is folded into a convolution or is not.
const TOLERANCE: f32 = 1e-3;

/// One trainer at a time, or the machine's cores are shared by too many.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(architecture: &str, input: [usize; 3]) -> StudentConfig {
    StudentConfig {
        input: Some(input),
        width: if architecture == "small" { 0.5 } else { 1.0 },
        ..StudentConfig::new(architecture.parse().unwrap(), 4)
    }
}

fn sgd(architecture: &str, input: [usize; 3]) -> StudentConfig {
    StudentConfig {
        optimizer: Optimizer::Sgd {},
        ..config(architecture, input)
    }
}

fn artifacts(config: &StudentConfig) -> Artifacts {
    config.validate().unwrap();
    artifacts::make(config, &artifacts::python(None)).unwrap()
}

fn runtime() -> Runtime {
    Runtime::load_training(None).unwrap()
}

fn trainer(
    config: &StudentConfig,
    artifacts: &Artifacts,
    threads: usize,
) -> Result<OrtTrainer, TrainerError> {
    let on = On {
        device: Device::Cpu,
        threads,
    };
    OrtTrainer::new(&runtime(), config, artifacts, on)
}

fn new(config: &StudentConfig, artifacts: &Artifacts) -> OrtTrainer {
    trainer(config, artifacts, 2).unwrap()
}

/// A trainer that goes on from a checkpoint.
fn resumed(config: &StudentConfig, artifacts: &Artifacts, checkpoint: &Bytes) -> OrtTrainer {
    let checkpoint = checkpoint.clone();
    new(
        config,
        &Artifacts {
            checkpoint,
            ..artifacts.clone()
        },
    )
}

/// Rows whose class is seen in the direction of their stripes, and masks that let everything through.
#[derive(Clone)]
struct Toy {
    images: Vec<f32>,
    targets: Vec<f32>,
    weights: Vec<f32>,
    dropout: Vec<f32>,
    depth: Vec<f32>,
}

impl Toy {
    fn new(shape: &Shape, n: usize) -> Self {
        let [channels, height, width] = shape.input;
        let (mut images, mut targets) = (Vec::new(), Vec::new());
        for row in 0..n {
            let class = row % shape.classes;
            for place in 0..channels * height * width {
                let (y, x) = (place / width % height, place % width);
                let stripes = [x, y, x + y, 0][class % 4] / 3 % 2;
                let speck = (row * 31 + place * 17) % 101;
                images.push(stripes as f32 + speck as f32 / 200.0);
            }
            targets.extend((0..shape.classes).map(|c| f32::from(u8::from(c == class))));
        }
        Self {
            images,
            targets,
            weights: vec![1.0 / n as f32; n],
            dropout: vec![1.0; n * shape.features],
            depth: vec![1.0; n * shape.depth],
        }
    }

    /// With masks that are 0 in some places, others in every step.
    fn noised(&self, step: usize) -> Self {
        let mask = |ones: &[f32]| {
            let places = 0..ones.len();
            places
                .map(|p| {
                    if (p * 7 + step * 13).is_multiple_of(5) {
                        0.0
                    } else {
                        1.25
                    }
                })
                .collect()
        };
        Self {
            dropout: mask(&self.dropout),
            depth: mask(&self.depth),
            ..self.clone()
        }
    }

    fn batch(&self) -> Batch<'_> {
        Batch {
            images: &self.images,
            targets: &self.targets,
            weights: &self.weights,
            dropout: &self.dropout,
            depth: &self.depth,
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn read(trainer: &OrtTrainer) -> Vec<f32> {
    let mut values = Vec::new();
    trainer.read(&mut values).unwrap();
    values
}

fn logits(trainer: &mut OrtTrainer, images: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    trainer.logits(images, &mut out).unwrap();
    out
}

/// Steps with other masks each, from `first` on; gives the losses.
fn steps(trainer: &mut OrtTrainer, toy: &Toy, steps: std::ops::Range<usize>) -> Vec<f32> {
    steps
        .map(|step| {
            let loss = trainer.step(&toy.noised(step).batch()).unwrap().loss;
            trainer.apply(3e-3).unwrap();
            loss
        })
        .collect()
}

fn apart(one: &[f32], two: &[f32]) -> f32 {
    assert_eq!(one.len(), two.len());
    let apart = one.iter().zip(two).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f32::max)
}

/// A `teacher.toml` of a student: pixels as they are.
fn teacher_toml([_, height, width]: [usize; 3], classes: usize) -> String {
    let names: Vec<String> = (0..classes).map(|c| format!("class {c}")).collect();
    format!(
        "input = {{ size = [{height}, {width}] }}\noutput = {{ kind = \"logits\" }}\nclasses = {{ names = {names:?} }}\n\
         [preprocess]\nrange = \"unit\"\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n"
    )
}

fn classifier(model: &[u8], input: [usize; 3], classes: usize) -> OrtClassifier {
    let config: TeacherConfig = toml::from_str(&teacher_toml(input, classes)).unwrap();
    OrtClassifier::new(&runtime(), model, &config, Device::Cpu, 1).unwrap()
}

/// The toy's images with three channels, as an exported student takes them.
fn rgb(config: &StudentConfig, toy: &Toy) -> Vec<f32> {
    let [channels, height, width] = config.input();
    match channels {
        1 => {
            let images = toy.images.chunks(height * width);
            images
                .flat_map(|image| [image, image, image].concat())
                .collect()
        }
        _ => toy.images.clone(),
    }
}

#[test]
fn every_kind_of_network_learns_a_toy_batch_and_its_export_gives_the_same_logits() {
    let _turn = turn();
    for (config, rate) in [
        (config("small", [1, 28, 28]), 1e-2),
        (config("small", [3, 32, 32]), 1e-2),
        (config("tiny", [1, 28, 28]), 1e-2),
        (config("efficientnet-b0-svhn", [3, 32, 32]), 2e-3),
        (config("efficientnet-lite0", [3, 33, 47]), 2e-3),
        (config("resnet-50", [3, 40, 40]), 1e-3),
        (sgd("small", [3, 30, 28]), 0.3),
    ] {
        let mut trainer = new(&config, &artifacts(&config));
        let toy = Toy::new(trainer.shape(), 8);
        let losses: Vec<f32> = (0..8)
            .map(|_| {
                let loss = trainer.step(&toy.batch()).unwrap().loss;
                trainer.apply(rate).unwrap();
                loss
            })
            .collect();
        assert!(
            losses.iter().all(|l| l.is_finite()) && losses[7] < 0.75 * losses[0],
            "{}: {losses:?}",
            config.architecture
        );
        let before = read(&trainer);
        let expected = logits(&mut trainer, &toy.images);
        assert_eq!(
            bits(&before),
            bits(&read(&trainer)),
            "evaluation changes nothing"
        );
        let model = export(&config, trainer.parameters(), &before).unwrap();
        let mut got = Vec::new();
        classifier(&model, config.input(), 4)
            .classify(&rgb(&config, &toy), &mut got)
            .unwrap();
        let (far, rows) = (
            apart(&got, &expected),
            apart(&expected[..4], &expected[4..8]),
        );
        assert!(
            far < TOLERANCE && far < 0.01 * rows,
            "{}: {far}, {rows}",
            config.architecture
        );
    }
}

#[test]
fn a_saved_student_goes_on_bit_for_bit() {
    let _turn = turn();
    let mut clipped = sgd("small", [1, 28, 28]);
    clipped.clip_norm = Some(1.0);
    for config in [config("small", [3, 28, 28]), clipped] {
        let made = artifacts(&config);
        let mut undisturbed = new(&config, &made);
        let toy = Toy::new(undisturbed.shape(), 6);
        steps(&mut undisturbed, &toy, 0..3);
        let saved = undisturbed.save().unwrap();
        let then = read(&undisturbed);

        let mut again = resumed(&config, &made, &saved);
        assert_eq!(bits(&read(&again)), bits(&then));
        let losses = steps(&mut undisturbed, &toy, 3..6);
        assert_eq!(bits(&steps(&mut again, &toy, 3..6)), bits(&losses));
        assert_eq!(bits(&read(&again)), bits(&read(&undisturbed)));
        assert_eq!(again.save().unwrap(), undisturbed.save().unwrap());

        // What is compared is not the same anyway: without the optimizer's state Adam goes elsewhere, plain gradient descent does not.
        let mut without = new(&config, &made);
        without.write(&then).unwrap();
        assert_eq!(bits(&read(&without)), bits(&then));
        steps(&mut without, &toy, 3..6);
        let same = bits(&read(&without)) == bits(&read(&undisturbed));
        assert_eq!(same, config.optimizer == Optimizer::Sgd {});
    }
}

#[test]
fn an_exported_student_is_a_teacher_and_what_another_student_begins_with() {
    let _turn = turn();
    for config in [config("small", [1, 28, 28]), config("small", [3, 32, 32])] {
        let made = artifacts(&config);
        let mut trainer = new(&config, &made);
        let toy = Toy::new(trainer.shape(), 4);
        steps(&mut trainer, &toy, 0..3);
        let model = export(&config, trainer.parameters(), &read(&trainer)).unwrap();

        let mut warm = new(&config, &made);
        let named = trainer.parameters().iter().map(|p| (&*p.name, &*p.dims));
        warm.write(&weights(model.clone(), named).unwrap()).unwrap();
        assert_eq!(bits(&read(&warm)), bits(&read(&trainer)));
        let missing = [("nothing", &[1_usize][..])].into_iter();
        let error = weights(model.clone(), missing).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot take weights from the model: it has no `nothing`"
        );
        let other = [("classifier.bias", &[5_usize][..])].into_iter();
        let error = weights(model.clone(), other).unwrap_err().to_string();
        assert!(
            error.contains("`classifier.bias` has shape [4], the student's has [5]"),
            "{error}"
        );

        let place = Place::new();
        place.ok(&["init"]);
        let (onnx, toml) = (place.path("student.onnx"), place.path("teacher.toml"));
        std::fs::write(&onnx, &model).unwrap();
        std::fs::write(&toml, teacher_toml(config.input(), 4)).unwrap();
        let (onnx, toml) = (onnx.display().to_string(), toml.display().to_string());
        let added = [
            "teachers", "add", "student", "--model", &onnx, "--config", &toml,
        ];
        assert_eq!(place.ok(&added), "student@1\n");
    }
}

#[test]
fn the_real_weights_of_efficientnet_lite0_give_the_logits_of_the_converted_teacher() {
    let _turn = turn();
    let demo = |name: &str| {
        let path = cache().join("demo").join(name);
        Bytes::from(std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    };
    let config = StudentConfig::new("efficientnet-lite0".parse().unwrap(), 1000);
    let graph = config.graph(Form::Inference);
    let wanted = graph.parameters.iter().map(|p| (&*p.name, &*p.dims));
    let real = weights(demo("efficientnet-lite0-weights.onnx"), wanted).unwrap();
    let mut rest = &real[..];
    let model = graph.model(|parameter| {
        let (values, more) = rest.split_at_checked(parameter.count()).ok_or(())?;
        rest = more;
        Ok::<_, ()>(values.to_vec())
    });
    let model = model.unwrap();

    let images: Vec<f32> = (0..2 * 3 * 224 * 224_u64)
        .map(|place| ((place * 7919) % 255) as f32 / 127.0 - 1.0)
        .collect();
    let run = |model: &[u8]| {
        let mut out = Vec::new();
        classifier(model, [3, 224, 224], 1000)
            .classify(&images, &mut out)
            .unwrap();
        out
    };
    let (ours, teachers) = (
        run(&model.to_bytes()),
        run(&demo("efficientnet-lite0.onnx")),
    );
    let far = apart(&ours, &teachers);
    assert!(far < TOLERANCE, "{far}");
    assert!(apart(&teachers[..1000], &teachers[1000..]) > 0.1);
}

#[test]
fn the_loss_is_the_weighted_sum_of_the_rows_cross_entropies() {
    let _turn = turn();
    let config = config("small", [1, 28, 28]);
    let mut trainer = new(&config, &artifacts(&config));
    let mut toy = Toy::new(trainer.shape(), 6);
    // Two labelled and four unlabelled rows, the sum of the two means, soft targets.
    toy.weights = vec![0.5, 0.5, 0.25, 0.25, 0.25, 0.25];
    for target in toy.targets.chunks_mut(4).skip(2) {
        target.copy_from_slice(&[0.4, 0.3, 0.2, 0.1]);
    }
    steps(&mut trainer, &toy, 0..2);
    let step = trainer.step(&toy.noised(3).batch()).unwrap();
    let rows = step
        .logits
        .chunks(4)
        .zip(toy.targets.chunks(4))
        .zip(&toy.weights);
    let expected: f64 = rows
        .map(|((logits, targets), weight)| {
            let sum: f64 = logits.iter().map(|z| f64::from(*z).exp()).sum();
            let terms = logits.iter().zip(targets);
            let entropy = terms.map(|(z, t)| f64::from(*t) * (sum.ln() - f64::from(*z)));
            f64::from(*weight) * entropy.sum::<f64>()
        })
        .sum();
    assert!(
        (f64::from(step.loss) - expected).abs() < 1e-5 * expected,
        "{} {expected}",
        step.loss
    );
}

#[test]
fn a_row_has_its_own_masks_and_evaluation_has_none() {
    let _turn = turn();
    let config = config("small", [1, 28, 28]);
    let mut trainer = new(&config, &artifacts(&config));
    let toy = Toy::new(trainer.shape(), 4);
    steps(&mut trainer, &toy, 0..3);
    let (features, depth) = (trainer.shape().features, trainer.shape().depth);
    assert_eq!(depth, 6);
    let clean = trainer.step(&toy.batch()).unwrap().logits;

    let mut dropped = toy.clone();
    dropped.dropout[features..2 * features].fill(0.0);
    let masked = trainer.step(&dropped.batch()).unwrap().logits;
    let values = read(&trainer);
    let bias = trainer
        .parameters()
        .iter()
        .find(|p| p.name == "classifier.bias")
        .unwrap();
    assert_eq!(bits(&masked[4..8]), bits(&values[bias.range.clone()]));
    assert_eq!(bits(&masked[..4]), bits(&clean[..4]));
    assert_eq!(bits(&masked[8..]), bits(&clean[8..]));

    // The last block of row 2 alone: behind it nothing mixes rows.
    let mut shallow = toy.clone();
    shallow.depth[2 * depth + depth - 1] = 0.0;
    let masked = trainer.step(&shallow.batch()).unwrap().logits;
    assert_eq!(bits(&masked[..8]), bits(&clean[..8]));
    assert!(apart(&masked[8..12], &clean[8..12]) > 1e-4);
    assert_eq!(bits(&masked[12..]), bits(&clean[12..]));
}

#[test]
fn gradients_add_up_until_they_are_applied() {
    let _turn = turn();
    let config = sgd("small", [1, 28, 28]);
    let made = artifacts(&config);
    let (mut once, mut twice) = (new(&config, &made), new(&config, &made));
    let toy = Toy::new(once.shape(), 4);
    let mut half = toy.clone();
    half.weights.iter_mut().for_each(|w| *w /= 2.0);
    let before = read(&once);
    once.step(&toy.batch()).unwrap();
    for _ in 0..2 {
        twice.step(&half.batch()).unwrap();
    }
    let trained = |trainer: &OrtTrainer| -> Vec<f32> {
        let values = read(trainer);
        let kept = trainer.parameters().iter().filter(|p| p.trained);
        kept.flat_map(|p| values[p.range.clone()].to_vec())
            .collect()
    };
    once.apply(0.5).unwrap();
    twice.apply(0.5).unwrap();
    assert!(apart(&trained(&once), &trained(&twice)) < 1e-6);
    assert!(apart(&read(&once), &before) > 1e-3);
}

#[test]
fn frozen_blocks_stay_and_statistics_follow() {
    let _turn = turn();
    let mut config = config("small", [1, 28, 28]);
    config.frozen_blocks = 3;
    let mut trainer = new(&config, &artifacts(&config));
    let toy = Toy::new(trainer.shape(), 4);
    let before = read(&trainer);
    steps(&mut trainer, &toy, 0..3);
    let after = read(&trainer);
    for parameter in trainer.parameters() {
        let range = parameter.range.clone();
        let same = bits(&before[range.clone()]) == bits(&after[range]);
        let moves = parameter.trained || parameter.statistic;
        assert_eq!(same, !moves, "{}", parameter.name);
        let block: Option<usize> = parameter
            .name
            .strip_prefix("blocks.")
            .map(|n| n[..1].parse().unwrap());
        let shallow = parameter.name.starts_with("stem") || block.is_some_and(|b| b < 3);
        assert_eq!(
            parameter.trained,
            !shallow && !parameter.statistic,
            "{}",
            parameter.name
        );
    }
}

#[test]
fn the_optimizers_settings_do_what_they_say() {
    let _turn = turn();
    // Weight decay alone: rows that count nothing have no gradient.
    let mut decayed = config("small", [1, 28, 28]);
    decayed.optimizer = Optimizer::AdamW {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.5,
    };
    let mut shrunk = new(&decayed, &artifacts(&decayed));
    let mut toy = Toy::new(shrunk.shape(), 4);
    toy.weights.fill(0.0);
    let before = read(&shrunk);
    shrunk.step(&toy.batch()).unwrap();
    shrunk.apply(0.1).unwrap();
    let after = read(&shrunk);
    for parameter in shrunk.parameters().iter().filter(|p| p.trained) {
        for place in parameter.range.clone() {
            assert!(
                (after[place] - 0.95 * before[place]).abs() < 1e-6,
                "{}",
                parameter.name
            );
        }
    }
    // A gradient is shortened to its limit, over all parameters.
    let moved = |clip_norm| {
        let config = StudentConfig {
            clip_norm,
            ..sgd("small", [1, 28, 28])
        };
        let mut trainer = new(&config, &artifacts(&config));
        let toy = Toy::new(trainer.shape(), 4);
        let before = read(&trainer);
        trainer.step(&toy.batch()).unwrap();
        trainer.apply(1.0).unwrap();
        let after = read(&trainer);
        let trained = trainer
            .parameters()
            .iter()
            .filter(|p| p.trained)
            .flat_map(|p| p.range.clone());
        trained
            .map(|p| (after[p] - before[p]).powi(2))
            .sum::<f32>()
            .sqrt()
    };
    let free = moved(None);
    assert!(free > 0.1, "{free}");
    let clipped = moved(Some(0.01));
    assert!((clipped - 0.01).abs() < 1e-4, "{clipped}");
}

#[test]
fn what_does_not_fit_is_named() {
    let _turn = turn();
    let config = config("small", [1, 28, 28]);
    let made = artifacts(&config);
    let mut right = new(&config, &made);
    let mut toy = Toy::new(right.shape(), 4);
    toy.depth.pop();
    let error = right.step(&toy.batch()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the batch's depth mask has 23 numbers, 24 were expected"
    );
    let error = right.write(&[0.0]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the list of parameters has 1 numbers"),
        "{error}"
    );
    assert!(right.logits(&[0.0; 785], &mut Vec::new()).is_err());

    let other = StudentConfig {
        width: 1.0,
        ..config.clone()
    };
    let error = trainer(&other, &made, 1).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the training artifacts do not fit the network"),
        "{error}"
    );
    let broken = Artifacts {
        checkpoint: Bytes::from_static(b"no checkpoint"),
        ..made.clone()
    };
    let error = trainer(&config, &broken, 1).unwrap_err();
    assert!(
        error.to_string().starts_with("ONNX Runtime failed"),
        "{error}"
    );

    let named = |python: &str| artifacts::make(&config, Path::new(python)).unwrap_err();
    let error = named("/nowhere/python");
    assert!(
        error
            .to_string()
            .starts_with("cannot run `/nowhere/python`"),
        "{error}"
    );
    let error = named(&cache().join("venv-test/bin/python").display().to_string());
    assert!(error.hint().unwrap().contains("make setup"), "{error}");
    assert!(error.to_string().contains("venv-test"), "{error}");
    let error = named("/bin/true");
    assert!(error.hint().unwrap().contains("make setup"), "{error}");
}
