//! Rows with `copies` → each so many times, a bounded number of rows at a time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;

/// Rows of one batch that is given out: soft labels of 1,000 classes in half precision are 2 MB.
const ROWS: usize = 1024;

/// The schema of repeated rows: as before, and `copy`.
///
/// # Errors
/// Where there is no `copies` of UInt32.
pub(crate) fn schema(of: &Schema) -> Result<SchemaRef, ArrowError> {
    copies(of)?;
    let mut fields: Vec<_> = of.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("copy", DataType::UInt32, false)));
    Ok(Arc::new(Schema::new(fields)))
}

/// Which column.
fn copies(of: &Schema) -> Result<usize, ArrowError> {
    let (i, field) = of.column_with_name("copies").ok_or_else(|| {
        ArrowError::SchemaError("rows without a column `copies` cannot be repeated".into())
    })?;
    match field.data_type() {
        DataType::UInt32 => Ok(i),
        other => Err(ArrowError::SchemaError(format!(
            "`copies` is {other}, not UInt32: the rows cannot be repeated"
        ))),
    }
}

/// The rows of a batch, each as often as its `copies` says: `copies` is 1 then, and `copy` counts from 0.
#[derive(Debug)]
pub(crate) struct Repeated {
    batch: RecordBatch,
    schema: SchemaRef,
    /// Which column.
    copies: usize,
    /// The next row, and its next copy.
    next: (usize, u32),
}

impl Repeated {
    /// # Errors
    /// Where the batch has no `copies` of UInt32.
    pub(crate) fn of(batch: RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self {
            schema: schema(&batch.schema())?,
            copies: copies(&batch.schema())?,
            batch,
            next: (0, 0),
        })
    }
}

impl Iterator for Repeated {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut rows, mut copy) = (Vec::new(), Vec::new());
        let copies = self.batch.column(self.copies).as_primitive::<UInt32Type>();
        while rows.len() < ROWS && self.next.0 < copies.len() {
            let (row, done) = self.next;
            let wanted = if copies.is_valid(row) {
                copies.value(row)
            } else {
                0
            };
            if done < wanted {
                rows.push(row as u32);
                copy.push(done);
                self.next.1 += 1;
            } else {
                self.next = (row + 1, 0);
            }
        }
        if rows.is_empty() {
            return None;
        }
        let ones = UInt32Array::from(vec![1; rows.len()]);
        let taken = take_record_batch(&self.batch, &UInt32Array::from(rows));
        Some(taken.and_then(|taken| {
            let mut columns: Vec<ArrayRef> = taken.columns().to_vec();
            columns[self.copies] = Arc::new(ones);
            columns.push(Arc::new(UInt32Array::from(copy)));
            RecordBatch::try_new(Arc::clone(&self.schema), columns)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;

    #[test]
    fn each_row_comes_as_often_as_it_says_in_batches_of_bounded_size() {
        let copies = [2, 0, 5000, 1];
        let batch = RecordBatch::try_from_iter([
            (
                "key",
                Arc::new(StringArray::from(vec!["a", "b", "c", "d"])) as ArrayRef,
            ),
            ("copies", Arc::new(UInt32Array::from(copies.to_vec()))),
        ])
        .unwrap();
        let mut seen: Vec<(String, u32)> = Vec::new();
        for repeated in Repeated::of(batch).unwrap() {
            let repeated = repeated.unwrap();
            assert!(repeated.num_rows() <= ROWS);
            let keys = repeated.column(0).as_string::<i32>();
            let copy = repeated.column(2).as_primitive::<UInt32Type>();
            let ones = repeated.column(1).as_primitive::<UInt32Type>();
            assert!(ones.values().iter().all(|n| *n == 1));
            seen.extend((0..keys.len()).map(|i| (keys.value(i).to_owned(), copy.value(i))));
        }
        let expected: Vec<(String, u32)> = ["a", "b", "c", "d"]
            .iter()
            .zip(copies)
            .flat_map(|(key, n)| (0..n).map(|copy| ((*key).to_owned(), copy)))
            .collect();
        assert_eq!(seen, expected);
    }
}
