//! An evaluation of the candidate and the current teacher, held against the gate's limits.
//!
//! Nothing in a verdict depends on time or machine load: the same gate, teachers and data give the same one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::GateConfig;
use crate::evaluate::{ClassFigures, Comparison, DataFigures, Evaluation, ModelFigures, Share};

/// Points below which two figures are the same: what is lost where shares are written in binary.
const ROUNDING: f64 = 1e-9;

/// A rule of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// [`GateConfig::min_top1`].
    MinTop1,
    /// [`GateConfig::min_gain`].
    MinGain,
    /// [`GateConfig::max_p`].
    MaxP,
    /// [`GateConfig::max_class_fall`].
    MaxClassFall,
    /// The candidate has a prediction for at least as many images: what it cannot evaluate is in no share.
    MinImages,
}

/// A rule, its limit, and what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Which.
    pub rule: Rule,
    /// Points, percent, a probability or images; none for images where no teacher is current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// As the limit; none where it could not be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<f64>,
    /// The class that falls most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Whether it is met; none where it could not be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
}

/// A teacher on the held-out data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// NAME@VERSION.
    pub teacher: String,
    /// Images with a prediction.
    pub images: u64,
    /// The most probable class is the label.
    pub top1: Share,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// All rules that could be checked are met.
    pub passed: bool,
    /// The limits.
    pub gate: GateConfig,
    /// The held-out data.
    pub data: DataFigures,
    /// Who is to be promoted.
    pub candidate: Candidate,
    /// Who is current; none where nobody is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Candidate>,
    /// The current teacher as A and the candidate as B.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Rule by rule.
    pub checks: Vec<Check>,
}

impl Verdict {
    /// Judges. The evaluation has the candidate alone, or the current teacher and then the candidate, with their comparison.
    pub(super) fn of(gate: GateConfig, evaluation: Evaluation) -> Option<Self> {
        let mut models = evaluation.models;
        let candidate = models.pop()?;
        let current = models.pop();
        let comparison = evaluation.comparison;
        let mut checks = Vec::new();
        if let Some(limit) = gate.min_top1 {
            let found = candidate.figures.top1.share * 100.0;
            checks.push(Check::of(
                Rule::MinTop1,
                limit,
                found,
                found >= limit - ROUNDING,
            ));
        }
        match (&current, &comparison) {
            (Some(current), Some(comparison)) => {
                checks.extend(against(gate, &candidate, current, comparison));
            }
            _ => checks.extend(unchecked(gate)),
        }
        Some(Self {
            passed: checks.iter().all(|check| check.passed != Some(false)),
            gate,
            data: evaluation.data,
            candidate: candidate.into(),
            current: current.map(Into::into),
            comparison,
            checks,
        })
    }

