//! The head of a training's page, and how it was made: settings, data, what it goes back to.

use maud::{Markup, html};

use super::Section;
use super::origin::{Row, list};
use crate::report::course::Course;
use crate::report::wording::{count, counted, per_cent, plain, real};
use crate::train::{Decay, Loss};

/// The title and the key figures.
pub(super) fn header(course: &Course) -> Markup {
    let record = &course.record;
    let [labelled, pseudo] = record.rows.map(|n| n as u64);
    let mut tiles = vec![(
        "steps",
        count(course.recorded),
        format!(
            "of {}; {} epochs",
            count(record.steps),
            real((course.epochs() * 100.0).round() / 100.0)
        ),
    )];
    if let (Some(newest), Some(best)) = (course.newest, course.best) {
        let note = if best.step == newest.step {
            format!("after step {}, the best", count(newest.step + 1))
        } else {
            format!(
                "after step {}; best {} after {}",
                count(newest.step + 1),
                per_cent(best.held_out_top1),
                count(best.step + 1)
            )
        };
        tiles.push(("held-out top-1", per_cent(newest.held_out_top1), note));
        if let Some(loss) = newest.held_out_loss {
            let note = "without noise, averaged weights".to_owned();
            tiles.push(("held-out loss", real(loss), note));
        }
    }
    let losses = [course.stretches.first(), course.stretches.last()];
    if let [Some((first, _)), Some((loss, steps))] =
        losses.map(|p| p.and_then(|p| Some((p.loss?, p.last + 1 - p.first))))
    {
        let over = match steps {
            1 => "of the last step".to_owned(),
            steps => format!("mean of the last {} steps", count(steps)),
        };
        let note = format!("{over}; {} at first", real(first));
        tiles.push(("loss", real(loss), note));
    }
    tiles.push((
        "images seen",
        count(course.recorded * (labelled + pseudo)),
        match (labelled, pseudo) {
            (labelled, 0) => format!("{} labelled a step", count(labelled)),
            (0, pseudo) => format!("{} pseudo-labelled a step", count(pseudo)),
            _ => format!(
                "{} labelled, {} pseudo-labelled a step",
                count(labelled),
                count(pseudo)
            ),
        },
    ));
    if let Some(done) = &course.done {
        let note = "could not be read, as often as they came".to_owned();
        tiles.push(("left out", count(done.left_out), note));
    }
    html! {
        header {
            p.eyebrow { "understudy · training report" }
            h1 { (record.name) }
            p.lede { (lede(course)) }
            dl.tiles {
                @for (name, number, note) in &tiles {
                    div {
                        dt { (name) }
                        dd { span.number.long[number.len() > 10] { (number) } " " span.note { (note) } }
                    }
                }
            }
        }
    }
}

fn lede(course: &Course) -> Markup {
    let record = &course.record;
    html! {
        "Student " b { (record.student) } " learns from "
        @if let Some(of) = &record.labelled { (counted(of.images, "labelled image", "labelled images")) }
        @if record.labelled.is_some() && record.pseudo.is_some() { " and " }
        @if let Some(of) = &record.pseudo { (counted(of.images, "image", "images")) " of selection " b { (of.selection) } }
        @if let Some(teacher) = &record.begins_from { ", beginning with the weights of " b { (teacher) } }
        @match &course.done {
            Some(done) => { ". It became teacher " b { (done.teacher) } "." }
            None => { ". It has not ended: " (count(course.recorded)) " of " (counted(record.steps, "step is", "steps are")) " recorded." }
        }
    }
}

