"""Writes torch's files as torch does, without torch, and as an attacker would."""

import io
import pickle
import struct
import zipfile

import numpy as np


class Fake:
    """Pickles as a reference to a global without importing it: `Fake("os", "system")`."""

    def __init__(self, module, name):
        self.__module__, self.__qualname__ = module, name


class Call:
    """Pickles as `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Storage:
    def __init__(self, kind, key, count):
        self.identity = ("storage", Fake("torch", kind), key, "cpu", count)


class Writer(pickle._Pickler):
    """Writes what torch writes, without torch."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Fake):
            self.write(f"c{obj.__module__}\n{obj.__qualname__}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(tuple(obj.arguments))
            self.write(pickle.REDUCE)
        elif isinstance(obj, Storage):
            self.save(obj.identity)
            self.write(pickle.BINPERSID)
        else:
            super().save(obj, save_persistent_id)


def pickled(obj) -> bytes:
    file = io.BytesIO()
    Writer(file, 2).dump(obj)
    return file.getvalue()


def tensor(key, shape, stride, kind="FloatStorage", count=6, offset=0):
    rebuild = Fake("torch._utils", "_rebuild_tensor_v2")
    hooks = Call(Fake("collections", "OrderedDict"))
    return Call(rebuild, Storage(kind, key, count), offset, shape, stride, False, hooks)


def write_zip(path, obj, storages, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled(obj))
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return path


def write_legacy(path, obj, storages):
    with path.open("wb") as file:
        system = {"little_endian": True, "protocol_version": 1001}
        for part in (0x1950A86A20F9469CFC6C, 1001, system, obj, list(storages)):
            file.write(pickled(part))
        for array in storages.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
    return path


NUMBERS = np.arange(6, dtype=np.float32)
