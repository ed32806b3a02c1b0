//! The rows of a query as Rust values, for queries whose rows are few.

use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use futures::TryStreamExt;
use serde::de::DeserializeOwned;

/// All rows, each from the fields of its columns' names; a null is a field that is not there.
///
/// # Errors
/// DataFusion's, or a column that does not fit its field.
pub async fn rows<T: DeserializeOwned>(frame: DataFrame) -> Result<Vec<T>, DataFusionError> {
    let mut batches = frame.execute_stream().await?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let mut json = arrow::json::LineDelimitedWriter::new(Vec::new());
        let written = json.write(&batch).and_then(|()| json.finish());
        written.map_err(DataFusionError::from)?;
        for row in serde_json::Deserializer::from_slice(&json.into_inner()).into_iter() {
            rows.push(row.map_err(|e| DataFusionError::External(Box::new(e)))?);
        }
    }
    Ok(rows)
}
