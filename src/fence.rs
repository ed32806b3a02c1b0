//! The end of a lease, as the process that works under it knows it: after that it writes nothing.
//!
//! Whoever holds a job's lease ([`crate::jobs`]) may write until a moment of its own machine's clock; a renewal moves it on. The moment is looked at right before every
//! write to the workspace ([`Fenced`]), since a process that was stopped or put to sleep does not know it until it looks. The clock is one that goes on while the machine sleeps.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use std::ops::Range;

/// How often who waits for a fence's end looks again, where the clock does not go as the timers do.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time since the machine was started, with the time it slept (Linux's `CLOCK_BOOTTIME`, to the hundredth of a second): the same for all of its processes, and never set. Where there
/// is no `/proc/uptime` it is the time of day, which sleep does not stop either; setting that clock then ends leases, or lets them end late.
pub fn clock() -> Duration {
    let uptime = || {
        let text = std::fs::read_to_string("/proc/uptime").ok()?;
        let seconds: f64 = text.split(' ').next()?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    };
    uptime().unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    })
}

/// Until when a process may write; shared by all that write for the same lease.
#[derive(Debug, Clone)]
pub struct Fence {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    job: String,
    term: u32,
    /// Milliseconds of [`clock`].
    until: AtomicU64,
}

impl Fence {
    /// For a job that was taken with the number `term`, until a moment of [`clock`].
    pub fn new(job: &str, term: u32, until: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                job: job.to_owned(),
                term,
                until: AtomicU64::new(millis(until)),
            }),
        }
    }

    /// The job's id.
    pub fn job(&self) -> &str {
        &self.shared.job
    }

    /// The number with which it was taken: whoever takes it later has a higher one.
    pub fn term(&self) -> u32 {
        self.shared.term
    }

    /// The moment of [`clock`] until which may be written.
    pub fn until(&self) -> Duration {
        Duration::from_millis(self.shared.until.load(Ordering::Acquire))
    }

    /// Moves the end on; never back.
    pub fn extend(&self, until: Duration) {
        self.shared.until.fetch_max(millis(until), Ordering::AcqRel);
    }

    /// Ends it now.
    pub fn close(&self) {
        self.shared.until.store(0, Ordering::Release);
    }

    /// Whether may be written now.
    pub fn is_open(&self) -> bool {
        clock() < self.until()
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        loop {
            let left = self.until().saturating_sub(clock());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }

    fn check(&self) -> Result<()> {
        if self.is_open() {
            return Ok(());
        }
        Err(Error::Generic {
            store: "workspace",
            source: format!(
                "the lease of job {} has ended; nothing is written any more",
                self.job()
            )
            .into(),
        })
    }

    /// Lets work go on as long as may be written: it is looked at before each of its steps, so that a request that is repeated after a fault, or a process that was stopped
    /// within one, ends with the lease.
    async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = pin!(work);
        let mut ended = pin!(self.ended());
        poll_fn(|context| {
            if let Err(error) = self.check() {
                return Poll::Ready(Err(error));
            }
            // Wakes this at the end; the check above says so.
            let _ = ended.as_mut().poll(context);
            work.as_mut().poll(context)
        })
        .await
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A store that is written to as long as a fence is open, and read at any time.
#[derive(Debug, Clone)]
pub struct Fenced {
    store: Arc<dyn ObjectStore>,
    fence: Fence,
}

impl Fenced {
    /// A store behind a fence.
    pub fn new(store: Arc<dyn ObjectStore>, fence: Fence) -> Self {
        Self { store, fence }
    }
}

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, leased for {}", self.store, self.fence.job())
    }
}

#[async_trait]
impl ObjectStore for Fenced {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let put = self.store.put_opts(path, payload, options);
        self.fence.guard(put).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.store.put_multipart_opts(path, options);
        let upload = self.fence.guard(begun).await?;
        let fence = self.fence.clone();
        Ok(Box::new(FencedUpload { upload, fence }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let fence = self.fence.clone();
        let open = paths.map(move |path| fence.check().and(path));
        self.store.delete_stream(open.boxed())
    }

    fn list(&self, below: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(below)
    }

    async fn list_with_delimiter(&self, below: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(below).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copy = self.store.copy_opts(from, to, options);
        self.fence.guard(copy).await
    }
}

#[derive(Debug)]
struct FencedUpload {
    upload: Box<dyn MultipartUpload>,
    fence: Fence,
}

#[async_trait]
impl MultipartUpload for FencedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.upload.put_part(data);
        let fence = self.fence.clone();
        Box::pin(async move { fence.guard(part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.fence.guard(self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        // Takes away what is not visible: no harm after the end.
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    fn fenced(until: Duration) -> (Arc<InMemory>, Fenced, Fence) {
        let store = Arc::new(InMemory::new());
        let fence = Fence::new("j", 1, until);
        let fenced = Fenced::new(Arc::clone(&store) as Arc<dyn ObjectStore>, fence.clone());
        (store, fenced, fence)
    }

    #[tokio::test]
    async fn nothing_is_written_or_removed_after_the_end_and_everything_is_read() {
        let (store, fenced, fence) = fenced(clock() + Duration::from_mins(1));
        let (old, new) = (Path::from("old"), Path::from("new"));
        let bytes = || PutPayload::from_static(b"x");
        fenced.put(&old, bytes()).await.unwrap();
        let mut begun = fenced.put_multipart(&new).await.unwrap();
        begun.put_part(bytes()).await.unwrap();
        fence.close();
        let ended = |e: Error| e.to_string().contains("the lease of job j has ended");
        assert!(fenced.put(&new, bytes()).await.is_err_and(ended));
        assert!(begun.put_part(bytes()).await.is_err_and(ended));
        assert!(begun.complete().await.is_err_and(ended));
        assert!(fenced.put_multipart(&new).await.is_err_and(ended));
        assert!(fenced.copy(&old, &new).await.is_err_and(ended));
        assert!(fenced.delete(&old).await.is_err_and(ended));
        let there: Vec<_> = fenced.list(None).try_collect().await.unwrap();
        assert_eq!(there.len(), 1);
        assert!(fenced.get(&old).await.is_ok() && store.get(&new).await.is_err());
        fence.extend(clock() + Duration::from_mins(1));
        fenced.put(&new, bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn a_put_that_hangs_ends_with_the_lease() {
        let (_, _, fence) = fenced(clock() + Duration::from_millis(200));
        let hanging = std::future::pending::<Result<()>>();
        let began = clock();
        assert!(fence.guard(hanging).await.is_err());
        assert!(clock() < began + Duration::from_secs(5));
    }

    #[test]
    fn an_end_moves_on_and_never_back() {
        let fence = Fence::new("j", 1, Duration::from_secs(5));
        fence.extend(Duration::from_secs(3));
        assert_eq!(fence.until(), Duration::from_secs(5));
        fence.extend(Duration::from_secs(9));
        assert_eq!(fence.until(), Duration::from_secs(9));
    }
}
