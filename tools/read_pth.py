"""Reads a PyTorch state dict of the format before version 1.6, without PyTorch.

Such a file is a row of pickles (a magic number, the protocol, facts about the machine that wrote it, the state dict, the keys of
its storages) and then the storages themselves: an 8-byte count of elements each, and the elements, little-endian.
"""

import collections
import pickle
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}


class _StateDictReader(pickle.Unpickler):
    """Unpickles views as tuples (storage key, offset, size, stride). It constructs nothing else, and calls nothing a file names."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.dtypes: Dict[str, np.dtype] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in STORAGES:
            return name
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        raise pickle.UnpicklingError(f"`{module}.{name}` has no place in a state dict")

    def persistent_load(self, pid: Tuple[Any, ...]) -> str:
        """A storage, as (`storage`, type, key, device, elements, …)."""
        _, storage_type, key, *_ = pid
        self.dtypes[key] = np.dtype(STORAGES[storage_type])
        return key


def _view(storage: np.ndarray, offset: int, size: Tuple[int, ...], stride: Tuple[int, ...]) -> np.ndarray:
    """A tensor's own copy of its part of a storage; the part is checked to lie within it."""
    last = offset + sum((extent - 1) * step for extent, step in zip(size, stride))
    if min(offset, *size, *stride, 0) < 0 or (0 not in size and last >= len(storage)):
        raise ValueError("a tensor lies outside its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()


def load(path: Path) -> Dict[str, np.ndarray]:
    """The tensors of a file, by name. Raises ValueError or pickle.UnpicklingError where it is another kind of file."""
    with open(path, "rb") as file:
        reader = _StateDictReader(file)
        if reader.load() != MAGIC or _StateDictReader(file).load() != PROTOCOL:
            raise ValueError(f"`{path}` is not a PyTorch file of the format before version 1.6")
        _StateDictReader(file).load()  # the machine that wrote it
        reader = _StateDictReader(file)
        views = reader.load()
        storages = {}
        for key in _StateDictReader(file).load():
            count = int.from_bytes(file.read(8), "little")
            dtype = reader.dtypes[key]
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
    return {name: _view(storages[key], offset, size, stride) for name, (key, offset, size, stride) in views.items()}
