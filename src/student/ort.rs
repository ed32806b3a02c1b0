//! ONNX Runtime's training API behind the [`StudentTrainer`] seam.
//!
//! The images and masks of a batch are handed over without a copy. Parameters lie in the library; they are copied out by [`StudentTrainer::read`] alone.

mod run;

use bytes::Bytes;
use ort::memory::Allocator;
use ort::training::{Checkpoint, Trainer};
use ort::value::{Tensor, TensorRef};
use prost::Message as _;

use super::artifacts::Artifacts;
use super::config::StudentConfig;
use super::graph::{DEPTH, DROPOUT, Form, Graph, INPUT, Role};
use super::onnx::ModelProto;
use super::trainer::{Batch, ParameterInfo, Shape, Step, StudentTrainer, TrainerError};
use crate::runtime::{Device, Runtime, RuntimeError};
use run::Pass;

/// The targets: [N, classes].
const TARGET: &str = "target";
/// What each row counts: [N].
const WEIGHT: &str = "weight";

/// A training session of ONNX Runtime.
#[derive(Debug)]
pub struct OrtTrainer {
    trainer: Trainer,
    shape: Shape,
    parameters: Vec<ParameterInfo>,
    count: usize,
    train_inputs: Vec<Input>,
    eval_inputs: Vec<Input>,
    /// What evaluation feeds to the masks and the loss, which take no part in its logits.
    neutral: Vec<f32>,
}

/// An input of the training or eval model, beside parameters and gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Images,
    Dropout,
    Depth,
    Targets,
    Weights,
}

impl Input {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            INPUT => Self::Images,
            DROPOUT => Self::Dropout,
            DEPTH => Self::Depth,
            TARGET => Self::Targets,
            WEIGHT => Self::Weights,
            _ => return None,
        })
    }
}

/// Where a session computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct On {
    /// On which device.
    pub device: Device,
    /// With how many threads of the CPU. Another number may change the last bits of a step.
    pub threads: usize,
}

impl OrtTrainer {
    /// Makes a session of a student's artifacts. It begins with their checkpoint: the first weights, or what [`StudentTrainer::save`] gave of an earlier session.
    ///
    /// `runtime` has to have the training API ([`Runtime::load_training`]).
    ///
    /// # Errors
    /// [`TrainerError::Artifacts`] where they are not those of the student's network, [`TrainerError::Runtime`] for what the library says.
    pub fn new(
        runtime: &Runtime,
        config: &StudentConfig,
        artifacts: &Artifacts,
        on: On,
    ) -> Result<Self, TrainerError> {
        let graph = config.graph(Form::Training);
        let (train_inputs, order) = inputs("training model", &artifacts.training_model)?;
        let (eval_inputs, _) = inputs("eval model", &artifacts.eval_model)?;
        let parameters = parameters(config, &graph, &order)?;
        let count = parameters.last().map_or(0, |p| p.range.end);
        let options = runtime.options(on.device, on.threads)?;
        let checkpoint = Checkpoint::load_from_buffer(&artifacts.checkpoint).map_err(failed)?;
        let trainer = Trainer::new_from_memory(
            options,
            Allocator::default(),
            checkpoint,
            &artifacts.training_model,
            &artifacts.eval_model,
            &artifacts.optimizer_model,
        )
        .map_err(failed)?;
        let found = trainer.num_params(false).map_err(failed)?;
        if found != count {
            return Err(TrainerError::Artifacts {
                detail: format!("they have {found} parameters, the network {count}"),
            });
        }
        Ok(Self {
            trainer,
            shape: Shape {
                input: graph.input,
                classes: graph.classes,
                features: graph.features,
                depth: graph.depth.len(),
            },
            parameters,
            count,
            train_inputs,
            eval_inputs,
            neutral: Vec::new(),
        })
    }

