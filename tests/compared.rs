//! Two teachers' labels beside each other: the same as a join by key, mostly without one.

use std::path::{Path, PathBuf};

use understudy::catalog::{self, Cache};
use understudy::schema::Encoding;
use understudy::workspace::Workspace;

use crate::support::labels::{Row, Shard, ask, spoil, workspace, workspace_with_labels, write};
use crate::support::{Place, colour, jpeg};

const COMPARED: &str = "SELECT dataset, shard, from_class, \"from\", to_class, \"to\", before, after FROM compared('tiny@1', 'other@1') ORDER BY 1, 2, 3, 4, 5, 6, 7, 8";
const JOINED: &str = "SELECT a.dataset, a.shard, a.class AS from_class, a.label AS \"from\", b.class AS to_class, b.label AS \"to\", a.confidence AS before, b.confidence AS after
    FROM labels AS a JOIN labels AS b ON a.dataset = b.dataset AND a.key = b.key WHERE a.teacher = 'tiny@1' AND b.teacher = 'other@1' ORDER BY 1, 2, 3, 4, 5, 6, 7, 8";
const CHURN: &str = "SELECT dataset, \"from\", \"to\", images, round(shift, 5) AS shift FROM churn('tiny@1', 'other@1') ORDER BY 1, 2, 3";
const SUMMED: &str = "SELECT dataset, \"from\", \"to\", count(*) AS images, round(avg(CAST(after AS DOUBLE) - CAST(before AS DOUBLE)), 5) AS shift
    FROM (SELECT a.dataset, a.label AS \"from\", b.label AS \"to\", a.confidence AS before, b.confidence AS after
        FROM labels AS a JOIN labels AS b ON a.dataset = b.dataset AND a.key = b.key WHERE a.teacher = 'tiny@1' AND b.teacher = 'other@1')
    GROUP BY dataset, \"from\", \"to\" ORDER BY 1, 2, 3";

/// What is read, what is in memory, and what there is room for in part.
fn caches() -> [Option<Cache>; 3] {
    [
        None,
        Some(Cache::new(1 << 20, 1 << 20)),
        Some(Cache::new(1 << 20, 800)),
    ]
}

/// Rows that both ways have, each time.
async fn same(workspace: &Workspace, caches: &[Option<Cache>]) -> String {
    let joined = ask(workspace, None, JOINED).await.unwrap();
    let summed = ask(workspace, None, SUMMED).await.unwrap();
    for cache in caches {
        for _ in 0..2 {
            let compared = ask(workspace, cache.as_ref(), COMPARED).await.unwrap();
            assert_eq!(compared, joined);
            let churn = ask(workspace, cache.as_ref(), CHURN).await.unwrap();
            assert_eq!(churn, summed);
        }
    }
    joined
}

const RED: Result<[f32; 4], &str> = Ok([0.75, 0.25, 0.0, 0.0]);
const GREEN: Result<[f32; 4], &str> = Ok([0.125, 0.875, 0.0, 0.0]);
const BLUE: Result<[f32; 4], &str> = Ok([0.0, 0.25, 0.5, 0.25]);
const CUT: Result<[f32; 4], &str> = Err("truncated");

