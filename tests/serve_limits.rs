//! What a server does with those who want too much of it: large bodies, slow clients, many connections; and how it ends.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::support::http::{Answer, Server};
use crate::support::onnx::Model;
use crate::support::{Place, colour, jpeg, processor_ticks, wait_until};

/// A server with such a serve.toml.
fn server(place: &Place, config: &str) -> Server {
    let path = place.path("serve.toml").display().to_string();
    std::fs::write(&path, config).unwrap();
    Server::start(place, &["--config", &path])
}

fn promoted() -> Place {
    let place = Place::with_teacher();
    place.ok(&["promote", "tiny"]);
    place
}

/// The server's resident memory in MB at its highest.
fn peak_mb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap();
    let kb: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kb / 1024
}

/// A connection on which a query was sent.
fn asking(server: &Server, body: &str) -> TcpStream {
    let mut stream = server.connect();
    let head = server.head("POST", "/v1/sql")
        + &format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Waits until a server computes that had nothing to do.
fn wait_for_work(server: &Server) {
    let before = processor_ticks(server.pid());
    wait_until(|| processor_ticks(server.pid()) >= before + 20);
}

#[test]
fn an_upload_of_a_gigabyte_is_refused_without_being_read() {
    let place = promoted();
    let server = server(&place, "");
    server
        .label("/v1/label", "image/jpeg", &jpeg(colour(0).0, 0))
        .ok();
    let before = peak_mb(&server);
    // One that says what it is: the answer is there before a byte of the body.
    let mut stream = server.connect();
    let head = server.head("POST", "/v1/label")
        + "Content-Type: image/jpeg\r\nContent-Length: 1073741824\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let (detail, _) = Answer::read(stream).unwrap().problem(413);
    assert_eq!(detail, "the body has more than 67108864 bytes");
    // One that does not say: it is left where the limit is.
    let mut stream = server.connect();
    let head = server.head("POST", "/v1/label")
        + "Content-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![0_u8; 1 << 20];
    let mut sent = 0_u64;
    while sent < 1 << 30 {
        let chunk = [b"100000\r\n".as_slice(), &piece, b"\r\n"].concat();
        if stream.write_all(&chunk).is_err() {
            break;
        }
        sent += 1 << 20;
    }
    assert!(sent < 200 << 20, "{sent} bytes were taken");
    if let Ok(answer) = Answer::read(stream) {
        answer.problem(413);
    }
    assert!(
        peak_mb(&server) - before < 200,
        "{} MB after {before}",
        peak_mb(&server)
    );
    assert!(
        server.metric(
            "understudy_http_requests_total{method=\"POST\",route=\"/v1/label\",status=\"413\"}"
        ) >= 2
    );
    // JSON bodies have a limit of their own.
    let long = format!("{{\"sql\": \"{}\"}}", " ".repeat(2 << 20));
    server
        .send(
            "POST",
            "/v1/sql",
            &[("Content-Type", "application/json")],
            long.as_bytes(),
        )
        .problem(413);
}

#[test]
fn slow_clients_are_given_up_at_each_stage_of_a_request() {
    let place = promoted();
    let server = server(
        &place,
        "[limits]\nheader_timeout_s = 2.0\nbody_timeout_s = 2.0\n",
    );
    // Nothing at all; half a header; a connection that is kept and not used again.
    let kept = server.head("GET", "/healthz") + "\r\n";
    for first in ["", "GET /healthz HTTP/1.1\r\nHost: t\r\n", &kept] {
        let started = Instant::now();
        let mut stream = server.connect();
        stream.write_all(first.as_bytes()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_mins(1)))
            .unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(
            started.elapsed() >= Duration::from_millis(1900),
            "{first:?}"
        );
    }
    // A body that drips.
    let mut stream = server.connect();
    let head = server.head("POST", "/v1/label")
        + "Content-Type: image/jpeg\r\nContent-Length: 100\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"x").unwrap();
    let (detail, _) = Answer::read(stream).unwrap().problem(408);
    assert_eq!(detail, "the body was not there after 2 s");
    // A body that breaks off.
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let _ = Answer::read(stream);
    server.get("/healthz").ok();
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let place = promoted();
    let server = server(
        &place,
        "[limits]\nconnections = 2\nheader_timeout_s = 2.0\n",
    );
    let started = Instant::now();
    let idle = [server.connect(), server.connect()];
    wait_until(|| server.log().contains("listening"));
    // Both places are taken until their header is overdue.
    server.get("/healthz").ok();
    assert!(
        started.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        started.elapsed()
    );
    drop(idle);
}

