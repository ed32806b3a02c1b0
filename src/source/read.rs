//! Bytes of an object, whole or by range: one attempt, with what the store says sorted by what follows from it.

use std::io::Read as _;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, GetResult, ObjectStore};

use super::{ReadError, ReadErrorKind, SourceError};
use crate::store::{self, StorageOptions, StoreError};

/// Reads objects of a source.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Local files are read directly: `object_store` refuses names that end in `#digits`.
    pub(super) local: bool,
    /// After how long without a byte a read is stuck.
    pub(super) timeout: Duration,
    /// Where objects are URLs of any host: what reads them.
    pub(super) urls: Option<Arc<Hosts>>,
}

/// What reads a list of URLs: each as it is written, all with the same two clients, so that connections are used again.
#[derive(Debug)]
pub(super) struct Hosts {
    storage: StorageOptions,
    plain: Shared,
    tls: Shared,
}

/// A client that is made once.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<OnceLock<HttpClient>>);

impl HttpConnector for Shared {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        if let Some(client) = self.0.get() {
            return Ok(client.clone());
        }
        let client = ReqwestConnector::default().connect(options)?;
        Ok(self.0.get_or_init(|| client).clone())
    }
}

impl Hosts {
    pub(super) fn new(storage: StorageOptions) -> Self {
        Self {
            storage,
            plain: Shared::default(),
            tls: Shared::default(),
        }
    }

