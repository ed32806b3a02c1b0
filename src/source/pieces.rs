//! Pages of Parquet files that are larger than a group of images: read once, and by one reader at a time.

use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Mutex;

/// A file: its path and etag.
type Of<'a> = (&'a str, Option<&'a str>);

/// Pieces of a file that are kept while its pages are large: the dictionary, and the pages before and after a boundary.
const PIECES: usize = 3;

/// What was read last of a file with large pages, in each of which lie the images of many groups.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Held by whoever reads such pages: several at a time would fill the memory.
    pub(super) turn: Mutex<()>,
    /// The one that was used last is the last one.
    used: std::sync::Mutex<Vec<Piece>>,
}

#[derive(Debug)]
struct Piece {
    object: String,
    etag: Option<String>,
    range: Range<u64>,
    bytes: Bytes,
}

impl Piece {
    fn is_of(&self, (object, etag): Of<'_>) -> bool {
        self.object == object && self.etag.as_deref() == etag
    }
}

impl Pieces {
    fn used(&self) -> MutexGuard<'_, Vec<Piece>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, of: Of<'_>, range: &Range<u64>) -> Option<Bytes> {
        let mut used = self.used();
        let i = used
            .iter()
            .position(|piece| piece.is_of(of) && piece.range == *range)?;
        let piece = used.remove(i);
        let bytes = piece.bytes.clone();
        used.push(piece);
        Some(bytes)
    }

    pub(super) fn keep(&self, of: Of<'_>, range: Range<u64>, bytes: Bytes) {
        let mut used = self.used();
        used.retain(|piece| piece.is_of(of));
        if used.len() == PIECES {
            used.remove(0);
        }
        used.push(Piece {
            object: of.0.to_owned(),
            etag: of.1.map(str::to_owned),
            range,
            bytes,
        });
    }
}
