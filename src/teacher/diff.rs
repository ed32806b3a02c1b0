//! What differs between two teachers: the model, and `teacher.toml` key by key.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Teacher, TeacherError};
use crate::output::aligned;

/// How many differences people are shown.
const SHOWN: usize = 40;

/// A key whose values differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// A key of `teacher.json`, or `toml.` and one of `teacher.toml`: `toml.classes.names[3]`.
    pub key: String,
    /// The first teacher's value; none where it has no such key.
    pub a: Option<String>,
    /// The second's.
    pub b: Option<String>,
}

/// All differences, besides names and versions themselves, by key.
///
/// # Errors
/// [`TeacherError::Config`], where a `teacher.toml` cannot be written as TOML.
pub fn diff(a: &Teacher, b: &Teacher) -> Result<Vec<Difference>, TeacherError> {
    let (a, b) = (values(a)?, values(b)?);
    let mut keys: Vec<&Key> = a.keys().chain(b.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    Ok(keys
        .into_iter()
        .filter(|key| a.get(key) != b.get(key))
        .map(|key| Difference {
            key: key.1.clone(),
            a: a.get(key).cloned(),
            b: b.get(key).cloned(),
        })
        .collect())
}

/// The differences for people, without a line end.
pub fn differences(a: &Teacher, b: &Teacher, differences: &[Difference]) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    let mut rows = vec![vec![
        String::new(),
        a.record.to_string(),
        b.record.to_string(),
    ]];
    rows.extend(
        differences
            .iter()
            .take(SHOWN)
            .map(|d| vec![d.key.clone(), text(&d.a), text(&d.b)]),
    );
    let mut table = aligned(&rows);
    if differences.len() > SHOWN {
        let more = differences.len() - SHOWN;
        // Writing to a string cannot fail.
        let _ = write!(table, "and {more} more; --json has them all");
    }
    table.trim_end().to_owned()
}

/// Its place among the keys, so that elements of a list are in their order, and its name.
type Key = (Vec<(String, usize)>, String);

/// Every value by its key.
fn values(teacher: &Teacher) -> Result<BTreeMap<Key, String>, TeacherError> {
    let record = &teacher.record;
    let mut values = BTreeMap::new();
    for (key, value) in [
        ("model_sha256", record.model_sha256.clone()),
        ("model_bytes", record.model_bytes.to_string()),
        ("classes", record.classes.to_string()),
        ("understudy", record.understudy.clone()),
    ] {
        values.insert((vec![(key.to_owned(), 0)], key.to_owned()), value);
    }
    let toml = toml::Value::try_from(&teacher.config).map_err(|e| TeacherError::Config {
        key: "teacher.toml",
        what: e.to_string(),
        advice: "this is a defect, please report it".into(),
    })?;
    let place = vec![("toml".to_owned(), 0)];
    flatten((place, "toml".into()), &toml, &mut values);
    Ok(values)
}

fn flatten((place, name): Key, value: &toml::Value, values: &mut BTreeMap<Key, String>) {
    let below = |part: &str, n: usize| {
        let mut place = place.clone();
        place.push((part.to_owned(), n));
        place
    };
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten((below(key, 0), format!("{name}.{key}")), value, values);
            }
        }
        toml::Value::Array(array) => {
            for (n, value) in array.iter().enumerate() {
                flatten((below("", n), format!("{name}[{n}]")), value, values);
            }
        }
        toml::Value::String(text) => {
            values.insert((place, name), text.clone());
        }
        value => {
            values.insert((place, name), value.to_string());
        }
    }
}
