//! `understudy sql`: what queries may do, what they read, what limits them, and sessions, with the real executable.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Place, colour, differing, files, jpeg, label_args, labels, python};

/// Rows without end: what a query is stopped in.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";

fn labelled() -> Place {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(labels::labelled()).0
}

/// The text of a plan, with the figures of its run.
fn analyzed(place: &Place, query: &str) -> String {
    place.ok(&["sql", &format!("EXPLAIN ANALYZE {query}")])
}

/// Of `metric=12 total → 3 matched` the two numbers.
fn pruned(plan: &str, metric: &str) -> (usize, usize) {
    let (_, figures) = plan.split_once(&format!("{metric}=")).unwrap();
    let mut numbers = figures
        .split(|c: char| !c.is_ascii_digit())
        .filter(|n| !n.is_empty());
    let mut next = || numbers.next().unwrap().parse().unwrap();
    (next(), next())
}

#[test]
fn a_filter_on_dataset_and_teacher_leaves_all_other_files_alone() {
    let place = labelled();
    for table in [
        "labels",
        "rejects",
        "class_distribution",
        "confidence_histogram",
        "class_confidence_histogram",
        "reject_reasons",
    ] {
        let plan = analyzed(
            &place,
            &format!("SELECT * FROM {table} WHERE teacher = 'tiny@1' AND dataset = 'photos'"),
        );
        assert!(
            plan.contains("dataset=photos/teacher=tiny@1/shard-000000.parquet"),
            "{plan}"
        );
        for other in ["teacher=other@1", "dataset=wide", "dataset=test"] {
            assert!(!plan.contains(other), "{table} reads {other}: {plan}");
        }
    }
    let all = analyzed(&place, "SELECT * FROM labels");
    assert!(
        all.contains("teacher=other@1") && all.contains("dataset=wide"),
        "{all}"
    );
}

#[test]
fn row_groups_are_left_out_by_the_confidences_that_their_statistics_promise() {
    let place = labelled();
    // Shards 0 and 1 go up to 0.95 and to 1, the retries to nothing and to 0.5.
    for (confidence, read) in [(0.97, 1), (0.9, 2), (0.4, 3)] {
        let plan = analyzed(
            &place,
            &format!(
                "SELECT key FROM labels WHERE teacher = 'tiny@1' AND dataset = 'photos' AND confidence > {confidence}"
            ),
        );
        let (all, matched) = pruned(&plan, "row_groups_pruned_statistics");
        assert_eq!(
            (all, matched),
            (4, read),
            "confidence > {confidence}: {plan}"
        );
        assert!(plan.contains("pruning_predicate="), "{plan}");
    }
    let plan = analyzed(&place, "SELECT key FROM rejects WHERE dataset = 'photos'");
    let (_, matched) = pruned(&plan, "row_groups_pruned_statistics");
    assert!(
        matched < 4,
        "the retry that found a label alone has no reject: {plan}"
    );
}

#[test]
fn pruning_holds_where_images_have_changed() {
    let place = Place::with_teacher();
    for n in 0..4 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    place.put("0.jpg", &jpeg(colour(1).0, 9));
    place.label(&[]);
    place.add_teacher(
        "other",
        &crate::support::onnx::Model {
            probabilities: true,
            ..Default::default()
        },
    );
    place.ok(&["label", "--dataset", "d", "--teacher", "other"]);
    let query = "SELECT key FROM labels WHERE teacher = 'tiny@1' AND confidence > 1.5";
    let plan = analyzed(&place, query);
    assert!(
        plan.contains("RightAnti") && !plan.contains("other@1"),
        "{plan}"
    );
    let scan = plan.lines().find(|l| l.contains("teacher=tiny@1")).unwrap();
    assert_eq!(
        pruned(scan, "row_groups_pruned_statistics"),
        (2, 0),
        "{plan}"
    );
}

