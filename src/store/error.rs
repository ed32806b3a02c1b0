//! What goes wrong with a store, and what to do about it.

use parquet::errors::ParquetError;

/// What can go wrong with a store or a URL.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The text is neither a URL nor a path.
    #[error("`{url}` is not a URL that understudy can open: {why}")]
    BadUrl {
        /// What the user typed.
        url: String,
        /// Why it was refused.
        why: String,
    },
    /// A `--storage-option` that the store does not know.
    #[error("`{key}` is not a storage option of {store}")]
    UnknownOption {
        /// The option's name as typed.
        key: String,
        /// Which store it was meant for.
        store: &'static str,
        /// The nearest option that exists.
        near: Option<String>,
    },
    /// The store refused the credentials, or none were found.
    #[error("`{url}` refused the credentials: {detail}")]
    Credentials {
        /// What was asked for.
        url: String,
        /// The store's words.
        detail: String,
    },
    /// There is nothing at this place.
    #[error("`{url}` does not exist: {detail}")]
    NotFound {
        /// What was asked for.
        url: String,
        /// The store's words.
        detail: String,
    },
    /// The object exists already (create-only put).
    #[error("`{url}` exists already")]
    AlreadyExists {
        /// What was to be created.
        url: String,
    },
    /// Everything else: unreachable, 5xx after all retries, disk full, ….
    #[error("cannot {action} `{url}`: {detail}")]
    Failed {
        /// The verb: read, list, write.
        action: &'static str,
        /// What was asked for.
        url: String,
        /// The store's words.
        detail: String,
    },
}

impl StoreError {
    /// Sorts an `object_store` error: credentials and absence are told apart from faults, since they must stop at once.
    pub fn from_object_store(
        action: &'static str,
        url: impl Into<String>,
        error: &object_store::Error,
    ) -> Self {
        let url = url.into();
        let detail = innermost(error);
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound { url, detail },
            object_store::Error::AlreadyExists { .. } => Self::AlreadyExists { url },
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. } => Self::Credentials { url, detail },
            _ if detail.contains("404 Not Found") => Self::NotFound { url, detail },
            // S3 and Azure answer 400 where credentials have run out.
            _ if is_missing_credentials(error) || refuses_all(&detail) => {
                Self::Credentials { url, detail }
            }
            _ => Self::Failed {
                action,
                url,
                detail,
            },
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::BadUrl { .. } => Some(
                "use a path, or a URL that begins with file://, s3://, gs://, az://, http:// or https://"
                    .into(),
            ),
            Self::UnknownOption { near, .. } => near.as_ref().map(|n| format!("did you mean `{n}`?")),
            Self::Credentials { url, .. } => Some(match url.split(':').next() {
                Some("s3" | "s3a") => "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or --storage-option skip_signature=true for a public bucket".into(),
                Some("gs") => "set GOOGLE_APPLICATION_CREDENTIALS to a service account file".into(),
                Some("az" | "abfs" | "abfss") => "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY".into(),
                Some("file") => "check the permissions of the directory and its parents".into(),
                _ => "check the credentials of this store".into(),
            }),
            Self::NotFound { url, .. } if url.starts_with("file:") => Some("check the spelling of the path".into()),
            Self::NotFound { .. } => Some("check the spelling of the bucket and the prefix".into()),
            Self::AlreadyExists { .. } => None,
            Self::Failed { url, .. } if url.starts_with("file:") => {
                Some("check that the folder can be made and written, and that the disk has space".into())
            }
            Self::Failed { .. } => Some(
                "check the endpoint and the network; `understudy doctor --workspace URL` tests a workspace's store"
                    .into(),
            ),
        }
    }
}

/// Codes of refusals that every other request will meet as well: the credentials themselves are wrong or have run out.
const CREDENTIAL_CODES: [&str; 11] = [
    // Of S3, and with `Exception` of what gives temporary credentials.
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "InvalidToken",
    "UnrecognizedClient",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "RequestTimeTooSkewed",
];

/// Whether a store's answer says that it takes these credentials for nothing, rather than for this object.
pub(crate) fn refuses_all(detail: &str) -> bool {
    let code = |code: &&str| detail.contains(&format!("<Code>{code}"));
    CREDENTIAL_CODES.iter().any(code)
}

/// What can be done about a Parquet file that its store did not take; none where that is not what went wrong.
pub(crate) fn not_written(error: &ParquetError) -> Option<String> {
    let ParquetError::External(cause) = error else {
        return None;
    };
    let error: &object_store::Error = match cause.downcast_ref::<std::io::Error>() {
        Some(inner) => inner.get_ref()?.downcast_ref()?,
        None => cause.downcast_ref()?,
    };
    let url = match error {
        object_store::Error::Generic { store, .. } if *store == "LocalFileSystem" => "file:",
        _ => "",
    };
    StoreError::from_object_store("write", url, error).hint()
}

/// The last error of the chain: the store's own words without the wrappers that only repeat each other.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !inner_text.is_empty() {
            text = inner_text;
        }
        cause = inner.source();
    }
    text.replace('\n', " ")
}

/// Whether the chain speaks of the machine's metadata service: what is left to ask where no credentials were given.
fn is_missing_credentials(error: &dyn std::error::Error) -> bool {
    let mut text = String::new();
    let mut cause = Some(error);
    while let Some(inner) = cause {
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    [
        "169.254.169.254",
        "metadata.google",
        "instance credentials",
        "MissingCredentials",
        "Missing credentials",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}
