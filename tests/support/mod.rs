//! What the tests share: the real executable run as a child, workspaces, images, small ONNX models, tars, an S3 server.

pub(crate) mod fashion;
mod folder;
pub(crate) mod http;
pub(crate) mod labels;
pub(crate) mod onnx;
pub(crate) mod s3;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

pub(crate) use folder::folder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use onnx::Model;
use tempfile::TempDir;

/// The class names of the small models.
pub(crate) const CLASSES: [&str; 4] = ["red", "green", "blue", "dark"];

/// A temporary folder with a workspace `w` and a folder of images `images`.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    /// An initialised workspace with a teacher `tiny`.
    pub(crate) fn with_teacher() -> Self {
        Self::with_model(&Model::default())
    }

    /// The same, by a teacher that takes the longer for an image, the larger its sides are.
    pub(crate) fn with_slow_teacher(side: u64) -> Self {
        Self::with_model(&Model {
            side,
            ..Model::default()
        })
    }

    fn with_model(model: &Model) -> Self {
        let place = Self::new();
        place.ok(&["init"]);
        place.add_teacher("tiny", model);
        place
    }

    pub(crate) fn new() -> Self {
        let dir = folder();
        std::fs::create_dir(dir.path().join("images")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn images(&self) -> String {
        self.path("images").display().to_string()
    }

    /// Writes a file below `images`.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path("images").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Gives an image other bytes, as many, without a trace: for its dataset it is the one that was listed.
    pub(crate) fn mend(&self, name: &str, bytes: &[u8]) {
        let path = self.path("images").join(name);
        let before = std::fs::metadata(&path).unwrap();
        assert_eq!(before.len(), bytes.len() as u64);
        std::fs::write(&path, bytes).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command
            .args(args)
            .env("UNDERSTUDY_WORKSPACE", self.path("w"))
            .env_remove("RUST_LOG");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        output(&mut self.command(args))
    }

    /// Runs, expects success, gives standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "understudy {args:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs, expects failure, gives the exit code and standard error.
    pub(crate) fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "understudy {args:?} succeeded");
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    }

    /// Labels the folder `images` as dataset `d`, and gives the summary.
    pub(crate) fn label(&self, more: &[&str]) -> serde_json::Value {
        let images = self.images();
        let mut args = label_args(&images).to_vec();
        args.extend(more);
        args.push("--json");
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    /// Selects from `tiny`'s labels of dataset `d`, and gives what is printed.
    pub(crate) fn select_of_d(&self, name: &str, more: &[&str]) -> String {
        let select = ["select", "--name", name];
        let of = ["--dataset", "d", "--teacher", "tiny"];
        self.ok(&[&select[..], &of, more].concat())
    }

    /// The rows of a query.
    pub(crate) fn sql(&self, query: &str) -> Vec<serde_json::Value> {
        self.ok(&["sql", "--format", "json", query])
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The single number of a query.
    pub(crate) fn number(&self, query: &str) -> i64 {
        let rows = self.sql(query);
        let row = rows[0].as_object().unwrap();
        row.values().next().unwrap().as_i64().unwrap()
    }

    pub(crate) fn add_teacher(&self, name: &str, model: &Model) {
        let [onnx, toml] = self.write_model(model);
        self.ok(&["teachers", "add", name, "--model", &onnx, "--config", &toml]);
    }

    /// Adds the model of `tiny` with its channels swapped: what is red to the one is blue to the other.
    pub(crate) fn add_swapped(&self, name: &str) {
        self.add_changed(name, "[preprocess]", "[preprocess]\nchannels = \"bgr\"");
    }

    /// Adds the model of `tiny` with something else in its teacher.toml.
    pub(crate) fn add_changed(&self, name: &str, what: &str, with: &str) {
        let [onnx, toml] = self.write_model(&Model::default());
        let plain = std::fs::read_to_string(toml).unwrap();
        let changed = plain.replace(what, with);
        assert_ne!(changed, plain);
        let toml = self.path("changed.toml");
        std::fs::write(&toml, changed).unwrap();
        let toml = toml.display().to_string();
        self.ok(&["teachers", "add", name, "--model", &onnx, "--config", &toml]);
    }

    /// Writes a model and its teacher.toml, and tells where.
    pub(crate) fn write_model(&self, model: &Model) -> [String; 2] {
        let (onnx, toml) = (self.path("model.onnx"), self.path("teacher.toml"));
        std::fs::write(&onnx, model.bytes()).unwrap();
        std::fs::write(&toml, model.teacher_toml()).unwrap();
        [onnx, toml].map(|path| path.display().to_string())
    }

    /// Every file of the labels, by its path below the workspace.
    pub(crate) fn labels(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.path("w/labels"))
    }
}

/// How a source becomes dataset `d`, labelled by `tiny`.
pub(crate) fn label_args(source: &str) -> [&str; 7] {
    [
        "label",
        "--dataset",
        "d",
        "--source",
        source,
        "--teacher",
        "tiny",
    ]
}

