//! A URL → an object store with its retry and time-out settings.
//!
//! `file://`, `s3://`, `gs://`, `az://`, `http(s)://` and `memory://` are opened through [`object_store`]; the store itself is used as
//! it is, without a wrapper. Endpoint, region, credentials and allow-http come from the usual environment variables
//! (`AWS_ENDPOINT_URL`, `AWS_REGION`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, …) and from
//! `--storage-option key=value`, which wins.

use std::collections::BTreeMap;
use std::path::{Component, Path as FsPath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpConnector, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt,
    ObjectStoreScheme, PutMode, PutPayload, RetryConfig,
};
use url::Url;

mod error;
pub(crate) mod local;

pub use self::error::StoreError;
use self::error::innermost;
pub(crate) use self::error::{not_written, refuses_all};
use crate::error::nearest;

/// How often the store's own client repeats a request that failed with a 5xx, a time-out or a broken connection.
pub const DEFAULT_RETRIES: usize = 6;

/// How long a connection may take to be set up; the stores' builders take it as text, since whole client options would undo what the environment
/// says of HTTP and proxies.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT_TEXT: &str = "10 seconds";

/// How long one request may take, body included. Shard and manifest objects are a few MiB, so this is generous.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
const REQUEST_TIMEOUT_TEXT: &str = "2 minutes";

/// Options of a store, as typed: `--storage-option key=value`.
#[derive(Debug, Clone, Default)]
pub struct StorageOptions {
    /// The pairs; a later one wins.
    pub pairs: BTreeMap<String, String>,
    /// Retries inside the store's client; `None` for [`DEFAULT_RETRIES`]. The fetch stage counts attempts itself and sets zero.
    pub retries: Option<usize>,
}

impl StorageOptions {
    /// The same options for a client that does not repeat anything by itself.
    #[must_use]
    pub fn without_retries(&self) -> Self {
        Self {
            retries: Some(0),
            ..self.clone()
        }
    }
}

/// An open store and the place in it that the URL names.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The store, at the bucket's (or the file system's) root.
    pub store: Arc<dyn ObjectStore>,
    /// The root's URL, ending in `/`: `s3://bucket/`, `file:///`.
    pub root: Url,
    /// The place inside the store.
    pub path: Path,
}

impl Opened {
    /// The key of an object of this store: the root's URL and the object's path as the store spells it, without percent-encoding.
    pub fn key(&self, path: &Path) -> String {
        format!("{}{}", self.root, path.as_ref())
    }

    /// The URL of an object, percent-encoded as DataFusion wants it.
    pub fn encoded(&self, path: &Path) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            for part in path.parts() {
                segments.push(part.as_ref());
            }
        }
        url
    }

    /// The URL as the user would type it.
    pub fn url(&self) -> String {
        self.key(&self.path)
    }

    /// Whether this is the local file system.
    pub fn is_local(&self) -> bool {
        self.root.scheme() == "file"
    }
}

/// A path or URL as typed → a URL. Paths become `file://` URLs and are made absolute.
pub fn parse_url(text: &str) -> Result<Url, StoreError> {
    let bad = |why: String| StoreError::BadUrl {
        url: text.to_owned(),
        why,
    };
    if text.is_empty() {
        return Err(bad("it is empty".into()));
    }
    if !text.contains("://") {
        let absolute = absolute(FsPath::new(text)).map_err(|e| bad(e.to_string()))?;
        return Url::from_file_path(&absolute)
            .map_err(|()| bad("the path cannot be written as a URL".into()));
    }
    if let Some(path) = text.strip_prefix("file://") {
        // Taken as the file system spells it, so that `%` and `#` in names need no escaping.
        if !path.starts_with('/') {
            return Err(bad(
                "a file URL has three slashes before the path: file:///data/images".into(),
            ));
        }
        let absolute = absolute(FsPath::new(path)).map_err(|e| bad(e.to_string()))?;
        return Url::from_file_path(absolute)
            .map_err(|()| bad("the path cannot be written as a URL".into()));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Url::parse(text).map_err(|e| bad(e.to_string()));
    }
    // A bucket's names are taken as they are, as keys are printed.
    let literal = text
        .replace('%', "%25")
        .replace('#', "%23")
        .replace('?', "%3F");
    Url::parse(&literal).map_err(|e| bad(e.to_string()))
}

