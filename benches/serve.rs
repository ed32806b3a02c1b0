//! `POST /v1/label` against `understudy label` on the same photos: the rate at saturation, latency by offered load, and what is refused beyond.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::label;
use crate::programs::{Failure, Report, middle};

/// Rounds of both sides, in turns.
const ROUNDS: usize = 3;
/// Photos that requests send, over and over.
const PHOTOS: usize = 500;
/// Connections at saturation, each with one request at a time: some more than the images of the batches under way.
const CONNECTIONS: usize = 16;
/// How long a load is offered.
const OFFERED: Duration = Duration::from_secs(15);
/// Loads, as parts of the rate at saturation.
const LOADS: [f64; 5] = [0.25, 0.5, 0.75, 0.9, 1.5];
/// Requests under way at most while a load is offered: more than the queue holds, so that it fills up.
const CLIENTS: usize = 128;

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(workspace: &Path, more: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_understudy"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(more)
            .env("UNDERSTUDY_WORKSPACE", workspace)
            .env("RUST_LOG", "error")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut url = String::new();
        let out = child.stdout.take().ok_or("the server has no output")?;
        BufReader::new(out).read_line(&mut url)?;
        let address = url.trim().trim_start_matches("http://").to_owned();
        let server = Self { child, address };
        let end = Instant::now() + Duration::from_mins(1);
        while Client::to(&server.address)?.ask("GET /readyz", b"")? != 200 {
            if Instant::now() > end {
                return Err("the server is not ready after a minute".into());
            }
            sleep(Duration::from_millis(100));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that is kept.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn to(address: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request, takes its whole answer, and gives its status.
    pub(crate) fn ask(&mut self, what: &str, body: &[u8]) -> Result<u16, Failure> {
        let length = body.len();
        let head = format!(
            "{what} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.stream.get_mut().write_all(body)?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.split(' ').next().unwrap_or_default().parse()?;
            } else if let Some(rest) = line.strip_prefix("content-length:") {
                length = rest.trim().parse()?;
            } else if line.is_empty() {
                break;
            }
        }
        std::io::copy(&mut (&mut self.stream).take(length), &mut std::io::sink())?;
        Ok(status)
    }
}

/// What became of an offered load.
#[derive(Default)]
struct Offered {
    /// Milliseconds from when a request was due to its answer, ascending.
    done: Vec<f64>,
    refused: usize,
    /// Milliseconds until a refusal.
    refusals: Vec<f64>,
}

fn percentile(ascending: &[f64], part: f64) -> f64 {
    let last = ascending.len().saturating_sub(1);
    ascending
        .get((last as f64 * part).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// Every connection asks as soon as it has its answer; images a second.
fn saturated(address: &str, photos: &[Vec<u8>]) -> Result<f64, Failure> {
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let ask = || -> Result<usize, String> {
        let mut client = Client::to(address).map_err(|e| e.to_string())?;
        let mut done = 0;
        while started.elapsed() < OFFERED {
            let photo = &photos[next.fetch_add(1, Ordering::Relaxed) % photos.len()];
            let status = client.ask("POST /v1/label", photo);
            match status.map_err(|e| e.to_string())? {
                200 => done += 1,
                other => return Err(format!("status {other} below the queue's size")),
            }
        }
        Ok(done)
    };
    let done: Result<Vec<usize>, String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
        all.into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err("a client failed".into())))
            .collect()
    });
    Ok(done?.iter().sum::<usize>() as f64 / started.elapsed().as_secs_f64())
}

/// So many requests a second, whatever the answers: a request that comes late for want of a client is late by that much.
fn offered(address: &str, photos: &[Vec<u8>], rate: f64) -> Result<Offered, Failure> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Offered::default());
    let started = Instant::now();
    let ask = || -> Result<(), String> {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs_f64(n as f64 / rate);
            if due > OFFERED {
                return Ok(());
            }
            sleep(due.saturating_sub(started.elapsed()));
            // A connection of its own: at a low load one that is kept would be idle for longer than the server waits.
            let mut client = Client::to(address).map_err(|e| e.to_string())?;
            let status = client.ask("POST /v1/label", &photos[n % photos.len()]);
            let status = status.map_err(|e| e.to_string())?;
            let millis = (started.elapsed().saturating_sub(due)).as_secs_f64() * 1e3;
            let mut all = all.lock().map_err(|e| e.to_string())?;
            match status {
                200 => all.done.push(millis),
                429 => {
                    all.refused += 1;
                    all.refusals.push(millis);
                }
                other => return Err(format!("status {other}")),
            }
        }
    };
    let asked: Result<Vec<()>, String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        all.into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err("a client failed".into())))
            .collect()
    });
    asked?;
    let mut all = all.into_inner()?;
    all.done.sort_by(f64::total_cmp);
    all.refusals.sort_by(f64::total_cmp);
    Ok(all)
}

/// See the module.
pub(crate) fn serve(folder: &Path) -> Result<Report, Failure> {
    let place = label::photos("photos", &["--count", &label::PHOTOS.to_string()])?;
    let mut names: Vec<_> = std::fs::read_dir(&place)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    names.sort();
    let photos: Vec<Vec<u8>> = names
        .iter()
        .take(PHOTOS)
        .map(std::fs::read)
        .collect::<Result<_, _>>()?;
    let (mut batch, mut service) = (Vec::new(), Vec::new());
    let mut last = None;
    for round in 0..ROUNDS {
        let at = label::workspace(folder, &format!("serve-{round}"))?;
        batch.push(label::label(&at, &place, &[])?.rate);
        // One model at a time: two processes would share the cores.
        drop(last.take());
        let server = Server::start(&at, &["--teacher", "lite0"])?;
        service.push(saturated(&server.address, &photos)?);
        last = Some(server);
    }
    let server = last.ok_or("no round was run")?;
    let ratios = service.iter().zip(&batch).map(|(a, b)| a / b).collect();
    let (rate, of_batch) = (middle(service), middle(batch));
    let mut report = Report::new(&format!(
        "POST /v1/label, one photo a request, EfficientNet-Lite0, {CONNECTIONS} connections, clients on the same cores, median of {ROUNDS} interleaved rounds"
    ));
    report.line("understudy label", &format!("{of_batch:.0} images/s"));
    report.line(
        "POST /v1/label at saturation",
        &format!("{rate:.0} images/s"),
    );
    report.ratio("of the batch label rate", middle(ratios), "≥ 0.85", |r| {
        r >= 0.85
    });
    for load in LOADS {
        let offered = offered(&server.address, &photos, rate * load)?;
        let of = |part| percentile(&offered.done, part);
        report.line(
            &format!("{:.0} requests/s offered ({load} of saturation)", rate * load),
            &format!(
                "{} labelled, p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms; {} refused, p95 after {:.1} ms",
                offered.done.len(),
                of(0.5),
                of(0.95),
                of(0.99),
                offered.refused,
                if offered.refused == 0 { 0.0 } else { percentile(&offered.refusals, 0.95) },
            ),
        );
    }
    Ok(report)
}
