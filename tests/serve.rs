//! `understudy serve`: what it tells of a workspace, what it changes, with the real executable over real HTTP.

use std::process::Command;

use serde_json::{Value, json};
use understudy::serve::openapi::DOCUMENT;
use understudy::serve::routes::routes;

use crate::support::http::Server;
use crate::support::onnx::Model;
use crate::support::{Place, colour, files, jpeg, output, python};

/// A workspace with two teachers, a labelled dataset with a reject, a selection and a promotion.
fn place() -> Place {
    let place = Place::with_teacher();
    for n in 0..6 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.put("bad.jpg", b"");
    place.label(&[]);
    place.select_of_d("s", &["--per-class", "2"]);
    let model = Model {
        probabilities: true,
        ..Model::default()
    };
    place.add_teacher("other", &model);
    place.ok(&["promote", "tiny", "--note", "first"]);
    place
}

#[test]
fn a_workspace_is_told_as_the_command_line_tells_it() {
    let place = place();
    let server = Server::start(&place, &[]);
    let teachers = server.get("/v1/teachers").ok();
    let names: Vec<&Value> = teachers["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["teacher"])
        .collect();
    assert_eq!(names, ["other@1", "tiny@1"]);
    let current = server.get("/v1/teachers/current").ok();
    assert_eq!(
        (&current["teacher"], &current["current"]),
        (&json!("tiny@1"), &json!(true))
    );
    assert_eq!(current["config"]["classes"]["names"][0], "red");
    let listed: Value = serde_json::from_str(&place.ok(&["teachers", "list", "--json"])).unwrap();
    assert_eq!(current["model_sha256"], listed[1]["model_sha256"]);

    let dataset = server.get("/v1/datasets/d").ok();
    assert_eq!(dataset["images"], 7);
    assert_eq!(
        dataset["labels"],
        json!([{"teacher": "tiny@1", "labelled": 6, "rejected": 1}])
    );
    assert_eq!(dataset["generations"][0]["new"], 7);
    assert_eq!(server.get("/v1/datasets").ok()["items"][0]["images"], 7);
    assert_eq!(
        server.get("/v1/datasets/d/rejects").ok()["items"],
        json!([{"teacher": "tiny@1", "stage": "decode", "reason": "empty", "images": 1}])
    );
    let nobody = server.get("/v1/datasets/d/rejects?teacher=other@1").ok();
    assert_eq!(nobody["items"], json!([]));

    let file = place.path("w/selections/s/selection.json");
    let file: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(server.get("/v1/selections/s").ok(), file);
    let selections = server.get("/v1/selections").ok();
    assert_eq!(selections["items"][0]["totals"], file["totals"]);

    let history: Value =
        serde_json::from_str(&place.ok(&["teachers", "history", "--json"])).unwrap();
    assert_eq!(server.get("/v1/promotions").ok()["items"], history);
    assert_eq!(server.get("/v1/promotions/1").ok(), history[0]);
    let lineage: Value = serde_json::from_str(&place.ok(&["lineage", "s", "--json"])).unwrap();
    assert_eq!(server.get("/v1/lineage?of=s").ok(), lineage);
    assert_eq!(
        server.get("/v1/lineage?of=tiny&as=teacher").ok()["of"],
        "teacher"
    );

    let runs = server.get("/v1/runs").ok();
    let kinds: Vec<&Value> = runs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["kind"])
        .collect();
    assert_eq!(kinds, ["select", "label"], "the newest first");
    let one = runs["items"][0]["run"].as_str().unwrap();
    assert_eq!(
        server.get(&format!("/v1/runs/{one}")).ok(),
        runs["items"][0]
    );
    for empty in ["/v1/trainings", "/v1/evaluations", "/v1/audit"] {
        assert_eq!(server.get(empty).ok()["items"], json!([]));
    }
}

