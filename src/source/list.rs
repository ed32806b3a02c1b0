//! What lies behind a URL: every object, each as an image, a container, or something that is passed over and counted.

use std::path::{Path as FsPath, PathBuf};

use futures::stream::{self, BoxStream, StreamExt};
use futures::TryStreamExt;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use tokio::sync::mpsc;

use super::{Kind, SourceConfig, SourceError};
use crate::store::{self, Opened, StoreError};

/// Files that a local walk is ahead of its reader.
const AHEAD: usize = 1024;

/// Extensions of images, and of formats that are known and not read: those become rejects that say so, rather than being passed over.
const IMAGES: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif", "heic",
    "heif", "jp2", "j2k", "jxl", "psd", "svg", "ico", "exr", "hdr",
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

/// The kind of container that a lower-case name says.
pub(super) fn container_kind(name: &str) -> Option<Kind> {
    match extension(name) {
        "tar" => Some(Kind::Tar),
        "parquet" | "pq" => Some(Kind::Parquet),
        _ => None,
    }
}

/// Whether a name is an image's: by its extension, or because it has none.
pub(super) fn is_image(name: &str, config: &SourceConfig) -> bool {
    let name = name.to_lowercase();
    let extension = extension(&name);
    extension.is_empty()
        || IMAGES.contains(&extension)
        || config.extensions.iter().any(|e| e.eq_ignore_ascii_case(extension))
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

/// A path, size and etag → what is listed of it.
fn classify(path: String, size: Option<u64>, etag: Option<String>, config: &SourceConfig) -> Listed {
    let name = path.rsplit('/').next().unwrap_or(&path).to_lowercase();
    if name.starts_with('.') || name.starts_with('_') && extension(&name).is_empty() {
        return Listed::Skipped {
            why: "hidden file".into(),
        };
    }
    let object = |kind, problem| {
        Listed::Object(Object {
            path: path.clone(),
            size,
            etag: etag.clone(),
            kind,
            problem,
        })
    };
    if let Some(kind) = container_kind(&name) {
        return object(kind, None);
    }
    if name.ends_with(".tar.gz") || name.ends_with(".tgz") || name.ends_with(".tar.zst") {
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

/// Everything below a prefix of a store.
pub(super) fn store(
    at: Opened,
    config: SourceConfig,
) -> BoxStream<'static, Result<Listed, SourceError>> {
    let url = at.url();
    let single = container_kind(&at.path.as_ref().to_lowercase()).is_some();
    if single {
        let listed = async move {
            let meta = at
                .store
                .head(&at.path)
                .await
                .map_err(|e| StoreError::from_object_store("read", at.url(), &e))?;
            Ok(classify(
                meta.location.as_ref().to_owned(),
                Some(meta.size),
                meta.e_tag,
                &config,
            ))
        };
        return stream::once(listed).boxed();
    }
    at.store
        .list(Some(&at.path))
        .map_err(move |e| match e {
            object_store::Error::InvalidPath { source } => SourceError::List {
                url: url.clone(),
                detail: format!("it has a name that cannot be addressed: {source}"),
            },
            e => StoreError::from_object_store("list", url.clone(), &e).into(),
        })
        .map_ok(move |meta| {
            classify(
                meta.location.as_ref().to_owned(),
                Some(meta.size),
                meta.e_tag,
                &config,
            )
        })
        .boxed()
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
        for found in walkdir::WalkDir::new(&root).follow_links(true) {
            let listed = match found {
                Ok(entry) if entry.file_type().is_dir() => continue,
                Ok(entry) => local_file(entry.path(), &config),
                Err(e) => Err(SourceError::List {
                    url: e
                        .path()
                        .map_or_else(String::new, |p| format!("file://{}", p.display())),
                    detail: e
                        .io_error()
                        .map_or_else(|| e.to_string(), ToString::to_string),
                }),
            };
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

fn local_file(path: &FsPath, config: &SourceConfig) -> Result<Listed, SourceError> {
    let Some(name) = path.to_str() else {
        return Ok(Listed::Object(Object {
            path: path.to_string_lossy().trim_start_matches('/').to_owned(),
            size: None,
            etag: None,
            kind: Kind::Object,
            problem: Some((
                "unreadable-name".to_owned(),
                "the file's name is not UTF-8: rename it".to_owned(),
            )),
        }));
    };
    let meta = std::fs::metadata(path).map_err(|e| SourceError::List {
        url: format!("file://{name}"),
        detail: e.to_string(),
    })?;
    let etag = {
        use std::os::unix::fs::MetadataExt as _;
        format!(
            "{:x}-{:x}.{:x}-{:x}",
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.size()
        )
    };
    Ok(classify(
        name.trim_start_matches('/').to_owned(),
        Some(meta.len()),
        Some(etag),
        config,
    ))
}

/// A text file with one URL a line; empty lines and lines that begin with `#` are passed over.
pub(super) fn urls(at: Opened, url: String) -> BoxStream<'static, Result<Listed, SourceError>> {
    let lines = async move {
        let bytes = store::read(&*at.store, &at.path, &url).await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let listed: Vec<_> = text
            .lines()
            .enumerate()
            .map(|(n, line)| (n + 1, line.trim().to_owned()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(n, line)| {
                let good = url::Url::parse(&line)
                    .is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
                let problem = (!good).then(|| {
                    (
                        "bad-url".to_owned(),
                        format!("line {n} of the list is no http:// or https:// URL"),
                    )
                });
                Ok(Listed::Object(Object {
                    path: line,
                    size: None,
                    etag: None,
                    kind: Kind::Object,
                    problem,
                }))
            })
            .collect();
        Ok::<_, SourceError>(stream::iter(listed))
    };
    stream::once(lines).try_flatten().boxed()
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
        let kind = |name: &str| match classify(name.to_owned(), None, None, &config) {
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
            ("a/x.tar.gz", "unsupported-container"),
            ("a/x.json", ".json"),
            ("a/.DS_Store", "hidden file"),
            ("a/_SUCCESS", "hidden file"),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
