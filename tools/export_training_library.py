"""Derives a plain shared library with ONNX Runtime's training API from the Python extension of the wheel `onnxruntime-training-cpu`.

usage: export_training_library.py onnxruntime_pybind11_state….so VERSION libonnxruntime_training.so

The wheel is the last published build with the training API. Its extension holds all of ONNX Runtime, but a version script hides `OrtGetApiBase`, the one function that a program
without Python calls. This finds that function, exports it, and makes the Python symbols weak, so that the library loads where there is no Python. No code is changed. The result is then
loaded and asked for its version and its training API.
"""

import argparse
import ctypes
import struct
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional

#: `lea rax, [rip + offset]` with a 32-bit offset, and `ret`: all that a function does which returns an address.
LEA_RAX, RET = b"\x48\x8d\x05", 0xC3
ENDBR64 = b"\xf3\x0f\x1e\xfa"
#: Places of two functions in `OrtApi` (onnxruntime_c_api.h of 1.13 and later), and the API version that understudy speaks.
GET_TRAINING_API, GET_BUILD_INFO, API_VERSION = 219, 254, 19


def returning(code: bytes, start: int, address: int) -> Iterator[int]:
    """The addresses of functions that do nothing but return `address`; `code` lies at `start`."""
    at = code.find(LEA_RAX)
    while at >= 0:
        (offset,) = struct.unpack_from("<i", code, at + 3)
        if code[at + 7] == RET and start + at + 7 + offset == address:
            yield start + at - (4 if code[at - 4 : at] == ENDBR64 else 0)
        at = code.find(LEA_RAX, at + 1)


def api_base(elf: object, raw: bytes, version: str) -> int:
    """The address of `OrtGetApiBase`: it returns an `OrtApiBase`, which is {GetApi, GetVersionString}, and that returns the version."""
    text = elf.get_section(".text")
    code, start = raw[text.offset : text.offset + text.size], text.virtual_address
    pattern = b"\0" + version.encode() + b"\0"
    strings: List[int] = []
    at = raw.find(pattern)
    while at >= 0:
        strings.append(elf.offset_to_virtual_address(at + 1))
        at = raw.find(pattern, at + 1)
    versions = {function for string in strings for function in returning(code, start, string)}
    slots = [relocation.address for relocation in elf.relocations if relocation.addend in versions]
    bases = {function for slot in slots for function in returning(code, start, slot - ctypes.sizeof(ctypes.c_void_p))}
    if len(bases) != 1:
        raise ValueError(f"{len(bases)} functions look like OrtGetApiBase of version {version}, one was expected")
    return bases.pop()


def derive(source: Path, version: str, target: Path) -> None:
    """Writes the library."""
    import lief

    raw = source.read_bytes()
    elf = lief.ELF.parse(str(source))
    if elf is None:
        raise ValueError("it is no ELF library")
    function = api_base(elf, raw, version)
    for symbol in elf.dynamic_symbols:
        if symbol.shndx == 0 and symbol.name.startswith(("Py", "_Py")):
            symbol.binding = lief.ELF.Symbol.BINDING.WEAK
    elf.add_exported_function(function, "OrtGetApiBase")
    elf.write(str(target))


class ApiBase(ctypes.Structure):
    """`OrtApiBase`."""

    _fields_ = [("get_api", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)), ("get_version", ctypes.CFUNCTYPE(ctypes.c_char_p))]


def check(target: Path, version: str) -> None:
    """Loads the library as a program would, and asks it for its version and its training API."""
    library = ctypes.CDLL(str(target.absolute()))
    library.OrtGetApiBase.restype = ctypes.POINTER(ApiBase)
    base = library.OrtGetApiBase().contents
    found = base.get_version().decode()
    if found != version:
        raise ValueError(f"the library says that it is version {found}, not {version}")
    api = base.get_api(API_VERSION)
    if not api:
        raise ValueError(f"the library does not speak API version {API_VERSION}")
    functions = ctypes.cast(api, ctypes.POINTER(ctypes.c_void_p))
    build = ctypes.CFUNCTYPE(ctypes.c_char_p)(functions[GET_BUILD_INFO])().decode()
    if not build.startswith("ORT Build Info"):
        raise ValueError("its functions do not lie where they should")
    if not ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(functions[GET_TRAINING_API])(API_VERSION):
        raise ValueError("the library is built without the training API")


def main() -> Optional[str]:
    """Derives and checks; gives the message where that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the wheel's extension")
    parser.add_argument("version", help="the version that it has to be")
    parser.add_argument("target", type=Path, help="the library to write")
    parser.add_argument("--check", action="store_true", help="check the target alone")
    args = parser.parse_args()
    try:
        if args.check:
            check(args.target, args.version)
            return None
        derive(args.source, args.version, args.target)
    except (OSError, ValueError, ImportError) as error:
        return f"error: cannot derive the training library from `{args.source}`: {error}"
    # A library that is wrong may end the process that loads it, so another one does.
    checked = subprocess.run([sys.executable, __file__, "--check", args.source, args.version, args.target], check=False)
    if checked.returncode != 0:
        return f"error: the derived library does not work (exit status {checked.returncode})"
    return None


if __name__ == "__main__":
    sys.exit(main())
