//! Stages and models, for people.

use super::{Finished, Model, Planned};
use crate::evaluate::Comparison;
use crate::label::progress::clock;

/// The width that a stage's name has.
const STAGE: usize = 24;

/// A stage that is done.
pub fn line(finished: &Finished) -> String {
    let when = match finished.seconds {
        Some(seconds) if finished.now => format!("done in {}", clock(seconds)),
        _ => "done before".into(),
    };
    format!(
        "{:<STAGE$}  {when:<16}  {}",
        finished.stage,
        finished.made.describe()
    )
}

/// What a run would do.
pub fn planned(stages: &[Planned]) -> String {
    let lines = stages.iter().map(|p| {
        let (state, what) = match &p.made {
            Some(made) => ("done", made.describe()),
            None => ("to do", p.amount.describe()),
        };
        format!("{:<STAGE$}  {state:<6}  {what}", p.stage)
            .trim_end()
            .to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The models with their figures.
pub fn models(models: &[Model]) -> String {
    let mut rows = vec![
        [
            "model",
            "what",
            "held-out top-1",
            "against its teacher",
            "against the control",
            "against its first phase",
        ]
        .map(str::to_owned),
    ];
    rows.extend(models.iter().map(|m| {
        let what = match m.round {
            0 if m.role == "teacher" => m.role.to_owned(),
            0 => format!("{} of the teacher", m.role),
            round => format!("{} of round {round}", m.role),
        };
        [
            m.model.clone(),
            what,
            format!("{:.2} % of {}", m.top1.share * 100.0, m.top1.of),
            m.against_teacher.as_ref().map_or(String::new(), difference),
            m.against_control.as_ref().map_or(String::new(), difference),
            m.against_first_phase
                .as_ref()
                .map_or(String::new(), difference),
        ]
    }));
    // A column that few pipelines have is not shown to the others.
    let second = models.iter().any(|m| m.against_first_phase.is_some());
    let columns = rows[0].len() - usize::from(!second);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|r| r[column].len()).max().unwrap_or(0))
        .collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn difference(comparison: &Comparison) -> String {
    let test = &comparison.test;
    let p = if test.p_value < 0.0001 {
        "p < 0.0001".to_owned()
    } else {
        format!("p = {:.4}", test.p_value)
    };
    format!("{:+.2} points, {p}", test.difference * 100.0)
}
