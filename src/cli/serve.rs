//! `serve` and `tokens`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::WorkspaceArgs;
use crate::logging::LogFormat;
use crate::serve::tokens::Role;

/// `serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// The address; port 0 takes any free one. Another address than loopback needs --tokens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Serve Flight SQL at this address as well; port 0 takes any free one
    #[arg(long, value_name = "ADDR")]
    pub flight: Option<SocketAddr>,
    /// A serve.toml with limits, TLS, and what it labels with; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The file of tokens that are let in, of which `understudy tokens new` prints the lines
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Serve HTTPS with this certificate and its chain, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Who labels requests, loaded before the server is ready: NAME, NAME@VERSION or current [default: current, loaded at the first request]
    #[arg(long, value_name = "TEACHER")]
    pub teacher: Option<String>,
    /// The ONNX Runtime library to load, rather than the one that is found [env: `ORT_DYLIB_PATH`]
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
    #[command(flatten)]
    /// What is told of its work.
    pub log: LogArgs,
}

/// What a process that runs for long tells of its work.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// How the log is written
    #[arg(long, value_enum, default_value = "pretty")]
    pub log_format: LogFormat,
    /// Send traces of requests and jobs to this OpenTelemetry collector, by OTLP over gRPC
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp: Option<String>,
}

/// `tokens …`
#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// Make a token: it is printed once, with the line of the token file that lets it in
    New {
        /// What it allows: read, submit or promote
        #[arg(long)]
        role: Role,
        /// Whose it is, for the log and the audit log
        #[arg(long)]
        name: String,
    },
}
