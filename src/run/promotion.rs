//! `promote`, and what of `teachers` is about promotions.

use super::{open, options, say};
use crate::cli::{PromoteArgs, WorkspaceArgs};
use crate::error::Error;
use crate::output;
use crate::promotion::{self, GateFile, PromoteJob};
use crate::teacher::{self, TeacherError, TeacherRef};

pub(super) async fn promote(args: PromoteArgs) -> Result<(), Error> {
    let gate = args.gate.as_deref().map(GateFile::read).transpose()?;
    let workspace = open(&args.at).await?;
    let job = PromoteJob {
        teacher: args.teacher,
        gate,
        dry_run: args.dry_run,
        force: args.force,
        note: args.note,
        device: args.runtime.device,
        onnxruntime: args.runtime.onnxruntime,
        storage: options(&args.at.storage),
        visible: true,
    };
    let promoted = job.run(&workspace).await?;
    if args.json {
        output::json(&promoted)?;
    } else if let (Some(verdict), true) = (&promoted.promotion.gate, promoted.is_judged()) {
        output::line(&promotion::verdict(verdict))?;
    }
    say(promoted.describe());
    Ok(promoted.checked()?)
}

pub(super) async fn diff(
    (a, b): (&TeacherRef, &TeacherRef),
    json: bool,
    at: &WorkspaceArgs,
) -> Result<(), Error> {
    let workspace = open(at).await?;
    let a = teacher::get(&workspace, a).await?;
    let b = teacher::get(&workspace, b).await?;
    let differences = teacher::diff(&a, &b)?;
    if json {
        return output::json(&differences);
    }
    if differences.is_empty() {
        say(format!("{} and {} do not differ", a.record, b.record));
        return Ok(());
    }
    output::line(&teacher::differences(&a, &b, &differences))
}

pub(super) async fn current(json: bool, at: &WorkspaceArgs) -> Result<(), Error> {
    let current = promotion::current(&open(at).await?).await?;
    let current = current.ok_or(TeacherError::NonePromoted)?;
    if json {
        output::json(&current)
    } else {
        output::line(&current.teacher)
    }
}

pub(super) async fn history(json: bool, at: &WorkspaceArgs) -> Result<(), Error> {
    let history = promotion::history(&open(at).await?).await?;
    if json {
        return output::json(&history);
    }
    if history.is_empty() {
        say("no promotions yet; make one with `understudy promote NAME@VERSION`");
        return Ok(());
    }
    output::line(&promotion::table(&history))
}

pub(super) async fn rollback(
    to: Option<u32>,
    note: Option<String>,
    json: bool,
    at: &WorkspaceArgs,
) -> Result<(), Error> {
    let rolled = promotion::rollback(&open(at).await?, to, note).await?;
    if json {
        output::json(&rolled)?;
    }
    say(rolled.describe());
    Ok(())
}
