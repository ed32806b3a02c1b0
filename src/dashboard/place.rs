//! Which page a path and its parameters mean, and the other way round.

use std::borrow::Cow;

use url::form_urlencoded;

/// Two teachers whose labels are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Between {
    /// NAME@VERSION of the one whose labels were there before.
    pub before: String,
    /// Of the other one.
    pub after: String,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Everything at a glance.
    Overview,
    /// A dataset and a teacher's labels of it; without one, those of the teacher with most.
    Dataset {
        /// The dataset.
        dataset: String,
        /// NAME@VERSION.
        teacher: Option<String>,
    },
    /// What a class looks like.
    Class {
        /// The dataset.
        dataset: String,
        /// NAME@VERSION.
        teacher: String,
        /// The class's number.
        class: u16,
    },
    /// Images that have no label for a reason.
    Rejects {
        /// The dataset.
        dataset: String,
        /// NAME@VERSION.
        teacher: String,
        /// The reason's name.
        reason: String,
    },
    /// A job of workers.
    Job {
        /// Its id.
        job: String,
    },
    /// A model.
    Teacher {
        /// NAME or NAME@VERSION.
        teacher: String,
    },
    /// What moved between two teachers; without them, which ones there are.
    Churn {
        /// Which two.
        between: Option<Between>,
    },
    /// Images that moved from one class to another.
    Moved {
        /// Between which two teachers.
        between: Between,
        /// The class before.
        from: String,
        /// The class after.
        to: String,
    },
    /// A selection's report.
    Selection {
        /// Its name.
        selection: String,
    },
    /// A training's report.
    Training {
        /// Its name.
        training: String,
    },
}

impl Place {
    /// The page at a path, as a URL has both of them; none where there is none.
    pub fn at(path: &str, query: &str) -> Option<Self> {
        let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let given = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            let (_, value) = pairs.find(|(key, value)| key == name && !value.is_empty())?;
            Some(value.into_owned())
        };
        let between = || {
            Some(Between {
                before: given("before")?,
                after: given("after")?,
            })
        };
        Some(match parts[..] {
            [""] => Self::Overview,
            ["datasets", dataset] => Self::Dataset {
                dataset: dataset.to_owned(),
                teacher: given("teacher"),
            },
            ["datasets", dataset, "classes", class] => Self::Class {
                dataset: dataset.to_owned(),
                teacher: given("teacher")?,
                class: class.parse().ok()?,
            },
            ["datasets", dataset, "rejects", reason] => Self::Rejects {
                dataset: dataset.to_owned(),
                teacher: given("teacher")?,
                reason: reason.to_owned(),
            },
            ["jobs", job] => Self::Job {
                job: job.to_owned(),
            },
            ["teachers", teacher] => Self::Teacher {
                teacher: teacher.to_owned(),
            },
            ["churn"] => Self::Churn { between: between() },
            ["churn", "images"] => Self::Moved {
                between: between()?,
                from: given("from")?,
                to: given("to")?,
            },
            ["selections", selection] => Self::Selection {
                selection: selection.to_owned(),
            },
            ["trainings", training] => Self::Training {
                training: training.to_owned(),
            },
            _ => return None,
        })
    }

    /// Its path and parameters, for a link.
    pub fn link(&self) -> String {
        let (path, pairs) = self.parts();
        if pairs.is_empty() {
            return path;
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        format!("{path}?{query}")
    }

    fn parts(&self) -> (String, Vec<(&'static str, &str)>) {
        fn pair(between: &Between) -> Vec<(&'static str, &str)> {
            vec![("before", &between.before), ("after", &between.after)]
        }
        match self {
            Self::Overview => ("/".into(), Vec::new()),
            Self::Dataset { dataset, teacher } => (
                format!("/datasets/{}", encoded(dataset)),
                teacher.iter().map(|t| ("teacher", t.as_str())).collect(),
            ),
            Self::Class {
                dataset,
                teacher,
                class,
            } => (
                format!("/datasets/{}/classes/{class}", encoded(dataset)),
                vec![("teacher", teacher)],
            ),
            Self::Rejects {
                dataset,
                teacher,
                reason,
            } => (
                format!("/datasets/{}/rejects/{}", encoded(dataset), encoded(reason)),
                vec![("teacher", teacher)],
            ),
            Self::Job { job } => (format!("/jobs/{}", encoded(job)), Vec::new()),
            Self::Teacher { teacher } => (format!("/teachers/{}", encoded(teacher)), Vec::new()),
            Self::Churn { between } => ("/churn".into(), between.iter().flat_map(pair).collect()),
            Self::Moved { between, from, to } => {
                let mut pairs = pair(between);
                pairs.extend([("from", from.as_str()), ("to", to.as_str())]);
                ("/churn/images".into(), pairs)
            }
            Self::Selection { selection } => {
                (format!("/selections/{}", encoded(selection)), Vec::new())
            }
            Self::Training { training } => {
                (format!("/trainings/{}", encoded(training)), Vec::new())
            }
        }
    }
}

/// A name as a part of a path. Names are letters, digits and a few marks, of which `+` alone means something in a form's encoding.
fn encoded(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// The other way round; a `+` in a path is a `+`.
fn decoded(part: &str) -> String {
    let pair = format!("x={}", part.replace('+', "%2B").replace('&', "%26"));
    let value = form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value);
    value.map_or_else(String::new, Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_its_page() {
        let between = Between {
            before: "b0@1".into(),
            after: "b0@2+noise".into(),
        };
        let places = [
            Place::Overview,
            Place::Dataset {
                dataset: "photos".into(),
                teacher: None,
            },
            Place::Dataset {
                dataset: "photos".into(),
                teacher: Some("b0@1+table-6".into()),
            },
            Place::Class {
                dataset: "photos".into(),
                teacher: "b0@1".into(),
                class: 17,
            },
            Place::Rejects {
                dataset: "photos".into(),
                teacher: "b0@1".into(),
                reason: "too-large".into(),
            },
            Place::Job {
                job: "job-0123456789abcdef".into(),
            },
            Place::Teacher {
                teacher: "b0@1+x".into(),
            },
            Place::Churn { between: None },
            Place::Churn {
                between: Some(between.clone()),
            },
            Place::Moved {
                between,
                from: "T-shirt/top & more".into(),
                to: "ß=?".into(),
            },
            Place::Selection {
                selection: "first".into(),
            },
            Place::Training {
                training: "r1".into(),
            },
        ];
        for place in places {
            let link = place.link();
            let (path, query) = link.split_once('?').unwrap_or((&link, ""));
            assert_eq!(Place::at(path, query), Some(place), "{link}");
        }
        for (path, query) in [
            ("/nothing", ""),
            ("/datasets", ""),
            ("/datasets/d/classes/x", "teacher=t"),
            ("/datasets/d/classes/1", ""),
            ("/datasets/d/classes/70000", "teacher=t"),
            ("/churn/images", "before=a&after=b&from=x"),
        ] {
            assert_eq!(Place::at(path, query), None, "{path}?{query}");
        }
    }
}
