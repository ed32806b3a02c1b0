//! Labels that other systems wrote: Parquet files that a pattern names, their columns brought to the names and types of ours.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::file_format::FileFormat as _;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::logical_expr::{Expr, cast, col, lit};
use datafusion::prelude::SessionContext;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};

use super::SelectError;
use super::functions::unsigned_bits;
use super::input::{Found, Input, add, engine, objects};
use super::report::InputRecord;
use crate::catalog::files::Files;
use crate::hex::hex;
use crate::store::{self, Opened, StorageOptions, StoreError};

/// The labels of these files; nothing but footers is read.
pub(super) async fn open(
    pattern: &str,
    storage: &StorageOptions,
    context: &SessionContext,
) -> Result<Input, SelectError> {
    let at = store::open(pattern, storage)?;
    let found = matching(&at, pattern).await?;
    if found.is_empty() {
        return Err(SelectError::NoLabels {
            place: pattern.to_owned(),
        });
    }
    let schema = schema_of(&at, &found, context).await?;
    let mut hash = Sha256::new();
    found.iter().for_each(|meta| add(&mut hash, meta));
    context.register_object_store(&at.root, Arc::clone(&at.store));
    let files = found.len() as u64;
    let url = ListingTableUrl::parse(&at.root).map_err(engine)?;
    let table = Files {
        url: url.object_store(),
        schema: Arc::new(schema),
        found: found.clone(),
    };
    let rows = context.read_table(Arc::new(table)).map_err(engine)?;
    let columns = columns(pattern, rows.schema().as_arrow())?;
    Ok(Input {
        soft: columns.soft,
        fingerprints: columns.fingerprints,
        rows: rows.select(columns.select).map_err(engine)?,
        targets: None,
        names: Vec::new(),
        record: InputRecord {
            dataset: None,
            teacher: None,
            filter_teacher: None,
            labels: Some(pattern.to_owned()),
            generation: None,
            files,
            sha256: hex(&hash.finalize()),
            own_queries: false,
        },
        found: vec![Found {
            pattern: Some(pattern.to_owned()),
            at,
            files: found,
        }],
    })
}

/// Whether foreign files are still the same ones.
pub(super) async fn check(found: &Found) -> Result<(), SelectError> {
    let Some(pattern) = &found.pattern else {
        return Ok(());
    };
    if matching(&found.at, pattern).await? == found.files {
        return Ok(());
    }
    Err(SelectError::Changed {
        place: pattern.clone(),
    })
}

/// The files that the pattern names.
async fn matching(at: &Opened, pattern: &str) -> Result<Vec<ObjectMeta>, SelectError> {
    // A path of the store percent-encodes what a glob is made of.
    let typed = [("%2A", "*"), ("%3F", "?"), ("%5B", "["), ("%5D", "]")]
        .iter()
        .fold(at.url(), |text, (code, sign)| text.replace(code, sign));
    let wanted = glob::Pattern::new(&typed).map_err(|e| SelectError::BadLabels {
        place: pattern.to_owned(),
        problem: format!("have a pattern that is none: {e}"),
    })?;
    let has_sign = |part: &str| {
        ["*", "?", "[", "%2A", "%3F", "%5B"]
            .iter()
            .any(|s| part.contains(s))
    };
    let parts: Vec<_> = at.path.parts().map(|p| p.as_ref().to_owned()).collect();
    let plain = parts.iter().take_while(|part| !has_sign(part)).count();
    // The parts are spelled as the store has them: they are put together, not encoded once more.
    let folder = Path::parse(parts[..plain].join("/")).map_err(|e| SelectError::BadLabels {
        place: pattern.to_owned(),
        problem: format!("have a path that cannot be addressed: {e}"),
    })?;
    if plain == parts.len() && !pattern.ends_with('/') {
        match at.store.head(&at.path).await {
            Ok(one) => return Ok(vec![one]),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(StoreError::from_object_store("read", at.url(), &e).into()),
        }
    }
    let mut found = objects(at, &folder).await?;
    if plain < parts.len() {
        let options = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        found.retain(|meta| wanted.matches_with(&at.key(&meta.location), options));
    }
    Ok(found)
}

/// The columns of foreign labels that are looked at.
const LOOKED_AT: [&str; 6] = ["key", "class", "confidence", "sha256", "phash", "probs"];
/// Files whose footers are asked for at the same time.
const FOOTERS_AT_ONCE: usize = 16;

