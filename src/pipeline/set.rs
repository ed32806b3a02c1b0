//! `--set KEY=VALUE`: a pipeline file's values from the command line, such as where this machine has its data.

use std::str::FromStr;

use toml::{Table, Value};

use super::PipelineError;

/// All items of an array.
const ALL: &str = "*";

/// One `--set`.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// As typed, with dots.
    pub key: String,
    /// A TOML value; what is none is a text.
    pub value: Value,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or("write KEY=VALUE, such as data.url=/data/train")?;
        let key = key.trim();
        if key.split('.').any(str::is_empty) {
            return Err(format!("`{key}` is no key; write it as in data.url"));
        }
        Ok(Self {
            key: key.to_owned(),
            value: parse(value.trim())?,
        })
    }
}

/// A path or URL needs no quotes; what begins as a quoted text, an array or a table has to be one.
fn parse(text: &str) -> Result<Value, String> {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    match parsed.map(|mut table| (table.len(), table.remove("value"))) {
        Ok((1, Some(value))) => Ok(value),
        _ if text.starts_with(['"', '\'', '[', '{']) => Err(format!("`{text}` is no TOML value")),
        _ => Ok(Value::String(text.to_owned())),
    }
}

impl Setting {
    /// Puts the value into the file's table; tables that are missing on the way are made, and the parser knows whether they may be there.
    ///
    /// # Errors
    /// [`PipelineError::Set`] where the way leads through something that has no keys.
    pub fn apply(&self, table: &mut Table) -> Result<(), PipelineError> {
        let path: Vec<&str> = self.key.split('.').collect();
        let mut root = Value::Table(std::mem::take(table));
        let put = put(&mut root, &path, &self.value);
        if let Value::Table(filled) = root {
            *table = filled;
        }
        put.map_err(|detail| PipelineError::Set {
            key: self.key.clone(),
            detail,
        })
    }
}

fn put(at: &mut Value, path: &[&str], value: &Value) -> Result<(), String> {
    let [key, rest @ ..] = path else {
        *at = value.clone();
        return Ok(());
    };
    match at {
        Value::Table(table) => {
            let below = table.entry((*key).to_owned());
            put(
                below.or_insert_with(|| Value::Table(Table::new())),
                rest,
                value,
            )
        }
        Value::Array(items) if *key == ALL => {
            items.iter_mut().try_for_each(|item| put(item, rest, value))
        }
        Value::Array(items) => {
            let count = items.len();
            let number = key.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            match number.and_then(|n| items.get_mut(n)) {
                Some(item) => put(item, rest, value),
                None => Err(format!("`{key}` is none of 1 to {count}")),
            }
        }
        other => Err(format!("`{key}` lies below a {}", other.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, settings: &[&str]) -> Result<Table, PipelineError> {
        let mut table: Table = toml::from_str(text).unwrap();
        for setting in settings {
            setting.parse::<Setting>().unwrap().apply(&mut table)?;
        }
        Ok(table)
    }

    #[test]
    fn values_are_toml_and_what_is_none_is_a_text() {
        for (text, value) in [
            ("a=1", Value::Integer(1)),
            ("a=\"1\"", Value::String("1".into())),
            ("a=/data/x=y", Value::String("/data/x=y".into())),
            ("a=true", Value::Boolean(true)),
            ("a=[1, 2]", Value::Array(vec![1.into(), 2.into()])),
        ] {
            assert_eq!(text.parse::<Setting>().unwrap().value, value, "{text}");
        }
        for text in ["a", "=1", "a..b=1", "a=[1", "a=\"x"] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }

    #[test]
    fn rounds_are_counted_from_1_or_are_all_meant() {
        let file = "[[round]]\nx = 1\n[[round]]\nx = 1\n";
        let one = set(file, &["round.2.x=5", "data.url=u"]).unwrap();
        assert_eq!(one["round"].as_array().unwrap()[1]["x"], Value::Integer(5));
        assert_eq!(one["data"]["url"], Value::String("u".into()));
        let all = set(file, &["round.*.x=7"]).unwrap();
        let rounds = all["round"].as_array().unwrap();
        assert!(rounds.iter().all(|r| r["x"] == Value::Integer(7)));
        for (wrong, detail) in [
            ("round.3.x=1", "`3` is none of 1 to 2"),
            ("round.0.x=1", "`0` is none of 1 to 2"),
            ("round.1.x.y=1", "`y` lies below a integer"),
        ] {
            let error = set(file, &[wrong]).unwrap_err().to_string();
            assert!(error.ends_with(detail), "{error}");
        }
    }
}
