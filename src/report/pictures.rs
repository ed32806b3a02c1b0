//! Images from the source bucket → thumbnails that lie in the page itself.
//!
//! A few at a time, each with the limits of the label stage. One that cannot be read any more is no error: the page says why in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, stream};
use image::codecs::jpeg::JpegEncoder;
use image::{RgbImage, imageops};

use super::ReportError;
use super::figures::{Figures, known};
use crate::catalog::CatalogError;
use crate::label::LabelError;
use crate::label::decode::{DEFAULT_MAX_BYTES, DecodeConfig, decode};
use crate::label::fetch::{Fetcher, IN_FLIGHT_BYTES};
use crate::label::infer::Fetched;
use crate::label::progress::Timings;
use crate::manifest;
use crate::source::{ImageRef, Source};
use crate::store::StorageOptions;
use crate::workspace::Workspace;

/// The longer side of a thumbnail in pixels: some 4 kB of JPEG.
const SIDE: u32 = 128;
/// Of the thumbnails' JPEG.
const QUALITY: u8 = 82;
/// Images that are fetched and decoded at the same time: at most 4 × 64 MiB of bytes (128 MiB in flight) and 4 × 256 MiB of pixels.
const AT_ONCE: usize = 4;
/// How often an image is asked for.
const ATTEMPTS: u16 = 2;
/// After how long without a byte a read is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// After so many images in a row without an answer the others are not asked for: each would wait as long.
const UNANSWERED: u32 = 8;
/// Keys of one look into the manifest: up to so many, Parquet's statistics tell which row groups have any.
const KEYS: usize = 20;

/// An image in the page, or why it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Picture {
    /// A thumbnail.
    Shown {
        /// `data:image/jpeg;base64,…`.
        uri: String,
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// Nothing to show.
    Missing {
        /// A stable name, such as `not-found`.
        reason: String,
        /// A sentence.
        detail: String,
    },
}

/// A dataset's images, as some generation of its manifest has them.
#[derive(Debug, Clone, Copy)]
struct Images<'a> {
    dataset: &'a str,
    /// What a later generation has listed is another image; nothing: the newest generation is meant.
    until: Option<u32>,
}

impl<'a> Images<'a> {
    fn of(dataset: &'a str) -> Self {
        Self {
            dataset,
            until: None,
        }
    }

    fn has(self, image: &ImageRef) -> bool {
        self.until.is_none_or(|until| image.generation <= until)
    }
}

/// The pictures by key.
#[derive(Debug)]
pub(crate) struct Pictures {
    by_key: BTreeMap<String, Picture>,
    absent: Picture,
}

impl Pictures {
    /// Fetches what the figures show. `turned` says whether EXIF orientation is applied, as it was for the teacher.
    pub(super) async fn fetch(
        workspace: &Workspace,
        context: &SessionContext,
        figures: &Figures,
        storage: &StorageOptions,
        turned: bool,
    ) -> Result<Self, ReportError> {
        let of_strips = figures.strips.iter().flat_map(|s| &s.images);
        let of_pairs = figures.pairs.iter().flat_map(|p| [&p.key, &p.held_out]);
        let mut keys: BTreeSet<&str> = of_strips.map(|s| s.key.as_str()).collect();
        keys.extend(of_pairs.map(String::as_str));
        let absent = if figures.file.input.dataset.is_some() {
            gone()
        } else {
            missing("unknown", "labels of another system name no source")
        };
        let mut pictures = Self {
            by_key: BTreeMap::new(),
            absent,
        };
        let input = &figures.file.input;
        let selected = input.dataset.iter().map(|dataset| Images {
            dataset,
            until: input.generation,
        });
        let held_out = figures.file.config.exclude.iter().map(|d| Images::of(d));
        for images in selected.chain(held_out) {
            pictures
                .read(workspace, context, images, &mut keys, storage, turned)
                .await?;
        }
        Ok(pictures.without(&keys))
    }

