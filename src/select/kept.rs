//! Rows that may be chosen, which the second pass keeps in temporary files for the third one: so the labels' keys are read once.
//!
//! Which rows these are is known after the first pass, but for ties. Where soft labels are wanted the third pass reads the labels again, and nothing is kept.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, RecordBatch, StringBuilder, StringViewArray,
};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt as _, stream};

/// A partition that is being kept, in Arrow's IPC format, in a file without a name: a killed process leaves none.
pub(super) struct Keeping {
    schema: SchemaRef,
    file: StreamWriter<BufWriter<File>>,
}

impl Keeping {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        let file = BufWriter::new(tempfile::tempfile()?);
        Ok(Self {
            schema: Arc::clone(schema),
            file: StreamWriter::try_new(file, schema)?,
        })
    }

    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter();
        let columns = columns.map(|column| match column.as_string_view_opt() {
            Some(texts) => gathered(texts),
            None => Arc::clone(column),
        });
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new(schema, columns.collect())?;
        self.file.write(&batch)?;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<File> {
        let mut file = self.file.into_inner()?;
        file.flush()?;
        file.into_inner()
            .map_err(|e| DataFusionError::IoError(e.into_error()))
    }
}

/// The schema of kept rows: their texts lie side by side, where a view would be written with its place and looked at once more when it is read.
pub(super) fn schema(rows: &Schema) -> SchemaRef {
    let fields = rows.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8View => {
            let texts = field.as_ref().clone().with_data_type(DataType::Utf8);
            Arc::new(texts)
        }
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

fn gathered(texts: &StringViewArray) -> ArrayRef {
    let bytes = texts.lengths().map(|length| length as usize).sum();
    let mut all = StringBuilder::with_capacity(texts.len(), bytes);
    texts.iter().for_each(|text| all.append_option(text));
    Arc::new(all.finish())
}

/// What was kept, partition by partition.
pub(super) struct Kept {
    schema: SchemaRef,
    partitions: Vec<Arc<Partition>>,
}

struct Partition {
    schema: SchemaRef,
    /// Taken by who reads them: when that is done nobody else needs it, and the system has its room again.
    file: Mutex<Option<File>>,
}

impl Kept {
    /// Partitions in their order.
    pub(super) fn new(schema: SchemaRef, files: Vec<File>) -> Self {
        let partition = |file| {
            Arc::new(Partition {
                schema: Arc::clone(&schema),
                file: Mutex::new(Some(file)),
            })
        };
        Self {
            partitions: files.into_iter().map(partition).collect(),
            schema,
        }
    }

    /// The rows, in their partitions and their order, to be read once.
    pub(super) fn table(&self) -> Result<Arc<dyn TableProvider>> {
        let partitions = self.partitions.iter();
        let partitions = partitions.map(|p| Arc::clone(p) as Arc<dyn PartitionStream>);
        let table = StreamingTable::try_new(Arc::clone(&self.schema), partitions.collect())?;
        Ok(Arc::new(table))
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows in {:?}", self.file)
    }
}

impl Partition {
    /// From the first one on.
    fn rows(&self) -> Result<StreamReader<BufReader<File>>, ArrowError> {
        let file = self.file.lock();
        let file = file.unwrap_or_else(PoisonError::into_inner).take();
        let read = || ArrowError::IpcError("the rows that were kept have been read".into());
        let mut file = file.ok_or_else(read)?;
        file.rewind()?;
        StreamReader::try_new_buffered(file, None)
    }
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = match self.rows() {
            Ok(rows) => stream::iter(rows).map(|batch| Ok(batch?)).boxed(),
            Err(error) => stream::iter([Err(error.into())]).boxed(),
        };
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            rows,
        ))
    }
}
