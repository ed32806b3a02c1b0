//! `POST /v1/label`: labels for the images of the request, at once: one image as the body, or several in a tar.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::hex::hex;
use crate::label::infer::{Outcome, Reject, SoftLabel};
use crate::label::soft_label::top_k;
use crate::serve::body;
use crate::serve::engine::Engine;
use crate::serve::extract::{Asked, Json};
use crate::serve::problem::Problem;
use crate::serve::service::Shared;

/// Classes that an answer names where nothing is asked for.
const TOP: usize = 5;
/// What a body that is one image is called where the request does not say.
const ONE: &str = "image";

/// What is asked for besides the images.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    teacher: Option<String>,
    top: Option<usize>,
    key: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Labels {
    /// NAME@VERSION.
    teacher: String,
    images: Vec<Image>,
}

/// A label, or why there is none; as in the table `labels` and the table `rejects`.
#[derive(Serialize)]
#[serde(untagged)]
enum Image {
    Labelled(Box<Labelled>),
    Rejected {
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
        stage: &'static str,
        reason: String,
        detail: String,
    },
}

#[derive(Serialize)]
struct Labelled {
    key: String,
    sha256: Option<String>,
    /// In hexadecimal; none where the image was decoded at a smaller scale.
    phash: Option<String>,
    width: u32,
    height: u32,
    class: u16,
    label: Option<String>,
    confidence: f32,
    second_class: Option<u16>,
    second_label: Option<String>,
    margin: f32,
    entropy: f32,
    top: Vec<Guess>,
}

#[derive(Serialize)]
struct Guess {
    class: u16,
    label: Option<String>,
    p: f32,
}

pub(super) async fn label(
    State(service): State<Shared>,
    Asked(ask): Asked<Ask>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Labels>, Problem> {
    let top = ask.top.unwrap_or(TOP);
    if !(1..=usize::from(u16::MAX)).contains(&top) {
        return Err(Problem::bad_request(format!("`top` is {top}")).with_hint("use 1 to 65535"));
    }
    let several = match body::content_type(&headers).as_deref() {
        Some("application/x-tar" | "application/tar") => true,
        Some("application/octet-stream") => false,
        Some(kind) if kind.starts_with("image/") => false,
        _ => {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body is neither said to be an image nor a tar",
            )
            .with_hint("send `Content-Type: image/jpeg` or the like, or `application/x-tar`"));
        }
    };
    let limits = &service.config.limits;
    body::check(&body, limits.body_bytes)?;
    let engine = service.models.get(ask.teacher.as_deref()).await?;
    let full = || {
        service.metrics.refused.inc();
        Problem::busy("as many images wait as may")
    };
    // What cannot be labelled soon is not even read.
    if engine.is_full() {
        return Err(full());
    }
    let room = service.room(body::upper(&body, limits.body_bytes));
    let Some(room) = room else {
        return Err(full());
    };
    let bytes = body::read(body, limits.body_bytes, limits.body_timeout()).await?;
    let images = if several {
        members(&bytes, engine.most())?
    } else {
        vec![(ask.key.unwrap_or_else(|| ONE.to_owned()), bytes)]
    };
    let keys: Vec<String> = images.iter().map(|(key, _)| key.clone()).collect();
    // Given back when the last image is worked on, be whoever asked for it gone.
    let replies = engine.admit(images, room).ok_or_else(full)?;
    let mut images = Vec::with_capacity(keys.len());
    for (key, reply) in keys.into_iter().zip(replies) {
        let stopped = || Problem::unavailable("the model has stopped");
        let outcome = reply.await.map_err(|_| stopped())?;
        let outcome = outcome.map_err(Problem::unavailable)?;
        let rejected = outcome.label.as_ref().err().map(|r| r.reason.as_str());
        service.metrics.image(&engine.name, rejected);
        images.push(image(key, outcome, &engine, top));
    }
    Ok(Json(Labels {
        teacher: engine.name.clone(),
        images,
    }))
}

/// The regular files of a tar, as parts of it: nothing is copied.
fn members(bytes: &Bytes, most: usize) -> Result<Vec<(String, Bytes)>, Problem> {
    let bad = |e: std::io::Error| Problem::bad_request(format!("the tar is damaged: {e}"));
    let mut archive = tar::Archive::new(bytes.as_ref());
    let mut images = Vec::new();
    for member in archive.entries().map_err(bad)? {
        let member = member.map_err(bad)?;
        // A sparse file may be far larger than the tar that it is in.
        if member.header().entry_type() != tar::EntryType::Regular {
            continue;
        }
        let key = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let from = usize::try_from(member.raw_file_position()).unwrap_or(usize::MAX);
        let len = usize::try_from(member.size()).unwrap_or(usize::MAX);
        let Some(end) = from.checked_add(len).filter(|end| *end <= bytes.len()) else {
            return Err(Problem::bad_request(format!(
                "the tar is damaged: it ends within `{key}`"
            )));
        };
        if images.len() == most {
            return Err(
                Problem::too_large(format!("the tar has more than {most} images"))
                    .with_hint("send fewer at a time; the server's `label.queue` is the limit"),
            );
        }
        images.push((key, bytes.slice(from..end)));
    }
    if images.is_empty() {
        return Err(Problem::bad_request("the tar has no files"));
    }
    Ok(images)
}

fn image(key: String, outcome: Outcome, engine: &Engine, top: usize) -> Image {
    let sha256 = outcome.sha256.map(|hash| hex(&hash));
    let names = &engine.teacher.config.classes.names;
    let name = |class: u16| names.get(usize::from(class)).cloned();
    match outcome.label {
        Ok(SoftLabel {
            phash,
            width,
            height,
            probabilities,
            scalars,
        }) => Image::Labelled(Box::new(Labelled {
            key,
            sha256,
            phash: phash.map(|hash| format!("{hash:016x}")),
            width,
            height,
            class: scalars.class,
            label: name(scalars.class),
            confidence: scalars.confidence,
            second_class: scalars.second_class,
            second_label: scalars.second_class.and_then(name),
            margin: scalars.margin,
            entropy: scalars.entropy,
            top: top_k(&probabilities, top)
                .0
                .into_iter()
                .map(|(class, p)| Guess {
                    class,
                    label: name(class),
                    p,
                })
                .collect(),
        })),
        Err(Reject {
            stage,
            reason,
            detail,
        }) => Image::Rejected {
            key,
            sha256,
            stage,
            reason,
            detail,
        },
    }
}
