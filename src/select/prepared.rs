//! A selection that is not written: its queries, to be looked at as rows or as plans.

use datafusion::dataframe::DataFrame;

use super::input::Input;
use super::job::{Run, SelectJob};
use super::passes::ChosenRows;
use super::{Method, SelectError};
use crate::workspace::Workspace;

impl SelectJob {
    /// Does all passes and writes nothing.
    ///
    /// # Errors
    /// [`SelectError`].
    pub async fn prepare<'a>(
        &'a self,
        workspace: &'a Workspace,
    ) -> Result<Prepared<'a>, SelectError> {
        let (run, input) = self.begin(workspace).await?;
        let chosen = run.passes(&input).await?.chosen;
        Ok(Prepared { run, input, chosen })
    }
}

/// A selection whose passes are done and of which nothing is written.
pub struct Prepared<'a> {
    run: Run<'a>,
    input: Input,
    chosen: ChosenRows,
}

impl Prepared<'_> {
    /// The queries that this selection executes, in their order.
    pub fn files(&self) -> Vec<&'static str> {
        let knows = self.run.knows;
        let config = &self.run.job.config;
        [
            (knows.leaks, "held_out.sql"),
            (knows.duplicates || knows.leaks, "fingerprints.sql"),
            (true, self.run.candidates_file()),
            (true, "tally.sql"),
            (config.method == Method::Exact, "order.sql"),
            (true, Run::selected_file(&self.input)),
            (self.run.job.explain, Run::left_out_file(&self.input)),
        ]
        .into_iter()
        .filter_map(|(used, file)| used.then_some(file))
        .collect()
    }

    /// One of these queries, as the selection executes it; of `held_out.sql` that of the first held-out dataset. Without soft labels the rows of `selected.sql` are there to be read once.
    ///
    /// # Errors
    /// [`SelectError::Query`].
    pub async fn query(&self, file: &'static str) -> Result<DataFrame, SelectError> {
        let query = match file {
            "order.sql" => self.run.order_query(true).await,
            "held_out.sql" => {
                let first = self.run.job.config.exclude.first();
                let first = first.map_or("", String::as_str);
                self.run.held_out_query(first).await
            }
            file if file == Run::selected_file(&self.input) => {
                self.run.selected(&self.input, &self.chosen).await
            }
            file => self.run.query(file).await,
        };
        Ok(query?.frame)
    }
}
