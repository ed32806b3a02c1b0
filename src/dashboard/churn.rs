//! How labels moved between two teachers.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray as _;
use arrow::datatypes::{Float64Type, Int64Type, UInt16Type};
use maud::{Markup, html};

use super::frame::{Frame, Section, link, table, teacher};
use super::place::Between;
use super::query::{COMPARED, query};
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

/// The images that moved from one class to another, or stayed, and by how much more sure the second teacher is of all of them together.
struct Move {
    from: u16,
    to: u16,
    images: u64,
    shift: f64,
}

/// All of them, which are many where classes are: whatever is done for each is done by the classes' numbers.
struct Moves {
    /// The names of the first teacher's classes, and of the second one's.
    names: [Vec<String>; 2],
    all: Vec<Move>,
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
    let all: u64 = moves.all.iter().map(|m| m.images).sum();
    let moved: u64 = moves.changes().map(|m| m.images).sum();
    let sum: f64 = moves.all.iter().map(|m| m.shift).sum();
    let frame = Frame {
        title: format!("{} → {}", between.before, between.after),
        above: html! { "Churn" },
        lede: html! {
            @if all == 0 { "They have labelled no image in common." }
            @else {
                (count(moved)) " of " (counted(all, "image", "images")) " have another label, " b { (share(moved, all)) }
                "; " (teacher(&between.after)) " is " (surer(sum / all as f64)) " on average"
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

/// By how much more sure somebody is.
fn surer(shift: f64) -> String {
    match format!("{:.3}", shift.abs()) {
        none if none == "0.000" => "as sure".into(),
        more if shift > 0.0 => format!("{more} surer"),
        less => format!("{less} less sure"),
    }
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
) -> Result<Moves, ReportError> {
    let known: Vec<&str> = labellers.iter().map(String::as_str).collect();
    let mut names = [const { Vec::new() }; 2];
    for (teacher, names) in [&between.before, &between.after]
        .into_iter()
        .zip(&mut names)
    {
        if !known.contains(&teacher.as_str()) {
            let none = "nobody has labelled anything yet";
            return Err(
                WorkspaceError::unknown("teacher with labels", teacher, &known, none).into(),
            );
        }
        let of = whose::teacher_of(view.workspace, teacher).await?;
        *names = of.config.classes.names;
    }
    let call = catalog::compared_call(&between.before, &between.after);
    let mut all = Vec::new();
    for batch in view.batches_with(CHURN, &[(COMPARED, &call)]).await? {
        let classes = [0, 1].map(|i| batch.column(i).as_primitive::<UInt16Type>().values());
        let images = batch.column(2).as_primitive::<Int64Type>().values();
        let shifts = batch.column(3).as_primitive::<Float64Type>().values();
        all.extend((0..batch.num_rows()).map(|row| Move {
            from: classes[0][row],
            to: classes[1][row],
            images: images[row].unsigned_abs(),
            shift: shifts[row],
        }));
    }
    Ok(Moves { names, all })
}

impl Moves {
    /// The names of a move's classes.
    fn named(&self, m: &Move) -> [&str; 2] {
        let [from, to] = &self.names;
        [from.get(usize::from(m.from)), to.get(usize::from(m.to))]
            .map(|name| name.map_or("–", String::as_str))
    }

    /// Those to another class.
    fn changes(&self) -> impl Iterator<Item = &Move> {
        self.all.iter().filter(|m| {
            let [from, to] = self.named(m);
            from != to
        })
    }

    /// The largest changes, then by name.
    fn largest(&self) -> Vec<&Move> {
        let mut most: Vec<&Move> = self.changes().collect();
        let order = |a: &&Move, b: &&Move| {
            let images = b.images.cmp(&a.images);
            images.then_with(|| self.named(a).cmp(&self.named(b)))
        };
        if most.len() > MOVES {
            most.select_nth_unstable_by(MOVES, order);
            most.truncate(MOVES);
        }
        most.sort_by(order);
        most
    }

    /// The classes that most images left or came to, by name.
    fn restless(&self) -> Vec<&str> {
        let mut images = [&self.names[0], &self.names[1]].map(|names| vec![0; names.len()]);
        for m in self.changes() {
            for (images, class) in images.iter_mut().zip([m.from, m.to]) {
                if let Some(images) = images.get_mut(usize::from(class)) {
                    *images += m.images;
                }
            }
        }
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (names, images) in self.names.iter().zip(images) {
            for (name, images) in names.iter().zip(images).filter(|(_, images)| *images > 0) {
                *sums.entry(name).or_default() += images;
            }
        }
        let mut most: Vec<(&str, u64)> = sums.into_iter().collect();
        most.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let most = most.into_iter().take(CLASSES);
        let mut names: Vec<&str> = most.map(|(name, _)| name).collect();
        names.sort_unstable();
        names
    }
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

fn matrix(between: &Between, moves: &Moves) -> Markup {
    let names = moves.restless();
    let shown = moves.names.each_ref().map(|of| {
        let place = |name: &String| names.binary_search(&name.as_str()).ok();
        of.iter().map(place).collect::<Vec<_>>()
    });
    let place = |side: usize, class: u16| shown[side].get(usize::from(class)).copied().flatten();
    let mut cells: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for m in &moves.all {
        if let Some(cell) = place(0, m.from).zip(place(1, m.to)) {
            *cells.entry(cell).or_default() += m.images;
        }
    }
    let largest = moves.changes().map(|m| m.images).max();
    let share = |images: u64| 10 + images * 60 / largest.unwrap_or(1).max(1);
    html! {
        @if names.is_empty() { p.note { "No label moved." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Labels before and after" {
                table.matrix {
                    thead { tr { td {} @for name in &names { th scope="col" { span title=(plain(name)) { (plain(name)) } } } } }
                    tbody { @for (row, from) in names.iter().enumerate() {
                        tr {
                            th scope="row" title=(plain(from)) { (plain(from)) }
                            @for (column, name) in names.iter().enumerate() {
                                @let images = cells.get(&(row, column)).copied().unwrap_or(0);
                                td.stayed[row == column] {
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

fn list(between: &Between, moves: &Moves, all: u64) -> Markup {
    let rows: Vec<Markup> = moves
        .largest()
        .into_iter()
        .map(|m| {
            let names = moves.named(m);
            let [from, name] = names.map(plain);
            html! {
                th scope="row" { a href=(to(between, names)) { (from) " → " (name) } }
                td.number { (count(m.images)) }
                td.number { (share(m.images, all)) }
                td.number { (format!("{:+.3}", m.shift / m.images as f64)) }
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

    fn moves(names: &[&str], all: &[(u16, u16, u64)]) -> Moves {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let all = all.iter().map(|&(from, to, images)| Move {
            from,
            to,
            images,
            shift: 0.0,
        });
        Moves {
            names: [names.clone(), names],
            all: all.collect(),
        }
    }

    #[test]
    fn the_matrix_has_the_classes_that_most_images_left_or_came_to() {
        let few = [(0, 0, 1000), (0, 1, 5), (1, 2, 1)];
        assert_eq!(
            moves(&["cat", "dog", "fox"], &few).restless(),
            ["cat", "dog", "fox"]
        );
        let others: Vec<String> = (0..20).map(|n| format!("y{n:02}")).collect();
        let mut names = vec!["cat", "dog", "fox", "x"];
        names.extend(others.iter().map(String::as_str));
        let more = (0..20).map(|n| (3, 4 + n, 2));
        let moves = moves(&names, &few.into_iter().chain(more).collect::<Vec<_>>());
        let names = moves.restless();
        assert_eq!(names.len(), CLASSES);
        assert!(names.contains(&"x") && names.contains(&"cat") && !names.contains(&"fox"));
    }

    #[test]
    fn a_class_is_known_by_its_name_whatever_number_each_teacher_gives_it() {
        let mut moves = moves(&["cat", "dog"], &[(0, 1, 7), (0, 0, 2), (1, 2, 3)]);
        moves.names[1] = vec!["dog".into(), "cat".into()];
        let changes: Vec<[&str; 2]> = moves.changes().map(|m| moves.named(m)).collect();
        assert_eq!(changes, [["cat", "dog"], ["dog", "–"]]);
        assert_eq!(moves.restless(), ["cat", "dog"]);
    }

    #[test]
    fn what_is_no_difference_at_three_digits_is_called_none() {
        let shifts = [0.0004, -0.0004, 0.012, -0.2];
        let said = shifts.map(surer);
        assert_eq!(
            said,
            ["as sure", "as sure", "0.012 surer", "0.200 less sure"]
        );
    }

    #[test]
    fn the_largest_moves_are_listed_those_of_a_size_by_name() {
        let names: Vec<String> = (0..60).map(|n| format!("{:02}", 59 - n)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut all: Vec<(u16, u16, u64)> = (1..60).map(|n| (n, 0, 5)).collect();
        all.push((0, 1, 6));
        let moves = moves(&names, &all);
        let largest: Vec<[&str; 2]> = moves.largest().iter().map(|m| moves.named(m)).collect();
        assert_eq!(largest.len(), MOVES);
        assert_eq!(largest[..3], [["59", "58"], ["00", "59"], ["01", "59"]]);
    }
}
