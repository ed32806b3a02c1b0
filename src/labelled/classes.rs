//! The labels that the data have → the numbers and names of the model's classes.
//!
//! Labels are texts or numbers, and there are few different ones: they are gathered while the data are listed, and matched once, so
//! that what does not fit is told with its first key before an image is read.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::error::LabelledError;
use super::labels::RawLabel;
use crate::error::nearest;
use crate::schema::MAX_CLASSES;

/// Whose classes an error speaks of.
const OWN: &str = "the data";
const MODELS: &str = "the model";

/// How the data's classes are matched to the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// By name where the data have names, by number otherwise. Data may have fewer classes than the model.
    #[default]
    Name,
    /// By number: the data's class n is the model's class n, whatever either calls it. Names without numbers are numbered in the order of
    /// their bytes, as torchvision's `ImageFolder` does; there have to be as many as the model has.
    Number,
}

impl std::str::FromStr for Matching {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "name" => Ok(Self::Name),
            "number" => Ok(Self::Number),
            _ => Err("use name or number".into()),
        }
    }
}

/// The different labels that were met, numbered in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    ids: BTreeMap<RawLabel, u32>,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    label: RawLabel,
    images: u64,
    /// The key of the first.
    example: String,
}

impl Seen {
    /// That a label's name is no class of these.
    fn unknown(
        &self,
        of: &'static str,
        name: String,
        names: &[String],
        others: usize,
    ) -> LabelledError {
        LabelledError::UnknownClass {
            of,
            images: self.images,
            example: self.example.clone(),
            others,
            near: nearest(&name, names.iter().map(String::as_str)),
            name,
        }
    }
}

impl Distinct {
    /// Counts an image, and gives its label's number.
    pub(super) fn id(&mut self, label: RawLabel, key: &str) -> Result<u32, LabelledError> {
        if let Some(&id) = self.ids.get(&label) {
            self.seen[id as usize].images += 1;
            return Ok(id);
        }
        if self.seen.len() == MAX_CLASSES {
            return Err(LabelledError::TooManyClasses {
                most: MAX_CLASSES,
                example: text_of(&label),
            });
        }
        let id = self.seen.len() as u32;
        self.ids.insert(label.clone(), id);
        self.seen.push(Seen {
            label,
            images: 1,
            example: key.to_owned(),
        });
        Ok(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

/// What the labels come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Classes {
    /// The names, by number: the model's, or where there is none the data's own.
    pub(super) names: Vec<String>,
    /// The class of each different label.
    pub(super) of: Vec<u16>,
}

/// Matches labels to classes. `named` are the data's own names by number, `model` the model's.
pub(super) fn resolve(
    distinct: &Distinct,
    named: Option<&[String]>,
    model: Option<&[String]>,
    matching: Matching,
) -> Result<Classes, LabelledError> {
    let classes = match (named, model) {
        (Some(named), None) => find(distinct, OWN, named).map(|of| (named.to_vec(), of)),
        (Some(named), Some(model)) => {
            let own = find(distinct, OWN, named)?;
            let of = match matching {
                Matching::Number if named.len() == model.len() => own,
                Matching::Number => {
                    return Err(LabelledError::ClassCount {
                        data: named.len(),
                        model: model.len(),
                    });
                }
                Matching::Name => translated(distinct, &own, named, model)?,
            };
            Ok((model.to_vec(), of))
        }
        (None, Some(model)) => {
            let of = match matching {
                Matching::Number if !all_numbers(distinct) => sorted(distinct, model)?,
                _ => find(distinct, MODELS, model)?,
            };
            Ok((model.to_vec(), of))
        }
        (None, None) => on_their_own(distinct),
    };
    let (names, of) = classes?;
    Ok(Classes { names, of })
}

/// Names by which classes are found.
struct Lookup<'a> {
    first: HashMap<&'a str, usize>,
    /// What several classes are called.
    shared: HashSet<&'a str>,
}

impl<'a> Lookup<'a> {
    fn new(names: &'a [String]) -> Self {
        let mut lookup = Self {
            first: HashMap::with_capacity(names.len()),
            shared: HashSet::new(),
        };
        for (class, name) in names.iter().enumerate() {
            if lookup.first.contains_key(name.as_str()) {
                lookup.shared.insert(name);
            } else {
                lookup.first.insert(name, class);
            }
        }
        lookup
    }

    /// The number of a name's class; a name has to mean one.
    fn class(&self, name: &str) -> Result<Option<usize>, LabelledError> {
        if self.shared.contains(name) {
            return Err(LabelledError::AmbiguousClass {
                name: name.to_owned(),
            });
        }
        Ok(self.first.get(name).copied())
    }

