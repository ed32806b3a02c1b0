//! `/v1/jobs`: what workers have to do, are doing, and have done.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer;
use crate::audit::Outcome;
use crate::dataset::{self, DatasetError};
use crate::jobs::{self, Job, Submission, Work};
use crate::serve::change::{Asker, change};
use crate::serve::extract::{Asked, At, Json};
use crate::serve::listen::Stop;
use crate::serve::page::{Items, Page};
use crate::serve::problem::Problem;
use crate::serve::service::{Service, Shared};
use crate::teacher::TeacherRef;
use crate::workspace::WorkspaceError;

/// The header by which a submission that is sent twice is one job.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How often a job that is watched is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks without news after which a line is sent nevertheless, so that a connection that is gone is noticed.
const QUIET_LOOKS: u32 = 15;

/// Which jobs are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// queued, running, done, failed or cancelled.
    state: Option<jobs::State>,
    limit: Option<usize>,
    page_token: Option<String>,
}

pub(super) async fn list(
    State(service): State<Shared>,
    Asked(which): Asked<Which>,
) -> Result<Json<Items<Value>>, Problem> {
    let mut all = jobs::list_again(&service.workspace, &service.queries.cache.ended_jobs).await?;
    all.retain(|job| which.state.is_none_or(|state| job.state() == state));
    all.reverse();
    let page = Page::of(which.limit, which.page_token);
    let turned = page.turn(all, |job| job.file.id.clone())?;
    let views = turned.items.iter().map(view).collect();
    Ok(Json(turned.with(views)))
}

pub(super) async fn show(
    State(service): State<Shared>,
    At(id): At<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(view(&find(&service, &id).await?)))
}

pub(super) async fn submit(
    State(service): State<Shared>,
    asker: Asker,
    headers: HeaderMap,
    Json(work): Json<Work>,
) -> Result<Response, Problem> {
    allowed(&service, &work).await?;
    let key = headers.get(&IDEMPOTENCY_KEY).map(HeaderValue::to_str);
    let key = key
        .transpose()
        .map_err(|_| Problem::bad_request("`Idempotency-Key` is no text"))?;
    let submission = Submission {
        work,
        key: key.map(str::to_owned),
        by: asker.name().map(str::to_owned),
    };
    let asked = Asking {
        work: submission.work.clone(),
        idempotency_key: submission.key.clone(),
    };
    let workspace = service.workspace.clone();
    let work = async move {
        let (job, new) = jobs::submit(&workspace, submission).await?;
        let outcome = if new { Outcome::Done } else { Outcome::Nothing };
        Ok((outcome, (view(&job), new)))
    };
    let (job, new) = change(&service, asker, "submit", &asked, work).await?;
    let place = format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_default());
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = (status, Json(job)).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

pub(super) async fn cancel(
    State(service): State<Shared>,
    asker: Asker,
    At(id): At<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let before = find(&service, &id).await?;
    let by = asker.name().map(str::to_owned);
    let (workspace, asked) = (service.workspace.clone(), Cancelling { job: id.clone() });
    let ended = before.state().is_final();
    let work = async move {
        let job = jobs::cancel(&workspace, &id, by).await?;
        let outcome = if ended {
            Outcome::Nothing
        } else {
            Outcome::Done
        };
        Ok((outcome, (view(&job), job.state().is_final())))
    };
    let (job, is_final) = change(&service, asker, "cancel", &asked, work).await?;
    // What runs is stopped by its worker, in good order.
    let status = if is_final {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(job)))
}