/// A path from the root. `..` is followed as the system follows it, through links; below a folder that is not there yet it is taken as it is spelled.
fn absolute(path: &FsPath) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut followed = PathBuf::new();
    for component in absolute.components() {
        if component == Component::ParentDir {
            followed = followed.canonicalize().unwrap_or(followed);
            followed.pop();
        } else {
            followed.push(component);
        }
    }
    // `components` drops what may tell a folder: a slash at the end.
    let is_folder = absolute.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_folder && followed.parent().is_some() {
        followed.push("");
    }
    Ok(followed)
}

/// Opens the store that a URL or path names.
///
/// # Errors
/// [`StoreError::BadUrl`] for a scheme that is not known, [`StoreError::UnknownOption`] for a storage option that the store does
/// not have. Nothing is asked of the store yet.
pub fn open(text: &str, options: &StorageOptions) -> Result<Opened, StoreError> {
    let url = parse_url(text)?;
    let bad = |why: String| StoreError::BadUrl {
        url: text.to_owned(),
        why,
    };
    let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|e| bad(e.to_string()))?;
    let fail = |e: object_store::Error| bad(innermost(&e));
    let (store, root): (Arc<dyn ObjectStore>, String) = match scheme {
        ObjectStoreScheme::Local => (Arc::new(LocalFileSystem::new()), "file:///".into()),
        ObjectStoreScheme::Memory => (Arc::new(InMemory::new()), "memory:///".into()),
        ObjectStoreScheme::AmazonS3 => {
            let mut builder = AmazonS3Builder::from_env()
                .with_config(
                    AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout),
                    CONNECT_TIMEOUT_TEXT,
                )
                .with_config(
                    AmazonS3ConfigKey::Client(ClientConfigKey::Timeout),
                    REQUEST_TIMEOUT_TEXT,
                )
                .with_url(url.as_str())
                .with_retry(retry(options));
            for (key, value) in &options.pairs {
                if let Some(key) = config_key::<AmazonS3ConfigKey>(key, "Amazon S3", S3_OPTIONS)? {
                    builder = builder.with_config(key, value);
                }
            }
            (Arc::new(builder.build().map_err(fail)?), bucket_root(&url))
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_config(
                    GoogleConfigKey::Client(ClientConfigKey::ConnectTimeout),
                    CONNECT_TIMEOUT_TEXT,
                )
                .with_config(
                    GoogleConfigKey::Client(ClientConfigKey::Timeout),
                    REQUEST_TIMEOUT_TEXT,
                )
                .with_url(url.as_str())
                .with_retry(retry(options));
            for (key, value) in &options.pairs {
                if let Some(key) =
                    config_key::<GoogleConfigKey>(key, "Google Cloud Storage", GCS_OPTIONS)?
                {
                    builder = builder.with_config(key, value);
                }
            }
            (Arc::new(builder.build().map_err(fail)?), bucket_root(&url))
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_config(
                    AzureConfigKey::Client(ClientConfigKey::ConnectTimeout),
                    CONNECT_TIMEOUT_TEXT,
                )
                .with_config(
                    AzureConfigKey::Client(ClientConfigKey::Timeout),
                    REQUEST_TIMEOUT_TEXT,
                )
                .with_url(url.as_str())
                .with_retry(retry(options));
            for (key, value) in &options.pairs {
                if let Some(key) =
                    config_key::<AzureConfigKey>(key, "Azure Blob Storage", AZURE_OPTIONS)?
                {
                    builder = builder.with_config(key, value);
                }
            }
            (Arc::new(builder.build().map_err(fail)?), bucket_root(&url))
        }
        ObjectStoreScheme::Http => {
            let origin = &url[..url::Position::BeforePath];
            (
                http(origin, options, ReqwestConnector::default())?,
                format!("{origin}/"),
            )
        }
        other => return Err(bad(format!("{other:?} is not supported"))),
    };
    let root = Url::parse(&root).map_err(|e| bad(e.to_string()))?;
    Ok(Opened { store, root, path })
}

