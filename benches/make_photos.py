"""Makes the benchmark's photos: 4:3 JPEGs, cut at random from the real photos that scikit-image ships.

The same seed gives the same pixels on every machine with this version of Pillow. A folder that is complete is left alone.
"""

import argparse
import json
import os
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Tuple

import PIL
from PIL import Image

#: The colour photos of scikit-image that are large enough to cut from.
SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "color.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png",
           "motorcycle_right.png", "retina.jpg", "rocket.jpg")
#: Width over height.
ASPECT = (4, 3)
#: How much of the largest possible cut a photo shows, by its side.
SCALE = (0.5, 1.0)
QUALITY = (85, 92)


@lru_cache(maxsize=None)
def source(path: Path) -> Image.Image:
    """A photo in RGB, decoded once a process."""
    return Image.open(path).convert("RGB")


def make_photo(job: Tuple[Path, Path, Tuple[int, int], int, int]) -> None:
    """Photo `index`: drawn from a generator of its own, so that the order of work changes nothing."""
    sources, folder, widths, seed, index = job
    draw = random.Random(f"{seed}/{index}")
    photo = source(sources / draw.choice(SOURCES))
    width = draw.randint(*widths)
    height = width * ASPECT[1] // ASPECT[0]
    scale = draw.uniform(*SCALE) * min(photo.width / width, photo.height / height)
    left = draw.uniform(0, photo.width - width * scale)
    top = draw.uniform(0, photo.height - height * scale)
    cut = photo.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + width * scale, top + height * scale))
    if draw.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    cut.save(folder / f"{index:06}.jpg", quality=draw.randint(*QUALITY))


def main() -> None:
    """Makes the photos that are asked for."""
    cache = Path(os.environ.get("UNDERSTUDY_CACHE") or Path.home() / ".cache" / "understudy")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the photos go; made if it is not there")
    parser.add_argument("--count", type=int, default=3000, help="how many (default %(default)s)")
    parser.add_argument("--widths", type=int, nargs=2, default=(400, 640), metavar=("FROM", "TO"),
                        help="in pixels; heights are three quarters of them (default 400 640)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--sources", type=Path, default=cache / "demo" / "photos",
                        help="the photos to cut from, as `tools/setup.py photos` fetches them (default %(default)s)")
    args = parser.parse_args()
    lacking = [name for name in SOURCES if not (args.sources / name).is_file()]
    if lacking:
        sys.exit(f"error: `{args.sources}` lacks {', '.join(lacking)}\n\nhint: run `python3 tools/setup.py photos`")
    marker = args.folder.with_name(f"{args.folder.name}.made-from")  # beside the folder, which is a source of images
    recipe = json.dumps({"count": args.count, "widths": list(args.widths), "seed": args.seed, "pillow": PIL.__version__}) + "\n"
    if marker.is_file() and marker.read_text() == recipe and len(list(args.folder.glob("*.jpg"))) == args.count:
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    marker.unlink(missing_ok=True)
    for left_over in args.folder.glob("*.jpg"):
        left_over.unlink()
    jobs = ((args.sources, args.folder, tuple(args.widths), args.seed, index) for index in range(args.count))
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(make_photo, jobs, chunksize=50):
            pass
    marker.write_text(recipe)
    print(f"wrote {args.count} photos to {args.folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
