"""Grows a labelled dataset of a workspace to millions of labels, for the benchmark of the pages: shards of the size that they have, other keys, classes and confidences.

The dataset's first shard is the pattern: its schema, its metadata, its columns; all shards have its images. Classes are Zipf-distributed. All of it follows from the number of the shard, so that the same number of
rows is the same workspace.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: Rows of a row group of the manifest.
GROUP = 131_072


def keys(shard: int, rows: int) -> list:
    """The keys of a shard, in order."""
    return [f"photos/2026/{shard:06}/{row:05}.jpg" for row in range(rows)]


def column(table: pa.Table, name: str, values: object) -> pa.Table:
    """The table with other values in a column of its type."""
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array(values, field.type))


def shard_of(pattern: pa.Table, shard: int, classes: int, teacher: int) -> pa.Table:
    """A shard's labels. Every teacher after the first one gives a tenth of the images another class than that did, and all of them another confidence."""
    rows = len(pattern)
    random = np.random.default_rng(shard)
    of_class = np.minimum(np.floor((classes + 1.0) ** random.random(rows)) - 1, classes - 1)
    confidence = random.random(rows, dtype=np.float32)
    if teacher:
        random = np.random.default_rng((shard, teacher))
        of_class = np.where(random.random(rows) < 0.1, np.floor(classes * random.random(rows)), of_class)
        confidence = random.random(rows, dtype=np.float32)
    table = column(pattern, "key", keys(shard, rows))
    table = column(table, "shard", np.full(rows, shard))
    table = column(table, "class", of_class.astype(np.uint16))
    return column(table, "confidence", confidence)


def main() -> None:
    """Grows the dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--teacher", required=True, action="append", metavar="NAME@VERSION", help="one that has labelled the dataset; may be given again")
    parser.add_argument("--rows", type=int, required=True, help="labels of each teacher")
    args = parser.parse_args()
    labelled = args.workspace / "labels" / f"dataset={args.dataset}"
    folders = [labelled / f"teacher={teacher}" for teacher in args.teacher]
    patterns = [pq.read_table(folder / "shard-000000.parquet") for folder in folders]
    pattern = patterns[0]
    classes = len(json.loads(pattern.schema.metadata[b"understudy.class_names"]))
    per_shard = len(pattern)
    shards = args.rows // per_shard
    listed = args.workspace / "manifests" / f"dataset={args.dataset}"
    generation = json.loads((listed / "generation-000001.json").read_text())
    manifest = pq.read_table(listed / generation["file"]).slice(0, per_shard)
    with pq.ParquetWriter(listed / generation["file"], manifest.schema, compression="zstd") as writer:
        held = []
        for shard in range(shards):
            for teacher, (folder, of_teacher) in enumerate(zip(folders, patterns)):
                labels = shard_of(of_teacher, shard, classes, teacher)
                pq.write_table(labels, folder / f"shard-{shard:06}.parquet", compression="zstd", compression_level=1)
            rows = column(manifest, "key", keys(shard, per_shard))
            held.append(column(column(rows, "shard", np.full(per_shard, shard)), "row", np.arange(per_shard)))
            if len(held) * per_shard >= GROUP or shard + 1 == shards:
                writer.write_table(pa.concat_tables(held).combine_chunks(), row_group_size=GROUP)
                held = []
    rows = shards * per_shard
    generation.update(shards=shards, rows=rows, new=rows)
    (listed / "generation-000001.json").write_text(json.dumps(generation, indent=2))
    for folder in folders:
        for left in folder.glob("shard-*.parquet"):
            if int(left.stem.split("-")[1]) >= shards:
                left.unlink()


if __name__ == "__main__":
    main()
