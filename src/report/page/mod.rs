//! Figures and pictures → HTML. Every string of others passes through the templates' escaping; only drawings, the style and the script are
//! put in as they are.

mod classes;
mod confidence;
mod held_out;
pub(crate) mod images;
mod origin;
pub(crate) mod plot;
mod rejects;
mod steps;
mod summary;
mod training;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::ReportError;
use super::course::Course;
use super::figures::Figures;
use super::palette;
use super::pictures::{Pictures, base64};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("table.js");

/// The whole page.
pub(super) fn render(
    figures: &Figures,
    pictures: &Pictures,
    above: Markup,
) -> Result<String, ReportError> {
    let sections = [
        (
            "labels",
            "What became of the labels",
            summary::fate(figures)?,
        ),
        ("confidence", "Confidence", confidence::section(figures)?),
        ("classes", "Classes", classes::section(figures)?),
        ("images", "Images", images::section(figures, pictures)),
        (
            "held-out",
            "Held-out images",
            held_out::section(figures, pictures)?,
        ),
        ("rejects", "Rejects", rejects::section(figures)?),
        ("origin", "How it was made", origin::section(figures)),
    ];
    let id = &figures.file.id;
    let shell = Shell {
        title: format!("{id} · understudy selection report"),
        above,
        header: summary::header(figures),
        sections: &sections,
        made_of: format!("selection {id}"),
        script: Some(SCRIPT),
    };
    Ok(shell.render())
}

/// The whole page of a training.
pub(super) fn render_training(course: &Course, above: Markup) -> Result<String, ReportError> {
    let name = &course.record.name;
    let shell = Shell {
        title: format!("{name} · understudy training report"),
        above,
        header: training::header(course),
        sections: &[
            ("loss", "Loss", steps::loss(course)?),
            ("top-1", "Top-1", steps::top1(course)?),
            (
                "learning-rate",
                "Learning rate",
                steps::learning_rate(course)?,
            ),
            ("origin", "How it was made", training::origin(course)),
        ],
        made_of: format!("training {name}"),
        script: None,
    };
    Ok(shell.render())
}

/// A page's head; `own_style` comes after the style of all pages.
pub(crate) fn head(title: &str, policy: &str, own_style: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta http-equiv="Content-Security-Policy" content=(policy);
            title { (title) }
            // Without this a browser asks the server for an icon.
            link rel="icon" href="data:,";
            style { (PreEscaped(palette::style())) (PreEscaped(STYLE)) (PreEscaped(own_style)) }
        }
    }
}

/// What all pages have around their sections.
struct Shell<'a> {
    title: String,
    /// What leads to other pages, where it is one of several.
    above: Markup,
    header: Markup,
    /// Of each: its anchor, its title, and what is in it.
    sections: &'a [(&'static str, &'static str, Section)],
    made_of: String,
    script: Option<&'static str>,
}

impl Shell<'_> {
    fn render(&self) -> String {
        let first = self.sections.first().map_or("", |s| s.0);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                (head(&self.title, &policy(self.script, "form-action 'none'"), ""))
                body {
                    a.skip href={ "#" (first) } { "Skip to the figures" }
                    div.page {
                        (self.above)
                        (self.header)
                        nav aria-label="Sections" {
                            ul { @for (anchor, title, _) in self.sections { li { a href={ "#" (anchor) } { (title) } } } }
                        }
                        main {
                            @for (anchor, title, (lead, content)) in self.sections {
                                section id=(anchor) aria-labelledby={ (anchor) "-title" } {
                                    div.head {
                                        h2 id={ (anchor) "-title" } { (title) }
                                        (lead)
                                    }
                                    div.content { (content) }
                                }
                            }
                        }
                        footer {
                            p {
                                "Made by understudy " (env!("CARGO_PKG_VERSION")) " of " (self.made_of)
                                ". The page is one file: it loads nothing."
                            }
                        }
                    }
                    @if let Some(script) = self.script { script { (PreEscaped(script)) } }
                }
            }
        };
        page.into_string()
    }
}

/// A section: what is said beside its title, and what it shows.
type Section = (Markup, Markup);

/// What a browser may do for a page: show pictures that lie in it, run its own script, and send forms where it is told, nothing else, whatever is in a key or a name.
pub(crate) fn policy(script: Option<&str>, forms: &str) -> String {
    let script = script.map_or(String::new(), |text| {
        format!(" script-src 'sha256-{}';", base64(&Sha256::digest(text)))
    });
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline';{script} base-uri 'none'; {forms}"
    )
}
