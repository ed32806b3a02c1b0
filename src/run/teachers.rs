//! `teachers`.

use super::{open, options, promotion, say};
use crate::cli::TeachersCommand;
use crate::error::Error;
use crate::output;
use crate::runtime::{Device, Runtime};
use crate::store;
use crate::teacher::{self, TeacherConfig};

pub(super) async fn teachers(command: TeachersCommand) -> Result<(), Error> {
    match command {
        TeachersCommand::Add {
            name,
            model,
            config,
            onnxruntime,
            at,
        } => {
            let config = TeacherConfig::read(&config)?;
            let workspace = open(&at).await?;
            let opened = store::open(&model, &options(&at.storage))?;
            let bytes = store::read(&*opened.store, &opened.path, &opened.url()).await?;
            let runtime = Runtime::load(onnxruntime.as_deref(), Device::Cpu)?;
            let (record, new) = teacher::add(&workspace, &runtime, &name, bytes, &config).await?;
            say(if new {
                format!("added {record}: {} classes", record.classes)
            } else {
                format!("{record} is this very model and configuration already")
            });
            output::line(&record.to_string())
        }
        TeachersCommand::List { json, at } => {
            let records = teacher::list(&open(&at).await?).await?;
            if json {
                return output::json(&records);
            }
            for r in &records {
                let description = r.description.as_deref().unwrap_or("");
                output::line(&format!(
                    "{:<24} {:>6} classes {:>8.1} MB  {}  {description}",
                    r.to_string(),
                    r.classes,
                    r.model_bytes as f64 / 1e6,
                    &r.model_sha256[..12.min(r.model_sha256.len())],
                ))?;
            }
            if records.is_empty() {
                say(
                    "no teachers yet; add one with `understudy teachers add NAME --model FILE --config teacher.toml`",
                );
            }
            Ok(())
        }
        TeachersCommand::Show { teacher, at } => {
            let teacher = teacher::get(&open(&at).await?, &teacher).await?;
            let r = &teacher.record;
            output::line(&format!(
                "# {r}\n# model sha256 {}, {} bytes\n# config sha256 {}\n# added by understudy {}",
                r.model_sha256, r.model_bytes, r.config_sha256, r.understudy
            ))?;
            let text = toml::to_string_pretty(&teacher.config)
                .map_err(|e| Error::Output(std::io::Error::other(e)))?;
            output::line(text.trim_end())
        }
        TeachersCommand::Diff { a, b, json, at } => promotion::diff((&a, &b), json, &at).await,
        TeachersCommand::Current { json, at } => promotion::current(json, &at).await,
        TeachersCommand::History { json, at } => promotion::history(json, &at).await,
        TeachersCommand::Rollback { to, note, json, at } => {
            promotion::rollback(to, note, json, &at).await
        }
    }
}
