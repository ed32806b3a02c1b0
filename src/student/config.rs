//! What a student is: the `[student]` section of a settings file.

use serde::{Deserialize, Serialize};

use super::architecture::Architecture;
use super::graph::{Form, Graph, Parameter, Role};
use crate::config::{ConfigError, check};
use crate::schema::MAX_CLASSES;

/// The longest side of an image, in pixels.
pub const MAX_SIDE: usize = 2048;
/// The least and the greatest `width`.
pub const WIDTHS: std::ops::RangeInclusive<f64> = 0.1..=16.0;

/// A network and what trains it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentConfig {
    /// One of [`Architecture::names`].
    pub architecture: Architecture,
    /// Channels (1 or 3), height and width of an image; what the architecture was made for where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<[usize; 3]>,
    /// How many classes, 2 to 65,536.
    pub classes: usize,
    /// What the channels of `small` and `tiny` are multiplied by, 0.1 to 16; 1 for all others, which are scaled by their name.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub width: f64,
    /// Of the first weights.
    #[serde(default)]
    pub seed: u64,
    /// The stem and so many blocks are kept as they begin, as the second phase of the resolution fix wants it; one more than there are blocks freezes all but the
    /// classifier. Their running statistics still follow the images. 0 freezes nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub frozen_blocks: usize,
    /// What changes the weights.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The longest that a step's gradient may be (its 2-norm over all parameters); longer ones are shortened to it. None for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f32>,
}

/// What changes the weights. ONNX Runtime trains with these two; the paper's authors used `RMSProp`, of which `AdamW` is the nearer one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019), with bias correction.
    AdamW {
        /// How much of the mean gradient a step keeps.
        #[serde(default = "beta1")]
        beta1: f32,
        /// How much of the mean squared gradient a step keeps.
        #[serde(default = "beta2")]
        beta2: f32,
        /// Added to the root of the mean squared gradient.
        #[serde(default = "epsilon")]
        epsilon: f32,
        /// A step shrinks every trained parameter, scales and biases among them, by learning rate × this.
        #[serde(default)]
        weight_decay: f32,
    },
    /// Plain gradient descent: ONNX Runtime's has neither momentum nor weight decay.
    Sgd {},
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::AdamW {
            beta1: beta1(),
            beta2: beta2(),
            epsilon: epsilon(),
            weight_decay: 0.0,
        }
    }
}

