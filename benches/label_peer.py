"""The peer of the benchmark: what one would write in Python to label a folder of photos with EfficientNet-Lite0.

A pool of threads decodes (Pillow with `draft`, so that a large JPEG is decoded at a half, a quarter or an eighth), crops and
resizes; ONNX Runtime takes batches of 32 on all cores meanwhile; pyarrow writes key, class, confidence and Float16 soft labels.
Prints one JSON line on stdout. The clock runs from the listing to the closed Parquet file; loading the model and the imports are left out.
"""

import argparse
import json
import os
import resource
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator, List, Tuple

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 224
KEPT = 224 / 256  # of the short side
BATCH = 32
#: Batches decoded ahead of the model.
PREFETCH = 4


def preprocess(path: Path) -> np.ndarray:
    """A photo as [3, 224, 224] Float32: pipelines/teachers/efficientnet-lite0.toml in Pillow."""
    with Image.open(path) as image:
        # The smallest scale whose crop still has 224 pixels.
        image.draft("RGB", (round(SIDE / KEPT), round(SIDE / KEPT)))
        image = image.convert("RGB")
    side = min(image.size) * KEPT
    left, top = (image.width - side) / 2, (image.height - side) / 2
    image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return ((np.asarray(image, np.float32) - 127) / 128).transpose(2, 0, 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of logits to probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def batches(paths: List[Path], pool: ThreadPoolExecutor) -> Iterator[Tuple[List[Path], np.ndarray]]:
    """The photos in batches, decoded by the pool at most `PREFETCH` batches ahead."""
    waiting: deque = deque()
    for start in range(0, len(paths), BATCH):
        names = paths[start:start + BATCH]
        waiting.append((names, [pool.submit(preprocess, path) for path in names]))
        if len(waiting) > PREFETCH:
            names, images = waiting.popleft()
            yield names, np.stack([image.result() for image in images])
    for names, images in waiting:
        yield names, np.stack([image.result() for image in images])


def table(names: List[Path], probs: np.ndarray, schema: pa.Schema) -> pa.Table:
    """A batch's rows."""
    soft = pa.FixedSizeListArray.from_arrays(pa.array(probs.astype(np.float16).ravel()), probs.shape[1])
    return pa.table([pa.array([str(name) for name in names]), pa.array(probs.argmax(axis=1).astype(np.uint16)),
                     pa.array(probs.max(axis=1)), soft], schema=schema)


def label(session: onnxruntime.InferenceSession, folder: Path, out: Path) -> int:
    """Labels all JPEGs of a folder; gives their number."""
    paths = sorted(folder.glob("*.jpg"))
    classes = session.get_outputs()[0].shape[1]
    schema = pa.schema([("key", pa.string()), ("class", pa.uint16()), ("confidence", pa.float32()),
                        ("probs", pa.list_(pa.float16(), classes))])
    with ThreadPoolExecutor(os.cpu_count()) as pool, pq.ParquetWriter(out, schema) as writer:
        for names, images in batches(paths, pool):
            (logits,) = session.run(["logits"], {"input": images})
            writer.write_table(table(names, softmax(logits), schema))
    return len(paths)


def main() -> None:
    """Measures one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="efficientnet-lite0.onnx")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="a folder of JPEGs")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the Parquet file to write")
    args = parser.parse_args()
    session = onnxruntime.InferenceSession(str(args.model), providers=["CPUExecutionProvider"])
    start = time.perf_counter()
    images = label(session, args.images, args.out)
    seconds = time.perf_counter() - start
    if images == 0:
        parser.error(f"`{args.images}` holds no .jpg file")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
    print(json.dumps({"images": images, "seconds": round(seconds, 3), "images_per_second": round(images / seconds, 1),
                      "peak_rss_mb": round(peak_kib * 1024 / 1e6, 1)}))


if __name__ == "__main__":
    main()
