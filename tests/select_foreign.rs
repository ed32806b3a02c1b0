//! Labels that another system wrote: what is taken of them, and what is told rather than lost.

use crate::damage::damage_pages;
use crate::support::{Place, differing, files, python};

/// A workspace, and a folder with a Parquet file that Python makes: `t` from `n`, with `pa`, `np` and `pq` at hand.
struct Foreign {
    place: Place,
}

impl Foreign {
    fn new() -> Self {
        let place = Place::new();
        place.ok(&["init"]);
        Self { place }
    }

    /// Writes `FOLDER/NAME.parquet` from columns beside key, class (of 3) and confidence (0.5), in Python; gives the folder.
    fn put(&self, file: &str, n: u32, columns: &str) -> String {
        let file = self.place.path(&format!("labels/{file}.parquet"));
        let folder = file.parent().unwrap();
        std::fs::create_dir_all(folder).unwrap();
        python(
            r#"
import sys, hashlib, pyarrow as pa, pyarrow.parquet as pq
n = int(sys.argv[2])
t = {"key": [f"{i:04}" for i in range(n)], "class": [i % 3 for i in range(n)], "confidence": pa.array([0.5] * n, pa.float32())}
exec(sys.argv[3])
t = pa.table(t)
pq.write_table(t if "required" not in globals() else t.cast(pa.schema([f.with_nullable(False) for f in t.schema])), sys.argv[1])
"#,
            &[&file.display().to_string(), &n.to_string(), columns],
        );
        folder.display().to_string()
    }

    fn select(&self, name: &str, labels: &str, more: &[&str]) -> serde_json::Value {
        let mut args = vec!["select", "--name", name, "--labels", labels, "--json"];
        args.extend(more);
        serde_json::from_str(&self.place.ok(&args)).unwrap()
    }

    /// A folder with our queries, some of them replaced.
    fn queries(&self, own: &[(&str, &str)]) -> String {
        let queries = self.place.path("queries");
        std::fs::create_dir_all(&queries).unwrap();
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/select");
        for entry in std::fs::read_dir(ours).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), queries.join(entry.file_name())).unwrap();
        }
        for (file, query) in own {
            std::fs::write(queries.join(file), query).unwrap();
        }
        queries.display().to_string()
    }

    fn refused(&self, labels: &str, said: &[&str]) {
        let args = ["select", "--name", "refused", "--labels", labels];
        let (code, text) = self.place.fails(&args);
        assert_eq!(code, 2, "{text}");
        said.iter()
            .for_each(|s| assert!(text.contains(s), "{text}"));
    }
}

#[test]
fn gradient_hashes_as_signed_numbers_are_the_same_hashes() {
    let f = Foreign::new();
    // Half of all hashes are negative as Spark knows them.
    let hashes = "t['sha256'] = pa.array([hashlib.sha256(str(i).encode()).digest() for i in range(n)], pa.binary(32)); t['phash'] = pa.array([i * 0x3333333333333333 % 2**64 for i in range(n)], pa.uint64())";
    let unsigned = f.put("unsigned/a", 40, hashes);
    let signed = f.put(
        "signed/a",
        40,
        &format!("{hashes}; t['phash'] = t['phash'].view(pa.int64())"),
    );
    for folder in [&unsigned, &signed] {
        let name = folder.rsplit('/').next().unwrap();
        assert_eq!(
            f.select(name, folder, &["--per-class", "20"])["totals"]["rows"],
            40
        );
    }
}

#[test]
fn columns_that_cannot_be_used_are_named_rather_than_passed_over() {
    let f = Foreign::new();
    for (name, column, said) in [
        (
            "text",
            "t['sha256'] = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]",
            "a `sha256` of type",
        ),
        (
            "short",
            "t['sha256'] = pa.array([b'x' * 16] * n, pa.binary(16))",
            "a `sha256` of type",
        ),
        (
            "narrow",
            "t['phash'] = pa.array([7] * n, pa.int32())",
            "a `phash` of type Int32",
        ),
        (
            "words",
            "t['probs'] = [['a', 'b']] * n",
            "a `probs` of type",
        ),
    ] {
        f.refused(&f.put(&format!("{name}/a"), 6, column), &[said, "hint: "]);
    }
    // A hash of another length, where the type does not say it.
    let hexadecimal = f.put(
        "hexadecimal/a",
        6,
        "t['sha256'] = pa.array([hashlib.sha256(str(i).encode()).hexdigest().encode() for i in range(n)], pa.binary())",
    );
    f.refused(
        &hexadecimal,
        &["a `sha256` has 64 bytes, and SHA-256 has 32"],
    );
    // A class that no Int64 holds was the class 0.
    let huge = f.put(
        "huge/a",
        6,
        "t['class'] = pa.array([1, 2, 0, 1, 2, 2**63 + 5], pa.uint64())",
    );
    f.refused(&huge, &["9223372036854775813"]);
    // A column of nulls is none.
    let null = f.put("null/a", 6, "t['sha256'] = pa.nulls(n)");
    assert_eq!(f.select("null", &null, &[])["totals"]["rows"], 6);
}

