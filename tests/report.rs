//! Reports: the real page, read back by Python's HTML parser, against what SQL says of the same workspace.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::onnx::Model;
use crate::support::{Place, colour, jpeg, label_args, python};

/// A page as another program reads it: what its tags say, its tables, its key figures.
pub(crate) fn parsed(page: &Path) -> Value {
    let text = python(
        r#"
import base64, collections, hashlib, html.parser, json, sys
VOID = {"meta", "link", "img", "input", "br", "rect", "line", "polygon", "polyline"}
class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.unbalanced, self.links, self.events, self.images, self.missing = [], [], [], [], [], []
        self.tags, self.text, self.raw = collections.Counter(), [], {"script": "", "style": ""}
        self.tables, self.labels, self.policy, self.tiles, self.names = [], [], "", [], []
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.tags[tag] += 1
        self.links += [a[n] for n in ("src", "href", "data", "action", "srcset", "poster") if n in a]
        self.events += [n for n in a if n.startswith("on")]
        if tag == "img": self.images.append(a["alt"])
        if a.get("class") == "missing": self.missing.append(a["aria-label"])
        if tag == "svg" and "aria-label" in a: self.labels.append(a["aria-label"])
        if a.get("http-equiv") == "Content-Security-Policy": self.policy = a["content"]
        if tag == "table": self.tables.append([])
        if tag == "tr": self.tables[-1].append([])
        if tag in ("td", "th"): self.tables[-1][-1].append("")
        if tag == "dt": self.tiles.append(["", ""])
        if tag not in VOID and not self.get_starttag_text().endswith("/>"): self.open.append(tag)
    def handle_endtag(self, tag):
        if tag in VOID: return
        if not self.open or self.open.pop() != tag: self.unbalanced.append(tag)
    def handle_data(self, data):
        where = self.open[-1] if self.open else ""
        if where in self.raw: self.raw[where] += data; return
        self.text.append(data)
        if "td" in self.open or "th" in self.open: self.tables[-1][-1][-1] += data
        if "dt" in self.open: self.tiles[-1][0] += data
        elif "dd" in self.open: self.tiles[-1][1] += data + "|"
page = Page()
page.feed(open(sys.argv[1], encoding="utf-8").read())
page.close()
json.dump({
    "unbalanced": page.unbalanced + page.open, "links": page.links, "events": page.events, "tags": page.tags, "images": page.images,
    "missing": page.missing, "labels": page.labels, "policy": page.policy, "tables": page.tables, "style": page.raw["style"],
    "script": base64.b64encode(hashlib.sha256(page.raw["script"].encode()).digest()).decode(), "text": " ".join("".join(page.text).split()),
    "tiles": {name: value.split("|")[0] for name, value in page.tiles},
}, sys.stdout)
"#,
        &[&page.display().to_string()],
    );
    serde_json::from_str(&text).unwrap()
}

/// Makes the report of a selection.
fn report(place: &Place, selection: &str, more: &[&str]) -> Value {
    let out = place.path("report.html");
    let at = out.display().to_string();
    let mut args = vec!["report", "--selection", selection, "--out", &at];
    args.extend(more);
    place.ok(&args);
    let page = parsed(&out);
    assert_eq!(
        page["unbalanced"],
        serde_json::json!([]),
        "tags do not match"
    );
    assert_asks_nothing(&page);
    page
}

/// Nothing in the page is fetched from anywhere, and no script but its own may run.
fn assert_asks_nothing(page: &Value) {
    for link in page["links"].as_array().unwrap() {
        let link = link.as_str().unwrap();
        assert!(link.starts_with("data:") || link.starts_with('#'), "{link}");
    }
    let style = page["style"].as_str().unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert_eq!(page["events"], serde_json::json!([]));
    assert_eq!(page["tags"]["script"], 1);
    for tag in [
        "iframe", "object", "embed", "form", "base", "video", "audio",
    ] {
        assert!(page["tags"].get(tag).is_none(), "{tag}");
    }
    let policy = page["policy"].as_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; img-src data:;"),
        "{policy}"
    );
    let hash = page["script"].as_str().unwrap();
    assert!(
        policy.contains(&format!("script-src 'sha256-{hash}'")),
        "{policy}"
    );
}

