//! Jobs as workers do them: real processes that are killed, stopped and woken up, real labels, a real S3 server.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::promote::teacher;
use crate::support::onnx::Model;
use crate::support::s3::{Fault, S3};
use crate::support::{
    Place, colour, differing, files, interrupt, jpeg, label_args, output, patiently, wait_until,
};

/// Images of a shard.
const SHARD: u32 = 4;

fn with_endpoint(mut command: Command, endpoint: &str) -> Command {
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "understudy")
        .env("AWS_SECRET_ACCESS_KEY", "secret-key");
    command
}

/// A workspace with the teacher `tiny`, and a bucket of images that can be read at once, or slowly through a proxy.
pub(crate) struct Photos {
    pub(crate) place: Place,
    s3: S3,
    slow: String,
}

impl Photos {
    pub(crate) fn new(shards: u32) -> Self {
        let place = Place::with_teacher();
        std::fs::create_dir_all(place.path("s3/photos/in")).unwrap();
        for n in 0..shards * SHARD {
            let name = place.path(&format!("s3/photos/in/slow-{n:03}.jpg"));
            std::fs::write(name, jpeg(colour(n).0, n)).unwrap();
        }
        let s3 = S3::start(&place.path("s3"));
        let slow = s3.faulty("slow-", 1, Fault::Slow(Duration::from_millis(300)));
        std::fs::write(
            place.path("p.toml"),
            format!("[manifest]\nshard_images = {SHARD}\n"),
        )
        .unwrap();
        Self { place, s3, slow }
    }

    /// Runs a command that reads images at once.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.ok_at(&self.s3.endpoint, args)
    }

    fn ok_at(&self, endpoint: &str, args: &[&str]) -> String {
        let output = output(&mut with_endpoint(self.place.command(args), endpoint));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn label(&self, dataset: &str, teacher: &str, more: &[&str]) {
        let config = self.place.path("p.toml").display().to_string();
        let args = ["label", "--dataset", dataset, "--teacher", teacher];
        let source = ["--source", "s3://photos/in", "--config", &config];
        self.ok(&[&args[..], &source[..], more].concat());
    }

    /// Submits a job that labels `dataset`, and gives its id.
    fn submit_label(&self, dataset: &str, teacher: &str) -> String {
        let source = "source = \"s3://photos/in\"";
        let text = format!(
            "kind = \"label\"\ndataset = \"{dataset}\"\nteacher = \"{teacher}\"\n{source}\n[config.manifest]\nshard_images = {SHARD}\n"
        );
        submit(&self.place, &text, &[])
    }

    /// A worker that reads images slowly, in a process group of its own.
    pub(crate) fn worker(&self, settings: &str) -> Worker {
        let config = self.place.path("serve.toml");
        std::fs::write(&config, format!("[worker]\npoll_s = 0.2\n{settings}")).unwrap();
        let args = ["worker", "--config", config.to_str().unwrap()];
        let mut command = with_endpoint(self.place.command(&args), &self.slow);
        command.stderr(Stdio::null()).process_group(0);
        Worker {
            child: command.spawn().unwrap(),
        }
    }

    pub(crate) fn job(&self, id: &str) -> Value {
        show(&self.place, id)
    }

    /// Labels objects by a teacher, and when each was made.
    pub(crate) fn shards(&self, dataset: &str, teacher: &str) -> BTreeMap<String, SystemTime> {
        let folder = format!("w/labels/dataset={dataset}/teacher={teacher}");
        let Ok(entries) = std::fs::read_dir(self.place.path(&folder)) else {
            return BTreeMap::new();
        };
        // What is being put has another name, under which it is gone a moment later.
        let named = entries.map(Result::unwrap).filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let whole = name.starts_with("shard-") && name.ends_with(".parquet");
            whole.then_some((name, entry))
        });
        named
            .map(|(name, entry)| (name, entry.metadata().unwrap().modified().unwrap()))
            .collect()
    }
}

/// A worker; it ends with the test.
pub(crate) struct Worker {
    child: Child,
}

