//! What can be wrong with labelled data: told before the first image is decoded, with the first key and how many there are.

use crate::label::LabelError;
use crate::manifest::ManifestError;
use crate::source::SourceError;

/// What can go wrong with labelled data.
#[derive(Debug, thiserror::Error)]
pub enum LabelledError {
    /// No image has a label.
    #[error("`{url}` has {images} images and no labels: {why}")]
    NoLabels {
        /// The data.
        url: String,
        /// How many images.
        images: u64,
        /// Where labels were looked for.
        why: &'static str,
    },
    /// Some images have no label.
    #[error(
        "images of `{url}` without a label: {unlabelled} of {images}, the first one `{example}`"
    )]
    Unlabelled {
        /// The data.
        url: String,
        /// How many have none.
        unlabelled: u64,
        /// Of how many.
        images: u64,
        /// The key of the first.
        example: String,
    },
    /// A Parquet file without the column of labels.
    #[error("`{key}` has no column `{column}`; it has {}", list(columns))]
    NoLabelColumn {
        /// The file.
        key: String,
        /// The column that was asked for, or the ones that are looked for.
        column: String,
        /// A column that is near.
        near: Option<String>,
        /// The columns it has.
        columns: Vec<String>,
    },
    /// A column of labels that are neither integers nor texts.
    #[error("column `{column}` of `{key}` holds {found}, which are no labels")]
    LabelType {
        /// The file.
        key: String,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// A file of IDX images without its file of labels.
    #[error("`{key}` has no file of labels beside it: looked for {}", list(tried))]
    NoLabelFile {
        /// The images.
        key: String,
        /// The names that were tried.
        tried: Vec<String>,
    },
    /// As many labels as images are there have to be.
    #[error("`{labels}` has {found} labels, but `{images}` has {expected} images")]
    LabelCount {
        /// The file of labels.
        labels: String,
        /// The file of images.
        images: String,
        /// Labels.
        found: u64,
        /// Images.
        expected: u64,
    },
    /// A class that is not known.
    #[error(
        "`{name}` is no class of {of}; images that have it: {images}, the first one `{example}`{}",
        others_text(*others)
    )]
    UnknownClass {
        /// As the data have it.
        name: String,
        /// Whose class it is not.
        of: &'static str,
        /// Images with this label.
        images: u64,
        /// The key of the first.
        example: String,
        /// How many more such names there are.
        others: usize,
        /// A class that is near.
        near: Option<String>,
    },
    /// A name that several of the model's classes have.
    #[error("the model has more than one class `{name}`")]
    AmbiguousClass {
        /// The name.
        name: String,
    },
    /// Another number of classes.
    #[error("the data have {data} classes, the model has {model}")]
    ClassCount {
        /// Of the data.
        data: usize,
        /// Of the model.
        model: usize,
    },
    /// A label that is no class's number.
    #[error(
        "label {label} is out of range: there are {classes} classes, 0 to {}; images out of range: {images}, the first one `{example}`",
        classes - 1
    )]
    OutOfRange {
        /// The label.
        label: i64,
        /// How many classes there are.
        classes: usize,
        /// Images with this or another label out of range.
        images: u64,
        /// The key of the first.
        example: String,
    },
    /// More different labels than a model may have classes.
    #[error("the data have more than {most} different labels, `{example}` among them")]
    TooManyClasses {
        /// The most.
        most: usize,
        /// One of them.
        example: String,
    },
    /// A class has fewer images than were asked for.
    #[error("class `{class}` has fewer images than the {wanted} asked for: {images}")]
    TooFew {
        /// The class.
        class: String,
        /// What it has.
        images: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// Something of the data is not whole.
    #[error("`{key}` is damaged: {reason}, {detail}{}", others_text(*others))]
    Damaged {
        /// The file or image.
        key: String,
        /// The stable name of the reason.
        reason: String,
        /// A sentence about it.
        detail: String,
        /// How many more such places there are.
        others: usize,
    },
    /// Fewer or more images came than were asked for.
    #[error("other images came than were asked for; this is a defect, please report it")]
    Shifted,
    /// A task stopped.
    #[error("a task that reads images stopped: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Sorting the listing.
    #[error(transparent)]
    Sort(#[from] ManifestError),
    /// Reading an image.
    #[error(transparent)]
    Read(#[from] LabelError),
    /// The temporary file that holds the index.
    #[error("cannot use the temporary directory: {0}")]
    Temporary(#[from] std::io::Error),
    /// The temporary file holds what it should not.
    #[error("the temporary index cannot be read: {0}")]
    Index(#[from] serde_json::Error),
}

impl LabelledError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoLabels { .. } => Some(
                "labels are the names of class folders (root/CLASS/image.jpg), `.cls` members of a tar, a column of a Parquet file (--label-column), or an idx1 file beside idx3 images".into(),
            ),
            Self::Unlabelled { .. } => Some("label them, or leave them out with --skip-unlabelled".into()),
            Self::NoLabelColumn { near, .. } => Some(near.as_ref().map_or_else(
                || "name the column with --label-column, or `label_column` in `[data]`".into(),
                |near| format!("did you mean `{near}`?"),
            )),
            Self::LabelType { .. } => Some("labels are integers or texts; name another column with --label-column".into()),
            Self::NoLabelFile { .. } => Some("put the labels beside the images, as the data set was published".into()),
            Self::LabelCount { .. } => Some("the two files belong to different data; fetch both again".into()),
            Self::UnknownClass { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::UnknownClass { .. } | Self::AmbiguousClass { .. } => Some(
                "where the data's classes have other names in the same order, say --match number; where the URL names a folder above the class folders, name theirs".into(),
            ),
            Self::ClassCount { .. } => Some("take data of the model's classes; with --match name they may have fewer".into()),
            Self::OutOfRange { .. } => Some("labels count from 0; is it another column, or are the data of another model?".into()),
            Self::TooManyClasses { .. } => Some("this looks like a column of something else; name the labels with --label-column".into()),
            Self::TooFew { .. } => Some("lower per_class, or take a larger part".into()),
            Self::Damaged { .. } => Some("fetch the data again: of damaged data a figure would say nothing".into()),
            Self::Source(e) => e.hint(),
            Self::Sort(e) => e.hint(),
            Self::Read(e) => e.hint(),
            Self::Temporary(_) => Some("set TMPDIR to a directory with space".into()),
            Self::Index(_) | Self::Shifted | Self::Task(_) => None,
        }
    }
}

fn others_text(others: usize) -> String {
    match others {
        0 => String::new(),
        n => format!("; {n} more like it"),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    quoted.join(", ")
}
