//! Flight SQL, asked by the real ADBC driver.

use serde_json::{Value, json};

use crate::support::http::{Server, token};
use crate::support::onnx::Model;
use crate::support::{Place, colour, jpeg, python};

/// What every script begins with: `connect(more)` to the URL of the first argument, `refused(call)`, which is the error's words, `run(sql)`, a query's rows, and `once_free()`, those of a query
/// that waits for its place.
const BEGIN: &str = r"
import json, sys, time
import adbc_driver_flightsql.dbapi as flight
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import Error

def connect(more={}):
    return flight.connect(sys.argv[1], db_kwargs=more, autocommit=True)

def refused(call):
    try:
        call()
    except Error as e:
        return str(e)
    raise SystemExit('it was not refused')

def run(sql):
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()

def once_free():
    end = time.time() + 60
    while True:
        try:
            return run('SELECT 1')
        except Error:
            if time.time() > end: raise
            time.sleep(0.1)
";

/// Ten labelled images of two colours, and a view over them.
fn place() -> Place {
    let place = Place::with_teacher();
    for n in 0..10 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.put("bad.jpg", b"");
    place.label(&[]);
    place
}

/// Runs a script against a server's address for Flight SQL; it prints one JSON object.
fn ask(url: &str, script: &str, more: &[&str]) -> Value {
    let mut args = vec![url];
    args.extend(more);
    let text = python(&format!("{BEGIN}{script}"), &args);
    serde_json::from_str(&text).unwrap()
}

fn serve(place: &Place, more: &[&str]) -> (Server, String) {
    let mut args = vec!["--flight", "127.0.0.1:0"];
    args.extend(more);
    let mut server = Server::start(place, &args);
    let url = server.flight();
    (server, url)
}

fn serve_with(place: &Place, config: &str) -> (Server, String) {
    let file = place.path("serve.toml");
    std::fs::write(&file, config).unwrap();
    serve(place, &["--config", file.to_str().unwrap()])
}

#[test]
fn a_client_gets_the_rows_that_the_command_line_gets() {
    let place = place();
    let (_server, url) = serve(&place, &[]);
    let query = "SELECT key, class, CAST(confidence AS DOUBLE) AS confidence, CAST(probs[2] AS DOUBLE) AS second FROM labels ORDER BY key";
    let answer = ask(
        &url,
        r"
import polars
with connect() as connection, connection.cursor() as cursor:
    cursor.execute(sys.argv[2])
    table = cursor.fetch_arrow_table()
    cursor.execute('SELECT probs, sha256 FROM labels LIMIT 1')
    nested = [str(t) for t in cursor.fetch_arrow_table().schema.types]
    frame = polars.read_database('SELECT reason, count(*) AS images FROM rejects GROUP BY 1', connection)
print(json.dumps({'rows': table.to_pylist(), 'types': [str(t) for t in table.schema.types], 'nested': nested, 'rejects': frame.rows()}))
",
        &[query],
    );
    assert_eq!(answer["rows"], Value::Array(place.sql(query)));
    assert_eq!(answer["rejects"], json!([["empty", 1]]));
    assert_eq!(
        answer["nested"],
        json!(["list<item: float>", "fixed_size_binary[32]"])
    );
    assert_eq!(
        answer["types"][0], "string",
        "no view: not every client reads these"
    );
}

#[test]
fn a_prepared_statement_takes_parameters_and_says_which() {
    let place = place();
    let (_server, url) = serve(&place, &[]);
    let answer = ask(
        &url,
        r"
with connect() as connection, connection.cursor() as cursor:
    statement = 'SELECT key FROM labels WHERE confidence > ? AND key LIKE ? ORDER BY key'
    schema = cursor.adbc_prepare(statement)
    found = []
    for parameters in [(0.0, '%/3.jpg'), (2.0, '%/3.jpg'), (0.0, '%.jpg')]:
        cursor.execute(statement, parameters)
        found.append(len(cursor.fetchall()))
    cursor.execute('SELECT $2 AS b, $1 AS a', (1, 'x'))
    swapped = cursor.fetchone()
    few = refused(lambda: cursor.execute(statement, (0.5,)))
    none = refused(lambda: (cursor.execute('SELECT 1 WHERE 1 = ?'), cursor.fetchall()))
print(json.dumps({'types': [str(t) for t in schema.types], 'found': found, 'swapped': swapped, 'few': few, 'none': none}))
",
        &[],
    );
    assert_eq!(answer["found"], json!([1, 0, 10]));
    assert_eq!(answer["swapped"], json!(["x", 1]));
    assert_eq!(answer["types"].as_array().unwrap().len(), 2);
    for words in [&answer["few"], &answer["none"]] {
        assert!(words.as_str().unwrap().contains('$'), "{words}");
    }
}

