//! Residual networks for images of 28 × 28 to 32 × 32, which train on a CPU in minutes.
//!
//! ```text
//! small: stem 3 × 3, 16 channels ─▶ 2 blocks of 16 ─▶ 2 of 32, half the resolution ─▶ 2 of 64, a quarter ─▶ mean ─▶ classifier
//! tiny:  stem 5 × 5, 24 channels, half the resolution ─▶ 2 blocks of 24 ─▶ 2 of 48, a quarter ─▶ mean ─▶ classifier
//! ```
//! A block is two 3 × 3 convolutions with a way around them (He et al., 2016, section 4.2, with batch normalisation and swish). Dense convolutions, since depthwise ones are slow on
//! a CPU: a step takes 1.9 ms of one core an image with 44,000 parameters (`width` 0.5), 5.1 ms with inverted residual blocks of as many. `width` multiplies the channels: 1 has 175,000
//! parameters and takes 4.5 ms, 2 has 0.7 million and takes 11 ms (batches of 64 at 28 × 28, ONNX Runtime 1.19.2). `tiny` has 96,000 parameters and takes 1.6 ms: it is a little worse
//! after as many images, and better where a student is to see its unlabelled images more often in the same time.

use super::Network;
use crate::student::builder::{Activation, BatchNorm, Builder, Conv, Map};
use crate::student::graph::{Form, Graph, Initial};

/// What makes one of these networks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Of the stem: kernel and stride. It has the channels of the first stage.
    stem: (usize, usize),
    /// Blocks, channels, and the stride of the first block.
    stages: &'static [(usize, usize, usize)],
}

pub(super) const SMALL: Plan = Plan {
    stem: (3, 1),
    stages: &[(2, 16, 1), (2, 32, 2), (2, 64, 2)],
};
pub(super) const TINY: Plan = Plan {
    stem: (5, 2),
    stages: &[(2, 24, 1), (2, 48, 2)],
};
/// Running statistics follow within some 20 steps, since such a network is trained for some thousand.
const NORM: BatchNorm = BatchNorm {
    epsilon: 1e-3,
    momentum: 0.95,
    scale: 1.0,
};

/// The network.
pub(super) fn build(plan: Plan, width: f64, network: &Network<'_>, form: Form) -> Graph {
    let Plan { stem, stages } = plan;
    let blocks = stages.iter().map(|s| s.0).sum();
    let channels = |channels: usize| ((channels as f64 * width).round() as usize).max(1);
    let (mut b, images) = Builder::new(network.name, form, network.input, blocks);
    let stem = Conv {
        stride: stem.1,
        ..Conv::new(channels(stages[0].1), stem.0)
    };
    let mut x = b.conv(&images, "stem.conv", stem);
    x = b.batch_norm(&x, "stem.norm", NORM);
    x = b.activation(&x, Activation::Swish);
    let mut index = 0;
    for &(repeats, outputs, stride) in stages {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            x = block(
                &mut b,
                &x,
                &format!("blocks.{index}"),
                channels(outputs),
                stride,
            );
            index += 1;
        }
    }
    // What goes in decides: 1 / √features keeps a new network's logits near 0, whatever the number of classes.
    let bound = 1.0 / (x.channels as f32).sqrt();
    b.classifier(
        &x,
        "classifier",
        network.classes,
        Initial::Uniform { bound },
    )
}

fn block(b: &mut Builder, x: &Map, name: &str, outputs: usize, stride: usize) -> Map {
    let first = Conv {
        stride,
        ..Conv::new(outputs, 3)
    };
    let mut y = b.conv(x, &format!("{name}.conv1"), first);
    y = b.batch_norm(&y, &format!("{name}.norm1"), NORM);
    y = b.activation(&y, Activation::Swish);
    y = b.conv(&y, &format!("{name}.conv2"), Conv::new(outputs, 3));
    // Begins with 0, so that a new network's blocks do nothing (Goyal et al., 2017).
    y = b.batch_norm(
        &y,
        &format!("{name}.norm2"),
        BatchNorm { scale: 0.0, ..NORM },
    );
    let around = if stride == 1 && x.channels == outputs {
        x.clone()
    } else {
        let settings = Conv {
            stride,
            ..Conv::new(outputs, 1)
        };
        let projection = b.conv(x, &format!("{name}.around.conv"), settings);
        b.batch_norm(&projection, &format!("{name}.around.norm"), NORM)
    };
    let sum = b.end_residual(&y, &around, name);
    b.activation(&sum, Activation::Swish)
}
