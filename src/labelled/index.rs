//! What images there are, with their classes: in blocks of neighbours, in a temporary file that is read by block.
//!
//! In memory are 24 bytes a block: of ImageNet as loose files 31 MB, in tars 0.5 MB. A block is one loose image, or up to
//! [`BLOCK_IMAGES`] neighbours of up to [`BLOCK_BYTES`] in one container, which one read gives.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::error::LabelledError;
use crate::source::{Entry, ImageRef, Kind, ListedObject, Names};

/// Images of a block at most.
pub(super) const BLOCK_IMAGES: usize = 64;
/// Bytes of a block at most, where it has more than one image.
pub(super) const BLOCK_BYTES: u64 = 1024 * 1024;
/// What an image of unknown size counts as.
const UNKNOWN_SIZE: u64 = 1024 * 1024;

/// Neighbours in one object, as a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Block {
    object: String,
    kind: String,
    size: Option<u64>,
    etag: Option<String>,
    rows: Vec<Row>,
}

/// An image of a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    position: u64,
    offset: Option<u64>,
    size: Option<u64>,
    /// What its key has after the object's: `#member`, `#17`.
    suffix: String,
    /// The number of its label; in a finished index of its class.
    pub(super) label: u32,
}

impl Row {
    pub(super) fn new(entry: &Entry, object_key: &str, label: u32) -> Self {
        let suffix = entry.key.strip_prefix(object_key).unwrap_or(&entry.key);
        Self {
            position: entry.position,
            offset: entry.offset,
            size: entry.size,
            suffix: suffix.to_owned(),
            label,
        }
    }

    /// The same image with its class in place of its label.
    pub(super) fn with(self, class: u16) -> Self {
        Self {
            label: u32::from(class),
            ..self
        }
    }

    fn bytes(&self) -> u64 {
        self.size.unwrap_or(UNKNOWN_SIZE)
    }
}

/// Where a block lies in the file, and what it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    at: u64,
    length: u32,
    pub(super) rows: u32,
    pub(super) bytes: u64,
}

#[cfg(test)]
impl Place {
    /// A place of no file, for orders alone.
    pub(super) fn of(rows: u32, bytes: u64) -> Self {
        Self {
            at: 0,
            length: 0,
            rows,
            bytes,
        }
    }
}

/// Writes an index, a block at a time.
#[derive(Debug)]
pub(super) struct Writer {
    file: BufWriter<File>,
    at: u64,
    places: Vec<Place>,
    filling: Option<(Block, u64)>,
    rows: u64,
}

impl Writer {
    pub(super) fn new() -> Result<Self, LabelledError> {
        Ok(Self {
            file: BufWriter::new(tempfile::tempfile()?),
            at: 0,
            places: Vec::new(),
            filling: None,
            rows: 0,
        })
    }

    /// Adds the next image of a listed object.
    pub(super) fn push(&mut self, object: &ListedObject, row: Row) -> Result<(), LabelledError> {
        self.add(
            row,
            |block| block.object == object.path,
            || Block {
                object: object.path.clone(),
                kind: object.kind.name().to_owned(),
                size: object.size,
                etag: object.etag.clone(),
                rows: Vec::new(),
            },
        )
    }

    /// Adds the next image of a block of another index.
    pub(super) fn keep(&mut self, of: &Block, row: Row) -> Result<(), LabelledError> {
        self.add(
            row,
            |block| block.object == of.object,
            || Block {
                rows: Vec::new(),
                ..of.clone()
            },
        )
    }

    fn add(
        &mut self,
        row: Row,
        is_same: impl Fn(&Block) -> bool,
        make: impl Fn() -> Block,
    ) -> Result<(), LabelledError> {
        let fits = self.filling.as_ref().is_some_and(|(block, bytes)| {
            is_same(block) && block.rows.len() < BLOCK_IMAGES && bytes + row.bytes() <= BLOCK_BYTES
        });
        if !fits {
            self.flush()?;
            self.filling = Some((make(), 0));
        }
        self.rows += 1;
        if let Some((block, bytes)) = &mut self.filling {
            *bytes += row.bytes();
            block.rows.push(row);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LabelledError> {
        let Some((block, bytes)) = self.filling.take() else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(&block)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.places.push(Place {
            at: self.at,
            length: line.len() as u32,
            rows: block.rows.len() as u32,
            bytes,
        });
        self.at += line.len() as u64;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Index, LabelledError> {
        self.flush()?;
        let file = self
            .file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        Ok(Index {
            file,
            places: self.places,
            rows: self.rows,
        })
    }
}

/// A finished index.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    places: Vec<Place>,
    rows: u64,
}

impl Index {
    /// How many images.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The blocks.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Reads a block.
    pub(super) fn block(&self, number: usize) -> Result<Block, LabelledError> {
        let place = self.places[number];
        let mut line = vec![0; place.length as usize];
        self.file.read_exact_at(&mut line, place.at)?;
        Ok(serde_json::from_slice(&line)?)
    }

    /// Reads all blocks in their order.
    pub(super) fn each(
        &mut self,
        mut see: impl FnMut(Block) -> Result<(), LabelledError>,
    ) -> Result<(), LabelledError> {
        self.file.seek(SeekFrom::Start(0))?;
        for line in BufReader::new(&self.file).lines() {
            see(serde_json::from_str(&line?)?)?;
        }
        Ok(())
    }

    /// A hash over all names and classes in their order, in hexadecimal: the same for a copy elsewhere.
    pub(super) fn fingerprint(&mut self, names: &Names) -> Result<String, LabelledError> {
        let mut hash = Xxh3::new();
        self.each(|block| {
            for (image, class) in block.images(names) {
                hash.update(names.of(&image.key).as_bytes());
                hash.update(&[0]);
                hash.update(&class.to_le_bytes());
            }
            Ok(())
        })?;
        Ok(format!("{:016x}", hash.digest()))
    }
}

impl Block {
    /// The rows with what they need to be read, and their labels.
    pub(super) fn images(&self, names: &Names) -> Vec<(ImageRef, u32)> {
        let object_key = names.key(&self.object);
        let kind = Kind::parse(&self.kind).unwrap_or(Kind::Object);
        let image = |row: &Row| ImageRef {
            key: format!("{object_key}{}", row.suffix),
            object: self.object.clone(),
            position: row.position,
            generation: 0,
            shard: 0,
            row: 0,
            kind,
            offset: row.offset,
            size: row.size,
            object_size: self.size,
            etag: self.etag.clone(),
            problem: None,
            detail: None,
        };
        self.rows
            .iter()
            .map(|row| (image(row), row.label))
            .collect()
    }

    /// The names of the rows.
    pub(super) fn names(&self, names: &Names) -> Vec<String> {
        let object_key = names.key(&self.object);
        let key = |row: &Row| format!("{object_key}{}", row.suffix);
        self.rows.iter().map(|row| names.of(&key(row))).collect()
    }

    pub(super) fn into_rows(self) -> (Self, Vec<Row>) {
        let mut block = self;
        let rows = std::mem::take(&mut block.rows);
        (block, rows)
    }
}
