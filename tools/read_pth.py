"""Reads a PyTorch state dict of the format before version 1.6 (no zip) with NumPy alone."""

import collections
import pickle

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "LongStorage": np.int64}


class _Reader(pickle.Unpickler):
    """Keeps storages and views as plain tuples; nothing but these is ever constructed."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if name in STORAGES:
            return name
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a state dict")

    def persistent_load(self, pid):
        _, storage_type, key, _, _, *_ = pid
        self.storages[key] = np.dtype(STORAGES[storage_type])
        return key


def load(path):
    """The tensors of a file, by name."""
    with open(path, "rb") as file:
        if pickle.load(file) != MAGIC:
            raise ValueError(f"{path} is no PyTorch file of this format")
        pickle.load(file)  # protocol
        pickle.load(file)  # sizes of the machine that wrote it
        reader = _Reader(file)
        views = reader.load()
        data = {}
        for key in pickle.load(file):
            count = int.from_bytes(file.read(8), "little")
            dtype = reader.storages[key]
            data[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    tensors = {}
    for name, (key, offset, size, stride) in views.items():
        flat = data[key][offset:]
        strides = [step * flat.itemsize for step in stride]
        tensors[name] = np.lib.stride_tricks.as_strided(flat, size, strides).copy()
    return tensors
