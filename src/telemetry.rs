//! Traces for OpenTelemetry, sent to a collector by OTLP over gRPC: requests, calls of Flight SQL, and jobs.
//!
//! A request that comes with the W3C's `traceparent` goes on with the trace of who sent it. Beside the endpoint the variables of the specification count, such as
//! `OTEL_SERVICE_NAME`, `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_EXPORTER_OTLP_TIMEOUT`.

use axum::http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::serve::ServeError;

/// What the service is called where `OTEL_SERVICE_NAME` is not set.
const NAME: &str = "understudy";

/// What sends spans, until it is ended.
#[derive(Debug)]
pub struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Begins to send to a collector, such as `http://127.0.0.1:4317`. One that cannot be reached costs spans, and nothing else. Within a Tokio runtime.
    ///
    /// # Errors
    /// [`ServeError::Telemetry`] for an endpoint that is none.
    pub fn begin(endpoint: &str) -> Result<Self, ServeError> {
        let exporter = SpanExporter::builder().with_tonic();
        let exporter = exporter.with_endpoint(endpoint).build();
        let exporter = exporter.map_err(|e| ServeError::Telemetry {
            endpoint: endpoint.to_owned(),
            what: e.to_string(),
        })?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(NAME);
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter);
        Ok(Self(provider.build()))
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer(NAME)
    }

    /// Sends what is left.
    pub fn end(self) {
        if let Err(e) = self.0.shutdown() {
            tracing::warn!("the last spans were not sent: {e}");
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// Lets a request's span go on with the trace that its headers name, if they do.
pub(crate) fn follow(span: &Span, headers: &HeaderMap) {
    let context = TraceContextPropagator::new().extract(&Headers(headers));
    // Where nothing is sent, a span has no parent to be set.
    let _ = span.set_parent(context);
}
