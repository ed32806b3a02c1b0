//! An image's label, where its kind of data has it: the folder it lies in, its `.cls` member, a column beside it, the file of labels
//! beside its file.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type};
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};

use super::error::LabelledError;
use super::{DataConfig, idx};
use crate::error::nearest;
use crate::source::{Column, Entry, Kind, ListedObject, Member, Source};

/// The columns that are looked for where none is named.
const USUAL_COLUMNS: [&str; 4] = ["label", "labels", "class", "target"];

/// A label as the data have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RawLabel {
    Number(i64),
    Text(String),
}

impl RawLabel {
    /// A number of a class; −1 says "none" in data sets whose labels are kept secret.
    pub(super) fn number(number: i64) -> Option<Self> {
        (number != -1).then_some(Self::Number(number))
    }

    fn text(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text != "-1").then(|| Self::Text(text.to_owned()))
    }

    /// As a class's number, where it is one or is written as one.
    pub(super) fn as_number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// Images with their labels, in the order of their container.
pub(super) type Pairs = BoxStream<'static, Result<(Entry, Option<RawLabel>), LabelledError>>;

/// The images of one object.
pub(super) struct Attached {
    pub(super) pairs: Pairs,
    /// The names of the classes, where the data have them by number.
    pub(super) names: Option<Vec<String>>,
}

/// The images of one listed object, each with its label.
pub(super) async fn attach(
    source: &Source,
    object: &ListedObject,
    config: &DataConfig,
) -> Result<Attached, LabelledError> {
    let entries = source.entries_all(object).map_err(LabelledError::from);
    let unnamed = |pairs: Pairs| Attached { pairs, names: None };
    if object.problem.is_some() {
        return Ok(unnamed(entries.map_ok(|entry| (entry, None)).boxed()));
    }
    match object.kind {
        Kind::Object => {
            let (names, list) = (source.names(), source.is_list());
            let folder = move |entry: Entry| {
                let name = names.of(&entry.key);
                let folder = name.split_once('/').filter(|_| !list);
                let label = folder.and_then(|(class, _)| RawLabel::text(class));
                (entry, label)
            };
            Ok(unnamed(entries.map_ok(folder).boxed()))
        }
        Kind::Tar => Ok(unnamed(samples(source, object))),
        Kind::Parquet => column(source, object, config, entries.boxed()).await,
        Kind::Idx => {
            let labels = idx::labels(source, object).await?;
            Ok(unnamed(idx::pair(
                entries.boxed(),
                labels,
                source.key(&object.path),
            )))
        }
    }
}

/// The images of a tar with the `.cls` member of their sample. A sample's members follow one another.
fn samples(source: &Source, tar: &ListedObject) -> Pairs {
    struct State {
        members: BoxStream<'static, Result<Member, crate::source::SourceError>>,
        sample: String,
        label: Option<RawLabel>,
        waiting: Vec<Entry>,
        ready: VecDeque<(Entry, Option<RawLabel>)>,
        ended: bool,
    }
    impl State {
        /// The sample is whole: its images have what label it has.
        fn close(&mut self, next: String) {
            let label = self.label.take();
            let done = self.waiting.drain(..).map(|entry| (entry, label.clone()));
            self.ready.extend(done);
            self.sample = next;
        }
    }
    let state = State {
        members: source.members(tar),
        sample: String::new(),
        label: None,
        waiting: Vec::new(),
        ready: VecDeque::new(),
        ended: false,
    };
    stream::try_unfold(state, |mut state| async move {
        loop {
            if let Some(pair) = state.ready.pop_front() {
                return Ok(Some((pair, state)));
            }
            if state.ended {
                return Ok(None);
            }
            match state.members.try_next().await? {
                None => {
                    state.ended = true;
                    state.close(String::new());
                }
                Some(Member::Image { sample, entry }) => {
                    if sample != state.sample {
                        state.close(sample);
                    }
                    state.waiting.push(entry);
                }
                Some(Member::Label { sample, text }) => {
                    if sample != state.sample {
                        state.close(sample);
                    }
                    state.label = RawLabel::text(&text);
                }
            }
        }
    })
    .boxed()
}

