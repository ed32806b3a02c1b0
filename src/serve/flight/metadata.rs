//! What clients ask before they query: catalogs, schemas, tables, types, and what the server can do.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteOptions;
use arrow::record_batch::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, Nullable,
    Searchable, SqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity, XdbcDataType,
};
use arrow_flight::{IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use tonic::Status;

use crate::serve::queries::Table;

/// What DataFusion calls the one catalog and the one schema that there are: a query may write `datafusion.public.labels`.
const CATALOG: &str = "datafusion";
const SCHEMA: &str = "public";
const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

/// A type of columns, as JDBC and ODBC describe it.
struct Kind {
    name: &'static str,
    data_type: XdbcDataType,
    /// Bits of a number.
    bits: Option<i32>,
    /// What stands around a literal.
    quote: Option<&'static str>,
    is_unsigned: bool,
}

const fn number(name: &'static str, data_type: XdbcDataType, bits: i32) -> Kind {
    Kind {
        name,
        data_type,
        bits: Some(bits),
        quote: None,
        is_unsigned: false,
    }
}

const fn unsigned(name: &'static str, data_type: XdbcDataType, bits: i32) -> Kind {
    Kind {
        is_unsigned: true,
        ..number(name, data_type, bits)
    }
}

const fn other(name: &'static str, data_type: XdbcDataType, quote: Option<&'static str>) -> Kind {
    Kind {
        name,
        data_type,
        bits: None,
        quote,
        is_unsigned: false,
    }
}

const KINDS: [Kind; 14] = [
    other("BOOLEAN", XdbcDataType::XdbcBit, None),
    number("TINYINT", XdbcDataType::XdbcTinyint, 8),
    unsigned("TINYINT UNSIGNED", XdbcDataType::XdbcTinyint, 8),
    number("SMALLINT", XdbcDataType::XdbcSmallint, 16),
    unsigned("SMALLINT UNSIGNED", XdbcDataType::XdbcSmallint, 16),
    number("INTEGER", XdbcDataType::XdbcInteger, 32),
    unsigned("INTEGER UNSIGNED", XdbcDataType::XdbcInteger, 32),
    number("BIGINT", XdbcDataType::XdbcBigint, 64),
    unsigned("BIGINT UNSIGNED", XdbcDataType::XdbcBigint, 64),
    number("REAL", XdbcDataType::XdbcReal, 24),
    number("DOUBLE", XdbcDataType::XdbcDouble, 53),
    other("VARCHAR", XdbcDataType::XdbcVarchar, Some("'")),
    other("BYTEA", XdbcDataType::XdbcVarbinary, None),
    other("TIMESTAMP", XdbcDataType::XdbcTimestamp, Some("'")),
];

pub(super) fn catalogs(query: CommandGetCatalogs) -> Result<RecordBatch, FlightError> {
    let mut builder = query.into_builder();
    builder.append(CATALOG);
    builder.build()
}

pub(super) fn schemas(query: CommandGetDbSchemas) -> Result<RecordBatch, FlightError> {
    let mut builder = query.into_builder();
    builder.append(CATALOG, SCHEMA);
    builder.build()
}

pub(super) fn tables(
    query: CommandGetTables,
    tables: &[Table],
) -> Result<RecordBatch, FlightError> {
    let mut builder = query.into_builder();
    for table in tables {
        let kind = if table.is_view { VIEW } else { TABLE };
        builder.append(CATALOG, SCHEMA, &table.name, kind, &table.schema)?;
    }
    builder.build()
}

pub(super) fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch, FlightError> {
    let mut builder = query.into_builder();
    builder.append(TABLE);
    builder.append(VIEW);
    builder.build()
}

/// What the server is and can do.
pub(super) fn server() -> Result<SqlInfoData, ArrowError> {
    use SqlInfo as I;
    let mut known = SqlInfoDataBuilder::new();
    known.append(I::FlightSqlServerName, "understudy");
    known.append(I::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    known.append(I::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    known.append(I::SqlIdentifierQuoteChar, "\"");
    known.append(I::SqlSchemaTerm, "schema");
    known.append(I::SqlCatalogTerm, "catalog");
    for (what, can) in [
        (I::FlightSqlServerReadOnly, true),
        (I::FlightSqlServerSql, true),
        (I::FlightSqlServerSubstrait, false),
        (I::FlightSqlServerCancel, false),
        (I::FlightSqlServerBulkIngestion, false),
        (I::SqlDdlCatalog, false),
        (I::SqlDdlSchema, false),
        (I::SqlDdlTable, false),
        (I::SqlAllTablesAreSelectable, true),
        (I::SqlSupportsColumnAliasing, true),
        (I::SqlNullPlusNullIsNull, true),
        (I::SqlSupportsTableCorrelationNames, true),
        (I::SqlSupportsExpressionsInOrderBy, true),
        (I::SqlSupportsOrderByUnrelated, true),
        (I::SqlSupportsLikeEscapeClause, true),
        (I::SqlCatalogAtStart, true),
        (I::SqlCorrelatedSubqueriesSupported, true),
        (I::SqlTransactionsSupported, false),
        (I::SqlBatchUpdatesSupported, false),
        (I::SqlSavepointsSupported, false),
        (I::SqlNamedParametersSupported, false),
    ] {
        known.append(what, can);
    }
    // Unquoted names are read in lower case, quoted ones as they are; nulls sort as if they were the highest.
    let (lower, exact) = (
        SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive,
    );
    known.append(I::SqlIdentifierCase, i64::from(lower as i32));
    known.append(I::SqlQuotedIdentifierCase, i64::from(exact as i32));
    let nulls = SqlNullOrdering::SqlNullsSortedHigh;
    known.append(I::SqlNullOrdering, i64::from(nulls as i32));
    known.append(I::FlightSqlServerTransaction, 0_i64);
    known.build().map_err(of_flight)
}

/// The types of columns.
pub(super) fn types() -> Result<XdbcTypeInfoData, ArrowError> {
    let mut known = XdbcTypeInfoDataBuilder::new();
    for kind in KINDS {
        let quote = kind.quote.map(str::to_owned);
        known.append(XdbcTypeInfo {
            type_name: kind.name.into(),
            data_type: kind.data_type,
            column_size: kind.bits,
            literal_prefix: quote.clone(),
            literal_suffix: quote,
            create_params: None,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: kind.data_type == XdbcDataType::XdbcVarchar,
            searchable: Searchable::Full,
            unsigned_attribute: kind.bits.map(|_| kind.is_unsigned),
            fixed_prec_scale: false,
            auto_increment: kind.bits.map(|_| false),
            local_type_name: Some(kind.name.into()),
            minimum_scale: None,
            maximum_scale: None,
            sql_data_type: kind.data_type,
            datetime_subcode: None,
            num_prec_radix: kind.bits.map(|_| 2),
            interval_precision: None,
        });
    }
    known.build().map_err(of_flight)
}

fn of_flight(e: FlightError) -> ArrowError {
    ArrowError::ExternalError(Box::new(e))
}

/// What a primary key is told as. No table has one.
pub(super) fn primary_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

/// What a foreign key is told as, from either side. No table has one.
pub(super) fn foreign_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

/// A schema as the messages have it.
pub(super) fn encoded(schema: &Schema) -> Result<Bytes, Status> {
    let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &IpcWriteOptions::default()));
    let IpcMessage(bytes) = message.map_err(super::of_arrow)?;
    Ok(bytes)
}