    /// What a label says: a name, or else a number.
    fn number(&self, label: &RawLabel) -> Result<Option<i64>, LabelledError> {
        let named = match label {
            RawLabel::Text(text) => self.class(text)?,
            RawLabel::Number(_) => None,
        };
        Ok(named.map(|n| n as i64).or_else(|| label.as_number()))
    }
}

/// The class of each label, which is a name among these or a number; unknown names and numbers out of range are told.
fn find(
    distinct: &Distinct,
    whose: &'static str,
    names: &[String],
) -> Result<Vec<u16>, LabelledError> {
    let lookup = Lookup::new(names);
    let found: Vec<Option<i64>> = distinct
        .seen
        .iter()
        .map(|seen| lookup.number(&seen.label))
        .collect::<Result<_, _>>()?;
    let unknown = || {
        distinct
            .seen
            .iter()
            .zip(&found)
            .filter(|(_, n)| n.is_none())
    };
    if let Some((seen, _)) = unknown().next() {
        return Err(seen.unknown(whose, text_of(&seen.label), names, unknown().count() - 1));
    }
    let within = |n: i64| usize::try_from(n).is_ok_and(|n| n < names.len());
    let numbers = || distinct.seen.iter().zip(found.iter().flatten());
    let outside = || numbers().filter(|(_, n)| !within(**n));
    if let Some((seen, label)) = outside().next() {
        return Err(LabelledError::OutOfRange {
            label: *label,
            classes: names.len(),
            images: outside().map(|(seen, _)| seen.images).sum(),
            example: seen.example.clone(),
        });
    }
    Ok(found.into_iter().flatten().map(|n| n as u16).collect())
}

/// The data's own numbers → the model's, by name.
fn translated(
    distinct: &Distinct,
    own: &[u16],
    named: &[String],
    model: &[String],
) -> Result<Vec<u16>, LabelledError> {
    let lookup = Lookup::new(model);
    let name = |class: &u16| &named[usize::from(*class)];
    let found: Vec<Option<usize>> = own
        .iter()
        .map(|class| lookup.class(name(class)))
        .collect::<Result<_, _>>()?;
    let met = || distinct.seen.iter().zip(own).zip(&found);
    let unknown = || met().filter(|(_, found)| found.is_none());
    if let Some(((seen, class), _)) = unknown().next() {
        // Names that are all other ones, in another number, are another model's.
        if named.len() != model.len() && unknown().count() == found.len() {
            return Err(LabelledError::ClassCount {
                data: named.len(),
                model: model.len(),
            });
        }
        let others = unknown().count() - 1;
        return Err(seen.unknown(MODELS, name(class).clone(), model, others));
    }
    Ok(found.into_iter().flatten().map(|n| n as u16).collect())
}

/// Names in the order of their bytes, numbered.
fn sorted(distinct: &Distinct, model: &[String]) -> Result<Vec<u16>, LabelledError> {
    if distinct.ids.len() != model.len() {
        return Err(LabelledError::ClassCount {
            data: distinct.ids.len(),
            model: model.len(),
        });
    }
    Ok(ranks(distinct))
}

/// Without a model: numbers are themselves, names are numbered in the order of their bytes.
fn on_their_own(distinct: &Distinct) -> Result<(Vec<String>, Vec<u16>), LabelledError> {
    if all_numbers(distinct) {
        let numbers = distinct.seen.iter().filter_map(|s| s.label.as_number());
        let most = numbers.max().unwrap_or(0).clamp(0, MAX_CLASSES as i64 - 1);
        let names: Vec<String> = (0..=most).map(|n| n.to_string()).collect();
        let of = find(distinct, OWN, &names)?;
        return Ok((names, of));
    }
    let names = distinct.ids.keys().map(text_of).collect();
    Ok((names, ranks(distinct)))
}

/// The rank of each label among all, in the order of their bytes.
fn ranks(distinct: &Distinct) -> Vec<u16> {
    let mut of = vec![0; distinct.seen.len()];
    for (rank, id) in distinct.ids.values().enumerate() {
        of[*id as usize] = rank as u16;
    }
    of
}

fn all_numbers(distinct: &Distinct) -> bool {
    distinct.seen.iter().all(|s| s.label.as_number().is_some())
}

fn text_of(label: &RawLabel) -> String {
    match label {
        RawLabel::Number(number) => number.to_string(),
        RawLabel::Text(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn distinct(labels: &[&str]) -> Distinct {
        let mut distinct = Distinct::default();
        for (n, text) in labels.iter().enumerate() {
            let label = RawLabel::Text((*text).to_owned());
            distinct.id(label, &format!("k{n}")).unwrap();
        }
        distinct
    }

    fn numbers(labels: &[i64]) -> Distinct {
        let mut distinct = Distinct::default();
        for (n, number) in labels.iter().enumerate() {
            distinct
                .id(RawLabel::Number(*number), &format!("k{n}"))
                .unwrap();
        }
        distinct
    }

    fn of(
        distinct: &Distinct,
        named: Option<&[&str]>,
        model: Option<&[&str]>,
        matching: Matching,
    ) -> Result<Vec<u16>, String> {
        let (named, model) = (named.map(names), model.map(names));
        resolve(distinct, named.as_deref(), model.as_deref(), matching)
            .map(|c| c.of)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn names_are_found_among_the_models_and_numbers_are_its_numbers() {
        use Matching::{Name, Number};
        let model = Some(&["cat", "dog", "7"][..]);
        assert_eq!(
            of(&distinct(&["dog", "cat"]), None, model, Name),
            Ok(vec![1, 0])
        );
        assert_eq!(of(&numbers(&[2, 0]), None, model, Name), Ok(vec![2, 0]));
        // A name counts before a number.
        assert_eq!(
            of(&distinct(&["7", "1"]), None, model, Name),
            Ok(vec![2, 1])
        );
        assert_eq!(of(&numbers(&[2, 0]), None, model, Number), Ok(vec![2, 0]));
        // The data's own order of names is another one.
        let named = Some(&["dog", "cat"][..]);
        assert_eq!(of(&numbers(&[0, 1]), named, model, Name), Ok(vec![1, 0]));
        assert_eq!(of(&distinct(&["cat"]), named, model, Name), Ok(vec![0]));
    }

    #[test]
    fn names_that_differ_are_matched_by_number_where_that_is_asked_for() {
        use Matching::{Name, Number};
        let model = Some(&["tench", "goldfish"][..]);
        let folders = distinct(&["n02", "n01", "n02"]);
        assert_eq!(of(&folders, None, model, Number), Ok(vec![1, 0]));
        let error = of(&folders, None, model, Name).unwrap_err();
        assert_eq!(
            error,
            "`n02` is no class of the model; images that have it: 2, the first one `k0`; 1 more like it"
        );
        let named = Some(&["n01", "n02"][..]);
        assert_eq!(of(&folders, named, model, Number), Ok(vec![1, 0]));
        assert_eq!(of(&numbers(&[1]), named, model, Number), Ok(vec![1]));
    }

    #[test]
    fn another_number_of_classes_is_told_with_both() {
        use Matching::{Name, Number};
        let model = Some(&["a", "b", "c"][..]);
        let expected = Err("the data have 2 classes, the model has 3".to_owned());
        assert_eq!(of(&distinct(&["x", "y"]), None, model, Number), expected);
        let named = Some(&["x", "y"][..]);
        assert_eq!(of(&numbers(&[0]), named, model, Number), expected);
        assert_eq!(of(&numbers(&[0]), named, model, Name), expected);
    }

    #[test]
    fn a_label_out_of_range_is_told_with_its_images_and_its_first_key() {
        let model = Some(&["a", "b"][..]);
        let error = of(&numbers(&[0, 2, -3, 2]), None, model, Matching::Name).unwrap_err();
        assert_eq!(
            error,
            "label 2 is out of range: there are 2 classes, 0 to 1; images out of range: 3, the first one `k1`"
        );
    }

    #[test]
    fn a_name_of_two_classes_is_refused() {
        let model = Some(&["crane", "crane"][..]);
        let error = of(&distinct(&["crane"]), None, model, Matching::Name).unwrap_err();
        assert_eq!(error, "the model has more than one class `crane`");
        assert_eq!(of(&numbers(&[1]), None, model, Matching::Name), Ok(vec![1]));
    }

    #[test]
    fn without_a_model_the_data_name_their_classes_themselves() {
        let own = |distinct: &Distinct| resolve(distinct, None, None, Matching::Name).unwrap();
        let classes = own(&distinct(&["dog", "cat", "10"]));
        assert_eq!(classes.names, ["10", "cat", "dog"]);
        assert_eq!(classes.of, [2, 1, 0]);
        let classes = own(&distinct(&["2", "10"]));
        assert_eq!(classes.names.len(), 11);
        assert_eq!(classes.of, [2, 10]);
        let classes = own(&numbers(&[3, 1]));
        assert_eq!(classes.names, ["0", "1", "2", "3"]);
        assert!(resolve(&numbers(&[70_000]), None, None, Matching::Name).is_err());
    }

    #[test]
    fn more_labels_than_a_model_may_have_classes_are_refused() {
        let mut distinct = Distinct::default();
        for n in 0..MAX_CLASSES as i64 {
            distinct.id(RawLabel::Number(n), "k").unwrap();
        }
        assert!(distinct.id(RawLabel::Number(5), "k").is_ok());
        let error = distinct.id(RawLabel::Number(-9), "k").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("more than 65536 different labels")
        );
    }
}