#[test]
fn a_file_that_is_there_twice_is_told() {
    let f = Foreign::new();
    let folder = f.put("a/part-0", 300, "");
    assert_eq!(
        f.select("once", &folder, &["--per-class", "500"])["totals"]["rows"],
        300
    );
    f.put("a/part-0 (copy)", 300, "");
    // With copies a class comes to more than it should, without them a look at some keys shows it.
    for more in [["--per-class", "500"], ["--balance", "none"]] {
        let mut args = vec!["select", "--name", "twice", "--labels", &folder];
        args.extend(more);
        let (code, text) = f.place.fails(&args);
        assert_eq!(code, 2, "{text}");
        assert!(
            text.contains("the keys of the labels are not distinct"),
            "{text}"
        );
    }
    assert!(!f.place.path("w/selections/twice/selection.json").exists());
}

#[test]
fn empty_files_damaged_ones_and_other_formats_are_told_with_their_names() {
    let f = Foreign::new();
    let folder = f.put("a/part-0", 6, "");
    let file = |name: &str, bytes: &[u8]| {
        let path = f.place.path(&format!("labels/a/{name}"));
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let empty = file("part-1.parquet", b"");
    f.refused(&folder, &["part-1.parquet", "the file is empty"]);
    std::fs::remove_file(empty).unwrap();
    for (bytes, said) in [
        (&b"PAR1xxxxxxxxxxPAR1"[..], "its footer is longer"),
        (b"PAR1", "too short"),
        (b"PAR1 and cut off", "does not end as a whole one"),
    ] {
        let damaged = file("part-2.parquet", bytes);
        f.refused(&folder, &["part-2.parquet", said]);
        std::fs::remove_file(damaged).unwrap();
    }
    let csv = file("x.csv", b"key,class,confidence\na,1,0.5\n");
    f.refused(
        &csv.display().to_string(),
        &["x.csv", "cannot be read as Parquet"],
    );
    // Of a file whose pages are damaged the footer says nothing.
    for column in ["key", "confidence", "probs"] {
        let soft = "t['probs'] = [[0.25, 0.75]] * n; t['key'] = ['c' + k for k in t['key']]";
        let folder = f.put(&format!("{column}/part-0"), 600, soft);
        let path = f.place.path(&format!("labels/{column}/part-1.parquet"));
        f.put(
            &format!("{column}/part-1"),
            600,
            &soft.replace("'c'", "'d'"),
        );
        damage_pages(&path, column);
        f.refused(
            &folder,
            &[
                "part-1.parquet",
                "cannot be read as Parquet",
                "write the file anew",
            ],
        );
    }
    let failed = f
        .place
        .sql("SELECT outcome, selection, images, error FROM runs");
    assert_eq!(failed.len(), 3, "{failed:?}");
    for run in failed {
        let error = run["error"].as_str().unwrap();
        assert!(error.contains("part-1.parquet"), "{run}");
        assert_eq!(
            (&run["outcome"], &run["selection"], &run["images"]),
            (&"failed".into(), &"refused".into(), &0.into())
        );
    }
}

#[test]
fn what_spark_and_delta_keep_beside_their_files_is_no_label() {
    let f = Foreign::new();
    let folder = f.put("é 100%/part-0", 30, "");
    for beside in [
        "_temporary/0/part-0",
        "_delta_log/1.checkpoint",
        ".old/part-0",
    ] {
        f.put(&format!("é 100%/{beside}"), 30, "");
    }
    // Names outside of ASCII and with signs of their own are found as a folder, by a pattern, and as a file.
    for (name, labels) in [
        ("folder", folder.clone()),
        ("pattern", format!("{folder}/*.parquet")),
        ("file", format!("{folder}/part-0.parquet")),
        ("up", format!("{folder}/_temporary/../part-0.parquet")),
    ] {
        let json = f.select(name, &labels, &["--per-class", "10"]);
        assert_eq!(
            (&json["input"]["files"], &json["totals"]["rows"]),
            (&1.into(), &30.into())
        );
    }
}

#[test]
fn a_users_query_writes_nothing() {
    let f = Foreign::new();
    let labels = f.put("a/part-0", 6, "");
    let victim = f.place.path("victim.csv");
    let copy = format!(
        "COPY (SELECT 1 AS a) TO '{}' STORED AS csv",
        victim.display()
    );
    let queries = f.queries(&[("selected.sql", &copy)]);
    let args = ["select", "--name", "s", "--labels", &labels, "--queries"];
    let (code, text) = f.place.fails(&[&args[..], &[&queries]].concat());
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("selected.sql"), "{text}");
    assert!(!victim.exists());
}