#[test]
fn a_client_that_takes_no_bytes_is_given_up() {
    let place = promoted();
    let server = server(&place, "[limits]\nwrite_timeout_s = 0.5\n");
    let query = r#"{"sql": "SELECT repeat('x', 20000) AS x FROM generate_series(1, 2000)"}"#;
    let mut stream = asking(&server, query);
    // 40 MB are on their way, of which the kernel takes a few.
    wait_until(|| server.log().contains("/v1/sql"));
    wait_until(|| server.metric("understudy_http_connections ") <= 1);
    let mut taken = Vec::new();
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let _ = stream.read_to_end(&mut taken);
    assert!(taken.len() < 40_000_000, "{}", taken.len());
}

#[test]
fn a_server_that_stops_finishes_what_is_under_way_and_takes_nothing_new() {
    for signal in ["-TERM", "-INT"] {
        let place = promoted();
        let mut server = server(
            &place,
            "[limits]\nshutdown_s = 600.0\nbody_timeout_s = 600.0\n",
        );
        server.ready();
        // An upload that the server waits for: it has asked for the body.
        let image = jpeg(colour(0).0, 0);
        let mut upload = server.connect();
        let head = server.head("POST", "/v1/label")
            + &format!(
                "Content-Type: image/jpeg\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
                image.len()
            );
        upload.write_all(head.as_bytes()).unwrap();
        let mut asked = [0; 25];
        upload.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        let query =
            "SELECT count(*) AS n FROM generate_series(1, 300000000) AS s(v) WHERE v % 3 = 1";
        let body = serde_json::json!({ "sql": query }).to_string();
        let stream = asking(&server, &body);
        wait_for_work(&server);
        server.signal(signal);
        wait_until(|| server.log().contains("stopping once"));
        // The port is free, and may be that of another test's server soon: what is asked there does not reach this one.
        let mut late = 0;
        wait_until(|| {
            late += 1;
            let path = format!("/late-{late}");
            let address = server.url.trim_start_matches("http://");
            let asked = TcpStream::connect(address).and_then(|mut stream| {
                let head = server.head("GET", &path) + "Connection: close\r\n\r\n";
                stream.write_all(head.as_bytes())?;
                Answer::read(stream)
            });
            asked.is_err() || !server.log().contains(&path)
        });
        let answer = Answer::read(stream).unwrap();
        assert_eq!(answer.ok()["rows"][0]["n"], 100_000_000);
        upload.write_all(&image).unwrap();
        assert_eq!(
            Answer::read(upload).unwrap().ok()["images"][0]["label"],
            "red"
        );
        assert_eq!(server.ended(), Some(0));
        assert!(server.log().contains("stopped"), "{}", server.log());
    }
}

#[test]
fn a_stop_waits_no_longer_than_it_may() {
    let place = promoted();
    let mut server = server(
        &place,
        "[limits]\nshutdown_s = 0.5\nbody_timeout_s = 600.0\n",
    );
    server.get("/healthz").ok();
    let mut stream = server.connect();
    let head = server.head("POST", "/v1/label")
        + "Content-Type: image/jpeg\r\nContent-Length: 100\r\n\r\nx";
    stream.write_all(head.as_bytes()).unwrap();
    // This one, and the one that asks.
    wait_until(|| server.metric("understudy_http_connections ") >= 2);
    let started = Instant::now();
    server.signal("-TERM");
    assert_eq!(server.ended(), Some(0));
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_client_that_leaves_is_counted_and_logged() {
    let place = promoted();
    let server = server(&place, "");
    let query = r#"{"sql": "SELECT count(*) FROM generate_series(1, 1000000000000) AS s(v) WHERE v % 3 = 1"}"#;
    server.ready();
    let stream = asking(&server, query);
    wait_for_work(&server);
    drop(stream);
    wait_until(|| server.log().contains("the client has left"));
    let text = server.get("/metrics").text();
    let line = text.lines().find(|line| line.contains("499"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("/v1/sql"), "{line}");
}

#[test]
fn bodies_have_room_for_so_many_bytes_together() {
    let place = promoted();
    place.add_teacher("other", &Model::default());
    let server = server(
        &place,
        "[limits]\nbody_bytes = 100000\nbodies_bytes = 120000\n",
    );
    let image = jpeg(colour(0).0, 0);
    server.label("/v1/label", "image/jpeg", &image).ok();
    let head = server.head("POST", "/v1/label")
        + "Content-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\nx";
    let large = vec![0; 90_000];
    // One that has not come yet has its room; where the large one was there before it, it is refused, and the next one tries.
    let waiting = RefCell::new(Vec::new());
    wait_until(|| {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        waiting.borrow_mut().push(stream);
        server.label("/v1/label", "image/jpeg", &large).status == 429
    });
    let answer = server.label("/v1/label", "image/jpeg", &large);
    answer.problem(429);
    assert_eq!(answer.headers["retry-after"], "1");
    // A small one fits beside it.
    server.label("/v1/label", "image/jpeg", &image).ok();
    drop(waiting);
    wait_until(|| server.label("/v1/label", "image/jpeg", &large).status == 200);
}