/// The rows of the table whose first title begins so, without the titles.
pub(crate) fn table<'a>(page: &'a Value, title: &str) -> Vec<Vec<&'a str>> {
    let tables = page["tables"].as_array().unwrap();
    let found = tables
        .iter()
        .find(|t| t[0][0].as_str().unwrap().starts_with(title));
    let rows = found
        .unwrap_or_else(|| panic!("no table `{title}`"))
        .as_array()
        .unwrap();
    let cells = |row: &'a Value| {
        row.as_array()
            .unwrap()
            .iter()
            .map(|c| c.as_str().unwrap().trim())
            .collect()
    };
    rows[1..].iter().map(cells).collect()
}

pub(crate) fn number(text: &str) -> i64 {
    text.replace(',', "").parse().unwrap()
}

/// The `n`-th image, of which the model is the surer the larger `n` is.
fn shade(n: u32) -> Vec<u8> {
    let bright = |c: u8| if c > 100 { 60 + 2 * n as u8 } else { c };
    jpeg(colour(n).0.map(bright), n)
}

/// 60 images of three classes with repetitions and two files that are no images, and a held-out dataset; selected as `s`, and otherwise as `other`.
fn selected(place: &Place) {
    for n in 0..60 {
        place.put(&format!("{n:02}.jpg"), &shade(n));
    }
    place.put("broken.jpg", b"no image");
    place.put("empty.jpg", b"");
    place.label(&[]);
    let held_out = place.path("held-out");
    std::fs::create_dir(&held_out).unwrap();
    std::fs::write(held_out.join("a.jpg"), shade(40)).unwrap();
    std::fs::write(held_out.join("broken.jpg"), b"no image either").unwrap();
    let held_out = held_out.display().to_string();
    place.ok(&[
        "label",
        "--dataset",
        "test",
        "--source",
        &held_out,
        "--teacher",
        "tiny",
    ]);
    place.select_of_d(
        "s",
        &[
            "--exclude",
            "test",
            "--max-distance",
            "0",
            "--threshold",
            "0.5",
            "--per-class",
            "15",
        ],
    );
    place.select_of_d(
        "other",
        &[
            "--exclude",
            "test",
            "--threshold",
            "0.6",
            "--per-class",
            "2",
        ],
    );
}

#[test]
fn the_numbers_of_a_page_are_those_that_sql_says() {
    let place = Place::with_teacher();
    selected(&place);
    let page = report(&place, "s", &[]);
    let tile = |name: &str| number(page["tiles"][name].as_str().unwrap());
    let labels = place.number("SELECT count(*) FROM labels WHERE dataset = 'd'");
    let kept = place.number("SELECT count(*) FROM selections WHERE selection = 's'");
    assert_eq!(tile("labels looked at"), labels);
    assert_eq!(tile("kept"), kept);
    assert_eq!(tile("left out"), labels - kept);
    assert_eq!(
        tile("with copies"),
        place.number("SELECT sum(copies) FROM selections WHERE selection = 's'")
    );
    assert_eq!(
        tile("candidates"),
        place.number("SELECT sum(available) FROM selection_classes WHERE selection = 's'")
    );
    assert_eq!(
        tile("classes filled"),
        place.number("SELECT count(DISTINCT class) FROM selections WHERE selection = 's'")
    );

    // The bar's parts are all labels.
    let fate = table(&page, "What became");
    assert_eq!(fate.iter().map(|row| number(row[1])).sum::<i64>(), labels);
    assert!(
        fate.iter().any(|row| row[0].starts_with("held out")),
        "{fate:?}"
    );

    // The histogram, row by row, in bins of 0.02 that have their upper edge.
    let bin = |confidence: f64| ((confidence * 50.0 - 1e-5).ceil() as usize).clamp(1, 50) - 1;
    let histogram = |query: &str| {
        let mut bins = vec![0; 50];
        for row in place.sql(query) {
            bins[bin(row["confidence"].as_f64().unwrap())] += 1;
        }
        bins
    };
    let shown = table(&page, "Confidence");
    let column = |i: usize| {
        shown
            .iter()
            .rev()
            .map(|row| number(row[i]))
            .collect::<Vec<i64>>()
    };
    assert_eq!(
        column(1),
        histogram("SELECT confidence FROM labels WHERE dataset = 'd'")
    );
    assert_eq!(
        column(2),
        histogram("SELECT confidence FROM selections WHERE selection = 's'")
    );
}

