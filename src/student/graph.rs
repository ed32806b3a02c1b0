//! Forward graphs: operators and parameters, without values. [`super::builder`] makes them.
//!
//! A graph knows the shape, the role and the initial distribution of every parameter without holding a value, so that a network of 480 million
//! parameters is counted in a blink; values are given when a model is written ([`Graph::model`]).
//!
//! The *training* form has two more inputs than the exported one, for noise is drawn outside ([`Form::Training`]): `dropout` [N, features] multiplies
//! what the classifier sees, and `depth` [N, residual blocks] multiplies a block's branch before it is added to its input. Both are 1 for no noise; 0 or
//! 1 / p for a part that survives with probability p. Rows of one batch may differ in their noise, and draws come from hashes, not from a generator.

use super::onnx::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

/// The images: [N, channels, height, width].
pub const INPUT: &str = "input";
/// The dropout mask: [N, features].
pub const DROPOUT: &str = "dropout";
/// The masks of stochastic depth: [N, residual blocks].
pub const DEPTH: &str = "depth";
/// Unnormalised scores: [N, classes].
pub const LOGITS: &str = "logits";

/// What a graph is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With masks as inputs.
    Training,
    /// Without. It takes images of three channels, as a teacher is fed; a network of one channel takes their mean.
    Inference,
}

/// How a parameter begins; [`super::initial`] draws the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// The same number everywhere.
    Constant(f32),
    /// A normal distribution around 0.
    Normal {
        /// Its standard deviation.
        deviation: f32,
    },
    /// A uniform distribution from `-bound` to `bound`.
    Uniform {
        /// Its bound.
        bound: f32,
    },
}

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Learnt by gradients.
    Trainable,
    /// A running mean or variance of batch normalisation: follows the batches, has no gradient.
    Statistic,
}

/// A tensor that training changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name in the graph, and in checkpoints and exported models.
    pub name: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// What it is.
    pub role: Role,
    /// How it begins.
    pub initial: Initial,
    /// How many residual blocks lie before it: 0 for the stem, and more than all of them for the head.
    pub stage: usize,
}

impl Parameter {
    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }
}

/// A network: its operators and its parameters, without values.
#[derive(Debug, Clone)]
pub struct Graph {
    pub(super) name: String,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) constants: Vec<TensorProto>,
    pub(super) inputs: Vec<ValueInfoProto>,
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// How many classes.
    pub classes: usize,
    /// All parameters, in the order of the network.
    pub parameters: Vec<Parameter>,
    /// How many numbers the classifier sees of an image: the width of the dropout mask.
    pub features: usize,
    /// For each column of the depth mask where its block lies, above 0 for the first of all blocks, 1 for the last. With the linear rule a block at `d`
    /// survives with probability 1 − d · (1 − p), where p is that of the last.
    pub depth: Vec<f32>,
    /// Height and width of the last feature map.
    pub last_map: [usize; 2],
    /// How many blocks there are, with those that have no branch to leave out.
    pub blocks: usize,
}

impl Graph {
    /// How many numbers gradients change. This is what papers count.
    pub fn trainable(&self) -> usize {
        let trainable = self.parameters.iter().filter(|p| p.role == Role::Trainable);
        trainable.map(Parameter::count).sum()
    }

    /// The model with these values; `values` is asked for one parameter after the other, in order.
    ///
    /// # Errors
    /// The first of `values`.
    pub fn model<E>(
        &self,
        mut values: impl FnMut(&Parameter) -> Result<Vec<f32>, E>,
    ) -> Result<ModelProto, E> {
        let mut initializer = self.constants.clone();
        for parameter in &self.parameters {
            let tensor = TensorProto::floats(&parameter.name, &parameter.dims, &values(parameter)?);
            initializer.push(tensor);
        }
        Ok(ModelProto::new(GraphProto {
            node: self.nodes.clone(),
            name: Some(self.name.clone()),
            initializer,
            input: self.inputs.clone(),
            output: vec![ValueInfoProto::batch(LOGITS, &[self.classes])],
        }))
    }
}
