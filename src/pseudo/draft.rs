//! The rows of a selection → the index of their images, and the notes on them. No image is read.

use futures::TryStreamExt;
use xxhash_rust::xxh3::Xxh3;

use super::PseudoError;
use super::notes::{self, Notes};
use crate::catalog::images;
use crate::export::merge::Sides;
use crate::export::rows::{self, Row};
use crate::export::selection::Selected;
use crate::export::{Copies, ExportError, Order};
use crate::labelled::LabelledError;
use crate::labelled::index::{self, Index};
use crate::source::Names;
use crate::workspace::Workspace;

/// What is known of a selection before an image is read.
pub(super) struct Finished {
    pub(super) index: Index,
    pub(super) notes: Notes,
    pub(super) missing: u64,
    pub(super) fingerprint: String,
}

/// Takes the rows as they lie in the source.
struct Draft<'a> {
    selection: &'a str,
    names: &'a Names,
    classes: usize,
    index: index::Writer,
    notes: notes::Writer,
    /// A row that may have more copies to come: a materialized selection has each copy as a row.
    last: Option<Row>,
    missing: u64,
    hash: Xxh3,
}

/// Joins a selection of a dataset with its images' places, by a generation, and takes all rows.
pub(super) async fn draft(
    workspace: &Workspace,
    selected: &Selected,
    names: &Names,
    generation: Option<u32>,
    classes: usize,
) -> Result<Finished, PseudoError> {
    let selection = selected.file.id.as_str();
    let context = images::sorting_context(workspace).map_err(ExportError::from)?;
    let Some((hashes, places)) = selected.of_dataset(workspace, &context, generation).await? else {
        return Err(PseudoError::Foreign {
            selection: selection.to_owned(),
        });
    };
    let frame = images::selected(workspace, &context, &selected.file).await;
    let frame = frame.map_err(ExportError::from)?;
    let soft = frame.schema().as_arrow().index_of("probs").is_ok();
    let sides = Sides {
        selected: frame,
        fingerprints: Some(hashes),
        places,
        copies: Copies::Column,
        // Nothing is in the order of a hash.
        seed: 0,
    };
    let mut rows = rows::rows(&context, sides, Order::Source, Some(classes)).await?;
    let mut draft = Draft {
        selection,
        names,
        classes,
        index: index::Writer::new()?,
        notes: notes::Writer::new(soft.then_some(classes)).map_err(LabelledError::from)?,
        last: None,
        missing: 0,
        hash: Xxh3::new(),
    };
    while let Some(row) = rows.try_next().await? {
        draft.push(row)?;
    }
    draft.finish()
}

impl Draft<'_> {
    fn push(&mut self, row: Row) -> Result<(), PseudoError> {
        match &mut self.last {
            Some(last) if last.image.key == row.image.key && last.class == row.class => {
                last.copies += row.copies;
                Ok(())
            }
            _ => match self.last.replace(row) {
                Some(last) => self.add(last),
                None => Ok(()),
            },
        }
    }

    /// Adds an image with all its copies.
    fn add(&mut self, row: Row) -> Result<(), PseudoError> {
        if row.image.problem.is_some() {
            self.missing += 1;
            return Ok(());
        }
        let class = u16::try_from(row.class).ok();
        let class = class.filter(|class| usize::from(*class) < self.classes);
        let class = class.ok_or_else(|| PseudoError::Class {
            selection: self.selection.to_owned(),
            key: row.image.key.clone(),
            class: row.class,
            classes: self.classes,
        })?;
        let mut hashes = row.hashes;
        hashes.sort_unstable();
        hashes.dedup();
        let soft = row.probs.unwrap_or_default();
        self.hash.update(self.names.of(&row.image.key).as_bytes());
        self.hash.update(&[0]);
        self.hash.update(&class.to_le_bytes());
        self.hash.update(&row.copies.to_le_bytes());
        for p in &soft {
            self.hash.update(&p.to_le_bytes());
        }
        let note = self.notes.push(class, &hashes, &soft);
        let note = note.map_err(LabelledError::from)?;
        let object_key = self.names.key(&row.image.object);
        let image = index::Row::placed(&row.image, &object_key, note);
        self.index.place(&row.image, image, row.copies)?;
        Ok(())
    }

    fn finish(mut self) -> Result<Finished, PseudoError> {
        if let Some(last) = self.last.take() {
            self.add(last)?;
        }
        let index = self.index.finish()?;
        if index.rows() == 0 {
            return Err(PseudoError::Gone {
                selection: self.selection.to_owned(),
                images: self.missing,
            });
        }
        Ok(Finished {
            index,
            notes: self.notes.finish().map_err(LabelledError::from)?,
            missing: self.missing,
            fingerprint: format!("{:016x}", self.hash.digest()),
        })
    }
}
