//! The pages of `understudy serve`, over real HTTP and, where there is one, in a real browser.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use crate::support::http::{Answer, Server, token};
use crate::support::{Place, colour, jpeg, python};

/// Where a page is: what stands for `tiny@1` and `other@1` in all of them.
const CHURN: &str = "/churn?before=tiny%401&after=other%401";

/// Two teachers that see red and blue the other way round, a dataset with a reject and a name that is HTML, a selection, a promotion.
fn place() -> Place {
    let place = Place::with_teacher();
    for n in 0..8 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.put("<script>alert(1)</script>.jpg", b"");
    place.label(&[]);
    place.add_swapped("other");
    place.ok(&["label", "--dataset", "d", "--teacher", "other"]);
    place.select_of_d("s", &["--per-class", "2"]);
    place.ok(&["promote", "tiny", "--note", "the <b>first</b>"]);
    place
}

/// Where links lead, within the server.
fn links(html: &str) -> BTreeSet<String> {
    html.split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|link| link.starts_with('/'))
        .map(|link| link.replace("&amp;", "&"))
        .collect()
}

/// All pages that links lead to from the first one, by path.
fn crawl(server: &Server) -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut wanted = vec!["/".to_owned(), CHURN.to_owned()];
    while let Some(path) = wanted.pop() {
        if pages.contains_key(&path) || path.starts_with("/v1/") {
            continue;
        }
        let answer = server.get(&path);
        let html = answer.text();
        assert_eq!(answer.status, 200, "{path}: {html}");
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
        wanted.extend(links(&html));
        pages.insert(path, html);
    }
    pages
}

#[test]
fn every_link_leads_to_a_page_that_loads_nothing_from_elsewhere() {
    let place = place();
    let server = Server::start(&place, &[]);
    let pages = crawl(&server);
    for expected in [
        "/sql",
        "/churn",
        "/datasets/d?teacher=tiny%401",
        "/datasets/d?teacher=other%401",
        "/datasets/d/classes/0?teacher=tiny%401",
        "/datasets/d/rejects/empty?teacher=other%401",
        "/teachers/tiny%401",
        "/churn/images?before=tiny%401&after=other%401&from=red&to=blue",
        "/selections/s",
    ] {
        assert!(
            pages.contains_key(expected),
            "{expected}: {:?}",
            pages.keys()
        );
    }
    for (path, html) in &pages {
        assert!(html.contains("default-src 'none'"), "{path}");
        assert!(
            html.contains("class=\"brand\" href=\"/\""),
            "{path} leads nowhere"
        );
        for outside in ["src=\"http", "src=\"//", "url(http", "<script>alert"] {
            assert!(!html.contains(outside), "{path} has {outside}");
        }
    }
    let page = |path: &str| &pages[path];
    // 8 images of 3 colours: three are red, and the other teacher calls them blue.
    assert!(page("/").contains("the &lt;b&gt;first&lt;/b&gt;"));
    assert!(page(CHURN).contains("5 of 8 images have another label"));
    let moved = page("/churn/images?before=tiny%401&after=other%401&from=red&to=blue");
    assert_eq!(moved.matches("src=\"data:image/jpeg;base64,").count(), 3);
    let class = page("/datasets/d/classes/0?teacher=tiny%401");
    assert!(class.contains("3 labels by") && class.contains("highest"));
    assert_eq!(class.matches("src=\"data:image/jpeg;base64,").count(), 3);
    let rejects = page("/datasets/d/rejects/empty?teacher=other%401");
    assert!(rejects.contains("&lt;script&gt;alert(1)&lt;/script&gt;.jpg"));
}

#[test]
fn classes_of_one_name_are_one_in_what_moved() {
    let place = Place::with_teacher();
    for n in 0..7 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    // Two kinds of red, as there are two kinds of crane in ImageNet: three red images and two blue ones.
    place.add_changed("two", "\"blue\"", "\"red\"");
    place.ok(&["label", "--dataset", "d", "--teacher", "two"]);
    let server = Server::start(&place, &[]);
    let page = |path: &str| server.get(path).text();
    let moves = page("/churn?before=two@1&after=tiny@1");
    assert!(
        moves.contains("2 of 7 images have another label"),
        "{moves}"
    );
    assert!(
        moves.contains("aria-label=\"2 from red to blue\""),
        "{moves}"
    );
    assert!(
        moves.contains("aria-label=\"3 from red to red\""),
        "{moves}"
    );
    let images = page("/churn/images?before=two@1&after=tiny@1&from=red&to=blue");
    assert_eq!(images.matches("src=\"data:image/jpeg;base64,").count(), 2);
}

