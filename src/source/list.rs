//! What lies behind a URL: every object, each as an image, a container, or something that is passed over and counted.

use std::fmt::Write as _;
use std::path::{Path as FsPath, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _};
use tokio::sync::mpsc;

use super::read::local_etag;
use super::{Kind, SourceConfig, SourceError};
use crate::store::{Opened, StoreError};

/// The reason of a local file or folder that cannot be looked into.
const UNREADABLE: &str = "unreadable-path";
/// Files that a local walk is ahead of its reader.
const AHEAD: usize = 1024;
/// The longest line of a list of URLs, in bytes: browsers and servers stop at less.
const LONGEST_LINE: usize = 64 * 1024;

/// Extensions of images, and of formats that are known and not read: those become rejects that say so, rather than being passed over.
const IMAGES: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif",
    "heic", "heif", "jp2", "j2k", "jxl", "psd", "svg", "ico", "exr", "hdr",
];

/// Something listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An image or a container.
    Object(Object),
    /// Not an image, by its name.
    Skipped {
        /// For the count: `.json`, `hidden file`, ….
        why: String,
    },
}

/// An image or a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its path in the store, or its URL.
    pub path: String,
    /// In bytes.
    pub size: Option<u64>,
    /// The store's, or for a local file its inode, time and size.
    pub etag: Option<String>,
    /// What it is, by its name.
    pub kind: Kind,
    /// Reason and detail of a reject that the listing alone shows.
    pub problem: Option<(String, String)>,
}

impl Object {
    /// Whether it is a local file or folder that could not be looked into.
    pub fn is_unreadable(&self) -> bool {
        let reason = self.problem.as_ref().map(|(reason, _)| reason.as_str());
        reason == Some(UNREADABLE)
    }
}

/// The kind of container that a lower-case name says.
pub(super) fn container_kind(name: &str) -> Option<Kind> {
    match extension(name) {
        "tar" => Some(Kind::Tar),
        "parquet" | "pq" => Some(Kind::Parquet),
        _ => match idx_dimensions(name) {
            None | Some('1') => None,
            Some(_) => Some(Kind::Idx),
        },
    }
}

/// The number of dimensions in the name of an IDX file, gzipped or not: 3 of `train-images-idx3-ubyte.gz` and `t10k-images.idx3-ubyte`,
/// 1 where it has labels.
fn idx_dimensions(name: &str) -> Option<char> {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let mut stem = plain.strip_suffix("-ubyte")?.chars();
    let digit = stem.next_back().filter(char::is_ascii_digit)?;
    stem.as_str().ends_with("idx").then_some(digit)
}

/// Whether a source's path names a text file with one URL a line. A web server's folder cannot be listed, so there all that is neither a
/// container nor an image is one.
pub(super) fn is_list(path: &str, http: bool, config: &SourceConfig) -> bool {
    let name = path.to_lowercase();
    extension(&name) == "txt"
        || http
            && container_kind(&name).is_none()
            && (extension(&name).is_empty() || !is_image(&name, config))
}

/// Names that Spark and Hadoop write beside their data.
fn is_bookkeeping(name: &str) -> bool {
    name == "_success"
        || ["_temporary", "_committed_", "_started_", "_delta_log"]
            .iter()
            .any(|start| name.starts_with(start))
}

/// Whether a file is hidden by its name or by that of a folder below `root`: dot files, and what Spark, Hadoop and Delta keep beside their data.
pub(crate) fn is_hidden(path: &str, root: &str) -> bool {
    let below = path.strip_prefix(root).filter(|below| !below.is_empty());
    let below = below.unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path));
    below.split('/').any(|name| {
        let name = name.to_lowercase();
        // `./a.png` is how tar spells a folder's files.
        name.starts_with('.') && name != "." || is_bookkeeping(&name)
    })
}

/// Whether a name is an image's: by its extension, or because it has none.
pub(super) fn is_image(name: &str, config: &SourceConfig) -> bool {
    let name = name.to_lowercase();
    let extension = extension(&name);
    extension.is_empty()
        || IMAGES.contains(&extension)
        || config
            .extensions
            .iter()
            .any(|e| e.eq_ignore_ascii_case(extension))
}

fn extension(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    // `photo#1` and `2024.12.31 beach` have no extension worth the name.
    file.rsplit_once('.')
        .map(|(_, e)| e)
        .filter(|e| e.len() <= 8 && !e.is_empty() && e.chars().all(char::is_alphanumeric))
        .filter(|e| e.chars().any(char::is_alphabetic))
        .unwrap_or("")
}

