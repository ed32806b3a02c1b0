//! A lineage for people.

use super::{Lineage, OfKey, OfSelection, OfTeacher, Trained};
use crate::output::aligned;
use crate::train::TrainingRecord;

/// The whole text, without a line end.
pub fn table(lineage: &Lineage) -> String {
    let rows = match lineage {
        Lineage::Teacher(of) => teacher(of),
        Lineage::Selection(of) => selection(of),
        Lineage::Key(of) => key(of),
    };
    aligned(&rows).trim_end().to_owned()
}

fn row(what: &str, detail: impl Into<String>) -> Vec<String> {
    vec![what.to_owned(), detail.into()]
}

fn teacher(of: &OfTeacher) -> Vec<Vec<String>> {
    let r = &of.teacher;
    let mut rows = vec![
        row("teacher", r.to_string()),
        row("model", format!("sha256 {}", r.model_sha256)),
        row("teacher.toml", format!("sha256 {}", r.config_sha256)),
        row("classes", r.classes.to_string()),
    ];
    rows.extend(r.description.iter().map(|d| row("description", d.clone())));
    rows.push(row("added by", format!("understudy {}", r.understudy)));
    if let Some((own, before)) = of.ancestry.split_first() {
        rows.extend(trained(own));
        rows.extend(before.iter().map(|t| row("goes back to", t.sentence())));
    }
    let numbers: Vec<_> = of.promotions.iter().map(u32::to_string).collect();
    if !numbers.is_empty() {
        let now = if of.current { "; it is current" } else { "" };
        rows.push(row("promotions", format!("{}{now}", numbers.join(", "))));
    }
    rows.extend(of.labels.iter().map(|l| {
        let objects = format!("{} by {}, {} objects", l.dataset, l.teacher, l.objects);
        row("labels of", objects)
    }));
    rows.extend(of.selections.iter().map(|s| row("selection", s.clone())));
    rows.extend(of.trainings.iter().map(|t| row("training", t.clone())));
    let own = of.ancestry.first().and_then(|t| t.training.as_ref());
    rows.extend(own.into_iter().flat_map(settings));
    rows
}

/// How a teacher was trained, but for the settings.
fn trained(own: &Trained) -> Vec<Vec<String>> {
    let Some(record) = &own.training else {
        return vec![row("trained", Trained::UNKNOWN)];
    };
    let [labelled, pseudo] = record.rows;
    let mut rows = vec![
        row(
            "trained as",
            format!(
                "{}, {} steps of {labelled} labelled and {pseudo} pseudo-labelled images, by understudy {}",
                record.name, record.steps, record.understudy
            ),
        ),
        row(
            "student",
            format!(
                "{}, training model sha256 {}",
                record.student, record.training_model_sha256
            ),
        ),
    ];
    rows.extend(record.begins_from.iter().map(|t| row("begins from", t)));
    rows.extend(record.labelled.iter().map(|l| {
        let what = format!(
            "{}, {} images, fingerprint {}",
            l.data.url, l.images, l.fingerprint
        );
        row("labelled data", what)
    }));
    rows.extend(record.pseudo.iter().map(|p| {
        let what = format!(
            "{}, {} images, {} with copies, fingerprint {}",
            p.selection, p.images, p.rows, p.fingerprint
        );
        row("learned from", what)
    }));
    rows.extend(own.selection.iter().map(|s| row("made of", s.sentence())));
    rows
}

fn settings(record: &TrainingRecord) -> impl Iterator<Item = Vec<String>> {
    let texts = [
        ("setting", toml::to_string(&record.train)),
        ("noise", toml::to_string(&record.noise)),
    ];
    texts.into_iter().flat_map(|(what, text)| {
        let text = text.unwrap_or_default();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| row(what, line)).collect::<Vec<_>>()
    })
}

fn selection(of: &OfSelection) -> Vec<Vec<String>> {
    let mut rows = vec![
        row("selection", of.id.clone()),
        row("made by", format!("understudy {}", of.understudy)),
    ];
    rows.extend(
        of.dataset
            .iter()
            .map(|d| row("dataset", format!("{}, images in {}", d.name, d.source))),
    );
    rows.extend(
        of.generation
            .iter()
            .map(|g| row("generation", format!("{}, {} rows", g.generation, g.rows))),
    );
    let input = &of.input;
    rows.extend(input.labels.iter().map(|l| row("labels", l.clone())));
    rows.extend(input.teacher.iter().map(|t| row("labels by", t.clone())));
    let filter = input.filter_teacher.iter();
    rows.extend(filter.map(|t| row("chosen by", t.clone())));
    rows.push(row(
        "labels objects",
        format!("{}, sha256 {} with the queries", input.files, input.sha256),
    ));
    let totals = &of.totals;
    rows.push(row(
        "rows",
        format!(
            "{} of {} labels, {} with copies",
            totals.rows, totals.labels, totals.copies
        ),
    ));
    let left_out = of.left_out.iter().filter(|(_, n)| **n > 0);
    rows.extend(left_out.map(|(reason, n)| row("left out", format!("{n} {reason}"))));
    let settings = toml::to_string(&of.config).unwrap_or_default();
    rows.extend(settings.lines().map(|line| row("setting", line)));
    rows.extend(of.trainings.iter().map(|t| row("training", t.clone())));
    rows
}

fn key(of: &OfKey) -> Vec<Vec<String>> {
    let mut rows = vec![row("key", of.key.clone())];
    rows.extend(of.listed.iter().map(|l| {
        let at = format!("{}, generation {}: {}", l.dataset, l.generation, l.status);
        row("listed", at)
    }));
    rows.extend(of.labels.iter().map(|l| {
        let said = format!(
            "{} by {}: {} ({}), confidence {:.3}, shard {}",
            l.dataset, l.teacher, l.label, l.class, l.confidence, l.shard
        );
        row("label", said)
    }));
    rows.extend(of.rejects.iter().map(|r| {
        let why = format!("{} by {}: {} ({})", r.dataset, r.teacher, r.reason, r.stage);
        row("reject", why)
    }));
    rows.extend(of.selections.iter().map(|s| {
        let copies = s.copies.filter(|n| *n > 1);
        let copies = copies.map_or(String::new(), |n| format!(", {n} copies"));
        let how = format!(
            "{}: class {}, confidence {:.3}{copies}",
            s.selection, s.class, s.confidence
        );
        row("selection", how)
    }));
    rows
}
