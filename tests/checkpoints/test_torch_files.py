"""Tensors out of PyTorch's files: every type and format, and no code of a file is run."""

import collections
import io
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from faceparse_jax.checkpoints import torch_files
from faceparse_jax.errors import InputError
from tests.support import torch_golden
from tests.support.places import GOLDEN

FILES = {name: GOLDEN / f"state_{name}.pth" for name in ("zip", "legacy", "within")}


def bfloat16(path):
    """Two numbers of bfloat16, 1 and -2, as safetensors stores them."""
    header = b'{"a":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\x80\x3f\x00\xc0")


@pytest.mark.parametrize("name", FILES)
def test_what_pytorch_wrote_is_read(name):
    state, beside = torch_files.read(FILES[name])
    wanted = torch_golden.small_state()
    assert state.keys() == wanted.keys()
    for key, want in wanted.items():
        assert state[key].dtype == np.asarray(want).dtype
        np.testing.assert_array_equal(state[key], want, strict=True)
    assert beside == (("epoch", "optimizer") if name == "within" else ())


def test_safetensors_are_read(tmp_path):
    wanted = torch_golden.small_state()
    wanted = {name: np.asarray(of) for name, of in wanted.items() if name != "bfloat16"}
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors.numpy.save({f"module.{k}": v for k, v in wanted.items()}))
    state, _ = torch_files.read(path)
    assert state.keys() == wanted.keys()
    for key, want in wanted.items():
        np.testing.assert_array_equal(state[key], want, strict=True)
    bfloat16(path)
    np.testing.assert_array_equal(torch_files.read(path)[0]["a"], [[1], [-2]])


def changed_zip(path, target, change):
    """A copy of an archive with other bytes in some of its entries."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = change(info.filename.partition("/")[2], old.read(info.filename))
            if data is not None:
                new.writestr(info.filename, data)


class Asks:
    """Its pickle asks for a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (Asks(print, "x"), "builtins.print"),
        (Asks(io.open, "x"), "open"),
        (Asks(collections.Counter, "x"), "collections.Counter"),
        ({"state_dict": collections.OrderedDict(a=Asks(eval, "1"))}, "builtins.eval"),
    ],
    ids=["print", "open", "counter", "within"],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_other_names_are_refused(asked, name, protocol, tmp_path):
    path = tmp_path / "a.pth"
    harmful = pickle.dumps(asked, protocol)
    changed_zip(FILES["zip"], path, lambda entry, data: harmful if entry == "data.pkl" else data)
    with pytest.raises(InputError, match=f"a pickle that asks for .*{name.rpartition('.')[2]}"):
        torch_files.read(path)
    legacy = FILES["legacy"].read_bytes()
    stream = io.BytesIO(legacy)
    for _ in range(3):
        pickle.load(stream)
    path.write_bytes(legacy[: stream.tell()] + harmful)
    with pytest.raises(InputError, match="a pickle that asks for"):
        torch_files.read(path)
    path.write_bytes(harmful)
    with pytest.raises(InputError, match="a pickle that asks for"):
        torch_files.read(path)


def test_a_pickle_cannot_change_how_tensors_are_read(tmp_path):
    """BUILD sets attributes of what is on the stack, here of the function for tensors."""
    build = b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__Nstb."
    path = tmp_path / "a.pth"
    data = b"\x80\x02" + build
    changed_zip(FILES["zip"], path, lambda entry, old: data if entry == "data.pkl" else old)
    with pytest.raises(InputError, match="damaged weights"):
        torch_files.read(path)
    assert torch_files.read(FILES["zip"])[0].keys() == torch_golden.small_state().keys()


def larger(data):
    """The description of the first tensor, [2 3 2], as one of [9 3 2] in the same values."""
    start = data.index(b"K\x02K\x03K\x02\x87")
    return data[: start + 1] + b"\x09" + data[start + 2 :]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda entry, data: larger(data) if entry == "data.pkl" else data, "larger than its"),
        (lambda entry, data: data + b"1234" if entry == "data/0" else data, "bytes in"),
        (lambda entry, data: None if entry == "data/0" else data, "damaged weights"),
        (lambda entry, data: None if entry == "data.pkl" else data, "without a network"),
        (lambda entry, data: data[:-9] if entry == "data.pkl" else data, "damaged weights"),
        (lambda entry, data: b"middle" if entry == "byteorder" else data, "damaged weights"),
        (lambda entry, data: pickle.dumps({}, 2) if entry == "data.pkl" else data, "no tensors"),
        (lambda entry, data: pickle.dumps([1], 2) if entry == "data.pkl" else data, "no tensors"),
        (
            lambda entry, data: pickle.dumps({"lr": 1}, 2) if entry == "data.pkl" else data,
            "the entries lr, which are no tensors",
        ),
    ],
)
def test_damaged_archives_are_refused(change, says, tmp_path):
    path = tmp_path / "a.pth"
    changed_zip(FILES["zip"], path, change)
    with pytest.raises(InputError, match=says):
        torch_files.read(path)


def test_bytes_of_another_order_are_read(tmp_path):
    wanted = torch_golden.small_state()
    path = tmp_path / "a.pth"
    sizes = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int64": 8, "scalar": 8}
    # Storages in the order of the tensors; `turned` shares the first one.
    kept = [name for name in wanted if name != "turned"]

    def change(entry, data):
        if entry == "byteorder":
            return b"big"
        if not entry.startswith("data/"):
            return data
        size = sizes.get(kept[int(entry.removeprefix("data/"))], 1)
        return np.frombuffer(data, np.dtype(f"u{size}")).byteswap().tobytes()

    changed_zip(FILES["zip"], path, change)
    state, _ = torch_files.read(path)
    for key, want in wanted.items():
        np.testing.assert_array_equal(state[key], want)


@pytest.mark.parametrize("length", [0, 5, 200, 900, 1500])
@pytest.mark.parametrize("name", ["zip", "legacy"])
def test_cut_files_are_refused(name, length, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(FILES[name].read_bytes()[:length])
    with pytest.raises(InputError):
        torch_files.read(path)


def test_a_program_of_torchscript_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/constants.pkl", b"")
    with pytest.raises(InputError, match="TorchScript"):
        torch_files.read(path)
