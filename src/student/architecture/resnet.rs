//! ResNet-50 (He et al., 2015) with the stride in the 3 × 3 convolution of a bottleneck, as the published code of TensorFlow's and `PyTorch`'s models has it.
//!
//! The names of the parameters are those of torchvision, so that its weights fit as they stand.

use super::Network;
use crate::student::builder::{Activation, BatchNorm, Builder, Conv, Map, Padding};
use crate::student::graph::{Form, Graph, Initial};

/// Bottlenecks, their narrow channels, and the stride of the first one.
const STAGES: [(usize, usize, usize); 4] = [(3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)];
/// How much wider a bottleneck's ends are than its middle.
const EXPANSION: usize = 4;
const NORM: BatchNorm = BatchNorm {
    epsilon: 1e-5,
    momentum: 0.9,
    scale: 1.0,
};

/// The network.
pub(super) fn build(network: &Network<'_>, form: Form) -> Graph {
    let blocks = STAGES.iter().map(|s| s.0).sum();
    let (mut b, images) = Builder::new(network.name, form, network.input, blocks);
    let mut x = conv(&mut b, &images, "conv1", 64, 7, 2);
    x = b.batch_norm(&x, "bn1", NORM);
    x = b.activation(&x, Activation::Relu);
    x = b.max_pool(&x, "maxpool", 3, 2);
    for (stage, (repeats, narrow, stride)) in STAGES.into_iter().enumerate() {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let name = format!("layer{}.{repeat}", stage + 1);
            x = bottleneck(&mut b, &x, &name, narrow, stride);
        }
    }
    let initial = Initial::Normal { deviation: 0.01 };
    b.classifier(&x, "fc", network.classes, initial)
}

/// 1 × 1, 3 × 3, 1 × 1, and a way around, with a projection where the shapes differ.
fn bottleneck(b: &mut Builder, x: &Map, name: &str, narrow: usize, stride: usize) -> Map {
    let wide = narrow * EXPANSION;
    let mut y = x.clone();
    for (n, (outputs, kernel, stride)) in [(narrow, 1, 1), (narrow, 3, stride), (wide, 1, 1)]
        .into_iter()
        .enumerate()
    {
        let n = n + 1;
        y = conv(b, &y, &format!("{name}.conv{n}"), outputs, kernel, stride);
        // The last scale begins with 0, so that a new network's blocks do nothing (Goyal et al., 2017).
        let scale = if n == 3 { 0.0 } else { 1.0 };
        y = b.batch_norm(&y, &format!("{name}.bn{n}"), BatchNorm { scale, ..NORM });
        if n < 3 {
            y = b.activation(&y, Activation::Relu);
        }
    }
    let around = if stride == 1 && x.channels == wide {
        x.clone()
    } else {
        let projection = conv(b, x, &format!("{name}.downsample.0"), wide, 1, stride);
        b.batch_norm(&projection, &format!("{name}.downsample.1"), NORM)
    };
    let sum = b.end_residual(&y, &around, name);
    b.activation(&sum, Activation::Relu)
}

fn conv(b: &mut Builder, x: &Map, name: &str, outputs: usize, kernel: usize, stride: usize) -> Map {
    let settings = Conv {
        stride,
        padding: Padding::Symmetric,
        ..Conv::new(outputs, kernel)
    };
    b.conv(x, name, settings)
}