#[test]
fn classes_rejects_and_held_out_images_are_those_that_sql_says() {
    let place = Place::with_teacher();
    selected(&place);
    let page = report(&place, "s", &[]);
    // The classes, most candidates first.
    let classes = table(&page, "Class");
    let expected = place.sql(
        "SELECT label, available, kept, copies, cut_off FROM selection_classes WHERE selection = 's' ORDER BY available DESC, class",
    );
    assert_eq!(classes.len(), expected.len());
    for (shown, sql) in classes.iter().zip(&expected) {
        assert!(
            shown[0].starts_with(sql["label"].as_str().unwrap()),
            "{shown:?}"
        );
        for (i, name) in [(1, "available"), (2, "kept"), (3, "copies")] {
            assert_eq!(number(shown[i]), sql[name].as_i64().unwrap(), "{shown:?}");
        }
        assert_eq!(shown[4], format!("{:.3}", sql["cut_off"].as_f64().unwrap()));
    }
    assert!(
        page["text"]
            .as_str()
            .unwrap()
            .contains("1 class has no candidates")
    );

    // The rejects.
    let rejects: Vec<(String, i64)> = table(&page, "Reason")
        .iter()
        .map(|row| (row[0].to_owned(), number(row[1])))
        .collect();
    assert_eq!(
        rejects,
        [
            ("empty decode".to_owned(), 1),
            ("not-an-image decode".to_owned(), 1)
        ]
    );

    // The distances, and a picture of each side of a pair.
    let labels = page["labels"].as_array().unwrap();
    let distances = labels.iter().find_map(|l| {
        l.as_str()
            .unwrap()
            .strip_prefix("Labels by their distance in bits: ")
    });
    let expected: Vec<String> = (0..=10)
        .map(|d| {
            format!(
                "{} at {d}",
                place.number(&format!(
                    "SELECT count(*) FROM leakage WHERE selection = 's' AND distance = {d}"
                ))
            )
        })
        .collect();
    assert_eq!(distances.unwrap(), expected.join(", "));
    let alts = page["images"].as_array().unwrap();
    let with = |text: &str| {
        alts.iter()
            .filter(|a| a.as_str().unwrap().ends_with(text))
            .count()
    };
    assert!(with("the held-out image") >= 1);
    assert_eq!(with("the held-out image"), with("the label’s image"));
    assert!(page["text"].as_str().unwrap().contains(
        "understudy select --name s --dataset d --teacher tiny@1 --threshold 0.5 --per-class 15 --exclude test --max-distance 0"
    ));
}

