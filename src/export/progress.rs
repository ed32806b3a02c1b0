//! How far an export is: a bar on a terminal, JSON lines otherwise.

use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::label::progress::{DRAW_EVERY, clock, line_every};

/// Shows an export while it goes on.
#[derive(Debug)]
pub(super) struct Progress {
    total: u64,
    /// Rows of shards that earlier runs wrote.
    before: AtomicU64,
    rows: AtomicU64,
    left_out: AtomicU64,
    bytes: AtomicU64,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// An export of `total` rows.
    pub(super) fn new(total: u64, visible: bool) -> Self {
        let bar = (visible && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total);
            let style = "{bar:32.cyan/dim} {human_pos}/{human_len} rows  {msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            total,
            before: AtomicU64::default(),
            rows: AtomicU64::default(),
            left_out: AtomicU64::default(),
            bytes: AtomicU64::default(),
            started: Instant::now(),
            bar,
        }
    }

    /// Counts a shard that is there already.
    pub(super) fn pass(&self, rows: u64) {
        self.before.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts the rows of an image that came, or did not.
    pub(super) fn count(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts rows that are left out.
    pub(super) fn leave_out(&self, rows: u64) {
        self.left_out.fetch_add(rows, Ordering::Relaxed);
    }

    /// Draws the bar or writes JSON lines until dropped; to be raced against the work.
    pub(super) async fn show(&self, visible: bool) {
        if !visible {
            return std::future::pending().await;
        }
        let every = if self.bar.is_some() {
            DRAW_EVERY
        } else {
            line_every()
        };
        loop {
            tokio::time::sleep(every).await;
            self.draw();
        }
    }

    fn draw(&self) {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let left_out = get(&self.left_out);
        let done = get(&self.rows);
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rate = done as f64 / seconds;
        let megabytes = get(&self.bytes) as f64 / 1e6 / seconds;
        let left = self.total.saturating_sub(done + get(&self.before));
        let eta = if rate > 0.0 { left as f64 / rate } else { 0.0 };
        if let Some(bar) = &self.bar {
            bar.set_position(self.total - left);
            bar.set_message(format!(
                "{rate:.0}/s  {megabytes:.1} MB/s  ETA {}  {left_out} left out",
                clock(eta)
            ));
        } else {
            let round = |value: f64| (value * 10.0).round() / 10.0;
            let line = serde_json::json!({
                "done": self.total - left, "total": self.total, "left_out": left_out,
                "rows_per_second": round(rate), "megabytes_per_second": round(megabytes),
                "eta_seconds": round(eta),
            });
            // Nobody reads standard error any more: the work goes on.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
