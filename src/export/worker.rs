//! One thread for the work that is done to whole shards: hashing and encoding.
//!
//! On the runtime's own blocking threads every shard would be encoded by another one, and the allocator would keep a shard's memory for each
//! of them: with one thread it is used again.

use std::sync::mpsc;

use tokio::sync::oneshot;

use super::ExportError;

/// A piece of work.
type Job = Box<dyn FnOnce() + Send>;

/// Does one piece of work after the other.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: mpsc::SyncSender<Job>,
}

impl Worker {
    /// Starts the thread, which ends with the worker. `waiting` is how many pieces may wait for it.
    pub(super) fn start(waiting: usize) -> Self {
        let (jobs, next) = mpsc::sync_channel::<Job>(waiting);
        std::thread::spawn(move || next.into_iter().for_each(|job| job()));
        Self { jobs }
    }

    /// Has it done.
    ///
    /// # Errors
    /// [`ExportError::Worker`] where it panicked, or an earlier piece did.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ExportError> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever wanted it may have left.
            let _ = done.send(work());
        });
        self.jobs.try_send(job).map_err(|_| ExportError::Worker)?;
        result.await.map_err(|_| ExportError::Worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_in_turn_by_one_thread_and_a_panic_is_an_error() {
        let worker = Worker::start(2);
        let (one, two) = tokio::join!(
            worker.run(|| std::thread::current().id()),
            worker.run(|| std::thread::current().id())
        );
        assert_eq!(one.unwrap(), two.unwrap());
        let panicked: Result<(), _> = worker.run(|| panic!("as the test wants it")).await;
        assert!(matches!(panicked, Err(ExportError::Worker)));
        assert!(matches!(worker.run(|| ()).await, Err(ExportError::Worker)));
    }
}