/// A path below `root`, size and etag → what is listed of it.
fn classify(
    path: &str,
    root: &str,
    size: Option<u64>,
    etag: Option<&str>,
    config: &SourceConfig,
) -> Listed {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let skipped = |why: &str| Listed::Skipped { why: why.into() };
    if is_hidden(path, root) {
        return skipped("hidden file");
    }
    let object = |kind, problem| {
        Listed::Object(Object {
            path: path.to_owned(),
            size,
            etag: etag.map(str::to_owned),
            kind,
            problem,
        })
    };
    if let Some(kind) = container_kind(&name) {
        return object(kind, None);
    }
    if idx_dimensions(&name).is_some() {
        return skipped("IDX labels");
    }
    if [".tar.gz", ".tgz", ".tar.zst"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        let problem = (
            "unsupported-container".to_owned(),
            "a compressed tar cannot be read by range: store it as a plain .tar".to_owned(),
        );
        return object(Kind::Object, Some(problem));
    }
    if is_image(&name, config) {
        return object(Kind::Object, None);
    }
    Listed::Skipped {
        why: format!(".{}", extension(&name)),
    }
}

/// Everything below a prefix of a store, or the one object that the URL names.
pub(super) fn store(
    at: Opened,
    config: SourceConfig,
) -> BoxStream<'static, Result<Listed, SourceError>> {
    let name = at.path.as_ref().to_lowercase();
    let folder = extension(&name).is_empty() && container_kind(&name).is_none();
    let http = at.root.scheme().starts_with("http");
    let listed = async move {
        let url = at.url();
        if !folder {
            match at.store.head(&at.path).await {
                Ok(meta) => {
                    let listed = of_store(&meta, at.path.as_ref(), &config);
                    return Ok(stream::iter([Ok(listed)]).boxed());
                }
                // Spark writes folders that are named like files.
                Err(object_store::Error::NotFound { .. }) if !http => {}
                Err(e) => return Err(StoreError::from_object_store("read", url, &e).into()),
            }
        }
        Ok::<_, SourceError>(below(&at, config))
    };
    stream::once(listed).try_flatten().boxed()
}

fn below(at: &Opened, config: SourceConfig) -> BoxStream<'static, Result<Listed, SourceError>> {
    let (url, root) = (at.url(), at.path.clone());
    at.store
        .list(Some(&at.path))
        .map_err(move |e| match e {
            object_store::Error::InvalidPath { source } => SourceError::List {
                url: url.clone(),
                detail: format!("it has a name that cannot be addressed: {source}"),
            },
            e => StoreError::from_object_store("list", url.clone(), &e).into(),
        })
        .map_ok(move |meta| of_store(&meta, root.as_ref(), &config))
        .boxed()
}

fn of_store(meta: &ObjectMeta, root: &str, config: &SourceConfig) -> Listed {
    let path = meta.location.as_ref();
    match classify(path, root, Some(meta.size), meta.e_tag.as_deref(), config) {
        // What stands for a folder in a bucket's browser; a disk has folders.
        Listed::Object(_) if meta.size == 0 && extension(path).is_empty() => Listed::Skipped {
            why: "empty folder marker".into(),
        },
        listed => listed,
    }
}

/// Everything below a local directory, or one file. `object_store` would hide names that end in `#digits`.
pub(super) fn local(
    at: &Opened,
    config: SourceConfig,
) -> BoxStream<'static, Result<Listed, SourceError>> {
    let root = PathBuf::from(format!("/{}", at.path));
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(e) = std::fs::metadata(&root) {
            let url = format!("file://{}", root.display());
            let error = if e.kind() == std::io::ErrorKind::NotFound {
                StoreError::NotFound {
                    url,
                    detail: e.to_string(),
                }
                .into()
            } else {
                SourceError::List {
                    url,
                    detail: e.to_string(),
                }
            };
            let _ = sender.blocking_send(Err(error));
            return;
        }
        let below = spelled(&root);
        let below = below.trim_matches('/');
        for found in walkdir::WalkDir::new(&root).follow_links(true) {
            let listed = match found {
                Ok(entry) if entry.file_type().is_dir() => continue,
                Ok(entry) => local_file(entry.path(), below, &config),
                // One folder or link that cannot be followed: a reject of its own, beside all that can be read.
                Err(e) => {
                    let why = e
                        .io_error()
                        .map_or_else(|| e.to_string(), ToString::to_string);
                    Listed::Object(unreadable(e.path().unwrap_or(&root), UNREADABLE, why))
                }
            };
            let listed = Ok(listed);
            // Whoever listed has enough.
            if sender.blocking_send(listed).is_err() {
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
    .boxed()
}

/// A place that can be named and not read.
fn unreadable(path: &FsPath, reason: &str, detail: String) -> Object {
    Object {
        path: spelled(path).trim_start_matches('/').to_owned(),
        size: None,
        etag: None,
        kind: Kind::Object,
        problem: Some((reason.to_owned(), detail)),
    }
}

/// A path as text; bytes that are not UTF-8 as `\xNN`, so that two names stay two.
fn spelled(path: &FsPath) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = path.as_os_str().as_bytes();
    bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02X}");
        }
        text
    })
}

fn local_file(path: &FsPath, root: &str, config: &SourceConfig) -> Listed {
    let Some(name) = path.to_str() else {
        let detail = "the file's name is not UTF-8: rename it".to_owned();
        return Listed::Object(unreadable(path, "unreadable-name", detail));
    };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) => return Listed::Object(unreadable(path, UNREADABLE, e.to_string())),
    };
    if !meta.is_file() {
        return Listed::Skipped {
            why: "no regular file".into(),
        };
    }
    classify(
        name.trim_start_matches('/'),
        root,
        Some(meta.len()),
        Some(&local_etag(&meta)),
        config,
    )
}

