//! Promotions and verdicts for people.

use std::fmt::Write as _;

use super::{Candidate, Kind, Promotion, Verdict};
use crate::output::aligned;

/// The history, a line a promotion, oldest first; without a line end.
pub fn table(history: &[Promotion]) -> String {
    let head = ["number", "promoted", "teacher", "before", "gate", "note"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(history.iter().map(|p| {
        let gate = match (&p.gate, p.kind, p.to) {
            (_, Kind::Rollback, Some(to)) => format!("rollback to {to}"),
            (Some(_), ..) if p.forced => "refused, forced".into(),
            (Some(_), ..) => "passed".into(),
            (None, ..) => "none".into(),
        };
        vec![
            p.number.to_string(),
            p.promoted.clone(),
            p.teacher.clone(),
            p.previous.clone().unwrap_or_default(),
            gate,
            p.note.clone().unwrap_or_default(),
        ]
    }));
    aligned(&rows).trim_end().to_owned()
}

/// A verdict, rule by rule; without a line end.
pub fn verdict(verdict: &Verdict) -> String {
    let mut text = String::new();
    let data = &verdict.data;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {} labelled images of {} classes\n",
        data.url, data.images, data.classes
    );
    let side = |what: &str, side: &Candidate| {
        let top1 = side.top1;
        vec![
            what.to_owned(),
            side.teacher.clone(),
            format!(
                "top-1 {:.2} % ({} of {}; {:.2} to {:.2})",
                top1.share * 100.0,
                top1.count,
                top1.of,
                top1.low * 100.0,
                top1.high * 100.0
            ),
        ]
    };
    let mut sides = vec![side("candidate", &verdict.candidate)];
    sides.extend(
        verdict
            .current
            .iter()
            .map(|current| side("current", current)),
    );
    text.push_str(&aligned(&sides));
    text.push('\n');
    let checks: Vec<Vec<String>> = verdict
        .checks
        .iter()
        .map(|check| {
            let passed = match check.passed {
                Some(true) => "ok",
                Some(false) => "refused",
                None => "-",
            };
            vec![passed.to_owned(), check.found(), check.limit()]
        })
        .collect();
    text.push_str(&aligned(&checks));
    let _ = write!(
        text,
        "\nthe gate {}",
        if verdict.passed { "passes" } else { "refuses" }
    );
    text
}