/// A dataset `both`: a shard that both have in one piece, one that was tried again by the first teacher, one that the first alone has, and one where objects say otherwise.
async fn both(workspace: &Workspace) {
    let whole: &[Row] = &[
        ("a", 1, 0, RED),
        ("b", 2, 0, GREEN),
        ("c", 3, 0, CUT),
        ("d", 4, 0, BLUE),
    ];
    let other: &[Row] = &[
        ("a", 1, 0, BLUE),
        ("b", 2, 0, CUT),
        ("c", 3, 0, CUT),
        ("d", 4, 0, BLUE),
    ];
    let tried: &[Row] = &[("e", 5, 0, CUT), ("f", 6, 0, CUT), ("g", 7, 0, RED)];
    let again: &[Row] = &[("e", 5, 0, CUT), ("f", 6, 0, GREEN)];
    let once: &[Row] = &[("e", 5, 0, RED), ("f", 6, 0, RED), ("g", 7, 0, GREEN)];
    let alone: &[Row] = &[("h", 8, 0, RED)];
    let some: &[Row] = &[("i", 9, 0, RED), ("k", 11, 0, GREEN)];
    let others: &[Row] = &[("i", 9, 0, BLUE), ("j", 10, 0, RED)];
    let by: [(&str, &[Shard<'_>]); 2] = [
        (
            "tiny@1",
            &[
                (0, 0, whole),
                (1, 0, tried),
                (1, 1, again),
                (2, 0, alone),
                (3, 0, some),
            ],
        ),
        ("other@1", &[(0, 0, other), (1, 0, once), (3, 0, others)]),
    ];
    for (teacher, shards) in by {
        write(workspace, "both", teacher, Encoding::Float16, shards).await;
    }
}

#[tokio::test]
async fn comparing_is_what_a_join_by_key_gives() {
    let (place, workspace) = workspace_with_labels().await;
    let caches = caches();
    let before = same(&workspace, &caches).await;
    assert!(!before.contains("both"), "{before}");
    both(&workspace).await;
    let joined = same(&workspace, &caches).await;
    assert_eq!(joined.matches("| both").count(), 5, "{joined}");
    // A part of a selection has rows of any shards.
    let folder = place.path("w/labels/dataset=both/teacher=other@1");
    let [shard, part] = ["shard-000003.parquet", "plan-000001.part-000000.parquet"];
    std::fs::rename(folder.join(shard), folder.join(part)).unwrap();
    assert_eq!(same(&workspace, &caches).await, joined);
    // What is gone is compared no more.
    std::fs::remove_file(folder.join("shard-000001.parquet")).unwrap();
    let left = same(&workspace, &caches).await;
    assert_eq!(left.matches("| both").count(), 3, "{left}");
}

#[tokio::test]
async fn shards_that_are_in_memory_are_compared_without_opening_an_object() {
    let (place, workspace) = workspace_with_labels().await;
    both(&workspace).await;
    let of_both = |shards: &str| {
        format!(
            "SELECT count(*) AS n, sum(after) AS sum FROM compared('tiny@1', 'other@1') WHERE dataset = 'both' AND shard IN ({shards})"
        )
    };
    let cache = Cache::new(1 << 20, 1 << 20);
    let whole = ask(&workspace, Some(&cache), &of_both("0")).await.unwrap();
    assert!(whole.contains("| 2 | 1.0 |"), "{whole}");
    for teacher in ["tiny@1", "other@1"] {
        let folder = place.path(&format!("w/labels/dataset=both/teacher={teacher}"));
        spoil(&folder.join("shard-000000.parquet"));
    }
    let again = ask(&workspace, Some(&cache), &of_both("0")).await.unwrap();
    assert_eq!(again, whole);
    assert!(ask(&workspace, None, &of_both("0")).await.is_err());
    // Of a shard in several pieces keys are read.
    let folder = place.path("w/labels/dataset=both/teacher=other@1");
    spoil(&folder.join("shard-000001.parquet"));
    let error = ask(&workspace, Some(&cache), &of_both("1"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("shard-000001"), "{error}");
}

#[tokio::test]
async fn teachers_that_share_no_dataset_have_nothing_in_common() {
    let (place, workspace) = workspace_with_labels().await;
    std::fs::remove_dir_all(place.path("w/labels/dataset=photos/teacher=tiny@1")).unwrap();
    for function in ["compared", "churn"] {
        let sql = format!("SELECT count(*) AS rows FROM {function}('tiny@1', 'other@1')");
        let nothing = ask(&workspace, None, &sql).await.unwrap();
        assert!(nothing.contains("| 0 "), "{nothing}");
    }
    for (call, said) in [
        ("compared('tinny@1', 'other@1')", "did you mean `tiny@1`?"),
        ("compared('tiny@1')", "compared takes two teachers"),
        ("churn(1, 2)", "churn takes two teachers"),
    ] {
        let sql = format!("SELECT * FROM {call}");
        let error = ask(&workspace, None, &sql).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// As texts.
fn moved(place: &Place, before: &str, after: &str) -> Vec<String> {
    let sql = format!(
        "SELECT \"from\", \"to\", images FROM {} ORDER BY 1, 2",
        catalog::churn_call(before, after)
    );
    let text = |row: &serde_json::Value| {
        let [from, to] = ["from", "to"].map(|name| row[name].as_str().unwrap().to_owned());
        format!("{from} {to} {}", row["images"])
    };
    place.sql(&sql).iter().map(text).collect()
}

/// Twelve images in shards of four, labelled by `tiny`, and by `bgr`, the same model with its channels swapped: what is red is blue.
struct Swapped {
    place: Place,
    config: String,
}

impl Swapped {
    fn new() -> Self {
        let place = Place::with_teacher();
        for n in 0..12 {
            place.put(&format!("{n:02}.jpg"), &jpeg(colour(n).0, n));
        }
        let config = place.path("understudy.toml");
        std::fs::write(&config, "[manifest]\nshard_images = 4\n").unwrap();
        let config = config.display().to_string();
        for name in ["bgr", "late"] {
            place.add_swapped(name);
        }
        let swapped = Self { place, config };
        swapped.label();
        swapped
    }

    fn label(&self) {
        self.place.label(&["--config", &self.config]);
        self.place
            .ok(&["label", "--dataset", "d", "--teacher", "bgr"]);
    }

    /// A red image of a shard is blue now, and a green one is not there.
    fn change(&self, shard: u32) {
        let images = 4 * shard..4 * shard + 4;
        let of = |name: &str| images.clone().find(|n| colour(*n).1 == name).unwrap();
        let (red, green) = (of("red"), of("green"));
        let blue = colour(of("blue")).0;
        self.place
            .put(&format!("{red:02}.jpg"), &jpeg(blue, 90 + shard));
        let gone = Path::new(&self.place.images()).join(format!("{green:02}.jpg"));
        std::fs::remove_file(gone).unwrap();
        self.label();
    }

    fn object(&self, teacher: &str, shard: u32) -> PathBuf {
        let folder = format!("w/labels/dataset=d/teacher={teacher}");
        self.place
            .path(&format!("{folder}/shard-{shard:06}.parquet"))
    }
}

#[test]
fn what_changed_is_gone_or_was_selected_is_compared_as_it_is() {
    let swapped = Swapped::new();
    let place = &swapped.place;
    let all = ["blue red 4", "green green 4", "red blue 4"];
    assert_eq!(moved(place, "tiny@1", "bgr@1"), all);
    place.select_of_d("s", &["--threshold", "0.2", "--per-class", "3"]);
    let late = ["label", "--dataset", "d", "--teacher", "late"];
    place.ok(&[&late[..], &["--selection", "s"]].concat());
    let selected = ["blue red 3", "green green 3", "red blue 3"];
    assert_eq!(moved(place, "tiny@1", "late@1"), selected);
    swapped.change(0);
    let now = ["blue red 5", "green green 3", "red blue 3"];
    assert_eq!(moved(place, "tiny@1", "bgr@1"), now);
    let left = moved(place, "tiny@1", "late@1");
    let images: u64 = left
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    let counted = "SELECT count(*) FROM labels WHERE teacher = 'late@1'";
    assert_eq!(images, u64::try_from(place.number(counted)).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_without_a_changed_image_are_answered_from_memory() {
    let swapped = Swapped::new();
    let workspace = workspace(&swapped.place).await;
    let cache = Cache::new(1 << 20, 1 << 20);
    let compared = COMPARED.replace("other@1", "bgr@1");
    let sums = "SELECT teacher, class, sum(images) AS images FROM class_bins GROUP BY teacher, class ORDER BY 1, 2";
    let same = async |cache: &Cache| {
        for sql in [compared.as_str(), sums] {
            let read = ask(&workspace, None, sql).await.unwrap();
            assert_eq!(ask(&workspace, Some(cache), sql).await.unwrap(), read);
        }
    };
    same(&cache).await;
    // The shards that count in part are found anew with each generation.
    for shard in [0, 1] {
        swapped.change(shard);
        same(&cache).await;
    }
    same(&Cache::new(1 << 20, 1 << 20)).await;
    let untouched = "SELECT count(*) AS images FROM compared('tiny@1', 'bgr@1') WHERE shard > 1";
    let before = ask(&workspace, Some(&cache), untouched).await.unwrap();
    assert!(before.contains("| 6 "), "{before}");
    let known = ask(&workspace, Some(&cache), sums).await.unwrap();
    for teacher in ["tiny@1", "bgr@1"] {
        for shard in 2..=4 {
            spoil(&swapped.object(teacher, shard));
        }
    }
    assert_eq!(
        ask(&workspace, Some(&cache), untouched).await.unwrap(),
        before
    );
    assert_eq!(ask(&workspace, Some(&cache), sums).await.unwrap(), known);
    assert!(ask(&workspace, None, sums).await.is_err());
    // Of a shard that lost images keys are read.
    spoil(&swapped.object("tiny@1", 0));
    assert!(ask(&workspace, Some(&cache), sums).await.is_err());
}