impl Worker {
    /// To the worker and its children at once, as a machine that sleeps or loses its power.
    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        let sent = Command::new("kill").args([signal, "--", &group]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// To its children alone.
    fn signal_children(&self, signal: &str) {
        let parent = self.child.id().to_string();
        let sent = Command::new("pkill").args([signal, "-P", &parent]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end after a signal.
    fn ended(mut self) {
        let ended = patiently(self.child.id(), || self.child.wait()).unwrap();
        assert!(ended.success(), "{ended}");
    }

    /// Ctrl-C to the worker alone, as `kill` does it.
    pub(crate) fn end(self) {
        interrupt(&self.child);
        self.ended();
    }

    /// Processes of its group that live.
    fn processes(&self) -> usize {
        let group = self.child.id().to_string();
        let output = Command::new("ps").args(["-eo", "pgid=,stat="]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let of_group = text.lines().filter(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(&group) && words.next().is_some_and(|s| !s.starts_with('Z'))
        });
        of_group.count()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

pub(crate) fn submit(place: &Place, text: &str, more: &[&str]) -> String {
    let file = place.path("job.toml");
    std::fs::write(&file, text).unwrap();
    let args = ["jobs", "submit", file.to_str().unwrap()];
    place.ok(&[&args[..], more].concat()).trim().to_owned()
}

pub(crate) fn show(place: &Place, id: &str) -> Value {
    serde_json::from_str(&place.ok(&["jobs", "show", id, "--json"])).unwrap()
}

#[test]
fn a_worker_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_wakes_up() {
    let photos = Photos::new(16);
    let id = photos.submit_label("d", "tiny");
    let first = photos.worker("lease_s = 10.0\n");
    wait_until(|| photos.shards("d", "tiny@1").len() >= 2);
    first.signal("-STOP");
    let holder = photos.job(&id)["holder"].clone();
    let labelled = photos.shards("d", "tiny@1").len();
    assert!(labelled < 16, "it was done before it was stopped");

    // Long enough for a slow machine: this one must not lose it.
    let second = photos.worker("lease_s = 600.0\n");
    wait_until(|| photos.job(&id)["state"] == "done");
    let job = photos.job(&id);
    assert_eq!(
        (&job["attempts"], &job["result"]["dataset"]),
        (&json!(2), &json!("d"))
    );
    assert_eq!(job["result"]["shards"], json!(16 - labelled));
    second.end();
    // What it was putting when it was stopped has another name, under which it may go now.
    let put = || {
        let mut files = files(&photos.place.path("w"));
        files.retain(|name, _| !name.contains('#'));
        files
    };
    let before = put();

    first.signal("-CONT");
    // Its child ends by itself; the worker lives on, and finds that the job is another's.
    wait_until(|| first.processes() == 1);
    std::thread::sleep(Duration::from_secs(1));
    first.end();
    let nothing: Vec<String> = Vec::new();
    assert_eq!(differing(&before, &put()), nothing);
    let entries = before.keys().filter(|name| name.starts_with("jobs/"));
    assert!(entries.count() > 3 && holder != Value::Null);
}

#[test]
fn a_job_whose_command_is_ended_from_outside_goes_on_elsewhere() {
    let photos = Photos::new(8);
    let id = photos.submit_label("d", "tiny");
    let shards = || photos.shards("d", "tiny@1").len();
    let first = photos.worker("lease_s = 600.0\n");
    wait_until(|| shards() >= 1);
    // As a service's manager does it, to all of its processes at once; labelling does not listen to that.
    first.signal("-TERM");
    first.ended();
    assert_eq!(photos.job(&id)["state"], "queued");
    let before = shards();
    assert!(before < 8, "it was done before it was ended");
    let second = photos.worker("lease_s = 600.0\n");
    wait_until(|| shards() > before);
    // The command alone.
    second.signal_children("-TERM");
    wait_until(|| photos.job(&id)["state"] == "done");
    assert_eq!(photos.job(&id)["attempts"], 3);
    second.end();
}

#[test]
fn a_job_that_cannot_be_read_holds_up_no_other() {
    let photos = Photos::new(1);
    let damaged = photos.submit_label("d", "tiny");
    let newer = photos.submit_label("d", "tiny");
    let id = photos.submit_label("d", "tiny");
    let file = |id: &str| photos.place.path(&format!("w/jobs/{id}/job.json"));
    std::fs::write(file(&damaged), "").unwrap();
    let text = std::fs::read_to_string(file(&newer)).unwrap();
    let text = text.replacen("\"kind\"", "\"of_a_newer_one\": 1, \"kind\"", 1);
    std::fs::write(file(&newer), text).unwrap();
    let worker = photos.worker("");
    wait_until(|| photos.job(&id)["state"] == "done");
    worker.end();
    let output = photos.place.run(&["jobs", "list"]);
    let (listed, said) = (output.stdout, output.stderr);
    let [listed, said] = [listed, said].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success() && listed.contains(&id), "{listed}");
    for id in [damaged, newer] {
        assert!(!listed.contains(&id), "{listed}");
        assert!(said.contains(&format!("passing over {id}")), "{said}");
    }
}

#[test]
fn two_workers_on_one_s3_server_do_each_job_once() {
    let place = Place::new();
    for bucket in ["photos", "work"] {
        std::fs::create_dir_all(place.path("s3").join(bucket)).unwrap();
    }
    for n in 0..12 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    let s3 = S3::start(&place.path("s3"));
    let command = |args: &[&str]| {
        let mut command = with_endpoint(place.command(args), &s3.endpoint);
        command
            .env("UNDERSTUDY_WORKSPACE", "s3://work/ws")
            .stderr(Stdio::null());
        command
    };
    let ok = |args: &[&str]| {
        let output = output(&mut command(args));
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    ok(&["init"]);
    let [onnx, toml] = place.write_model(&Model::default());
    ok(&[
        "teachers", "add", "tiny", "--model", &onnx, "--config", &toml,
    ]);
    let images = place.images();
    let file = place.path("job.toml").display().to_string();
    for n in 0..5 {
        let (dataset, source) = (format!("d{n}"), format!("source = \"{images}\""));
        let text =
            format!("kind = \"label\"\ndataset = \"{dataset}\"\nteacher = \"tiny\"\n{source}\n");
        std::fs::write(&file, text).unwrap();
        // Twice the same key is one job.
        let key = format!("label {n}");
        let [one, two] = [0, 1].map(|_| ok(&["jobs", "submit", &file, "--key", &key]));
        assert_eq!(one, two);
    }
    std::fs::write(
        &file,
        "kind = \"label\"\ndataset = \"d0\"\nteacher = \"nobody\"\n",
    )
    .unwrap();
    let failing = ok(&["jobs", "submit", &file]).trim().to_owned();
    let config = place.path("serve.toml").display().to_string();
    std::fs::write(&config, "[worker]\npoll_s = 0.1\njobs = 2\n").unwrap();
    let workers = [0, 1].map(|_| {
        let mut command = command(&["worker", "--config", &config]);
        Worker {
            child: command.process_group(0).spawn().unwrap(),
        }
    });
    let rows = |query: &str| -> Vec<Value> {
        let text = ok(&["sql", "--format", "json", query]);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let ended = "SELECT count(*) AS n FROM jobs WHERE state IN ('done', 'failed')";
    wait_until(|| rows(ended)[0]["n"] == 6);
    for worker in workers {
        worker.end();
    }
    let jobs = "SELECT state, kind, min(attempts) AS least, max(attempts) AS most, count(*) AS n FROM jobs GROUP BY ALL ORDER BY state";
    let jobs = rows(&jobs.replace("GROUP BY ALL", "GROUP BY state, kind"));
    let expected = |state: &str, n: u32| json!({"state": state, "kind": "label", "least": 1, "most": 1, "n": n});
    assert_eq!(jobs, [expected("done", 5), expected("failed", 1)]);
    // A run that labelled leaves one record: nobody labelled anything twice.
    let runs = rows(
        "SELECT dataset, count(*) AS n FROM runs WHERE kind = 'label' GROUP BY dataset ORDER BY dataset",
    );
    assert_eq!(runs.len(), 5);
    assert!(runs.iter().all(|run| run["n"] == 1), "{runs:?}");
    assert_eq!(rows("SELECT count(*) AS n FROM labels")[0]["n"], 60);

    let failed = ok(&["jobs", "show", &failing, "--json"]);
    let failed: Value = serde_json::from_str(&failed).unwrap();
    let error = json!({
        "message": "the workspace has no teacher `nobody`",
        "hint": "it has tiny",
        "code": 3
    });
    assert_eq!(
        (&failed["state"], &failed["error"]),
        (&json!("failed"), &error)
    );
}

#[test]
fn a_running_job_is_cancelled_and_what_it_committed_stays() {
    let photos = Photos::new(40);
    let id = photos.submit_label("d", "tiny");
    let worker = photos.worker("lease_s = 4.0\n");
    wait_until(|| !photos.shards("d", "tiny@1").is_empty());
    photos.place.ok(&["jobs", "cancel", &id]);
    wait_until(|| photos.job(&id)["state"] == "cancelled");
    wait_until(|| worker.processes() == 1);
    let labelled = photos.shards("d", "tiny@1").len();
    assert!((1..40).contains(&labelled), "{labelled}");
    let (code, text) = photos
        .place
        .fails(&["jobs", "cancel", "job-0123456789abcdef"]);
    assert_eq!(code, 3, "{text}");
    worker.end();
}

#[test]
fn a_job_that_holds_more_memory_than_it_may_fails_and_says_so() {
    let photos = Photos::new(40);
    let id = photos.submit_label("d", "tiny");
    // ONNX Runtime alone has more.
    let worker = photos.worker("memory = 67_108_864\n");
    wait_until(|| photos.job(&id)["state"] == "failed");
    let error = &photos.job(&id)["error"];
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("bytes of memory, of the 67108864"),
        "{error}"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("`memory`"),
        "{error}"
    );
    wait_until(|| worker.processes() == 1);
    worker.end();
}

#[test]
fn a_job_whose_workers_are_gone_again_and_again_is_given_up() {
    let photos = Photos::new(2);
    let id = photos.submit_label("d", "tiny");
    let settings = "lease_s = 8.0\nlosses = 2\n";
    for begun in 1..=2 {
        let worker = photos.worker(settings);
        wait_until(|| photos.job(&id)["attempts"].as_u64() >= Some(begun));
        worker.signal("-KILL");
    }
    let worker = photos.worker(settings);
    wait_until(|| photos.job(&id)["state"] == "failed");
    let message = photos.job(&id)["error"]["message"].clone();
    let expected = "2 workers in a row were gone before it got any further";
    assert_eq!(message, expected);
    worker.end();
}

#[test]
fn a_worker_that_ends_hands_its_jobs_back_and_another_goes_on_at_once() {
    let photos = Photos::new(16);
    let id = photos.submit_label("d", "tiny");
    // Nobody would wait for the end of this lease.
    let first = photos.worker("lease_s = 600.0\n");
    wait_until(|| !photos.shards("d", "tiny@1").is_empty());
    first.end();
    assert_eq!(photos.job(&id)["state"], "queued");
    let before = photos.shards("d", "tiny@1");
    assert!(before.len() < 16);
    let second = photos.worker("lease_s = 600.0\n");
    wait_until(|| photos.job(&id)["state"] == "done");
    second.end();
    let after = photos.shards("d", "tiny@1");
    assert_eq!(after.len(), 16);
    assert!(before.iter().all(|(name, at)| after[name] == *at));
}

#[test]
fn what_is_wrong_with_a_job_is_said_when_it_is_submitted() {
    let place = Place::with_teacher();
    let file = place.path("job.toml");
    let fails = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let args = ["jobs", "submit", file.to_str().unwrap()];
        place.fails(&[&args[..], more].concat())
    };
    let (code, text) = fails(
        "kind = \"label\"\ndatset = \"d\"\nteacher = \"tiny\"\n",
        &[],
    );
    assert_eq!(code, 2);
    assert!(
        text.contains("unknown field `datset`") && text.contains("did you mean `dataset`?"),
        "{text}"
    );
    let relabel = "kind = \"relabel\"\n";
    submit(&place, relabel, &["--key", "k"]);
    let other = "kind = \"relabel\"\ndataset = \"d\"\n";
    let (code, text) = fails(other, &["--key", "k"]);
    assert_eq!(code, 10);
    assert!(text.contains("the key `k` is that of job"), "{text}");
    let listed = place.ok(&["jobs", "list"]);
    assert!(listed.contains("relabel  queued"), "{listed}");
    let (code, text) = place.fails(&["relabel"]);
    assert_eq!(code, 3);
    assert!(text.contains("no teacher is promoted yet"), "{text}");
    let config = place.path("serve.toml");
    std::fs::write(&config, "[workers]\njobs = 1\n").unwrap();
    let (code, text) = place.fails(&["worker", "--config", config.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(text.contains("did you mean `worker`?"), "{text}");
}

#[test]
fn a_promotion_is_followed_once_whatever_becomes_of_the_worker() {
    let photos = Photos::new(12);
    let place = &photos.place;
    teacher(place, "blind", &[0, 1]);
    photos.label("d", "tiny", &[]);
    photos.label("pinned", "tiny", &["--pin"]);
    let select = [
        "select",
        "--name",
        "s",
        "--dataset",
        "d",
        "--teacher",
        "tiny",
    ];
    photos.ok(&[&select[..], &["--per-class", "5", "--threshold", "0.1"]].concat());
    let mut worker = photos.worker("lease_s = 12.0\n");
    place.ok(&["promote", "blind"]);
    let mut seen = BTreeMap::new();
    // None but the killed must lose its lease on a slow machine.
    for (shards, lease) in [(2, "lease_s = 12.0\n"), (6, "lease_s = 600.0\n")] {
        wait_until(|| photos.shards("d", "blind@1").len() >= shards);
        worker.kill();
        seen.extend(photos.shards("d", "blind@1"));
        assert!(seen.len() < 12, "it was done before it was killed");
        worker = photos.worker(lease);
    }
    let id = "SELECT job, state, attempts, by FROM jobs";
    wait_until(|| place.sql(id)[0]["state"] == "done");
    let jobs = place.sql(id);
    assert_eq!(
        (jobs.len(), &jobs[0]["attempts"], &jobs[0]["by"]),
        (1, &json!(3), &json!("promotion 1"))
    );
    let after = photos.shards("d", "blind@1");
    assert_eq!(after.len(), 12);
    assert!(
        seen.iter().all(|(name, at)| after[name] == *at),
        "a shard was written twice"
    );
    assert!(photos.shards("pinned", "blind@1").is_empty());

    // What moved, held against the labels themselves. `blind` calls what is blue dark.
    let report = place.sql("SELECT \"from\", \"to\", images, round(shift, 6) AS shift FROM churn_reports WHERE promotion = 1 AND dataset = 'd' AND before = 'tiny@1' AND after = 'blind@1' ORDER BY \"from\", \"to\"");
    let expected = place.sql("SELECT a.label AS \"from\", b.label AS \"to\", count(*) AS images, round(avg(b.confidence - a.confidence), 6) AS shift FROM labels a JOIN labels b ON a.dataset = b.dataset AND a.key = b.key WHERE a.dataset = 'd' AND a.teacher = 'tiny@1' AND b.teacher = 'blind@1' GROUP BY a.label, b.label ORDER BY 1, 2");
    assert_eq!(report, expected);
    assert!(
        report.contains(&expected[0])
            && report
                .iter()
                .any(|r| r["from"] == "blue" && r["to"] == "dark" && r["images"] == 16),
        "{report:?}"
    );

    // The selection was made anew, and the old one is as it was.
    let kept = place.sql("SELECT selection, sum(kept) AS rows FROM selection_classes GROUP BY selection ORDER BY selection");
    assert_eq!(
        kept,
        [
            json!({"selection": "s", "rows": 15}),
            json!({"selection": "s@2", "rows": 15})
        ]
    );
    let lineage = place.ok(&["lineage", "s@2"]);
    assert!(lineage.contains("blind@1"), "{lineage}");

    // Back to the former teacher: nothing is stale.
    place.ok(&["promote", "tiny"]);
    let relabels = "SELECT outcome FROM jobs WHERE state = 'done' AND by = 'promotion 2'";
    wait_until(|| !place.sql(relabels).is_empty());
    let outcome = place.sql(relabels)[0]["outcome"]
        .as_str()
        .unwrap()
        .to_owned();
    let outcome: Value = serde_json::from_str(&outcome).unwrap();
    assert_eq!(outcome["datasets"][0]["images"], 0);
    worker.end();
}

#[test]
fn a_relabelling_ends_where_somebody_else_becomes_current_meanwhile() {
    let photos = Photos::new(60);
    let place = &photos.place;
    teacher(place, "blind", &[0, 1]);
    photos.label("d", "tiny", &[]);
    place.ok(&["promote", "tiny"]);
    place.select_of_d("s", &["--threshold", "0.1"]);
    place.ok(&["promote", "blind"]);
    let mut command = with_endpoint(place.command(&["relabel", "--json"]), &photos.slow);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    wait_until(|| !photos.shards("d", "blind@1").is_empty());
    place.ok(&["teachers", "rollback"]);
    let output = patiently(child.id(), || child.wait_with_output()).unwrap();
    assert!(output.status.success());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&said["promotion"], &said["superseded_by"]),
        (&json!(2), &json!(3))
    );
    let done = &said["datasets"][0];
    assert!(
        done["images"].as_u64().unwrap() < u64::from(60 * SHARD),
        "{said}"
    );
    // What moved, and the newest state of the selection, are not for it to say.
    assert_eq!(
        (&done["churn"], &done["selections"]),
        (&Value::Null, &json!([]))
    );
    assert!(!place.path("w/selections/s@2").exists());
    let text = photos.ok(&["relabel"]);
    assert!(!text.contains("selection"), "{text}");
}

#[test]
fn a_selection_by_queries_of_its_own_is_not_made_anew_by_others() {
    let place = Place::with_teacher();
    place.add_swapped("other");
    for n in 0..6 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    place.ok(&["promote", "tiny"]);
    let queries = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/select");
    place.select_of_d("own", &["--threshold", "0.1", "--queries", queries]);
    place.select_of_d("s", &["--threshold", "0.1"]);
    place.ok(&["promote", "other"]);
    let said: Value = serde_json::from_str(&place.ok(&["relabel", "--json"])).unwrap();
    let selections = &said["datasets"][0]["selections"];
    assert_eq!(
        (&selections[0]["of"], &selections[1]["selection"]),
        (&json!("own"), &json!("s@2"))
    );
    let why = selections[0]["error"].as_str().unwrap();
    assert!(why.contains("--queries"), "{why}");
    assert!(!place.path("w/selections/own@2").exists());
}

#[test]
fn the_images_that_came_last_are_labelled_first_where_that_is_asked_for() {
    let photos = Photos::new(2);
    let place = &photos.place;
    teacher(place, "blind", &[0, 1]);
    teacher(place, "other", &[0, 2]);
    photos.label("d", "tiny", &[]);
    for n in 0..SHARD {
        let name = place.path(&format!("s3/photos/in/slow-later-{n}.jpg"));
        std::fs::write(name, jpeg(colour(n).0, n + 500)).unwrap();
    }
    photos.label("d", "tiny", &[]);
    // Slowly: what was there before and what came last are seconds apart.
    place.ok(&["promote", "blind"]);
    photos.ok_at(&photos.slow, &["relabel", "--newest-first"]);
    place.ok(&["promote", "other"]);
    photos.ok_at(&photos.slow, &["relabel", "--dataset", "d"]);
    for (teacher, later_first) in [("blind@1", true), ("other@1", false)] {
        let shards = photos.shards("d", teacher);
        let at = |n: u32| shards[&format!("shard-{n:06}.parquet")];
        assert_eq!(shards.len(), 3);
        assert!(
            (0..2).all(|n| (at(2) < at(n)) == later_first),
            "{teacher}: {shards:?}"
        );
    }
    let (code, text) = place.fails(&["relabel", "--promotion", "3"]);
    assert_eq!(
        (code, text.contains("there is no promotion 3")),
        (3, true),
        "{text}"
    );
    let late = photos.ok(&["relabel", "--promotion", "1"]);
    assert_eq!(
        late.trim(),
        "promotion 2 has come after promotion 1: nothing to do for it"
    );
    let (code, text) = place.fails(&["relabel", "--dataset", "dd"]);
    assert_eq!(
        (code, text.contains("did you mean `d`?")),
        (3, true),
        "{text}"
    );
}

#[test]
fn a_command_whose_lease_is_over_writes_nothing() {
    let photos = Photos::new(1);
    let before = files(&photos.place.path("w"));
    let later = u64::MAX.to_string();
    for (until, ok) in [("0", false), ("no number", false), (later.as_str(), true)] {
        let images = photos.place.path("s3/photos/in").display().to_string();
        let mut command = photos.place.command(&label_args(&images));
        command
            .env("UNDERSTUDY_CHILD", "1")
            .env("UNDERSTUDY_FENCE", format!("job-x:3:{until}"))
            .stdin(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let lifeline = child.stdin.take();
        let ended = patiently(child.id(), || child.wait()).unwrap();
        assert_eq!(ended.success(), ok, "{until}");
        drop(lifeline);
        let same = differing(&before, &files(&photos.place.path("w"))).is_empty();
        assert_eq!(same, !ok, "{until}");
    }
}
