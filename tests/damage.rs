//! Objects of the workspace that a power failure, a full disk or somebody's hand has taken away, emptied or spoiled: whoever needs one names it, and nobody takes
//! what is left for everything.

use std::path::{Path, PathBuf};

use crate::support::{Place, colour, files, jpeg, label_args, python};

/// A labelled dataset `d` with a selection `s`.
fn place() -> Place {
    let place = Place::with_teacher();
    for n in 0..12 {
        place.put(&format!("{n:02}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    place.select_of_d("s", &["--threshold", "0.1", "--per-class", "2"]);
    place
}

/// The one object of a folder of the workspace whose name begins and ends so.
fn object(place: &Place, folder: &str, begin: &str, end: &str) -> PathBuf {
    let entries = std::fs::read_dir(place.path("w").join(folder)).unwrap();
    let mut found = entries.map(|e| e.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(begin) && name.ends_with(end)
    });
    let path = found.next().unwrap();
    assert_eq!(found.next(), None);
    path
}

fn shard(place: &Place) -> PathBuf {
    object(
        place,
        "labels/dataset=d/teacher=tiny@1",
        "shard-",
        ".parquet",
    )
}

fn part(place: &Place) -> PathBuf {
    object(place, "selections/s", "part-", ".parquet")
}

/// Runs a command that must name the object and end with an error.
fn names(place: &Place, args: &[&str], path: &Path, how: &str) {
    let (code, text) = place.fails(args);
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(code, 1, "{args:?}: {text}");
    assert!(
        text.contains(name) && text.contains(how),
        "{args:?}: {text}"
    );
    assert!(!text.contains("panicked"), "{args:?}: {text}");
}

fn spoil(path: &Path, how: &str) {
    match how {
        "missing" => std::fs::remove_file(path).unwrap(),
        _ => std::fs::write(path, b"").unwrap(),
    }
}

/// Overwrites what the pages of a column hold, and leaves the footer as it is.
pub(crate) fn damage_pages(file: &Path, column: &str) {
    let file = file.display().to_string();
    python(
        r#"
import sys, pyarrow.parquet as pq
meta = pq.ParquetFile(sys.argv[1]).metadata.row_group(0)
columns = [meta.column(i) for i in range(meta.num_columns)]
column = next(c for c in columns if c.path_in_schema.split(".")[0] == sys.argv[2])
with open(sys.argv[1], "r+b") as file:
    file.seek(column.dictionary_page_offset or column.data_page_offset)
    file.write(b"\xff" * column.total_compressed_size)
"#,
        &[&file, column],
    );
}

#[test]
fn a_selection_without_one_of_its_parts_is_not_a_smaller_selection() {
    for how in ["missing", "empty"] {
        let place = place();
        let part = part(&place);
        let bytes = std::fs::read(&part).unwrap();
        let (out, page) = (place.path("out"), place.path("page.html"));
        let (out, page) = (out.display().to_string(), page.display().to_string());
        let images = place.images();
        let label = [&label_args(&images)[..], &["--selection", "s"]].concat();
        place.add_swapped("other");
        let label: Vec<&str> = label
            .into_iter()
            .map(|arg| if arg == "tiny" { "other" } else { arg })
            .collect();
        spoil(&part, how);
        for args in [
            &["sql", "SELECT count(*) FROM selections"][..],
            &[
                "export",
                "--selection",
                "s",
                "--format",
                "parquet",
                "--out",
                &out,
            ],
            &["report", "--selection", "s", "--out", &page],
            &label,
        ] {
            names(&place, args, &part, how);
        }
        // Other tables do not need it.
        assert_eq!(place.number("SELECT count(*) AS n FROM labels"), 12);
        std::fs::write(&part, bytes).unwrap();
        place.ok(&[
            "export",
            "--selection",
            "s",
            "--format",
            "parquet",
            "--out",
            &out,
        ]);
    }
}

#[test]
fn a_manifest_without_its_rows_is_not_an_empty_one() {
    for how in ["missing", "empty"] {
        let place = place();
        let rows = object(&place, "manifests/dataset=d", "generation-", ".parquet");
        spoil(&rows, how);
        names(
            &place,
            &["sql", "SELECT count(*) FROM manifest"],
            &rows,
            how,
        );
        place.add_swapped("other");
        let label = ["label", "--dataset", "d", "--teacher", "other"];
        names(&place, &label, &rows, how);
        assert!(
            !place
                .path("w/labels/dataset=d/teacher=other@1/shard-000000.parquet")
                .exists()
        );
    }
}

#[test]
fn an_empty_labels_object_is_no_commit_and_is_made_again_once_it_is_removed() {
    let place = place();
    let shard = shard(&place);
    let bytes = std::fs::read(&shard).unwrap();
    spoil(&shard, "empty");
    let images = place.images();
    for args in [
        &label_args(&images)[..],
        &["sql", "SELECT count(*) FROM labels"],
        &[
            "select",
            "--dataset",
            "d",
            "--teacher",
            "tiny",
            "--name",
            "t",
        ],
    ] {
        names(&place, args, &shard, "empty");
    }
    std::fs::remove_file(&shard).unwrap();
    assert_eq!(place.label(&[])["labelled"], 12);
    assert_eq!(std::fs::read(&shard).unwrap(), bytes);
}

#[test]
fn a_damaged_labels_object_is_named_and_labelled_again() {
    let place = place();
    let shard = shard(&place);
    let whole = std::fs::read(&shard).unwrap();
    let select = ["select", "--dataset", "d", "--teacher", "tiny"];
    let select = [&select[..], &["--name", "t", "--per-class", "2"]].concat();
    for column in ["class", "probs"] {
        damage_pages(&shard, column);
        let query = format!("SELECT {column} FROM labels");
        for args in [&select[..], &["sql", &query]] {
            names(&place, args, &shard, "cannot be read as Parquet: ");
        }
        std::fs::remove_file(&shard).unwrap();
        place.label(&[]);
        assert_eq!(std::fs::read(&shard).unwrap(), whole);
    }
    place.ok(&select);
}

#[test]
fn a_spoiled_object_ends_whoever_reads_it_with_an_error() {
    let place = place();
    let shard = shard(&place);
    let part = part(&place);
    let chosen = place.number("SELECT count(*) FROM selections");
    let mut errors = 0;
    for path in [shard, part] {
        let whole = std::fs::read(&path).unwrap();
        for offset in (4..whole.len() - 8).step_by(97) {
            let mut spoiled = whole.clone();
            spoiled[offset..(offset + 3).min(whole.len())].fill(0xFF);
            std::fs::write(&path, spoiled).unwrap();
            for (query, rows) in [
                ("SELECT * FROM labels", 12),
                ("SELECT * FROM selections", chosen),
            ] {
                // Three bytes of a confidence may be another one.
                let output = place.run(&["sql", "--format", "json", query]);
                let text = String::from_utf8_lossy(&output.stderr);
                let told = text.contains("error: ");
                let code = output.status.code().unwrap();
                assert_eq!(told, code != 0, "{offset}: {code} {text}");
                assert!([0, 1, 2, 8, 101].contains(&code), "{offset}: {code} {text}");
                let is_named = text.contains(path.file_name().unwrap().to_str().unwrap());
                assert!(is_named || [0, 101].contains(&code), "{offset}: {text}");
                errors += usize::from(code != 0);
                if code == 0 {
                    let answer = String::from_utf8(output.stdout).unwrap();
                    assert_eq!(answer.lines().count() as i64, rows, "{offset}: {answer}");
                }
            }
        }
        std::fs::write(&path, whole).unwrap();
    }
    assert!(errors > 10, "{errors}");
}

#[test]
fn the_lost_rows_of_a_selection_are_made_again_by_the_same_command() {
    for how in ["missing", "empty"] {
        let place = place();
        let part = part(&place);
        let selection = files(&place.path("w/selections"));
        spoil(&part, how);
        place.select_of_d("s", &["--threshold", "0.1", "--per-class", "2"]);
        assert_eq!(files(&place.path("w/selections")), selection, "{how}");
        // Other rules are no way to get them back.
        spoil(&part, how);
        let (code, text) = place.fails(&[
            "select",
            "--dataset",
            "d",
            "--teacher",
            "tiny",
            "--name",
            "s",
        ]);
        assert_eq!(code, 2, "{text}");
    }
}