#[test]
fn the_images_of_a_class_are_those_at_the_deciles_of_its_confidence() {
    let place = Place::with_teacher();
    for n in 0..75 {
        place.put(&format!("{n:02}.jpg"), &shade(n));
    }
    place.label(&[]);
    place.select_of_d("s", &["--threshold", "0.2", "--keep-duplicates"]);
    let page = report(&place, "s", &[]);
    let alts: Vec<&str> = page["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();
    // Three classes of 25 images each, in the order of their numbers, since none has more candidates.
    assert_eq!(alts.len(), 3 * 11);
    for (class, alts) in alts.chunks(11).enumerate() {
        let all = place.sql(&format!(
            "SELECT regexp_replace(key, '.*/', '') AS name FROM selections WHERE class = {class} ORDER BY confidence DESC, key"
        ));
        for (decile, alt) in alts.iter().enumerate() {
            // 24 tenths of the way, rounded half up.
            let place = (24 * decile + 5) / 10;
            assert!(
                alt.starts_with(&format!("{}: ", all[place]["name"].as_str().unwrap())),
                "{class} {decile}: {alt}"
            );
        }
    }

    // Where each copy is a row of its own the images are the same, each once.
    let more = ["--threshold", "0.2", "--keep-duplicates", "--materialize"];
    place.select_of_d("m", &[&more[..], &["--per-class", "100"]].concat());
    assert_eq!(
        place.number("SELECT count(*) FROM selections WHERE selection = 'm'"),
        300
    );
    let repeated = report(&place, "m", &[]);
    let name = |alt: &Value| alt.as_str().unwrap().split(':').next().unwrap().to_owned();
    let names = |page: &Value| -> Vec<String> {
        page["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(name)
            .collect()
    };
    assert_eq!(names(&repeated), names(&page));
    let kept = |page| -> Vec<i64> {
        let bins = table(page, "Confidence");
        bins.iter().map(|row| number(row[2])).collect()
    };
    assert_eq!(kept(&repeated), kept(&page));
    assert!(
        repeated["text"]
            .as_str()
            .unwrap()
            .contains("--keep-duplicates --materialize")
    );
    let key = place.sql("SELECT key FROM labels LIMIT 1")[0]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let lineage: Value = serde_json::from_str(&place.ok(&["lineage", &key, "--json"])).unwrap();
    let of: Vec<_> = lineage["selections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (&s["selection"], &s["copies"]))
        .collect();
    assert_eq!(of, [(&json!("m"), &json!(4)), (&json!("s"), &json!(5200))]);
}

#[test]
fn keys_and_class_names_of_strangers_stay_text() {
    let place = Place::new();
    place.ok(&["init"]);
    let evil = r"<script>alert(1)</script><img src=x onerror=alert(1)>";
    let (onnx, toml) = (place.path("model.onnx"), place.path("teacher.toml"));
    let config = Model::default().teacher_toml();
    let config = config.replace("\"red\"", &format!("'''{evil}'''"));
    let config = config.replace("\"dark\"", &format!("'''\"{evil}'''"));
    std::fs::write(&onnx, Model::default().bytes()).unwrap();
    std::fs::write(&toml, format!("description = '''{evil}'''\n{config}")).unwrap();
    let (onnx, toml) = (onnx.display().to_string(), toml.display().to_string());
    place.ok(&[
        "teachers", "add", "tiny", "--model", &onnx, "--config", &toml,
    ]);
    let name = "\"><script>alert(1)<img src=x onerror=alert(1)>'&amp;.jpg";
    place.put(name, &jpeg(colour(0).0, 0));
    place.put("z-<script>alert(2).jpg", b"<script>alert(3)");
    place.put("gone\u{202E}gpj.jpg", &jpeg(colour(1).0, 1));
    place.label(&[]);
    place.select_of_d("s", &["--threshold", "0.2"]);
    std::fs::remove_file(place.path("images").join("gone\u{202E}gpj.jpg")).unwrap();
    let page = report(&place, "s", &["--class", evil]);
    let text = page["text"].as_str().unwrap();
    assert!(text.contains(evil), "{text}");
    assert!(text.contains("z-<script>alert(2).jpg"), "{text}");
    let alt = page["images"][0].as_str().unwrap();
    assert!(alt.starts_with(name), "{alt}");
    // The direction of reading stays what it was.
    assert!(
        page["missing"][0]
            .as_str()
            .unwrap()
            .starts_with("gone\u{FFFD}gpj.jpg")
    );
}

#[test]
fn the_same_workspace_gives_the_same_page_to_the_byte() {
    let place = Place::with_teacher();
    selected(&place);
    let make = |threads: &str, out: &str| {
        let mut command = place.command(&["report", "--selection", "s", "--out", out]);
        let output = command
            .env("TOKIO_WORKER_THREADS", threads)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    let out = place.path("a.html").display().to_string();
    std::fs::write(&out, "an older page, which is longer than nothing").unwrap();
    make("1", &out);
    let file = std::fs::read(&out).unwrap();
    assert!(file.starts_with(b"<!DOCTYPE html>"));
    assert!(make("4", "-") == file, "standard output and file differ");
}

#[test]
fn an_image_that_cannot_be_read_any_more_has_a_place_that_says_why() {
    let place = Place::with_teacher();
    for n in 0..9 {
        place.put(&format!("{n:02}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    place.select_of_d("s", &["--threshold", "0.2", "--per-class", "3"]);
    let images = place.path("images");
    std::fs::remove_file(images.join("00.jpg")).unwrap();
    std::fs::write(images.join("01.jpg"), b"<html>moved</html>").unwrap();
    let page = report(&place, "s", &[]);
    assert_eq!(page["images"].as_array().unwrap().len(), 7);
    let reasons = |page: &Value| {
        let missing = page["missing"].as_array().unwrap().iter();
        let mut reasons: Vec<String> = missing
            .map(|m| m.as_str().unwrap().rsplit(", ").next().unwrap().to_owned())
            .collect();
        reasons.sort();
        reasons
    };
    assert_eq!(reasons(&page), ["changed", "not-found"]);
    assert!(
        page["text"]
            .as_str()
            .unwrap()
            .contains("2 of 9 images cannot be read any more")
    );
    // Once listed again, whether it can be read or not: what was selected was another one.
    std::fs::write(images.join("01.jpg"), jpeg(colour(2).0, 1)).unwrap();
    place.ok(&["manifest", "--dataset", "d"]);
    let page = report(&place, "s", &[]);
    assert_eq!(reasons(&page), ["changed", "gone"]);
    std::fs::remove_dir_all(&images).unwrap();
    let page = report(&place, "s", &[]);
    assert_eq!(
        reasons(&page),
        [&["changed", "gone"][..], &["not-found"; 7]].concat()
    );
    assert!(
        page["text"]
            .as_str()
            .unwrap()
            .contains("None of the images can be read any more")
    );
}

#[test]
fn labels_of_another_system_give_a_page_that_says_what_it_does_not_know() {
    let place = Place::new();
    place.ok(&["init"]);
    let labels = place.path("labels.parquet").display().to_string();
    // 1,500 classes, more than are drawn; class c has c rows at most.
    python(
        r#"
import sys, duckdb
duckdb.sql(f"""COPY (SELECT printf('s3://elsewhere/%d/%d.jpg', c, i) AS key, c AS class, 0.31 + 0.6 * (hash(c, i) % 1000) / 1000 AS confidence
FROM range(1, 1501) t(c), range(0, 40) u(i) WHERE i <= c % 40) TO '{sys.argv[1]}' (FORMAT parquet)""")
"#,
        &[&labels],
    );
    place.ok(&[
        "select",
        "--name",
        "s",
        "--labels",
        &labels,
        "--per-class",
        "20",
    ]);
    let page = report(&place, "s", &["--class", "1499"]);
    assert_eq!(table(&page, "Class").len(), 1500);
    let text = page["text"].as_str().unwrap();
    for sentence in [
        "1,200 of the classes are drawn, evenly spread",
        "How confident the labels are that were left out is not known here",
        "The images themselves are not known here",
        "Which images have no label is not known here",
        "No held-out dataset was named",
        "class 1499 asked for",
        "s3://elsewhere/1499/",
    ] {
        assert!(text.contains(sentence), "{sentence}");
    }
    assert_eq!(page["images"], serde_json::json!([]));
    let kept: i64 = table(&page, "Confidence")
        .iter()
        .map(|row| number(row[1]))
        .sum();
    assert_eq!(kept, place.number("SELECT count(*) FROM selections"));
}

#[test]
fn two_teachers_an_interval_and_labels_that_came_later_are_told_apart() {
    let place = Place::with_teacher();
    for n in 0..30 {
        place.put(&format!("{n:02}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    place.add_teacher(
        "other",
        &Model {
            probabilities: true,
            ..Model::default()
        },
    );
    place.ok(&["label", "--dataset", "d", "--teacher", "other"]);
    place.ok(&[
        "select",
        "--name",
        "s",
        "--dataset",
        "d",
        "--teacher",
        "other",
        "--filter-teacher",
        "tiny",
        "--interval",
        "0.2:1",
        "--per-interval",
        "20",
    ]);
    place.put("later.jpg", &jpeg(colour(0).0, 99));
    place.label(&[]);
    let page = report(&place, "s", &[]);
    let text = page["text"].as_str().unwrap();
    for sentence in [
        "30 labels that tiny@1 gave the images of d, 20 are kept; their soft labels are those of other@1.",
        "the selection was made of 30 labels, the histogram is of the 31 that are there now",
        "Teacher tiny@1 chose the rows",
        "Teacher other@1 gave the soft labels",
        "Only confidences from 0.2 to 1 were looked for",
        "--interval 0.2:1 --per-interval 20",
    ] {
        assert!(text.contains(sentence), "{sentence}: {text}");
    }
    assert_eq!(page["tiles"]["kept"], "20");
}

#[test]
fn a_page_replaces_a_page_and_nothing_but_a_page() {
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.label(&[]);
    place.select_of_d("s", &["--threshold", "0.2"]);
    let make = |out: &Path| {
        place.ok(&[
            "report",
            "--selection",
            "s",
            "--out",
            &out.display().to_string(),
        ])
    };
    // Folders that are not there are made.
    let page = place.path("pages/of/s.html");
    make(&page);
    let first = std::fs::read(&page).unwrap();
    std::fs::write(&page, "an older page").unwrap();
    let link = place.path("link.html");
    std::os::unix::fs::symlink(&page, &link).unwrap();
    make(&link);
    assert!(link.is_symlink(), "the link was replaced");
    assert!(std::fs::read(&page).unwrap() == first);
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions())
    };
    std::fs::write(place.path("plain"), "").unwrap();
    assert_eq!(mode(&page), mode(&place.path("plain")));
    // A pipe is written to.
    let pipe = place.path("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });
    make(&pipe);
    assert!(reader.join().unwrap() == first);
    assert!(!pipe.is_file(), "the pipe was replaced");
    let left: Vec<_> = std::fs::read_dir(page.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn wrong_reports_are_named() {
    let place = Place::with_teacher();
    let out = place.path("report.html").display().to_string();
    let fails = |selection: &str, out: &str, more: &[&str]| {
        let mut args = vec!["report", "--selection", selection, "--out", out];
        args.extend(more);
        place.fails(&args)
    };
    let (code, text) = fails("s", &out, &[]);
    assert_eq!(code, 3);
    assert!(
        text.contains("no selection `s`") && text.contains("understudy select"),
        "{text}"
    );
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    let images = place.images();
    place.ok(&label_args(&images));
    place.select_of_d("first", &["--threshold", "0.2"]);
    let blocked = place.path("images/a.jpg/report.html").display().to_string();
    for (selection, out, more, expected, said) in [
        ("frist", out.as_str(), vec![], 3, "did you mean `first`?"),
        (
            "../first",
            &out,
            vec![],
            2,
            "cannot be the name of a selection",
        ),
        (
            "first",
            &out,
            vec!["--class", "gren"],
            3,
            "did you mean `green`?",
        ),
        ("first", &out, vec!["--class", "17"], 3, "has no class `17`"),
        (
            "first",
            &out,
            vec!["--class", "dark"],
            3,
            "kept no image of class `dark`",
        ),
        ("first", &images, vec![], 1, "Is a directory"),
        ("first", &blocked, vec![], 1, "cannot write"),
        ("first", "ftp://host/report.html", vec![], 2, "ftp://host"),
        (
            "first",
            &out,
            vec!["--memory", "1KiB"],
            8,
            "give it more with --memory",
        ),
    ] {
        let (code, text) = fails(selection, out, &more);
        assert_eq!(code, expected, "{text}");
        assert!(text.contains(said) && text.contains("hint:"), "{text}");
    }
    assert!(!Path::new(&out).exists());
}
