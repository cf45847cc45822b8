# SPDX-License-Identifier: Apache-2.0
"""Read a PyTorch checkpoint in the legacy format, with numpy alone.

The file is five pickles (magic, version, machine, tensors by name, storage keys) followed by the
storages: for each key, in order, an 8-byte element count and the raw little-endian elements. Only
the few names below may be built by the pickle, so a hostile file cannot run code.
"""

import collections
import pickle

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"the checkpoint asks for {module}.{name}, which is not allowed")

    def persistent_load(self, pid):
        _, dtype, key, _device, count, _view = pid
        return dtype, key, count


def read_checkpoint(path):
    """Return {name: array}. Tensors are views with their own strides, so they are copied."""
    with open(path, "rb") as file:
        magic, _version, _machine, tensors, keys = (_Unpickler(file).load() for _ in range(5))
        if magic != MAGIC:
            raise ValueError(f"{path} is not a PyTorch checkpoint in the legacy format")
        dtypes = {storage[1]: storage[0] for storage, *_ in tensors.values()}
        storages = {}
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key])

    def view(storage, offset, shape, strides):
        data = storages[storage[1]][offset:]
        steps = [step * data.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(data, shape, steps).copy()

    return {name: view(*parts) for name, parts in tensors.items()}
