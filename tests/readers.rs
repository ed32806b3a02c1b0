//! Labels are ordinary Parquet: real DuckDB, Polars and pyarrow read them, and real onnxruntime in Python agrees with them.

use crate::support::{Place, cache, colour, jpeg, python};

#[test]
fn duckdb_polars_and_pyarrow_read_labels_and_rejects_as_ordinary_parquet() {
    let place = Place::with_teacher();
    for n in 0..20 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.put("bad.jpg", b"bad");
    place.label(&[]);
    let out = python(
        r#"
import sys, duckdb, polars as pl, pyarrow.dataset as ds
root = sys.argv[1]
glob = root + "/labels/**/*.parquet"
q = f"SELECT count(*) FILTER (reason IS NULL), count(*) FILTER (reason IS NOT NULL), min(len(probs)), min(teacher), round(sum(confidence), 3) FROM read_parquet('{glob}', hive_partitioning=true)"
print(*duckdb.sql(q).fetchall()[0])
print(round(sum(duckdb.sql(f"SELECT probs FROM '{glob}' WHERE reason IS NULL LIMIT 1").fetchall()[0][0]), 2))
t = pl.read_parquet(glob, hive_partitioning=True)
good = t.filter(pl.col("reason").is_null())
print(good.height, t.height - good.height, good["probs"].list.len().min() if good["probs"].dtype.is_nested() and "List" in str(good["probs"].dtype) and "Array" not in str(good["probs"].dtype) else good["probs"].arr.len().min(), good["teacher"][0], round(good["confidence"].cast(pl.Float64).sum(), 3))
d = ds.dataset(root + "/labels", partitioning="hive", format="parquet").to_table()
print(d.num_rows, d.filter(ds.field("reason").is_null()).num_rows, len(d["probs"][0].as_py()))
"#,
        &[&place.path("w").display().to_string()],
    );
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("20 1 4 tiny@1 "), "{out}");
    assert_eq!(lines[1], "1.0", "{out}");
    assert_eq!(lines[2], lines[0], "Polars and DuckDB disagree: {out}");
    assert_eq!(lines[3], "21 20 4", "{out}");
}

/// A workspace whose dataset `photos` was labelled by EfficientNet-Lite0, as the demo does it.
fn labelled_by_lite0(photos: &str) -> (Place, String) {
    let place = Place::new();
    place.ok(&["init"]);
    let teacher = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/pipelines/teachers/efficientnet-lite0.toml"
    );
    let model = cache().join("demo/efficientnet-lite0.onnx");
    let model = model.display().to_string();
    place.ok(&[
        "teachers", "add", "lite0", "--model", &model, "--config", teacher,
    ]);
    place.ok(&[
        "label",
        "--dataset",
        "photos",
        "--source",
        photos,
        "--teacher",
        "lite0",
    ]);
    (place, model)
}

/// Labels the images of a workspace again with Pillow and onnxruntime in Python. Gives how many were compared, how far the confidences
/// are apart at most, and the files with another top-1.
fn compared_with_python(place: &Place, model: &str) -> (u32, f64, String) {
    let csv = place.ok(&[
        "sql",
        "--format",
        "csv",
        "SELECT key, class, confidence FROM labels ORDER BY key",
    ]);
    let out = python(
        r#"
import sys, csv, io, numpy as np, onnxruntime as ort
from PIL import Image
session = ort.InferenceSession(sys.argv[1])
worst, wrong, n = 0.0, [], 0
for row in csv.DictReader(io.StringIO(sys.argv[2])):
    path = row["key"].removeprefix("file://")
    image = Image.open(path)
    if image.mode.startswith("I"):
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    image = image.convert("RGB")
    w, h = image.size
    s = min(w, h) * 224 / 256
    box = ((w - s) / 2, (h - s) / 2, (w + s) / 2, (h + s) / 2)
    x = np.asarray(image.resize((224, 224), Image.BICUBIC, box=box), np.float32)
    x = ((x - 127) / 128).transpose(2, 0, 1)[None]
    logits = session.run(None, {"input": x})[0][0]
    p = np.exp(logits - logits.max()); p /= p.sum()
    n += 1
    apart = abs(float(p.max()) - float(row["confidence"]))
    worst = max(worst, apart)
    if int(p.argmax()) != int(row["class"]):
        wrong.append(path)
print(n, worst, wrong)
"#,
        &[model, &csv],
    );
    let mut parts = out.trim().splitn(3, ' ');
    let mut next = || parts.next().unwrap().to_owned();
    (next().parse().unwrap(), next().parse().unwrap(), next())
}

