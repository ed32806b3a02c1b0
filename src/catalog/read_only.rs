//! A store that can be read, and only below one place: what queries of people see of the workspace's store.
//!
//! The statements that write are refused before they are planned, and no SQL names a file. This is the wall behind both: a `file://` workspace's store
//! could otherwise read and write the whole disk, and an `s3://` one the whole bucket.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct ReadOnly {
    store: Arc<dyn ObjectStore>,
    below: Path,
}

impl ReadOnly {
    pub(super) fn new(store: Arc<dyn ObjectStore>, below: Path) -> Self {
        Self { store, below }
    }

    fn check(&self, path: &Path) -> Result<()> {
        if path.prefix_matches(&self.below) {
            return Ok(());
        }
        Err(refusal(path, "it lies outside of the workspace"))
    }
}

/// Why a query may not do what it asked for: no store refused it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(&'static str);

fn refusal(path: &Path, why: &'static str) -> Error {
    Error::PermissionDenied {
        path: path.to_string(),
        source: Box::new(Refusal(why)),
    }
}

/// Whether it was this wall that refused, rather than a store.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::PermissionDenied { source, .. } if source.is::<Refusal>())
}

fn no_write(path: &Path) -> Error {
    refusal(path, "queries do not write")
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, read only, below {}", self.store, self.below)
    }
}

#[async_trait]
impl ObjectStore for ReadOnly {
    async fn put_opts(&self, path: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(no_write(path))
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(no_write(path))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.check(path)?;
        self.store.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check(path)?;
        self.store.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        paths.map(|path| Err(no_write(&path?))).boxed()
    }

    fn list(&self, below: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let place = below.cloned().unwrap_or_default();
        match self.check(&place) {
            Ok(()) => self.store.list(Some(&place)),
            Err(e) => stream::once(async { Err(e) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, below: Option<&Path>) -> Result<ListResult> {
        let place = below.cloned().unwrap_or_default();
        self.check(&place)?;
        self.store.list_with_delimiter(Some(&place)).await
    }

    async fn copy_opts(&self, _: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        Err(no_write(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    async fn store() -> ReadOnly {
        let all = InMemory::new();
        for path in ["w/labels/a", "w2/b", "c"] {
            let bytes = PutPayload::from_static(b"x");
            all.put(&Path::from(path), bytes).await.unwrap();
        }
        ReadOnly::new(Arc::new(all), Path::from("w"))
    }

    #[tokio::test]
    async fn what_lies_below_the_place_is_read_and_nothing_else() {
        let store = store().await;
        assert!(store.get(&Path::from("w/labels/a")).await.is_ok());
        let listed: Vec<_> = store
            .list(Some(&Path::from("w")))
            .try_collect()
            .await
            .unwrap();
        assert_eq!(listed.len(), 1);
        for outside in ["w2/b", "c"] {
            let outside = Path::from(outside);
            let got = store.get(&outside).await;
            assert!(matches!(got, Err(Error::PermissionDenied { .. })));
            let part = store
                .get_ranges(&outside, std::slice::from_ref(&(0..1)))
                .await;
            assert!(matches!(part, Err(Error::PermissionDenied { .. })));
        }
        for outside in [None, Some(&Path::from("w2"))] {
            let all: Result<Vec<_>> = store.list(outside).try_collect().await;
            assert!(matches!(all, Err(Error::PermissionDenied { .. })));
            let folders = store.list_with_delimiter(outside).await;
            assert!(matches!(folders, Err(Error::PermissionDenied { .. })));
        }
    }

    #[tokio::test]
    async fn nothing_is_written_copied_or_deleted() {
        let store = store().await;
        let (there, new) = (Path::from("w/labels/a"), Path::from("w/labels/b"));
        let denied = |e| matches!(e, Error::PermissionDenied { .. });
        let bytes = || PutPayload::from_static(b"y");
        assert!(store.put(&new, bytes()).await.is_err_and(denied));
        assert!(store.put_multipart(&new).await.is_err_and(denied));
        assert!(store.copy(&there, &new).await.is_err_and(denied));
        assert!(store.rename(&there, &new).await.is_err_and(denied));
        assert!(store.delete(&there).await.is_err_and(denied));
        assert!(store.get(&there).await.is_ok() && store.get(&new).await.is_err());
    }
}
