//! `sql`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::WorkspaceArgs;
use crate::catalog::DEFAULT_ROWS;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// With a header; nested values as text
    Csv,
    /// One object a line
    Json,
    /// A file on standard output
    Parquet,
}

/// `sql`
#[derive(Debug, Args)]
pub struct SqlArgs {
    #[command(flatten)]
    /// Which workspace.
    pub at: WorkspaceArgs,
    /// How the result is printed
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Memory that a query may hold, such as 512MiB or 2GB; what can spill goes to the temporary directory above it
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub memory: usize,
    /// Seconds after which a query is stopped
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Rows that a table shows at most, 0 for all; the other formats give every row
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ROWS)]
    pub max_rows: usize,
    /// The query; without one, statements are read from standard input, or a session begins at the terminal
    pub query: Option<String>,
}

/// `256MiB`, `2GB`, `1000000`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let unit: usize = match unit.as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err("write a number and KiB, MiB, GiB, KB, MB or GB".into()),
    };
    let number: usize = digits.trim().parse().map_err(|e| format!("{e}"))?;
    number
        .checked_mul(unit)
        .ok_or_else(|| "it is too much".into())
}

/// `30`, `0.5`.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?;
    if time.is_zero() {
        return Err("give more than 0".into());
    }
    Ok(time)
}