/// What these columns are in all of the files: of types of several widths the widest. A file may lack what others have, but for soft labels: its rows would be without them.
async fn schema_of(
    at: &Opened,
    files: &[ObjectMeta],
    context: &SessionContext,
) -> Result<Schema, SelectError> {
    let state = Arc::new(context.state());
    let schemas = files.iter().map(|meta| {
        let (at, meta, state) = (at.clone(), meta.clone(), Arc::clone(&state));
        async move {
            check_end(at.clone(), meta.clone()).await?;
            let format = ParquetFormat::default();
            let of = std::slice::from_ref(&meta);
            let inferred = format.infer_schema(&*state, &at.store, of).await;
            let place = at.key(&meta.location);
            match inferred {
                Ok(schema) => Ok((place, schema)),
                Err(e) => Err(SelectError::BadLabels {
                    place,
                    problem: format!("cannot be read as Parquet: {}", e.strip_backtrace()),
                }),
            }
        }
    });
    let mut schemas = stream::iter(schemas.collect::<Vec<_>>()).buffered(FOOTERS_AT_ONCE);
    let mut all: [Option<DataType>; LOOKED_AT.len()] = Default::default();
    let (mut soft, mut hard) = (None, None);
    while let Some((place, schema)) = schemas.try_next().await? {
        for (name, all) in LOOKED_AT.iter().zip(&mut all) {
            let Ok(field) = schema.field_with_name(name) else {
                continue;
            };
            let now = plain(field.data_type());
            let before = all.take().unwrap_or(DataType::Null);
            let Some(both) = wider(&before, now) else {
                let problem =
                    format!("have `{name}` of type {now}, and the files before of type {before}");
                return Err(SelectError::BadLabels { place, problem });
            };
            *all = Some(both);
        }
        let probs = schema.field_with_name("probs");
        let is_soft = probs.is_ok_and(|field| !field.data_type().is_null());
        let of_kind = if is_soft { &mut soft } else { &mut hard };
        of_kind.get_or_insert(place);
    }
    if let (Some(soft), Some(place)) = (soft, hard) {
        let problem = format!("have no `probs`, which those in `{soft}` have");
        return Err(SelectError::BadLabels { place, problem });
    }
    let fields = LOOKED_AT.iter().zip(all);
    let fields = fields.filter_map(|(name, of)| Some(Field::new(*name, of?, true)));
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// The type of what a dictionary stands for.
fn plain(of: &DataType) -> &DataType {
    match of {
        DataType::Dictionary(_, values) => values,
        of => of,
    }
}

/// A type that holds the values of both; none where there is none that says the same.
fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    let binary = |of: &DataType| {
        matches!(
            of,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        )
    };
    match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (DataType::Null, of) | (of, DataType::Null) => Some(of.clone()),
        (a, b) if binary(a) && binary(b) => Some(DataType::Binary),
        // Of 64 bits without a sign not all fit.
        (DataType::UInt64, _) | (_, DataType::UInt64) => None,
        (a, b) if a.is_integer() && b.is_integer() => Some(DataType::Int64),
        (a, b) if a.is_numeric() && b.is_numeric() && (a.is_floating() || b.is_floating()) => {
            Some(DataType::Float64)
        }
        _ => None,
    }
}

/// Bytes at the end of a Parquet file: the length of its footer, and the magic.
const END: u64 = 8;

/// Holds a file's end against its size. One that is empty or was cut would be passed over, or break off the reading of all.
async fn check_end(at: Opened, meta: ObjectMeta) -> Result<(), SelectError> {
    let url = at.key(&meta.location);
    let bad = |problem: &str| SelectError::BadLabels {
        place: url.clone(),
        problem: format!("cannot be read as Parquet: {problem}; write the file anew, or remove it"),
    };
    if meta.size < END {
        return Err(bad(if meta.size == 0 {
            "the file is empty"
        } else {
            "the file is too short"
        }));
    }
    let range = meta.size - END..meta.size;
    let end = at.store.get_range(&meta.location, range).await;
    let end = end.map_err(|e| StoreError::from_object_store("read", url.clone(), &e))?;
    let [a, b, c, d, b'P', b'A', b'R', b'1'] = end[..] else {
        return Err(bad(
            "the file does not end as a whole one that is not encrypted",
        ));
    };
    if u64::from(u32::from_le_bytes([a, b, c, d])) > meta.size - END {
        return Err(bad("its footer is longer than the file"));
    }
    Ok(())
}

