//! The end of a selection: its rows are written, held against what the passes chose, and put on record.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};

use super::functions::Chosen;
use super::input::Input;
use super::job::{PARTITIONS, Passes, Run};
use super::passes::ChosenRows;
use super::report::{
    ClassRecord, LEFT_OUT, LeakageRecord, PARTS, SelectionFile, Totals, Unlabelled,
};
use super::write::{self, OfClass, Part, Target};
use super::{Method, SelectError, foreign, listed};
use crate::hex::hex;
use crate::workspace::to_json;

/// Hexadecimal digits of a tag.
const TAG: usize = 8;

/// What was written of a selection's rows.
struct Written {
    parts: Vec<Part>,
    /// Rows, before they are repeated.
    rows: u64,
    by_class: HashMap<i64, OfClass>,
    /// Chosen keys that the teacher of the soft labels has not labelled, where another one filters.
    unlabelled: Option<Unlabelled>,
}

impl Written {
    /// Rows that were chosen, with a soft label or without.
    fn chosen(&self) -> u64 {
        self.rows + self.unlabelled.as_ref().map_or(0, |u| u.keys)
    }
}

impl Run<'_> {
    /// Writes what the passes have chosen.
    pub(super) async fn finish(
        &self,
        input: &Input,
        passes: Passes,
    ) -> Result<SelectionFile, SelectError> {
        let Passes {
            chosen,
            mut left_out,
            leakage,
            hits,
            missing,
        } = passes;
        let candidates: u64 = chosen.classes.iter().map(|c| c.available).sum();
        let labels = candidates + left_out.values().sum::<u64>();
        let tag = self.tag(input, &chosen, &left_out, leakage.as_ref());
        let query = self.selected(input, &chosen).await?;
        let parts = write::parts(query, &self.parts(&tag)).await?;
        let written = Written {
            rows: parts.iter().map(|p| p.chosen).sum(),
            by_class: write::by_class(&parts),
            unlabelled: input.targets.is_some().then(|| {
                let (keys, examples) = missing.found();
                Unlabelled { keys, examples }
            }),
            parts,
        };
        self.check(input, &chosen, &written)?;
        if written.rows == 0 {
            left_out.insert("without a soft label".into(), written.chosen());
            return Err(SelectError::Empty {
                rows: labels,
                left_out: listed(&left_out),
            });
        }
        // Rows that a class has room for: chosen ones, those without a label by the target teacher among them.
        let best = chosen.best.unwrap_or(written.chosen());
        let beyond_k = candidates.checked_sub(best);
        let sampled_out = best.checked_sub(written.chosen());
        let Some((beyond_k, sampled_out)) = beyond_k.zip(sampled_out) else {
            return Err(self.not_as_chosen(input, written.chosen(), candidates.min(best)));
        };
        left_out.insert("beyond-k".into(), beyond_k);
        left_out.insert("sampled-out".into(), sampled_out);
        left_out.retain(|_, rows| *rows > 0);
        let mut others = Vec::new();
        if self.job.explain {
            let query = self.query(Self::left_out_file(input)).await?;
            let parts = write::parts(query, &self.target(LEFT_OUT, &tag)).await?;
            others.extend(write::files(parts));
        }
        others.extend(self.write_hits(hits, &tag).await?);
        for found in &input.found {
            foreign::check(found).await?;
        }
        let parts = written.parts.iter().map(|p| p.record.clone());
        Ok(SelectionFile {
            id: self.job.id.clone(),
            understudy: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.job.config.clone(),
            totals: Totals {
                labels,
                candidates,
                rows: written.rows,
                copies: parts.clone().map(|part| part.copies).sum(),
            },
            left_out,
            empty_classes: empty_classes(&input.names, &chosen.classes),
            classes: self.classes(&input.names, chosen.classes, &written.by_class),
            input: input.record.clone(),
            leakage,
            tag,
            parts: parts.collect(),
            unlabelled: written.unlabelled,
            others: Some(others),
        })
    }

    /// Whether the rows that were written are those that were chosen.
    fn check(
        &self,
        input: &Input,
        chosen: &ChosenRows,
        written: &Written,
    ) -> Result<(), SelectError> {
        if let Some(expected) = chosen.expected.filter(|rows| *rows != written.chosen()) {
            return Err(self.not_as_chosen(input, written.chosen(), expected));
        }
        let copies = |class| written.by_class.get(&class).map_or(0, |of| of.copies);
        // Keys that come twice are hashed twice alike, and get copies that nobody counted on.
        if let Chosen::Exact(choice) = &*chosen.rows
            && written.chosen() == written.rows
            && let Some((class, expected)) = choice.uneven(copies)
        {
            return Err(self.not_as_chosen(input, copies(class), expected));
        }
        let (sampled, distinct) = write::sampled_keys(&written.parts);
        if distinct < sampled {
            return Err(SelectError::Repeated { sampled, distinct });
        }
        Ok(())
    }

    /// Other rows were written than those that were chosen: of a user's own query that is its doing, of ours keys come twice.
    fn not_as_chosen(&self, input: &Input, given: u64, chosen: u64) -> SelectError {
        match self.job.queries {
            Some(_) => SelectError::OtherRows {
                file: Self::selected_file(input),
                given,
                chosen,
            },
            None => SelectError::NotDistinct {
                chosen: given,
                expected: chosen,
            },
        }
    }

    /// The classes, with what was written of each.
    fn classes(
        &self,
        names: &[String],
        chosen: Vec<ClassRecord>,
        written: &HashMap<i64, OfClass>,
    ) -> Vec<ClassRecord> {
        let config = &self.job.config;
        // What is drawn by chance alone has no cut-off but its lowest row.
        let is_drawn = config.interval.is_some() || config.method == Method::Histogram;
        let record = |class: ClassRecord| {
            let number = usize::try_from(class.class).ok();
            let written = written.get(&class.class);
            ClassRecord {
                label: number.and_then(|number| names.get(number)).cloned(),
                kept: written.map_or(0, |of| of.rows),
                copies: written.map_or(0, |of| of.copies),
                cut_off: written.and_then(|of| {
                    if is_drawn {
                        Some(of.lowest)
                    } else {
                        class.cut_off
                    }
                }),
                ..class
            }
        };
        chosen.into_iter().map(record).collect()
    }

    pub(super) fn target(&self, kind: &'static str, tag: &str) -> Target {
        Target {
            workspace: self.workspace.clone(),
            id: self.job.id.clone(),
            kind,
            tag: tag.to_owned(),
            materialize: false,
        }
    }

    /// Where the selection's own rows go.
    fn parts(&self, tag: &str) -> Target {
        Target {
            materialize: self.job.config.materialize,
            ..self.target(PARTS, tag)
        }
    }

    /// What tells this run's objects from those of another one with the same name: all that decides which rows are written.
    fn tag(
        &self,
        input: &Input,
        chosen: &ChosenRows,
        left_out: &BTreeMap<String, u64>,
        leakage: Option<&LeakageRecord>,
    ) -> String {
        let found = (
            &self.job.config,
            &input.record,
            left_out,
            leakage,
            PARTITIONS,
        );
        let mut hash = Sha256::new();
        hash.update(to_json(&(found, &chosen.classes)));
        hex(&hash.finalize())[..TAG].to_owned()
    }

    pub(super) fn left_out_file(input: &Input) -> &'static str {
        match input.targets {
            Some(_) => "left_out_filtered.sql",
            None => "left_out.sql",
        }
    }
}

/// Classes that have no candidates.
fn empty_classes(names: &[String], chosen: &[ClassRecord]) -> Vec<String> {
    let is_empty = |class: i64| !chosen.iter().any(|c| c.class == class);
    let empty = (0..).zip(names).filter(|(class, _)| is_empty(*class));
    empty.map(|(_, name)| name.clone()).collect()
}
