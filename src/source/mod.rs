//! A source URL → the images behind it: listed as a stream, read by range, one attempt at a time.
//!
//! Loose objects, WebDataset tars, Parquet files with image bytes and IDX files may lie side by side below one prefix; what an object is
//! follows from its name. Listing holds no more than a window in memory; reading gives neighbours of one container together.

mod column;
mod error;
mod idx;
mod inflate;
mod list;
mod names;
mod pages;
mod parquet;
mod pieces;
mod probe;
mod read;
mod split;
mod webdataset;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};

use crate::config::DEFAULT_READ_TIMEOUT_S;
use crate::store::{self, Opened, StorageOptions, StoreError};

pub(crate) use self::column::Column;
pub use self::error::{ReadError, ReadErrorKind, SourceError};
pub(crate) use self::list::is_hidden;
pub use self::list::{Listed, Object as ListedObject};
pub(crate) use self::names::Names;
pub(crate) use self::read::is_same_state;
pub use self::split::{BadPart, Part, Split};
pub(crate) use self::webdataset::Member;

/// The most bytes of neighbours in a container that one read gives.
pub const GROUP_BYTES: u64 = 8 * 1024 * 1024;

/// The `[source]` section: what is read as an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Extensions that are images besides the usual ones, without the dot: `["img", "dat"]`. What a file really is, its first bytes say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// The Parquet column with the bytes; found by itself where there is one binary column, or a struct with `bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_column: Option<String>,
    /// Only a part of the source, by a seeded hash of each image's name: `{ seed = 1, part = "6..60/60" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// Bytes between two members of a tar that are rather read along than asked for anew: as `object_store` has it for ranges.
const GAP_BYTES: u64 = object_store::OBJECT_STORE_COALESCE_DEFAULT;

/// What kind of object holds an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The object is the image.
    Object,
    /// A WebDataset tar.
    Tar,
    /// A Parquet file.
    Parquet,
    /// An IDX file.
    Idx,
}

impl Kind {
    /// Its name in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Tar => "tar",
            Self::Parquet => "parquet",
            Self::Idx => "idx",
        }
    }

    /// The kind of a name in the manifest.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Object, Self::Tar, Self::Parquet, Self::Idx]
            .into_iter()
            .find(|k| k.name() == name)
    }
}

/// One image to be read: a row of the manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRef {
    /// `s3://bucket/a.jpg`, `…/x.tar#member.jpg`, `…/x.parquet#17`, `…/x-images-idx3-ubyte#17`.
    pub key: String,
    /// The path, in the source's store, of the object that holds it; the URL itself where the source is a list of URLs.
    pub object: String,
    /// Its place among the container's images; for Parquet the row's number in the file.
    pub position: u64,
    /// The manifest's generation.
    pub generation: u32,
    /// The shard.
    pub shard: u32,
    /// Its place within the shard, from 0.
    pub row: u32,
    /// What the object is.
    pub kind: Kind,
    /// Of a tar member's bytes within the tar, or of an image's pixels within an IDX file; for Parquet the first row of its row group.
    pub offset: Option<u64>,
    /// Of the image in bytes, where it is known before it is read; for Parquet the average of its row group.
    pub size: Option<u64>,
    /// Of the object in bytes.
    pub object_size: Option<u64>,
    /// Of the object.
    pub etag: Option<String>,
    /// A reject that the listing alone shows.
    pub problem: Option<String>,
    /// A sentence about it.
    pub detail: Option<String>,
}

/// An image as its container's index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As [`ImageRef::key`].
    pub key: String,
    /// As [`ImageRef::position`].
    pub position: u64,
    /// As [`ImageRef::offset`].
    pub offset: Option<u64>,
    /// As [`ImageRef::size`].
    pub size: Option<u64>,
    /// As [`ImageRef::problem`] and [`ImageRef::detail`].
    pub problem: Option<(String, String)>,
    /// How many entries from this one on are best read together: at the first row of a row group its rows, otherwise 0.
    pub together: u64,
}

impl Entry {
    /// An entry of which nothing but its key and position is known.
    pub(crate) fn new(key: String, position: u64) -> Self {
        Self {
            key,
            position,
            offset: None,
            size: None,
            problem: None,
            together: 0,
        }
    }
}

/// An open source.
#[derive(Debug)]
pub struct Source {
    /// The source as typed.
    url: String,
    /// For listing, with the client's retries.
    listing: Opened,
    /// For reading, without: the label stage counts attempts.
    reading: Arc<dyn ObjectStore>,
    shape: Shape,
    config: SourceConfig,
    hosts: Arc<read::Hosts>,
    footers: parquet::Footers,
    idx: Arc<idx::Files>,
    max_bytes: u64,
    read_timeout: Duration,
}

