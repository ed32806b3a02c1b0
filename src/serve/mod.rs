//! The service: the workspace over HTTP, for programs and, as pages, for people.
//!
//! ```text
//! listen.rs       TCP, perhaps TLS (tls.rs); bounded connections, slow clients, graceful shutdown
//!   │ observe.rs  request id, log line, metrics (metrics.rs)
//!   ▼
//! routes/         one table of routes, each with the role that it asks for (access.rs)
//!   ├─ queries.rs     SQL on threads of its own, within limits of memory, time, rows and bytes; flight/ asks it as well, for Flight SQL
//!   ├─ models.rs      the teachers that label; engine.rs gathers the images of requests into batches
//!   └─ change.rs      what changes something, one at a time, each with a line in the audit log
//! problem.rs      every error as RFC 9457's problem+json
//! ```
//! Beside it goes a worker ([`crate::jobs`]), which does what is submitted, due, or stale after a promotion.
//! Nothing is kept here that is not in the bucket: a server can be killed and another one started.

pub mod access;
pub mod config;
pub mod openapi;
pub mod routes;
pub mod tokens;

mod body;
mod change;
mod engine;
mod error;
mod extract;
mod flight;
mod listen;
mod metrics;
mod models;
mod observe;
mod page;
mod plain;
mod preface;
mod problem;
mod queries;
mod service;
mod stall;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::access::Access;
use self::listen::{Listener, Protocol, Stop};
use self::service::{Service, Shared};

pub use self::config::ServeConfig;
pub use self::error::ServeError;

use crate::error::Error;
use crate::jobs::{JobsConfig, Worker};
use crate::store::StorageOptions;
use crate::workspace::Workspace;

/// A server that is about to begin.
#[derive(Debug)]
pub struct ServeJob {
    /// Where it listens for HTTP.
    pub listen: SocketAddr,
    /// Where it listens for Flight SQL, if it does.
    pub flight: Option<SocketAddr>,
    /// What it may use, and what it offers.
    pub config: ServeConfig,
    /// For all stores.
    pub storage: StorageOptions,
    /// A libonnxruntime.so to be used rather than the one found.
    pub onnxruntime: Option<std::path::PathBuf>,
    /// What is done of the workspace's jobs beside serving.
    pub jobs: JobsConfig,
    /// The workspace, as typed: jobs' processes are told.
    pub url: String,
}

impl ServeJob {
    /// Serves until SIGTERM or Ctrl-C, and then until the requests that are under way have their answers. `listening` is told the addresses, that
    /// for HTTP first.
    ///
    /// # Errors
    /// [`ServeError`] where it cannot begin, or a teacher that was asked for and is not there.
    pub async fn run(
        self,
        workspace: Workspace,
        mut listening: impl FnMut(&str),
    ) -> Result<(), Error> {
        self.config.validate()?;
        let access = Access::open(self.config.access.tokens.as_deref())?;
        let asked = [
            (Some(self.listen), Protocol::Http1, ["http", "https"]),
            (self.flight, Protocol::Http2, ["grpc", "grpc+tls"]),
        ];
        let mut sockets = Vec::new();
        for (address, protocol, schemes) in asked {
            let Some(address) = address else { continue };
            if access.is_open() && !address.ip().is_loopback() {
                return Err(ServeError::Open { address }.into());
            }
            let tls = self.config.tls.as_ref();
            let tls = tls
                .map(|files| tls::acceptor(files, protocol))
                .transpose()?;
            let failed = |source| ServeError::Bind { address, source };
            let socket = TcpListener::bind(address).await.map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            let url = format!("{}://{address}", schemes[usize::from(tls.is_some())]);
            sockets.push((socket, protocol, tls, url));
        }
        let limits = self.config.limits.clone();
        let storage = self.storage.clone();
        let worker = Worker::new(workspace.clone(), &self.url, storage, self.jobs)?;
        let service: Shared = Arc::new(Service::new(
            workspace,
            self.config,
            access,
            self.storage,
            self.onnxruntime,
        )?);
        service.models.check().await?;
        service.queries.warm(&service.workspace);
        let following = [
            tokio::spawn(service::follow_tokens(Arc::clone(&service))),
            tokio::spawn(service::follow(Arc::clone(&service))),
        ];
        if service.access.is_open() {
            tracing::info!(
                "there is no token file: whoever reaches this machine's loopback may do everything"
            );
        }
        let mut listeners = Vec::new();
        for (socket, protocol, tls, url) in sockets {
            listeners.push(Listener {
                socket,
                protocol,
                tls,
                limits: limits.clone(),
                open: service.metrics.connections.clone(),
                router: match protocol {
                    Protocol::Http1 => routes::router(Arc::clone(&service)),
                    Protocol::Http2 => flight::router(&service),
                },
            });
            tracing::info!(url, workspace = service.workspace.at.url(), "listening");
            listening(&url);
        }
        let stopping = service.stop.subscribe();
        let stop = service.stop.clone();
        let signals = tokio::spawn(listen::signals(stop));
        let mut told = stopping.clone();
        let mut working = tokio::spawn(async move {
            let shutdown = async { drop(told.wait_for(|stop| *stop != Stop::No).await) };
            worker.run(shutdown).await;
        });
        let serving = listeners.into_iter().map(|l| l.run(stopping.clone()));
        let left: usize = join_all(serving).await.into_iter().sum();
        following.iter().for_each(JoinHandle::abort);
        let mut at_once = stopping.clone();
        tokio::select! {
            // Jobs are handed back, or their processes end with this one.
            _ = &mut working => {}
            _ = at_once.wait_for(|stop| *stop == Stop::AtOnce) => {}
        }
        signals.abort();
        tracing::info!(left, "stopped");
        if *stopping.borrow() == Stop::AtOnce {
            return Err(Error::Interrupted);
        }
        Ok(())
    }
}