/// The job whenever something happens to it, until nothing does any more, as server-sent events.
pub(super) async fn events(
    State(service): State<Shared>,
    At(id): At<String>,
) -> Result<Response, Problem> {
    let job = find(&service, &id).await?;
    let body = Body::from_stream(follow(service, job));
    let mut response = answer("text/event-stream", body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[derive(Serialize)]
struct Asking {
    work: Work,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
}

#[derive(Serialize)]
struct Cancelling {
    job: String,
}

fn view(job: &Job) -> Value {
    serde_json::to_value(job.view()).unwrap_or_default()
}

async fn find(service: &Service, id: &str) -> Result<Job, Problem> {
    Ok(jobs::get(&service.workspace, id).await?)
}

/// Whether a job reads nothing but what this server's owner lets jobs of clients read: the sources of the workspace's datasets, and what `jobs.sources` says. Nor does it
/// change who labels this server's requests: that is for promotions.
async fn allowed(service: &Service, work: &Work) -> Result<(), Problem> {
    let labels = service.config.label.teacher.as_deref();
    let newest = labels
        .and_then(|text| text.parse::<TeacherRef>().ok())
        .filter(|of| of.version.is_none() && work.may_become(&of.name));
    if let Some(TeacherRef { name, .. }) = newest {
        let detail = format!(
            "jobs of clients may not train `{name}`, whose newest version labels requests here"
        );
        return Err(Problem::forbidden(detail).with_hint(
            "give the training another name, or let `label.teacher` of the server's serve.toml name a version",
        ));
    }
    let places = work.places();
    if places.is_empty() {
        return Ok(());
    }
    let mut known = Vec::new();
    for name in service.workspace.folders("datasets").await? {
        match dataset::remember(&service.workspace, &name, None, None, None).await {
            Ok(dataset) => known.push(dataset.source),
            Err(DatasetError::NoSource { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    for place in places {
        let listed = &service.config.jobs.sources;
        let within = listed.iter().any(|prefix| is_within(&place, prefix));
        if !within && !known.contains(&place) {
            let detail = format!("jobs of clients may not read `{place}`");
            return Err(Problem::forbidden(detail).with_hint(
                "sources of datasets that the workspace has may be read, and what begins with one of `jobs.sources` of the server's serve.toml",
            ));
        }
    }
    Ok(())
}

/// Whether a place is a prefix or lies below it: `s3://b/photos` has `s3://b/photos/x` and not `s3://b/photos-private`. A place that climbs is below nothing, nor is one with
/// characters that a URL drops, before it is seen to climb.
fn is_within(place: &str, prefix: &str) -> bool {
    if place.contains(char::is_control) {
        return false;
    }
    let climbs = place.split(['/', '\\']).any(|part| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == ".."
    });
    let prefix = prefix.trim_end_matches('/');
    let below = place
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    !climbs && below
}

/// Where a stream of events is.
struct Following {
    service: Shared,
    job: Job,
    /// What is to be sent before the next look.
    news: bool,
    quiet: u32,
}

fn follow(service: Shared, job: Job) -> impl Stream<Item = Result<Bytes, WorkspaceError>> {
    let begin = Following {
        service,
        job,
        news: true,
        quiet: 0,
    };
    stream::unfold(Some(begin), |state| async move {
        let mut state = state?;
        loop {
            if std::mem::take(&mut state.news) {
                state.quiet = 0;
                let job = &state.job;
                let text = format!("event: job\nid: {}\ndata: {}\n\n", job.number(), view(job));
                let more = (!job.state().is_final()).then_some(state);
                return Some((Ok(Bytes::from(text)), more));
            }
            let mut stop = state.service.stop.subscribe();
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                // Whoever watches asks the next server.
                _ = stop.wait_for(|stop| *stop != Stop::No) => return None,
            }
            // A store that fails for a moment is asked again.
            if let Ok(now) = jobs::get(&state.service.workspace, &state.job.file.id).await {
                state.news = now.number() != state.job.number() || now.cancel != state.job.cancel;
                state.job = now;
            }
            state.quiet += 1;
            if !state.news && state.quiet >= QUIET_LOOKS {
                state.quiet = 0;
                return Some((Ok(Bytes::from_static(b": still there\n\n")), Some(state)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_below_a_prefix_is_within_and_one_beside_it_is_not() {
        for (place, prefix, within) in [
            ("s3://b/photos", "s3://b/photos", true),
            ("s3://b/photos/2026/", "s3://b/photos/", true),
            ("s3://b/photos-private/x", "s3://b/photos", false),
            ("s3://b/photos/../private", "s3://b/photos", false),
            ("s3://b/photos/%2E%2e/private", "s3://b/photos", false),
            ("s3://b/photos/.\t./private", "s3://b/photos", false),
            ("https://b/photos/.\n%2e/private", "https://b/photos", false),
            ("/etc", "s3://b", false),
            ("/data/x", "/data", true),
            ("/database", "/data", false),
        ] {
            assert_eq!(is_within(place, prefix), within, "{place} in {prefix}");
        }
    }
}
