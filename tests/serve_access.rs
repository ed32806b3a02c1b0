//! Who may do what with a server: tokens, roles, addresses, TLS.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::http::{Answer, Server, token};
use crate::support::{Place, python, wait_until};

#[test]
fn a_token_allows_what_its_role_allows_and_a_wrong_one_nothing() {
    let place = Place::with_teacher();
    let tokens: Vec<_> = ["read", "submit", "promote"]
        .iter()
        .map(|role| token(&place, role, &format!("{role}-name")))
        .collect();
    let file = place.path("tokens").display().to_string();
    let lines: String = tokens.iter().map(|(_, line)| line.as_str()).collect();
    std::fs::write(&file, &lines).unwrap();
    let mut server = Server::start(&place, &["--tokens", &file]);
    // Without a token: what tells that the server is there, and nothing else.
    for open in ["/healthz", "/readyz", "/v1/openapi.json"] {
        server.get(open).ok();
    }
    for path in ["/v1/teachers", "/v1/datasets/d", "/metrics", "/v1/audit"] {
        let answer = server.get(path);
        let (_, hint) = answer.problem(401);
        assert!(hint.contains("Authorization: Bearer"), "{hint}");
        assert!(answer.headers["www-authenticate"].starts_with("Bearer"));
    }
    server.sql("SELECT 1").problem(401);
    server.label("/v1/label", "image/jpeg", b"x").problem(401);
    let right = &tokens[0].0;
    let other = token(&place, "promote", "nobody").0;
    for wrong in [
        "",
        "x",
        &right[..right.len() - 1],
        &format!("{right}0"),
        &other,
    ] {
        server.token = Some(wrong.to_owned());
        server.get("/v1/teachers").problem(401);
    }
    let basic = [("Authorization", format!("Basic {right}"))];
    server.token = None;
    server
        .send(
            "GET",
            "/v1/teachers",
            &[("Authorization", &basic[0].1)],
            b"",
        )
        .problem(401);
    for ((token, _), role) in tokens.iter().zip(["read", "submit", "promote"]) {
        server.token = Some(token.clone());
        server.get("/v1/teachers").ok();
        server.sql("SELECT count(*) AS n FROM labels").ok();
        let promoted = server.post("/v1/promotions", &json!({"teacher": "tiny"}));
        if role == "promote" {
            assert_eq!(promoted.status, 201);
        } else {
            let (detail, _) = promoted.problem(403);
            assert_eq!(
                detail,
                format!("this needs the role promote, the token `{role}-name` has {role}")
            );
            server.post("/v1/rollbacks", &json!({})).problem(403);
        }
    }
    assert_eq!(
        place.sql("SELECT who, role, action, outcome FROM audit"),
        [json!({"who": "promote-name", "role": "promote", "action": "promote", "outcome": "done"})]
    );
    // A token that is taken out of the file is refused, without a restart.
    let kept: String = tokens[..2].iter().map(|(_, line)| line.as_str()).collect();
    std::fs::write(&file, kept).unwrap();
    wait_until(|| server.get("/v1/teachers").status == 401);
    // A file that makes no sense changes nothing.
    std::fs::write(&file, "nonsense").unwrap();
    server.token = Some(right.clone());
    wait_until(|| server.log().contains("the tokens stay as they were"));
    server.get("/v1/teachers").ok();
    let log = server.log();
    assert!(
        !log.contains(right) && !log.contains(&right["understudy_".len()..]),
        "{log}"
    );
}

