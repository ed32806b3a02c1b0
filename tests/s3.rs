//! Labelling from and to a real S3 server over HTTP, and through a proxy that injects faults.

use std::process::Output;
use std::time::Duration;

use crate::support::onnx::Model;
use crate::support::s3::{Fault, S3};
use crate::support::{Place, colour, jpeg, output, tar};

/// The images of `photos/in` by `tiny`.
const LABEL: [&str; 7] = [
    "label",
    "--dataset",
    "d",
    "--source",
    "s3://photos/in",
    "--teacher",
    "tiny",
];
/// Of these labels.
const SELECT: [&str; 7] = [
    "select",
    "--name",
    "s",
    "--dataset",
    "d",
    "--teacher",
    "tiny",
];

struct Bucket {
    place: Place,
    s3: S3,
}

impl Bucket {
    /// A server with buckets `photos` (24 loose images and a tar of 6) and `work`, a workspace with the teacher `tiny`.
    fn new() -> Self {
        let place = Place::new();
        for bucket in ["photos", "work"] {
            std::fs::create_dir_all(place.path("s3").join(bucket)).unwrap();
        }
        for n in 0..24 {
            let name = place.path("s3/photos").join(format!("in/{n:03}.jpg"));
            std::fs::create_dir_all(name.parent().unwrap()).unwrap();
            std::fs::write(name, jpeg(colour(n).0, n)).unwrap();
        }
        let images: Vec<(String, Vec<u8>)> = (0..6)
            .map(|n| (format!("{n}.jpg"), jpeg(colour(n).0, n)))
            .collect();
        let members: Vec<(&str, &[u8])> = images
            .iter()
            .map(|(n, b)| (n.as_str(), b.as_slice()))
            .collect();
        std::fs::write(place.path("s3/photos/in/more.tar"), tar(&members)).unwrap();
        let s3 = S3::start(&place.path("s3"));
        let bucket = Self { place, s3 };
        bucket.ok(&bucket.s3.endpoint, &["init"]);
        let [onnx, toml] = bucket.place.write_model(&Model::default());
        bucket.ok(
            &bucket.s3.endpoint,
            &[
                "teachers", "add", "tiny", "--model", &onnx, "--config", &toml,
            ],
        );
        bucket
    }

