//! `gc`.

use std::time::Duration;

use clap::Args;

use super::WorkspaceArgs;
use crate::gc::DEFAULT_KEPT_PROMOTIONS;

/// `gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// Keep the labels of the teachers of so many promotions before the current one
    #[arg(long, value_name = "N", default_value_t = DEFAULT_KEPT_PROMOTIONS)]
    pub keep_promotions: usize,
    /// Keep what is younger, such as 30m, 12h or 7d: it may belong to something that is under way
    #[arg(long, value_name = "AGE", default_value = "1d", value_parser = age)]
    pub older_than: Duration,
    /// Name what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `30m`, `12h`, `7d`, `90s`.
fn age(text: &str) -> Result<Duration, String> {
    let advice = || "write a number and s, m, h or d, such as 12h".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(advice()),
    };
    let number: u32 = digits.parse().map_err(|_| advice())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}