#[test]
fn nothing_is_written_and_nothing_outside_of_the_workspace_is_read() {
    let place = labelled();
    let outside = place.path("outside.parquet");
    let one = place.path("w/labels/dataset=wide/teacher=tiny@1/shard-000000.parquet");
    std::fs::copy(&one, &outside).unwrap();
    let (outside, one) = (outside.display(), one.display());
    let new = place.path("new").display().to_string();
    let before = files(place.dir.path());
    for query in [
        "DROP VIEW labels".into(),
        "DROP TABLE runs".into(),
        "CREATE TABLE x AS SELECT 1".into(),
        "CREATE VIEW x AS SELECT 1".into(),
        "CREATE OR REPLACE VIEW labels AS SELECT 1".into(),
        "CREATE SCHEMA x".into(),
        "CREATE DATABASE x".into(),
        "CREATE FUNCTION f() RETURNS INT RETURN 1".into(),
        "SELECT 1 INTO x".into(),
        format!("COPY (SELECT 1) TO '{new}.csv'"),
        format!("COPY labels TO '{new}/' STORED AS PARQUET"),
        format!("EXPLAIN ANALYZE COPY labels TO '{new}.parquet' STORED AS PARQUET"),
        format!("EXPLAIN ANALYZE VERBOSE COPY (SELECT 1) TO '{new}.json' STORED AS JSON"),
        "INSERT INTO labels SELECT * FROM labels".into(),
        "EXPLAIN ANALYZE INSERT INTO runs SELECT * FROM runs".into(),
        "INSERT INTO teachers VALUES ('x', 'x', 1, 1, 1, 'x', 'x')".into(),
        "UPDATE teachers SET name = 'x'".into(),
        "DELETE FROM teachers".into(),
        "TRUNCATE TABLE teachers".into(),
        "SET datafusion.execution.batch_size = 1".into(),
        "SET datafusion.catalog.location = '/'".into(),
        "RESET datafusion.execution.batch_size".into(),
        "PREPARE p AS SELECT 1".into(),
        "BEGIN".into(),
        format!("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{outside}'"),
        format!("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{one}'"),
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'".into(),
        format!("SELECT * FROM '{outside}'"),
        format!("SELECT * FROM '{one}'"),
        format!("SELECT * FROM \"{outside}\""),
        format!("SELECT * FROM \"file://{outside}\""),
        "SELECT * FROM 'https://example.com/x.parquet'".into(),
        format!("SELECT * FROM read_parquet('{outside}')"),
        "SELECT * FROM read_csv('/etc/passwd')".into(),
        "SELECT read_file('/etc/passwd')".into(),
        "SELECT * FROM labels; DROP VIEW labels".into(),
        "SELECT * FROM no_such_table".into(),
    ] {
        let (code, text) = place.fails(&["sql", &query]);
        assert_eq!(code, 2, "{query}: {text}");
        assert!(text.contains("hint:"), "{query}: {text}");
    }
    let after = files(place.dir.path());
    assert_eq!(differing(&before, &after), Vec::<String>::new());
}

#[test]
fn the_documented_tables_are_those_that_there_are_whatever_the_workspace_has() {
    let documented: serde_json::Value =
        serde_json::from_str(include_str!("../schemas/catalog.json")).unwrap();
    let mut expected = Vec::new();
    for table in documented["tables"].as_array().unwrap() {
        for column in table["columns"].as_array().unwrap() {
            let of = |key| column[key].as_str().unwrap();
            expected.push(format!(
                "{} {} {}",
                table["name"].as_str().unwrap(),
                of("name"),
                of("type")
            ));
        }
    }
    expected.sort();
    let empty = Place::new();
    empty.ok(&["init"]);
    let full = labelled();
    let select = [
        "select",
        "--name",
        "s",
        "--dataset",
        "photos",
        "--teacher",
        "tiny",
    ];
    full.ok(&[&select[..], &["--exclude", "test"]].concat());
    for place in [empty, full] {
        let query = "SELECT table_name || ' ' || column_name || ' ' || data_type AS c FROM information_schema.columns WHERE table_schema = 'public'";
        let mut found: Vec<_> = place
            .sql(query)
            .iter()
            .map(|row| row["c"].as_str().unwrap().to_owned())
            .collect();
        found.sort();
        assert_eq!(found, expected);
        let read = place.sql("SELECT * FROM runs");
        assert!(read.len() <= 1);
    }
    let help = Place::new().ok(&["sql", "--help"]);
    assert!(
        help.contains("confidence_histogram") && help.contains("churn('A@1', 'B@1')"),
        "{help}"
    );
}