/// A text file with one URL a line, read as it comes; empty lines and lines that begin with `#` are passed over.
pub(super) fn urls(at: Opened, url: String) -> BoxStream<'static, Result<Listed, SourceError>> {
    let lines = async move {
        let failed = {
            let url = url.clone();
            move |e: object_store::Error| {
                SourceError::from(StoreError::from_object_store("read", url.clone(), &e))
            }
        };
        let body = at.store.get(&at.path).await.map_err(&failed)?.into_stream();
        let lines = Lines {
            body: body.map_err(failed).boxed(),
            pending: Vec::new(),
            at: 0,
            number: 0,
            any: false,
            url,
        };
        Ok::<_, SourceError>(stream::try_unfold(lines, |mut lines| async move {
            Ok(lines.next().await?.map(|listed| (listed, lines)))
        }))
    };
    stream::once(lines).try_flatten().boxed()
}

/// A list of URLs that is being read.
struct Lines {
    body: BoxStream<'static, Result<Bytes, SourceError>>,
    /// What was read, and where in it the next line begins.
    pending: Vec<u8>,
    at: usize,
    number: u64,
    /// Whether a URL was met.
    any: bool,
    url: String,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Listed>, SourceError> {
        while let Some(line) = self.line().await? {
            self.number += 1;
            // A byte order mark is how some editors begin a text.
            let line = line.trim_start_matches('\u{feff}').trim();
            if !line.is_empty() && !line.starts_with('#') {
                return self.listed(line).map(Some);
            }
        }
        Ok(None)
    }

    fn listed(&mut self, line: &str) -> Result<Listed, SourceError> {
        let parsed = url::Url::parse(line)
            .ok()
            .filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        let problem = match &parsed {
            None if !self.any => {
                return Err(SourceError::NotAList {
                    url: self.url.clone(),
                    line: line.chars().take(60).collect(),
                });
            }
            None => Some((
                "bad-url".to_owned(),
                format!(
                    "line {} of the list is no http:// or https:// URL",
                    self.number
                ),
            )),
            Some(url) => container_kind(&url.path().to_lowercase()).map(|_| {
                (
                    "container-in-a-list".to_owned(),
                    "a tar or Parquet file is a source of its own: give its URL as --source"
                        .to_owned(),
                )
            }),
        };
        self.any = true;
        Ok(Listed::Object(Object {
            path: line.to_owned(),
            size: None,
            etag: None,
            kind: Kind::Object,
            problem,
        }))
    }

    async fn line(&mut self) -> Result<Option<String>, SourceError> {
        loop {
            let rest = &self.pending[self.at..];
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line = String::from_utf8_lossy(&rest[..end]).into_owned();
                self.at += end + 1;
                return Ok(Some(line));
            }
            if rest.len() > LONGEST_LINE {
                return Err(SourceError::NotAList {
                    url: self.url.clone(),
                    line: String::from_utf8_lossy(&rest[..60]).into_owned(),
                });
            }
            self.pending.drain(..self.at);
            self.at = 0;
            match self.body.try_next().await? {
                Some(piece) => self.pending.extend_from_slice(&piece),
                None if self.pending.is_empty() => return Ok(None),
                None => {
                    let line = std::mem::take(&mut self.pending);
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whether_it_is_an_image_a_container_or_nothing() {
        let config = SourceConfig {
            extensions: vec!["raw".into()],
            ..SourceConfig::default()
        };
        let kind = |name: &str| match classify(name, "a", None, None, &config) {
            Listed::Object(o) => o.problem.map_or(o.kind.name().to_owned(), |p| p.0),
            Listed::Skipped { why } => why,
        };
        for (name, expected) in [
            ("a/b.JPG", "object"),
            ("a/photo#1", "object"),
            ("a/no-extension", "object"),
            ("a/2024.12.31 beach", "object"),
            ("a/x.heic", "object"),
            ("a/x.raw", "object"),
            ("a/x.tar", "tar"),
            ("a/x.parquet", "parquet"),
            ("a/train-images-idx3-ubyte", "idx"),
            ("a/t10k-images-idx3-ubyte.gz", "idx"),
            ("a/train-images.idx3-ubyte", "idx"),
            ("a/train-labels-idx1-ubyte.gz", "IDX labels"),
            ("a/photo-ubyte", "object"),
            ("a/x.tar.gz", "unsupported-container"),
            ("a/x.json", ".json"),
            ("a/.DS_Store", "hidden file"),
            ("a/_SUCCESS", "hidden file"),
            ("a/.thumbnails/x.jpg", "hidden file"),
            ("a/_temporary/0/part-0.parquet", "hidden file"),
            ("a/_delta_log/1.checkpoint.parquet", "hidden file"),
            ("a/_9dKx3", "object"),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
