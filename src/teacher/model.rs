//! The ONNX model behind a teacher: its signature checked against `teacher.toml`, and the classifier that runs it.

use half::f16;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType};

use super::TeacherError;
use super::config::{Layout, OutputKind, TeacherConfig};
use crate::label::infer::Classifier;
use crate::label::preprocess::Range;
use crate::runtime::{Device, Runtime, RuntimeError};

/// How far two runs of the same image may differ, in probability: the stated tolerance across batch sizes, threads and devices.
pub const TOLERANCE: f32 = 1e-3;

/// What the model's graph says, made to agree with `teacher.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    input: String,
    output: String,
    input_type: InputType,
    layout: Layout,
    height: usize,
    width: usize,
    /// The batch size that the graph demands, if it demands one.
    pub fixed_batch: Option<usize>,
    /// How many numbers come out for an image.
    pub classes: usize,
}

/// The element type of a model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputType {
    /// Single precision.
    Float32,
    /// Half precision.
    Float16,
    /// Bytes; preprocessed values are rounded.
    Uint8,
}

impl Signature {
    /// Reads a session's inputs and outputs and holds them against the configuration.
    ///
    /// # Errors
    /// [`TeacherError::Mismatch`], naming the key of `teacher.toml` and what the model has instead.
    pub fn check(session: &Session, config: &TeacherConfig) -> Result<Self, TeacherError> {
        let input = outlet("input", session.inputs(), config.input.name.as_deref())?;
        let output = outlet("output", session.outputs(), config.output.name.as_deref())?;
        let (input_type, shape) = tensor("input", input)?;
        let input_type = match input_type {
            TensorElementType::Float32 => InputType::Float32,
            TensorElementType::Float16 => InputType::Float16,
            TensorElementType::Uint8 => InputType::Uint8,
            other => {
                return Err(mismatch(
                    "input",
                    format!("is of type {other}"),
                    "understudy feeds float32, float16 and uint8".into(),
                ));
            }
        };
        let p = &config.preprocess;
        let as_they_are =
            |wanted: f32, values: [f32; 3]| values.iter().all(|v| v.to_bits() == wanted.to_bits());
        let unchanged =
            p.range == Range::Byte && as_they_are(0.0, p.mean) && as_they_are(1.0, p.std);
        if input_type == InputType::Uint8 && !unchanged {
            return Err(mismatch(
                "input",
                "is of type uint8, which holds pixels as they are".into(),
                "set `preprocess.range = \"byte\"`, `mean = [0.0, 0.0, 0.0]` and `std = [1.0, 1.0, 1.0]`".into(),
            ));
        }
        let [height, width] = config.input.size;
        let (dims, expected) = match config.input.layout {
            Layout::Nchw => ("[N, 3, H, W]", [3, i64::from(height), i64::from(width)]),
            Layout::Nhwc => ("[N, H, W, 3]", [i64::from(height), i64::from(width), 3]),
        };
        let fits = shape.len() == 4
            && shape[1..]
                .iter()
                .zip(expected)
                .all(|(&found, wanted)| found == wanted || found < 0);
        if !fits {
            return Err(mismatch(
                "input",
                format!("has shape {shape:?}"),
                format!(
                    "`input.size = [{height}, {width}]` with layout {dims} does not fit it; set `input.size` and `input.layout`"
                ),
            ));
        }
        let (output_type, output_shape) = tensor("output", output)?;
        if !matches!(
            output_type,
            TensorElementType::Float32 | TensorElementType::Float16
        ) {
            return Err(mismatch(
                "output",
                format!("is of type {output_type}"),
                "name the output that gives logits or probabilities in `output.name`".into(),
            ));
        }
        let names = config.classes.names.len();
        let classes = output_shape.get(1).copied().unwrap_or(0);
        if output_shape.len() != 2 || (classes >= 0 && classes != names as i64) {
            return Err(mismatch(
                "output",
                format!("has shape {output_shape:?}"),
                format!("`classes` has {names} names, so [N, {names}] was expected"),
            ));
        }
        Ok(Self {
            input: input.name().to_owned(),
            output: output.name().to_owned(),
            input_type,
            layout: config.input.layout,
            height: height as usize,
            width: width as usize,
            fixed_batch: usize::try_from(shape[0]).ok().filter(|n| *n > 0),
            classes: names,
        })
    }

    /// The numbers of one image's input: 3 × height × width.
    pub fn image_len(&self) -> usize {
        3 * self.height * self.width
    }
}

