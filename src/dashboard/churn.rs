//! How labels moved between two teachers.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Frame, Section, link, table, teacher};
use super::place::Between;
use super::query::query;
use super::{Place, View};
use crate::catalog;
use crate::label::whose;
use crate::report::ReportError;
use crate::report::query::Query;
use crate::report::wording::{count, counted, plain, share};
use crate::workspace::WorkspaceError;

/// Classes of the matrix: those that most images left or came to.
const CLASSES: usize = 14;
/// Moves that are listed.
const MOVES: usize = 40;

const CHURN: Query = query!("churn.sql");

#[derive(Deserialize)]
struct Move {
    from: Option<String>,
    to: Option<String>,
    images: u64,
    shift: f64,
}

impl Move {
    fn names(&self) -> [&str; 2] {
        [&self.from, &self.to].map(|name| name.as_deref().unwrap_or("–"))
    }

    fn stayed(&self) -> bool {
        self.from == self.to
    }
}

pub(super) async fn page(
    view: &View<'_>,
    between: Option<&Between>,
) -> Result<String, ReportError> {
    let labellers = labellers(view).await?;
    let choose = Section {
        title: "Teachers",
        lead: html! { p { "Two that have labelled the same images." } },
        content: form(&labellers, between),
    };
    let Some(between) = between else {
        let frame = Frame {
            title: "Compare teachers".into(),
            above: html! { "Churn" },
            lede: html! { "Which labels change when another teacher makes them." },
            sections: vec![choose],
            script: None,
        };
        return Ok(frame.render());
    };
    let moves = moves(view, &labellers, between).await?;
    let all: u64 = moves.iter().map(|m| m.images).sum();
    let moved: u64 = moves.iter().filter(|m| !m.stayed()).map(|m| m.images).sum();
    let sum: f64 = moves.iter().map(|m| m.shift * m.images as f64).sum();
    let frame = Frame {
        title: format!("{} → {}", between.before, between.after),
        above: html! { "Churn" },
        lede: html! {
            @if all == 0 { "They have labelled no image in common." }
            @else {
                (count(moved)) " of " (counted(all, "image", "images")) " have another label, " b { (share(moved, all)) }
                "; " (teacher(&between.after)) " is " (format!("{:.3}", (sum / all as f64).abs()))
                @if sum >= 0.0 { " surer" } @else { " less sure" } " on average"
            }
        },
        sections: vec![
            choose,
            Section {
                title: "Matrix",
                lead: html! { p { "Rows are labels before, columns after, of the classes that most images left or came to. A number leads to its images." } },
                content: matrix(between, &moves),
            },
            Section {
                title: "Largest moves",
                lead: html! {},
                content: list(between, &moves, all),
            },
        ],
        script: None,
    };
    Ok(frame.render())
}

/// The teachers that have labelled anything, by name.
async fn labellers(view: &View<'_>) -> Result<BTreeSet<String>, ReportError> {
    let mut all = BTreeSet::new();
    for dataset in view.workspace.folders("datasets").await? {
        all.extend(whose::labellers(view.workspace, &dataset).await?);
    }
    Ok(all)
}

/// The moves between two teachers that have labelled something.
async fn moves(
    view: &View<'_>,
    labellers: &BTreeSet<String>,
    between: &Between,
) -> Result<Vec<Move>, ReportError> {
    let names: Vec<&str> = labellers.iter().map(String::as_str).collect();
    for name in [&between.before, &between.after] {
        if !names.contains(&name.as_str()) {
            let none = "nobody has labelled anything yet";
            return Err(WorkspaceError::unknown("teacher with labels", name, &names, none).into());
        }
    }
    let call = catalog::churn_call(&between.before, &between.after);
    view.rows_with(CHURN, ("churn($before, $after)", &call), &[])
        .await
}

