//! `POST /v1/sql`: forms, limits, and what cannot be read or written through it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::http::Server;
use crate::support::labels::labelled;
use crate::support::{Place, differing, files, python, wait_until};

fn server(place: &Place, config: &str) -> Server {
    let path = place.path("serve.toml").display().to_string();
    std::fs::write(&path, config).unwrap();
    Server::start(place, &["--config", &path])
}

#[test]
fn an_answer_comes_in_the_form_that_is_asked_for() {
    let place = labelled();
    let server = Server::start(&place, &[]);
    let query = "SELECT key, confidence, probs FROM labels WHERE dataset = 'photos' ORDER BY key, teacher LIMIT 5";
    let answer = server.sql(query).ok();
    assert_eq!(
        answer["columns"][1],
        json!({"name": "confidence", "type": "Float32", "nullable": true})
    );
    assert_eq!(answer["rows"], json!(place.sql(query)));
    assert_eq!(answer["truncated"], false);
    let typed = |accept: &str| {
        let headers = [("Content-Type", "application/json"), ("Accept", accept)];
        server.send(
            "POST",
            "/v1/sql",
            &headers,
            json!({"sql": query}).to_string().as_bytes(),
        )
    };
    let csv = typed("text/csv");
    assert_eq!(csv.text(), place.ok(&["sql", "--format", "csv", query]));
    let path = place.path("answer").display().to_string();
    // By its path: with a Python file, a thread of pyarrow's may let go of it after the interpreter has ended, and aborts (apache/arrow#50482).
    for (accept, read) in [
        (
            "application/vnd.apache.arrow.stream",
            "pyarrow.ipc.open_stream(pyarrow.memory_map(sys.argv[1])).read_all()",
        ),
        (
            "application/vnd.apache.parquet",
            "pyarrow.parquet.read_table(sys.argv[1])",
        ),
    ] {
        let answer = typed(accept);
        assert_eq!(answer.headers["content-type"], accept);
        std::fs::write(&path, &answer.body).unwrap();
        let script = format!(
            "import sys, pyarrow.ipc, pyarrow.parquet\nt = {read}\nprint(t.num_rows, t.column_names)"
        );
        assert_eq!(
            python(&script, &[&path]).trim(),
            "5 ['key', 'confidence', 'probs']"
        );
    }
    typed("image/png").problem(406);
    // No rows are an answer as well.
    let none = server.sql("SELECT key FROM labels WHERE false").ok();
    assert_eq!(
        (&none["rows"], &none["columns"][0]["name"]),
        (&json!([]), &json!("key"))
    );
}

#[test]
fn mistakes_are_told_with_the_engines_words_and_a_hint() {
    let place = labelled();
    let server = Server::start(&place, &[]);
    let (detail, hint) = server.sql("SELECT * FROM lables").problem(400);
    assert!(
        detail.contains("lables") && hint.contains("did you mean `labels`?"),
        "{detail} {hint}"
    );
    let (detail, hint) = server.sql("SELECT 1; SELECT 2").problem(400);
    assert!(
        detail.contains("one query") && hint.contains("a request of its own"),
        "{detail} {hint}"
    );
    let (detail, _) = server.sql("SELEC 1").problem(400);
    assert!(detail.contains("SELEC"), "{detail}");
    server.sql("").problem(400);
    server.sql("SELECT 1; SELECT 2").problem(400);
    server
        .sql("SELECT 1 / (v - 1) FROM generate_series(1, 1) AS s(v)")
        .problem(400);
}

#[test]
fn a_query_that_wants_too_much_is_stopped_and_the_server_goes_on() {
    let place = labelled();
    let server = server(
        &place,
        "[sql]\nmemory = 20000000\ntime_s = 600.0\nrows = 1000\nresult_bytes = 1000000\n",
    );
    // Rows: so many and no more, and it says so.
    let answer = server.sql("SELECT v FROM generate_series(1, 100000000) AS s(v)");
    assert_eq!(answer.headers["understudy-truncated"], "true");
    let answer = answer.ok();
    assert_eq!(answer["rows"].as_array().unwrap().len(), 1000);
    assert_eq!(answer["truncated"], true);
    let few = server.post(
        "/v1/sql",
        &json!({"sql": "SELECT v FROM generate_series(1, 3) AS s(v)", "max_rows": 3}),
    );
    assert_eq!(few.ok()["truncated"], false);
    let few = server.post(
        "/v1/sql",
        &json!({"sql": "SELECT v FROM generate_series(1, 4) AS s(v)", "max_rows": 3}),
    );
    assert_eq!(
        (
            few.ok()["truncated"].clone(),
            few.ok()["rows"].as_array().unwrap().len()
        ),
        (json!(true), 3)
    );
    // Bytes of the answer.
    let (detail, _) = server
        .sql("SELECT repeat('x', 2000) AS x FROM generate_series(1, 900)")
        .problem(422);
    assert!(
        detail.contains("its answer has more than 1000000 bytes"),
        "{detail}"
    );
    // Of a value that is there once, and comes in every row.
    for kind in ["Dictionary(Int32, Utf8)", "Utf8View"] {
        let (detail, _) = server
            .sql(&format!(
                "SELECT arrow_cast(repeat('x', 2000), '{kind}') AS x FROM generate_series(1, 900)"
            ))
            .problem(422);
        assert!(detail.contains("1000000 bytes"), "{detail}");
    }
    // A name that comes in every row.
    let name = "x".repeat(10_000);
    let (detail, _) = server
        .sql(&format!(
            "SELECT value AS {name} FROM generate_series(1, 900)"
        ))
        .problem(422);
    assert!(
        detail.contains("its answer has more than 4000000 bytes in this form"),
        "{detail}"
    );
    // A function's result.
    for large in [
        "length(repeat('x', 100000000))",
        "cardinality(range(0, 1000000000))",
    ] {
        let (detail, _) = server.sql(&format!("SELECT {large}")).problem(422);
        assert!(detail.contains("would make"), "{detail}");
    }
    // Memory.
    let hungry = "SELECT count(*) FROM generate_series(1, 5000000) a JOIN generate_series(1, 5000000) b ON a.value = b.value";
    let (detail, hint) = server.sql(hungry).problem(422);
    assert!(detail.contains("needs more memory"), "{detail}");
    assert!(
        hint.contains("sql.memory") && !hint.contains("--memory"),
        "{hint}"
    );
    assert_eq!(server.sql("SELECT 1 AS one").status, 200);
}