#[test]
fn a_run_leaves_a_record_of_what_it_did_and_none_where_there_was_nothing_to_do() {
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.put("b.jpg", b"");
    let summary = place.label(&[]);
    place.label(&[]);
    let runs = place.sql("SELECT * FROM runs");
    assert_eq!(runs.len(), 1, "{runs:?}");
    let run = &runs[0];
    for (column, value) in [
        ("kind", "label"),
        ("outcome", "done"),
        ("dataset", "d"),
        ("teacher", "tiny@1"),
        ("device", "cpu"),
    ] {
        assert_eq!(run[column], value);
    }
    for column in [
        "images",
        "labelled",
        "rejected",
        "seconds",
        "images_per_second",
        "bottleneck",
    ] {
        assert_eq!(run[column], summary[column], "{column}");
    }
    let settings: serde_json::Value =
        serde_json::from_str(run["settings"].as_str().unwrap()).unwrap();
    assert_eq!(settings["label"]["encoding"], "float16");
    assert_eq!(settings["retry_rejects"], false);
    // The rejects again: this is work, and a run.
    place.label(&["--retry-rejects"]);
    let runs =
        place.sql("SELECT images, rejected, started < finished AS later FROM runs ORDER BY run");
    assert_eq!(
        runs[1],
        serde_json::json!({"images": 1, "rejected": 1, "later": true})
    );
    // The files say what is documented of them.
    let documented: serde_json::Value =
        serde_json::from_str(include_str!("../schemas/run.json")).unwrap();
    for (name, bytes) in files(&place.path("w/runs")) {
        let file: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes).unwrap();
        assert_eq!(name, format!("{}.json", file["run"].as_str().unwrap()));
        for key in file.keys() {
            assert!(
                documented["keys"][key].is_string(),
                "`{key}` is not documented"
            );
        }
    }
}

#[test]
fn an_interrupted_run_leaves_a_record_as_well() {
    let place = Place::with_teacher();
    for n in 0..2000 {
        place.put(&format!("{n:04}.jpg"), &jpeg(colour(n).0, n));
    }
    let config = place.path("p.toml");
    std::fs::write(&config, "[manifest]\nshard_images = 8\n").unwrap();
    let images = place.images();
    let config = config.display().to_string();
    let args = [
        &label_args(&images)[..],
        &["--config", &config, "--workers", "1"],
    ]
    .concat();
    let mut child = place.command(&args).stderr(Stdio::null()).spawn().unwrap();
    let begun = || {
        place
            .path("w/labels/dataset=d/teacher=tiny@1/shard-000000.parquet")
            .exists()
    };
    wait_until(begun);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let runs = place.sql("SELECT outcome, images, labelled FROM runs");
    assert_eq!(
        (runs.len(), &runs[0]["outcome"]),
        (1, &"interrupted".into()),
        "{runs:?}"
    );
    let labelled = place.number("SELECT count(*) FROM labels");
    assert_eq!(runs[0]["labelled"], labelled);
    assert!(labelled < 2000 && runs[0]["images"] == 2000, "{runs:?}");
}

