//! What images there are, with their classes: in blocks of neighbours, in a temporary file that is read by block.
//!
//! In memory are 24 bytes a block: of ImageNet as loose files 31 MB, in tars 0.5 MB. A block is one loose image, or up to
//! [`BLOCK_IMAGES`] neighbours of up to [`BLOCK_BYTES`] in one container, which one read gives.
//!
//! An image that comes more than once an epoch lies in the file once. Its block has a place for each time that any of its images comes:
//! the n-th place holds the images that come at least n times. In the file those with the most copies stand first, so that a place is the
//! first so many rows of its block, and an order over places needs to know nothing of copies.

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
pub(crate) struct Block {
    object: String,
    kind: String,
    size: Option<u64>,
    etag: Option<String>,
    rows: Vec<Row>,
}

/// An image of a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    position: u64,
    offset: Option<u64>,
    size: Option<u64>,
    /// What its key has after the object's: `#member`, `#17`.
    suffix: String,
    /// The number of its label; in a finished index of its class, or of what else its data set knows of it.
    pub(super) label: u64,
}

impl Row {
    /// An image as its container's index has it.
    pub(super) fn new(entry: &Entry, object_key: &str, label: u64) -> Self {
        Self {
            position: entry.position,
            offset: entry.offset,
            size: entry.size,
            suffix: suffix(&entry.key, object_key),
            label,
        }
    }

    /// An image of a manifest.
    pub(crate) fn placed(image: &ImageRef, object_key: &str, label: u64) -> Self {
        Self {
            position: image.position,
            offset: image.offset,
            size: image.size,
            suffix: suffix(&image.key, object_key),
            label,
        }
    }

    /// The same image with its class in place of its label.
    pub(super) fn with(self, class: u16) -> Self {
        Self {
            label: u64::from(class),
            ..self
        }
    }

    fn bytes(&self) -> u64 {
        self.size.unwrap_or(UNKNOWN_SIZE)
    }
}

/// What a key has after its object's.
fn suffix(key: &str, object_key: &str) -> String {
    key.strip_prefix(object_key).unwrap_or(key).to_owned()
}

/// Where a block lies in the file, and how many of its rows are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(super) at: u64,
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
pub(crate) struct Writer {
    file: BufWriter<File>,
    at: u64,
    places: Vec<Place>,
    filling: Option<Filling>,
    images: u64,
    rows: u64,
}

/// A block that may have more images to come.
#[derive(Debug)]
struct Filling {
    block: Block,
    /// How often each of its images comes.
    copies: Vec<u32>,
    bytes: u64,
}

impl Filling {
    /// Those with the most copies first, neighbours otherwise; and the rows and bytes of each place.
    fn into_layers(self) -> (Block, Vec<(u32, u64)>) {
        let mut block = self.block;
        let mut rows: Vec<(u32, Row)> = self.copies.into_iter().zip(block.rows).collect();
        rows.sort_by_key(|(copies, _)| std::cmp::Reverse(*copies));
        let most = rows.first().map_or(0, |(copies, _)| *copies);
        let layers = (1..=most).map(|n| {
            let of_it = || rows.iter().take_while(|(copies, _)| *copies >= n);
            let bytes = of_it().map(|(_, row)| row.bytes()).sum();
            (of_it().count() as u32, bytes)
        });
        let layers = layers.collect();
        block.rows = rows.into_iter().map(|(_, row)| row).collect();
        (block, layers)
    }
}

impl Writer {
    pub(crate) fn new() -> Result<Self, LabelledError> {
        Ok(Self {
            file: BufWriter::new(tempfile::tempfile()?),
            at: 0,
            places: Vec::new(),
            filling: None,
            images: 0,
            rows: 0,
        })
    }

