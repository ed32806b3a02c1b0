//! Connections: so many at a time, each with limits for slow clients, and an end that lets requests finish.
//!
//! HTTP/1.1 for people and programs, HTTP/2 for gRPC, each at an address of its own: telling them apart would wait for the first bytes of either without a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::config::LimitsConfig;
use super::preface::Preface;
use super::stall::Stall;
use crate::child;

/// How long accepting rests after it failed, which it does where the process has no more file descriptors.
const REST: Duration = Duration::from_millis(100);

/// Calls of a connection of HTTP/2 at the same time.
const STREAMS: u32 = 64;

/// The other side's address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Whether the server is to stop, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// It goes on.
    No,
    /// Once the requests that are under way have their answers.
    Gently,
    /// Now.
    AtOnce,
}

/// What connections speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge where there is no TLS.
    Http2,
}

impl Protocol {
    /// As TLS calls it (ALPN).
    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// What takes connections.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) protocol: Protocol,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) limits: LimitsConfig,
    pub(super) router: Router,
    /// How many connections are open.
    pub(super) open: Gauge,
}

impl Listener {
    /// Serves until `stopping` says so, and then the requests that are under way, for a while. How many connections were left then.
    pub(super) async fn run(self, mut stopping: watch::Receiver<Stop>) -> usize {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        let asked = stopping.clone();
        loop {
            let next = async {
                // Beyond so many connections the next ones wait in the kernel's queue.
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.socket.accept().await)
            };
            let (place, accepted) = tokio::select! {
                next = next => next,
                () = until(&mut stopping, Stop::Gently) => break,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    let connection = self.connection(stream, peer, asked.clone());
                    let open = self.open.clone();
                    connections.spawn(async move {
                        open.inc();
                        connection.await;
                        open.dec();
                        drop(place);
                    });
                }
                Err(e) => {
                    tracing::warn!("cannot accept a connection: {e}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        // Nobody new: the port is free for the next server.
        let Self { socket, limits, .. } = self;
        drop(socket);
        let all = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = all => {}
            () = tokio::time::sleep(limits.shutdown()) => {}
            () = until(&mut stopping, Stop::AtOnce) => {}
        }
        connections.len()
    }

    /// Serves one connection.
    fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        stopping: watch::Receiver<Stop>,
    ) -> impl Future<Output = ()> + use<> {
        let (limits, router) = (self.limits.clone(), self.router.clone());
        let (tls, protocol) = (self.tls.clone(), self.protocol);
        async move {
            // An answer is written in one go: waiting for more to send would only delay it.
            let _ = stream.set_nodelay(true);
            let stream = Stall::new(stream, limits.write_timeout());
            let Some(tls) = tls else {
                return http(protocol, stream, peer, router, &limits, stopping).await;
            };
            let shaken = tokio::time::timeout(limits.header_timeout(), tls.accept(stream)).await;
            match shaken {
                Ok(Ok(stream)) => http(protocol, stream, peer, router, &limits, stopping).await,
                Ok(Err(e)) => tracing::debug!(%peer, "no TLS: {e}"),
                Err(_) => tracing::debug!(%peer, "no TLS in time"),
            }
        }
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    protocol: Protocol,
    stream: S,
    peer: SocketAddr,
    router: Router,
    limits: &LimitsConfig,
    stopping: watch::Receiver<Stop>,
) {
    let builder = auto::Builder::new(TokioExecutor::new());
    match protocol {
        Protocol::Http1 => {
            let mut builder = builder.http1_only();
            builder
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.header_timeout());
            speak(&builder, stream, peer, router, stopping).await;
        }
        Protocol::Http2 => {
            let mut builder = builder.http2_only();
            builder
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(limits.write_timeout())
                .keep_alive_timeout(limits.header_timeout())
                .max_concurrent_streams(STREAMS);
            let stream = Preface::new(stream, limits.header_timeout());
            speak(&builder, stream, peer, router, stopping).await;
        }
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    builder: &auto::Builder<TokioExecutor>,
    stream: S,
    peer: SocketAddr,
    router: Router,
    mut stopping: watch::Receiver<Stop>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = until(&mut stopping, Stop::Gently) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = served {
        tracing::debug!(%peer, "the connection broke off: {e}");
    }
}

/// Waits until the server is to stop in such a way.
async fn until(stopping: &mut watch::Receiver<Stop>, how: Stop) {
    // A sender that is gone tells nobody any more.
    if stopping.wait_for(|stop| *stop >= how).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Tells the server to stop at SIGTERM or Ctrl-C; at the second one it waits for nobody.
pub(super) async fn signals(stop: watch::Sender<Stop>) {
    child::terminated().await;
    tracing::info!("stopping once the requests that are under way have their answers");
    let _ = stop.send(Stop::Gently);
    child::terminated().await;
    tracing::warn!("stopping at once");
    let _ = stop.send(Stop::AtOnce);
}