#[test]
fn what_is_not_there_is_a_page_too() {
    let place = place();
    let server = Server::start(&place, &[]);
    for (path, status, text) in [
        ("/datasets/e", 404, "it has d"),
        (
            "/datasets/d/classes/x?teacher=tiny@1",
            404,
            "there is no such page",
        ),
        ("/teachers/tinny", 404, "did you mean `tiny`?"),
        ("/churn?before=tiny@1&after=tiny@2", 404, "tiny@2"),
        ("/churn?before=tiny@1&after=x')%20--", 404, "x&#39;) --"),
        ("/selections/t", 404, "selection"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
        let html = answer.text().replace('\'', "&#39;");
        assert!(html.contains(text), "{path}: {html}");
    }
}

#[test]
fn the_console_shows_rows_with_bars_and_errors_with_what_to_do() {
    let place = place();
    let server = Server::start(&place, &[]);
    let of = |query: &str| {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        server.get(&format!("/sql?q={query}")).text()
    };
    let html = of(
        "SELECT label, count(*) AS images FROM labels WHERE teacher = 'tiny@1' GROUP BY 1 ORDER BY 1",
    );
    assert!(html.contains("3 rows in"), "{html}");
    assert_eq!(html.matches("class=\"bar\"").count(), 3);
    assert!(html.contains("<td class=\"number\">2"), "{html}");
    assert!(of("SELECT lable FROM labels").contains("lable"));
    assert!(of("DROP TABLE labels").contains("class=\"failed\""));
    assert!(of("SELECT * FROM '/etc/passwd'").contains("class=\"failed\""));
    let long = of("SELECT a.key FROM labels AS a, labels AS b, labels AS c");
    assert!(
        long.contains("500 rows in") && long.contains("There are more"),
        "{long}"
    );
}

#[test]
fn a_browser_gives_its_token_once() {
    let place = place();
    let made = place.run(&["tokens", "new", "--role", "read", "--name", "eyes"]);
    let said = String::from_utf8(made.stderr).unwrap();
    let token = said.lines().find(|l| l.starts_with("understudy_")).unwrap();
    let file = place.path("tokens");
    std::fs::write(&file, made.stdout).unwrap();
    let server = Server::start(&place, &["--tokens", &file.display().to_string()]);
    let asked = server.get("/datasets/d?teacher=tiny@1");
    assert_eq!(asked.status, 303);
    let login = &asked.headers["location"];
    assert_eq!(login, "/login?next=%2Fdatasets%2Fd%3Fteacher%3Dtiny%401");
    let form = server.get(login).text();
    assert!(
        form.contains("value=\"/datasets/d?teacher=tiny@1\""),
        "{form}"
    );
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let send = |body: &str| server.send("POST", "/login", &kind, body.as_bytes());
    let refused = send("next=%2F&token=understudy_nonsense");
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("The token is not known here."));
    assert!(!refused.headers.contains_key("set-cookie"));
    assert_eq!(send(&format!("token={}", "x".repeat(5000))).status, 413);
    let accepted = send(&format!("next=%2F%2Fevil.example&token={token}"));
    assert_eq!(
        (accepted.status, accepted.headers["location"].as_str()),
        (303, "/")
    );
    let cookie = &accepted.headers["set-cookie"];
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = [("Cookie", cookie.split(';').next().unwrap())];
    let with = |method: &str, path: &str| server.send(method, path, &cookie, b"");
    assert_eq!(with("GET", "/").status, 200);
    assert_eq!(with("GET", "/v1/teachers").status, 200);
    // A form of another site could send it with a cookie: what is not reading asks for the header.
    assert_eq!(with("POST", "/v1/sql").status, 401);
    assert!(!server.log().contains(token));
}

#[test]
fn a_page_of_another_name_cannot_look_through_a_browser_on_this_machine() {
    let place = place();
    let server = Server::start(&place, &[]);
    for path in ["/", "/datasets/d?teacher=tiny@1", "/sql?q=SELECT%201"] {
        let mut stream = server.connect();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let (detail, _) = Answer::read(stream).unwrap().problem(403);
        assert!(detail.contains("loopback alone"), "{path}: {detail}");
    }
}

#[test]
fn a_person_clicks_through_the_pages_and_the_browser_has_nothing_to_complain_about() {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let browser = std::env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    let Some(browser) = browser else {
        let _ = writeln!(std::io::stderr(), "skipped: no Chromium is installed");
        return;
    };
    let place = place();
    let (token, line) = token(&place, "read", "person");
    let file = place.path("tokens").display().to_string();
    std::fs::write(&file, line).unwrap();
    let server = Server::start(&place, &["--tokens", &file]);
    let script = include_str!("click_through.py");
    python(
        script,
        &[&browser.display().to_string(), &server.url, &token],
    );
}