#[test]
fn a_users_query_gives_the_columns_and_rows_that_are_asked_for_or_is_named() {
    let f = Foreign::new();
    let labels = f.put(
        "a/part-0",
        60,
        "t['phash'] = pa.array(list(range(n)), pa.uint64())",
    );
    let selected = "SELECT key, class, confidence FROM candidates WHERE reason IS NULL AND is_chosen(class, confidence, key)";
    let few = format!("{selected} AND key < '0005'");
    for (file, query, said) in [
        (
            "tally.sql",
            "SELECT class, confidence FROM candidates",
            "reason",
        ),
        (
            "fingerprints.sql",
            "SELECT key, sha256, CAST(phash AS BIGINT) AS phash FROM input",
            "phash is Int64",
        ),
        ("selected.sql", "SELECT key FROM candidates", "class"),
        (
            "selected.sql",
            &few,
            "`selected.sql` gives 5 rows, and the passes before it chose 60",
        ),
    ] {
        let queries = f.queries(&[(file, query)]);
        let args = ["select", "--name", "s", "--labels", &labels, "--queries"];
        let (code, text) = f.place.fails(&[&args[..], &[&queries]].concat());
        assert_eq!(code, 2, "{file}: {text}");
        assert!(text.contains(file) && text.contains(said), "{file}: {text}");
    }
    // More rows than there are candidates, which the published code's method does not count beforehand.
    let all = "SELECT key, class, confidence, 1 AS copies FROM input UNION ALL SELECT key, class, confidence, 1 AS copies FROM input";
    let queries = f.queries(&[("selected.sql", all)]);
    let args = [
        "select",
        "--name",
        "s",
        "--labels",
        &labels,
        "--method",
        "histogram",
    ];
    let (code, text) = f
        .place
        .fails(&[&args[..], &["--queries", &queries]].concat());
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("not distinct") || text.contains("120 rows"),
        "{text}"
    );
    // In another order, and without copies: each row is one.
    let turned = "SELECT reason, confidence, class FROM candidates";
    let queries = f.queries(&[("tally.sql", turned), ("selected.sql", selected)]);
    let made = f.select("s", &labels, &["--balance", "none", "--queries", &queries]);
    assert_eq!(
        (&made["totals"]["rows"], &made["totals"]["copies"]),
        (&60.into(), &60.into())
    );
}

#[test]
fn texts_of_a_part_are_plain_ones_and_dictionaries_are_read() {
    let f = Foreign::new();
    let soft = "t['probs'] = [[0.5, 0.25, 0.25]] * n";
    let folder = f.put("a/part-0", 60, "");
    let with_probs = f.put("soft/part-0", 60, soft);
    let words = "t['key'] = pa.array(t['key']).dictionary_encode(); t['class'] = pa.array(t['class'], pa.int32()).dictionary_encode()";
    let words = f.put("words/part-0", 60, words);
    for (name, labels, more) in [
        ("plain", &folder, &["--per-class", "7"][..]),
        ("all", &folder, &["--balance", "none", "--keep-duplicates"]),
        (
            "bins",
            &folder,
            &["--method", "histogram", "--per-class", "7"],
        ),
        ("soft", &with_probs, &["--per-class", "20"]),
        ("words", &words, &["--per-class", "7"]),
    ] {
        let made = f.select(name, labels, &[more, &["--explain"]].concat());
        let script = "import sys, glob, pyarrow.parquet as pq; print({str(pq.read_schema(p).field('key').type) for p in glob.glob(sys.argv[1])})";
        let parts = f.place.path(&format!("w/selections/{name}/*.parquet"));
        assert_eq!(
            python(script, &[&parts.display().to_string()]).trim(),
            "{'string'}",
            "{name}"
        );
        assert!(made["totals"]["rows"].as_u64() > Some(0), "{made}");
    }
    let chosen = |name| {
        f.place.sql(&format!("SELECT key, class, confidence, copies, rank FROM selections WHERE selection = '{name}' ORDER BY key"))
    };
    assert_eq!(chosen("words"), chosen("plain"));
}

