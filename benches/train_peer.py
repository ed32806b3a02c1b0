"""Trains as understudy does, with the Python training API of the same ONNX Runtime on the same artifacts: the benchmark's peer.

ARTIFACTS has a student's files as a workspace keeps them: training_model-*.onnx, eval_model-*.onnx, optimizer_model-*.onnx, checkpoint-*. Images are read, augmented by Pillow and batched by a process
of its own (`--load`, run by the Python that has Pillow), one batch ahead through a pipe, like a data loader's worker. `--ready` reads all batches before the clock starts: the limit of any loading.

Prints as JSON how many images a second were learned from, and which share of the time was spent waiting for them.
"""

import argparse
import gzip
import json
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import numpy as np

SIDE, CLASSES = 28, 10
DROPOUT, DEPTH, EMA, SMOOTHING, RATE = 0.2, 0.2, 0.998, 0.1, 0.003


def load(args: argparse.Namespace) -> None:
    """Writes batches to standard output: images [B, 1, 28, 28] and targets [B, 10], float32."""
    from noise_peer import OPERATIONS, affine
    from PIL import Image, ImageOps

    images = np.frombuffer(gzip.open(args.images).read(), np.uint8, offset=16).reshape(-1, SIDE, SIDE)
    labels = np.frombuffer(gzip.open(args.labels).read(), np.uint8, offset=8)
    random = np.random.default_rng(0)

    def arguments(kind: str) -> List[float]:
        """At magnitude 5, for 28 pixels."""
        sign = random.choice([-1, 1])
        return {
            "Rotate": [15.0 * sign], "Posterize": [2], "Solarize": [128], "SolarizeAdd": [55], "ShearX": [0.15 * sign], "ShearY": [0.15 * sign], "TranslateX": [2 * sign],
            "TranslateY": [2 * sign], "Cutout": [int(random.integers(SIDE)), int(random.integers(SIDE)), 2], **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), [1.0]),
        }.get(kind, [])

    def augmented(pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(pixels).convert("RGB")
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        image = affine(image, 1, 0, *([float(random.integers(-3, 4))]), 0, 1, float(random.integers(-3, 4)))
        for kind in random.choice(list(OPERATIONS), 2):
            if random.random() < random.uniform(0.2, 0.8):
                image = OPERATIONS[kind](image, *arguments(kind))
        return np.asarray(image.convert("L"))

    order = random.permutation(1000)
    for step in range(args.steps):
        rows = [order[(step * args.batch + row) % len(order)] for row in range(args.batch)]
        pixels = np.stack([augmented(images[row]) for row in rows])
        targets = np.full((args.batch, CLASSES), SMOOTHING / CLASSES, np.float32)
        targets[np.arange(args.batch), labels[rows]] += 1 - SMOOTHING
        sys.stdout.buffer.write(((pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5)).astype(np.float32).tobytes() + targets.tobytes())


def batches(args: argparse.Namespace) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """What the loading process makes."""
    command = [args.loader, __file__, "--load", args.artifacts, *(f"--{key}={getattr(args, key)}" for key in ("images", "labels", "steps", "batch"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as loader:
        for _ in range(args.steps):
            parts = [loader.stdout.read(args.batch * width * 4) for width in (SIDE * SIDE, CLASSES)]
            images, targets = (np.frombuffer(part, np.float32) for part in parts)
            yield images.reshape(-1, 1, SIDE, SIDE), targets.reshape(-1, CLASSES)


def training_api():
    """onnxruntime.training.api without the package's own __init__, which imports PyTorch."""
    import onnxruntime

    package = types.ModuleType("onnxruntime.training")
    package.__path__ = [str(Path(onnxruntime.__file__).parent / "training")]
    sys.modules["onnxruntime.training"] = package
    from onnxruntime.training import api

    return onnxruntime, api


def train(args: argparse.Namespace) -> Dict[str, float]:
    """All steps."""
    onnxruntime, api = training_api()
    files = {kind: next(Path(args.artifacts).glob(f"{kind}-*")) for kind in ("training_model", "eval_model", "optimizer_model", "checkpoint")}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    state = api.CheckpointState.load_checkpoint(str(files["checkpoint"]))
    module = api.Module(str(files["training_model"]), state, str(files["eval_model"]), "cpu", options)
    optimizer = api.Optimizer(str(files["optimizer_model"]), module)
    optimizer.set_learning_rate(RATE)
    module.train()
    names = module.input_names()
    widths = dict(zip(("dropout", "depth"), args.masks))
    random = np.random.default_rng(1)
    weights = np.full(args.batch, 1 / args.batch, np.float32)
    average = None
    source = batches(args)
    if args.ready:
        source = iter(list(source))
    waited = 0.0
    started = time.perf_counter()
    for _ in range(args.steps):
        begun = time.perf_counter()
        images, targets = next(source)
        waited += time.perf_counter() - begun
        masks = {name: (random.random((args.batch, width)) >= rate).astype(np.float32) / np.float32(1 - rate)
                 for (name, width), rate in zip(widths.items(), (DROPOUT, DEPTH))}
        given = {"input": images, "target": targets, "weight": weights, **masks}
        module(*(given[name] for name in names))
        optimizer.step()
        module.lazy_reset_grad()
        values = module.get_contiguous_parameters().numpy()
        average = values.copy() if average is None else EMA * average + (1 - EMA) * values
    seconds = time.perf_counter() - started
    return {"images_per_second": args.steps * args.batch / seconds, "waited": waited / seconds}


def main() -> None:
    """Loads or trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", metavar="ARTIFACTS")
    parser.add_argument("--images", required=True, metavar="FILE", help="an idx3 file, with gzip")
    parser.add_argument("--labels", required=True, metavar="FILE", help="an idx1 file, with gzip")
    parser.add_argument("--steps", type=int, required=True, metavar="N")
    parser.add_argument("--batch", type=int, required=True, metavar="N")
    parser.add_argument("--threads", type=int, default=0, metavar="N")
    parser.add_argument("--masks", type=int, nargs=2, default=(64, 6), metavar="N", help="the widths of dropout's and depth's mask")
    parser.add_argument("--loader", metavar="PYTHON", help="the Python that has Pillow")
    parser.add_argument("--ready", action="store_true", help="all batches are read before the clock starts")
    parser.add_argument("--load", action="store_true", help="write batches instead of training")
    args = parser.parse_args()
    if args.load:
        load(args)
    else:
        json.dump(train(args), sys.stdout)


if __name__ == "__main__":
    main()
