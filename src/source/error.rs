//! What can go wrong with a source as a whole, and with one read.

use crate::store::StoreError;

/// What can go wrong with a source as a whole. What goes wrong with one image is a [`ReadError`].
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing to label.
    #[error("`{url}` has no images")]
    Empty {
        /// The source.
        url: String,
    },
    /// A text that is no list of URLs.
    #[error("`{url}` is no list of URLs: it has `{line}`")]
    NotAList {
        /// The source.
        url: String,
        /// The beginning of a line.
        line: String,
    },
    /// A place that cannot be listed.
    #[error("cannot list `{url}`: {detail}")]
    List {
        /// The place.
        url: String,
        /// Why.
        detail: String,
    },
    /// A container became another one while it was indexed.
    #[error("`{url}` has changed since it was listed")]
    Changed {
        /// The container.
        url: String,
    },
    /// A container was removed before it was indexed.
    #[error("`{url}` is gone since it was listed")]
    Gone {
        /// The container.
        url: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SourceError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Empty { .. } => Some("give a folder or prefix with images, .tar, .parquet or idx3 files below it, or a .txt list of URLs".into()),
            Self::NotAList { .. } => Some("over http(s):// give a .tar, a .parquet, an image, or a text file with one URL a line: a web server's folders cannot be listed".into()),
            Self::List { .. } => Some("check the permissions; for names that an object store cannot list, give a narrower prefix".into()),
            Self::Changed { .. } | Self::Gone { .. } => Some("run the same command again, once nothing writes there any more".into()),
            Self::Store(e) => e.hint(),
        }
    }
}

/// Why one read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ReadError {
    /// What follows from it.
    pub kind: ReadErrorKind,
    /// A sentence for people.
    pub detail: String,
}

impl ReadError {
    pub(super) fn too_large(bytes: u64, limit: u64) -> Self {
        Self {
            kind: ReadErrorKind::TooLarge,
            detail: format!("{bytes} bytes are more than the limit of {limit}"),
        }
    }
}

/// What follows from a failed read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadErrorKind {
    /// It may work the next time: 5xx, a time-out, a truncated body.
    Retryable,
    /// The object is not there any more.
    NotFound,
    /// The object is another than the one listed.
    Changed,
    /// The store refuses the credentials: every other read will fail the same way.
    Credentials,
    /// This image is refused to these credentials: archived, encrypted with another key, or of a host that wants a login.
    Forbidden,
    /// Larger than `decode.max_bytes`.
    TooLarge,
    /// This machine cannot: its temporary directory is full, say. The others would fail the same way.
    Machine,
    /// It is there, and its container cannot be read.
    Unreadable,
}
