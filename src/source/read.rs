//! Bytes of an object, whole or by range: one attempt, with what the store says sorted by what follows from it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore};

use super::{ReadError, ReadErrorKind, SourceError};
use crate::store::{self, StorageOptions, StoreError};

/// Reads objects of a source.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Local files are read directly: `object_store` refuses names that end in `#digits`.
    pub(super) local: bool,
    /// Whether to ask for the version that was listed.
    pub(super) if_match: bool,
    /// Where objects are URLs of any host: the hosts met so far.
    pub(super) urls: Option<Arc<Hosts>>,
}

/// The web servers of a list of URLs, each opened once so that connections are used again.
#[derive(Debug)]
pub(super) struct Hosts {
    storage: StorageOptions,
    open: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Hosts {
    pub(super) fn new(storage: StorageOptions) -> Self {
        Self {
            storage,
            open: Mutex::default(),
        }
    }

    /// The store and the path for a URL. One with a query is a store of its own, whose base keeps the query.
    fn place(&self, text: &str) -> Result<(Arc<dyn ObjectStore>, Path), StoreError> {
        let url = store::parse_url(text)?;
        if url.query().is_some() {
            return Ok((store::http(text, &self.storage)?, Path::default()));
        }
        let origin = &url[..url::Position::BeforePath];
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let host = match open.get(origin) {
            Some(host) => Arc::clone(host),
            None => {
                let host = store::http(origin, &self.storage)?;
                open.insert(origin.to_owned(), Arc::clone(&host));
                host
            }
        };
        let path = Path::from_url_path(url.path()).map_err(|e| StoreError::BadUrl {
            url: text.to_owned(),
            why: e.to_string(),
        })?;
        Ok((host, path))
    }
}

impl Reader {
    /// The whole object. `size` is what the listing said.
    pub(super) async fn whole(
        &self,
        object: &str,
        size: Option<u64>,
        etag: Option<&str>,
        max_bytes: u64,
    ) -> Result<Bytes, ReadError> {
        if self.local {
            return local(object, None).await;
        }
        let options = GetOptions {
            if_match: self.matching(etag),
            ..GetOptions::default()
        };
        let (store, path) = self.place(object)?;
        let got = store.get_opts(&path, options).await.map_err(sort)?;
        let announced = got.meta.size;
        if announced > max_bytes {
            return Err(ReadError {
                kind: ReadErrorKind::TooLarge,
                detail: format!("{announced} bytes are more than the limit of {max_bytes}"),
            });
        }
        // Collected piece by piece, so that a server that announces nothing cannot fill the memory.
        let mut bytes = Vec::with_capacity(announced.min(max_bytes) as usize);
        let mut body = got.into_stream();
        while let Some(piece) = body.try_next().await.map_err(sort)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > max_bytes {
                return Err(ReadError {
                    kind: ReadErrorKind::TooLarge,
                    detail: format!("more than the limit of {max_bytes} bytes"),
                });
            }
        }
        whole_of(bytes.into(), size.unwrap_or(announced))
    }

    /// A range of the object.
    pub(super) async fn range(
        &self,
        object: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Bytes, ReadError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if self.local {
            return local(object, Some(range)).await;
        }
        let options = GetOptions {
            if_match: self.matching(etag),
            range: Some(range.clone().into()),
            ..GetOptions::default()
        };
        let (store, path) = self.place(object)?;
        let bytes = store
            .get_opts(&path, options)
            .await
            .map_err(sort)?
            .bytes()
            .await
            .map_err(sort)?;
        whole_of(bytes, range.end - range.start)
    }

    /// Only a strong etag can be matched.
    fn matching(&self, etag: Option<&str>) -> Option<String> {
        etag.filter(|e| self.if_match && !e.starts_with("W/"))
            .map(str::to_owned)
    }

    fn place(&self, object: &str) -> Result<(Arc<dyn ObjectStore>, Path), ReadError> {
        let unreadable = |detail: String| ReadError {
            kind: ReadErrorKind::Unreadable,
            detail,
        };
        if let Some(hosts) = &self.urls {
            return hosts.place(object).map_err(|e| unreadable(e.to_string()));
        }
        let path = Path::parse(object).map_err(|e| unreadable(e.to_string()))?;
        Ok((Arc::clone(&self.store), path))
    }
}

fn whole_of(bytes: Bytes, expected: u64) -> Result<Bytes, ReadError> {
    if bytes.len() as u64 == expected {
        Ok(bytes)
    } else {
        Err(ReadError {
            kind: ReadErrorKind::Retryable,
            detail: format!("truncated body: {} of {expected} bytes", bytes.len()),
        })
    }
}

async fn local(object: &str, range: Option<Range<u64>>) -> Result<Bytes, ReadError> {
    let path = format!("/{object}");
    let read = move || -> std::io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt as _;
        match range {
            None => std::fs::read(path),
            Some(range) => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                std::fs::File::open(path)?.read_exact_at(&mut bytes, range.start)?;
                Ok(bytes)
            }
        }
    };
    let failed = |kind, detail| ReadError { kind, detail };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(e)) => Err(failed(
            match e.kind() {
                std::io::ErrorKind::NotFound => ReadErrorKind::NotFound,
                std::io::ErrorKind::UnexpectedEof => ReadErrorKind::Changed,
                // A file that may not be read: the others may be.
                std::io::ErrorKind::PermissionDenied => ReadErrorKind::Unreadable,
                _ => ReadErrorKind::Retryable,
            },
            e.to_string(),
        )),
        Err(e) => Err(failed(ReadErrorKind::Retryable, e.to_string())),
    }
}

/// What follows from a store's error.
fn sort(error: object_store::Error) -> ReadError {
    let kind = match &error {
        object_store::Error::NotFound { .. } => ReadErrorKind::NotFound,
        object_store::Error::Precondition { .. } => ReadErrorKind::Changed,
        object_store::Error::InvalidPath { .. }
        | object_store::Error::NotSupported { .. }
        | object_store::Error::NotImplemented { .. } => ReadErrorKind::Unreadable,
        _ => ReadErrorKind::Retryable,
    };
    match StoreError::from_object_store("read", "", &error) {
        StoreError::Credentials { detail, .. } => ReadError {
            kind: ReadErrorKind::Credentials,
            detail,
        },
        StoreError::NotFound { detail, .. } | StoreError::Failed { detail, .. } => {
            let detail = if kind == ReadErrorKind::Changed {
                "it has changed since it was listed: run `understudy label` again".to_owned()
            } else {
                detail
            };
            ReadError { kind, detail }
        }
        other => ReadError {
            kind,
            detail: other.to_string(),
        },
    }
}

/// How often a container's index is asked for before the listing fails.
const INDEX_ATTEMPTS: u32 = 4;

/// Repeats a read of an index, with doubling pauses.
pub(super) async fn with_retries<T, F: Future<Output = Result<T, ReadError>>>(
    read: impl Fn() -> F,
) -> Result<T, ReadError> {
    let mut pause = Duration::from_millis(100);
    let mut attempt = 1;
    loop {
        match read().await {
            Err(e) if e.kind == ReadErrorKind::Retryable && attempt < INDEX_ATTEMPTS => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// A container that cannot be indexed ends the listing: going on would lose its images silently.
pub(super) fn listing_error(url: String, error: ReadError) -> SourceError {
    let detail = error.detail;
    match error.kind {
        ReadErrorKind::Credentials => StoreError::Credentials { url, detail }.into(),
        ReadErrorKind::NotFound => StoreError::NotFound { url, detail }.into(),
        _ => StoreError::Failed {
            action: "read",
            url,
            detail,
        }
        .into(),
    }
}
