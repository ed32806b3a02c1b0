#!/usr/bin/env python3
"""Reads what `understudy export` wrote, in both of its formats: batches of images with their soft labels.

    python3 examples/read_export.py FOLDER

Needs NumPy and Pillow, and for Parquet pyarrow. It is plain on purpose: `batches` is what a training loop wants, and what stands
below it is all there is to know of the files. With the libraries of the trade the same comes to

    datasets.load_dataset("parquet", data_files="FOLDER/train-*.parquet")                    # image, label, probs, …
    webdataset.WebDataset("FOLDER/train-{000000..000041}.tar").decode("pil").to_tuple("jpg;png;webp", "npy")
    timm.data.create_dataset("wds/", root="FOLDER", split="train", is_training=True, …)       # classes; finds _info.json
"""

import argparse
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image


class Sample(NamedTuple):
    """One row of an export."""

    image: bytes  # as it lies in the source: JPEG, PNG, …
    label: int
    probs: Optional[np.ndarray]  # float32 [C], sums to 1; None where the selection is hard
    key: str
    copies: int  # how often the row counts: 1, but for `--copies column`


def index(folder: Path) -> Dict:
    """`export.json`: an export without it is not finished."""
    return json.loads((folder / "export.json").read_text())


def samples(folder: Path) -> Iterator[Sample]:
    """All rows, in the order in which they were written."""
    about = index(folder)
    read = {"parquet": parquet_samples, "webdataset": tar_samples}[about["inputs"]["format"]]
    for shard in about["shards"]:
        yield from read(folder / shard["file"])


def parquet_samples(shard: Path) -> Iterator[Sample]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(shard).iter_batches(batch_size=64):
        for row in batch.to_pylist():
            probs = row.get("probs")
            yield Sample(
                image=row["image"]["bytes"],
                label=row["label"],
                probs=None if probs is None else np.asarray(probs, np.float32),
                key=row["key"],
                copies=row["copies"],
            )


def tar_samples(shard: Path) -> Iterator[Sample]:
    with tarfile.open(shard) as tar:
        name, files = "", {}
        for member in tar:
            stem, _, field = member.name.partition(".")
            if stem != name and files:
                yield tar_sample(files)
                files = {}
            name = stem
            files[field] = tar.extractfile(member).read()
        if files:
            yield tar_sample(files)


def tar_sample(files: Dict[str, bytes]) -> Sample:
    about = json.loads(files.pop("json"))
    label = int(files.pop("cls"))
    probs = files.pop("npy", None)
    (image,) = files.values()  # what is left: jpg, png, webp, …
    return Sample(
        image=image,
        label=label,
        probs=None if probs is None else np.load(io.BytesIO(probs)),
        key=about["key"],
        copies=about["copies"],
    )


def batches(folder: Path, size: int, side: int = 224) -> Iterator[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Images uint8 [N, side, side, 3], targets float32 [N, C], weights float32 [N]. Without soft labels targets are one-hot."""
    classes = index(folder).get("num_classes")
    some: List[Sample] = []
    for sample in samples(folder):
        some.append(sample)
        if len(some) == size:
            yield stacked(some, side, classes)
            some = []
    if some:
        yield stacked(some, side, classes)


def stacked(some: List[Sample], side: int, classes: Optional[int]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    def pixels(image: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(image)).convert("RGB").resize((side, side), Image.Resampling.BICUBIC))

    def target(sample: Sample) -> np.ndarray:
        if sample.probs is not None:
            return sample.probs
        if classes is None:
            raise SystemExit("export.json does not know how many classes there are: give them a number of your own")
        return np.eye(classes, dtype=np.float32)[sample.label]

    return (
        np.stack([pixels(s.image) for s in some]),
        np.stack([target(s) for s in some]),
        np.asarray([s.copies for s in some], np.float32),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=224)
    arguments = parser.parse_args()
    about = index(arguments.folder)
    names = about["class_names"]
    seen, certain = Counter(), 0.0
    for images, targets, weights in batches(arguments.folder, arguments.batch, arguments.side):
        # Here a training step would be: loss = -(targets * log_probs(images)).sum(1) @ weights
        certain += float(targets.max(1) @ weights)
        for target, weight in zip(targets.argmax(1), weights):
            seen[int(target)] += int(weight)
    total = sum(seen.values())
    print(f"{total} images of {len(seen)} classes, mean confidence {certain / total:.3f}")
    for label, count in seen.most_common(5):
        print(f"{count:6} {names[label] if label < len(names) else label}")


if __name__ == "__main__":
    main()