    /// Fetches the images of these keys, each of which is one of a dataset, turned as EXIF says.
    pub(crate) async fn of_keys(
        workspace: &Workspace,
        context: &SessionContext,
        keys: &BTreeMap<&str, &str>,
        storage: &StorageOptions,
    ) -> Result<Self, ReportError> {
        let mut pictures = Self {
            by_key: BTreeMap::new(),
            absent: gone(),
        };
        let mut left: BTreeSet<&str> = keys.keys().copied().collect();
        let datasets: BTreeSet<&str> = keys.values().copied().collect();
        for dataset in datasets {
            let images = Images::of(dataset);
            pictures
                .read(workspace, context, images, &mut left, storage, true)
                .await?;
        }
        Ok(pictures.without(&left))
    }

    /// Takes the images out of `keys` that the dataset has, and fetches them.
    async fn read(
        &mut self,
        workspace: &Workspace,
        context: &SessionContext,
        of: Images<'_>,
        keys: &mut BTreeSet<&str>,
        storage: &StorageOptions,
        turned: bool,
    ) -> Result<(), ReportError> {
        let Some(known) = known(workspace, of.dataset).await? else {
            return Ok(());
        };
        let source = Source::open(&known.source, storage, &known.reading)
            .map_err(manifest::ManifestError::from)?
            .with_limits(DEFAULT_MAX_BYTES, READ_TIMEOUT);
        let reader = Reader::new(source, turned);
        let wanted: Vec<&str> = keys.iter().copied().collect();
        let images = look_up(context, of.dataset, &wanted).await?;
        images.iter().for_each(|image| {
            keys.remove(image.key.as_str());
        });
        let (same, others): (Vec<_>, Vec<_>) = images.into_iter().partition(|i| of.has(i));
        let others = others.into_iter().map(|image| (image.key, changed()));
        self.by_key.extend(others);
        let each = stream::iter(same).map(|image| reader.picture(image));
        let pictures: Vec<_> = each.buffered(AT_ONCE).collect().await;
        self.by_key.extend(pictures);
        Ok(())
    }

    /// These keys have no picture.
    fn without(mut self, keys: &BTreeSet<&str>) -> Self {
        let absent = &self.absent;
        let none = keys.iter().map(|key| ((*key).to_owned(), absent.clone()));
        self.by_key.extend(none);
        self
    }

    /// The picture of a key.
    pub(crate) fn of(&self, key: &str) -> &Picture {
        self.by_key.get(key).unwrap_or(&self.absent)
    }

    /// How many there are.
    pub(super) fn shown(&self) -> usize {
        self.by_key.len() - self.unreadable()
    }

    /// How many could not be read.
    pub(super) fn unreadable(&self) -> usize {
        let missing = |p: &&Picture| matches!(p, Picture::Missing { .. });
        self.by_key.values().filter(missing).count()
    }
}

fn missing(reason: &str, detail: &str) -> Picture {
    Picture::Missing {
        reason: reason.to_owned(),
        detail: detail.to_owned(),
    }
}

fn gone() -> Picture {
    missing("gone", "the dataset's manifest does not have it any more")
}

fn changed() -> Picture {
    missing(
        "changed",
        "it was listed anew since the selection was made, and may be another image",
    )
}

/// Where the images of these keys lie, as the dataset's newest manifest has it.
async fn look_up(
    context: &SessionContext,
    dataset: &str,
    keys: &[&str],
) -> Result<Vec<ImageRef>, ReportError> {
    let mut found = Vec::new();
    for some in keys.chunks(KEYS) {
        let of_dataset = col("dataset").eq(lit(dataset));
        let of_keys = col("key").in_list(some.iter().map(|key| lit(*key)).collect(), false);
        let rows = async {
            let manifest = context.table("manifest").await?;
            manifest.filter(of_dataset.and(of_keys))?.collect().await
        };
        let rows: Vec<RecordBatch> = rows.await.map_err(|e| CatalogError::of_query(&e))?;
        for batch in &rows {
            found.extend(manifest::rows(batch)?);
        }
    }
    Ok(found)
}

/// Reads the images of one dataset.
struct Reader {
    fetcher: Fetcher,
    /// Whether EXIF orientation is applied.
    turned: bool,
    /// Images in a row that there was no answer for.
    unanswered: AtomicU32,
    /// What became of the last image that was asked for, where no other one is.
    given_up: OnceLock<Picture>,
}