/// A web server, or with a whole URL one resource of it. `connector` makes its client.
///
/// # Errors
/// As [`open`].
pub fn http(
    base: &str,
    options: &StorageOptions,
    connector: impl HttpConnector,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let mut builder = HttpBuilder::new()
        .with_url(base)
        .with_client_options(
            ClientOptions::new()
                .with_connect_timeout(CONNECT_TIMEOUT)
                .with_timeout(REQUEST_TIMEOUT)
                .with_allow_http(base.starts_with("http://")),
        )
        .with_retry(retry(options))
        .with_http_connector(connector);
    for (key, value) in &options.pairs {
        if let Some(key) = config_key::<ClientConfigKey>(key, "an HTTP server", HTTP_OPTIONS)? {
            builder = builder.with_config(key, value);
        }
    }
    let store = builder.build().map_err(|e| StoreError::BadUrl {
        url: base.to_owned(),
        why: innermost(&e),
    })?;
    Ok(Arc::new(store))
}

fn bucket_root(url: &Url) -> String {
    format!("{}/", &url[..url::Position::BeforePath])
}

fn retry(options: &StorageOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: options.retries.unwrap_or(DEFAULT_RETRIES),
        retry_timeout: REQUEST_TIMEOUT,
    }
}

const S3_OPTIONS: &[&str] = &[
    "access_key_id",
    "secret_access_key",
    "session_token",
    "region",
    "endpoint",
    "allow_http",
    "virtual_hosted_style_request",
    "skip_signature",
    "unsigned_payload",
    "imdsv1_fallback",
    "timeout",
    "connect_timeout",
];
const GCS_OPTIONS: &[&str] = &[
    "service_account",
    "service_account_key",
    "application_credentials",
    "skip_signature",
    "allow_http",
    "timeout",
];
const AZURE_OPTIONS: &[&str] = &[
    "account_name",
    "access_key",
    "client_id",
    "client_secret",
    "tenant_id",
    "sas_key",
    "endpoint",
    "use_emulator",
    "skip_signature",
    "allow_http",
];
const HTTP_OPTIONS: &[&str] = &[
    "allow_http",
    "timeout",
    "connect_timeout",
    "proxy_url",
    "user_agent",
];

/// The store's option of this name. `None` for one that another store has: the workspace and the source may be of two kinds.
fn config_key<K: FromStr>(
    key: &str,
    store: &'static str,
    known: &[&str],
) -> Result<Option<K>, StoreError> {
    let name = key.to_ascii_lowercase();
    if let Ok(key) = K::from_str(&name) {
        return Ok(Some(key));
    }
    let elsewhere = AmazonS3ConfigKey::from_str(&name).is_ok()
        || GoogleConfigKey::from_str(&name).is_ok()
        || AzureConfigKey::from_str(&name).is_ok()
        || ClientConfigKey::from_str(&name).is_ok();
    if elsewhere {
        return Ok(None);
    }
    Err(StoreError::UnknownOption {
        key: key.to_owned(),
        store,
        near: nearest(key, known.iter().copied()),
    })
}

/// What a create-only put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object was not there; now it holds our bytes.
    New,
    /// The object was there with the very same bytes: our own put whose answer was lost, or another worker's equal one.
    Same,
    /// The object was there with other bytes, which stay.
    Other,
}

/// Creates an object, once: the one way anything is committed.
///
/// A put whose answer was lost is repeated by the client and then meets its own object; comparing the bytes tells that from
/// another writer's object.
///
/// # Errors
/// Any [`StoreError`] but [`StoreError::AlreadyExists`], which becomes [`Created::Same`] or [`Created::Other`].
pub async fn create(
    store: &dyn ObjectStore,
    path: &Path,
    url: &str,
    bytes: bytes::Bytes,
) -> Result<Created, StoreError> {
    let put = store
        .put_opts(
            path,
            PutPayload::from_bytes(bytes.clone()),
            PutMode::Create.into(),
        )
        .await;
    let Err(error) = put else {
        return Ok(Created::New);
    };
    // Whatever the store said: if the object is there, it was committed, by us (the answer was lost) or by another worker.
    match read(store, path, url).await {
        Ok(there) if there == bytes => Ok(Created::Same),
        Ok(_) => Ok(Created::Other),
        // It is there, and whose it is cannot be told.
        Err(e) if matches!(error, object_store::Error::AlreadyExists { .. }) => Err(e),
        Err(_) => Err(StoreError::from_object_store("write", url, &error)),
    }
}