    /// A store of this URL alone. A path would be taken apart and put together again, which not every URL outlasts.
    fn open(&self, text: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let url = store::parse_url(text)?;
        let client = match url.scheme() {
            "http" => &self.plain,
            _ => &self.tls,
        };
        store::http(url.as_str(), &self.storage, client.clone())
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
            let etag = etag.map(str::to_owned);
            return self.in_time(local_file(object, etag, max_bytes)).await?;
        }
        let options = GetOptions {
            if_match: matching(etag),
            ..GetOptions::default()
        };
        let (store, path) = self.place(object)?;
        let got = self.in_time(store.get_opts(&path, options)).await?;
        let got = got.map_err(|e| self.sort(&e))?;
        let announced = got.meta.size;
        if size.is_some_and(|listed| listed != announced) || is_another(etag, &got) {
            return Err(changed());
        }
        if announced > max_bytes {
            return Err(ReadError::too_large(announced, max_bytes));
        }
        self.collect(got, announced).await
    }

    /// The object's size; none where the store answers without telling it.
    ///
    /// # Errors
    /// [`ReadErrorKind::Retryable`] alone: a store that does not answer, after some attempts, may tell it later.
    pub(super) async fn size(&self, object: &str) -> Result<Option<u64>, ReadError> {
        let is_silent = |e: &ReadError| e.kind == ReadErrorKind::Retryable;
        let mut size = with_retries(|| self.announced(object, true)).await;
        if size.as_ref().is_err_and(is_silent) {
            // Some servers answer nothing but reads.
            size = self.announced(object, false).await;
        }
        match size {
            Err(e) if is_silent(&e) => Err(e),
            size => Ok(size.ok()),
        }
    }

    /// The size that the store says the object has, asked for once: by its head alone, or by an answer whose bytes are left.
    pub(super) async fn announced(&self, object: &str, head: bool) -> Result<u64, ReadError> {
        if self.local {
            let meta = tokio::fs::metadata(format!("/{object}")).await.ok();
            let size = meta.filter(std::fs::Metadata::is_file).map(|m| m.len());
            return size.ok_or_else(|| ReadError {
                kind: ReadErrorKind::NotFound,
                detail: "there is no such file".into(),
            });
        }
        let options = GetOptions {
            head,
            ..GetOptions::default()
        };
        let (store, path) = self.place(object)?;
        let got = self.in_time(store.get_opts(&path, options)).await?;
        got.map(|got| got.meta.size).map_err(|e| self.sort(&e))
    }

    /// The object's first byte.
    pub(super) async fn first_byte(&self, object: &str) -> Result<Bytes, ReadError> {
        self.range(object, 0..1, None).await
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
            let etag = etag.map(str::to_owned);
            return self.in_time(local_range(object, range, etag)).await?;
        }
        let options = GetOptions {
            if_match: matching(etag),
            range: Some(range.clone().into()),
            ..GetOptions::default()
        };
        let (store, path) = self.place(object)?;
        let got = self.in_time(store.get_opts(&path, options)).await?;
        let got = got.map_err(|e| self.sort(&e))?;
        if is_another(etag, &got) {
            return Err(changed());
        }
        self.collect(got, range.end - range.start).await
    }

    /// The body, piece by piece: a server that announces one size and sends another cannot fill the memory, and a slow one is not stuck.
    async fn collect(&self, got: GetResult, expected: u64) -> Result<Bytes, ReadError> {
        let mut bytes = Vec::with_capacity(expected as usize);
        let mut body = got.into_stream();
        while let Some(piece) = self
            .in_time(body.try_next())
            .await?
            .map_err(|e| self.sort(&e))?
        {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > expected {
                return Err(ReadError {
                    kind: ReadErrorKind::Changed,
                    detail: format!("it has more than the {expected} bytes it was listed with"),
                });
            }
        }
        if bytes.len() as u64 == expected {
            Ok(bytes.into())
        } else {
            Err(ReadError {
                kind: ReadErrorKind::Retryable,
                detail: format!("truncated body: {} of {expected} bytes", bytes.len()),
            })
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, ReadError> {
        tokio::time::timeout(self.timeout, work)
            .await
            .map_err(|_| ReadError {
                kind: ReadErrorKind::Retryable,
                detail: format!("stuck: nothing came for {} s", self.timeout.as_secs_f64()),
            })
    }

    fn place(&self, object: &str) -> Result<(Arc<dyn ObjectStore>, Path), ReadError> {
        let unreadable = |detail: String| ReadError {
            kind: ReadErrorKind::Unreadable,
            detail,
        };
        if let Some(hosts) = &self.urls {
            let store = hosts.open(object).map_err(|e| unreadable(e.to_string()))?;
            return Ok((store, Path::default()));
        }
        let path = Path::parse(object).map_err(|e| unreadable(e.to_string()))?;
        Ok((Arc::clone(&self.store), path))
    }
}

/// What a weak etag begins with.
const WEAK: &str = "W/";

/// Only a strong etag can be matched.
fn matching(etag: Option<&str>) -> Option<String> {
    etag.filter(|e| !e.starts_with(WEAK)).map(str::to_owned)
}

fn without_strength(etag: &str) -> &str {
    etag.strip_prefix(WEAK).unwrap_or(etag)
}

/// Whether an answer is of another state than the one with this weak etag, which the store was not asked to match.
fn is_another(listed: Option<&str>, got: &GetResult) -> bool {
    match (listed, got.meta.e_tag.as_deref()) {
        (Some(listed), Some(now)) if listed.starts_with(WEAK) => {
            without_strength(listed) != without_strength(now)
        }
        _ => false,
    }
}

/// What tells a local file from another that takes its place: time of change and size. Inodes are others after a copy, and on some file systems after each mount.
pub(super) fn local_etag(meta: &std::fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;
    format!(
        "{:x}.{:x}-{:x}",
        meta.mtime(),
        meta.mtime_nsec(),
        meta.size()
    )
}

/// Whether an etag is the one that was listed. Of local files earlier versions listed the inode as well, first.
pub(crate) fn is_same_state(listed: &str, now: &str) -> bool {
    let before = listed.strip_suffix(now);
    before.is_some_and(|inode| inode.is_empty() || inode.ends_with('-'))
}

/// A local file, which must be the one that was listed: the next listing has it as another state of the image, which would then be labelled twice.
async fn local_file(
    object: &str,
    etag: Option<String>,
    max_bytes: u64,
) -> Result<Bytes, ReadError> {
    blocking(format!("/{object}"), move |path| {
        let meta = std::fs::metadata(&path)?;
        if !meta.is_file() {
            // A pipe would block for ever when it is opened.
            return Ok(Err(ReadError {
                kind: ReadErrorKind::Changed,
                detail: "it is no regular file any more".into(),
            }));
        }
        if etag.is_some_and(|listed| !is_same_state(&listed, &local_etag(&meta))) {
            return Ok(Err(changed()));
        }
        if meta.len() > max_bytes {
            return Ok(Err(ReadError::too_large(meta.len(), max_bytes)));
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        let file = std::fs::File::open(path)?;
        file.take(max_bytes).read_to_end(&mut bytes)?;
        Ok(Ok(bytes.into()))
    })
    .await
}

/// A range of a local container, which must be the one that was listed: in another the range holds another image.
async fn local_range(
    object: &str,
    range: Range<u64>,
    etag: Option<String>,
) -> Result<Bytes, ReadError> {
    blocking(format!("/{object}"), move |path| {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::File::open(path)?;
        if let Some(listed) = etag
            && !is_same_state(&listed, &local_etag(&file.metadata()?))
        {
            return Ok(Err(changed()));
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(Ok(bytes.into()))
    })
    .await
}

async fn blocking(
    path: String,
    read: impl FnOnce(String) -> std::io::Result<Result<Bytes, ReadError>> + Send + 'static,
) -> Result<Bytes, ReadError> {
    let failed = |kind, detail| ReadError { kind, detail };
    match tokio::task::spawn_blocking(move || read(path)).await {
        Ok(Ok(read)) => read,
        Ok(Err(e)) => Err(failed(
            match e.kind() {
                std::io::ErrorKind::NotFound => ReadErrorKind::NotFound,
                std::io::ErrorKind::UnexpectedEof => ReadErrorKind::Changed,
                // A file that may not be read: the others may be.
                std::io::ErrorKind::PermissionDenied => ReadErrorKind::Forbidden,
                _ => ReadErrorKind::Retryable,
            },
            e.to_string(),
        )),
        Err(e) => Err(failed(ReadErrorKind::Retryable, e.to_string())),
    }
}

fn changed() -> ReadError {
    ReadError {
        kind: ReadErrorKind::Changed,
        detail: "it has changed since it was listed: run `understudy label` again".into(),
    }
}

impl Reader {
    /// What follows from a store's error.
    fn sort(&self, error: &object_store::Error) -> ReadError {
        let kind = match error {
            object_store::Error::NotFound { .. } => ReadErrorKind::NotFound,
            object_store::Error::Precondition { .. } => return changed(),
            // A conflict, which is what Azure says of an archived blob.
            object_store::Error::AlreadyExists { source, .. } => {
                return ReadError {
                    kind: ReadErrorKind::Unreadable,
                    detail: source.to_string(),
                };
            }
            object_store::Error::InvalidPath { .. }
            | object_store::Error::NotSupported { .. }
            | object_store::Error::NotImplemented { .. } => ReadErrorKind::Unreadable,
            _ => ReadErrorKind::Retryable,
        };
        match StoreError::from_object_store("read", "", error) {
            StoreError::Credentials { detail, .. } => {
                // Of a list of URLs every host has credentials of its own, or none.
                let all =
                    self.urls.is_none() && (is_anonymous(error) || store::refuses_all(&detail));
                let kind = if all {
                    ReadErrorKind::Credentials
                } else {
                    ReadErrorKind::Forbidden
                };
                ReadError { kind, detail }
            }
            StoreError::NotFound { detail, .. } | StoreError::Failed { detail, .. } => {
                // object_store cannot read an answer that does not say how long it is.
                let kind = if detail.to_lowercase().contains("content-length") {
                    ReadErrorKind::Unreadable
                } else if kind == ReadErrorKind::Retryable {
                    answered(&detail).unwrap_or(kind)
                } else {
                    kind
                };
                ReadError { kind, detail }
            }
            other => ReadError {
                kind,
                detail: other.to_string(),
            },
        }
    }
}

/// What follows from a store's answer that it would give again: a 4xx, such as of an archived object, which is no request to come later. Who gives the credentials may refuse as well.
fn answered(detail: &str) -> Option<ReadErrorKind> {
    let (_, rest) = detail.split_once("status code: ")?;
    match rest.get(..3)?.parse::<u16>().ok()? {
        408 | 425 | 429 => None,
        401 | 403 => Some(ReadErrorKind::Forbidden),
        400..500 => Some(ReadErrorKind::Unreadable),
        _ => None,
    }
}

/// Whether no credentials were found at all, rather than refused.
fn is_anonymous(error: &object_store::Error) -> bool {
    !matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    )
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

/// A container that cannot be read ends the listing: going on would lose its images silently. One that was listed and is another one now, or gone, is for whoever lists to see to.
pub(super) fn listing_error(url: String, error: ReadError) -> SourceError {
    let detail = error.detail;
    match error.kind {
        ReadErrorKind::Credentials | ReadErrorKind::Forbidden => {
            StoreError::Credentials { url, detail }.into()
        }
        ReadErrorKind::NotFound => SourceError::Gone { url },
        ReadErrorKind::Changed => SourceError::Changed { url },
        _ => StoreError::Failed {
            action: "read",
            url,
            detail,
        }
        .into(),
    }
}
