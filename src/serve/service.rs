//! What the handlers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, watch};

use super::access::Access;
use super::config::ServeConfig;
use super::listen::Stop;
use super::metrics::Metrics;
use super::models::Models;
use super::queries::Queries;
use crate::error::Error;
use crate::promotion::{self, GateFile};
use crate::store::StorageOptions;
use crate::workspace::Workspace;

/// How often the workspace is asked who is current, and the token file read: a promotion is noticed within 5 s, loading the model included.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// Bodies are counted in these, since a semaphore counts up to 2³² of something.
const KIB: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) workspace: Workspace,
    pub(super) config: ServeConfig,
    pub(super) access: Access,
    pub(super) metrics: Arc<Metrics>,
    pub(super) queries: Queries,
    pub(super) models: Models,
    pub(super) storage: StorageOptions,
    pub(super) onnxruntime: Option<PathBuf>,
    /// What a promotion has to pass.
    pub(super) gate: Option<GateFile>,
    /// Held by what evaluates models: one at a time.
    pub(super) evaluating: Arc<Mutex<()>>,
    /// Room for bodies, in KiB.
    bodies: Arc<Semaphore>,
    /// Whether the server is to stop.
    pub(super) stop: watch::Sender<Stop>,
}

/// As the handlers have it.
pub(super) type Shared = Arc<Service>;

impl Service {
    pub(super) fn new(
        workspace: Workspace,
        config: ServeConfig,
        access: Access,
        storage: StorageOptions,
        onnxruntime: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let gate = config.promote.gate.as_deref();
        let gate = gate.map(GateFile::read).transpose()?;
        let metrics = Arc::new(Metrics::new());
        Ok(Self {
            queries: Queries::start(config.sql.clone(), config.flight.concurrent)?,
            models: Models::new(&workspace, &config, onnxruntime.clone(), &metrics),
            bodies: Arc::new(Semaphore::new(config.limits.bodies_bytes / KIB)),
            evaluating: Arc::default(),
            stop: watch::Sender::new(Stop::No),
            workspace,
            config,
            access,
            metrics,
            storage,
            onnxruntime,
            gate,
        })
    }

    /// Room for a body of so many bytes, or none at the moment. It is given back when the value is dropped.
    pub(super) fn room(&self, bytes: usize) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let most = self.config.limits.bodies_bytes / KIB;
        let kib = bytes.div_ceil(KIB).min(most);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        Arc::clone(&self.bodies).try_acquire_many_owned(kib).ok()
    }
}

fn every() -> tokio::time::Interval {
    let mut every = tokio::time::interval(FOLLOW_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    every
}

/// Follows the token file, for ever: a token that is taken out does not wait for the store.
pub(super) async fn follow_tokens(service: Shared) {
    let mut every = every();
    loop {
        every.tick().await;
        service.access.refresh();
    }
}

/// Follows promotions, for ever.
pub(super) async fn follow(service: Shared) {
    let mut every = every();
    loop {
        every.tick().await;
        if let Ok(Some(current)) = promotion::current(&service.workspace).await {
            service.metrics.promotion.set(i64::from(current.number));
        }
        service.models.follow().await;
    }
}
