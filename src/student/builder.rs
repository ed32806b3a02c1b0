//! Builds forward graphs: convolution, batch normalisation, activations, squeeze-and-excitation, pooling, a linear classifier.

use super::graph::{DEPTH, DROPOUT, Form, Graph, INPUT, Initial, LOGITS, Parameter, Role};
use super::onnx::{AttributeProto, NodeProto, TensorProto, ValueInfoProto};

/// A feature map [N, channels, height, width] in a graph that is being built.
#[derive(Debug, Clone)]
pub struct Map {
    name: String,
    /// Channels.
    pub channels: usize,
    height: usize,
    width: usize,
}

/// How a convolution treats the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// TensorFlow's SAME: ceil(extent / stride) comes out; an odd pixel of padding goes to the right and to the bottom.
    Same,
    /// (kernel − 1) / 2 on every side, whatever the stride.
    Symmetric,
}

/// A convolution.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    /// Channels that come out.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// In both directions.
    pub stride: usize,
    /// 1, or as many as channels for a depthwise one.
    pub groups: usize,
    /// Whether it adds a bias.
    pub bias: bool,
    /// The border.
    pub padding: Padding,
}

impl Conv {
    /// A convolution of stride 1 without bias.
    pub fn new(outputs: usize, kernel: usize) -> Self {
        Self {
            outputs,
            kernel,
            stride: 1,
            groups: 1,
            bias: false,
            padding: Padding::Same,
        }
    }
}

/// How batch normalisation counts.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// How much of the running statistics a step keeps.
    pub momentum: f32,
    /// What its scale begins with.
    pub scale: f32,
}

/// An activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x).
    Swish,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

/// Builds a [`Graph`] from the images on.
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    form: Form,
    blocks_done: usize,
}

impl Builder {
    /// Begins a graph that has `blocks` blocks in all, and gives the images.
    pub fn new(name: &str, form: Form, input: [usize; 3], blocks: usize) -> (Self, Map) {
        let [channels, height, width] = input;
        let averaged = form == Form::Inference && channels == 1;
        let fed = [if averaged { 3 } else { channels }, height, width];
        let graph = Graph {
            name: name.to_owned(),
            nodes: Vec::new(),
            constants: Vec::new(),
            inputs: vec![ValueInfoProto::batch(INPUT, &fed)],
            input,
            classes: 0,
            parameters: Vec::new(),
            features: 0,
            depth: Vec::new(),
            last_map: [0, 0],
            blocks,
        };
        let mut builder = Self {
            graph,
            form,
            blocks_done: 0,
        };
        let mut images = Map {
            name: INPUT.to_owned(),
            channels,
            height,
            width,
        };
        if averaged {
            let over = vec![AttributeProto::ints("axes", &[1])];
            builder.node("ReduceMean", &[INPUT], "input.mean", over);
            images.name = "input.mean".into();
        }
        (builder, images)
    }

    fn node(&mut self, kind: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.graph
            .nodes
            .push(NodeProto::new(kind, inputs, output, attributes));
    }

    /// An operator that keeps the shape of its first input.
    fn same(&mut self, kind: &str, x: &Map, more: &[&str], output: String) -> Map {
        let inputs: Vec<&str> = std::iter::once(x.name.as_str())
            .chain(more.iter().copied())
            .collect();
        self.node(kind, &inputs, &output, Vec::new());
        Map { name: output, ..*x }
    }

    fn parameter(&mut self, name: &str, dims: &[usize], role: Role, initial: Initial) -> String {
        self.graph.parameters.push(Parameter {
            name: name.to_owned(),
            dims: dims.to_vec(),
            role,
            initial,
            stage: self.blocks_done,
        });
        name.to_owned()
    }

    fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        if !self.graph.constants.iter().any(|c| c.name() == name) {
            let tensor = TensorProto::floats(name, dims, values);
            self.graph.constants.push(tensor);
        }
        name.to_owned()
    }

    fn integers(&mut self, name: &str, dims: &[usize], values: &[i64]) -> String {
        if !self.graph.constants.iter().any(|c| c.name() == name) {
            let tensor = TensorProto::int64s(name, dims, values);
            self.graph.constants.push(tensor);
        }
        name.to_owned()
    }

    /// A convolution; its weights are `NAME.weight` [outputs, inputs / groups, kernel, kernel], and begin normally distributed with the variance
    /// 2 / (kernel² · outputs / groups): He's rule for the numbers that go out, as `EfficientNet`'s and `ResNet`'s published code have it.
    pub fn conv(&mut self, x: &Map, name: &str, conv: Conv) -> Map {
        let Conv {
            outputs,
            kernel,
            stride,
            groups,
            ..
        } = conv;
        let fan_out = kernel * kernel * outputs / groups;
        let dims = [outputs, x.channels / groups, kernel, kernel];
        let deviation = (2.0 / fan_out as f32).sqrt();
        let weight = self.parameter(
            &format!("{name}.weight"),
            &dims,
            Role::Trainable,
            Initial::Normal { deviation },
        );
        let mut inputs = vec![x.name.clone(), weight];
        if conv.bias {
            let zero = Initial::Constant(0.0);
            inputs.push(self.parameter(&format!("{name}.bias"), &[outputs], Role::Trainable, zero));
        }
        let (height, top, bottom) = padded(x.height, kernel, stride, conv.padding);
        let (width, left, right) = padded(x.width, kernel, stride, conv.padding);
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.node(
            "Conv",
            &inputs,
            name,
            vec![
                AttributeProto::ints("kernel_shape", &[kernel, kernel]),
                AttributeProto::ints("strides", &[stride, stride]),
                AttributeProto::ints("pads", &[top, left, bottom, right]),
                AttributeProto::int("group", groups as i64),
            ],
        );
        Map {
            name: name.to_owned(),
            channels: outputs,
            height,
            width,
        }
    }

    /// Batch normalisation, with `NAME.weight`, `NAME.bias`, `NAME.running_mean` and `NAME.running_var`. It has one output: the training tool turns
    /// it into the operator that uses and follows the batch's statistics.
    pub fn batch_norm(&mut self, x: &Map, name: &str, norm: BatchNorm) -> Map {
        let channels = [x.channels];
        let mut add = |suffix: &str, role, value| {
            let initial = Initial::Constant(value);
            self.parameter(&format!("{name}.{suffix}"), &channels, role, initial)
        };
        let scale = add("weight", Role::Trainable, norm.scale);
        let shift = add("bias", Role::Trainable, 0.0);
        let mean = add("running_mean", Role::Statistic, 0.0);
        let variance = add("running_var", Role::Statistic, 1.0);
        self.node(
            "BatchNormalization",
            &[&x.name, &scale, &shift, &mean, &variance],
            name,
            vec![
                AttributeProto::float("epsilon", norm.epsilon),
                AttributeProto::float("momentum", norm.momentum),
            ],
        );
        Map {
            name: name.to_owned(),
            ..*x
        }
    }

    /// An activation.
    pub fn activation(&mut self, x: &Map, activation: Activation) -> Map {
        let name = &x.name;
        match activation {
            Activation::Swish => {
                let gate = self.same("Sigmoid", x, &[], format!("{name}.sigmoid"));
                self.same("Mul", x, &[&gate.name], format!("{name}.swish"))
            }
            Activation::Relu => self.same("Relu", x, &[], format!("{name}.relu")),
            Activation::Relu6 => {
                let low = self.floats("relu6.min", &[], &[0.0]);
                let high = self.floats("relu6.max", &[], &[6.0]);
                self.same("Clip", x, &[&low, &high], format!("{name}.relu6"))
            }
        }
    }

    /// Squeeze-and-excitation: each channel is scaled by a gate that two 1 × 1 convolutions, `NAME._se_reduce` to `squeezed` channels and `NAME._se_expand`
    /// back, make of the channels' means.
    pub fn squeeze_excitation(&mut self, x: &Map, name: &str, squeezed: usize) -> Map {
        let pool = format!("{name}._se_pool");
        self.node("GlobalAveragePool", &[&x.name], &pool, Vec::new());
        let mean = Map {
            name: pool,
            channels: x.channels,
            height: 1,
            width: 1,
        };
        let with_bias = |outputs| Conv {
            bias: true,
            ..Conv::new(outputs, 1)
        };
        let reduced = self.conv(&mean, &format!("{name}._se_reduce"), with_bias(squeezed));
        let reduced = self.activation(&reduced, Activation::Swish);
        let expanded = self.conv(
            &reduced,
            &format!("{name}._se_expand"),
            with_bias(x.channels),
        );
        let gate = self.same("Sigmoid", &expanded, &[], format!("{name}._se_gate"));
        self.same("Mul", x, &[&gate.name], format!("{name}._se"))
    }

    /// The maximum of each `kernel` × `kernel` window, with symmetric padding.
    pub fn max_pool(&mut self, x: &Map, name: &str, kernel: usize, stride: usize) -> Map {
        let (height, top, bottom) = padded(x.height, kernel, stride, Padding::Symmetric);
        let (width, left, right) = padded(x.width, kernel, stride, Padding::Symmetric);
        self.node(
            "MaxPool",
            &[&x.name],
            name,
            vec![
                AttributeProto::ints("kernel_shape", &[kernel, kernel]),
                AttributeProto::ints("strides", &[stride, stride]),
                AttributeProto::ints("pads", &[top, left, bottom, right]),
            ],
        );
        Map {
            name: name.to_owned(),
            height,
            width,
            ..*x
        }
    }

    /// Ends a block that has no way around it.
    pub fn end_block(&mut self) {
        self.blocks_done += 1;
    }

    /// Ends a residual block: its branch, times its column of the depth mask, plus the way around it.
    pub fn end_residual(&mut self, branch: &Map, around: &Map, name: &str) -> Map {
        let column = self.graph.depth.len() as i64;
        self.blocks_done += 1;
        let place = self.blocks_done as f32 / self.graph.blocks as f32;
        self.graph.depth.push(place);
        let branch = match self.form {
            Form::Inference => branch.clone(),
            Form::Training => {
                let index = self.integers(&format!("{name}.depth_column"), &[], &[column]);
                let mask = format!("{name}.depth_mask");
                let axis = vec![AttributeProto::int("axis", 1)];
                self.node("Gather", &["depth.maps", &index], &mask, axis);
                self.same("Mul", branch, &[&mask], format!("{name}.depth"))
            }
        };
        self.same("Add", &branch, &[&around.name], format!("{name}.add"))
    }

    /// The mean of each channel, the dropout mask, and a linear classifier `NAME.weight` [classes, features], `NAME.bias`.
    pub fn classifier(mut self, x: &Map, name: &str, classes: usize, initial: Initial) -> Graph {
        self.blocks_done = self.graph.blocks + 1;
        self.node("GlobalAveragePool", &[&x.name], "pool", Vec::new());
        let axis = vec![AttributeProto::int("axis", 1)];
        self.node("Flatten", &["pool"], "features", axis);
        let mut features = "features";
        if self.form == Form::Training {
            self.node(
                "Mul",
                &["features", DROPOUT],
                "features.dropout",
                Vec::new(),
            );
            features = "features.dropout";
        }
        let dims = [classes, x.channels];
        let weight = self.parameter(&format!("{name}.weight"), &dims, Role::Trainable, initial);
        let zero = Initial::Constant(0.0);
        let bias = self.parameter(&format!("{name}.bias"), &[classes], Role::Trainable, zero);
        let transposed = vec![AttributeProto::int("transB", 1)];
        self.node("Gemm", &[features, &weight, &bias], LOGITS, transposed);
        self.graph.classes = classes;
        self.graph.features = x.channels;
        self.graph.last_map = [x.height, x.width];
        if self.form == Form::Training {
            self.masks();
        }
        self.graph
    }

    /// The two inputs of the training form. `depth` [N, blocks] becomes [N, blocks, 1, 1, 1], of which a block gathers its column.
    fn masks(&mut self) {
        let columns = self.graph.depth.len();
        self.graph
            .inputs
            .push(ValueInfoProto::batch(DROPOUT, &[self.graph.features]));
        if columns > 0 {
            let inputs = &mut self.graph.inputs;
            inputs.push(ValueInfoProto::batch(DEPTH, &[columns]));
            let axes = self.integers("depth.axes", &[3], &[2, 3, 4]);
            let maps = NodeProto::new("Unsqueeze", &[DEPTH, &axes], "depth.maps", Vec::new());
            self.graph.nodes.insert(0, maps);
        }
    }
}

/// The extent that comes out of a window that moves over `extent` pixels, and the padding before and behind.
fn padded(extent: usize, kernel: usize, stride: usize, padding: Padding) -> (usize, usize, usize) {
    match padding {
        Padding::Same => {
            let out = extent.div_ceil(stride);
            let total = ((out - 1) * stride + kernel).saturating_sub(extent);
            (out, total / 2, total - total / 2)
        }
        Padding::Symmetric => {
            let side = (kernel - 1) / 2;
            ((extent + 2 * side - kernel) / stride + 1, side, side)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_is_that_of_tensorflow_or_of_pytorch() {
        assert_eq!(padded(224, 3, 2, Padding::Same), (112, 0, 1));
        assert_eq!(padded(7, 3, 2, Padding::Same), (4, 1, 1));
        assert_eq!(padded(28, 5, 1, Padding::Same), (28, 2, 2));
        assert_eq!(padded(5, 1, 2, Padding::Same), (3, 0, 0));
        assert_eq!(padded(224, 7, 2, Padding::Symmetric), (112, 3, 3));
        assert_eq!(padded(56, 1, 2, Padding::Symmetric), (28, 0, 0));
        assert_eq!(padded(112, 3, 2, Padding::Symmetric), (56, 1, 1));
    }
}