    /// The rules that are not met, with figures, as part of a sentence.
    pub fn failed(&self) -> String {
        let failed = self.checks.iter().filter(|c| c.passed == Some(false));
        failed
            .map(|check| format!("{}, {}", check.found(), check.limit()))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

impl From<ModelFigures> for Candidate {
    fn from(model: ModelFigures) -> Self {
        Self {
            teacher: model.model,
            images: model.figures.images,
            top1: model.figures.top1,
        }
    }
}

/// The rules that need two models.
fn against(
    gate: GateConfig,
    candidate: &ModelFigures,
    current: &ModelFigures,
    comparison: &Comparison,
) -> [Check; 4] {
    let pairs = comparison.pairs;
    // Whole images are multiplied, so that 29 of 100 are 29 points and not the next number below.
    let gain = (pairs.only_b as f64 - pairs.only_a as f64) * 100.0 / comparison.images as f64;
    let p = comparison.test.p_value;
    let (class, fall) = worst(&candidate.figures.classes, &current.figures.classes);
    let images = candidate.figures.images;
    let before = current.figures.images;
    [
        Check::of(
            Rule::MinGain,
            gate.min_gain,
            gain,
            gain >= gate.min_gain - ROUNDING,
        ),
        Check::of(
            Rule::MaxP,
            gate.max_p,
            p,
            // A loss that is no chance has a small p as well.
            gate.max_p >= 1.0 || (gain > 0.0 && p <= gate.max_p),
        ),
        Check {
            class,
            ..Check::of(
                Rule::MaxClassFall,
                gate.max_class_fall,
                fall,
                fall <= gate.max_class_fall + ROUNDING,
            )
        },
        Check::of(
            Rule::MinImages,
            before as f64,
            images as f64,
            images >= before,
        ),
    ]
}

/// The same where there is one.
fn unchecked(gate: GateConfig) -> [Check; 4] {
    [
        (Rule::MinGain, Some(gate.min_gain)),
        (Rule::MaxP, Some(gate.max_p)),
        (Rule::MaxClassFall, Some(gate.max_class_fall)),
        (Rule::MinImages, None),
    ]
    .map(|(rule, limit)| Check {
        rule,
        limit,
        found: None,
        class: None,
        passed: None,
    })
}

/// The class whose recall falls most, and by how many points; the first of equal ones, and 0 where none falls.
fn worst(candidate: &[ClassFigures], current: &[ClassFigures]) -> (Option<String>, f64) {
    let points = |class: &ClassFigures| {
        (class.images > 0).then(|| class.correct as f64 * 100.0 / class.images as f64)
    };
    let mut worst = (None, 0.0);
    for (now, before) in candidate.iter().zip(current) {
        // A class that the candidate has no prediction for at all has lost everything.
        if let Some(before) = points(before) {
            let fall = before - points(now).unwrap_or(0.0);
            if fall > worst.1 {
                worst = (Some(now.name.clone()), fall);
            }
        }
    }
    worst
}

impl Check {
    fn of(rule: Rule, limit: f64, found: f64, passed: bool) -> Self {
        Self {
            rule,
            limit: Some(limit),
            found: Some(found),
            class: None,
            passed: Some(passed),
        }
    }

    /// What was found, in words.
    pub(super) fn found(&self) -> String {
        let Some(found) = self.found else {
            return "not checked: no teacher is current".into();
        };
        match (self.rule, &self.class) {
            (Rule::MinTop1, _) => format!("top-1 is {found:.2} %"),
            (Rule::MinGain, _) if found < 0.0 => format!("top-1 loses {} points", Points(-found)),
            (Rule::MinGain, _) => format!("top-1 gains {} points", Points(found)),
            (Rule::MaxP, _) => format!("p is {}", P(found)),
            (Rule::MaxClassFall, Some(class)) => {
                format!("`{class}` falls by {} points", Points(found))
            }
            (Rule::MaxClassFall, None) => "no class falls".into(),
            (Rule::MinImages, _) => format!("{found} images have a prediction"),
        }
    }

    /// The limit, in words.
    pub(super) fn limit(&self) -> String {
        let limit = self.limit.unwrap_or(0.0);
        match self.rule {
            Rule::MinTop1 => format!("at least {limit} % are asked for"),
            Rule::MinGain if limit < 0.0 => format!("at most {} points may be lost", -limit),
            Rule::MaxP if limit >= 1.0 => "any is allowed".into(),
            Rule::MaxP => format!("a gain with at most {limit} is asked for"),
            Rule::MaxClassFall => format!("at most {limit} points of recall are allowed"),
            Rule::MinImages if self.limit.is_none() => {
                "as many as the current teacher's are asked for".into()
            }
            Rule::MinGain | Rule::MinImages => format!("at least {limit} are asked for"),
        }
    }
}

/// Two places, and more where these would say zero of what is not.
struct Points(f64);

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0.0 && self.0 < 0.005 {
            write!(f, "{:.1e}", self.0)
        } else {
            write!(f, "{:.2}", self.0)
        }
    }
}

/// A probability.
struct P(f64);

