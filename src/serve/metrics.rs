//! Figures for Prometheus, in the text of `OpenMetrics`.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::text`].
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Bounds of the latency's buckets in seconds: from a list in memory to a query at its limit.
const SECONDS: [f64; 12] = [
    0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];
/// Bounds of a batch's buckets in images.
const IMAGES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

type Labels = Vec<(&'static str, String)>;

/// All figures of a server.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram>,
    images: Family<Labels, Counter>,
    /// Images of a batch.
    pub(super) batch: Histogram,
    /// Images that wait for a model.
    pub(super) waiting: Gauge,
    /// Requests that were refused because the queue was full.
    pub(super) refused: Counter,
    /// Connections that are open.
    pub(super) connections: Gauge,
    /// The number of the newest promotion that was seen.
    pub(super) promotion: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("understudy");
        let requests = Family::default();
        let seconds: Family<Labels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let images = Family::default();
        let batch = Histogram::new(IMAGES);
        let (waiting, connections, promotion) =
            (Gauge::default(), Gauge::default(), Gauge::default());
        let refused = Counter::default();
        registry.register(
            "http_requests",
            "Requests by route and status",
            requests.clone(),
        );
        registry.register(
            "http_request_seconds",
            "From a request's header to its answer, by route",
            seconds.clone(),
        );
        registry.register("http_connections", "Open connections", connections.clone());
        registry.register(
            "label_images",
            "Images of POST /v1/label by teacher and outcome; of a reject its reason",
            images.clone(),
        );
        registry.register("label_batch_images", "Images of a batch", batch.clone());
        registry.register(
            "label_waiting_images",
            "Images that wait for a model",
            waiting.clone(),
        );
        registry.register(
            "label_refused_requests",
            "Requests answered with 429 because the queue was full",
            refused.clone(),
        );
        registry.register(
            "promotion_number",
            "The newest promotion that was seen, 0 before the first",
            promotion.clone(),
        );
        Self {
            registry,
            requests,
            seconds,
            images,
            batch,
            waiting,
            refused,
            connections,
            promotion,
        }
    }

    /// Counts a request. A route is the pattern, never the path: paths are as many as clients like.
    pub(super) fn count(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let labels = vec![
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.to_string()),
        ];
        self.requests.get_or_create(&labels).inc();
        let labels = vec![("method", method.to_owned()), ("route", route.to_owned())];
        self.seconds.get_or_create(&labels).observe(seconds);
    }

    /// Counts an image that has a label, or the reason why it has none.
    pub(super) fn image(&self, teacher: &str, rejected: Option<&str>) {
        let outcome = if rejected.is_some() {
            "rejected"
        } else {
            "labelled"
        };
        let labels = vec![
            ("teacher", teacher.to_owned()),
            ("outcome", outcome.to_owned()),
            ("reason", rejected.unwrap_or_default().to_owned()),
        ];
        self.images.get_or_create(&labels).inc();
    }

    /// All of it as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