    fn run(&self, endpoint: &str, secret: &str, args: &[&str]) -> Output {
        let mut command = self.place.command(args);
        command
            .env("UNDERSTUDY_WORKSPACE", "s3://work/ws")
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "understudy")
            .env("AWS_SECRET_ACCESS_KEY", secret);
        output(&mut command)
    }

    fn ok(&self, endpoint: &str, args: &[&str]) -> String {
        let output = self.run(endpoint, "secret-key", args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn label(&self, endpoint: &str, more: &[&str]) -> serde_json::Value {
        let args = [&LABEL[..], &["--json"], more].concat();
        serde_json::from_str(&self.ok(endpoint, &args)).unwrap()
    }

    fn config(&self, text: &str) -> String {
        let path = self.place.path("p.toml");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

#[test]
fn a_bucket_is_labelled_into_a_workspace_in_another_bucket() {
    let bucket = Bucket::new();
    let summary = bucket.label(&bucket.s3.endpoint, &[]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&30.into(), &0.into())
    );
    let json = bucket.ok(
        &bucket.s3.endpoint,
        &[
            "sql",
            "--format",
            "json",
            "SELECT count(*) AS n, min(key) AS k FROM labels",
        ],
    );
    assert_eq!(json.trim(), r#"{"n":30,"k":"s3://photos/in/000.jpg"}"#);
    let doctor = bucket.ok(&bucket.s3.endpoint, &["doctor"]);
    assert!(doctor.contains("honoured"), "{doctor}");
    let again = bucket.label(&bucket.s3.endpoint, &[]);
    assert_eq!(again["images"], 0);
}

#[test]
fn a_noised_teachers_labels_have_a_folder_of_their_own_in_a_bucket_as_well() {
    let bucket = Bucket::new();
    let noise = bucket.place.path("strong.toml");
    std::fs::write(&noise, "[randaugment]\nmagnitude = 9.0\n").unwrap();
    let noise = noise.display().to_string();
    bucket.label(&bucket.s3.endpoint, &[]);
    for images in [30, 0] {
        let summary = bucket.label(&bucket.s3.endpoint, &["--noise", &noise]);
        assert_eq!(summary["teacher"], "tiny@1+strong");
        assert_eq!(summary["images"], images);
    }
    let query = "SELECT teacher, count(*) AS n FROM labels GROUP BY teacher ORDER BY teacher";
    let json = bucket.ok(&bucket.s3.endpoint, &["sql", "--format", "json", query]);
    let expected = r#"{"teacher":"tiny@1","n":30} {"teacher":"tiny@1+strong","n":30}"#;
    assert_eq!(json.trim().replace('\n', " "), expected);
}

#[test]
fn unavailable_and_truncated_answers_are_retried_until_every_image_has_its_label() {
    for fault in [Fault::Unavailable, Fault::Truncate] {
        let bucket = Bucket::new();
        let endpoint = bucket.s3.faulty("photos/in/", 3, fault);
        let summary = bucket.label(&endpoint, &[]);
        assert_eq!(
            (&summary["labelled"], &summary["rejected"]),
            (&30.into(), &0.into())
        );
        assert_ne!(summary["repeated_reads"], 0, "no fault was met");
    }
}

#[test]
fn a_source_that_does_not_answer_stops_the_run_and_no_image_is_given_up() {
    let bucket = Bucket::new();
    std::fs::create_dir(bucket.place.path("s3/photos/many")).unwrap();
    for n in 0..100 {
        let name = bucket.place.path(&format!("s3/photos/many/{n:03}.jpg"));
        std::fs::write(name, jpeg(colour(n).0, n)).unwrap();
    }
    let config = bucket.config("[label]\nattempts = 2\n");
    let args = [
        "label",
        "--dataset",
        "many",
        "--source",
        "s3://photos/many",
        "--teacher",
        "tiny",
        "--json",
        "--config",
        &config,
    ];
    let down = bucket.s3.faulty("/photos/many/", 1, Fault::Unavailable);
    let output = bucket.run(&down, "secret-key", &args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("the source does not answer") && text.contains("503"),
        "{text}"
    );
    assert!(text.contains("run the same command again"), "{text}");
    let summary: serde_json::Value =
        serde_json::from_str(&bucket.ok(&bucket.s3.endpoint, &args)).unwrap();
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&100.into(), &0.into())
    );
}

#[test]
fn an_image_that_never_comes_is_a_reject_with_its_attempts_and_a_retry_mends_it() {
    let bucket = Bucket::new();
    let endpoint = bucket.s3.faulty("photos/in/007.jpg", 1, Fault::Stall);
    let config = bucket.config("[label]\nattempts = 2\nread_timeout_s = 8.0\n");
    let summary = bucket.label(&endpoint, &["--config", &config]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&29.into(), &1.into())
    );
    let query = "SELECT key, stage, reason, attempts, detail FROM rejects";
    let json = bucket.ok(&bucket.s3.endpoint, &["sql", "--format", "json", query]);
    let row: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(
        (&row["reason"], &row["attempts"]),
        (&"unreachable".into(), &2.into())
    );
    assert!(row["detail"].as_str().unwrap().contains("stuck"), "{row}");
    let retried = bucket.label(
        &bucket.s3.endpoint,
        &["--retry-rejects", "--config", &config],
    );
    assert_eq!(retried["labelled"], 1);
}

#[test]
fn a_put_whose_answer_was_lost_is_recognised_as_ours() {
    let bucket = Bucket::new();
    let endpoint = bucket.s3.faulty("work/ws/labels/", 2, Fault::LoseAnswer);
    let config = bucket.config("[manifest]\nshard_images = 4\n");
    let summary = bucket.label(&endpoint, &["--config", &config]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&30.into(), &0.into())
    );
    let json = bucket.ok(
        &bucket.s3.endpoint,
        &[
            "sql",
            "--format",
            "json",
            "SELECT count(*) AS n, count(DISTINCT key) AS k FROM labels",
        ],
    );
    assert_eq!(json.trim(), r#"{"n":30,"k":30}"#);
}