impl fmt::Display for P {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1e-4 {
            write!(f, "{:.1e}", self.0)
        } else {
            write!(f, "{:.4}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{Figures, Pairs};

    /// A model's classes, as right and all images.
    fn model(name: &str, classes: &[(u64, u64)]) -> ModelFigures {
        let classes: Vec<ClassFigures> = classes
            .iter()
            .enumerate()
            .map(|(class, &(correct, images))| ClassFigures {
                class: class as u16,
                name: format!("c{class}"),
                images,
                predicted: images,
                correct,
                recall: None,
                precision: None,
                f1: None,
            })
            .collect();
        let images = classes.iter().map(|c| c.images).sum();
        let correct = classes.iter().map(|c| c.correct).sum();
        ModelFigures {
            model: name.into(),
            model_sha256: String::new(),
            device: "cpu".into(),
            seconds: 1.0,
            images_per_second: 1.0,
            figures: Figures {
                images,
                rejected: std::collections::BTreeMap::new(),
                top1: Share::new(correct, images),
                top5: None,
                nll: 0.0,
                nll_clipped: 0,
                confidence: 1.0,
                ece: 0.0,
                mce: 0.0,
                calibration: Vec::new(),
                classes,
                balanced_accuracy: 1.0,
                confusion: Vec::new(),
            },
        }
    }

    fn evaluation(models: Vec<ModelFigures>, pairs: Option<(u64, u64, u64, u64)>) -> Evaluation {
        Evaluation {
            understudy: String::new(),
            data: DataFigures {
                url: "x".into(),
                images: 200,
                unlabelled: 0,
                classes: 2,
                fingerprint: String::new(),
            },
            models,
            comparison: pairs.map(|(both_right, only_a, only_b, both_wrong)| {
                let pairs = Pairs {
                    both_right,
                    only_a,
                    only_b,
                    both_wrong,
                };
                Comparison {
                    a: "old@1".into(),
                    b: "new@1".into(),
                    images: pairs.images(),
                    pairs,
                    test: pairs.compare(),
                }
            }),
        }
    }

    fn failing(verdict: &Verdict) -> Vec<Rule> {
        let failed = verdict.checks.iter().filter(|c| c.passed == Some(false));
        failed.map(|c| c.rule).collect()
    }

    /// The old one has 100 of 200 right, the new one loses 2 of these and gains 60 in the other class.
    fn better(gate: GateConfig) -> Verdict {
        let models = vec![
            model("old@1", &[(80, 100), (20, 100)]),
            model("new@1", &[(78, 100), (80, 100)]),
        ];
        Verdict::of(gate, evaluation(models, Some((98, 2, 60, 40)))).unwrap()
    }

    #[test]
    fn each_rule_holds_up_to_its_limit_and_fails_beyond_it() {
        let gate = GateConfig::default();
        assert!(better(gate).passed);
        let limits = |min_gain, max_class_fall, min_top1| GateConfig {
            min_gain,
            max_class_fall,
            min_top1,
            ..gate
        };
        // 29 points are exactly gained, 2 lost in class c0, 79 % reached.
        assert!(better(limits(29.0, 2.0, Some(79.0))).passed);
        assert_eq!(failing(&better(limits(29.01, 2.0, None))), [Rule::MinGain]);
        assert_eq!(
            failing(&better(limits(29.0, 1.99, None))),
            [Rule::MaxClassFall]
        );
        assert_eq!(
            failing(&better(limits(29.0, 2.0, Some(79.01)))),
            [Rule::MinTop1]
        );
        let worst = &better(gate).checks[2];
        assert_eq!(
            (worst.class.as_deref(), worst.found),
            (Some("c0"), Some(2.0))
        );
    }

    #[test]
    fn a_loss_that_is_no_chance_is_no_gain_and_a_gain_by_chance_neither() {
        let verdict = |pairs, gate| {
            let models = vec![model("old@1", &[(80, 100)]), model("new@1", &[(80, 100)])];
            Verdict::of(gate, evaluation(models, Some(pairs))).unwrap()
        };
        let lenient = GateConfig {
            min_gain: -50.0,
            ..GateConfig::default()
        };
        // p is below 0.001 in the first.
        assert_eq!(failing(&verdict((50, 30, 2, 18), lenient)), [Rule::MaxP]);
        assert_eq!(failing(&verdict((50, 2, 4, 44), lenient)), [Rule::MaxP]);
        let untested = GateConfig {
            max_p: 1.0,
            ..lenient
        };
        assert!(verdict((50, 30, 2, 18), untested).passed);
        let said = verdict((50, 30, 2, 18), GateConfig::default()).failed();
        assert!(
            said.starts_with("top-1 loses 28.00 points, at least 0 are asked for; p is "),
            "{said}"
        );
    }

    #[test]
    fn images_that_the_candidate_alone_cannot_evaluate_are_held_against_it() {
        let models = vec![
            model("old@1", &[(80, 100), (5, 10)]),
            model("new@1", &[(95, 100), (0, 0)]),
        ];
        let verdict = Verdict::of(
            GateConfig::default(),
            evaluation(models, Some((80, 0, 15, 5))),
        );
        assert_eq!(
            failing(&verdict.unwrap()),
            [Rule::MaxClassFall, Rule::MinImages]
        );
    }

    #[test]
    fn with_nobody_current_the_least_top1_alone_is_checked() {
        let first = |min_top1| {
            let gate = GateConfig {
                min_top1,
                ..GateConfig::default()
            };
            Verdict::of(gate, evaluation(vec![model("new@1", &[(8, 10)])], None)).unwrap()
        };
        assert!(first(None).passed && first(Some(80.0)).passed);
        let refused = first(Some(81.0));
        assert_eq!(failing(&refused), [Rule::MinTop1]);
        let unchecked = refused.checks.iter().filter(|c| c.passed.is_none());
        assert_eq!(unchecked.count(), 4);
    }
}