#[test]
fn a_label_without_a_key_is_told_where_its_key_is_asked_for_and_nowhere_else() {
    let f = Foreign::new();
    let keyless = |confidence: &str| {
        format!(
            "t['confidence'] = pa.array([0.5] * (n - 1) + [{confidence}], pa.float32()); t['key'] = t['key'][:-1] + [None]"
        )
    };
    let hashes = "; t['sha256'] = pa.array([hashlib.sha256(str(i % (n - 1)).encode()).digest() for i in range(n)], pa.binary(32))";
    // Below the threshold, or beyond K: whichever rows lie beside it.
    for (name, confidence, more) in [
        ("below", "0.1", &["--explain"][..]),
        ("beyond", "0.4", &["--per-class", "3"]),
        (
            "bins",
            "0.4",
            &["--per-class", "3", "--method", "histogram"],
        ),
    ] {
        let labels = f.put(&format!("{name}/a"), 61, &keyless(confidence));
        let made = f.select(name, &labels, more);
        assert!(made["totals"]["rows"].as_u64() > Some(0), "{made}");
    }
    let within = f.put("within/a", 61, &keyless("0.6"));
    // As the image of a label that has one, it would stay in its place, beyond K as it is.
    let same = f.put("same/a", 61, &format!("{}{hashes}", keyless("0.4")));
    for (labels, more) in [
        (&within, &[][..]),
        (&within, &["--method", "histogram"]),
        (&same, &[]),
    ] {
        let args = ["select", "--name", "refused", "--labels", labels];
        let args = [&args[..], &["--per-class", "3"], more].concat();
        let (code, text) = f.place.fails(&args);
        assert_eq!(code, 2, "{text}");
        assert!(
            text.contains("/a.parquet` have a null `key` in 1 of"),
            "{text}"
        );
    }
}

#[test]
fn what_a_killed_run_listed_is_no_list_and_one_that_is_lost_is_made_again() {
    let f = Foreign::new();
    let labels = f.put("a/part-0", 300, "");
    let rules = ["--per-class", "50"];
    let explained = [&rules[..], &["--explain"]].concat();
    f.select("s", &labels, &explained);
    let folder = f.place.path("w/selections/s");
    let whole = files(&folder);
    let list = whole.keys().find(|name| name.starts_with("left_out-"));
    let list = folder.join(list.unwrap());
    std::fs::write(&list, b"").unwrap();
    f.select("s", &labels, &explained);
    assert_eq!(differing(&whole, &files(&folder)), Vec::<String>::new());
    // Killed after it had written some of the list, and repeated without it.
    std::fs::remove_file(folder.join("selection.json")).unwrap();
    f.select("s", &labels, &rules);
    assert!(!list.exists());
    let (code, text) = f.place.fails(
        &[
            &["select", "--name", "s", "--labels", &labels][..],
            &explained,
        ]
        .concat(),
    );
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("was made without --explain"), "{text}");
}

#[test]
fn a_pattern_that_is_none_is_told() {
    let f = Foreign::new();
    let folder = f.put("a/part-0", 3, "");
    f.refused(&format!("{folder}/[a.parquet"), &["a pattern that is none"]);
}