/// Runs one session; ONNX Runtime behind the [`Classifier`] seam.
#[derive(Debug)]
pub struct OrtClassifier {
    session: Session,
    signature: Signature,
    /// The most images in one run: halved when the device runs out of memory, and kept at that.
    most: usize,
    halves: Vec<f16>,
    bytes: Vec<u8>,
    interleaved: Vec<f32>,
}

impl OrtClassifier {
    /// Loads a model and checks it against the configuration.
    ///
    /// # Errors
    /// [`TeacherError::Runtime`] or [`TeacherError::Mismatch`].
    pub fn new(
        runtime: &Runtime,
        model: &[u8],
        config: &TeacherConfig,
        device: Device,
        threads: usize,
    ) -> Result<Self, TeacherError> {
        let session = runtime.session(model, device, threads)?;
        let signature = Signature::check(&session, config)?;
        Ok(Self {
            session,
            signature,
            most: usize::MAX,
            halves: Vec::new(),
            bytes: Vec::new(),
            interleaved: Vec::new(),
        })
    }

    /// The checked signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// One run of exactly `n` images.
    fn run(&mut self, images: &[f32], n: usize, out: &mut Vec<f32>) -> Result<(), RuntimeError> {
        let fail = |e: ort::Error| RuntimeError::Run {
            detail: e.to_string().replace('\n', " "),
        };
        let s = &self.signature;
        let (height, width) = (s.height, s.width);
        let images = match s.layout {
            Layout::Nchw => images,
            Layout::Nhwc => {
                interleave(images, n, height * width, &mut self.interleaved);
                &self.interleaved
            }
        };
        let shape = match s.layout {
            Layout::Nchw => [n, 3, height, width],
            Layout::Nhwc => [n, height, width, 3],
        };
        let input: SessionInputValue<'_> = match s.input_type {
            InputType::Float32 => TensorRef::from_array_view((shape, images))
                .map_err(fail)?
                .into(),
            InputType::Float16 => {
                self.halves.clear();
                self.halves.extend(images.iter().map(|v| f16::from_f32(*v)));
                TensorRef::from_array_view((shape, &self.halves[..]))
                    .map_err(fail)?
                    .into()
            }
            InputType::Uint8 => {
                self.bytes.clear();
                self.bytes
                    .extend(images.iter().map(|v| v.round().clamp(0.0, 255.0) as u8));
                TensorRef::from_array_view((shape, &self.bytes[..]))
                    .map_err(fail)?
                    .into()
            }
        };
        let outputs = self
            .session
            .run(vec![(s.input.as_str(), input)])
            .map_err(fail)?;
        let value: &DynValue = &outputs[s.output.as_str()];
        let start = out.len();
        if let Ok((_, floats)) = value.try_extract_tensor::<f32>() {
            out.extend_from_slice(floats);
        } else {
            let (_, floats) = value.try_extract_tensor::<f16>().map_err(fail)?;
            out.extend(floats.iter().map(|v| v.to_f32()));
        }
        let got = out.len() - start;
        if got == n * s.classes {
            Ok(())
        } else {
            Err(RuntimeError::Run {
                detail: format!(
                    "{got} numbers came out for {n} images of {} classes",
                    s.classes
                ),
            })
        }
    }
}

impl Classifier for OrtClassifier {
    fn classes(&self) -> usize {
        self.signature.classes
    }

