//! An evaluation for people: one column a model, the classes, what is confused most, the comparison. Two models are called A and B.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::statistics::{EXACT_BELOW, Share, Test};
use super::tally::{BINS, ClassFigures, Figures};
use super::{Comparison, Evaluation, ModelFigures};
use crate::output::aligned;

/// Classes that are listed; of more, the ones with the lowest recall.
const CLASSES: usize = 20;
/// Confusions that are listed.
const CONFUSIONS: usize = 10;
/// Differences with a smaller probability of chance are called significant.
const LEVEL: f64 = 0.05;

/// The whole text, without a line end.
pub fn table(evaluation: &Evaluation) -> String {
    let mut text = String::new();
    let data = &evaluation.data;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {} labelled images of {} classes{}\n",
        data.url,
        data.images,
        data.classes,
        match data.unlabelled {
            0 => String::new(),
            n => format!("; {n} without a label left out"),
        }
    );
    text.push_str(&aligned(&summary(&evaluation.models)));
    text.push('\n');
    text.push_str(&classes(&evaluation.models));
    for (n, model) in evaluation.models.iter().enumerate() {
        text.push('\n');
        text.push_str(&confusions(
            letter(n, evaluation.models.len()),
            &model.figures,
        ));
    }
    if let Some(comparison) = &evaluation.comparison {
        text.push('\n');
        text.push_str(&compared(comparison));
    }
    text.trim_end().to_owned()
}

/// What a model is called where there are two.
fn letter(number: usize, models: usize) -> &'static str {
    match (models, number) {
        (0 | 1, _) => "",
        (_, 0) => "A",
        _ => "B",
    }
}

/// Reasons and their images.
pub(super) fn reasons(rejected: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = rejected
        .iter()
        .map(|(reason, images)| format!("{images} {reason}"))
        .collect();
    parts.join(", ")
}

fn summary(models: &[ModelFigures]) -> Vec<Vec<String>> {
    let row = |name: &str, value: &dyn Fn(&Figures) -> String| {
        let values = models.iter().map(|m| value(&m.figures));
        std::iter::once(name.to_owned()).chain(values).collect()
    };
    let heads = models.iter().enumerate().map(|(n, m)| {
        let letter = letter(n, models.len());
        let colon = if letter.is_empty() { "" } else { ": " };
        format!("{letter}{colon}{}", m.model)
    });
    let mut rows: Vec<Vec<String>> = vec![
        std::iter::once("model".to_owned()).chain(heads).collect(),
        row("images", &|f| f.images.to_string()),
    ];
    if models.iter().any(|m| !m.figures.rejected.is_empty()) {
        rows.push(row("rejected", &|f| {
            let total: u64 = f.rejected.values().sum();
            match total {
                0 => "0".to_owned(),
                n => format!("{n} ({})", reasons(&f.rejected)),
            }
        }));
    }
    rows.push(row("top-1", &|f| interval(&f.top1)));
    if models.iter().any(|m| m.figures.top5.is_some()) {
        rows.push(row("top-5", &|f| {
            f.top5.as_ref().map_or(String::new(), interval)
        }));
    }
    rows.push(row("balanced accuracy", &|f| percent(f.balanced_accuracy)));
    rows.push(row("mean confidence", &|f| percent(f.confidence)));
    rows.push(row(&format!("ECE ({BINS} bins)"), &|f| percent(f.ece)));
    rows.push(row("MCE", &|f| percent(f.mce)));
    rows.push(row("negative log-likelihood", &|f| format!("{:.4}", f.nll)));
    rows
}

