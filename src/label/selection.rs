//! What a run that labels a selection's images alone tells of them.

use serde::Serialize;

use super::LabelError;
use super::plan::Chosen;
use super::progress::Summary;
use crate::manifest::{Found, Keys};
use crate::select::report::SelectionFile;

/// Of the summary of a run: what became of the selection's keys.
#[derive(Debug, Clone, Serialize)]
pub struct OfSelection {
    /// The selection.
    pub id: String,
    /// Whether it was made of labels by this very teacher, so that there is nothing to do.
    pub made_of: bool,
    /// Its images that are there, as they were selected.
    pub images: u64,
    /// Keys that the dataset's manifest has never had.
    pub unknown: Keys,
    /// Keys whose image is another than the one that was selected.
    pub changed: Keys,
    /// Keys whose image is not there any more.
    pub gone: Keys,
    /// Images that other labels of the same teacher, begun before, are to have and do not have yet.
    pub unfinished: u64,
    /// Which labels: those of another selection; null for those of everything.
    pub others: Vec<Option<String>>,
}

impl OfSelection {
    /// Of a selection that the teacher's own labels made.
    pub fn made_of(selection: &SelectionFile) -> Self {
        let chosen = Chosen {
            selection: selection.id.clone(),
            found: Found::default(),
        };
        Self {
            made_of: true,
            images: selection.totals.rows,
            ..Self::planned(chosen)
        }
    }

    /// As its plan has it.
    pub fn planned(chosen: Chosen) -> Self {
        let found = chosen.found;
        Self {
            id: chosen.selection,
            made_of: false,
            images: found.rows + found.before,
            unknown: found.unknown,
            changed: found.changed,
            gone: found.gone,
            unfinished: 0,
            others: Vec::new(),
        }
    }

    /// A line for people where nothing was left to label.
    pub fn nothing_to_do(&self, teacher: &str) -> String {
        let (id, images) = (&self.id, self.images);
        if self.made_of {
            format!("selection {id} was made of labels by {teacher}: its {images} images have them")
        } else if images == 0 {
            format!("no key of selection {id} means an image of the dataset as it was selected")
        } else if self.unfinished > 0 {
            format!("nothing of selection {id} is left for {teacher} here")
        } else {
            format!("all {images} images of selection {id} are labelled by {teacher} already")
        }
    }

    /// A line for people for each kind of key that gets no label.
    pub fn left_out(&self) -> Vec<String> {
        [
            (&self.unknown, "are not in the dataset's manifest"),
            (
                &self.changed,
                "have changed since they were selected: label them with the teacher that chose them, and select again",
            ),
            (&self.gone, "are gone"),
        ]
        .into_iter()
        .filter(|(keys, _)| keys.keys > 0)
        .map(|(keys, what)| {
            format!(
                "{} keys of selection {} {what}; such as {}",
                keys.keys,
                self.id,
                keys.examples.join(", ")
            )
        })
        .collect()
    }
}

impl Summary {
    /// The error of a run that was to label a selection's images and had to leave some to labels that were begun before.
    pub fn unfinished(&self) -> Option<LabelError> {
        let of = self.selection.as_ref().filter(|of| of.unfinished > 0)?;
        let name = |other: &Option<String>| match other {
            None => format!("all of {}", self.dataset),
            Some(selection) => format!("selection {selection}"),
        };
        let others: Vec<String> = of.others.iter().map(name).collect();
        // Labels of everything finish those of selections as well.
        let mut finish = format!("--dataset {} --teacher {}", self.dataset, self.teacher);
        if let Some(Some(selection)) = of.others.iter().min() {
            finish = format!("{finish} --selection {selection}");
        }
        Some(LabelError::Unfinished {
            selection: of.id.clone(),
            teacher: self.teacher.clone(),
            images: of.unfinished,
            others: others.join(" and "),
            finish,
        })
    }
}
