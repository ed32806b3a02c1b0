//! Parses, runs, and turns an error into a message and an exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use understudy::cli::Cli;
use understudy::run::run;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "error,understudy=warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads standard error any more: the exit code is left.
            let _ = write!(std::io::stderr(), "{}", error.text());
            ExitCode::from(error.exit_code())
        }
    }
}