/// What the URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A prefix or directory, or one image, tar or Parquet file.
    Tree,
    /// A text file with one URL a line.
    UrlList,
}

impl Source {
    /// Opens a source; nothing is asked of the store yet.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] and [`StoreError::UnknownOption`].
    pub fn open(
        url: &str,
        storage: &StorageOptions,
        config: &SourceConfig,
    ) -> Result<Self, SourceError> {
        let listing = store::open(url, storage)?;
        let reading = store::open(url, &storage.without_retries())?.store;
        let http = listing.root.scheme().starts_with("http");
        if http && url.contains('?') {
            return Err(StoreError::BadUrl {
                url: url.to_owned(),
                why: "a source is remembered and read again later, which a URL with a query is not made for; name it in a .txt list of URLs".into(),
            }
            .into());
        }
        let shape = if list::is_list(listing.path.as_ref(), http, config) {
            Shape::UrlList
        } else {
            Shape::Tree
        };
        Ok(Self {
            url: url.to_owned(),
            listing,
            reading,
            shape,
            config: config.clone(),
            hosts: Arc::new(read::Hosts::new(storage.without_retries())),
            footers: parquet::Footers::default(),
            idx: Arc::default(),
            max_bytes: u64::MAX,
            read_timeout: Duration::from_secs_f64(DEFAULT_READ_TIMEOUT_S),
        })
    }

    /// The same source, which does not read images of more bytes, and gives up a read that brings nothing for so long.
    #[must_use]
    pub fn with_limits(self, max_bytes: u64, read_timeout: Duration) -> Self {
        Self {
            max_bytes,
            read_timeout,
            ..self
        }
    }

    /// The URL as typed.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is a list of URLs, each of which may be another host's.
    pub fn is_list(&self) -> bool {
        self.shape == Shape::UrlList
    }

    /// Whether its images are files of this machine.
    pub fn is_local(&self) -> bool {
        self.listing.is_local() && self.shape == Shape::Tree
    }

    /// The size of a loose image whose listing does not say it; none where the store does not say it either.
    ///
    /// # Errors
    /// [`ReadErrorKind::Retryable`], where the store does not answer.
    pub async fn size(&self, image: &ImageRef) -> Result<Option<u64>, ReadError> {
        match image.kind {
            Kind::Object => self.reader().size(&image.object).await,
            Kind::Tar | Kind::Parquet | Kind::Idx => Ok(None),
        }
    }

    /// Whether there is anything at all at the URL.
    ///
    /// # Errors
    /// [`SourceError`]: no such bucket or directory, refused credentials, nothing in it.
    pub async fn check(&self) -> Result<(), SourceError> {
        let mut listed = self.list();
        loop {
            match listed.next().await {
                None => {
                    return Err(SourceError::Empty {
                        url: self.url.clone(),
                    });
                }
                Some(Err(e)) => return Err(e),
                Some(Ok(Listed::Skipped { .. })) => {}
                Some(Ok(Listed::Object(_))) => return Ok(()),
            }
        }
    }

