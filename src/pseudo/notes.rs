//! What a selection says of each image beside its place, in an unnamed temporary file: class, the SHA-256 that its bytes must have, soft
//! label. Nothing of it is in memory; a note is found by where it lies.
//!
//! ```text
//! class u16 │ n u8 │ n × 32 bytes of SHA-256 │ C × f32 of the soft label, where there are soft labels      little-endian
//! ```
//! Of 5 million images with 1,000 classes the file has 20 GB.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

/// Bytes of class and n.
const HEAD: usize = 3;
/// Bytes of a SHA-256.
const HASH: usize = 32;

/// Writes notes.
pub(super) struct Writer {
    file: BufWriter<File>,
    at: u64,
    /// Numbers of a soft label; none where there are none.
    soft: Option<usize>,
}

impl Writer {
    pub(super) fn new(soft: Option<usize>) -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::new(tempfile::tempfile()?),
            at: 0,
            soft,
        })
    }

    /// Adds a note, and says where it lies. A soft label has as many numbers as the file was made for.
    pub(super) fn push(
        &mut self,
        class: u16,
        hashes: &[[u8; HASH]],
        soft: &[f32],
    ) -> io::Result<u64> {
        let at = self.at;
        let n = u8::try_from(hashes.len()).unwrap_or(u8::MAX);
        let mut note = Vec::with_capacity(HEAD + hashes.len() * HASH + size_of_val(soft));
        note.extend(class.to_le_bytes());
        note.push(n);
        note.extend(hashes[..usize::from(n)].as_flattened());
        note.extend(soft.iter().flat_map(|p| p.to_le_bytes()));
        self.file.write_all(&note)?;
        self.at += note.len() as u64;
        Ok(at)
    }

    pub(super) fn finish(self) -> io::Result<Notes> {
        let file = self.file.into_inner();
        Ok(Notes {
            file: file.map_err(io::IntoInnerError::into_error)?,
            soft: self.soft,
        })
    }
}

/// All notes.
#[derive(Debug)]
pub(super) struct Notes {
    file: File,
    soft: Option<usize>,
}

/// What is needed of a note where its image is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) class: u16,
    pub(super) hashes: Vec<[u8; HASH]>,
    /// Where its soft label lies.
    pub(super) soft_at: u64,
}

impl Notes {
    /// The note that lies here, but for its soft label.
    pub(super) fn note(&self, at: u64) -> io::Result<Note> {
        let mut head = [0; HEAD];
        self.file.read_exact_at(&mut head, at)?;
        let [low, high, n] = head;
        let mut hashes = vec![[0; HASH]; usize::from(n)];
        let at = at + HEAD as u64;
        self.file.read_exact_at(hashes.as_flattened_mut(), at)?;
        Ok(Note {
            class: u16::from_le_bytes([low, high]),
            soft_at: at + (hashes.len() * HASH) as u64,
            hashes,
        })
    }

    /// The soft label that lies here.
    pub(super) fn soft(&self, at: u64) -> io::Result<Option<Vec<f32>>> {
        let Some(classes) = self.soft else {
            return Ok(None);
        };
        let mut bytes = vec![0; classes * size_of::<f32>()];
        self.file.read_exact_at(&mut bytes, at)?;
        let numbers = bytes.as_chunks::<4>().0.iter().copied();
        Ok(Some(numbers.map(f32::from_le_bytes).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_found_where_they_were_put_whatever_hashes_they_have() {
        let mut writer = Writer::new(Some(3)).unwrap();
        let labels = [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]];
        let hashes = [vec![], vec![[7; 32]], vec![[1; 32], [2; 32]]];
        let places: Vec<u64> = (0..3)
            .map(|i| writer.push(i as u16 * 300, &hashes[i], &labels[i]).unwrap())
            .collect();
        let notes = writer.finish().unwrap();
        for i in [2, 0, 1] {
            let note = notes.note(places[i]).unwrap();
            assert_eq!((note.class, &note.hashes), (i as u16 * 300, &hashes[i]));
            assert_eq!(notes.soft(note.soft_at).unwrap().unwrap(), labels[i]);
        }
        let mut hard = Writer::new(None).unwrap();
        hard.push(4, &[], &[]).unwrap();
        let hard = hard.finish().unwrap();
        let note = hard.note(0).unwrap();
        assert_eq!((note.class, hard.soft(note.soft_at).unwrap()), (4, None));
    }
}
