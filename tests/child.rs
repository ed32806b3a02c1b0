//! The executable as a child: its exit code comes through, and it ends with its parent.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use understudy::Error;
use understudy::child;

use crate::support::{Place, patiently};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_understudy");

fn args(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

#[tokio::test]
async fn a_childs_exit_code_is_its_parents() {
    let place = Place::with_teacher();
    let workspace = place.path("w").display().to_string();
    let executable = Path::new(EXECUTABLE);
    let list = ["teachers", "list", "--workspace", &workspace];
    child::run(executable, &args(&list)).await.unwrap();
    let show = ["teachers", "show", "nobody", "--workspace", &workspace];
    let error = child::run(executable, &args(&show)).await.unwrap_err();
    assert_eq!(error.to_string(), "`understudy teachers` failed");
    assert_eq!(Error::from(error).exit_code(), 3);
    let error = child::run(Path::new("/nowhere/understudy"), &args(&list))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot run `understudy teachers` as a child"),
        "{error}"
    );

    assert_eq!(
        child::ask(executable, &args(&["--version"])).unwrap(),
        b"understudy 0.1.0\n"
    );
    let words = child::ask(executable, &args(&show)).unwrap_err();
    assert_eq!(words, "the workspace has no teacher `nobody`");
}

#[test]
fn a_child_ends_with_its_parent() {
    // A store that never answers: the child would wait for minutes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("endpoint=http://{}", silent.local_addr().unwrap());
    let place = Place::new();
    let start = |mark: &str| {
        place
            .command(&["teachers", "list", "--workspace", "s3://bucket/w"])
            .args([
                "--storage-option",
                &endpoint,
                "--storage-option",
                "allow_http=true",
            ])
            .args([
                "--storage-option",
                "access_key_id=a",
                "--storage-option",
                "secret_access_key=b",
            ])
            .env(mark, "1")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut child = start("UNDERSTUDY_CHILD");
    let lifeline = child.stdin.take();
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        child.try_wait().unwrap().is_none(),
        "it waits for the store"
    );
    drop(lifeline);
    let dropped = Instant::now();
    let status = patiently(child.id(), || child.wait()).unwrap();
    // What it was doing goes on where a parent has it.
    assert_eq!(status.code(), Some(130));
    assert!(
        dropped.elapsed() < Duration::from_mins(1),
        "{:?}",
        dropped.elapsed()
    );

    // Who is no child does not look at its standard input.
    let mut other = start("UNRELATED");
    drop(other.stdin.take());
    std::thread::sleep(Duration::from_millis(500));
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}
