//! Jobs over HTTP: submitted, watched, cancelled; and what a server does by itself after a promotion.

use std::io::{BufRead as _, BufReader, Write as _};

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::onnx::Model;
use crate::support::{Place, colour, folder, jpeg, patiently, wait_until};

/// A dataset that `tiny` has labelled, and another teacher.
fn place() -> Place {
    let place = Place::with_teacher();
    for n in 0..6 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    let model = Model {
        probabilities: true,
        ..Model::default()
    };
    place.add_teacher("other", &model);
    place
}

/// The server's options with a serve.toml of this text.
fn with(place: &Place, text: &str) -> [String; 2] {
    let file = place.path("serve.toml");
    std::fs::write(&file, text).unwrap();
    ["--config".into(), file.display().to_string()]
}

fn start(place: &Place, text: &str) -> Server {
    let [flag, file] = with(place, text);
    Server::start(place, &[&flag, &file])
}

/// The job's answer once it has ended.
fn ended(server: &Server, id: &str) -> Value {
    let path = format!("/v1/jobs/{id}");
    let state = || server.get(&path).ok()["state"].as_str().unwrap().to_owned();
    wait_until(|| !["queued", "running"].contains(&state().as_str()));
    server.get(&path).ok()
}

fn submit(server: &Server, key: &str, work: &Value) -> crate::support::http::Answer {
    let headers = [
        ("Content-Type", "application/json"),
        ("Idempotency-Key", key),
    ];
    server.send("POST", "/v1/jobs", &headers, work.to_string().as_bytes())
}

#[test]
fn a_job_is_submitted_once_by_its_key_watched_to_its_end_and_in_the_audit_log() {
    let place = place();
    let server = start(&place, "[worker]\npoll_s = 0.2\n");
    let work = json!({"kind": "label", "dataset": "d", "teacher": "other"});
    let made = submit(&server, "first", &work);
    assert_eq!(made.status, 201, "{}", made.text());
    let job = made.json();
    let id = job["id"].as_str().unwrap();
    assert_eq!(made.headers["location"], format!("/v1/jobs/{id}"));
    // Its events come until it has ended, and then the connection does.
    let mut stream = server.connect();
    let head = server.head("GET", &format!("/v1/jobs/{id}/events"));
    stream
        .write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())
        .unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let lines: Vec<String> = patiently(server.pid(), || lines.collect());
    let states: Vec<Value> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str::<Value>(data).unwrap()["state"].clone())
        .collect();
    assert_eq!(states.last(), Some(&json!("done")), "{lines:?}");
    let done = ended(&server, id);
    assert_eq!(done["result"]["labelled"], 6, "{done}");
    assert_eq!(
        place.number("SELECT count(*) FROM labels WHERE teacher = 'other@1'"),
        6
    );

    let again = submit(&server, "first", &work);
    assert_eq!((again.status, &again.json()["id"]), (200, &job["id"]));
    let other = json!({"kind": "relabel"});
    submit(&server, "first", &other).problem(409);
    let listed = server.get("/v1/jobs?state=done&limit=1").ok();
    assert_eq!(listed["items"][0]["id"], job["id"]);
    assert_eq!(server.get("/v1/jobs?state=failed").ok()["items"], json!([]));
    let page = server.get("/").text();
    assert!(page.contains(&format!("/jobs/{id}")), "{page}");
    let page = server.get(&format!("/jobs/{id}")).text();
    assert!(
        page.contains("It is done.") && page.contains("images_per_second"),
        "{page}"
    );
    let audit = place.sql("SELECT action, outcome FROM audit ORDER BY entry");
    assert_eq!(
        audit,
        [
            json!({"action": "submit", "outcome": "done"}),
            json!({"action": "submit", "outcome": "nothing"}),
            json!({"action": "submit", "outcome": "failed"}),
        ]
    );
}

