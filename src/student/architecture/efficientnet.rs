//! EfficientNet (Tan and Le, 2019, table 1 and section 3): inverted residual blocks with squeeze-and-excitation, scaled in width and depth.
//!
//! The names of the parameters are those of the `PyTorch` package `efficientnet_pytorch`, so that its weights, and those of others that keep its names, fit as
//! they stand. Padding is TensorFlow's SAME, as in the published code.

use super::Network;
use crate::student::builder::{Activation, BatchNorm, Builder, Conv, Map};
use crate::student::graph::{Form, Graph, Initial};

/// Blocks in a row; only the first one changes the resolution and the channels.
#[derive(Debug, Clone, Copy)]
struct Stage {
    blocks: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    channels: usize,
}

const fn stage(
    blocks: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    channels: usize,
) -> Stage {
    Stage {
        blocks,
        kernel,
        stride,
        expansion,
        channels,
    }
}

/// B0's stages, before scaling.
const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];
const STEM_CHANNELS: usize = 32;
const HEAD_CHANNELS: usize = 1280;
/// Channels are multiples of this.
const DIVISOR: usize = 8;
/// Of a block's input channels that the squeeze keeps.
const SQUEEZE: f64 = 0.25;
const NORM: BatchNorm = BatchNorm {
    epsilon: 1e-3,
    momentum: 0.99,
    scale: 1.0,
};

/// How B0 is changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scaling {
    /// What channels are multiplied by.
    pub(super) width: f64,
    /// What the number of blocks of a stage is multiplied by.
    pub(super) depth: f64,
    /// Height and width of an image that it was made for.
    pub(super) resolution: usize,
    /// Squeeze-and-excitation and swish; the "lite" models have neither, and `ReLU6`.
    pub(super) lite: bool,
    /// The 2nd and 3rd stage keep the resolution: the paper's variant for SVHN, whose last map is 4 × 4 at 32 × 32.
    pub(super) svhn: bool,
}

impl Scaling {
    /// Swish and squeeze-and-excitation, the strides of table 1.
    pub(super) const fn new(width: f64, depth: f64, resolution: usize) -> Self {
        Self {
            width,
            depth,
            resolution,
            lite: false,
            svhn: false,
        }
    }

    fn activation(self) -> Activation {
        if self.lite {
            Activation::Relu6
        } else {
            Activation::Swish
        }
    }

    /// Channels, rounded to a multiple of 8 but by no more than a tenth down.
    fn channels(self, channels: usize) -> usize {
        let wanted = channels as f64 * self.width;
        let rounded = (wanted + DIVISOR as f64 / 2.0) as usize / DIVISOR * DIVISOR;
        let rounded = rounded.max(DIVISOR);
        if (rounded as f64) < 0.9 * wanted {
            rounded + DIVISOR
        } else {
            rounded
        }
    }

    fn blocks(self, blocks: usize) -> usize {
        (blocks as f64 * self.depth).ceil() as usize
    }
}

/// The network.
pub(super) fn build(scaling: Scaling, network: &Network<'_>, form: Form) -> Graph {
    let blocks = STAGES.iter().map(|s| scaling.blocks(s.blocks)).sum();
    let (mut b, images) = Builder::new(network.name, form, network.input, blocks);
    let stem = Conv {
        stride: 2,
        ..Conv::new(scaling.channels(STEM_CHANNELS), 3)
    };
    let mut x = normalised(&mut b, &images, "_conv_stem", "_bn0", stem);
    x = b.activation(&x, scaling.activation());
    let mut index = 0;
    for (place, stage) in STAGES.iter().enumerate() {
        let kept = scaling.svhn && (1..=2).contains(&place);
        for repeat in 0..scaling.blocks(stage.blocks) {
            let stride = if repeat == 0 && !kept {
                stage.stride
            } else {
                1
            };
            let block = Stage { stride, ..*stage };
            x = inverted_residual(&mut b, &x, &format!("_blocks.{index}"), block, scaling);
            index += 1;
        }
    }
    let head = Conv::new(scaling.channels(HEAD_CHANNELS), 1);
    x = normalised(&mut b, &x, "_conv_head", "_bn1", head);
    x = b.activation(&x, scaling.activation());
    // The published code's bound for a dense layer: 1 / √(numbers that go out).
    let bound = 1.0 / (network.classes as f32).sqrt();
    b.classifier(&x, "_fc", network.classes, Initial::Uniform { bound })
}

/// Expand (1 × 1), depthwise, squeeze and excite, project (1 × 1); with a way around where the shapes agree.
fn inverted_residual(b: &mut Builder, x: &Map, name: &str, s: Stage, scaling: Scaling) -> Map {
    let wide = x.channels * s.expansion;
    let mut y = x.clone();
    if s.expansion != 1 {
        let expand = Conv::new(wide, 1);
        let (conv, norm) = (format!("{name}._expand_conv"), format!("{name}._bn0"));
        y = normalised(b, &y, &conv, &norm, expand);
        y = b.activation(&y, scaling.activation());
    }
    let depthwise = Conv {
        stride: s.stride,
        groups: wide,
        ..Conv::new(wide, s.kernel)
    };
    let (conv, norm) = (format!("{name}._depthwise_conv"), format!("{name}._bn1"));
    y = normalised(b, &y, &conv, &norm, depthwise);
    y = b.activation(&y, scaling.activation());
    if !scaling.lite {
        let squeezed = (x.channels as f64 * SQUEEZE) as usize;
        y = b.squeeze_excitation(&y, name, squeezed.max(1));
    }
    let project = Conv::new(scaling.channels(s.channels), 1);
    let (conv, norm) = (format!("{name}._project_conv"), format!("{name}._bn2"));
    y = normalised(b, &y, &conv, &norm, project);
    if s.stride == 1 && y.channels == x.channels {
        b.end_residual(&y, x, name)
    } else {
        b.end_block();
        y
    }
}

fn normalised(b: &mut Builder, x: &Map, conv: &str, norm: &str, settings: Conv) -> Map {
    let y = b.conv(x, conv, settings);
    b.batch_norm(&y, norm, NORM)
}
