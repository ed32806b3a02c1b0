//! The views that sum labels and rejects up, each a .sql file in `views/`.

use datafusion::prelude::SessionContext;

use super::{CatalogError, view};

/// Names and queries; one that reads another comes after it.
const VIEWS: [(&str, &str); 4] = [
    (
        "class_distribution",
        include_str!("views/class_distribution.sql"),
    ),
    (
        "class_confidence_histogram",
        include_str!("views/class_confidence_histogram.sql"),
    ),
    (
        "confidence_histogram",
        include_str!("views/confidence_histogram.sql"),
    ),
    ("reject_reasons", include_str!("views/reject_reasons.sql")),
];

/// Registers them all.
pub(super) async fn register(context: &SessionContext) -> Result<(), CatalogError> {
    for (name, query) in VIEWS {
        view(context, name, context.sql(query).await?)?;
    }
    Ok(())
}
