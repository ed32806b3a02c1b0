//! A real S3 server over HTTP on an ephemeral port, and a proxy before it that injects faults.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// The server, on a thread pool of its own; its buckets are folders of `root`.
pub(crate) struct S3 {
    runtime: Runtime,
    pub(crate) endpoint: String,
    address: std::net::SocketAddr,
}

impl S3 {
    /// A server that wants the credentials `understudy` and `secret-key`.
    pub(crate) fn start(root: &Path) -> Self {
        Self::serve(
            root,
            Some(SimpleAuth::from_single("understudy", "secret-key")),
        )
    }

    /// A server that answers anybody, and so is a plain web server with ranges as well.
    pub(crate) fn public(root: &Path) -> Self {
        Self::serve(root, None)
    }

    fn serve(root: &Path, auth: Option<SimpleAuth>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let service = {
            let mut builder = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
            if let Some(auth) = auth {
                builder.set_auth(auth);
            }
            builder.build()
        };
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        // s3s-fs looks for the object and then writes it, which real stores do in one: of two that create one at the same time both would.
        let creating = Arc::new(tokio::sync::Mutex::new(()));
        runtime.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (service, creating) = (service.clone(), Arc::clone(&creating));
                let one_by_one = service_fn(move |request: Request<Incoming>| {
                    let (service, creating) = (service.clone(), Arc::clone(&creating));
                    async move {
                        let conditional = request.headers().contains_key("if-none-match");
                        let creates = conditional && request.method() == Method::PUT;
                        let _guard = if creates {
                            Some(creating.lock().await)
                        } else {
                            None
                        };
                        service.call(request.map(s3s::Body::from)).await
                    }
                });
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http
                        .serve_connection(TokioIo::new(socket), one_by_one)
                        .await;
                });
            }
        });
        Self {
            runtime,
            endpoint: format!("http://{address}"),
            address,
        }
    }

    /// A proxy that does something to every `every`-th connection to an object whose path holds `path`; where that is not each one, to none twice, so that a request
    /// that is repeated is answered whatever comes between.
    pub(crate) fn faulty(&self, path: &'static str, every: u64, fault: Fault) -> String {
        let upstream = self.address;
        let listener = self
            .runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        self.runtime.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let _ = relay(client, upstream, path, every, fault, &seen).await;
                });
            }
        });
        format!("http://{address}")
    }
}

/// The requests that a proxy does something to.
#[derive(Default)]
struct Seen {
    requests: u64,
    hit: HashSet<String>,
}

impl Seen {
    fn counts(&mut self, every: u64, line: &str) -> bool {
        self.requests += 1;
        every == 1 || self.requests.is_multiple_of(every) && self.hit.insert(line.to_owned())
    }
}

/// What the proxy does.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Answers 503.
    Unavailable,
    /// Passes the answer on and cuts it off in the middle.
    Truncate,
    /// Never answers.
    Stall,
    /// Passes the request on, and closes the connection instead of the answer.
    LoseAnswer,
    /// Answers 403, as for an object that is archived or encrypted with another key.
    Forbidden,
    /// Answers 400, as S3 does once a session's token has run out.
    Expired,
    /// Answers 400, as S3 does while the key is disabled that an object is encrypted with.
    Disabled,
    /// Answers 409, as Azure does for an archived blob.
    Archived,
    /// Answers 412, as for an object that is another one than was asked for.
    Changed,
    /// Answers 404, as for an object that has been removed.
    Gone,
    /// Passes the answer on in eight pieces with such pauses.
    Slow(Duration),
    /// Passes the answer on with a weak etag, as servers send it that compress.
    Weak,
    /// The same, as if the object had changed after its size was asked for.
    WeakChanged,
    /// Passes the request on without its conditions, as stores do that do not know them.
    IgnoreConditions,
}

/// Has an answer's etag begin otherwise.
fn weaken(answer: &mut Vec<u8>, beginning: &[u8]) {
    const STRONG: &[u8] = b"\r\netag: \"";
    let at = answer.windows(STRONG.len()).position(|w| w == STRONG);
    if let Some(at) = at {
        let end = at + STRONG.len();
        answer.splice(end - 1..end, beginning.iter().copied());
    }
}

/// One request a connection: the proxy asks both sides to close, so that every request meets it.
async fn relay(
    mut client: TcpStream,
    upstream: std::net::SocketAddr,
    path: &str,
    every: u64,
    fault: Fault,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let end = loop {
        let end = request.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let mut body = request.split_off(end);
    let text = String::from_utf8_lossy(&request).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    let length: usize = text
        .lines()
        .find_map(|l| {
            l.to_lowercase()
                .strip_prefix("content-length:")
                .map(|n| n.trim().parse().unwrap())
        })
        .unwrap_or(0);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    // A listing names paths in its query; objects alone are meant.
    let object = line
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .split('?')
        .next()
        .unwrap_or_default();
    let hit = object.contains(path) && seen.lock().unwrap().counts(every, &line);
    if hit && matches!(fault, Fault::Stall) {
        tokio::time::sleep(Duration::from_hours(1)).await;
    }
    if hit && matches!(fault, Fault::Unavailable) {
        client
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await?;
        return Ok(());
    }
    let refusal = match fault {
        Fault::Forbidden => Some(("403 Forbidden", "InvalidObjectState")),
        Fault::Expired => Some(("400 Bad Request", "ExpiredToken")),
        Fault::Disabled => Some(("400 Bad Request", "KMS.DisabledException")),
        Fault::Archived => Some(("409 Conflict", "BlobArchived")),
        Fault::Changed => Some(("412 Precondition Failed", "PreconditionFailed")),
        Fault::Gone => Some(("404 Not Found", "NoSuchKey")),
        _ => None,
    };
    if let Some((status, code)) = refusal.filter(|_| hit) {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes()).await?;
        return client.write_all(body.as_bytes()).await;
    }
    let mut server = TcpStream::connect(upstream).await?;
    let mut closing = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    if hit && matches!(fault, Fault::IgnoreConditions) {
        let kept: Vec<&str> = closing
            .split("\r\n")
            .filter(|l| !l.to_lowercase().starts_with("if-none-match"))
            .collect();
        closing = kept.join("\r\n");
    }
    server.write_all(closing.as_bytes()).await?;
    server.write_all(&body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    if hit && matches!(fault, Fault::Weak | Fault::WeakChanged) {
        let changed = matches!(fault, Fault::WeakChanged) && line.starts_with("GET");
        weaken(&mut answer, if changed { b"W/\"changed-" } else { b"W/\"" });
    }
    if hit && matches!(fault, Fault::LoseAnswer) {
        return Ok(());
    }
    let end = if hit && matches!(fault, Fault::Truncate) {
        answer.len() - answer.len().min(300)
    } else {
        answer.len()
    };
    if let (true, Fault::Slow(pause)) = (hit, fault) {
        for piece in answer.chunks(answer.len().div_ceil(8)) {
            client.write_all(piece).await?;
            client.flush().await?;
            tokio::time::sleep(pause).await;
        }
        return client.shutdown().await;
    }
    client.write_all(&answer[..end]).await?;
    client.shutdown().await
}
