"""The peer of the selection benchmark: DuckDB doing the same with SQL, two threads, copies and Parquet output included, compressed as understudy's.

Which rows get a copy more is up to DuckDB's own hash: as many as in understudy's selection, and others. Prints one JSON line on stdout.
"""

import argparse
import json
import time
from pathlib import Path

import duckdb


def main() -> None:
    """Measures one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", required=True, help="a glob of Parquet files")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--per-class", type=int, required=True, metavar="K")
    args = parser.parse_args()
    k = args.per_class
    connection = duckdb.connect(config={"threads": 2})
    start = time.perf_counter()
    connection.execute(f"""
        COPY (
            WITH candidates AS (SELECT key, class, confidence FROM read_parquet('{args.labels}') WHERE confidence > 0.3::FLOAT),
            ranked AS (SELECT *, row_number() OVER (PARTITION BY class ORDER BY confidence DESC, key) AS n FROM candidates),
            kept AS (SELECT key, class, confidence, n, count(*) OVER (PARTITION BY class) AS rows,
                            row_number() OVER (PARTITION BY class ORDER BY hash(key)) AS drawn
                     FROM ranked WHERE n <= {k})
            SELECT key, class, confidence, ({k} // rows + (drawn <= {k} % rows)::INT)::UINTEGER AS copies, n::UINTEGER AS rank FROM kept
        ) TO '{args.out}' (FORMAT parquet, COMPRESSION snappy)""")
    seconds = time.perf_counter() - start
    rows, copies = connection.execute(f"SELECT count(*), sum(copies) FROM '{args.out}'").fetchall()[0]
    print(json.dumps({"seconds": round(seconds, 3), "rows": rows, "copies": int(copies)}))


if __name__ == "__main__":
    main()