#[test]
fn a_client_finds_tables_columns_and_what_the_server_is() {
    let place = place();
    let (_server, url) = serve(&place, &[]);
    let answer = ask(
        &url,
        r"
with connect() as connection:
    objects = connection.adbc_get_objects(depth='all').read_all().to_pylist()
    some = connection.adbc_get_objects(depth='tables', table_name_filter='lab%').read_all().to_pylist()
    tables = {t['table_name']: t for c in objects for s in c['catalog_db_schemas'] for t in s['db_schema_tables']}
    print(json.dumps({
        'catalogs': [c['catalog_name'] for c in objects],
        'columns': [c['column_name'] for c in tables['labels']['table_columns']],
        'views': sorted(n for n, t in tables.items() if t['table_type'] == 'VIEW'),
        'some': [t['table_name'] for c in some for s in c['catalog_db_schemas'] for t in s['db_schema_tables']],
        'types': connection.adbc_get_table_types(),
        'schema': connection.adbc_get_table_schema('labels').names,
        'info': {str(k): v for k, v in connection.adbc_get_info().items()},
    }))
",
        &[],
    );
    assert_eq!(answer["catalogs"], json!(["datafusion"]));
    let columns = place.sql(
        "SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'labels' ORDER BY ordinal_position",
    );
    let columns: Vec<&Value> = columns.iter().map(|row| &row["name"]).collect();
    assert_eq!(answer["columns"], json!(columns));
    assert_eq!(answer["schema"], json!(columns));
    let views = place.sql(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_type = 'VIEW' AND table_schema = 'public' ORDER BY 1",
    );
    let views: Vec<&Value> = views.iter().map(|row| &row["name"]).collect();
    assert!(!views.is_empty());
    assert_eq!(answer["views"], json!(views));
    assert_eq!(answer["some"], json!(["labels"]));
    assert_eq!(answer["types"], json!(["TABLE", "VIEW"]));
    assert_eq!(answer["info"]["vendor_name"], "understudy");
}

#[test]
fn what_is_wrong_is_told_as_over_http() {
    let place = place();
    let (_server, url) = serve_with(&place, "[flight]\nrows = 5\n");
    let answer = ask(
        &url,
        r"
with connect() as connection, connection.cursor() as cursor:
    update = refused(lambda: cursor.executescript('DELETE FROM labels'))
print(json.dumps({
    'column': refused(lambda: run('SELECT keys FROM labels')),
    'write': refused(lambda: run('CREATE TABLE t AS SELECT 1')),
    'file': refused(lambda: run('SELECT * FROM ' + repr('/etc/passwd'))),
    'rows': refused(lambda: run('SELECT key FROM labels')),
    'update': update,
    'fits': len(run('SELECT key FROM labels LIMIT 5')),
}))
",
        &[],
    );
    for (what, words) in [
        ("column", "keys"),
        ("write", "write a SELECT"),
        ("file", "passwd"),
        ("rows", "more than 5 rows"),
    ] {
        let text = answer[what].as_str().unwrap();
        assert!(text.contains(words), "{what}: {text}");
    }
    let update = answer["update"].as_str().unwrap();
    assert!(
        update.contains("SELECT") || update.contains("DML"),
        "{update}"
    );
    assert_eq!(answer["fits"], 5);
}

#[test]
fn a_stream_that_a_client_takes_slowly_holds_up_streams_beyond_their_number_alone() {
    let place = place();
    let (server, url) = serve_with(&place, "[flight]\nconcurrent = 1\n");
    let answer = ask(
        &url,
        r"
import urllib.request

def over_http():
    request = urllib.request.Request(sys.argv[2] + '/v1/sql', json.dumps({'sql': 'SELECT 2 AS two'}).encode(), {'Content-Type': 'application/json'})
    return json.load(urllib.request.urlopen(request))['rows']

with connect() as connection, connection.cursor() as cursor:
    cursor.execute('SELECT value FROM generate_series(1, 20000000)')
    first = cursor.fetchone()[0]
    busy = refused(lambda: run('SELECT 1'))
    http = over_http()
after = once_free()
print(json.dumps({'first': first, 'busy': busy, 'http': http, 'after': after}))
",
        &[&server.url],
    );
    assert_eq!(
        (&answer["first"], &answer["after"]),
        (&json!(1), &json!([[1]]))
    );
    assert_eq!(answer["http"], json!([{"two": 2}]));
    let busy = answer["busy"].as_str().unwrap();
    assert!(busy.contains("as many queries run as may"), "{busy}");
}

#[test]
fn a_stream_whose_time_is_over_gives_up_its_place_though_its_client_stays() {
    let place = place();
    let (_server, url) = serve_with(&place, "[flight]\nconcurrent = 1\ntime_s = 4.0\n");
    let answer = ask(
        &url,
        r"
with connect() as connection, connection.cursor() as cursor:
    cursor.execute('SELECT value FROM generate_series(1, 20000000)')
    cursor.fetchone()
    after = once_free()
    late = refused(cursor.fetchall)
print(json.dumps({'after': after, 'late': late}))
",
        &[],
    );
    assert_eq!(answer["after"], json!([[1]]));
    let late = answer["late"].as_str().unwrap();
    assert!(late.contains("stopped after 4 s"), "{late}");
}