fn one() -> f64 {
    1.0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(width: &f64) -> bool {
    (width - 1.0).abs() < f64::EPSILON
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn beta1() -> f32 {
    0.9
}

fn beta2() -> f32 {
    0.999
}

fn epsilon() -> f32 {
    1e-8
}

impl StudentConfig {
    /// A student with every default.
    pub fn new(architecture: Architecture, classes: usize) -> Self {
        Self {
            architecture,
            input: None,
            classes,
            width: 1.0,
            seed: 0,
            frozen_blocks: 0,
            optimizer: Optimizer::default(),
            clip_norm: None,
        }
    }

    /// Channels, height and width of an image.
    pub fn input(&self) -> [usize; 3] {
        self.input
            .unwrap_or_else(|| self.architecture.default_input())
    }

    /// The network, without values.
    pub fn graph(&self, form: Form) -> Graph {
        self.architecture
            .graph(self.input(), self.classes, self.width, form)
    }

    /// Whether gradients change a parameter of this student.
    pub fn trains(&self, parameter: &Parameter) -> bool {
        parameter.role == Role::Trainable && parameter.stage >= self.frozen_blocks
    }

    /// The pure checks.
    ///
    /// # Errors
    /// [`ConfigError::Value`], naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let [channels, height, width] = self.input();
        check(
            matches!(channels, 1 | 3)
                && (8..=MAX_SIDE).contains(&height)
                && (8..=MAX_SIDE).contains(&width),
            "student.input",
            format!("{channels}x{height}x{width}"),
            "give channels (1 or 3), height and width (8 to 2048 pixels), such as 3x32x32",
        )?;
        check(
            (2..=MAX_CLASSES).contains(&self.classes),
            "student.classes",
            self.classes,
            "a student has 2 to 65,536 classes",
        )?;
        check(
            WIDTHS.contains(&self.width),
            "student.width",
            self.width,
            "use 0.1 to 16",
        )?;
        check(
            is_one(&self.width) || self.architecture.has_width(),
            "student.width",
            self.width,
            "only `small` and `tiny` have a width; the others are scaled by their name, such as efficientnet-b1",
        )?;
        // Cheap beside all that follows, and the only place that knows how many blocks there are.
        let blocks = self.graph(Form::Inference).blocks;
        check(
            self.frozen_blocks <= blocks + 1,
            "student.frozen_blocks",
            self.frozen_blocks,
            &format!(
                "{} has {blocks} blocks: freeze at most {}",
                self.architecture,
                blocks + 1
            ),
        )?;
        check(
            self.clip_norm.is_none_or(|n| n.is_finite() && n > 0.0),
            "student.clip_norm",
            format!("{:?}", self.clip_norm.unwrap_or_default()),
            "give a length above 0, or leave it out",
        )?;
        if let Optimizer::AdamW {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } = self.optimizer
        {
            let part = |v: f32| (0.0..1.0).contains(&v);
            check(
                part(beta1) && part(beta2),
                "student.optimizer",
                format!("beta1 = {beta1}, beta2 = {beta2}"),
                "both are at least 0 and below 1",
            )?;
            check(
                epsilon > 0.0 && epsilon < 1.0,
                "student.optimizer.epsilon",
                epsilon.to_string(),
                "use a small number above 0, such as 1e-8",
            )?;
            check(
                (0.0..=1.0).contains(&weight_decay),
                "student.optimizer.weight_decay",
                weight_decay.to_string(),
                "use 0 to 1",
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_toml;

    fn parse(text: &str) -> Result<StudentConfig, String> {
        let config: StudentConfig = parse_toml("x.toml", text).map_err(|e| e.to_string())?;
        config
            .validate()
            .map_err(|e| format!("{e}; {}", e.hint().unwrap_or_default()))?;
        Ok(config)
    }

    #[test]
    fn a_student_is_read_and_written_back() {
        let text = "architecture = \"small\"\ninput = [1, 28, 28]\nclasses = 10\nwidth = 2.0\nclip_norm = 5.0\nfrozen_blocks = 3\n\n\
                    [optimizer]\nkind = \"adamw\"\nweight_decay = 0.05\n";
        let config = parse(text).unwrap();
        assert_eq!(config.input(), [1, 28, 28]);
        let again = toml::to_string(&config).unwrap();
        assert_eq!(parse(&again).unwrap(), config);
        let sgd =
            parse("architecture = \"resnet-50\"\nclasses = 10\noptimizer = { kind = \"sgd\" }")
                .unwrap();
        assert_eq!(sgd.optimizer, Optimizer::Sgd {});
        assert_eq!(sgd.input(), [3, 224, 224]);
    }

    #[test]
    fn the_documented_section_is_a_valid_one() {
        let text = include_str!("../../pipelines/README.md");
        let section = text
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .find(|block| block.contains("[student]"))
            .unwrap();
        let config: crate::config::Config = parse_toml("README.md", section).unwrap();
        config.validate().unwrap();
        assert_eq!(config.student.unwrap().clip_norm, Some(5.0));
    }

    #[test]
    fn wrong_values_are_named_with_what_to_do() {
        let base = "architecture = \"small\"\nclasses = 10\n";
        for (more, part) in [
            ("input = [2, 28, 28]", "`student.input` is 2x28x28"),
            ("input = [3, 4, 28]", "3x4x28"),
            ("width = 0.0", "`student.width` is 0"),
            ("frozen_blocks = 8", "small has 6 blocks: freeze at most 7"),
            ("clip_norm = -1.0", "`student.clip_norm` is -1.0"),
            ("optimizer = { kind = \"adamw\", beta1 = 1.0 }", "beta1 = 1"),
            (
                "optimizer = { kind = \"adamw\", weight_decay = -1.0 }",
                "weight_decay` is -1",
            ),
            (
                "optimizer = { kind = \"sgd\", weight_decay = 1.0 }",
                "unknown field",
            ),
            ("optimizer = { kind = \"rmsprop\" }", "unknown variant"),
        ] {
            let error = parse(&format!("{base}{more}\n")).unwrap_err();
            assert!(error.contains(part), "{more}: {error}");
        }
        let error = parse("architecture = \"smal\"\nclasses = 10").unwrap_err();
        assert!(error.contains("did you mean `small`?"), "{error}");
        let error = parse("architecture = \"resnet-50\"\nclasses = 10\nwidth = 2.0").unwrap_err();
        assert!(
            error.contains("only `small` and `tiny` have a width"),
            "{error}"
        );
        assert!(
            parse("architecture = \"small\"\nclasses = 1")
                .unwrap_err()
                .contains("classes` is 1")
        );
    }

    #[test]
    fn freezing_goes_from_the_stem_to_the_classifier() {
        let mut config = StudentConfig::new("small".parse().unwrap(), 10);
        let names = |config: &StudentConfig| -> Vec<String> {
            let graph = config.graph(Form::Training);
            let trained = graph.parameters.iter().filter(|p| config.trains(p));
            trained.map(|p| p.name.clone()).collect()
        };
        assert_eq!(names(&config)[0], "stem.conv.weight");
        config.frozen_blocks = 1;
        assert_eq!(names(&config)[0], "blocks.1.conv1.weight");
        config.frozen_blocks = 7;
        assert_eq!(names(&config), ["classifier.weight", "classifier.bias"]);
    }
}
