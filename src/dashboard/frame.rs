//! What all pages have around them, and pieces that several have.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Place;
use crate::report::{head, policy};

/// Forms and scripts talk to this server alone.
const POLICY: &str = "form-action 'self'; connect-src 'self'";
const OWN_STYLE: &str = include_str!("style.css");

/// A page.
pub(super) struct Frame {
    /// Its title.
    pub(super) title: String,
    /// Above the title: where one is.
    pub(super) above: Markup,
    /// Below it.
    pub(super) lede: Markup,
    pub(super) sections: Vec<Section>,
    /// What keeps it as things go on, where something does.
    pub(super) script: Option<&'static str>,
}

/// A part of a page: its title, what is said beside that, and what it shows.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) lead: Markup,
    pub(super) content: Markup,
}

impl Frame {
    pub(super) fn render(self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                (head(&format!("{} · understudy", self.title), &policy(self.script, POLICY), OWN_STYLE))
                body.dashboard {
                    a.skip href="#main" { "Skip to the content" }
                    div.page {
                        (navigation())
                        header {
                            div.eyebrow { (self.above) }
                            h1 { (self.title) }
                            div.lede { (self.lede) }
                        }
                        main id="main" {
                            @for section in &self.sections {
                                section {
                                    div.head { h2 { (section.title) } (section.lead) }
                                    div.content { (section.content) }
                                }
                            }
                        }
                        footer { p { "understudy " (env!("CARGO_PKG_VERSION")) } }
                    }
                    @if let Some(script) = self.script { script { (PreEscaped(script)) } }
                }
            }
        };
        page.into_string()
    }
}

/// What leads to the other pages.
pub(super) fn navigation() -> Markup {
    html! {
        nav.site aria-label="Pages" {
            ul {
                li { a.brand href="/" { "understudy" } }
                li { a href={ (Place::Churn { between: None }.link()) } { "Compare teachers" } }
                li { a href="/sql" { "SQL" } }
                li { a href="/v1/openapi.json" { "API" } }
            }
        }
    }
}

/// A link to a page.
pub(super) fn link(place: &Place, text: &str) -> Markup {
    html! { a href=(place.link()) { (text) } }
}

/// A link to a teacher's page.
pub(super) fn teacher(name: &str) -> Markup {
    let place = Place::Teacher {
        teacher: name.to_owned(),
    };
    link(&place, name)
}

/// `2026-11-24T10:20:30.123Z` to the second, as a person reads it.
pub(super) fn moment(time: &str) -> String {
    let time = time.replace('T', " ");
    time.chars().take("2026-11-24 10:20:30".len()).collect()
}

/// A table that scrolls by itself where it is wider than a phone.
pub(super) fn table(label: &str, columns: &[(&str, bool)], rows: &[Markup]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr {
                    @for (name, number) in columns { th.number[*number] scope="col" { (name) } }
                } }
                tbody { @for row in rows { tr { (row) } } }
            }
        }
    }
}

/// The page of an error.
pub fn failed(title: &str, message: &str, hint: Option<&str>) -> String {
    let frame = Frame {
        title: title.to_owned(),
        above: html! { "Error" },
        lede: html! { (message) },
        sections: hint
            .map(|hint| Section {
                title: "What to do",
                lead: html! {},
                content: html! { p { (hint) } },
            })
            .into_iter()
            .collect(),
        script: None,
    };
    frame.render()
}

/// The page that asks for a token, and goes on to `next`; `refused` where one was given that is not known.
pub fn login(next: &str, refused: bool) -> String {
    let frame = Frame {
        title: "Log in".into(),
        above: html! { "Access" },
        lede: html! { "This server asks for a token; " code { "understudy tokens new" } " makes one." },
        sections: vec![Section {
            title: "Token",
            lead: html! { p { "It is kept until the browser is closed, and allows reading alone here." } },
            content: html! {
                form.choose method="post" action="/login" {
                    input type="hidden" name="next" value=(next);
                    // A password manager keeps a token under it.
                    input type="text" name="username" value="understudy" autocomplete="username" readonly hidden;
                    label { "Token" input type="password" name="token" required autocomplete="current-password"; }
                    button { "Log in" }
                }
                @if refused { p.failed role="alert" { "The token is not known here." } }
            },
        }],
        script: None,
    };
    frame.render()
}