#[test]
fn of_two_selections_of_one_name_at_the_same_time_one_is_there_and_whole() {
    let f = Foreign::new();
    let labels = f.put("a/part-0", 3000, "");
    for round in 0..4 {
        let name = format!("s{round}");
        let run = |k: &'static str| {
            let args = [
                "select",
                "--name",
                &name,
                "--labels",
                &labels,
                "--balance",
                "none",
                "--per-class",
                k,
            ];
            f.place.command(&args).spawn().unwrap()
        };
        let both = [run("900"), run("20")];
        let ends = both.map(|mut child| child.wait().unwrap().success());
        assert_eq!(ends.iter().filter(|ok| **ok).count(), 1, "{ends:?}");
        let folder = f.place.path(&format!("w/selections/{name}"));
        let text = std::fs::read_to_string(folder.join("selection.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let query = format!("SELECT count(*) AS n FROM selections WHERE selection = '{name}'");
        let counted = f.place.ok(&["sql", "--format", "csv", &query]);
        assert_eq!(counted, format!("n\n{}\n", json["totals"]["rows"]));
        // What the other one wrote is gone.
        let parts = std::fs::read_dir(&folder).unwrap().count() - 1;
        assert_eq!(parts, json["parts"].as_array().unwrap().len());
    }
}

#[test]
fn rows_of_the_best_that_a_sample_left_out_are_listed_as_such() {
    let f = Foreign::new();
    let labels = f.put("a/part-0", 300, "");
    let json = f.select(
        "s",
        &labels,
        &["--per-class", "50", "--fraction", "0.5", "--explain"],
    );
    let query = format!(
        "import duckdb; print(duckdb.sql(\"select reason, count(*) from read_parquet('{}') group by 1 order by 1\").fetchall())",
        f.place.path("w/selections/s/left_out-*.parquet").display()
    );
    assert_eq!(json["left_out"]["sampled-out"], 75, "{json}");
    f.select("plain", &labels, &["--per-class", "50"]);
    let again = [
        "select",
        "--name",
        "plain",
        "--labels",
        &labels,
        "--per-class",
        "50",
        "--explain",
    ];
    let (code, text) = f.place.fails(&again);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("was made without --explain"), "{text}");
    assert_eq!(
        python(&query, &[]).trim(),
        "[('beyond-k', 150), ('sampled-out', 75)]"
    );
}

#[test]
fn files_that_differ_in_a_column_are_told_and_one_may_lack_what_others_have() {
    let f = Foreign::new();
    // As pandas writes confidences that happen to be whole numbers.
    f.put("widths/a", 3, "t['confidence'] = pa.array([1] * n, pa.int64()); t['class'] = pa.array([0] * n, pa.int8())");
    let labels = f.put(
        "widths/b",
        3,
        "t['key'] = ['x', 'y', 'z']; t['confidence'] = pa.array([0.9] * n, pa.float64())",
    );
    let made = f.select(
        "widths",
        &labels,
        &["--per-class", "9", "--balance", "none"],
    );
    assert_eq!(made["totals"]["rows"], 6, "{made}");
    f.put("types/a", 3, "");
    let labels = f.put("types/b", 3, "t['class'] = ['x', 'y', 'z']");
    f.refused(
        &labels,
        &["types/b.parquet", "`class` of type Utf8", "Int64"],
    );
    f.put("soft/a", 3, "t['probs'] = [[0.5, 0.5]] * n");
    let labels = f.put("soft/b", 3, "");
    f.refused(
        &labels,
        &["soft/b.parquet", "have no `probs`", "soft/a.parquet"],
    );
    // The first file has no hashes, or none but nulls: those of the others count.
    let nulls = "t['sha256'] = pa.nulls(n); t['unrelated'] = ['x'] * n";
    let hashes = "t['key'] = [f'x{i}' for i in range(n)]; t['sha256'] = pa.array([hashlib.sha256(b'same').digest()] * n, pa.binary(32)); t['unrelated'] = list(range(n)); required = True";
    for (folder, first) in [("without", ""), ("nulls", nulls)] {
        f.put(&format!("{folder}/a"), 3, first);
        let labels = f.put(&format!("{folder}/b"), 4, hashes);
        let made = f.select(folder, &labels, &["--per-class", "9"]);
        assert_eq!(made["left_out"]["duplicate"], 3, "{made}");
    }
}

#[test]
fn classes_are_filled_up_by_either_method_unless_that_is_not_wanted() {
    let f = Foreign::new();
    let labels = f.put("few/a", 3, "");
    for method in ["exact", "histogram"] {
        for (balance, copies) in [("none", 3), ("duplicate", 12)] {
            let name = format!("{method}-{balance}");
            let rules = ["--per-class", "4", "--method", method, "--balance", balance];
            let made = f.select(&name, &labels, &rules);
            assert_eq!(made["totals"]["copies"], copies, "{name}: {made}");
        }
    }
}
