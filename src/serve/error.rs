//! What keeps a server from beginning.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What keeps a server from beginning.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another address than loopback, and no tokens.
    #[error("`{address}` can be reached from other machines, and there is no token file")]
    Open {
        /// As asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// As asked for.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// A line of the token file.
    #[error("`{}`, line {line}: {what}", path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// From 1 on.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A token file without tokens.
    #[error("`{}` has no tokens", path.display())]
    NoTokens {
        /// The file.
        path: PathBuf,
    },
    /// Certificate or key.
    #[error("cannot use `{}` for TLS: {what}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file that cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An endpoint for traces that is none.
    #[error("cannot send traces to `{endpoint}`: {what}")]
    Telemetry {
        /// As asked for.
        endpoint: String,
        /// What is wrong with it.
        what: String,
    },
    /// The system gives no random numbers.
    #[error("cannot make a token: {0}")]
    Random(String),
    /// The threads of queries, which the system does not give.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
}

impl ServeError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open { .. } => Some(
                "make tokens with `understudy tokens new` and give their file with --tokens, or listen on 127.0.0.1".into(),
            ),
            Self::Bind { .. } => Some("is another server there already? `--listen 127.0.0.1:0` takes any free port".into()),
            Self::Tokens { .. } | Self::NoTokens { .. } => Some(
                "a line is NAME ROLE SHA256, as `understudy tokens new --role read --name NAME` prints it".into(),
            ),
            Self::Tls { .. } => Some("give PEM files: the certificate with its chain, and its private key".into()),
            Self::Read { .. } => Some("check the path".into()),
            Self::Telemetry { .. } => Some("give the OTLP endpoint of a collector for gRPC, such as http://127.0.0.1:4317".into()),
            Self::Random(_) | Self::Threads(_) => None,
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open { .. }
            | Self::Tokens { .. }
            | Self::NoTokens { .. }
            | Self::Tls { .. }
            | Self::Telemetry { .. }
            | Self::Read { .. } => 2,
            Self::Bind { .. } | Self::Random(_) | Self::Threads(_) => 1,
        }
    }
}