#[test]
fn the_demos_labels_make_sense_and_agree_with_onnxruntime_in_python() {
    let photos = cache().join("demo/photos").display().to_string();
    let (place, model) = labelled_by_lite0(&photos);
    let label = |name: &str| {
        let query = format!("SELECT label FROM labels WHERE key LIKE '%{name}'");
        place.sql(&query)[0]["label"].as_str().unwrap().to_owned()
    };
    let cat = label("chelsea.png");
    assert!(
        ["tabby", "tiger cat", "Egyptian cat"].contains(&cat.as_str()),
        "chelsea is a {cat}"
    );
    assert_eq!(label("coffee.png"), "espresso");
    let (n, worst, wrong) = compared_with_python(&place, &model);
    assert!(n >= 20, "{n} photos were compared");
    assert!(worst < 0.01, "the confidences are up to {worst} apart");
    assert_eq!(wrong, "[]");
}

#[test]
fn images_of_every_kind_that_pillow_writes_are_seen_as_pillow_sees_them() {
    let folder = Place::new();
    let kinds = python(
        r#"
import sys, numpy as np
from PIL import Image
cat, out = Image.open(sys.argv[1]).convert("RGB"), sys.argv[2] + "/"
grey = cat.convert("L")
alpha = cat.copy(); alpha.putalpha(grey)
sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
clear = cat.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
kinds = {
    "baseline.jpg": (cat, {"quality": 90}), "444.jpg": (cat, {"quality": 90, "subsampling": 0}), "progressive.jpg": (cat, {"quality": 90, "progressive": True}),
    "grey.jpg": (grey, {"quality": 90}), "cmyk.jpg": (cat.convert("CMYK"), {"quality": 90}), "grey-progressive.jpg": (grey, {"progressive": True}),
    "rgb.png": (cat, {}), "grey.png": (grey, {}), "one-bit.png": (cat.convert("1"), {}), "sixteen.png": (sixteen, {}), "alpha.png": (alpha, {}),
    "grey-alpha.png": (alpha.convert("LA"), {}), "palette.png": (clear, {}), "palette-transparent.png": (clear, {"transparency": 3}),
    "lossy.webp": (cat, {"quality": 90}), "lossless.webp": (cat, {"lossless": True}), "alpha.webp": (alpha, {"lossless": True}),
    "still.gif": (clear, {}), "animated.gif": (clear, {"save_all": True, "append_images": [clear.rotate(180)]}),
    "rgb.bmp": (cat, {}), "palette.bmp": (clear, {}), "raw.tiff": (cat, {}), "lzw.tiff": (cat, {"compression": "tiff_lzw"}), "deflate.tiff": (cat, {"compression": "tiff_adobe_deflate"}),
    "sixteen.tiff": (sixteen, {}),
}
for name, (image, options) in kinds.items():
    image.save(out + name, **options)
print(len(kinds))
"#,
        &[
            &cache()
                .join("demo/photos/chelsea.png")
                .display()
                .to_string(),
            &folder.images(),
        ],
    );
    let (place, model) = labelled_by_lite0(&folder.images());
    assert_eq!(
        place.sql("SELECT key, detail FROM rejects"),
        Vec::<serde_json::Value>::new()
    );
    let (n, worst, wrong) = compared_with_python(&place, &model);
    assert_eq!(n.to_string(), kinds.trim());
    assert!(worst < 0.02, "the confidences are up to {worst} apart");
    assert_eq!(wrong, "[]");
}