#[test]
fn a_selections_images_are_labelled_in_a_bucket_though_answers_are_lost() {
    let bucket = Bucket::new();
    let at = bucket.s3.endpoint.clone();
    let config = bucket.config("[manifest]\nshard_images = 4\n");
    bucket.label(&at, &["--config", &config]);
    let [onnx, toml] = bucket.place.write_model(&Model::default());
    bucket.ok(
        &at,
        &[
            "teachers", "add", "big", "--model", &onnx, "--config", &toml,
        ],
    );
    let select = |id: &str, more: &[&str]| -> serde_json::Value {
        let args = [
            "select",
            "--name",
            id,
            "--dataset",
            "d",
            "--threshold",
            "0.2",
            "--per-class",
            "6",
            "--keep-duplicates",
            "--json",
        ];
        serde_json::from_str(&bucket.ok(&at, &[&args[..], more].concat())).unwrap()
    };
    let first = select("first", &["--teacher", "tiny"]);
    assert_eq!(first["totals"]["rows"], 18);
    // The plans, their rows, the teacher and its labels: every other answer is lost.
    let endpoint = bucket.s3.faulty("big", 2, Fault::LoseAnswer);
    let label = ["label", "--dataset", "d", "--teacher", "big", "--json"];
    let run = |more: &[&str]| -> serde_json::Value {
        serde_json::from_str(&bucket.ok(&endpoint, &[&label[..], more].concat())).unwrap()
    };
    let summary = run(&["--selection", "first"]);
    assert_eq!(
        (&summary["images"], &summary["labelled"]),
        (&18.into(), &18.into())
    );
    assert_eq!(run(&["--selection", "first"])["images"], 0);
    let second = select("second", &["--teacher", "big", "--filter-teacher", "tiny"]);
    assert_eq!(
        (&second["totals"]["rows"], &second["unlabelled"]["keys"]),
        (&18.into(), &0.into())
    );
    assert_eq!(run(&[])["images"], 12);
    let query =
        "SELECT count(*) AS n, count(DISTINCT key) AS k FROM labels WHERE teacher = 'big@1'";
    let json = bucket.ok(&at, &["sql", "--format", "json", query]);
    assert_eq!(json.trim(), r#"{"n":30,"k":30}"#);
}

#[test]
fn refused_credentials_stop_at_once_with_what_to_do() {
    let bucket = Bucket::new();
    let started = std::time::Instant::now();
    let output = bucket.run(
        &bucket.s3.endpoint,
        "wrong-key",
        &[
            "label",
            "--dataset",
            "d",
            "--source",
            "s3://photos/in",
            "--teacher",
            "tiny",
        ],
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains("refused the credentials") && text.contains("AWS_ACCESS_KEY_ID"),
        "{text}"
    );
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn a_bucket_that_does_not_exist_is_named() {
    let bucket = Bucket::new();
    let output = bucket.run(
        &bucket.s3.endpoint,
        "secret-key",
        &[
            "label",
            "--dataset",
            "d",
            "--source",
            "s3://no-such-bucket/in",
            "--teacher",
            "tiny",
        ],
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("no-such-bucket"), "{text}");
}

#[test]
fn a_store_that_ignores_create_only_puts_is_found_out_and_still_labelled_exactly_once() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("s3/work")).unwrap();
    for n in 0..12 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    let s3 = S3::public(&place.path("s3"));
    let endpoint = s3.faulty("work/", 1, Fault::IgnoreConditions);
    let run = |args: &[&str]| {
        let output = place
            .command(args)
            .env("UNDERSTUDY_WORKSPACE", "s3://work/ws")
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_SKIP_SIGNATURE", "true")
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {error}");
        (String::from_utf8(output.stdout).unwrap(), error)
    };
    let (_, said) = run(&["init"]);
    assert!(said.contains("ignores create-only puts"), "{said}");
    let (doctor, _) = run(&["doctor"]);
    assert!(doctor.contains("one understudy at a time"), "{doctor}");
    let [onnx, toml] = place.write_model(&Model::default());
    run(&[
        "teachers", "add", "tiny", "--model", &onnx, "--config", &toml,
    ]);
    let images = place.images();
    let label = [
        "label",
        "--dataset",
        "d",
        "--source",
        &images,
        "--teacher",
        "tiny",
    ];
    let (_, said) = run(&label);
    assert!(said.contains("one understudy at a time"), "{said}");
    let before = crate::support::files(&place.path("s3/work/ws/labels"));
    run(&label);
    let after = crate::support::files(&place.path("s3/work/ws/labels"));
    assert_eq!(
        crate::support::differing(&before, &after),
        Vec::<String>::new()
    );
    let (json, _) = run(&[
        "sql",
        "--format",
        "json",
        "SELECT count(*) AS n FROM labels",
    ]);
    assert_eq!(json.trim(), r#"{"n":12}"#);
}

#[test]
fn a_tar_a_parquet_file_and_a_list_of_urls_are_read_over_http() {
    let place = Place::with_teacher();
    let site = place.path("site");
    std::fs::create_dir_all(site.join("www/some folder")).unwrap();
    let photo = |n: u32| jpeg(colour(n).0, n);
    let (red, green) = (photo(0), photo(1));
    std::fs::write(
        site.join("www/photos.tar"),
        tar(&[("a.jpg", &red), ("b.jpg", &green)]),
    )
    .unwrap();
    let table = crate::support::parquet_with_images(&[Some(&red), Some(&green), Some(&red)]);
    std::fs::write(site.join("www/table.parquet"), table).unwrap();
    std::fs::write(site.join("www/some folder/c.jpg"), &red).unwrap();
    std::fs::write(site.join("www/d.jpg"), &green).unwrap();
    std::fs::write(site.join("www/a+b&c.jpg"), &red).unwrap();
    let server = S3::public(&site);
    let at = &server.endpoint;
    let list = format!(
        "\u{feff}# photos\n{at}/www/some%20folder/c.jpg\n\n{at}/www/d.jpg\n{at}/www/d.jpg?version=2\n{at}/www/a%2Bb&c.jpg\n{at}/www/missing.jpg\nftp://host/e.jpg\n"
    );
    std::fs::write(site.join("www/list.txt"), list).unwrap();
    let label = |dataset: &str, name: &str| -> serde_json::Value {
        let source = format!("{at}/www/{name}");
        let args = [
            "label",
            "--dataset",
            dataset,
            "--source",
            &source,
            "--teacher",
            "tiny",
            "--json",
            "--storage-option",
            "allow_http=true",
        ];
        serde_json::from_str(&place.ok(&args)).unwrap()
    };
    for (dataset, name, labelled, rejected) in [
        ("tar", "photos.tar", 2, 0),
        ("parquet", "table.parquet", 3, 0),
        ("list", "list.txt", 4, 2),
    ] {
        let summary = label(dataset, name);
        assert_eq!(
            (&summary["labelled"], &summary["rejected"]),
            (&labelled.into(), &rejected.into()),
            "{name}"
        );
    }
    let rejects = place.sql("SELECT key, reason FROM rejects ORDER BY key");
    let reasons: Vec<_> = rejects
        .iter()
        .map(|r| r["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["bad-url", "not-found"], "{rejects:?}");
    let reds = place.number("SELECT count(*) FROM labels WHERE label = 'red'");
    assert_eq!(reds, 1 + 2 + 2);
}

#[test]
fn a_weak_etag_tells_another_state_as_a_strong_one_does() {
    let place = Place::with_teacher();
    let site = place.path("site");
    std::fs::create_dir_all(site.join("www")).unwrap();
    let photos = [0, 1].map(|n| jpeg(colour(n).0, n));
    let tar = tar(&[("a.jpg", &photos[0]), ("b.jpg", &photos[1])]);
    std::fs::write(site.join("www/photos.tar"), tar).unwrap();
    let server = S3::public(&site);
    let label = |dataset: &str, fault: Fault| -> serde_json::Value {
        let source = format!("{}/www/photos.tar", server.faulty("www", 1, fault));
        let of = ["label", "--dataset", dataset, "--source", &source];
        let by = ["--teacher", "tiny", "--json"];
        let http = ["--storage-option", "allow_http=true"];
        serde_json::from_str(&place.ok(&[&of[..], &by, &http].concat())).unwrap()
    };
    let summary = label("same", Fault::Weak);
    assert_eq!(summary["labelled"], 2, "{summary}");
    let etags = place.sql("SELECT DISTINCT etag FROM manifest");
    assert!(etags[0]["etag"].as_str().unwrap().starts_with("W/"));
    // As large, and yet another one.
    let summary = label("other", Fault::WeakChanged);
    assert_eq!(summary["labelled"], 0, "{summary}");
    let reasons = place.sql("SELECT DISTINCT reason FROM rejects");
    assert_eq!(reasons, [serde_json::json!({"reason": "changed"})]);
}

#[test]
fn one_forbidden_image_is_a_reject_and_a_forbidden_bucket_stops_the_run() {
    let bucket = Bucket::new();
    let endpoint = bucket.s3.faulty("photos/in/007.jpg", 1, Fault::Forbidden);
    let summary = bucket.label(&endpoint, &[]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&29.into(), &1.into())
    );
    let query = "SELECT reason FROM rejects";
    let json = bucket.ok(&bucket.s3.endpoint, &["sql", "--format", "json", query]);
    assert_eq!(json.trim(), r#"{"reason":"forbidden"}"#);

    let bucket = Bucket::new();
    std::fs::remove_file(bucket.place.path("s3/photos/in/more.tar")).unwrap();
    let endpoint = bucket.s3.faulty("photos/in/0", 1, Fault::Forbidden);
    let output = bucket.run(&endpoint, "secret-key", &LABEL);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("refused the credentials"), "{text}");
    let query = "SELECT outcome, labelled, error LIKE '%refused the credentials%' AS why FROM runs";
    let json = bucket.ok(&bucket.s3.endpoint, &["sql", "--format", "json", query]);
    assert_eq!(
        json.trim(),
        r#"{"outcome":"failed","labelled":0,"why":true}"#
    );
}

#[test]
fn a_token_that_has_run_out_stops_labelling_and_exporting_and_no_image_is_given_up() {
    let bucket = Bucket::new();
    let expired = bucket.s3.faulty("photos/in/0", 1, Fault::Expired);
    let refused = |args: &[&str]| {
        let output = bucket.run(&expired, "secret-key", args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(text.contains("ExpiredToken"), "{text}");
    };
    refused(&LABEL);
    // The tar's shard, which nothing refuses, may have been committed before the run stopped.
    let summary = bucket.label(&bucket.s3.endpoint, &[]);
    assert!(
        summary["labelled"] == 24 || summary["labelled"] == 30,
        "{summary}"
    );
    let query =
        "SELECT (SELECT count(*) FROM labels) AS labels, (SELECT count(*) FROM rejects) AS rejects";
    let json = bucket.ok(&bucket.s3.endpoint, &["sql", "--format", "json", query]);
    assert_eq!(json.trim(), r#"{"labels":30,"rejects":0}"#);
    bucket.ok(
        &bucket.s3.endpoint,
        &[&SELECT[..], &["--threshold", "0.1"]].concat(),
    );
    let out = bucket.place.path("out");
    let out = out.to_str().unwrap();
    let export = ["export", "--selection", "s", "--format", "parquet"];
    refused(&[&export[..], &["--out", out]].concat());
    assert!(!bucket.place.path("out/export.json").exists());
}

#[test]
fn an_outage_of_a_small_source_gives_up_no_image_and_one_lost_object_is_one_reject() {
    let bucket = Bucket::new();
    let config = bucket.config("[label]\nattempts = 2\n");
    let config = ["--config", &config];
    bucket.label(&bucket.s3.endpoint, &config);
    let [onnx, toml] = bucket.place.write_model(&Model::default());
    for name in ["second", "third"] {
        let add = ["teachers", "add", name, "--model", &onnx, "--config", &toml];
        bucket.ok(&bucket.s3.endpoint, &add);
    }
    let label = |teacher: &'static str| {
        let label = ["label", "--dataset", "d", "--teacher", teacher, "--json"];
        [&label[..], &config].concat()
    };
    // All of it: 24 loose objects and one container.
    let down = bucket.s3.faulty("photos/in/", 1, Fault::Unavailable);
    let output = bucket.run(&down, "secret-key", &label("second"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("the source does not answer"), "{text}");
    let committed = bucket
        .place
        .path("s3/work/ws/labels/dataset=d/teacher=second@1");
    let names = std::fs::read_dir(committed).map(|names| {
        let names = names.map(|n| n.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.ends_with(".parquet")).count()
    });
    assert_eq!(names.unwrap_or(0), 0);
    // The container alone: its images are lost, the others are there. So are they where nothing else is left to read.
    let lost = bucket
        .s3
        .faulty("photos/in/more.tar", 1, Fault::Unavailable);
    let retry = ["--retry-rejects"];
    for (more, labelled) in [(&[][..], 24), (&retry, 0)] {
        let args = [&label("third")[..], more].concat();
        let output = bucket.run(&lost, "secret-key", &args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{text}");
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&summary["labelled"], &summary["rejected"]),
            (&labelled.into(), &6.into())
        );
    }
    let summary: serde_json::Value = serde_json::from_str(
        &bucket.ok(&bucket.s3.endpoint, &[&label("third")[..], &retry].concat()),
    )
    .unwrap();
    assert_eq!(summary["labelled"], 6);
}

#[test]
fn a_slow_body_is_not_stuck() {
    let bucket = Bucket::new();
    // A piece every 1.5 s, which takes 10.5 s at least, while nothing may be silent for 10 s.
    let slow = Fault::Slow(Duration::from_millis(1500));
    let endpoint = bucket.s3.faulty("photos/in/007.jpg", 1, slow);
    let config = bucket.config("[label]\nattempts = 2\nread_timeout_s = 10.0\n");
    let summary = bucket.label(&endpoint, &["--config", &config]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&30.into(), &0.into())
    );
    assert!(summary["seconds"].as_f64().unwrap() > 10.0);
}

#[test]
fn a_report_shows_images_of_a_bucket_and_lies_in_one() {
    let bucket = Bucket::new();
    let endpoint = bucket.s3.endpoint.clone();
    bucket.label(&endpoint, &[]);
    bucket.ok(
        &endpoint,
        &[
            "select",
            "--name",
            "s",
            "--dataset",
            "d",
            "--teacher",
            "tiny",
            "--threshold",
            "0.2",
            "--keep-duplicates",
        ],
    );
    bucket.ok(
        &endpoint,
        &[
            "report",
            "--selection",
            "s",
            "--out",
            "s3://work/pages/report.html",
        ],
    );
    let page = std::fs::read_to_string(bucket.place.path("s3/work/pages/report.html")).unwrap();
    // 30 images in three classes of ten, loose ones and members of the tar.
    assert_eq!(
        page.matches("<img src=\"data:image/jpeg;base64,").count(),
        30
    );
    assert!(page.contains("more.tar#"), "no image of the tar is shown");
}

#[test]
fn a_selection_is_exported_from_one_bucket_to_another_and_goes_on_after_an_outage() {
    let bucket = Bucket::new();
    std::fs::create_dir_all(bucket.place.path("s3/out")).unwrap();
    bucket.label(&bucket.s3.endpoint, &[]);
    let rules = ["--threshold", "0.2", "--per-class", "11"];
    let select = [&SELECT[..], &rules].concat();
    bucket.ok(&bucket.s3.endpoint, &select);
    let export = |format: &'static str, out: &'static str| {
        [
            "export",
            "--selection",
            "s",
            "--format",
            format,
            "--out",
            out,
            "--json",
        ]
    };
    let json: serde_json::Value =
        serde_json::from_str(&bucket.ok(&bucket.s3.endpoint, &export("webdataset", "s3://out/a")))
            .unwrap();
    assert_eq!(json["totals"]["rows"], 33, "{json}");
    let reference = crate::support::files(&bucket.place.path("s3/out/a"));
    // Answers that fail now and then, and puts whose answers are lost, change nothing.
    for (path, fault, out) in [
        ("photos/in/", Fault::Unavailable, "s3://out/b"),
        ("out/c/", Fault::LoseAnswer, "s3://out/c"),
    ] {
        let endpoint = bucket.s3.faulty(path, 3, fault);
        bucket.ok(&endpoint, &export("webdataset", out));
        let folder = bucket.place.path(&out.replace("s3://", "s3/"));
        let differ = crate::support::differing(&reference, &crate::support::files(&folder));
        assert_eq!(differ, Vec::<String>::new(), "{path}");
    }
    // A store that does not answer ends the export, which is no reason to leave images out; later it goes on.
    let endpoint = bucket.s3.faulty("photos/in/007.jpg", 1, Fault::Unavailable);
    let output = bucket.run(&endpoint, "secret-key", &export("webdataset", "s3://out/d"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("cannot read `s3://photos/in/007.jpg`")
            && text.contains("run the same command again"),
        "{text}"
    );
    assert!(!bucket.place.path("s3/out/d/export.json").exists());
    bucket.ok(&bucket.s3.endpoint, &export("webdataset", "s3://out/d"));
    let folder = bucket.place.path("s3/out/d");
    let differ = crate::support::differing(&reference, &crate::support::files(&folder));
    assert_eq!(differ, Vec::<String>::new());
    let output = bucket.run(
        &bucket.s3.endpoint,
        "wrong-key",
        &export("parquet", "s3://out/e"),
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{text}");
}

#[test]
fn many_refused_images_are_rejects_while_others_are_given() {
    for fault in [Fault::Forbidden, Fault::Archived] {
        let bucket = Bucket::new();
        // All loose images, neighbours in the listing; the tar is given.
        let endpoint = bucket.s3.faulty("photos/in/0", 1, fault);
        let summary = bucket.label(&endpoint, &[]);
        let counts = (&summary["labelled"], &summary["rejected"]);
        assert_eq!(counts, (&6.into(), &24.into()));
    }
}

#[test]
fn a_container_that_changes_or_goes_while_it_is_listed_stops_nothing() {
    for (fault, rejected) in [(Fault::Changed, 1), (Fault::Gone, 0)] {
        let bucket = Bucket::new();
        let endpoint = bucket.s3.faulty("photos/in/more.tar", 1, fault);
        let summary = bucket.label(&endpoint, &[]);
        let counts = (&summary["labelled"], &summary["rejected"]);
        assert_eq!(counts, (&24.into(), &rejected.into()));
        // As it is now, the next listing has it.
        let image = jpeg(colour(1).0, 1);
        let members = tar(&[("one.jpg", &image), ("another.jpg", &image)]);
        std::fs::write(bucket.place.path("s3/photos/in/more.tar"), members).unwrap();
        let summary = bucket.label(&bucket.s3.endpoint, &[]);
        let counts = (&summary["labelled"], &summary["rejected"]);
        assert_eq!(counts, (&2.into(), &0.into()));
        let query = "SELECT (SELECT count(*) FROM labels) AS labels, (SELECT count(*) FROM rejects) AS rejects";
        let json = bucket.ok(&bucket.s3.endpoint, &["sql", "--format", "json", query]);
        assert_eq!(json.trim(), r#"{"labels":26,"rejects":0}"#);
    }
}

#[test]
fn a_parquet_file_that_the_store_refuses_is_not_taken_for_another_kind_of_file() {
    let bucket = Bucket::new();
    let image = jpeg(colour(0).0, 0);
    let table = crate::support::parquet_with_images(&[Some(&image), Some(&image)]);
    std::fs::write(bucket.place.path("s3/photos/in/table.parquet"), table).unwrap();
    let endpoint = bucket.s3.faulty("table.parquet", 1, Fault::Disabled);
    let output = bucket.run(&endpoint, "secret-key", &LABEL);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("table.parquet") && text.contains("KMS.Disabled"),
        "{text}"
    );
    let summary = bucket.label(&bucket.s3.endpoint, &[]);
    let counts = (&summary["labelled"], &summary["rejected"]);
    assert_eq!(counts, (&32.into(), &0.into()));
}

#[test]
fn a_prefix_may_have_any_name_and_is_remembered_as_it_was_typed() {
    let bucket = Bucket::new();
    for (n, name) in ["My Photos", "set#2", "ü %20{x}"].into_iter().enumerate() {
        let folder = bucket.place.path("s3/photos").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.jpg"), jpeg(colour(0).0, 0)).unwrap();
        let (dataset, source) = (format!("d{n}"), format!("s3://photos/{name}/"));
        let args = [
            "label",
            "--dataset",
            &dataset,
            "--teacher",
            "tiny",
            "--json",
        ];
        let label = |more: &[&str]| -> serde_json::Value {
            let args = [&args[..], more].concat();
            serde_json::from_str(&bucket.ok(&bucket.s3.endpoint, &args)).unwrap()
        };
        assert_eq!(label(&["--source", &source])["labelled"], 1, "{source}");
        std::fs::write(folder.join("b.jpg"), jpeg(colour(1).0, 1)).unwrap();
        assert_eq!(label(&[])["labelled"], 1, "{source}");
        assert_eq!(
            label(&["--source", source.trim_end_matches('/')])["images"],
            0
        );
    }
}