/// Sends Ctrl-C.
pub(crate) fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
}

/// How long a test waits for another process.
const PATIENCE: Duration = Duration::from_mins(5);

/// Waits for a process's end, or for what it says. One that hangs is killed, which ends the waiting as well, and the test fails with what came of it.
pub(crate) fn patiently<T: std::fmt::Debug>(pid: u32, wait: impl FnOnce() -> T) -> T {
    let (waiting, over) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let hangs = over.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
        if hangs {
            let pid = pid.to_string();
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
        hangs
    });
    let came = wait();
    drop(waiting);
    let hung = watch.join().unwrap();
    assert!(!hung, "it hung, and was killed after 5 minutes: {came:?}");
    came
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    let command = command.stdin(Stdio::null());
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.spawn().unwrap();
    patiently(child.id(), || child.wait_with_output()).unwrap()
}

/// Processor time that a process has used, in ticks of 10 ms.
pub(crate) fn processor_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, in brackets, come the state and ten numbers, then the user's and the system's time.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<_> = rest.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waits for something that another process does.
pub(crate) fn wait_until(mut met: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < end, "it did not come to that in 5 minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every file below a folder, by name.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap();
            (
                name.display().to_string(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// The names of files that are in one of the two alone, or have other bytes.
pub(crate) fn differing(
    one: &BTreeMap<String, Vec<u8>>,
    two: &BTreeMap<String, Vec<u8>>,
) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = one.keys().chain(two.keys()).collect();
    let differ = names.into_iter().filter(|n| one.get(*n) != two.get(*n));
    differ.cloned().collect()
}

/// A real JPEG of one colour with a little texture, different for every `n`.
pub(crate) fn jpeg(colour: [u8; 3], n: u32) -> Vec<u8> {
    encoded(&picture(colour, n, 40, 30), ImageFormat::Jpeg)
}

pub(crate) fn png(colour: [u8; 3], n: u32) -> Vec<u8> {
    encoded(&picture(colour, n, 40, 30), ImageFormat::Png)
}

fn picture(colour: [u8; 3], n: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let noise = (x * 7 + y * 13 + n * 31) % 23;
        Rgb(colour.map(|c| c.saturating_add(noise as u8)))
    })
}

fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image.clone())
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

/// The colour of the `n`-th test image, and its class.
pub(crate) fn colour(n: u32) -> ([u8; 3], &'static str) {
    [
        ([200, 20, 20], "red"),
        ([20, 200, 20], "green"),
        ([20, 20, 200], "blue"),
    ][n as usize % 3]
}

/// A ustar archive of these members.
pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, data) in members {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend(header);
        bytes.extend(*data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A Parquet file as Hugging Face's datasets have them: `image: struct<bytes, path>`.
pub(crate) fn parquet_with_images(images: &[Option<&[u8]>]) -> Vec<u8> {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
    use arrow::datatypes::{DataType, Field};
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter(images));
    let paths: ArrayRef = Arc::new(images.iter().map(|_| Some("p")).collect::<StringArray>());
    let image = StructArray::from(vec![
        (Arc::new(Field::new("bytes", DataType::Binary, true)), bytes),
        (Arc::new(Field::new("path", DataType::Utf8, true)), paths),
    ]);
    let batch = RecordBatch::try_from_iter([("image", Arc::new(image) as ArrayRef)]).unwrap();
    let mut out = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    out
}

/// A Parquet file as Hugging Face's datasets have them, with a column of labels whose class names stand in the metadata.
pub(crate) fn parquet_with_labels(images: &[(Vec<u8>, Option<i64>)], names: &[&str]) -> Vec<u8> {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StructArray};
    use arrow::datatypes::{DataType, Field};
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::WriterProperties;
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(images.iter().map(|i| &i.0)));
    let image = StructArray::from(vec![(
        Arc::new(Field::new("bytes", DataType::Binary, true)),
        bytes,
    )]);
    let labels: ArrayRef = Arc::new(images.iter().map(|i| i.1).collect::<Int64Array>());
    let batch =
        RecordBatch::try_from_iter([("image", Arc::new(image) as ArrayRef), ("label", labels)])
            .unwrap();
    let described = serde_json::json!({
        "info": {"features": {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}}
    });
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(5))
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "huggingface".to_owned(),
            described.to_string(),
        )]))
        .build();
    let mut out = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    out
}

/// The Python of the test environment that `make setup` makes, with DuckDB, Polars, pyarrow and onnxruntime.
pub(crate) fn python(script: &str, args: &[&str]) -> String {
    let python = cache().join("venv-test/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run `make setup`",
        python.display()
    );
    let output = output(Command::new(python).args(["-c", script]).args(args));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Where `make setup` puts things.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("UNDERSTUDY_CACHE").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/understudy"),
        PathBuf::from,
    )
}
