//! A server as a user starts it, and a small HTTP/1.1 client: what a test sends is exactly what is on the wire.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Place, patiently, wait_until};

/// How long a test waits for an answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `understudy serve`; it is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    out: BufReader<ChildStdout>,
    log: PathBuf,
    /// Sent with every request.
    pub(crate) token: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body, of an answer that has to be fine.
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status < 300, "{}: {}", self.status, self.text());
        self.json()
    }

    /// The detail and the hint of a problem of this status.
    pub(crate) fn problem(&self, status: u16) -> (String, String) {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(
            problem["type"]
                .as_str()
                .unwrap()
                .starts_with("urn:understudy:")
        );
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        (text("detail"), text("hint"))
    }

    /// Reads an answer off a connection.
    pub(crate) fn read(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length: Option<usize> = headers.get("content-length").map(|n| n.parse().unwrap());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        Ok(Self {
            status,
            headers,
            body,
        })
    }
}

impl Server {
    /// Starts on any free port.
    pub(crate) fn start(place: &Place, more: &[&str]) -> Self {
        let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
        args.extend(more);
        Self::of(place, place.command(&args))
    }

    pub(crate) fn of(place: &Place, mut command: Command) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = place.path(&format!("serve-{count}.log"));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (url, said) = patiently(child.id(), || {
            let mut url = String::new();
            out.read_line(&mut url).unwrap();
            (
                url.trim().to_owned(),
                std::fs::read_to_string(&log).unwrap(),
            )
        });
        assert!(!url.is_empty(), "{said}");
        Self {
            child,
            url,
            out,
            log,
            token: None,
        }
    }

    /// The next line that it printed: where it serves Flight SQL.
    pub(crate) fn flight(&mut self) -> String {
        let (url, said) = patiently(self.pid(), || {
            let mut url = String::new();
            self.out.read_line(&mut url).unwrap();
            (url, self.log())
        });
        assert!(url.starts_with("grpc"), "{url}{said}");
        url.trim().to_owned()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let (_, address) = self.url.split_once("://").unwrap();
        TcpStream::connect(address).unwrap()
    }

    /// A request's first lines, without the empty one.
    pub(crate) fn head(&self, method: &str, path: &str) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        if let Some(token) = &self.token {
            head = format!("{head}Authorization: Bearer {token}\r\n");
        }
        head
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.connect();
        let mut request = self.head(method, path);
        for (name, value) in headers {
            request = format!("{request}{name}: {value}\r\n");
        }
        let length = body.len();
        request = format!(
            "{request}Content-Length: {length}
Connection: close

"
        );
        stream.write_all(request.as_bytes()).unwrap();
        // A server that refuses a request need not read all of it.
        let _ = stream.write_all(body);
        Answer::read(stream).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.send("POST", path, &headers, body.to_string().as_bytes())
    }

    pub(crate) fn sql(&self, query: &str) -> Answer {
        self.post("/v1/sql", &serde_json::json!({"sql": query}))
    }

    /// Labels an image, or a tar of several.
    pub(crate) fn label(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        self.send("POST", path, &[("Content-Type", kind)], body)
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The figures that begin so, summed; those that count something.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").text();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum::<f64>() as u64
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, and gives its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let (status, _) = patiently(self.pid(), || (self.child.wait().unwrap(), self.log()));
        status.code()
    }

    /// Waits until the teacher that was asked for is loaded.
    pub(crate) fn ready(&self) {
        wait_until(|| self.get("/readyz").status == 200);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token, and its line of the token file.
pub(crate) fn token(place: &Place, role: &str, name: &str) -> (String, String) {
    let made = place.run(&["tokens", "new", "--role", role, "--name", name]);
    assert!(made.status.success());
    let said = String::from_utf8(made.stderr).unwrap();
    let token = said.lines().find(|l| l.starts_with("understudy_")).unwrap();
    let line = String::from_utf8(made.stdout).unwrap();
    assert!(
        !line.contains(token) && line.starts_with(&format!("{name} {role} ")),
        "{line}"
    );
    (token.to_owned(), line)
}