/// The rows of a Parquet file with the column of labels.
async fn column(
    source: &Source,
    object: &ListedObject,
    config: &DataConfig,
    entries: BoxStream<'static, Result<Entry, LabelledError>>,
) -> Result<Attached, LabelledError> {
    let key = source.key(&object.path);
    let wanted: Vec<&str> = match &config.label_column {
        Some(name) => vec![name],
        None => USUAL_COLUMNS.to_vec(),
    };
    let (column, values, described) = match source.column(object, &wanted).await? {
        Column::Found {
            name,
            values,
            described,
        } => (name, values, described),
        // No Parquet file at all: the entries say so.
        Column::Missing { columns } if columns.is_empty() => {
            let pairs = entries.map_ok(|entry| (entry, None)).boxed();
            return Ok(Attached { pairs, names: None });
        }
        Column::Missing { columns } => {
            let near = nearest(wanted[0], columns.iter().map(String::as_str));
            return Err(LabelledError::NoLabelColumn {
                key,
                column: wanted.join("`, `"),
                near,
                columns,
            });
        }
    };
    let names = described.and_then(|json| names_of(&json, &column));
    let labels = values
        .map_err(LabelledError::from)
        .and_then(move |values| {
            let labels = labels_of(&values).ok_or_else(|| LabelledError::LabelType {
                key: key.clone(),
                column: column.clone(),
                found: values.data_type().to_string(),
            });
            std::future::ready(labels)
        })
        .map_ok(|labels| stream::iter(labels.into_iter().map(Ok::<_, LabelledError>)))
        .try_flatten()
        .boxed();
    let pairs = stream::try_unfold((entries, labels), |(mut entries, mut labels)| async move {
        let Some(entry) = entries.try_next().await? else {
            return Ok(None);
        };
        let label = labels.try_next().await?.flatten();
        Ok(Some(((entry, label), (entries, labels))))
    });
    Ok(Attached {
        pairs: pairs.boxed(),
        names,
    })
}

/// A column's values as labels; `None` where they are neither integers nor texts.
fn labels_of(values: &ArrayRef) -> Option<Vec<Option<RawLabel>>> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let is_text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_number = |t: &DataType| t.is_integer() || *t == DataType::Boolean;
    let kind = match values.data_type() {
        DataType::Dictionary(_, value) => value.as_ref(),
        other => other,
    };
    if is_text(kind) {
        let texts = cast_with_options(values, &DataType::Utf8, &strict).ok()?;
        let texts = texts.as_string::<i32>();
        return Some(texts.iter().map(|t| t.and_then(RawLabel::text)).collect());
    }
    if is_number(kind) {
        let numbers = cast_with_options(values, &DataType::Int64, &strict).ok()?;
        let numbers = numbers.as_primitive::<Int64Type>();
        return Some(
            numbers
                .iter()
                .map(|n| n.and_then(RawLabel::number))
                .collect(),
        );
    }
    None
}

/// The class names that Hugging Face's `datasets` keeps in a file's metadata: `{"info": {"features": {COLUMN: {"names": […]}}}}`.
fn names_of(json: &str, column: &str) -> Option<Vec<String>> {
    let described: serde_json::Value = serde_json::from_str(json).ok()?;
    let names = described["info"]["features"][column]["names"].as_array()?;
    names
        .iter()
        .map(|name| name.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Float64Array, Int8Array, StringArray, UInt64Array};
    use arrow::datatypes::Int32Type;

    #[test]
    fn integers_and_texts_of_any_width_are_labels_and_null_and_minus_one_are_none() {
        let number = |n| Some(RawLabel::Number(n));
        let text = |t: &str| Some(RawLabel::Text(t.to_owned()));
        let small: ArrayRef = Arc::new(Int8Array::from(vec![Some(3), None, Some(-1), Some(-2)]));
        assert_eq!(
            labels_of(&small).unwrap(),
            [number(3), None, None, number(-2)]
        );
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("cat "), Some(""), None]));
        assert_eq!(labels_of(&texts).unwrap(), [text("cat"), None, None]);
        let coded: DictionaryArray<Int32Type> = vec!["dog", "cat", "dog"].into_iter().collect();
        let coded: ArrayRef = Arc::new(coded);
        assert_eq!(
            labels_of(&coded).unwrap(),
            [text("dog"), text("cat"), text("dog")]
        );
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        assert_eq!(labels_of(&floats), None);
        let huge: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert_eq!(labels_of(&huge), None);
    }

    #[test]
    fn class_names_are_read_from_hugging_faces_metadata() {
        let json = r#"{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
        assert_eq!(names_of(json, "label").unwrap(), ["cat", "dog"]);
        assert_eq!(names_of(json, "image"), None);
        assert_eq!(names_of("no json", "label"), None);
    }
}
