//! `gc`.

use super::open;
use crate::cli::GcArgs;
use crate::error::Error;
use crate::gc::GcJob;
use crate::output;

pub(super) async fn gc(args: GcArgs) -> Result<(), Error> {
    let job = GcJob {
        keep_promotions: args.keep_promotions,
        older_than: args.older_than,
        dry_run: args.dry_run,
    };
    let collected = job.run(&open(&args.at).await?).await?;
    if args.json {
        output::json(&collected)
    } else {
        output::line(&collected.describe())
    }
}
