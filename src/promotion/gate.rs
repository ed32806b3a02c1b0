//! `gate.toml`: what a candidate is held against before it is promoted.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError, LabelConfig, check, parse_toml};
use crate::label::decode::DecodeConfig;
use crate::labelled::DataConfig;

/// A candidate has to be better at all where the file does not say by how much.
const MIN_GAIN: f64 = 0.0;
/// The level at which a gain is no chance.
const MAX_P: f64 = 0.05;
/// Points that no class may lose more of.
const MAX_CLASS_FALL: f64 = 5.0;

/// The `[gate]` section. Points are percent of the images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// Points of top-1 that the candidate has to gain on the current teacher, on the images that both could evaluate; below 0 it may lose as many.
    pub min_gain: f64,
    /// The largest two-sided p of McNemar's test on the same images. Below 1 there has to be a gain; 1 leaves the test out.
    pub max_p: f64,
    /// Points of recall that a class may lose at most: what the class that falls most is held against.
    pub max_class_fall: f64,
    /// The least top-1 in percent, whoever is current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_top1: Option<f64>,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            min_gain: MIN_GAIN,
            max_p: MAX_P,
            max_class_fall: MAX_CLASS_FALL,
            min_top1: None,
        }
    }
}

/// A whole gate file, checked.
#[derive(Debug, Clone)]
pub struct GateFile {
    /// The limits.
    pub gate: GateConfig,
    /// `[data]`, `[decode]` and `[label]`: what an evaluation takes.
    pub evaluation: Config,
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    data: Option<DataConfig>,
    gate: Option<GateConfig>,
    #[serde(default)]
    decode: DecodeConfig,
    #[serde(default)]
    label: LabelConfig,
}

impl GateFile {
    /// Whether a TOML file is meant as a gate.
    pub fn is_meant(table: &toml::Table) -> bool {
        table.contains_key("gate")
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let written: Written = parse_toml(file, text)?;
        let gate = written.gate.ok_or_else(|| {
            ConfigError::missing(
                "[gate]",
                "write the section with the gate's limits, as pipelines/gate.toml has it",
            )
        })?;
        let data = written.data.ok_or_else(|| {
            ConfigError::missing(
                "[data]",
                "write the section that says where the held-out images with labels are, as pipelines/gate.toml has it",
            )
        })?;
        if data.url.is_empty() {
            return Err(ConfigError::missing(
                "data.url",
                "say where the held-out images with labels are",
            ));
        }
        gate.validate()?;
        let evaluation = Config {
            data: Some(data),
            decode: written.decode,
            label: written.label,
            ..Config::default()
        };
        evaluation.validate()?;
        Ok(Self { gate, evaluation })
    }
}

impl GateConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        check(
            (-100.0..=100.0).contains(&self.min_gain),
            "gate.min_gain",
            self.min_gain,
            "give points of top-1, -100 to 100",
        )?;
        check(
            self.max_p > 0.0 && self.max_p <= 1.0,
            "gate.max_p",
            self.max_p,
            "give a probability, more than 0 and at most 1",
        )?;
        check(
            (0.0..=100.0).contains(&self.max_class_fall),
            "gate.max_class_fall",
            self.max_class_fall,
            "give points of recall, 0 to 100",
        )?;
        let top1 = self.min_top1.unwrap_or(0.0);
        check(
            (0.0..=100.0).contains(&top1),
            "gate.min_top1",
            top1,
            "give percent, 0 to 100",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_needs_its_section_and_data_and_sensible_limits() {
        let data = "[data]\nurl = \"x\"\n";
        let error = |text: &str| GateFile::parse("g.toml", text).unwrap_err();
        assert_eq!(error("[gate]\n").to_string(), "`[data]` is missing");
        assert_eq!(error(data).to_string(), "`[gate]` is missing");
        assert_eq!(
            error("[gate]\n[data]\nsplit = { seed = 1, part = \"0/2\" }\n").to_string(),
            "`data.url` is missing"
        );
        for (line, message) in [
            ("min_gain = 101", "`gate.min_gain` is 101"),
            ("max_p = 0", "`gate.max_p` is 0"),
            ("max_p = nan", "`gate.max_p` is NaN"),
            ("max_class_fall = -1", "`gate.max_class_fall` is -1"),
            ("min_top1 = 200", "`gate.min_top1` is 200"),
        ] {
            let found = error(&format!("{data}[gate]\n{line}\n"));
            assert_eq!(found.to_string(), message);
        }
        let misspelt = error(&format!("{data}[gate]\nmin_gian = 1\n"));
        assert_eq!(misspelt.hint().unwrap(), "did you mean `min_gain`?");
        let good = GateFile::parse("g.toml", &format!("{data}[gate]\n")).unwrap();
        assert_eq!(good.gate, GateConfig::default());
    }
}