    /// The objects of the source, in no particular order. Of a split, loose images outside of it are skipped.
    pub fn list(&self) -> BoxStream<'static, Result<Listed, SourceError>> {
        let Some(split) = self.config.split else {
            return self.list_all();
        };
        let names = self.names();
        self.list_all()
            .map_ok(move |listed| match listed {
                Listed::Object(o)
                    if o.kind == Kind::Object
                        && o.problem.is_none()
                        && !split.has(&names.of(&names.key(&o.path))) =>
                {
                    Listed::Skipped {
                        why: "outside the split".into(),
                    }
                }
                other => other,
            })
            .boxed()
    }

    fn list_all(&self) -> BoxStream<'static, Result<Listed, SourceError>> {
        if self.shape == Shape::UrlList {
            return list::urls(self.listing.clone(), self.url.clone());
        }
        if self.listing.is_local() {
            return list::local(&self.listing, self.config.clone());
        }
        list::store(self.listing.clone(), self.config.clone())
    }

    /// The images of one listed object, in the order of the container. Of a split, those outside of it are left out.
    pub fn entries(&self, object: &list::Object) -> BoxStream<'static, Result<Entry, SourceError>> {
        let entries = self.entries_all(object);
        let Some(split) = self.config.split.filter(|_| object.kind != Kind::Object) else {
            return entries;
        };
        let names = self.names();
        let container = self.key(&object.path);
        entries
            .try_filter_map(move |entry| {
                // What is said of the container itself holds for each of its parts.
                let kept = entry.key == container || split.has(&names.of(&entry.key));
                // The rows of a part lie scattered: no run of them is best read together.
                let entry = kept.then_some(Entry {
                    together: 0,
                    ..entry
                });
                std::future::ready(Ok(entry))
            })
            .boxed()
    }

    /// As [`Source::entries`], whatever the split.
    pub(crate) fn entries_all(
        &self,
        object: &list::Object,
    ) -> BoxStream<'static, Result<Entry, SourceError>> {
        let key = self.key(&object.path);
        let whole = Entry {
            size: object.size,
            problem: object.problem.clone(),
            ..Entry::new(key.clone(), 0)
        };
        match object.kind {
            _ if object.problem.is_some() => one(whole),
            Kind::Object => one(whole),
            Kind::Tar => webdataset::index(self.reader(), key, object.clone(), self.config.clone()),
            Kind::Parquet => {
                parquet::index(self.reader(), key, object.clone(), self.config.clone())
            }
            Kind::Idx => idx::index(self.reader(), Arc::clone(&self.idx), key, object.clone()),
        }
    }

    /// The images of a tar, and what its `.cls` members say, in the order of the tar.
    pub(crate) fn members(
        &self,
        tar: &list::Object,
    ) -> BoxStream<'static, Result<Member, SourceError>> {
        let key = self.key(&tar.path);
        webdataset::members(self.reader(), key, tar.clone(), self.config.clone(), true)
    }

    /// A column of a Parquet file, beside that of the images.
    ///
    /// # Errors
    /// The store's, or that the file is none; [`Column::Missing`] is no error.
    pub(crate) async fn column(
        &self,
        parquet: &list::Object,
        names: &[&str],
    ) -> Result<Column, SourceError> {
        column::column(self.reader(), self.key(&parquet.path), parquet, names).await
    }

    /// A whole small object of the source's store, of at most `most` bytes; `None` where there is none.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn object(&self, path: &str, most: u64) -> Result<Option<Bytes>, SourceError> {
        let reader = self.reader();
        match read::with_retries(|| reader.whole(path, None, None, most)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind == ReadErrorKind::NotFound => Ok(None),
            Err(e) => Err(read::listing_error(self.key(path), e)),
        }
    }

    /// How many of these images, from the first, one read gives; 1 or more. The others of its row group, or the neighbours in its tar that
    /// have no large gap between them, over up to [`GROUP_BYTES`].
    pub fn group_len(&self, images: &[ImageRef]) -> usize {
        let Some(first) = images.first() else {
            return 1;
        };
        let end = |i: &ImageRef| i.offset.unwrap_or(0) + i.size.unwrap_or(0);
        let mut read = end(first);
        let together = (1..images.len()).take_while(|n| {
            let image = &images[*n];
            let near = match first.kind {
                Kind::Object => false,
                Kind::Parquet => image.offset == first.offset,
                Kind::Tar | Kind::Idx => {
                    image.offset.unwrap_or(0).saturating_sub(read) <= GAP_BYTES
                }
            };
            read = end(image);
            near && image.object == first.object && self.span(&images[..=*n]) <= GROUP_BYTES
        });
        1 + together.count()
    }

    /// The bytes that one read of these images of one container brings, as far as is known before.
    pub fn span(&self, images: &[ImageRef]) -> u64 {
        let (Some(first), Some(last)) = (images.first(), images.last()) else {
            return 0;
        };
        let size = last.size.unwrap_or(0);
        match first.kind {
            Kind::Object => images.iter().filter_map(|i| i.size).sum(),
            // Rows between them are read along where they share a page.
            Kind::Parquet => (last.position.saturating_sub(first.position) + 1) * size,
            Kind::Tar | Kind::Idx => {
                (last.offset.unwrap_or(0) + size).saturating_sub(first.offset.unwrap_or(0))
            }
        }
    }

    /// The bytes of neighbours in one object, in order: one attempt, without retries or time-out.
    ///
    /// # Errors
    /// [`ReadError`] for the whole group, or inside for one image.
    pub async fn read(
        &self,
        images: &[ImageRef],
    ) -> Result<Vec<Result<Bytes, ReadError>>, ReadError> {
        let Some(first) = images.first() else {
            return Ok(Vec::new());
        };
        let too_large = |image: &ImageRef| {
            let size = image.size.filter(|s| *s > self.max_bytes)?;
            Some(ReadError::too_large(size, self.max_bytes))
        };
        match first.kind {
            Kind::Object => {
                if let Some(e) = too_large(first) {
                    return Ok(vec![Err(e)]);
                }
                let whole = self
                    .reader()
                    .whole(
                        &first.object,
                        first.size,
                        first.etag.as_deref(),
                        self.max_bytes,
                    )
                    .await?;
                Ok(vec![Ok(whole)])
            }
            Kind::Tar => {
                let wanted: Vec<Option<Range<u64>>> = images
                    .iter()
                    .map(|i| {
                        let start = i.offset?;
                        too_large(i).is_none().then_some(start..start + i.size?)
                    })
                    .collect();
                let start = wanted.iter().flatten().map(|r| r.start).min();
                let end = wanted.iter().flatten().map(|r| r.end).max();
                let span = match (start, end) {
                    (Some(start), Some(end)) => start..end,
                    _ => 0..0,
                };
                let bytes = self
                    .reader()
                    .range(&first.object, span.clone(), first.etag.as_deref())
                    .await?;
                Ok(images
                    .iter()
                    .zip(wanted)
                    .map(|(image, range)| match range {
                        Some(r) => Ok(bytes
                            .slice((r.start - span.start) as usize..(r.end - span.start) as usize)),
                        None => Err(too_large(image).unwrap_or(ReadError {
                            kind: ReadErrorKind::Unreadable,
                            detail: "the manifest has no offset for it".into(),
                        })),
                    })
                    .collect())
            }
            Kind::Parquet => {
                let reader = self.reader();
                parquet::rows(&reader, &self.footers, images, &self.config, self.max_bytes).await
            }
            Kind::Idx => {
                let reader = self.reader();
                idx::images(&reader, &self.idx, images, self.max_bytes).await
            }
        }
    }

    /// The key of an object: its URL.
    pub(crate) fn key(&self, object: &str) -> String {
        self.names().key(object)
    }

    /// How its images are called.
    pub(crate) fn names(&self) -> Names {
        match self.shape {
            Shape::UrlList => Names::default(),
            Shape::Tree => Names::below(&self.listing),
        }
    }

    fn reader(&self) -> read::Reader {
        read::Reader {
            store: Arc::clone(&self.reading),
            local: self.is_local(),
            timeout: self.read_timeout,
            urls: (self.shape == Shape::UrlList).then(|| Arc::clone(&self.hosts)),
        }
    }
}