    /// Adds the next image of a listed object.
    pub(super) fn push(&mut self, object: &ListedObject, row: Row) -> Result<(), LabelledError> {
        self.add(
            row,
            1,
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

    /// Adds the next image of a manifest, which comes so many times an epoch.
    pub(crate) fn place(
        &mut self,
        image: &ImageRef,
        row: Row,
        copies: u32,
    ) -> Result<(), LabelledError> {
        self.add(
            row,
            copies,
            |block| block.object == image.object,
            || Block {
                object: image.object.clone(),
                kind: image.kind.name().to_owned(),
                size: image.object_size,
                etag: image.etag.clone(),
                rows: Vec::new(),
            },
        )
    }

    /// Adds the next image of a block of another index.
    pub(super) fn keep(&mut self, of: &Block, row: Row) -> Result<(), LabelledError> {
        self.add(
            row,
            1,
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
        copies: u32,
        is_same: impl Fn(&Block) -> bool,
        make: impl Fn() -> Block,
    ) -> Result<(), LabelledError> {
        let fits = self.filling.as_ref().is_some_and(|filling| {
            is_same(&filling.block)
                && filling.block.rows.len() < BLOCK_IMAGES
                && filling.bytes + row.bytes() <= BLOCK_BYTES
        });
        if !fits {
            self.flush()?;
            self.filling = Some(Filling {
                block: make(),
                copies: Vec::new(),
                bytes: 0,
            });
        }
        self.images += 1;
        self.rows += u64::from(copies);
        if let Some(filling) = &mut self.filling {
            filling.bytes += row.bytes();
            filling.copies.push(copies);
            filling.block.rows.push(row);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LabelledError> {
        let Some(filling) = self.filling.take() else {
            return Ok(());
        };
        let (block, layers) = filling.into_layers();
        let mut line = serde_json::to_vec(&block)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        let (at, length) = (self.at, line.len() as u32);
        let place = |(rows, bytes)| Place {
            at,
            length,
            rows,
            bytes,
        };
        self.places.extend(layers.into_iter().map(place));
        self.at += line.len() as u64;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Index, LabelledError> {
        self.flush()?;
        let file = self
            .file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        Ok(Index {
            file,
            places: self.places,
            images: self.images,
            rows: self.rows,
        })
    }
}

/// A finished index.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    places: Vec<Place>,
    images: u64,
    rows: u64,
}

impl Index {
    /// How many images.
    pub(crate) fn images(&self) -> u64 {
        self.images
    }

    /// How many, each as often as it comes.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The places of the blocks: one each, where no image comes more than once.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Reads the block of a place.
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
                hash.update(&(class as u32).to_le_bytes());
            }
            Ok(())
        })?;
        Ok(format!("{:016x}", hash.digest()))
    }
}

impl Block {
    /// The rows with what they need to be read, and their labels.
    pub(super) fn images(&self, names: &Names) -> Vec<(ImageRef, u64)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u64, object: &str) -> ImageRef {
        ImageRef {
            key: format!("file:///{object}#{n}.jpg"),
            object: object.to_owned(),
            position: n,
            generation: 0,
            shard: 0,
            row: 0,
            kind: Kind::Tar,
            offset: Some(n * 1024),
            size: Some(100 + n),
            object_size: Some(1 << 20),
            etag: None,
            problem: None,
            detail: None,
        }
    }

    #[test]
    fn a_block_has_a_place_for_each_time_that_any_of_its_images_comes() {
        let mut writer = Writer::new().unwrap();
        let copies = [1, 3, 2, 1];
        for (n, copies) in (0..).zip(copies) {
            let image = member(n, "a.tar");
            let row = Row::placed(&image, "file:///a.tar", n * 10);
            writer.place(&image, row, copies).unwrap();
        }
        let other = member(9, "b.tar");
        let row = Row::placed(&other, "file:///b.tar", 90);
        writer.place(&other, row, 2).unwrap();
        let index = writer.finish().unwrap();
        assert_eq!((index.images(), index.rows()), (5, 9));
        let sums: Vec<(u32, u64)> = index.places().iter().map(|p| (p.rows, p.bytes)).collect();
        assert_eq!(sums, [(4, 406), (2, 203), (1, 101), (1, 109), (1, 109)]);

        let mut times = std::collections::BTreeMap::new();
        for (number, place) in index.places().iter().enumerate() {
            let images = index.block(number).unwrap().images(&Names::default());
            for (image, label) in &images[..place.rows as usize] {
                assert_eq!(*label, image.position * 10);
                assert_eq!(image.offset, Some(image.position * 1024));
                *times.entry(image.position).or_insert(0) += 1;
            }
        }
        let expected = [(0, 1), (1, 3), (2, 2), (3, 1), (9, 2)];
        assert_eq!(times.into_iter().collect::<Vec<_>>(), expected);
    }
}
