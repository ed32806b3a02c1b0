//! What limits a query, and sessions of `understudy sql`: through a pipe, and at a real pseudo-terminal.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::labels::labelled;
use crate::support::{Place, interrupt, patiently, processor_ticks, python, wait_until};

/// Rows without end: what a query is stopped in.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";

#[test]
fn several_queries_at_once_are_told_where_they_are_answered() {
    let place = Place::new();
    place.ok(&["init"]);
    let (code, text) = place.fails(&["sql", "SELECT 1; -- one\n SELECT 2"]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("one query is answered at a time") && text.contains("from standard input"),
        "{text}"
    );
    let one = place.ok(&["sql", "--format", "csv", "SELECT ';' AS a; ; -- the end"]);
    assert_eq!(one, "a\n;\n");
}

#[test]
fn what_would_steer_a_terminal_is_written_out_in_tables_and_errors_alone() {
    let place = Place::new();
    place.ok(&["init"]);
    let query = "SELECT chr(27) || '[31m' || chr(7) AS a, [chr(155)] AS b";
    let table = place.ok(&["sql", query]);
    assert!(
        table.contains("| \\u{1b}[31m\\u{7} | [\\u{9b}] |"),
        "{table}"
    );
    let csv = place.ok(&["sql", "--format", "csv", query]);
    assert_eq!(csv, "a,b\n\u{1b}[31m\u{7},[\u{9b}]\n");
    let (code, text) = place.fails(&["sql", "SELECT * FROM \"\u{1b}[31m\""]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("\\u{1b}[31m") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[test]
fn the_log_has_colours_at_a_terminal_alone_and_there_if_they_are_wanted() {
    let place = Place::new();
    place.ok(&["init"]);
    let log = place
        .command(&["sql", "SELECT 1"])
        .env("RUST_LOG", "debug")
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    let log = String::from_utf8(log.stderr).unwrap();
    assert!(log.contains("DEBUG") && !log.contains('\u{1b}'), "{log}");
    let at_a_terminal = |no_color: &str| {
        let script = r#"
import os, pty, sys
log = b""
def read(fd):
    global log
    log += os.read(fd, 4096)
    return b"."
os.environ.update(RUST_LOG="debug", NO_COLOR=sys.argv[1], UNDERSTUDY_WORKSPACE=sys.argv[2])
pty.spawn([sys.argv[3], "sql", "SELECT 1"], read)
print(b"DEBUG" in log, b"\x1b[" in log)
"#;
        let workspace = place.path("w").display().to_string();
        let executable = env!("CARGO_BIN_EXE_understudy");
        let said = python(script, &[no_color, &workspace, executable]);
        said.trim_start_matches('.').trim().to_owned()
    };
    assert_eq!(at_a_terminal(""), "True True");
    assert_eq!(at_a_terminal("1"), "True False");
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
    // A text that doubles with each step is refused before it is made.
    let steps = (1..=34).map(|i| format!(", t{i} AS (SELECT s || s AS s FROM t{})", i - 1));
    let doubles = format!(
        "WITH t0 AS (SELECT arrow_cast(value, 'LargeUtf8') AS s FROM generate_series(1, 1)){} SELECT length(s) FROM t34",
        steps.collect::<String>()
    );
    let (code, text) = place.fails(&["sql", &doubles]);
    assert_eq!(code, 8, "{text}");
    assert!(text.contains("|| would make"), "{text}");
    // A window over everything holds it; one that adds up as the rows come does not.
    let window = |window: &str| {
        format!("SELECT max(n) FROM (SELECT {window} AS n FROM generate_series(1, 1000000))")
    };
    // The second one reads no column, and holds what it comes to.
    for holds in ["sum(value) OVER ()", "count(*) OVER ()"] {
        let (code, text) = place.fails(&["sql", "--memory", "4MiB", &window(holds)]);
        assert_eq!(code, 8, "{text}");
        place.ok(&["sql", &window(holds)]);
    }
    for streams in [
        "row_number() OVER ()",
        "sum(value) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
    ] {
        place.ok(&["sql", "--memory", "4MiB", &window(streams)]);
    }
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
    assert!(started.elapsed() < Duration::from_mins(1));
    // In a session the work stops as well: the process then uses next to no processor time, and goes on with the next statement.
    let mut child = session(&place, &["--timeout", "0.5"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{ENDLESS};\n").as_bytes()).unwrap();
    let mut said = [0; 6];
    let (pid, stderr) = (child.id(), child.stderr.as_mut().unwrap());
    patiently(pid, || stderr.read_exact(&mut said)).unwrap();
    assert_eq!(&said, b"error:");
    // Its threads end what they are at; then less than 20 ticks of 10 ms go by in a second of rest.
    wait_until(|| {
        let before = processor_ticks(child.id());
        std::thread::sleep(Duration::from_secs(1));
        processor_ticks(child.id()) - before < 20
    });
    stdin.write_all(b"SELECT 6 * 7 AS answer;\n").unwrap();
    drop(stdin);
    let output = patiently(child.id(), || child.wait_with_output()).unwrap();
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
    wait_until(|| processor_ticks(child.id()) > 150);
    interrupt(&child);
    let ended = patiently(child.id(), || child.wait()).unwrap();
    assert_eq!(ended.code(), Some(130));
}

#[test]
fn a_query_that_is_too_deep_to_be_planned_is_refused() {
    let place = Place::new();
    place.ok(&["init"]);
    for (query, operators) in [
        (format!("SELECT 1{}", " + 1".repeat(3000)), 3000),
        (
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(3000)),
            3000,
        ),
        (
            format!("SELECT 1 WHERE 1 = 1{}", " OR 1 = 2".repeat(2000)),
            4001,
        ),
        (format!("SELECT {}TRUE", "NOT ".repeat(3000)), 3000),
        // Enough to overflow the stack of whoever drops what was parsed.
        (format!("SELECT 'a'{}", " LIKE 'a'".repeat(12_000)), 12_000),
        (
            format!("SELECT 1 FROM labels a{}", ", (SELECT 1, 2) b".repeat(2000)),
            2001,
        ),
    ] {
        let (code, text) = place.fails(&["sql", &query]);
        assert_eq!(code, 2, "{text}");
        let said = format!("the query has {operators} operators, and 1000 are the most");
        assert!(text.contains(&said), "{text}");
    }
    let terms = " + 1".repeat(999);
    let sum = place.ok(&["sql", "--format", "csv", &format!("SELECT 1{terms} AS n")]);
    assert_eq!(sum, "n\n1000\n");
    let list: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    let query = format!("SELECT 7 IN ({}) AS n", list.join(", "));
    assert_eq!(place.ok(&["sql", "--format", "csv", &query]), "n\ntrue\n");
}

#[test]
fn statements_of_standard_input_are_answered_in_turn_and_errors_stay_in_their_place() {
    let place = labelled();
    let run_as = |more: &[&str], text: &str| {
        let mut child = session(&place, more);
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = patiently(child.id(), || child.wait_with_output()).unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let run = |text: &str| run_as(&[], text);
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
    // A reader takes the columns from the first rows.
    let (code, out, _) = run("\\format json\nSELECT 1 AS a, NULL AS b;\n");
    assert_eq!((code, out.as_str()), (Some(0), "{\"a\":1,\"b\":null}\n"));
    let (code, _, said) = run_as(&["--format", "parquet"], "SELECT 1 AS a; SELECT 2 AS a;\n");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the rows of one query"), "{said}");
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
        seen, end = "", time.time() + 120
        while text not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen):
            if time.time() > end: sys.exit(f"`{text}` did not appear in {seen!r}")
            if select.select([fd], [], [], 0.1)[0]: seen += os.read(fd, 65536).decode(errors="replace")
    def busy():
        ticks = lambda: sum(map(int, open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()[11:13]))
        before, end = ticks(), time.time() + 120
        while ticks() < before + 30:
            if time.time() > end: sys.exit("it does not work")
            time.sleep(0.01)
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