impl Reader {
    fn new(source: Source, turned: bool) -> Self {
        Self {
            fetcher: Fetcher::new(source, ATTEMPTS, 1, Arc::new(Timings::default())),
            turned,
            unanswered: AtomicU32::new(0),
            given_up: OnceLock::new(),
        }
    }

    /// Fetches, decodes and shrinks one image.
    async fn picture(&self, image: ImageRef) -> (String, Picture) {
        let key = image.key.clone();
        let picture = match self.given_up.get() {
            Some(last) => last.clone(),
            None => self.read(image).await,
        };
        (key, picture)
    }

    async fn read(&self, image: ImageRef) -> Picture {
        let fetched = match self.fetcher.fetch(vec![image], IN_FLIGHT_BYTES).await {
            Ok(mut one) => one.pop(),
            // The label stage would stop here; a page only lacks its pictures.
            Err(e) => {
                let reason = match e {
                    LabelError::Credentials { .. } => "forbidden",
                    _ => "unreachable",
                };
                let lost = || missing(reason, &e.to_string());
                return self.given_up.get_or_init(lost).clone();
            }
        };
        let Some(Fetched { bytes, permit, .. }) = fetched else {
            return missing("unreadable", "there was no answer for it");
        };
        match bytes {
            Err(reject) => {
                let lost = missing(&reject.reason, &reject.detail);
                if reject.reason != "unreachable" {
                    self.unanswered.store(0, Ordering::Relaxed);
                } else if self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED {
                    self.given_up.get_or_init(|| lost.clone());
                }
                lost
            }
            Ok(bytes) => {
                self.unanswered.store(0, Ordering::Relaxed);
                let turned = self.turned;
                let shrunk = tokio::task::spawn_blocking(move || {
                    let picture = shrink(&bytes, turned);
                    drop(permit);
                    picture
                });
                let panicked = |e: tokio::task::JoinError| missing("corrupt", &e.to_string());
                shrunk.await.unwrap_or_else(panicked)
            }
        }
    }
}

/// Bytes of an image → a thumbnail.
fn shrink(bytes: &[u8], turned: bool) -> Picture {
    let config = DecodeConfig {
        exif_orientation: turned,
        scaled_jpeg: true,
        ..DecodeConfig::default()
    };
    let image = match decode(bytes, &config, Some(SIDE)) {
        Ok(image) => image,
        Err(e) => return missing(e.reason(), &e.to_string()),
    };
    let (width, height) = within(image.width, image.height);
    let Some(full) = RgbImage::from_raw(image.width, image.height, image.pixels) else {
        return missing("corrupt", "its pixels are not as many as its header says");
    };
    let small = imageops::thumbnail(&full, width, height);
    let mut jpeg = Cursor::new(Vec::new());
    match JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&small) {
        Ok(()) => Picture::Shown {
            uri: format!("data:image/jpeg;base64,{}", base64(&jpeg.into_inner())),
            width,
            height,
        },
        Err(e) => missing("corrupt", &e.to_string()),
    }
}

/// The size of an image that fits into a thumbnail, with its proportions; a smaller one stays as it is.
fn within(width: u32, height: u32) -> (u32, u32) {
    let longest = width.max(height).max(1);
    if longest <= SIDE {
        return (width.max(1), height.max(1));
    }
    let side = |n: u32| {
        let scaled = (u64::from(n) * u64::from(SIDE) + u64::from(longest) / 2) / u64::from(longest);
        (scaled as u32).max(1)
    };
    (side(width), side(height))
}

/// Base64 of RFC 4648, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in vectors {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xBF]), "+/+/");
    }

    #[test]
    fn a_thumbnail_keeps_its_proportions_and_never_grows() {
        assert_eq!(within(4000, 2000), (128, 64));
        assert_eq!(within(300, 400), (96, 128));
        assert_eq!(within(65_535, 1), (128, 1));
        assert_eq!(within(20, 10), (20, 10));
    }

    #[test]
    fn what_is_no_image_is_missing_with_the_reason() {
        let Picture::Missing { reason, .. } = shrink(b"<html>", false) else {
            panic!("a web page became a picture")
        };
        assert_eq!(reason, "unsupported-format");
    }
}