#[test]
fn a_query_beyond_its_memory_is_told_so() {
    let place = Place::new();
    place.ok(&["init"]);
    let join = "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b ON a.value = b.value";
    let (code, text) = place.fails(&["sql", "--memory", "1MiB", join]);
    assert_eq!(code, 8, "{text}");
    assert!(
        text.contains("needs more memory") && text.contains("--memory 1GiB"),
        "{text}"
    );
    assert_eq!(
        place.ok(&["sql", "--format", "csv", join]).lines().last(),
        Some("1000000")
    );
    // So is a table that is printed; the other formats are written as the rows come.
    let rows = "SELECT * FROM generate_series(1, 300000)";
    let (code, text) = place.fails(&["sql", "--memory", "1MiB", "--max-rows", "0", rows]);
    assert_eq!(code, 8, "{text}");
    let csv = place.ok(&["sql", "--memory", "1MiB", "--format", "csv", rows]);
    assert_eq!(csv.lines().count(), 300_001);
    // What can spill does.
    let sort = "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY value % 1000, value) AS n FROM generate_series(1, 3000000))";
    let sorted = place.ok(&["sql", "--memory", "32MiB", "--format", "csv", sort]);
    assert_eq!(sorted, "max(n)\n3000000\n");
    for wrong in ["much", "1TiB", "-1", "1e3"] {
        let (code, text) = place.fails(&["sql", "--memory", wrong, "SELECT 1"]);
        assert_eq!(code, 2, "{text}");
    }
}

#[test]
fn a_table_shows_a_thousand_rows_and_says_that_there_are_more() {
    let place = Place::new();
    place.ok(&["init"]);
    let shown = |args: &[&str], rows: u32| {
        let query = format!("SELECT * FROM generate_series(1, {rows})");
        let output = place.run(&[&["sql"], args, &[query.as_str()]].concat());
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        let table = String::from_utf8(output.stdout).unwrap();
        // Four lines are the frame and the head.
        (table.lines().count() - 4, !said.is_empty())
    };
    assert_eq!(shown(&[], 1000), (1000, false));
    assert_eq!(shown(&[], 20_000), (1000, true));
    assert_eq!(shown(&["--max-rows", "3"], 4), (3, true));
    assert_eq!(shown(&["--max-rows", "0"], 20_000), (20_000, false));
}

