//! Where the pages of a Parquet column lie, for files that were written without an offset index.
//!
//! Without one a reader fetches the whole column of a row group, which for images may be gigabytes, to get at a few rows. Walking the
//! page headers once gives the same index: some bytes a page, read in windows. Only columns without repetition are walked, so that
//! a page's values are its rows.

use std::ops::Range;

use bytes::Bytes;
use parquet::file::page_index::offset_index::PageLocation;

use super::read::Reader;
use super::{ReadError, ReadErrorKind};

/// What is read of a page at first: its header, and of small pages the next headers as well.
const WINDOW: u64 = 64 * 1024;
/// The most nested structs of a header that are followed; real ones have three.
const DEPTH: u32 = 8;

/// The data pages of a column chunk. `chunk` is its place in the file, the dictionary page at its start included.
pub(super) async fn walk(
    reader: &Reader,
    object: &str,
    etag: Option<&str>,
    chunk: Range<u64>,
) -> Result<Vec<PageLocation>, ReadError> {
    let damaged = || ReadError {
        kind: ReadErrorKind::Unreadable,
        detail: "a page header of its Parquet file is damaged".into(),
    };
    let mut pages = Vec::new();
    let (mut at, mut rows) = (chunk.start, 0_i64);
    let mut window = (at, Bytes::new());
    while at < chunk.end {
        let end = (at + WINDOW).min(chunk.end);
        let parse = |window: &(u64, Bytes)| {
            let seen = at.checked_sub(window.0)?;
            Header::parse(window.1.get(usize::try_from(seen).ok()?..)?)
        };
        let header = if let Some(header) = parse(&window) {
            header
        } else {
            window = (at, reader.range(object, at..end, etag).await?);
            parse(&window).ok_or_else(damaged)?
        };
        let size = header.len + u64::try_from(header.compressed).map_err(|_| damaged())?;
        if let Some(values) = header.values {
            pages.push(PageLocation {
                offset: i64::try_from(at).map_err(|_| damaged())?,
                compressed_page_size: i32::try_from(size).map_err(|_| damaged())?,
                first_row_index: rows,
            });
            rows += i64::from(values);
        }
        at += size;
    }
    Ok(pages)
}

/// What a page header says.
struct Header {
    /// Of the header itself, in bytes.
    len: u64,
    /// Of the page after it, in bytes.
    compressed: i32,
    /// How many values a data page has; none for a dictionary page.
    values: Option<i32>,
}

impl Header {
    /// `PageHeader` of parquet.thrift in the compact protocol; `None` where the bytes end within it or are none.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut thrift = Thrift { bytes, at: 0 };
        let (mut compressed, mut values) = (None, None);
        thrift.fields(
            &mut Vec::new(),
            &mut |path, value| match path {
                [3] => compressed = Some(value),
                // DataPageHeader and DataPageHeaderV2: num_values.
                [5 | 8, 1] => values = Some(value),
                _ => {}
            },
            0,
        )?;
        Some(Self {
            len: thrift.at as u64,
            compressed: i32::try_from(compressed?).ok()?,
            values: values.map(i32::try_from).transpose().ok()?,
        })
    }
}

/// A reader of Thrift's compact protocol: integers are shown with the path of their fields, everything else is passed over.
struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    fn fields(
        &mut self,
        path: &mut Vec<i16>,
        show: &mut dyn FnMut(&[i16], i64),
        depth: u32,
    ) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => i16::try_from(self.zigzag()?).ok()?,
                delta => id.checked_add(i16::from(delta))?,
            };
            path.push(id);
            self.value(head & 0x0F, path, show, depth)?;
            path.pop();
        }
    }

    fn value(
        &mut self,
        kind: u8,
        path: &mut Vec<i16>,
        show: &mut dyn FnMut(&[i16], i64),
        depth: u32,
    ) -> Option<()> {
        match kind {
            // Booleans are in the field's head.
            1 | 2 => Some(()),
            3 => self.skip(1),
            4..=6 => {
                let value = self.zigzag()?;
                show(path, value);
                Some(())
            }
            7 => self.skip(8),
            8 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let length = match head >> 4 {
                    15 => self.varint()?,
                    short => u64::from(short),
                };
                for _ in 0..length {
                    // A boolean in a list is a byte.
                    match head & 0x0F {
                        1 | 2 => self.skip(1)?,
                        element => self.value(element, path, &mut |_, _| {}, depth + 1)?,
                    }
                }
                Some(())
            }
            12 => self.fields(path, show, depth + 1),
            _ => None,
        }
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}
