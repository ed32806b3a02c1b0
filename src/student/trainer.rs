//! The seam to what trains a student: batches in, changed parameters out.
//!
//! A step is [`StudentTrainer::step`], once or, for a batch that does not fit into memory, several times, and then [`StudentTrainer::apply`]. All draws (masks, augmentation,
//! order) are the caller's, so a trainer has no random state: what [`StudentTrainer::save`] gives, at any time between `apply` and `step`, is all that a later run needs to
//! make the same next step, bit for bit, with the same library and number of threads.

use bytes::Bytes;

use crate::runtime::RuntimeError;

/// What can go wrong in a trainer.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// Numbers that do not make up the batch or the parameters.
    #[error("{what} has {found} numbers, {expected} were expected")]
    Shape {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The artifacts are not those of the student's network.
    #[error("the training artifacts do not fit the network: {detail}")]
    Artifacts {
        /// What differs.
        detail: String,
    },
    /// A checkpoint could not be written to, or read from, a temporary file.
    #[error("cannot write a checkpoint to a temporary folder: {0}")]
    Temporary(std::io::Error),
    /// ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl TrainerError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Shape { .. } => None,
            Self::Artifacts { .. } => {
                Some("make the student again, under another name, with this understudy".into())
            }
            Self::Temporary(_) => Some("TMPDIR names the folder".into()),
            Self::Runtime(e) => e.hint(),
        }
    }
}

/// The numbers of a row, and how many parameters there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// C.
    pub classes: usize,
    /// The width of the dropout mask.
    pub features: usize,
    /// The width of the depth mask, the number of blocks that can be left out.
    pub depth: usize,
}

impl Shape {
    /// How many numbers an image has.
    pub fn image_len(&self) -> usize {
        self.input.iter().product()
    }
}

/// A tensor among the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Its name in the graph.
    pub name: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// Whether gradients change it; running statistics and frozen parameters they do not.
    pub trained: bool,
    /// Whether it is a running mean or variance, which follows the batches.
    pub statistic: bool,
    /// Where it lies among all numbers.
    pub range: std::ops::Range<usize>,
}

/// Rows to learn from. N is the number of `weights`.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// [N, channels, height, width].
    pub images: &'a [f32],
    /// [N, classes]: a distribution a row.
    pub targets: &'a [f32],
    /// `[N]`: what a row counts in the loss, Σ weight · cross entropy. 1 / N each is the mean; 1 / n and 1 / m for labelled and unlabelled rows is the sum of two means.
    pub weights: &'a [f32],
    /// [N, features]: 1 for no dropout; else 0, or 1 / p for what survives with probability p.
    pub dropout: &'a [f32],
    /// [N, depth]: the same for blocks.
    pub depth: &'a [f32],
}

impl Batch<'_> {
    /// Whether all parts have as many numbers as `shape` says.
    ///
    /// # Errors
    /// [`TrainerError::Shape`], naming the part.
    pub fn check(&self, shape: &Shape) -> Result<(), TrainerError> {
        let n = self.weights.len();
        for (what, found, expected) in [
            (
                "the batch's images",
                self.images.len(),
                n * shape.image_len(),
            ),
            ("the batch's targets", self.targets.len(), n * shape.classes),
            (
                "the batch's dropout mask",
                self.dropout.len(),
                n * shape.features,
            ),
            ("the batch's depth mask", self.depth.len(), n * shape.depth),
        ] {
            if found != expected {
                return Err(TrainerError::Shape {
                    what,
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// What came out of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The loss, before the parameters change. Not finite where training went astray; the parameters are then worthless after [`StudentTrainer::apply`].
    pub loss: f32,
    /// [N, classes], under the noise of the batch.
    pub logits: Vec<f32>,
}

/// Trains one student. Synchronous, on the thread that made it.
pub trait StudentTrainer {
    /// The sizes of a row.
    fn shape(&self) -> &Shape;

    /// All parameters, in the order of their numbers.
    fn parameters(&self) -> &[ParameterInfo];

    /// Forward and backward: adds the batch's gradient to those since the last [`StudentTrainer::apply`]. Running statistics follow the batch at once.
    ///
    /// # Errors
    /// [`TrainerError::Shape`] or [`TrainerError::Runtime`].
    fn step(&mut self, batch: &Batch<'_>) -> Result<Step, TrainerError>;

    /// Changes the parameters by the gradients that were added up since it was last called, of at least one [`StudentTrainer::step`], and forgets these.
    ///
    /// # Errors
    /// [`TrainerError::Runtime`].
    fn apply(&mut self, learning_rate: f32) -> Result<(), TrainerError>;

    /// Images [N, channels, height, width] → logits [N, classes] in `out`, which is emptied first: without noise, with the running statistics. Changes nothing.
    ///
    /// # Errors
    /// [`TrainerError::Shape`] or [`TrainerError::Runtime`].
    fn logits(&mut self, images: &[f32], out: &mut Vec<f32>) -> Result<(), TrainerError>;

    /// All parameters' numbers, running statistics among them, in `out`, in place of what it had. [`StudentTrainer::parameters`] says which is where.
    ///
    /// # Errors
    /// [`TrainerError::Runtime`].
    fn read(&self, out: &mut Vec<f32>) -> Result<(), TrainerError>;

    /// Sets all parameters' numbers. The optimizer's state stays as it is.
    ///
    /// # Errors
    /// [`TrainerError::Shape`] or [`TrainerError::Runtime`].
    fn write(&mut self, values: &[f32]) -> Result<(), TrainerError>;

    /// A checkpoint: parameters, running statistics, and the optimizer's state. Gradients that were not applied yet are not in it.
    ///
    /// # Errors
    /// [`TrainerError::Temporary`] or [`TrainerError::Runtime`].
    fn save(&self) -> Result<Bytes, TrainerError>;
}