    fn classify(&mut self, images: &[f32], out: &mut Vec<f32>) -> Result<(), RuntimeError> {
        let len = self.signature.image_len();
        let total = images.len() / len;
        out.clear();
        let mut done = 0;
        while done < total {
            let n = match self.signature.fixed_batch {
                Some(fixed) => fixed,
                None => (total - done).min(self.most),
            };
            let real = n.min(total - done);
            let slice = &images[done * len..(done + real) * len];
            let result = if real < n {
                // The graph demands a full batch: the rest of it is zeros, and their outputs are dropped.
                let mut padded = slice.to_vec();
                padded.resize(n * len, 0.0);
                let result = self.run(&padded, n, out);
                out.truncate((done + real) * self.signature.classes);
                result
            } else {
                self.run(slice, n, out)
            };
            match result {
                Ok(()) => done += real,
                Err(e) if n > 1 && self.signature.fixed_batch.is_none() && out_of_memory(&e) => {
                    self.most = n / 2;
                    tracing::warn!("out of memory at batch {n}, going on with {}", self.most);
                    out.truncate(done * self.signature.classes);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Whether ONNX Runtime ran out of memory: its arena and CUDA say so only in words.
fn out_of_memory(error: &RuntimeError) -> bool {
    let text = error.to_string().to_lowercase();
    [
        "out of memory",
        "failed to allocate memory",
        "cudaerrormemoryallocation",
        "cudnn_status_alloc_failed",
        "cublas_status_alloc_failed",
        "bad_alloc",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

/// N × (3 planes of `pixels`) → N × (`pixels` triples).
fn interleave(images: &[f32], n: usize, pixels: usize, out: &mut Vec<f32>) {
    out.clear();
    out.reserve(n * pixels * 3);
    for image in images.chunks_exact(pixels * 3).take(n) {
        let (red, rest) = image.split_at(pixels);
        let (green, blue) = rest.split_at(pixels);
        for ((r, g), b) in red.iter().zip(green).zip(blue) {
            out.extend([*r, *g, *b]);
        }
    }
}

/// A trial run before a teacher is added: a grey and a striped image, alone and together.
///
/// # Errors
/// [`TeacherError::Trial`] for numbers that are not finite, that contradict `output.kind`, or that depend on the batch.
pub fn trial(classifier: &mut OrtClassifier, config: &TeacherConfig) -> Result<(), TeacherError> {
    let len = classifier.signature.image_len();
    let zero = vec![0.0; len];
    let striped: Vec<f32> = (0..len).map(|i| ((i / 16) % 2) as f32).collect();
    let both: Vec<f32> = zero.iter().chain(&striped).copied().collect();
    let failed = |what: String, advice: &str| TeacherError::Trial {
        what,
        advice: advice.to_owned(),
    };
    let run = |classifier: &mut OrtClassifier, images: &[f32]| {
        let mut out = Vec::new();
        classifier.classify(images, &mut out).map_err(|e| {
            failed(
                e.to_string(),
                "run the model once in onnxruntime with an input of this shape",
            )
        })?;
        Ok::<_, TeacherError>(out)
    };
    let together = run(classifier, &both)?;
    let alone = run(classifier, &striped)?;
    if !together.iter().all(|v| v.is_finite()) {
        return Err(failed(
            "the output has numbers that are not finite".into(),
            "check `preprocess`: mean and std may be on the other `range`",
        ));
    }
    let classes = classifier.signature.classes;
    let sum: f32 = alone.iter().sum();
    let like_probabilities =
        alone.iter().all(|p| (0.0..=1.0 + 1e-3).contains(p)) && (sum - 1.0).abs() < 1e-2;
    match config.output.kind {
        OutputKind::Probabilities if !like_probabilities => {
            return Err(failed(
                format!("the output is no probability distribution: it sums to {sum:.3}"),
                "set `output.kind = \"logits\"`",
            ));
        }
        OutputKind::Logits if like_probabilities && classes > 1 => {
            return Err(failed(
                "the output is a probability distribution already".into(),
                "set `output.kind = \"probabilities\"`",
            ));
        }
        _ => {}
    }
    let alone = crate::label::soft_label::probabilities(&alone, config.output.kind);
    let together =
        crate::label::soft_label::probabilities(&together[classes..], config.output.kind);
    let apart = alone
        .iter()
        .zip(&together)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    if apart > TOLERANCE {
        return Err(failed(
            format!("the same image gives other probabilities in another batch: {apart:.4} apart"),
            "export the model in evaluation mode: batch normalisation must use its running averages",
        ));
    }
    Ok(())
}

fn outlet<'a>(
    which: &'static str,
    outlets: &'a [Outlet],
    name: Option<&str>,
) -> Result<&'a Outlet, TeacherError> {
    let names = || {
        outlets
            .iter()
            .map(|o| format!("`{}`", o.name()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (name, outlets) {
        (None, [one]) => Ok(one),
        (None, _) => Err(mismatch(
            which,
            format!("is one of {}: {}", outlets.len(), names()),
            format!("name it in `{which}.name`"),
        )),
        (Some(name), _) => outlets.iter().find(|o| o.name() == name).ok_or_else(|| {
            mismatch(
                which,
                format!("has no `{name}`"),
                format!("the model has {}", names()),
            )
        }),
    }
}

fn tensor(
    which: &'static str,
    outlet: &Outlet,
) -> Result<(TensorElementType, Vec<i64>), TeacherError> {
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => Ok((*ty, shape.to_vec())),
        other => Err(mismatch(
            which,
            format!("`{}` is a {other}", outlet.name()),
            "a tensor was expected".into(),
        )),
    }
}

fn mismatch(which: &'static str, found: String, advice: String) -> TeacherError {
    TeacherError::Mismatch {
        which,
        found,
        advice,
    }
}