fn one(entry: Entry) -> BoxStream<'static, Result<Entry, SourceError>> {
    stream::iter([Ok(entry)]).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Members of one tar, or rows of one row group, of 100 kB each.
    fn image(kind: Kind, position: u64, offset: u64) -> ImageRef {
        ImageRef {
            key: position.to_string(),
            object: "x".into(),
            position,
            generation: 1,
            shard: 0,
            row: 0,
            kind,
            offset: Some(offset),
            size: Some(100_000),
            object_size: None,
            etag: None,
            problem: None,
            detail: None,
        }
    }

    #[test]
    fn few_members_of_a_tar_are_read_without_what_lies_between_them() {
        let source = Source::open(
            "memory:///",
            &StorageOptions::default(),
            &SourceConfig::default(),
        )
        .unwrap();
        let tar: Vec<ImageRef> = [0, MIB, 2 * MIB, 5 * MIB]
            .map(|offset| image(Kind::Tar, 0, offset))
            .to_vec();
        assert_eq!(source.group_len(&tar), 3);
        assert_eq!(source.span(&tar[..3]), 2 * MIB + 100_000);
        assert_eq!(source.group_len(&tar[3..]), 1);
        let dense: Vec<ImageRef> = (0..200).map(|n| image(Kind::Tar, n, n * 100_512)).collect();
        assert_eq!(source.group_len(&dense) as u64, GROUP_BYTES / 100_512);
    }

    #[test]
    fn few_rows_of_a_parquet_file_count_as_the_pages_between_them() {
        let source = Source::open(
            "memory:///",
            &StorageOptions::default(),
            &SourceConfig::default(),
        )
        .unwrap();
        let every = |n: u64| -> Vec<ImageRef> {
            (0..200).map(|i| image(Kind::Parquet, i * n, 0)).collect()
        };
        assert_eq!(source.group_len(&every(1)), 83);
        assert_eq!(source.group_len(&every(10)), 9);
        let other_group = [every(1)[..5].to_vec(), vec![image(Kind::Parquet, 5, 5)]].concat();
        assert_eq!(source.group_len(&other_group), 5);
    }
}
