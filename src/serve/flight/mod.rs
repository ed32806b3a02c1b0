//! Flight SQL: the catalog for ADBC, JDBC and ODBC clients, over gRPC.
//!
//! ```text
//! GetFlightInfo, DoGet     a query's schema, then its rows as they come
//! prepared statements      statement.rs: `?` and `$1`, bound by the handle that DoPut gives back
//! what there is            metadata.rs: catalogs, schemas, tables, types, and what the server can do
//! ```
//! Nothing is kept between two calls: tickets and handles are the query and its parameters themselves, so that any replica answers them, also after a
//! restart. They give nothing that a client could not ask for by itself. Queries read alone, within the limits of `[sql]` and `[flight]`.

mod metadata;
mod statement;

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetCrossReference,
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
    CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt,
    SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse,
    Ticket,
};
use axum::Router;
use axum::middleware::from_fn_with_state;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status, Streaming};

use self::statement::Statement;
use super::access::{self, AUTHORIZATION_KEY};
use super::observe::observe;
use super::problem::Problem;
use super::queries::Streamed;
use super::service::Shared;
use crate::catalog::CatalogError;

/// A message of a client at most: a query, or a row of parameters.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

type DoGet = <FlightSql as FlightService>::DoGetStream;

/// What answers Flight SQL's calls.
pub(super) fn router(service: &Shared) -> Router {
    let flight = FlightServiceServer::new(FlightSql {
        service: Arc::clone(service),
    });
    let flight = flight.max_decoding_message_size(MESSAGE_BYTES);
    let state = || Arc::clone(service);
    Routes::new(flight)
        .into_axum_router()
        .layer(from_fn_with_state(state(), access::check_call))
        .layer(from_fn_with_state(state(), observe))
}

/// See the module.
struct FlightSql {
    service: Shared,
}

impl FlightSql {
    /// What a client has to know before it fetches a query's rows with `ticket`.
    async fn info(
        &self,
        statement: Statement,
        descriptor: FlightDescriptor,
        ticket: &impl ProstMessageExt,
    ) -> Result<Response<FlightInfo>, Status> {
        let planned = self.service.queries.plan(
            &self.service.workspace,
            statement.sql.clone(),
            statement.values()?,
        );
        let planned = planned.await.map_err(status)?;
        info(&planned.schema, descriptor, ticket)
    }

