//! A query and its parameters, as a client holds them between two calls.

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use futures::{Stream, TryStreamExt as _};
use prost::Message as _;
use tonic::Status;

/// A handle's two fields.
#[derive(Clone, PartialEq, prost::Message)]
struct Handle {
    #[prost(string, tag = "1")]
    sql: String,
    /// An Arrow stream of one row; nothing where no parameter is bound.
    #[prost(bytes = "bytes", tag = "2")]
    parameters: Bytes,
}

/// See the module.
pub(super) struct Statement {
    /// With parameters that have numbers.
    pub(super) sql: String,
    parameters: Bytes,
}

impl Statement {
    /// A client's query, without parameters' values.
    pub(super) fn new(sql: &str) -> Result<Self, Status> {
        Ok(Self {
            sql: numbered(sql)?,
            parameters: Bytes::new(),
        })
    }

    /// What [`Statement::handle`] gave out.
    pub(super) fn of(handle: &Bytes) -> Result<Self, Status> {
        let Handle { sql, parameters } = Handle::decode(handle.clone())
            .map_err(|_| Status::invalid_argument("the ticket or handle is none of this server"))?;
        Ok(Self { sql, parameters })
    }

    pub(super) fn handle(&self) -> Bytes {
        let handle = Handle {
            sql: self.sql.clone(),
            parameters: self.parameters.clone(),
        };
        handle.encode_to_vec().into()
    }

    /// Takes over a row of values.
    pub(super) fn bind(&mut self, row: &RecordBatch) -> Result<(), Status> {
        let bad = |e| Status::invalid_argument(format!("the parameters cannot be used: {e}"));
        let mut stream = StreamWriter::try_new(Vec::new(), &row.schema()).map_err(bad)?;
        stream.write(row).map_err(bad)?;
        self.parameters = stream.into_inner().map_err(bad)?.into();
        Ok(())
    }

    /// The parameters' values, the first one first.
    pub(super) fn values(&self) -> Result<Vec<ScalarValue>, Status> {
        if self.parameters.is_empty() {
            return Ok(Vec::new());
        }
        let bad =
            |e: String| Status::invalid_argument(format!("the parameters cannot be used: {e}"));
        let stream = StreamReader::try_new(self.parameters.as_ref(), None);
        let mut stream = stream.map_err(|e| bad(e.to_string()))?;
        let row = stream.next().transpose().map_err(|e| bad(e.to_string()))?;
        let row = row.ok_or_else(|| bad("there is no row of them".into()))?;
        let values = row.columns().iter().map(|column| {
            ScalarValue::try_from_array(column, 0).map_err(|e| bad(e.strip_backtrace()))
        });
        values.collect()
    }
}

/// The one row of a client's stream. No more is read of a longer one.
pub(super) async fn row<E>(
    mut batches: impl Stream<Item = Result<RecordBatch, E>> + Unpin,
) -> Result<RecordBatch, Status>
where
    Status: From<E>,
{
    let mut row = None;
    while let Some(batch) = batches.try_next().await? {
        match (batch.num_rows(), &row) {
            (0, _) => {}
            (1, None) => row = Some(batch),
            _ => {
                return Err(Status::invalid_argument(
                    "a query takes one row of parameters, not several",
                ));
            }
        }
    }
    row.ok_or_else(|| Status::invalid_argument("a query takes one row of parameters, not 0"))
}

/// `?`, as JDBC and Python's DB-API write parameters, becomes `$1`, `$2` and so on, as the catalog's SQL has them.
fn numbered(sql: &str) -> Result<String, Status> {
    if !sql.contains('?') {
        return Ok(sql.to_owned());
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .with_unescape(false)
        .tokenize()
        .map_err(|e| Status::invalid_argument(e.to_string()))?;
    let mut number = 0;
    let text = tokens.into_iter().map(|token| match token {
        Token::Placeholder(name) if name == "?" => {
            number += 1;
            format!("${number}")
        }
        other => other.to_string(),
    });
    Ok(text.collect())
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn question_marks_get_numbers_where_they_are_parameters() {
        for (given, made) in [
            ("SELECT 1", "SELECT 1"),
            (
                "SELECT a FROM t WHERE b = ? AND c < ?",
                "SELECT a FROM t WHERE b = $1 AND c < $2",
            ),
            (
                "SELECT 'it''s ?', \"a?b\" -- what?\nFROM t /* ? */ WHERE b=?",
                "SELECT 'it''s ?', \"a?b\" -- what?\nFROM t /* ? */ WHERE b=$1",
            ),
        ] {
            assert_eq!(numbered(given).unwrap(), made);
        }
        assert!(numbered("SELECT 'open ?").is_err());
    }

    #[tokio::test]
    async fn a_handle_holds_the_query_and_one_row_of_values() {
        let mut statement = Statement::new("SELECT ? + ?").unwrap();
        assert_eq!(statement.values().unwrap(), []);
        let columns: [(&str, ArrayRef); 2] = [
            ("0", Arc::new(Int64Array::from(vec![7, 8]))),
            ("1", Arc::new(StringArray::from(vec![Some("x"), None]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let of = async |batches: &[RecordBatch]| {
            let batches = batches.iter().cloned().map(Ok::<_, Status>);
            row(stream::iter(batches)).await
        };
        for several in [
            &[][..],
            std::slice::from_ref(&rows),
            &[rows.slice(0, 1), rows.slice(1, 1)],
        ] {
            let error = of(several).await.unwrap_err();
            assert!(error.message().contains("one row"), "{error}");
        }
        let second = of(&[rows.slice(0, 0), rows.slice(1, 1)]).await.unwrap();
        statement.bind(&second).unwrap();
        let read = Statement::of(&statement.handle()).unwrap();
        assert_eq!(read.sql, "SELECT $1 + $2");
        let values = [ScalarValue::Int64(Some(8)), ScalarValue::Utf8(None)];
        assert_eq!(read.values().unwrap(), values);
        assert!(Statement::of(&Bytes::from_static(b"\xffx")).is_err());
    }
}
