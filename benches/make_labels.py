"""Makes the selection benchmark's labels: keys of 46 bytes, 1,000 Zipf-distributed classes, confidences; on request fingerprints as well.

Everything follows from the row's number by DuckDB's hash, so that the same number of rows is the same table. A folder that is complete is left
alone. With fingerprints 1 % of the rows repeat another row's image.
"""

import argparse
from pathlib import Path

import duckdb

CLASSES = 1000
#: Rows a file: some 60 MB.
ROWS = 1_000_000


def uniform(row: str, salt: int) -> str:
    """SQL for a number from 0 to below 1 that follows from the row."""
    return f"(hash({row}, {salt}) / 18446744073709551616.0)"


def columns(fingerprints: bool) -> str:
    """SQL for the columns of row `i`."""
    # The inverse of a Zipf distribution with exponent 1 over CLASSES ranks, nearly.
    cls = f"least(floor(pow({CLASSES + 1}.0, {uniform('i', 1)})) - 1, {CLASSES - 1})::USMALLINT"
    key = "printf('s3://photos/2026/%05d/%019d.jpg', i // 10000, hash(i, 3) // 2)"
    text = f"{key} AS key, {cls} AS class, {uniform('i', 2)}::FLOAT AS confidence"
    if fingerprints:
        image = "(CASE WHEN i % 100 = 99 THEN i - 50 ELSE i END)"
        text += f", unhex(sha256({image}::VARCHAR)) AS sha256, hash({image}, 4) AS phash"
    return text


def main() -> None:
    """Makes the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files go; made if it is not there")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--fingerprints", action="store_true", help="sha256 and phash as well")
    args = parser.parse_args()
    marker = args.folder.with_name(f"{args.folder.name}.made-from")
    recipe = f"{duckdb.__version__} {args.rows} {args.fingerprints} {columns(args.fingerprints)}\n"
    if marker.is_file() and marker.read_text() == recipe:
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, args.rows, ROWS):
        end = min(start + ROWS, args.rows)
        duckdb.execute(f"COPY (SELECT {columns(args.fingerprints)} FROM range({start}, {end}) t(i)) "
                       f"TO '{args.folder}/part-{start // ROWS:05}.parquet' (FORMAT parquet)")
    marker.write_text(recipe)


if __name__ == "__main__":
    main()