/// Settings, data, and the lineage.
pub(super) fn origin(course: &Course) -> Section {
    let lead = html! {
        p { "The same settings and data give the same weights, however often the training was stopped, with the same library and number of threads." }
    };
    let train = toml::to_string(&course.record.train).unwrap_or_default();
    let noise = toml::to_string(&course.record.noise).unwrap_or_default();
    let content = html! {
        div.columns {
            div { h3 { "Settings" } (list(&settings(course))) }
            div { h3 { "Data" } (list(&data(course))) }
        }
        div {
            h3 { "What it goes back to" }
            ol.chain { @for trained in &course.ancestry { li { bdi { (plain(&trained.sentence())) } } } }
        }
        details {
            summary { "All settings of [train]" }
            pre tabindex="0" { code { (text(&train)) } }
        }
        details {
            summary { "All settings of the noise" }
            pre tabindex="0" { code { (text(&noise)) } }
        }
    };
    (lead, content)
}

/// Lines of strangers.
fn text(toml: &str) -> String {
    let lines: Vec<String> = toml.lines().map(plain).collect();
    lines.join("\n")
}

fn settings(course: &Course) -> Vec<Row> {
    let train = &course.record.train;
    let noise = &course.record.noise;
    let rate = &train.learning_rate;
    let batch = (rate.per_batch > 0).then(|| format!(" for {} images a step", rate.per_batch));
    let warm_up = rate.warmup_epochs;
    let warm_up = match (warm_up > 0.0, warm_up > 1.0) {
        (false, _) => String::new(),
        (true, false) => format!("; warm-up of {warm_up} epoch"),
        (true, true) => format!("; warm-up of {warm_up} epochs"),
    };
    let decay = match rate.decay {
        Decay::Exponential { factor, epochs } => {
            format!("× {factor} every {epochs} epochs")
        }
        Decay::Cosine { floor } => format!("half a wave down to {floor} of it"),
        Decay::Constant {} => "no decay".to_owned(),
    };
    let on = |name: &str, is: bool| is.then(|| name.to_owned());
    let images: Vec<String> = [
        on("crops, flips, translations", noise.standard.is_some()),
        on("RandAugment", noise.randaugment.is_some()),
        on("cutout", noise.cutout.is_some()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let images = if images.is_empty() {
        "none".to_owned()
    } else {
        images.join(", ")
    };
    vec![
        (
            "Loss",
            html! {
                @match train.loss {
                    Loss::Average => { "the mean over all images of a step" }
                    Loss::Sum => { "the sum of the two kinds’ means" }
                }
            },
        ),
        ("Label smoothing", html! { (train.label_smoothing) }),
        (
            "Learning rate",
            html! { (rate.peak) (batch.unwrap_or_default()) (warm_up) "; " (decay) },
        ),
        (
            "Averaged weights",
            html! { @if train.ema > 0.0 { (train.ema) } @else { "none" } },
        ),
        ("Noise of images", html! { (images) }),
        ("Dropout", html! { (noise.dropout) }),
        ("Stochastic depth", html! { (noise.stochastic_depth) }),
        ("Seed", html! { (train.seed) }),
    ]
}

fn data(course: &Course) -> Vec<Row> {
    let record = &course.record;
    let code = |text: &str| html! { code { (plain(text)) } };
    let mut rows = Vec::new();
    if let Some(of) = &record.labelled {
        rows.push(("Labelled", code(&of.data.url)));
        rows.push(("Its fingerprint", code(&of.fingerprint)));
    }
    if let Some(of) = &record.pseudo {
        let missing = (of.missing > 0).then(|| format!("; {} were gone", count(of.missing)));
        rows.push((
            "Selection",
            html! { (of.selection) ": " (counted(of.images, "image", "images")) ", " (count(of.rows)) " with copies" (missing.unwrap_or_default()) },
        ));
        rows.push(("Its fingerprint", code(&of.fingerprint)));
    }
    if let Some(held_out) = &record.train.held_out {
        rows.push(("Held out", code(&held_out.url)));
    }
    rows.extend([
        ("Classes", html! { (count(record.classes.len() as u64)) }),
        ("Student", html! { (record.student) }),
        ("Model SHA-256", code(&record.training_model_sha256)),
        ("Workspace", code(&course.workspace)),
        ("Begun by", html! { "understudy " (record.understudy) }),
    ]);
    rows
}
