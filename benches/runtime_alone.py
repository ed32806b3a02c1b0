"""The ceiling of the benchmark: ONNX Runtime alone, on random tensors that are in memory already. No decoding, no storage.

One session with one thread for each of `--sessions` Python threads, as understudy runs on a CPU; idle threads sleep rather than spin.
Prints one JSON line on stdout with the median of the repeats; `all` holds every repeat's images a second.
"""

import argparse
import json
import resource
import statistics
import threading
import time
from pathlib import Path
from typing import List

import numpy as np
import onnxruntime


def make_session(model: Path) -> onnxruntime.InferenceSession:
    """A session that computes on the thread that calls it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def run_once(sessions: List[onnxruntime.InferenceSession], tensors: List[np.ndarray]) -> float:
    """Seconds in which the sessions, each on its own thread, take all tensors in turn."""
    failures: List[BaseException] = []

    def work(session: onnxruntime.InferenceSession, share: List[np.ndarray]) -> None:
        try:
            for tensor in share:
                session.run(None, {"input": tensor})
        except BaseException as error:  # a thread's exception would be printed and forgotten
            failures.append(error)

    threads = [threading.Thread(target=work, args=(session, tensors[n::len(sessions)])) for n, session in enumerate(sessions)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if failures:
        raise failures[0]
    return seconds


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="efficientnet-lite0.onnx")
    parser.add_argument("--images", type=int, default=1500, help="images a repeat, rounded to whole batches (default %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="images a batch (default %(default)s)")
    parser.add_argument("--sessions", type=int, default=2, help="sessions, one thread each (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="default %(default)s")
    args = parser.parse_args()
    if min(args.images, args.batch, args.sessions, args.repeats) < 1:
        parser.error("all numbers have to be 1 or more")
    batches = max(1, round(args.images / args.batch))
    random = np.random.default_rng(0)
    # 32 different batches stand for all: 1,500 tensors of 0.6 MB need not be held.
    distinct = [random.standard_normal((args.batch, 3, 224, 224), dtype=np.float32) for _ in range(min(batches, 32))]
    tensors = [distinct[n % len(distinct)] for n in range(batches)]
    sessions = [make_session(args.model) for _ in range(args.sessions)]
    run_once(sessions, tensors[:4 * args.sessions])  # warm up
    images = batches * args.batch
    seconds = [run_once(sessions, tensors) for _ in range(args.repeats)]
    median = statistics.median(seconds)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
    print(json.dumps({"images": images, "seconds": round(median, 3), "images_per_second": round(images / median, 1),
                      "peak_rss_mb": round(peak_kib * 1024 / 1e6, 1), "all": [round(images / s, 1) for s in seconds]}))


if __name__ == "__main__":
    main()