#[test]
fn lists_come_in_pages_that_have_everything_once() {
    let place = place();
    for _ in 0..3 {
        place.ok(&["promote", "other"]);
        place.ok(&["promote", "tiny"]);
    }
    let server = Server::start(&place, &[]);
    let (mut numbers, mut path) = (Vec::new(), "/v1/promotions?limit=3".to_owned());
    let mut pages = 0;
    loop {
        let page = server.get(&path).ok();
        pages += 1;
        numbers.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["number"].as_u64().unwrap()),
        );
        let Some(token) = page["next_page_token"].as_str() else {
            break;
        };
        path = format!("/v1/promotions?limit=3&page_token={token}");
    }
    assert_eq!((pages, numbers), (3, (1..=7).rev().collect()));
    for wrong in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "page_token=zz",
        "lmit=3",
    ] {
        server.get(&format!("/v1/promotions?{wrong}")).problem(400);
    }
}

#[test]
fn a_promotion_and_a_rollback_are_made_and_remembered_with_who_asked() {
    let place = place();
    let server = Server::start(&place, &[]);
    let promoted = server.post(
        "/v1/promotions",
        &json!({"teacher": "other", "note": "better"}),
    );
    assert_eq!(promoted.status, 201);
    let promoted = promoted.json();
    assert_eq!(promoted["outcome"], "promoted");
    assert_eq!(promoted["promotion"]["previous"], "tiny@1");
    assert_eq!(place.ok(&["teachers", "current"]).trim(), "other@1");
    // Once more there is nothing to do.
    let again = server.post("/v1/promotions", &json!({"teacher": "other@1"}));
    assert_eq!(
        (again.status, &again.json()["outcome"]),
        (200, &json!("already-current"))
    );
    let back = server.post("/v1/rollbacks", &json!({"note": "worse"}));
    assert_eq!(
        (back.status, &back.json()["promotion"]["to"]),
        (201, &json!(1))
    );
    let (detail, hint) = server
        .post("/v1/promotions", &json!({"teacher": "othr"}))
        .problem(404);
    assert_eq!(detail, "the workspace has no teacher `othr`");
    assert_eq!(hint, "did you mean `other`?");
    server
        .post("/v1/rollbacks", &json!({"to": 99}))
        .problem(404);
    // A list is not taken for an object's values.
    for body in [json!([]), json!([1])] {
        let (detail, _) = server.post("/v1/rollbacks", &body).problem(400);
        assert_eq!(detail, "the JSON has to be an object");
    }
    // A dry run changes nothing, and is no change.
    let dry = server.post(
        "/v1/promotions",
        &json!({"teacher": "other", "dry_run": true}),
    );
    assert_eq!(dry.ok()["outcome"], "would-be-promoted");
    server
        .post(
            "/v1/promotions",
            &json!({"teacher": "other", "force": true}),
        )
        .problem(400);
    server
        .post(
            "/v1/promotions",
            &json!({"teacher": "other", "gate": "/etc/passwd"}),
        )
        .problem(400);

    let entries = server.get("/v1/audit").ok();
    let entries = entries["items"].as_array().unwrap();
    let told: Vec<(&str, &str)> = entries
        .iter()
        .map(|e| {
            (
                e["action"].as_str().unwrap(),
                e["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("rollback", "failed"),
            ("promote", "failed"),
            ("rollback", "done"),
            ("promote", "nothing"),
            ("promote", "done")
        ]
    );
    assert_eq!(entries[4]["result"], promoted);
    assert_eq!(entries[4]["request"]["note"], "better");
    assert_eq!(entries[1]["error"], "the workspace has no teacher `othr`");
    assert!(
        entries[0].get("who").is_none(),
        "nobody is known without tokens"
    );
    // In SQL, and as documented.
    assert_eq!(
        place.number(
            "SELECT count(*) FROM audit WHERE outcome = 'done' AND result LIKE '%promoted%'"
        ),
        2
    );
    let documented: Value = serde_json::from_str(include_str!("../schemas/audit.json")).unwrap();
    for (name, bytes) in files(&place.path("w/audit")) {
        let entry: serde_json::Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(name, format!("{}.json", entry["entry"].as_str().unwrap()));
        for key in entry.keys() {
            assert!(
                documented["keys"][key].is_string(),
                "`{key}` is not documented"
            );
        }
    }
}

#[test]
fn a_gate_of_the_server_judges_promotions_and_force_is_recorded() {
    let place = place();
    for n in 0..12 {
        let (rgb, class) = colour(n);
        let folder = place.path("held-out").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{n}.jpg")), jpeg(rgb, n)).unwrap();
    }
    let gate = format!(
        "[data]\nurl = \"{}\"\n[gate]\nmin_gain = 1.0\n",
        place.path("held-out").display()
    );
    std::fs::write(place.path("gate.toml"), gate).unwrap();
    let config = place.path("serve.toml").display().to_string();
    std::fs::write(&config, "[promote]\ngate = \"gate.toml\"\n").unwrap();
    assert!(
        place
            .ok(&["validate", &config])
            .contains("valid server file")
    );
    let server = Server::start(&place, &["--config", &config]);
    let (detail, hint) = server
        .post("/v1/promotions", &json!({"teacher": "other"}))
        .problem(409);
    assert!(detail.starts_with("the gate refuses `other@1`"), "{detail}");
    assert!(hint.contains("\"force\": true"), "{hint}");
    let dry = server.post(
        "/v1/promotions",
        &json!({"teacher": "other", "dry_run": true}),
    );
    assert_eq!(dry.ok()["outcome"], "refused");
    let forced = server.post(
        "/v1/promotions",
        &json!({"teacher": "other", "force": true}),
    );
    assert_eq!(forced.ok()["promotion"]["forced"], true);
    let failed =
        "SELECT count(*) FROM audit WHERE outcome = 'failed' AND error LIKE 'the gate refuses%'";
    assert_eq!(place.number(failed), 1);
}

#[test]
fn every_error_is_a_problem_with_a_type_and_what_to_do() {
    let place = place();
    let server = Server::start(&place, &[]);
    let (_, hint) = server.get("/v2").problem(404);
    assert!(hint.contains("openapi"), "{hint}");
    let refused = server.send("DELETE", "/v1/teachers", &[], b"");
    refused.problem(405);
    assert_eq!(refused.headers["allow"], "GET,HEAD");
    server.get("/v1/datasets/nothing").problem(404);
    server.get("/v1/selections/nothing").problem(404);
    server.get("/v1/trainings/nothing").problem(404);
    server.get("/v1/runs/nothing").problem(404);
    server.get("/v1/promotions/77").problem(404);
    server.get("/v1/promotions/x").problem(400);
    server.get("/v1/lineage").problem(400);
    server.get("/v1/lineage?of=tiny&as=cake").problem(400);
    server
        .send("POST", "/v1/sql", &[("Content-Type", "text/plain")], b"{}")
        .problem(415);
    let (detail, _) = server
        .post("/v1/sql", &json!({"query": "SELECT 1"}))
        .problem(400);
    assert!(detail.contains("unknown field `query`"), "{detail}");
    server
        .send(
            "POST",
            "/v1/sql",
            &[("Content-Type", "application/json")],
            b"{",
        )
        .problem(400);
    // The id of a request is the client's, where it is harmless, and in the log.
    let answer = server.send("GET", "/v1/teachers/x", &[("X-Request-Id", "mine-1")], b"");
    assert_eq!(answer.headers["x-request-id"], "mine-1");
    let answer = server.send("GET", "/v1/teachers/x", &[("X-Request-Id", "a b\tc")], b"");
    assert_eq!(answer.headers["x-request-id"].len(), 16);
    assert!(server.log().contains("mine-1") && server.log().contains("no teacher `x`"));
}

#[test]
fn the_log_is_json_where_it_is_asked_for_and_has_no_secrets() {
    let place = place();
    let server = Server::start(&place, &["--log-format", "json"]);
    let secret = [
        ("Authorization", "Bearer understudy_secret"),
        ("X-Request-Id", "r1"),
    ];
    server.send("GET", "/v1/teachers?page_token=hidden", &secret, b"");
    let log = server.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let line = lines.iter().find(|line| line["id"] == "r1").unwrap();
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/v1/teachers");
    assert_eq!(line["status"], 400);
    assert!(line["millis"].as_f64().unwrap() >= 0.0);
    assert!(line["problem"].as_str().unwrap().contains("page_token"));
    // The workspace's path has the name of this test.
    let said = log.replace(&place.path("w").display().to_string(), "");
    assert!(
        !said.contains("secret") && !said.contains("hidden"),
        "{log}"
    );
}

#[test]
fn figures_are_openmetrics_that_prometheus_reads() {
    let place = place();
    let server = Server::start(&place, &["--teacher", "current"]);
    server.ready();
    server
        .label("/v1/label", "image/jpeg", &jpeg(colour(0).0, 0))
        .ok();
    server.label("/v1/label", "image/jpeg", b"nothing").ok();
    server.get("/v1/teachers/x");
    let answer = server.get("/metrics");
    assert!(
        answer.headers["content-type"].starts_with("application/openmetrics-text; version=1.0.0")
    );
    let parsed = python(
        "import json, sys\n\
         from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
         print(json.dumps([[s.name, s.labels, s.value] for f in parse(sys.argv[1]) for s in f.samples]))",
        &[&answer.text()],
    );
    let samples: Vec<(String, Value, f64)> = serde_json::from_str(&parsed).unwrap();
    let find = |name: &str, labels: Value| {
        let found = samples.iter().find(|(n, l, _)| n == name && *l == labels);
        found.map(|(_, _, value)| *value)
    };
    let requests = "understudy_http_requests_total";
    let labels = json!({"method": "GET", "route": "/v1/teachers/{teacher}", "status": "404"});
    assert_eq!(find(requests, labels), Some(1.0));
    let labels = json!({"method": "POST", "route": "/v1/label", "status": "200"});
    assert_eq!(find(requests, labels), Some(2.0));
    let bucket = json!({"method": "POST", "route": "/v1/label", "le": "+Inf"});
    assert_eq!(
        find("understudy_http_request_seconds_bucket", bucket),
        Some(2.0)
    );
    let images = "understudy_label_images_total";
    let labels = json!({"teacher": "tiny@1", "outcome": "labelled", "reason": ""});
    assert_eq!(find(images, labels), Some(1.0));
    let labels = json!({"teacher": "tiny@1", "outcome": "rejected", "reason": "not-an-image"});
    assert_eq!(find(images, labels), Some(1.0));
    assert_eq!(
        find("understudy_label_waiting_images", json!({})),
        Some(0.0)
    );
    assert_eq!(find("understudy_promotion_number", json!({})), Some(1.0));
    assert!(find("understudy_http_connections", json!({})) >= Some(1.0));
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let open = operation["security"] == json!([]);
            described.push((method.to_ascii_uppercase(), path.clone(), open));
        }
    }
    let mut there: Vec<_> = routes()
        .iter()
        .map(|r| (r.method.to_string(), r.path.to_owned(), r.role.is_none()))
        .collect();
    described.sort();
    there.sort();
    assert_eq!(described, there);
    // Roles stand in the words of each operation.
    for route in routes() {
        let operation = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
        let role = route
            .role
            .map_or("none".to_owned(), |role| role.to_string());
        assert_eq!(operation["x-role"], role, "{route:?}");
    }
}

#[test]
fn schemathesis_finds_no_answer_that_the_document_does_not_describe() {
    let place = place();
    let made = place.run(&["tokens", "new", "--role", "promote", "--name", "test"]);
    let said = String::from_utf8(made.stderr).unwrap();
    let secret = said.lines().find(|l| l.starts_with("understudy_")).unwrap();
    let tokens = place.path("tokens").display().to_string();
    std::fs::write(&tokens, made.stdout).unwrap();
    let server = Server::start(&place, &["--tokens", &tokens]);
    let schemathesis = crate::support::cache().join("venv-test/bin/schemathesis");
    let mut command = Command::new(schemathesis);
    command
        .args(["run", &format!("{}/v1/openapi.json", server.url)])
        .args(["--header", &format!("Authorization: Bearer {secret}")])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "32",
            "--seed",
            "1",
        ])
        // What is valid by the document can still be no SQL, or the name of nothing.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args([
            "--no-color",
            "--request-timeout",
            "60",
            "--suppress-health-check",
            "all",
        ])
        .current_dir(place.dir.path())
        .env("COLUMNS", "160");
    let output = output(&mut command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