#[test]
fn values_that_many_rows_share_come_in_batches_of_a_bounded_size() {
    let place = place();
    let (_server, url) = serve(&place, &[]);
    let answer = ask(
        &url,
        r"
with connect() as connection, connection.cursor() as cursor:
    cursor.execute(sys.argv[2])
    reader = cursor.fetch_record_batch()
    batches = [(b.num_rows, b.nbytes) for b in reader]
print(json.dumps({'rows': sum(n for n, _ in batches), 'largest': max(b for _, b in batches), 'types': [str(t) for t in reader.schema.types]}))
",
        &[
            "SELECT arrow_cast(repeat('x', 20000), 'Dictionary(Int32, Utf8)') AS x FROM generate_series(1, 5000)",
        ],
    );
    assert_eq!(
        (&answer["rows"], &answer["types"]),
        (&json!(5000), &json!(["string"]))
    );
    let largest = answer["largest"].as_u64().unwrap();
    assert!((1 << 20..=9 << 20).contains(&largest), "{largest}");
}

#[test]
fn of_parameters_no_more_than_a_row_is_read() {
    let place = place();
    let (_server, url) = serve(&place, &[]);
    let answer = ask(
        &url,
        r"
import pyarrow as pa
taken = 0

def endless():
    global taken
    for n in range(100_000):
        taken += 1
        yield pa.record_batch({'0': pa.array([n] * 10_000)})

schema = pa.schema([('0', pa.int64())])
with connect() as connection, connection.cursor() as cursor:
    statement = cursor.adbc_statement
    statement.set_sql_query('SELECT ? AS x')
    statement.prepare()
    reader = pa.RecordBatchReader.from_batches(schema, endless())
    def call():
        statement.bind_stream(reader)
        statement.execute_query()
    said = refused(call)
print(json.dumps({'said': said, 'taken': taken}))
",
        &[],
    );
    let said = answer["said"].as_str().unwrap();
    assert!(said.contains("one row of parameters"), "{said}");
    assert!(answer["taken"].as_u64().unwrap() < 10_000, "{answer}");
}

#[test]
fn tokens_are_asked_for_and_given_as_bearers_or_passwords() {
    let place = place();
    let (_, polly) = token(&place, "read", "polly");
    let (token, ann) = token(&place, "read", "ann");
    let tokens = place.path("tokens");
    std::fs::write(&tokens, polly + &ann).unwrap();
    let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
    let (cert, key) = (format!("{tls}/cert.pem"), format!("{tls}/key.pem"));
    let tokens = tokens.display().to_string();
    let (server, url) = serve(
        &place,
        &["--tokens", &tokens, "--tls-cert", &cert, "--tls-key", &key],
    );
    let port = url.rsplit(':').next().unwrap();
    let url = format!("grpc+tls://localhost:{port}");
    let answer = ask(
        &url,
        r"
token, cert = sys.argv[2], open(sys.argv[3]).read()
roots = {DatabaseOptions.TLS_ROOT_CERTS.value: cert}
header = DatabaseOptions.AUTHORIZATION_HEADER.value

def count(more):
    with connect({**roots, **more}) as connection, connection.cursor() as cursor:
        cursor.execute('SELECT count(*) FROM labels')
        return cursor.fetchone()[0]

print(json.dumps({
    'bearer': count({header: f'Bearer {token}'}),
    'password': count({'username': 'ann', 'password': token}),
    'none': refused(lambda: count({})),
    'wrong': refused(lambda: count({header: 'Bearer understudy_0'})),
    'other': refused(lambda: count({'username': 'polly', 'password': token})),
}))
",
        &[&token, &cert],
    );
    assert_eq!(
        (&answer["bearer"], &answer["password"]),
        (&json!(10), &json!(10))
    );
    for (what, words) in [
        ("none", "this needs a token"),
        ("wrong", "not known here"),
        ("other", "not known here"),
    ] {
        let text = answer[what].as_str().unwrap();
        assert!(text.contains(words), "{what}: {text}");
    }
    drop(server);
    let (code, text) = place.fails(&["serve", "--listen", "127.0.0.1:0", "--flight", "0.0.0.0:0"]);
    assert_eq!(code, 2);
    assert!(text.contains("`0.0.0.0:0` can be reached"), "{text}");
}

#[test]
fn a_promotion_is_seen_by_the_next_query() {
    let place = place();
    place.add_teacher("other", &Model::default());
    let (_server, url) = serve(&place, &[]);
    let current = |url: &str| {
        let script = r"
with connect() as connection, connection.cursor() as cursor:
    cursor.execute('SELECT teacher FROM promotions ORDER BY number DESC LIMIT 1')
    print(json.dumps(cursor.fetchall()))
";
        ask(url, script, &[])
    };
    assert_eq!(current(&url), json!([]));
    place.ok(&["promote", "other"]);
    assert_eq!(current(&url), json!([["other@1"]]));
}