fn form(labellers: &BTreeSet<String>, between: Option<&Between>) -> Markup {
    let select = |name: &str, title: &str, chosen: Option<&str>| {
        html! {
            label {
                (title)
                select name=(name) {
                    @for teacher in labellers {
                        option value=(teacher) selected[chosen == Some(teacher)] { (teacher) }
                    }
                }
            }
        }
    };
    let newest = labellers.last().map(String::as_str);
    html! {
        @if labellers.len() < 2 { p.note { "There are no two teachers with labels yet." } }
        @else {
            form.choose method="get" action=(Place::Churn { between: None }.link()) {
                (select("before", "Before", between.map(|b| b.before.as_str())))
                (select("after", "After", between.map_or(newest, |b| Some(b.after.as_str()))))
                button { "Compare" }
            }
        }
    }
}

fn to(between: &Between, [from, to]: [&str; 2]) -> String {
    let place = Place::Moved {
        between: between.clone(),
        from: from.to_owned(),
        to: to.to_owned(),
    };
    place.link()
}

/// The classes that most images left or came to, by name.
fn restless(moves: &[Move]) -> Vec<&str> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for m in moves.iter().filter(|m| !m.stayed()) {
        for name in m.names() {
            *sums.entry(name).or_default() += m.images;
        }
    }
    let mut most: Vec<(&str, u64)> = sums.into_iter().collect();
    most.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut names: Vec<&str> = most
        .into_iter()
        .take(CLASSES)
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names
}

fn matrix(between: &Between, moves: &[Move]) -> Markup {
    let names = restless(moves);
    let cells: BTreeMap<[&str; 2], u64> = moves.iter().map(|m| (m.names(), m.images)).collect();
    let largest = moves.iter().filter(|m| !m.stayed()).map(|m| m.images).max();
    let share = |images: u64| 10 + images * 60 / largest.unwrap_or(1).max(1);
    html! {
        @if names.is_empty() { p.note { "No label moved." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Labels before and after" {
                table.matrix {
                    thead { tr { td {} @for name in &names { th scope="col" { span title=(plain(name)) { (plain(name)) } } } } }
                    tbody { @for from in &names {
                        tr {
                            th scope="row" title=(plain(from)) { (plain(from)) }
                            @for name in &names {
                                @let images = cells.get(&[*from, *name]).copied().unwrap_or(0);
                                td.stayed[from == name] {
                                    @if images > 0 {
                                        a href=(to(between, [from, name])) style={ "--share:" (share(images)) }
                                          aria-label={ (count(images)) " from " (plain(from)) " to " (plain(name)) } { (count(images)) }
                                    }
                                }
                            }
                        }
                    } }
                }
            }
        }
    }
}

fn list(between: &Between, moves: &[Move], all: u64) -> Markup {
    let rows: Vec<Markup> = moves
        .iter()
        .filter(|m| !m.stayed())
        .take(MOVES)
        .map(|m| {
            let [from, name] = m.names();
            html! {
                th scope="row" { a href=(to(between, [from, name])) { (plain(from)) " → " (plain(name)) } }
                td.number { (count(m.images)) }
                td.number { (share(m.images, all)) }
                td.number { (format!("{:+.3}", m.shift)) }
            }
        })
        .collect();
    let columns = [
        ("From and to", false),
        ("Images", true),
        ("Of all", true),
        ("Confidence", true),
    ];
    html! {
        @if rows.is_empty() { p.note { "None." } } @else { (table("Largest moves", &columns, &rows)) }
        p.note { (link(&Place::Churn { between: Some(Between { before: between.after.clone(), after: between.before.clone() }) }, "The other way round")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_the_classes_that_most_images_left_or_came_to() {
        let of = |from: &str, to: &str, images| Move {
            from: Some(from.into()),
            to: Some(to.into()),
            images,
            shift: 0.0,
        };
        let mut moves = vec![
            of("cat", "cat", 1000),
            of("cat", "dog", 5),
            of("dog", "fox", 1),
        ];
        assert_eq!(restless(&moves), ["cat", "dog", "fox"]);
        moves.extend((0..20).map(|n| of("x", &format!("y{n:02}"), 2)));
        let names = restless(&moves);
        assert_eq!(names.len(), CLASSES);
        assert!(names.contains(&"x") && names.contains(&"cat") && !names.contains(&"fox"));
    }
}