#[test]
fn a_query_that_takes_too_long_is_stopped_and_uses_no_more_time() {
    let place = Place::new();
    place.ok(&["init"]);
    let started = Instant::now();
    let (code, text) = place.fails(&["sql", "--timeout", "0.5", ENDLESS]);
    assert_eq!(code, 8, "{text}");
    assert!(
        text.contains("stopped after 0.5 s") && text.contains("hint:"),
        "{text}"
    );
    assert!(started.elapsed() < Duration::from_secs(20));
    // In a session the work stops as well: the process then uses next to no processor time, and goes on with the next statement.
    let mut child = session(&place, &["--timeout", "0.5"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{ENDLESS};\n").as_bytes()).unwrap();
    let mut said = [0; 6];
    child
        .stderr
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    assert_eq!(&said, b"error:");
    let before = processor_ticks(&child);
    std::thread::sleep(Duration::from_secs(1));
    let used = processor_ticks(&child) - before;
    assert!(used < 20, "{used} ticks of 10 ms in a second of rest");
    stdin.write_all(b"SELECT 6 * 7 AS answer;\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(String::from_utf8(output.stdout).unwrap().contains("| 42 "));
    for wrong in ["0", "-1", "soon", "NaN"] {
        let (code, text) = place.fails(&["sql", "--timeout", wrong, "SELECT 1"]);
        assert_eq!(code, 2, "{text}");
    }
}

#[test]
fn ctrl_c_ends_a_query_of_the_command_line() {
    let place = Place::new();
    place.ok(&["init"]);
    let mut child = place
        .command(&["sql", ENDLESS])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It listens once it works.
    wait_until(|| processor_ticks(&child) > 30);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn statements_of_standard_input_are_answered_in_turn_and_errors_stay_in_their_place() {
    let place = labelled();
    let run = |text: &str| {
        let mut child = session(&place, &[]);
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, out, said) = run(
        "\\format csv\nSELECT 1 AS a; SELECT ';' AS b,\n  2 AS c; -- d;\n\nSELECT count(*) AS n\nFROM teachers",
    );
    assert_eq!(
        (code, out.as_str(), said.as_str()),
        (Some(0), "a\n1\nb,c\n;,2\nn\n2\n", "")
    );
    let (code, out, said) =
        run("\\format csv\nSELECT nope;\n\\fromat csv\nSELECT 1 AS a;\nDROP VIEW labels;\n");
    assert_eq!((code, out.as_str()), (Some(2), "a\n1\n"));
    assert!(
        said.contains("No field named nope") && said.contains("did you mean `\\format`"),
        "{said}"
    );
    assert!(
        said.ends_with("error: 3 of 5 statements failed\n"),
        "{said}"
    );
    let (code, out, _) = run("\\format json\nSELECT 1 AS a;\n\\q\nSELECT 2 AS a;\n");
    assert_eq!((code, out.as_str()), (Some(0), "{\"a\":1}\n"));
    let (code, out, _) = run("\\d rejects\n\\df\n\\?\n\\d\n");
    assert_eq!(code, Some(0));
    for text in [
        "list, fetch, decode or infer",
        "churn(",
        "\\timeout S",
        "reject_reasons",
    ] {
        assert!(out.contains(text), "{out}");
    }
    assert_eq!(run(""), (Some(0), String::new(), String::new()));
    let (code, _, said) = run("\\d lables\nSELECT 'not closed;\n");
    assert_eq!(code, Some(2));
    assert!(
        said.contains("no table `lables`") && said.contains("Unterminated"),
        "{said}"
    );
}

#[test]
fn a_session_at_a_terminal_completes_remembers_and_outlives_ctrl_c() {
    let place = labelled();
    // A real pseudo-terminal: what is typed, and what has to appear before the next is.
    let script = r#"
import os, pty, re, select, sys, time
binary, workspace, state, endless = sys.argv[1:]
os.environ.update(UNDERSTUDY_WORKSPACE=workspace, XDG_STATE_HOME=state, TERM="xterm")

def session(steps):
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(binary, [binary, "sql"])
    def until(text):
        seen, end = "", time.time() + 60
        while text not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen):
            if time.time() > end: sys.exit(f"`{text}` did not appear in {seen!r}")
            if select.select([fd], [], [], 0.1)[0]: seen += os.read(fd, 65536).decode(errors="replace")
    def busy():
        ticks = lambda: sum(map(int, open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()[11:13]))
        before = ticks()
        while ticks() < before + 30: time.sleep(0.01)
    until("understudy> ")
    for keys, text in steps:
        os.write(fd, keys.encode())
        busy() if text is None else until(text)
    os.write(fd, b"\\q\r")
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

session([
    ("SELECT count(*) AS n FROM teac\t;\r", "| 2 "),
    ("SELECT nope;\r", "No field named nope"),
    ("SELECT 20 +\r22 AS answer;\r", "| 42 "),
    ("SELECT 'half a line\x03", "understudy> "),
    (endless + ";\r", None),
    ("\x03", "stopped"),
    ("SELECT 6 * 6 AS still_here;\r", "| 36 "),
])
session([("\x1b[A\x1b[A\r", "| 36 ")])
"#;
    let state = place.path("state").display().to_string();
    let workspace = place.path("w").display().to_string();
    let binary = env!("CARGO_BIN_EXE_understudy");
    let codes = python(script, &[binary, &workspace, &state, ENDLESS]);
    assert_eq!(codes, "0\n0\n");
    assert!(place.path("state/understudy/sql_history").exists());
}

/// A session whose statements come through a pipe.
fn session(place: &Place, more: &[&str]) -> Child {
    place
        .command(&[&["sql"], more].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
}

/// Processor time that a process has used, in ticks of 10 ms.
fn processor_ticks(child: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    // After the name, in brackets, come the state and ten numbers, then the user's and the system's time.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<_> = rest.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn wait_until(met: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !met() {
        assert!(Instant::now() < end, "it did not come to that in a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}
