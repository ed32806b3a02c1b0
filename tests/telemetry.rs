//! Traces: what a collector gets from a server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use understudy::hex::hex;

use crate::support::http::Server;
use crate::support::{Place, wait_until};

/// The names of services and their spans.
type Got = Arc<Mutex<Vec<(String, Span)>>>;

/// Takes what is sent.
struct Collector(Got);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut got = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let name = attributes.into_iter().find(|a| a.key == "service.name");
            let name = name.and_then(|a| a.value?.value);
            let Some(Value::StringValue(name)) = name else {
                return Err(Status::invalid_argument("a service without a name"));
            };
            let spans = resource.scope_spans.into_iter().flat_map(|s| s.spans);
            got.extend(spans.map(|span| (name.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector on any free port, as long as the test runs.
fn collector() -> (SocketAddr, Got) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let got = Got::default();
    let service = TraceServiceServer::new(Collector(Arc::clone(&got)));
    std::thread::spawn(move || {
        let server = tonic::transport::Server::builder().add_service(service);
        let served = server.serve_with_incoming(TcpIncoming::from(listener));
        runtime.block_on(served).unwrap();
    });
    (address, got)
}

#[test]
fn a_collector_gets_requests_with_their_queries_in_the_traces_of_their_senders() {
    let place = Place::with_teacher();
    let (address, got) = collector();
    let mut server = Server::start(&place, &["--otlp", &format!("http://{address}")]);
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let sender = format!("00-{trace}-{parent}-01");
    let headers = [
        ("Content-Type", "application/json"),
        ("traceparent", sender.as_str()),
    ];
    let body = json!({"sql": "SELECT 1 AS one"}).to_string();
    let answer = server.send("POST", "/v1/sql", &headers, body.as_bytes());
    assert_eq!(answer.ok()["rows"][0]["one"], 1);
    server.get("/v1/nothing").problem(404);
    // A server that ends sends what is left.
    server.signal("-TERM");
    assert_eq!(server.ended(), Some(0));
    wait_until(|| got.lock().unwrap().len() >= 3);
    let got = got.lock().unwrap();
    assert!(got.iter().all(|(service, _)| service == "understudy"));
    let named = |name: &str| {
        let found = got.iter().find(|(_, span)| span.name == name);
        &found.unwrap_or_else(|| panic!("no {name} in {got:?}")).1
    };
    let request = named("POST /v1/sql");
    assert_eq!(hex(&request.trace_id), trace);
    assert_eq!(hex(&request.parent_span_id), parent);
    let query = named("query");
    assert_eq!(query.trace_id, request.trace_id);
    assert_eq!(query.parent_span_id, request.span_id);
    let status = request
        .attributes
        .iter()
        .find(|a| a.key == "http.response.status_code");
    let status = status.and_then(|a| a.value.clone()?.value);
    assert_eq!(status, Some(Value::IntValue(200)));
    assert_ne!(hex(&named("GET none").trace_id), trace);
}

#[test]
fn a_collector_that_is_not_there_stops_nothing_and_an_endpoint_that_is_none_is_told() {
    let place = Place::with_teacher();
    let mut server = Server::start(&place, &["--otlp", "http://127.0.0.1:9"]);
    server.get("/v1/teachers").ok();
    server.signal("-TERM");
    assert_eq!(server.ended(), Some(0));
    let (code, text) = place.fails(&["serve", "--listen", "127.0.0.1:0", "--otlp", "no url"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("cannot send traces to `no url`"), "{text}");
}
