//! `serve` and `tokens`.

use super::{open, options, say};
use crate::cli::{ServeArgs, TokensCommand};
use crate::error::Error;
use crate::jobs::JobsConfig;
use crate::output;
use crate::serve::config::TlsConfig;
use crate::serve::tokens::NewToken;
use crate::serve::{ServeConfig, ServeJob};

pub(super) async fn serve(args: ServeArgs) -> Result<(), Error> {
    let config = args.config.as_deref().map(ServeConfig::read).transpose()?;
    let mut config = config.unwrap_or_default();
    if let Some((cert, key)) = args.tls_cert.zip(args.tls_key) {
        config.tls = Some(TlsConfig { cert, key });
    }
    config.access.tokens = args.tokens.or(config.access.tokens);
    config.label.teacher = args.teacher.or(config.label.teacher);
    let jobs = args.config.as_deref().map(JobsConfig::read).transpose()?;
    let mut jobs = jobs.unwrap_or_default();
    jobs.worker.onnxruntime = args.onnxruntime.clone().or(jobs.worker.onnxruntime);
    let workspace = open(&args.at).await?;
    let job = ServeJob {
        listen: args.listen,
        flight: args.flight,
        config,
        storage: options(&args.at.storage),
        onnxruntime: args.onnxruntime,
        jobs,
        url: args.at.workspace.clone(),
    };
    let mut printed = Ok(());
    // All of standard output: what `--listen …:0` and `--flight …:0` came to.
    job.run(workspace, |url| {
        if printed.is_ok() {
            printed = output::line(url);
        }
    })
    .await?;
    printed
}

pub(super) fn tokens(command: &TokensCommand) -> Result<(), Error> {
    let TokensCommand::New { role, name } = command;
    let new = NewToken::make(name, *role)?;
    say(format!(
        "the token, which is shown this once:\n\n{}\n\nthe line for the token file:\n",
        new.token
    ));
    output::line(&new.line)
}
