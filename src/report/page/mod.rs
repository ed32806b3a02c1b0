//! Figures and pictures → HTML. Every string of others passes through the templates' escaping; only drawings, the style and the script are
//! put in as they are.

mod classes;
mod confidence;
mod held_out;
mod images;
mod origin;
mod plot;
mod rejects;
mod summary;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::ReportError;
use super::figures::Figures;
use super::palette;
use super::pictures::{Pictures, base64};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("table.js");

/// The whole page.
pub(super) fn render(figures: &Figures, pictures: &Pictures) -> Result<String, ReportError> {
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
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy());
                title { (id) " · understudy selection report" }
                // Without this a browser asks the server for an icon.
                link rel="icon" href="data:,";
                style { (PreEscaped(palette::style())) (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#labels" { "Skip to the figures" }
                div.page {
                    (summary::header(figures))
                    nav aria-label="Sections" {
                        ul { @for (anchor, title, _) in &sections { li { a href={ "#" (anchor) } { (title) } } } }
                    }
                    main {
                        @for (anchor, title, (lead, content)) in &sections {
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
                            "Made by understudy " (env!("CARGO_PKG_VERSION")) " of selection " (id)
                            ". The page is one file: it loads nothing."
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

/// A section: what is said beside its title, and what it shows.
type Section = (Markup, Markup);

/// What a browser may do for this page: show pictures that lie in it and run its own script, nothing else, whatever is in a key or a name.
fn policy() -> String {
    let script = base64(&Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    )
}
