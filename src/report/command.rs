//! `selection.json` → the command that makes the same selection, of the same labels.

use crate::select::report::SelectionFile;
use crate::select::{Balance, Method, SelectConfig, Targets};

/// A command for a POSIX shell: what was asked for, defaults left out.
pub(super) fn command(file: &SelectionFile) -> String {
    let (input, config) = (&file.input, &file.config);
    let default = SelectConfig::default();
    // What a re-labelling made has a name that nobody else may give.
    let name = file.id.split('@').next().unwrap_or_default();
    let mut words: Vec<String> = ["understudy", "select", "--name", name]
        .map(quoted)
        .to_vec();
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([name.to_owned(), quoted(&value)]);
        }
    };
    flag("--dataset", input.dataset.clone());
    flag("--teacher", input.teacher.clone());
    flag("--filter-teacher", input.filter_teacher.clone());
    flag("--labels", input.labels.clone());
    let changed = |is: bool, value: String| is.then_some(value);
    // An interval stands in place of threshold, K and balancing, which a settings file may have beside it.
    let best = config.interval.is_none();
    let differs = |a: f64, b: f64| (a - b).abs() > f64::EPSILON;
    flag(
        "--threshold",
        changed(
            best && differs(config.threshold.into(), default.threshold.into()),
            config.threshold.to_string(),
        ),
    );
    flag(
        "--per-class",
        changed(
            best && config.per_class != default.per_class,
            config.per_class.to_string(),
        ),
    );
    flag(
        "--balance",
        changed(best && config.balance == Balance::None, "none".into()),
    );
    flag(
        "--targets",
        changed(config.targets == Targets::Hard, "hard".into()),
    );
    flag(
        "--method",
        changed(config.method == Method::Histogram, "histogram".into()),
    );
    flag(
        "--seed",
        changed(config.seed != default.seed, config.seed.to_string()),
    );
    for dataset in &config.exclude {
        flag("--exclude", Some(dataset.clone()));
    }
    flag(
        "--max-distance",
        changed(
            config.max_distance != default.max_distance,
            config.max_distance.to_string(),
        ),
    );
    flag(
        "--fraction",
        changed(
            differs(config.fraction, default.fraction),
            config.fraction.to_string(),
        ),
    );
    flag(
        "--interval",
        config.interval.map(|[from, to]| format!("{from}:{to}")),
    );
    flag("--per-interval", config.per_interval.map(|n| n.to_string()));
    if config.keep_duplicates {
        words.push("--keep-duplicates".to_owned());
    }
    if config.materialize {
        words.push("--materialize".to_owned());
    }
    words.join(" ")
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_not_read_it_back() {
        assert_eq!(quoted("b0@1"), "b0@1");
        assert_eq!(quoted("s3://b/*.parquet"), "'s3://b/*.parquet'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
