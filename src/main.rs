//! Parses, runs, and turns an error into a message and an exit code.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser as _;
use futures::FutureExt as _;
use understudy::Error;
use understudy::allocator;
use understudy::child;
use understudy::cli::Cli;
use understudy::error::INTERRUPTED;
use understudy::logging;
use understudy::run::run;
use understudy::say::escaped;
use understudy::telemetry::Telemetry;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => return end(Err(Error::Output(e))),
    };
    let telemetry = {
        let _within = runtime.enter();
        match cli.otlp().map(Telemetry::begin).transpose() {
            Ok(telemetry) => telemetry,
            Err(e) => return end(Err(e.into())),
        }
    };
    logging::init(cli.log_format(), telemetry.as_ref());
    let result = runtime.block_on(async {
        tokio::select! {
            result = AssertUnwindSafe(run(cli)).catch_unwind() => Some(result),
            () = child::orphaned() => None,
        }
    });
    if let Some(telemetry) = telemetry {
        telemetry.end();
    }
    let Some(result) = result else {
        // A child whose parent is gone, or whose lease has ended, leaves its work where it is, as if it had been killed. Where its worker still has the job that goes on.
        runtime.shutdown_background();
        return ExitCode::from(INTERRUPTED);
    };
    match result {
        Ok(result) => end(result),
        Err(panic) => end(Err(Error::broke_off(&*panic))),
    }
}

fn end(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads standard error any more: the exit code is left.
            let _ = write!(std::io::stderr(), "{}", escaped(&error.text()));
            ExitCode::from(error.exit_code())
        }
    }
}