/// All objects below a folder, by name.
///
/// # Errors
/// [`StoreError`].
pub async fn objects(at: &Opened, folder: &Path) -> Result<Vec<ObjectMeta>, StoreError> {
    let listed: Result<Vec<_>, _> = at.store.list(Some(folder)).try_collect().await;
    let mut found =
        listed.map_err(|e| StoreError::from_object_store("list", at.key(folder), &e))?;
    found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
    Ok(found)
}

/// Reads a whole object.
///
/// # Errors
/// [`StoreError`] with `url` in it.
pub async fn read(
    store: &dyn ObjectStore,
    path: &Path,
    url: &str,
) -> Result<bytes::Bytes, StoreError> {
    let fail = |e: object_store::Error| StoreError::from_object_store("read", url, &e);
    store
        .get(path)
        .await
        .map_err(fail)?
        .bytes()
        .await
        .map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_and_a_file_url_open_the_same_place() {
        let options = StorageOptions::default();
        let by_path = open("/data/a b#1", &options).unwrap();
        let by_url = open("file:///data/a b#1", &options).unwrap();
        assert_eq!(by_path.url(), by_url.url());
        assert_eq!(by_path.url(), "file:///data/a b#1");
    }

    #[test]
    fn signs_of_urls_in_a_buckets_names_are_part_of_them() {
        let options = StorageOptions::default();
        for url in [
            "memory:///set#2/a?b.jpg",
            "memory:///d%20x/y.tar",
            "memory:///ü b",
        ] {
            let opened = open(url, &options).unwrap();
            assert_eq!(opened.url(), url);
        }
        let asked = open("https://host/a%20b?c=d#e", &options).unwrap();
        assert_eq!(asked.url(), "https://host/a b");
    }

    #[test]
    fn two_dots_are_followed_through_links_and_beyond_what_is_there() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).unwrap();
        let url = |tail: &str| {
            let path = format!("{}/{tail}", root.display());
            let opened = open(&path, &StorageOptions::default()).unwrap();
            let url = open(&format!("file://{path}"), &StorageOptions::default()).unwrap();
            assert_eq!(opened.url(), url.url());
            opened
                .url()
                .replace(&format!("file://{}", root.display()), "")
        };
        for (typed, meant) in [
            ("a/../w", "/w"),
            ("a/b/../../x#1", "/x#1"),
            ("link/../w", "/a/w"),
            ("new/../w", "/w"),
            ("a/*/../x", "/a/x"),
        ] {
            assert_eq!(url(typed), meant, "{typed}");
        }
        assert_eq!(
            open("/../x", &StorageOptions::default()).unwrap().url(),
            "file:///x"
        );
    }

    #[test]
    fn an_unknown_scheme_and_an_unknown_option_are_named() {
        let error = open("ftp://host/x", &StorageOptions::default()).unwrap_err();
        assert!(error.to_string().contains("ftp://host/x"), "{error}");
        let mut options = StorageOptions::default();
        options.pairs.insert("regoin".into(), "x".into());
        let error = open("s3://bucket/x", &options).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `region`?");
    }

    #[tokio::test]
    async fn a_second_create_tells_equal_from_other_bytes() {
        let store = InMemory::new();
        let path = Path::from("a");
        for (bytes, expected) in [
            ("x", Created::New),
            ("x", Created::Same),
            ("y", Created::Other),
        ] {
            let created = create(&store, &path, "memory:///a", bytes.into())
                .await
                .unwrap();
            assert_eq!(created, expected);
        }
    }
}
