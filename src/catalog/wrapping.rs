//! A rule of the physical plan that puts another operator above each of some kind.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

/// See the module.
#[derive(Debug)]
pub(super) struct Wrapping {
    pub(super) name: &'static str,
    /// The kind.
    pub(super) is_of: fn(&dyn ExecutionPlan) -> bool,
    /// What comes above one of them, with it.
    pub(super) with: fn(Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>,
}

impl PhysicalOptimizerRule for Wrapping {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wrapped = plan.transform_up(|plan| {
            Ok(if (self.is_of)(plan.as_ref()) {
                Transformed::yes((self.with)(plan))
            } else {
                Transformed::no(plan)
            })
        });
        wrapped.data()
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }
}
