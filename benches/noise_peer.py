"""RandAugment's operations in Pillow, and in numpy what Pillow does not have: what the tests compare bytes with, and the benchmark's peer.

Jobs are lines of JSON in `FOLDER/jobs`: the name of a file of raw RGB bytes in FOLDER, its width and height, and an operation as understudy writes it.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

FILL = (128, 128, 128)


def affine(image: Image.Image, *matrix: float) -> Image.Image:
    """A transformation that keeps the size, to the nearest pixel."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=FILL)


def solarize_add(image: Image.Image, addition: int) -> Image.Image:
    """Adds to what is darker than the middle."""
    values = np.asarray(image).astype(np.int16)
    return Image.fromarray(np.where(values < 128, np.minimum(values + addition, 255), values).astype(np.uint8))


def cutout(image: Image.Image, x: int, y: int, half: int) -> Image.Image:
    """Paints a square over."""
    values = np.array(image)
    values[max(y - half, 0):y + half, max(x - half, 0):x + half] = FILL
    return Image.fromarray(values)


OPERATIONS: Dict[str, Callable[..., Image.Image]] = {
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
    "Rotate": lambda image, degrees: image.rotate(degrees, Image.Resampling.NEAREST, fillcolor=FILL),
    "Posterize": ImageOps.posterize,
    "Solarize": ImageOps.solarize,
    "SolarizeAdd": solarize_add,
    "Color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "Contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "Brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "Sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "ShearX": lambda image, slope: affine(image, 1, slope, 0, 0, 1, 0),
    "ShearY": lambda image, slope: affine(image, 1, 0, 0, slope, 1, 0),
    "TranslateX": lambda image, pixels: affine(image, 1, 0, pixels, 0, 1, 0),
    "TranslateY": lambda image, pixels: affine(image, 1, 0, 0, 0, 1, pixels),
    "Cutout": cutout,
}


def read_jobs(folder: Path) -> List[Tuple[str, Image.Image, Dict[str, float]]]:
    """Each job's operation by name, its image and its arguments."""
    jobs = []
    for line in (folder / "jobs").read_text().splitlines():
        name, width, height, operation = json.loads(line)
        image = Image.frombytes("RGB", (width, height), (folder / name).read_bytes())
        (kind, arguments), = ({operation: {}} if isinstance(operation, str) else operation).items()
        jobs.append((kind, image, arguments))
    return jobs


def main() -> None:
    """Writes the images that come out into `FOLDER/results`, one after the other, or prints the median time of each job in µs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--time", type=int, metavar="N", help="run each job N times instead of keeping its result")
    args = parser.parse_args()
    jobs = read_jobs(args.folder)
    if args.time is None:
        with (args.folder / "results").open("wb") as results:
            for kind, image, arguments in jobs:
                results.write(OPERATIONS[kind](image, **arguments).tobytes())
        return
    medians = []
    for kind, image, arguments in jobs:
        microseconds = []
        for _ in range(args.time):
            start = time.perf_counter()
            OPERATIONS[kind](image, **arguments)
            microseconds.append((time.perf_counter() - start) * 1e6)
        medians.append(statistics.median(microseconds))
    print(json.dumps({"microseconds": medians}))


if __name__ == "__main__":
    main()
