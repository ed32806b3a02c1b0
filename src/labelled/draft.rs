//! A listing with its labels → the finished index: twice over the images, none of which is read.
//!
//! The first time each image is noted with its label as it stands there; then the labels are matched to classes; the second time the
//! images of the split and the first of each class are kept.

use std::collections::BinaryHeap;

use futures::TryStreamExt;

use super::classes::{Classes, Distinct, resolve};
use super::error::LabelledError;
use super::index::{Index, Row, Writer};
use super::labels::{Attached, attach};
use super::{DataConfig, Matching};
use crate::manifest::{Skipped, sorted};
use crate::source::{Kind, Source, SourceError, Split};

/// All images with their labels.
pub(super) struct Draft {
    index: Index,
    distinct: Distinct,
    /// The data's own names of the classes.
    named: Option<Vec<String>>,
    unlabelled: u64,
    /// Whether all images are loose and lie in no folder.
    flat: bool,
}

/// What is left of them.
pub(super) struct Finished {
    pub(super) index: Index,
    pub(super) classes: Vec<String>,
    /// Images a class.
    pub(super) counts: Vec<u64>,
    pub(super) unlabelled: u64,
}

/// What is damaged: the first place, and how many more.
#[derive(Default)]
struct Damage {
    first: Option<(String, String, String)>,
    others: usize,
}

impl Damage {
    fn note(&mut self, key: String, (reason, detail): (String, String)) {
        if self.first.is_some() {
            self.others += 1;
        } else {
            self.first = Some((key, reason, detail));
        }
    }

    fn check(self) -> Result<(), LabelledError> {
        match self.first {
            None => Ok(()),
            Some((key, reason, detail)) => Err(LabelledError::Damaged {
                key,
                reason,
                detail,
                others: self.others,
            }),
        }
    }
}

/// Images without a label: the first, and how many.
#[derive(Default)]
struct Unlabelled {
    first: Option<String>,
    images: u64,
}

impl Draft {
    /// Lists a source with its labels.
    pub(super) async fn list(source: &Source, data: &DataConfig) -> Result<Self, LabelledError> {
        let names = source.names();
        let (mut writer, mut distinct) = (Writer::new()?, Distinct::default());
        let (mut damage, mut unlabelled) = (Damage::default(), Unlabelled::default());
        let mut named = (!data.classes.is_empty()).then(|| data.classes.clone());
        let given = named.is_some();
        let (mut images, mut flat) = (0, true);
        let mut listing = sorted(source.list(), &Skipped::default()).await?;
        let mut previous: Option<String> = None;
        while let Some(object) = listing.try_next().await? {
            // A list of URLs may name one twice.
            if previous.as_ref() == Some(&object.path) {
                continue;
            }
            previous = Some(object.path.clone());
            let object_key = source.key(&object.path);
            let attached = attach(source, &object, data).await?;
            let mut pairs = own_names(attached, &mut named, given, &object_key)?;
            while let Some((entry, label)) = pairs.try_next().await? {
                if let Some(problem) = entry.problem {
                    damage.note(entry.key, problem);
                    continue;
                }
                if data.split.is_some_and(|s| !s.has(&names.of(&entry.key))) {
                    continue;
                }
                images += 1;
                flat &= object.kind == Kind::Object;
                if let Some(label) = label {
                    let id = distinct.id(label, &entry.key)?;
                    writer.push(&object, Row::new(&entry, &object_key, u64::from(id)))?;
                } else {
                    unlabelled.images += 1;
                    unlabelled.first.get_or_insert(entry.key);
                }
            }
        }
        damage.check()?;
        let draft = Self {
            index: writer.finish()?,
            distinct,
            named,
            unlabelled: unlabelled.images,
            flat,
        };
        draft.check(data, images, unlabelled.first)?;
        Ok(draft)
    }

