//! Pages of Parquet files that are larger than a group of images: read once, and by one reader at a time.

use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Mutex;

/// A file: its path and etag.
type Of<'a> = (&'a str, Option<&'a str>);

/// Pieces of a file that are kept while its pages are large: the dictionary, and the pages before and after a boundary.
const PIECES: usize = 3;
/// Files of which pieces are kept: those of the shards that are worked on side by side take turns.
const FILES: usize = 2;

/// What was read last of files with large pages, in each of which lie the images of many groups.
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
        used.push(Piece {
            object: of.0.to_owned(),
            etag: of.1.map(str::to_owned),
            range,
            bytes,
        });
        // From the newest one on.
        let mut kept: Vec<Piece> = Vec::new();
        let mut files: Vec<String> = Vec::new();
        while let Some(piece) = used.pop() {
            let place = files.iter().position(|file| *file == piece.object);
            if place.is_none() {
                files.push(piece.object.clone());
            }
            let of_it = kept.iter().filter(|k| k.object == piece.object).count();
            if place.unwrap_or(files.len() - 1) < FILES && of_it < PIECES {
                kept.push(piece);
            }
        }
        kept.reverse();
        *used = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_two_files_are_kept_the_newest_of_each() {
        let pieces = Pieces::default();
        let keep = |of: &str, at: u64| pieces.keep((of, None), at..at + 1, Bytes::new());
        let kept = |of: &str| -> Vec<u64> {
            let is_kept = |at: &u64| pieces.get((of, None), &(*at..at + 1)).is_some();
            (0..6).filter(is_kept).collect()
        };
        for at in 0..4 {
            keep("a", at);
            keep("b", at);
        }
        assert_eq!((kept("a"), kept("b")), (vec![1, 2, 3], vec![1, 2, 3]));
        // The one that was used last stays.
        assert!(pieces.get(("a", None), &(3..4)).is_some());
        keep("c", 5);
        assert_eq!(
            (kept("a"), kept("b"), kept("c")),
            (vec![1, 2, 3], vec![], vec![5])
        );
    }
}
