"""Tensors from files that PyTorch or safetensors wrote; no code of a file is ever run.

`torch.save` writes a pickle that tells of tensors, and their values beside it: as entries of a
ZIP archive, or, before PyTorch 1.6, behind it. A pickle may name any function, so that it is
read here by an unpickler that knows a few names alone.
"""

import collections
import functools
import io
import math
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors

from faceparse_jax.errors import InputError, few

_BFLOAT16 = "bfloat16"
# By PyTorch's names and by those of safetensors; values are little-endian but for old files.
_TYPES = {
    "Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": _BFLOAT16,
    "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "?",
    "F32": "f4", "F64": "f8", "F16": "f2", "BF16": _BFLOAT16,
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_STATES = ("state_dict", "model_state_dict", "model", "net", "params_ema", "params")
"""Where training programs keep a network among what else they save; the first one counts."""
_PARALLEL = "module."  # what DataParallel puts before every name
_MAGIC = 0x1950A86A20F9469CFC6C  # begins a file of torch.save before PyTorch 1.6
_LONGEST = 2**26  # bytes of a pickle, which tells of tensors and has no values
_EXPECTED = "weights that torch.save or safetensors wrote"


class _Refused(Exception):
    """What is wrong with a file, and what to do."""

    def __init__(self, found: str, next_step: str = "bring the file back from where it came"):
        super().__init__(found)
        self.found, self.next_step = found, next_step


class _Storage(NamedTuple):
    key: str
    type: str
    numel: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The tensors of a file by name, and what else lies beside them.

    A network that was saved within a training's state is found there, and the prefix ``module.``
    of `DataParallel` is taken off.

    Returns:
        Arrays in PyTorch's layout, bfloat16 as float32, and the names of entries that were not
        read, such as an optimiser's.

    Raises:
        InputError: no such file, another kind of file, a damaged one, or one that asks for more
            than tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if head.startswith(b"PK\x03\x04"):
            content, value = _zipped(path)
        elif head.startswith(b"\x80"):
            content, value = _legacy(path)
        elif head[8:] == b"{":
            return _without_prefix(_of_safetensors(path)), ()
        else:
            raise _Refused("another kind of file", "check the path")
        state, beside = _state(content)
        return _without_prefix({name: _array(of, value) for name, of in state.items()}), beside
    except _Refused as refused:
        raise InputError(str(path), refused.found, _EXPECTED, refused.next_step) from refused
    except OSError as error:
        raise InputError(
            str(path), error.strerror or str(error), _EXPECTED, "check the path"
        ) from error
    except Exception as error:  # damage has many
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            str(path), f"damaged weights ({reason})", _EXPECTED, _Refused("").next_step
        ) from error