fn classes(models: &[ModelFigures]) -> String {
    let Some(first) = models.first() else {
        return String::new();
    };
    let mut shown: Vec<&ClassFigures> = first
        .figures
        .classes
        .iter()
        .filter(|c| c.images > 0 || c.predicted > 0)
        .collect();
    let all = shown.len();
    if all > CLASSES {
        let recall = |c: &ClassFigures| c.recall.unwrap_or(2.0);
        shown.sort_by(|a, b| recall(a).total_cmp(&recall(b)).then(a.class.cmp(&b.class)));
        shown.truncate(CLASSES);
    }
    let mut head = vec!["class".to_owned(), "images".to_owned()];
    for figure in ["recall", "precision", "F1"] {
        let column = |n| format!("{figure} {}", letter(n, models.len()));
        head.extend((0..models.len()).map(|n| column(n).trim_end().to_owned()));
    }
    let mut rows = vec![head];
    for class in shown {
        let mut row = vec![class.name.clone(), class.images.to_string()];
        let figures = |f: fn(&ClassFigures) -> Option<f64>| {
            let of = |m: &ModelFigures| optional(f(&m.figures.classes[usize::from(class.class)]));
            models.iter().map(of).collect::<Vec<String>>()
        };
        row.extend(figures(|c| c.recall));
        row.extend(figures(|c| c.precision));
        row.extend(figures(|c| c.f1));
        rows.push(row);
    }
    let mut text = aligned(&rows);
    if all > CLASSES {
        let _ = writeln!(
            text,
            "the {CLASSES} of {all} classes with the lowest recall; --json has all of them"
        );
    }
    text
}

fn confusions(letter: &str, figures: &Figures) -> String {
    let mut wrong: Vec<_> = figures
        .confusion
        .iter()
        .filter(|c| c.label != c.predicted)
        .collect();
    if wrong.is_empty() {
        return format!("{letter} confuses nothing\n")
            .trim_start()
            .to_owned();
    }
    wrong.sort_by_key(|c| (std::cmp::Reverse(c.images), c.label, c.predicted));
    let mut rows = vec![vec![
        format!("{letter} confuses").trim_start().to_owned(),
        "with".to_owned(),
        "images".to_owned(),
        "of the class".to_owned(),
    ]];
    for cell in wrong.into_iter().take(CONFUSIONS) {
        let class = |n: u16| &figures.classes[usize::from(n)];
        let of = class(cell.label).images;
        rows.push(vec![
            class(cell.label).name.clone(),
            class(cell.predicted).name.clone(),
            cell.images.to_string(),
            percent(cell.images as f64 / of as f64),
        ]);
    }
    aligned(&rows)
}

fn compared(comparison: &Comparison) -> String {
    let Comparison {
        images,
        pairs,
        test,
        ..
    } = comparison;
    let points = |share: f64| format!("{:+.2}", share * 100.0);
    let form = match (test.test, test.chi_squared) {
        (Test::ContinuityCorrected, Some(chi)) => {
            format!("χ² = {chi:.3} with continuity correction")
        }
        _ => format!("exact binomial, fewer than {EXACT_BELOW} discordant pairs"),
    };
    let better = match (test.p_value < LEVEL, test.difference > 0.0) {
        (true, true) => "B is better",
        (true, false) => "A is better",
        (false, _) => "no difference that chance would not make as well",
    };
    format!(
        "B against A, on {images} images that both answered\n\
         difference in top-1: {} points (95 %: {} to {})\n\
         only A right: {}; only B right: {}; both: {}; neither: {}\n\
         McNemar's test: {form}, p = {}: {better}\n",
        points(test.difference),
        points(test.low),
        points(test.high),
        pairs.only_a,
        pairs.only_b,
        pairs.both_right,
        pairs.both_wrong,
        p_value(test.p_value),
    )
}

fn p_value(p: f64) -> String {
    if p < 0.0001 {
        format!("{p:.1e}")
    } else {
        format!("{p:.4}")
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn optional(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), percent)
}

fn interval(share: &Share) -> String {
    format!(
        "{} (95 %: {:.2} to {:.2})",
        percent(share.share),
        share.low * 100.0,
        share.high * 100.0
    )
}