#[test]
fn a_stop_does_not_wait_for_those_who_watch_a_job() {
    let place = place();
    let text = "[worker]\njobs = 0\n[limits]\nshutdown_s = 600.0\n";
    let mut server = start(&place, text);
    let work = json!({"kind": "label", "dataset": "d", "teacher": "other"});
    let job = submit(&server, "a", &work).ok();
    let mut stream = server.connect();
    let head = server.head(
        "GET",
        &format!("/v1/jobs/{}/events", job["id"].as_str().unwrap()),
    );
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let told = patiently(server.pid(), || {
        lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("data: ")))
    });
    assert!(told.is_some());
    let started = std::time::Instant::now();
    server.signal("-TERM");
    assert_eq!(server.ended(), Some(0));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn a_job_that_fails_says_why_and_one_that_waits_can_be_cancelled() {
    let place = place();
    // A replica that only serves: what is submitted waits for another.
    let server = start(&place, "[worker]\njobs = 0\npoll_s = 0.2\n");
    let work = json!({"kind": "label", "dataset": "d", "teacher": "nobody"});
    let waiting = submit(&server, "a", &work).ok();
    let cancel = format!("/v1/jobs/{}/cancel", waiting["id"].as_str().unwrap());
    let cancelled = server.post(&cancel, &json!({}));
    assert_eq!(
        (cancelled.status, &cancelled.json()["state"]),
        (200, &json!("cancelled"))
    );
    assert_eq!(server.post(&cancel, &json!({})).status, 200);
    server
        .post("/v1/jobs/job-0/cancel", &json!({}))
        .problem(404);
    let failing = submit(&server, "b", &work).ok();
    let worker = start(&place, "[worker]\npoll_s = 0.2\n");
    let failed = ended(&worker, failing["id"].as_str().unwrap());
    assert_eq!(failed["state"], "failed");
    let error = &failed["error"];
    assert!(
        error["message"].as_str().unwrap().contains("`nobody`"),
        "{error}"
    );
    assert_eq!(error["code"], 3);
    let cancel = format!("/v1/jobs/{}/cancel", failing["id"].as_str().unwrap());
    worker.post(&cancel, &json!({})).problem(409);
}

#[test]
fn a_clients_job_reads_nothing_that_the_server_does_not_allow() {
    let place = place();
    let elsewhere = folder();
    let allowed = elsewhere.path().join("allowed");
    std::fs::create_dir(&allowed).unwrap();
    std::fs::write(allowed.join("a.jpg"), jpeg([200, 20, 20], 1)).unwrap();
    let text = format!(
        "[jobs]\nsources = [\"{}\"]\n[worker]\npoll_s = 0.2\n[label]\nteacher = \"tiny\"\n",
        allowed.display()
    );
    let server = start(&place, &text);
    let label = |dataset: &str, source: &str| json!({"kind": "label", "dataset": dataset, "teacher": "tiny", "source": source});
    let up = format!("{}/../allowed-not", allowed.display());
    let beside = format!("{}-not", allowed.display());
    for source in ["/etc", "file:///etc", &up, &beside] {
        let (detail, hint) = submit(&server, source, &label("e", source)).problem(403);
        assert!(
            detail.contains(source) && hint.contains("jobs.sources"),
            "{detail}: {hint}"
        );
    }
    let run = json!({"kind": "train", "name": "n", "student": "s", "config": {"data": {"url": "/etc"}, "train": {}}});
    submit(&server, "train", &run).problem(403);
    // Nor does it become the teacher whose newest version labels the server's requests.
    let train = json!({"kind": "train", "name": "tiny", "student": "s", "config": {"train": {}}});
    let (detail, hint) = submit(&server, "become", &train).problem(403);
    assert!(
        detail.contains("`tiny`") && hint.contains("label.teacher"),
        "{detail}: {hint}"
    );
    let fine = submit(&server, "fine", &label("e", &allowed.display().to_string())).ok();
    assert_eq!(
        ended(&server, fine["id"].as_str().unwrap())["state"],
        "done"
    );
    let (detail, _) = submit(&server, "odd", &json!({"kind": "lable"})).problem(400);
    assert!(detail.contains("lable"), "{detail}");
}

#[test]
fn a_promotion_over_http_is_followed_by_labels_a_selection_and_a_churn_report() {
    let place = place();
    place.ok(&["promote", "tiny"]);
    place.select_of_d("s", &["--per-class", "2"]);
    let mut server = start(&place, "[worker]\npoll_s = 0.2\n");
    let done = || {
        server.get("/v1/jobs?state=done").ok()["items"]
            .as_array()
            .unwrap()
            .len()
    };
    wait_until(|| done() == 1);
    let promoted = server.post("/v1/promotions", &json!({"teacher": "other"}));
    assert_eq!(promoted.status, 201);
    wait_until(|| done() == 2);
    assert_eq!(
        place.number("SELECT count(*) FROM labels WHERE teacher = 'other@1'"),
        6
    );
    assert!(place.path("w/selections/s@2/selection.json").exists());
    let same = "SELECT sum(images) FROM churn_reports WHERE promotion = 2 AND \"from\" = \"to\"";
    assert_eq!(place.number(same), 6);
    // Back, and nothing is labelled again: the labels are there.
    server.post("/v1/rollbacks", &json!({})).ok();
    wait_until(|| done() == 3);
    assert_eq!(place.labels().len(), place_objects(&place));
    server.signal("-TERM");
    assert_eq!(server.ended(), Some(0));
}

/// The labels' objects: a shard of each of two teachers, and how they were made.
fn place_objects(place: &Place) -> usize {
    let names: Vec<String> = place.labels().into_keys().collect();
    assert_eq!(
        names.iter().filter(|n| n.ends_with(".parquet")).count(),
        2,
        "{names:?}"
    );
    names.len()
}