#[test]
fn a_query_has_its_time_and_so_many_run_at_once() {
    let place = labelled();
    let server = server(&place, "[sql]\ntime_s = 5.0\nconcurrent = 2\n");
    let long = "SELECT count(*) FROM generate_series(1, 100000) AS a(v), generate_series(1, 100000) AS b(w) WHERE v * w % 7 = 3";
    let (detail, hint) = server.sql(long).problem(422);
    assert!(detail.contains("stopped after 5 s"), "{detail}");
    assert!(hint.contains("sql.time_s"), "{hint}");
    // At the same time: the third one is told to come again. Until it is, the two are asked again and again; the short one may have a place for a moment.
    let over = AtomicBool::new(false);
    let ends = Instant::now() + Duration::from_mins(2);
    let run = || {
        while !over.load(Ordering::Relaxed) && Instant::now() < ends {
            let status = server.sql(long).status;
            assert!(status == 422 || status == 429, "{status}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(run);
        }
        let mut third = server.sql("SELECT 1");
        while third.status == 200 && Instant::now() < ends {
            third = server.sql("SELECT 1");
        }
        over.store(true, Ordering::Relaxed);
        third.problem(429);
        assert_eq!(third.headers["retry-after"], "1");
    });
    wait_until(|| server.sql("SELECT 1 AS one").status == 200);
}

#[test]
fn nothing_is_written_and_nothing_outside_of_the_workspace_is_read_by_any_way_in() {
    let place = labelled();
    let outside = place.path("outside.parquet");
    let one = place.path("w/labels/dataset=wide/teacher=tiny@1/shard-000000.parquet");
    std::fs::copy(&one, &outside).unwrap();
    // Another workspace in the same bucket.
    let other = place.path("w2").display().to_string();
    place.ok(&["init", "--workspace", &other]);
    std::fs::create_dir_all(place.path("w2/runs")).unwrap();
    std::fs::write(place.path("w2/runs/r.json"), "{}").unwrap();
    let before = files(&place.path("w"));
    let server = Server::start(&place, &[]);
    let (outside, one) = (outside.display(), one.display());
    for query in [
        "DROP TABLE runs".to_owned(),
        "CREATE TABLE t AS SELECT 1".into(),
        "INSERT INTO runs SELECT * FROM runs".into(),
        "SET datafusion.execution.batch_size = 1".into(),
        format!("COPY labels TO '{}'", place.path("new.parquet").display()),
        format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{outside}'"),
        format!("SELECT * FROM '{outside}'"),
        format!("SELECT * FROM '{one}'"),
        format!("SELECT * FROM read_parquet('{outside}')"),
        "SELECT * FROM 'file:///etc/passwd'".into(),
        format!("SELECT * FROM \"{other}/workspace.json\""),
    ] {
        server.sql(&query).problem(400);
    }
    for path in [
        "/v1/datasets/..%2F..%2Fw2",
        "/v1/datasets/%2Fetc",
        "/v1/selections/..%2F..%2Fw2",
        "/v1/trainings/..%2F..%2Fw2",
        "/v1/teachers/..%2F..%2Fw2",
        "/v1/datasets/d%00/rejects",
        "/v1/lineage?of=..%2F..%2Fw2&as=selection",
        "/v1/lineage?of=..%2Ftiny&as=teacher",
    ] {
        server.get(path).problem(400);
    }
    for path in [
        "/v1/runs/..%2F..%2Fw2%2Fruns%2Fr",
        "/v1/lineage?of=file:%2F%2F%2Fetc%2Fpasswd",
        "/v1/lineage?of=%2Fetc%2Fpasswd&as=key",
        "/v1/../../etc/passwd",
    ] {
        server.get(path).problem(404);
    }
    for teacher in ["..%2F..%2Fw2", "%2Fetc%2Fpasswd", "tiny@1%2F..%2F2"] {
        let path = format!("/v1/label?teacher={teacher}");
        server.label(&path, "image/jpeg", b"x").problem(400);
    }
    server
        .post("/v1/promotions", &json!({"teacher": "../../w2"}))
        .problem(400);
    assert_eq!(differing(&before, &files(&place.path("w"))), [""; 0]);
}