#[test]
fn a_server_without_tokens_is_not_reached_under_the_name_of_a_web_page() {
    let place = Place::with_teacher();
    let server = Server::start(&place, &[]);
    let called = |host: &str| {
        let mut stream = server.connect();
        let request =
            format!("GET /v1/teachers HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(stream).unwrap()
    };
    for own in [
        "localhost",
        "localhost:8080",
        "127.0.0.1:8080",
        "[::1]:8080",
    ] {
        called(own).ok();
    }
    for foreign in ["evil.example", "127.0.0.1.evil.example:8080", "10.0.0.1"] {
        called(foreign).problem(403);
    }
    // Nor does a form of a page change anything: it cannot send JSON without being asked.
    let forms = [("Content-Type", "text/plain")];
    server
        .send("POST", "/v1/promotions", &forms, br#"{"teacher": "tiny"}"#)
        .problem(415);
    server
        .send("OPTIONS", "/v1/promotions", &[], b"")
        .problem(405);
    // Where nothing has to be sent the browser says whose form it is.
    let cancel = |origin: &str| {
        let said = [("Origin", origin)];
        server.send("POST", "/v1/jobs/job-0123456789abcdef/cancel", &said, b"")
    };
    for foreign in [
        "https://evil.example",
        "http://127.0.0.1.evil.example",
        "null",
        "",
    ] {
        cancel(foreign).problem(403);
    }
    for own in [
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://[::1]",
    ] {
        cancel(own).problem(404);
    }
}

#[test]
fn another_address_than_loopback_needs_tokens() {
    let place = Place::with_teacher();
    let (code, text) = place.fails(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(text, @r"
    error: `0.0.0.0:0` can be reached from other machines, and there is no token file

    hint: make tokens with `understudy tokens new` and give their file with --tokens, or listen on 127.0.0.1
    ");
    let file = place.path("tokens").display().to_string();
    std::fs::write(&file, token(&place, "read", "a").1).unwrap();
    let mut command = place.command(&["serve", "--listen", "0.0.0.0:0", "--tokens", &file]);
    command.stdin(Stdio::null());
    let server = Server::of(&place, command);
    assert!(server.url.starts_with("http://0.0.0.0:"), "{}", server.url);
}

#[test]
fn what_keeps_a_server_from_beginning_is_named() {
    let place = Place::with_teacher();
    let file = |name: &str, text: &str| {
        let path = place.path(name).display().to_string();
        std::fs::write(&path, text).unwrap();
        path
    };
    let empty = file("tokens", "# nobody\n");
    let (code, text) = place.fails(&["serve", "--tokens", &empty]);
    assert!(code == 2 && text.contains("has no tokens"), "{text}");
    let (code, text) = place.fails(&["serve", "--tokens", "/nowhere"]);
    assert!(
        code == 2 && text.contains("cannot read `/nowhere`"),
        "{text}"
    );
    let config = file("serve.toml", "[limits]\nconections = 5\n");
    let (code, text) = place.fails(&["serve", "--config", &config]);
    assert!(
        code == 2 && text.contains("did you mean `connections`?"),
        "{text}"
    );
    let (code, text) = place.fails(&["serve", "--teacher", "tinny"]);
    assert!(code == 3 && text.contains("did you mean `tiny`?"), "{text}");
    let server = Server::start(&place, &[]);
    let taken = server.url.trim_start_matches("http://").to_owned();
    let (code, text) = place.fails(&["serve", "--listen", &taken]);
    assert!(
        code == 1 && text.contains(&format!("cannot listen on `{taken}`")),
        "{text}"
    );
    let (cert, key) = (file("cert.pem", "nothing"), file("key.pem", "nothing"));
    let (code, text) = place.fails(&["serve", "--tls-cert", &cert, "--tls-key", &key]);
    assert!(
        code == 2 && text.contains("for TLS: it has no certificate"),
        "{text}"
    );
    let (code, _) = place.fails(&["serve", "--tls-cert", &cert]);
    assert_eq!(code, 2);
    let (code, text) = place.fails(&["tokens", "new", "--role", "read", "--name", "a b"]);
    assert!(
        code == 2 && text.contains("cannot be the name of a token"),
        "{text}"
    );
}

#[test]
fn tls_is_served_with_the_files_that_are_given_and_plain_http_is_not() {
    let place = Place::with_teacher();
    let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
    let (cert, key) = (format!("{tls}/cert.pem"), format!("{tls}/key.pem"));
    let server = Server::start(&place, &["--tls-cert", &cert, "--tls-key", &key]);
    assert!(server.url.starts_with("https://"));
    let answer = python(
        "import ssl, sys, urllib.request\n\
         context = ssl.create_default_context(cafile=sys.argv[2])\n\
         with urllib.request.urlopen(sys.argv[1] + '/v1/teachers', context=context) as answer:\n\
         \x20   print(answer.read().decode())",
        &[&server.url, &cert],
    );
    assert!(answer.contains("tiny@1"), "{answer}");
    let port = server.url.rsplit(':').next().unwrap();
    let plain = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "5",
            &format!("http://127.0.0.1:{port}/healthz"),
        ])
        .output();
    if let Ok(plain) = plain {
        assert!(
            !plain.status.success() && plain.stdout.is_empty(),
            "{plain:?}"
        );
    }
}