class _Unpickler(pickle.Unpickler):
    """Reads dicts, numbers, text and descriptions of tensors; every other name is refused."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        # Bound methods, since a pickle can set attributes of functions.
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
        }
        if (module, name) in known:
            return known[module, name]
        kind = name.removesuffix("Storage")
        if module == "torch" and kind != name and kind in _TYPES:
            return kind
        raise _Refused(
            f"a pickle that asks for {module}.{name}",
            "save the state_dict of the network alone, or convert the file to safetensors; "
            "a file that asks for functions may do harm",
        )

    def persistent_load(self, saved: Any) -> _Storage:
        what, kind, key, _, numel, *view = saved
        if what != "storage" or any(part is not None for part in view):
            raise _Refused("tensors that are views of others, which no network has")
        storage = _Storage(str(key), _TYPES[kind], int(numel))
        return self.storages.setdefault(storage.key, storage)

    def _tensor(self, storage, offset, size, stride, *_) -> _Tensor:
        return _Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))

    def _parameter(self, tensor, *_) -> _Tensor:
        return tensor


Values = Callable[[_Storage], np.ndarray]
"""Gives the values of a storage, flat."""


def _zipped(path: pathlib.Path) -> tuple[Any, Values]:
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
    folders = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise _Refused("an archive without a network", "check the path")
    (folder,) = folders
    if f"{folder}constants.pkl" in entries:
        raise _Refused(
            "a program of TorchScript", "load it with PyTorch and save its state_dict alone"
        )

    def content(name: str, most: int) -> bytes:
        if entries[name].file_size > most:
            raise _Refused(f"{entries[name].file_size:,} bytes in {name}, not {most:,}")
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)

    order = "<"
    if f"{folder}byteorder" in entries:
        order = {b"little": "<", b"big": ">"}[content(f"{folder}byteorder", 8)]

    @functools.cache
    def values(storage: _Storage) -> np.ndarray:
        most = _bytes(storage)
        return _numbers(content(f"{folder}data/{storage.key}", most), storage.type, order)

    return _Unpickler(io.BytesIO(content(f"{folder}data.pkl", _LONGEST))).load(), values


def _legacy(path: pathlib.Path) -> tuple[Any, Values]:
    found: dict[str, np.ndarray] = {}
    with path.open("rb") as file:
        if _Unpickler(file).load() != _MAGIC:
            raise _Refused("a pickle that torch.save did not write", "check the path")
        _Unpickler(file).load()  # the version of the protocol
        order = "<" if _Unpickler(file).load().get("little_endian", True) else ">"
        unpickler = _Unpickler(file)
        content = unpickler.load()
        for key in _Unpickler(file).load():
            storage = unpickler.storages[key]
            numel = int.from_bytes(file.read(8), "little" if order == "<" else "big")
            if numel != storage.numel:
                raise _Refused(f"{numel:,} values in a storage, not {storage.numel:,}")
            found[key] = _numbers(file.read(_bytes(storage)), storage.type, order)
    return content, lambda storage: found[storage.key]


def _of_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    return {
        name: _numbers(of["data"], _known(of["dtype"]), "<").reshape(of["shape"])
        for name, of in safetensors.deserialize(path.read_bytes())
    }


def _known(kind: str) -> str:
    if kind not in _TYPES:
        raise _Refused(f"numbers of type {kind}", "convert the file to float32 or float16")
    return _TYPES[kind]


def _bytes(storage: _Storage) -> int:
    return storage.numel * (2 if storage.type == _BFLOAT16 else np.dtype(storage.type).itemsize)


def _numbers(data: bytes | bytearray, kind: str, order: str) -> np.ndarray:
    if kind == _BFLOAT16:  # the upper half of a float32
        return (np.frombuffer(data, f"{order}u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(kind).newbyteorder(order))


def _array(tensor: _Tensor, values: Values) -> np.ndarray:
    """A copy of a tensor, after a look at whether its storage has all that it asks for."""
    storage, offset, size, stride = tensor
    flat = values(storage)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count = math.prod(size)
    if min((offset, *size, *stride)) < 0 or count > len(flat) or (count and last >= len(flat)):
        raise _Refused("a tensor that is larger than its values")
    steps = [step * flat.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(flat[offset:], size, steps).copy()


def _state(content: Any) -> tuple[Mapping[str, _Tensor], tuple[str, ...]]:
    """The network's tensors by name, and the names of what lies beside them."""
    if isinstance(content, dict):
        found, beside = content, ()
        if inner := next((k for k in _STATES if isinstance(content.get(k), dict)), None):
            found = content[inner]
            beside = tuple(sorted(str(key) for key in content if key != inner))
        other = [str(name) for name, of in found.items() if not isinstance(of, _Tensor)]
        if found and not other and all(isinstance(name, str) for name in found):
            return found, beside
        if other:
            raise _Refused(
                f"the entries {few(other)}, which are no tensors",
                "save the state_dict of the network alone",
            )
    raise _Refused("no tensors with names", "save the state_dict of the network")


def _without_prefix(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if state and all(name.startswith(_PARALLEL) for name in state):
        return {name.removeprefix(_PARALLEL): of for name, of in state.items()}
    return state