/// What foreign labels say of their images: key, class, confidence, sha256. `None` where the files are gone.
///
/// # Errors
/// [`SelectError`], as a selection of them.
pub(crate) async fn fingerprints(
    pattern: &str,
    storage: &StorageOptions,
    context: &SessionContext,
) -> Result<Option<DataFrame>, SelectError> {
    match open(pattern, storage, context).await {
        Ok(input) => {
            let columns = ["key", "class", "confidence", "sha256"];
            Ok(Some(input.rows.select_columns(&columns).map_err(engine)?))
        }
        Err(SelectError::NoLabels { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

struct Columns {
    select: Vec<Expr>,
    soft: bool,
    fingerprints: bool,
}

/// What foreign labels have, brought to the names and types of ours.
fn columns(place: &str, schema: &Schema) -> Result<Columns, SelectError> {
    let bad = |problem: String| SelectError::BadLabels {
        place: place.to_owned(),
        problem,
    };
    let of = |name: &str| {
        schema
            .field_with_name(name)
            .ok()
            .map(|f| f.data_type().clone())
    };
    let needed = |name: &str| of(name).ok_or_else(|| bad(format!("have no column `{name}`")));
    let key = needed("key")?;
    if !matches!(
        key,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    ) {
        return Err(bad(format!("have a `key` of type {key}")));
    }
    let class = needed("class")?;
    if !class.is_integer() {
        return Err(bad(format!("have a `class` of type {class}")));
    }
    let confidence = needed("confidence")?;
    if !confidence.is_numeric() {
        return Err(bad(format!("have a `confidence` of type {confidence}")));
    }
    let sha = DataType::FixedSizeBinary(32);
    // What is there and cannot be used is told: without it duplicates and leaks would stay, and soft labels be lost, without a word.
    let usable = |name: &str, fits: fn(&DataType) -> bool| match of(name) {
        Some(DataType::Null) | None => Ok(false),
        Some(of) if fits(&of) => Ok(true),
        Some(of) => Err(bad(format!("have a `{name}` of type {of}"))),
    };
    let binary: fn(&DataType) -> bool = |t| {
        matches!(
            t,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(32)
        )
    };
    let null = |of: &DataType| {
        let null = ScalarValue::try_from(of).map_err(engine)?;
        Ok::<_, SelectError>(lit(null))
    };
    let has_sha = usable("sha256", binary)?;
    let has_phash = usable("phash", |t| matches!(t, DataType::UInt64 | DataType::Int64))?;
    let soft = usable("probs", is_soft_label)?;
    Ok(Columns {
        select: vec![
            col("key"),
            col("class"),
            cast(col("confidence"), DataType::Float32).alias("confidence"),
            if has_sha {
                col("sha256")
            } else {
                null(&sha)?.alias("sha256")
            },
            if has_phash {
                unsigned_bits().call(vec![col("phash")])
            } else {
                null(&DataType::UInt64)?
            }
            .alias("phash"),
            if soft {
                col("probs")
            } else {
                null(&DataType::Boolean)?
            }
            .alias("probs"),
        ],
        soft,
        fingerprints: has_sha || has_phash,
    })
}

/// A list of numbers, or of classes with their numbers.
fn is_soft_label(of: &DataType) -> bool {
    match of {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => {
            let item = item.data_type();
            item.is_floating() || matches!(item, DataType::Struct(_))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_that_change_come_or_go_are_not_those_that_were_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        file("a.parquet", b"12345678");
        file("b.parquet", b"12345678");
        let pattern = format!("{}/*.parquet", folder.path().display());
        let at = store::open(&pattern, &StorageOptions::default()).unwrap();
        let files = matching(&at, &pattern).await.unwrap();
        assert_eq!(files.len(), 2);
        let found = Found {
            pattern: Some(pattern),
            at,
            files,
        };
        check(&found).await.unwrap();
        file("c.parquet", b"12345678");
        let changed = check(&found).await.unwrap_err();
        assert!(matches!(changed, SelectError::Changed { .. }), "{changed}");
        std::fs::remove_file(folder.path().join("c.parquet")).unwrap();
        check(&found).await.unwrap();
        file("b.parquet", b"123456789");
        assert!(check(&found).await.is_err());
    }
}