    /// A query's rows.
    async fn rows(&self, statement: Statement) -> Result<Response<DoGet>, Status> {
        let limits = &self.service.config.flight;
        let streamed = self.service.queries.stream(
            &self.service.workspace,
            statement.sql.clone(),
            statement.values()?,
            limits,
        );
        let Streamed { schema, batches } = streamed.await.map_err(status)?;
        Ok(answer(schema, batches.map_err(status).boxed()))
    }
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    /// A client that gave a token's name and the token as user and password gets the header that it is to send from here on.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<
        Response<Pin<Box<dyn futures::Stream<Item = Result<HandshakeResponse, Status>> + Send>>>,
        Status,
    > {
        let given = request.metadata().get(AUTHORIZATION_KEY);
        let token = given.and_then(|given| access::token(given.to_str().ok()?));
        let done = HandshakeResponse::default();
        let answer: BoxStream<'static, _> = stream::once(async { Ok(done) }).boxed();
        let mut response = Response::new(answer);
        if let Some((_, token)) = token {
            let bearer = format!("Bearer {token}")
                .parse()
                .map_err(|_| Status::invalid_argument("the token has characters of no token"))?;
            response.metadata_mut().insert(AUTHORIZATION_KEY, bearer);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let statement = Statement::new(&query.query)?;
        let ticket = TicketStatementQuery {
            statement_handle: statement.handle(),
        };
        self.info(statement, request.into_inner(), &ticket).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        self.rows(Statement::of(&ticket.statement_handle)?).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let statement = Statement::new(&query.query)?;
        let (queries, workspace) = (&self.service.queries, &self.service.workspace);
        let planned = queries.plan(workspace, statement.sql.clone(), Vec::new());
        let planned = planned.await.map_err(status)?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: statement.handle(),
            dataset_schema: metadata::encoded(&planned.schema)?,
            parameter_schema: metadata::encoded(&planned.parameters)?,
        })
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let mut statement = Statement::of(&query.prepared_statement_handle)?;
        let data = request.into_inner().map_err(FlightError::from);
        let batches = FlightRecordBatchStream::new_from_flight_data(data);
        let limit = self.service.config.limits.body_timeout();
        let row = tokio::time::timeout(limit, statement::row(batches)).await;
        let row = row.map_err(|_| Status::deadline_exceeded("the parameters came too slowly"))?;
        statement.bind(&row?)?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(statement.handle()),
        })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let statement = Statement::of(&query.prepared_statement_handle)?;
        self.info(statement, request.into_inner(), &query).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        self.rows(Statement::of(&query.prepared_statement_handle)?)
            .await
    }

    /// There is nothing to close.
    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only())
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only())
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.into_builder().schema();
        info(&schema, request.into_inner(), &query)
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        one(metadata::catalogs(query))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.clone().into_builder().schema();
        info(&schema, request.into_inner(), &query)
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        one(metadata::schemas(query))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.clone().into_builder().schema();
        info(&schema, request.into_inner(), &query)
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        let (queries, workspace) = (&self.service.queries, &self.service.workspace);
        let tables = queries.tables(workspace).await.map_err(status)?;
        one(metadata::tables(query, &tables))
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = query.into_builder().schema();
        info(&schema, request.into_inner(), &query)
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        one(metadata::table_types(query))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let known = metadata::server().map_err(of_arrow)?;
        let schema = query.clone().into_builder(&known).schema();
        info(&schema, request.into_inner(), &query)
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        let known = metadata::server().map_err(of_arrow)?;
        one(query.into_builder(&known).build())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let known = metadata::types().map_err(of_arrow)?;
        let schema = query.into_builder(&known).schema();
        info(&schema, request.into_inner(), &query)
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        let known = metadata::types().map_err(of_arrow)?;
        one(query.into_builder(&known).build())
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&metadata::primary_keys(), request.into_inner(), &query)
    }

    async fn do_get_primary_keys(
        &self,
        _: CommandGetPrimaryKeys,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        Ok(none(metadata::primary_keys()))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&metadata::foreign_keys(), request.into_inner(), &query)
    }

    async fn do_get_exported_keys(
        &self,
        _: CommandGetExportedKeys,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        Ok(none(metadata::foreign_keys()))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&metadata::foreign_keys(), request.into_inner(), &query)
    }

    async fn do_get_imported_keys(
        &self,
        _: CommandGetImportedKeys,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        Ok(none(metadata::foreign_keys()))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&metadata::foreign_keys(), request.into_inner(), &query)
    }

    async fn do_get_cross_reference(
        &self,
        _: CommandGetCrossReference,
        _: Request<Ticket>,
    ) -> Result<Response<DoGet>, Status> {
        Ok(none(metadata::foreign_keys()))
    }

    /// What the server can do is known when it is built.
    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

/// One endpoint, this server.
fn info(
    schema: &Schema,
    descriptor: FlightDescriptor,
    ticket: &impl ProstMessageExt,
) -> Result<Response<FlightInfo>, Status> {
    let ticket = Ticket::new(ticket.as_any().encode_to_vec());
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(of_arrow)?
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket));
    Ok(Response::new(info))
}

fn answer(
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch, Status>>,
) -> Response<DoGet> {
    let data = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(batches.map_err(FlightError::from));
    Response::new(data.map_err(Status::from).boxed())
}

fn one(batch: Result<RecordBatch, impl Into<FlightError>>) -> Result<Response<DoGet>, Status> {
    let batch = batch.map_err(|e| Status::from(e.into()))?;
    let schema = batch.schema();
    Ok(answer(schema, stream::once(async { Ok(batch) }).boxed()))
}

fn none(schema: SchemaRef) -> Response<DoGet> {
    answer(schema, stream::empty().boxed())
}

fn of_arrow(e: ArrowError) -> Status {
    FlightError::from(e).into()
}

fn read_only() -> Status {
    status(Problem::from(CatalogError::Refused {
        detail: "the catalog is read only".into(),
    }))
}

/// A problem as gRPC has it: its status, and its sentences as the message.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it goes where an error is turned into another"
)]
pub(super) fn status(problem: Problem) -> Status {
    let code = match problem.status().as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::Aborted,
        413 | 422 => Code::ResourceExhausted,
        429 | 503 => Code::Unavailable,
        500.. => Code::Internal,
        _ => Code::InvalidArgument,
    };
    let message = match problem.hint() {
        Some(hint) => format!("{}; {hint}", problem.detail()),
        None => problem.detail().to_owned(),
    };
    Status::new(code, message)
}
