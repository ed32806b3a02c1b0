//! How far a training is: a bar on a terminal, JSON lines otherwise.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::metrics::Metrics;
use crate::label::progress::{DRAW_EVERY, clock, line_every};
use crate::say::{escaped, say};

/// How much of the loss that is shown is the newest step's.
const NEWEST: f32 = 0.05;

/// Shows steps as they are done.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    visible: bool,
    steps: u64,
    begun: u64,
    images: usize,
    started: Instant,
    shown: Option<Instant>,
    loss: Option<f32>,
}

impl Progress {
    /// Of `steps` steps of `images` images, of which `begun` were done before.
    pub(super) fn new(steps: u64, begun: u64, images: usize, visible: bool) -> Self {
        let bar = (visible && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(steps);
            if let Ok(style) = ProgressStyle::with_template(
                "{bar:32.cyan/dim} {human_pos}/{human_len} steps  {msg}",
            ) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            visible,
            steps,
            begun,
            images,
            started: Instant::now(),
            shown: None,
            loss: None,
        }
    }

    /// Images a second since it began.
    fn rate(&self, done: u64) -> f64 {
        let images = (done - self.begun) as f64 * self.images as f64;
        images / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// A step is done.
    pub(super) fn step(&mut self, metrics: &Metrics) {
        let loss = self.loss.unwrap_or(metrics.loss);
        let loss = loss + NEWEST * (metrics.loss - loss);
        self.loss = Some(loss);
        let every = if self.bar.is_some() {
            DRAW_EVERY
        } else {
            line_every()
        };
        let since = self.shown.unwrap_or(self.started);
        if !self.visible || since.elapsed() < every {
            return;
        }
        self.shown = Some(Instant::now());
        let done = metrics.step + 1;
        let rate = self.rate(done);
        let eta = (self.steps - done) as f64 * self.images as f64 / rate.max(1e-9);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!(
                "loss {loss:.3}  rate {:.2e}  {rate:.0} images/s  ETA {}",
                metrics.learning_rate,
                clock(eta)
            ));
        } else {
            let line = serde_json::json!({
                "step": done, "steps": self.steps, "loss": loss, "learning_rate": metrics.learning_rate,
                "images_per_second": (rate * 10.0).round() / 10.0, "eta_seconds": eta.round(),
            });
            // Nobody reads standard error any more: the work goes on.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// A line between, such as what a checkpoint is worth.
    pub(super) fn note(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.println(escaped(text));
        } else if self.visible {
            say(text);
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
