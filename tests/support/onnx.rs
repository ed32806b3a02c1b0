//! Small real ONNX classifiers, written byte by byte: cast → mean over the pixels → a linear layer → perhaps a softmax.
//!
//! Classes are red, green, blue and dark: the brightest channel wins.

/// What kind of classifier.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    /// ONNX's number of the input's element type: 1 float32, 2 uint8, 10 float16.
    pub(crate) input: u64,
    /// Channels last.
    pub(crate) nhwc: bool,
    /// The batch the graph demands.
    pub(crate) batch: Option<u64>,
    /// Whether it ends in a softmax.
    pub(crate) probabilities: bool,
    /// Height and width.
    pub(crate) side: u64,
    /// Divides the logits by zero, so that they are not finite for images that are not black.
    pub(crate) broken: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            input: 1,
            nhwc: false,
            batch: None,
            probabilities: false,
            side: 8,
            broken: false,
        }
    }
}

impl Model {
    /// The ONNX file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let axes: &[u64] = if self.nhwc { &[1, 2] } else { &[2, 3] };
        let mut nodes = vec![
            node(
                "Cast",
                &["input"],
                "floats",
                &attribute("to", &int(3, 1), 2),
            ),
            node(
                "ReduceMean",
                &["floats"],
                "mean",
                &[
                    attribute(
                        "axes",
                        &axes.iter().flat_map(|a| int(8, *a)).collect::<Vec<_>>(),
                        7,
                    ),
                    attribute("keepdims", &int(3, 0), 2),
                ]
                .concat(),
            ),
            node("MatMul", &["mean", "weights"], "scaled", &[]),
        ];
        nodes.push(node(
            "Add",
            &["scaled", "bias"],
            if self.probabilities {
                "logits"
            } else {
                "output"
            },
            &[],
        ));
        if self.probabilities {
            nodes.push(node(
                "Softmax",
                &["logits"],
                "output",
                &attribute("axis", &int(3, 1), 2),
            ));
        }
        let scale = if self.broken { f32::INFINITY } else { 0.02 };
        let mut weights = [0.0_f32; 12];
        for channel in 0..3 {
            weights[channel * 4 + channel] = scale;
        }
        let (h, w) = (self.side, self.side);
        let shape = if self.nhwc { [h, w, 3] } else { [3, h, w] };
        let batch = match self.batch {
            Some(n) => int(1, n),
            None => bytes(2, b"N"),
        };
        let dims: Vec<Vec<u8>> = std::iter::once(batch.clone())
            .chain(shape.map(|d| int(1, d)))
            .collect();
        let graph = [
            nodes.iter().flat_map(|n| bytes(1, n)).collect::<Vec<_>>(),
            bytes(2, b"colours"),
            bytes(5, &tensor("weights", &[3, 4], &weights)),
            bytes(5, &tensor("bias", &[4], &[0.0, 0.0, 0.0, 1.0])),
            bytes(11, &value("input", self.input, &dims)),
            bytes(12, &value("output", 1, &[batch, int(1, 4)])),
        ]
        .concat();
        [
            int(1, 8),
            bytes(7, &graph),
            bytes(8, &[bytes(1, b""), int(2, 13)].concat()),
        ]
        .concat()
    }

    /// Its `teacher.toml`.
    pub(crate) fn teacher_toml(&self) -> String {
        format!(
            r#"
[input]
layout = "{}"
size = [{}, {}]

[preprocess]
range = "byte"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]

[output]
kind = "{}"

[classes]
names = ["red", "green", "blue", "dark"]
"#,
            if self.nhwc { "nhwc" } else { "nchw" },
            self.side,
            self.side,
            if self.probabilities {
                "probabilities"
            } else {
                "logits"
            },
        )
    }
}

/// A real linear classifier of images of `side` × `side`: flatten, a matrix `[3 · side · side, C]`, a bias `[C]`; logits come out.
pub(crate) fn linear(side: u64, weights: &[f32], bias: &[f32]) -> Vec<u8> {
    let classes = bias.len() as u64;
    let batch = bytes(2, b"N");
    let dims: Vec<Vec<u8>> = std::iter::once(batch.clone())
        .chain([3, side, side].map(|d| int(1, d)))
        .collect();
    let nodes = [
        node(
            "Flatten",
            &["input"],
            "flat",
            &attribute("axis", &int(3, 1), 2),
        ),
        node("MatMul", &["flat", "weights"], "scaled", &[]),
        node("Add", &["scaled", "bias"], "output", &[]),
    ];
    let graph = [
        nodes.iter().flat_map(|n| bytes(1, n)).collect::<Vec<_>>(),
        bytes(2, b"linear"),
        bytes(5, &tensor("weights", &[3 * side * side, classes], weights)),
        bytes(5, &tensor("bias", &[classes], bias)),
        bytes(11, &value("input", 1, &dims)),
        bytes(12, &value("output", 1, &[batch, int(1, classes)])),
    ]
    .concat();
    [
        int(1, 8),
        bytes(7, &graph),
        bytes(8, &[bytes(1, b""), int(2, 13)].concat()),
    ]
    .concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn int(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [
        varint(field << 3 | 2),
        varint(value.len() as u64),
        value.to_vec(),
    ]
    .concat()
}

fn attribute(name: &str, value: &[u8], kind: u64) -> Vec<u8> {
    bytes(
        5,
        &[bytes(1, name.as_bytes()), value.to_vec(), int(20, kind)].concat(),
    )
}

fn node(kind: &str, inputs: &[&str], output: &str, attributes: &[u8]) -> Vec<u8> {
    [
        inputs
            .iter()
            .flat_map(|i| bytes(1, i.as_bytes()))
            .collect::<Vec<_>>(),
        bytes(2, output.as_bytes()),
        bytes(3, output.as_bytes()),
        bytes(4, kind.as_bytes()),
        attributes.to_vec(),
    ]
    .concat()
}

fn tensor(name: &str, dims: &[u64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    [
        dims.iter().flat_map(|d| int(1, *d)).collect::<Vec<_>>(),
        int(2, 1),
        bytes(8, name.as_bytes()),
        bytes(9, &raw),
    ]
    .concat()
}

fn value(name: &str, element: u64, dims: &[Vec<u8>]) -> Vec<u8> {
    let shape: Vec<u8> = dims.iter().flat_map(|d| bytes(1, d)).collect();
    let tensor = [int(1, element), bytes(2, &shape)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
}