    fn check(
        &self,
        data: &DataConfig,
        images: u64,
        example: Option<String>,
    ) -> Result<(), LabelledError> {
        let url = data.url.clone();
        if images == 0 {
            return Err(SourceError::Empty { url }.into());
        }
        if self.distinct.is_empty() {
            let why = if self.flat {
                "they lie in no class folders"
            } else {
                "there is no `.cls` beside them, or their column of labels is empty"
            };
            return Err(LabelledError::NoLabels { url, images, why });
        }
        match example {
            Some(example) if !data.skip_unlabelled => Err(LabelledError::Unlabelled {
                url,
                unlabelled: self.unlabelled,
                images,
                example,
            }),
            _ => Ok(()),
        }
    }

    /// Matches the labels, and keeps what was asked for.
    pub(super) fn finish(
        mut self,
        source: &Source,
        data: &DataConfig,
        model: Option<&[String]>,
    ) -> Result<Finished, LabelledError> {
        let matching: Matching = data.matching;
        let Classes { names, of } =
            resolve(&self.distinct, self.named.as_deref(), model, matching)?;
        let mut chosen = match data.per_class {
            None => None,
            Some(wanted) => Some(Chosen::of(
                &mut self.index,
                source,
                data,
                wanted,
                &names,
                &of,
            )?),
        };
        let mut writer = Writer::new()?;
        let mut counts = vec![0; names.len()];
        let mut number = 0;
        self.index.each(|block| {
            let (block, rows) = block.into_rows();
            for row in rows {
                let class = of[row.label as usize];
                let kept = chosen.as_mut().is_none_or(|c| c.has(number));
                number += 1;
                if kept {
                    counts[usize::from(class)] += 1;
                    writer.keep(&block, row.with(class))?;
                }
            }
            Ok(())
        })?;
        Ok(Finished {
            index: writer.finish()?,
            classes: names,
            counts,
            unlabelled: self.unlabelled,
        })
    }
}

/// Notes the data's own class names: all files have to have the same.
fn own_names(
    attached: Attached,
    named: &mut Option<Vec<String>>,
    given: bool,
    object: &str,
) -> Result<super::labels::Pairs, LabelledError> {
    match (&named, attached.names) {
        (_, None) => {}
        (_, Some(_)) if given => {}
        (Some(before), Some(here)) if *before == here => {}
        (None, Some(here)) => *named = Some(here),
        (Some(_), Some(_)) => {
            return Err(LabelledError::Damaged {
                key: object.to_owned(),
                reason: "other-classes".to_owned(),
                detail: "its class names are others than those of the files before it".to_owned(),
                others: 0,
            });
        }
    }
    Ok(attached.pairs)
}

/// The first images of each class, by the hash of their names: their numbers, in ascending order.
struct Chosen {
    numbers: std::iter::Peekable<std::vec::IntoIter<u64>>,
}

impl Chosen {
    fn of(
        index: &mut Index,
        source: &Source,
        data: &DataConfig,
        wanted: u64,
        classes: &[String],
        of: &[u16],
    ) -> Result<Self, LabelledError> {
        let seed = data.split.map_or(0, |s| s.seed);
        let names = source.names();
        let mut best: Vec<BinaryHeap<(u64, u64)>> = vec![BinaryHeap::new(); classes.len()];
        let mut met = vec![0_u64; classes.len()];
        let mut number = 0;
        index.each(|block| {
            let called = block.names(&names);
            let (_, rows) = block.into_rows();
            for (row, name) in rows.into_iter().zip(called) {
                let class = usize::from(of[row.label as usize]);
                met[class] += 1;
                let best = &mut best[class];
                best.push((Split::hash_of(seed, &name), number));
                if best.len() as u64 > wanted {
                    best.pop();
                }
                number += 1;
            }
            Ok(())
        })?;
        let short = met.iter().position(|met| *met > 0 && *met < wanted);
        if let Some(class) = short {
            return Err(LabelledError::TooFew {
                class: classes[class].clone(),
                images: met[class],
                wanted,
            });
        }
        let mut numbers: Vec<u64> = best.into_iter().flatten().map(|(_, n)| n).collect();
        numbers.sort_unstable();
        Ok(Self {
            numbers: numbers.into_iter().peekable(),
        })
    }

    /// Whether the image of this number, which is asked for in ascending order, is one of them.
    fn has(&mut self, number: u64) -> bool {
        self.numbers.next_if_eq(&number).is_some()
    }
}