    /// Runs a pass over a batch of consistent sizes: loss and logits.
    fn run(&self, pass: Pass, batch: &Batch<'_>) -> Result<Step, TrainerError> {
        let n = batch.weights.len();
        let [channels, height, width] = self.shape.input;
        let order = match pass {
            Pass::Train => &self.train_inputs,
            Pass::Eval => &self.eval_inputs,
        };
        let inputs = order
            .iter()
            .map(|input| match input {
                Input::Images => {
                    TensorRef::from_array_view(([n, channels, height, width], batch.images))
                }
                Input::Dropout => {
                    TensorRef::from_array_view(([n, self.shape.features], batch.dropout))
                }
                Input::Depth => TensorRef::from_array_view(([n, self.shape.depth], batch.depth)),
                Input::Targets => {
                    TensorRef::from_array_view(([n, self.shape.classes], batch.targets))
                }
                Input::Weights => TensorRef::from_array_view(([n], batch.weights)),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let [loss, logits] = run::run(&self.trainer, pass, &inputs).map_err(failed)?;
        let (_, loss) = loss.try_extract_tensor::<f32>().map_err(failed)?;
        let (_, logits) = logits.try_extract_tensor::<f32>().map_err(failed)?;
        Ok(Step {
            loss: loss.first().copied().unwrap_or(f32::NAN),
            logits: logits.to_vec(),
        })
    }
}

impl StudentTrainer for OrtTrainer {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn parameters(&self) -> &[ParameterInfo] {
        &self.parameters
    }

    fn step(&mut self, batch: &Batch<'_>) -> Result<Step, TrainerError> {
        batch.check(&self.shape)?;
        self.run(Pass::Train, batch)
    }

    fn apply(&mut self, learning_rate: f32) -> Result<(), TrainerError> {
        let mut optimizer = self.trainer.optimizer();
        optimizer.set_lr(learning_rate).map_err(failed)?;
        optimizer.step().map_err(failed)?;
        optimizer.reset_grad().map_err(failed)
    }

    fn logits(&mut self, images: &[f32], out: &mut Vec<f32>) -> Result<(), TrainerError> {
        let n = images.len() / self.shape.image_len();
        let shape = &self.shape;
        let widest = n * shape.features.max(shape.depth).max(shape.classes).max(1);
        if self.neutral.len() < widest {
            self.neutral.resize(widest, 1.0);
        }
        let ones = |width: usize| &self.neutral[..n * width];
        let batch = Batch {
            images,
            targets: ones(shape.classes),
            weights: ones(1),
            dropout: ones(shape.features),
            depth: ones(shape.depth),
        };
        batch.check(shape)?;
        let step = self.run(Pass::Eval, &batch)?;
        out.clear();
        out.extend_from_slice(&step.logits);
        Ok(())
    }

    fn read(&self, out: &mut Vec<f32>) -> Result<(), TrainerError> {
        // `ort` copies into a tensor that owns its numbers: `out`'s own memory becomes one.
        let mut buffer = std::mem::take(out);
        buffer.resize(self.count, 0.0);
        let mut tensor = Tensor::from_array(([self.count], buffer)).map_err(failed)?;
        self.trainer
            .copy_parameters_to(&mut tensor, false)
            .map_err(failed)?;
        let (_, values) = tensor.try_extract_tensor::<f32>().map_err(failed)?;
        out.extend_from_slice(values);
        Ok(())
    }

    fn write(&mut self, values: &[f32]) -> Result<(), TrainerError> {
        if values.len() != self.count {
            return Err(TrainerError::Shape {
                what: "the list of parameters",
                found: values.len(),
                expected: self.count,
            });
        }
        let tensor = TensorRef::from_array_view(([self.count], values)).map_err(failed)?;
        self.trainer
            .copy_parameters_from(&tensor, false)
            .map_err(failed)
    }

    fn save(&self) -> Result<Bytes, TrainerError> {
        // The library writes to files alone.
        let folder = tempfile::tempdir().map_err(TrainerError::Temporary)?;
        let path = folder.path().join("checkpoint");
        self.trainer
            .checkpoint()
            .save(&path, true)
            .map_err(failed)?;
        let bytes = std::fs::read(&path).map_err(TrainerError::Temporary)?;
        Ok(bytes.into())
    }
}

/// The inputs of a training or eval model: those of a batch, and the names and shapes of all others, in its order.
#[allow(clippy::type_complexity, reason = "read once, below")]
fn inputs(which: &str, model: &Bytes) -> Result<(Vec<Input>, Vec<String>), TrainerError> {
    let model = ModelProto::decode(model.clone()).map_err(|e| TrainerError::Artifacts {
        detail: format!("the {which} is no ONNX file: {e}"),
    })?;
    let graph = model.graph.unwrap_or_default();
    let (mut inputs, mut others) = (Vec::new(), Vec::new());
    for value in &graph.input {
        match Input::named(value.name()) {
            Some(input) => inputs.push(input),
            None => others.push(value.name().to_owned()),
        }
    }
    for needed in [
        Input::Images,
        Input::Dropout,
        Input::Targets,
        Input::Weights,
    ] {
        if !inputs.contains(&needed) {
            return Err(TrainerError::Artifacts {
                detail: format!("the {which} has no input for {needed:?}"),
            });
        }
    }
    Ok((inputs, others))
}

/// The network's parameters in the order in which the library copies them: that of the training model's inputs.
fn parameters(
    config: &StudentConfig,
    graph: &Graph,
    order: &[String],
) -> Result<Vec<ParameterInfo>, TrainerError> {
    let mut infos = Vec::with_capacity(graph.parameters.len());
    let mut start = 0;
    for name in order {
        let Some(parameter) = graph.parameters.iter().find(|p| p.name == *name) else {
            continue;
        };
        let range = start..start + parameter.count();
        start = range.end;
        infos.push(ParameterInfo {
            name: parameter.name.clone(),
            dims: parameter.dims.clone(),
            trained: config.trains(parameter),
            statistic: parameter.role == Role::Statistic,
            range,
        });
    }
    if infos.len() == graph.parameters.len() {
        Ok(infos)
    } else {
        Err(TrainerError::Artifacts {
            detail: format!(
                "the training model has {} of the network's {} parameters",
                infos.len(),
                graph.parameters.len()
            ),
        })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "stands in `map_err`")]
fn failed(error: ort::Error) -> TrainerError {
    RuntimeError::Run {
        detail: error.to_string().replace('\n', " "),
    }
    .into()
}
