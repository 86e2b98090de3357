"""Archives found, read and refused; examples checked and streamed."""

import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from faceparse_jax import labels
from faceparse_jax.errors import InputError
from tests.support.dummy_archives import encode, pack
from tfds_builders import examples, files

RAMP = np.arange(20, dtype=np.uint8).reshape(4, 5)


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(RAMP))
    return root


def test_folder_and_zip_hold_the_same_files(tmp_path):
    root = tree(tmp_path / "Set", "a/1.png", "b/2.png", ".hidden/3.png", "__MACOSX/._1.png")
    archives = [files.Folder(root), files.Zip(pack(root), inside="Set")]
    for archive in archives:
        assert archive.names == ["a/1.png", "b/2.png"]
        assert archive.read("a/1.png") == encode(RAMP)
        assert archive.where("b/2.png").endswith("b/2.png")


def test_linked_folders_are_read_and_circles_are_not_walked_twice(tmp_path):
    elsewhere = tree(tmp_path / "disk", "1.png", "2.png")
    root = tree(tmp_path / "Set", "b/3.png")
    (root / "a").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root)
    assert files.Folder(root).names == ["a/1.png", "a/2.png", "b/3.png"]


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "C:/out.png"])
def test_names_that_lead_out_of_a_zip_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match="leads out of the archive"):
        files.Zip(tmp_path / "a.zip")


def test_members_that_inflate_too_far_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_MEMBER", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(1001))
        archive.writestr("2.png", bytes(1000))
        archive.writestr("3.png", bytes(5000))
    with pytest.raises(files.Faults, match=r"(?s)2 faults.*1\.png.*3\.png"):
        files.Zip(tmp_path / "a.zip")


def test_a_zip_of_too_many_files_is_refused(tmp_path, monkeypatch):
    packed = pack(tree(tmp_path / "Set", "1.png", "2.png"))
    monkeypatch.setattr(files, "MAX_MEMBERS", 2)
    assert files.Zip(packed, inside="Set").names == ["1.png", "2.png"]
    monkeypatch.setattr(files, "MAX_MEMBERS", 1)
    with pytest.raises(InputError, match="2 members, expected at most 1"):
        files.Zip(packed)


def test_two_members_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/1.png", b"one")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/1.png", b"two")
    with pytest.raises(InputError, match="found a second member of this name"):
        files.Zip(tmp_path / "a.zip", inside="a")


def test_what_is_no_zip_and_what_is_damaged_in_one_are_named(tmp_path):
    (tmp_path / "a.zip").write_text("a page that says the quota is exceeded")
    with pytest.raises(InputError, match=r"a\.zip: found .*expected a zip archive"):
        files.Zip(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("1.png", b"0123456789")
    data = (tmp_path / "b.zip").read_bytes().replace(b"0123456789", b"0123456780")
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"b\.zip/1\.png: found a damaged"):
        files.Zip(tmp_path / "b.zip").read("1.png")


def test_an_archive_is_taken_as_folder_or_as_zip(tmp_path):
    root = tree(tmp_path / "Set", "images/1.png")
    assert isinstance(files.open_archive(tmp_path, "Set", "images"), files.Folder)
    pack(root)
    root.rename(tmp_path / "elsewhere")
    assert files.open_archive(tmp_path, "Set", "images").names == ["images/1.png"]


def test_the_wrong_folder_level_names_the_right_one(tmp_path):
    root = tree(tmp_path / "Set", "images/1.png")
    with pytest.raises(InputError, match=f"one level too deep.*--manual_dir {tmp_path}$"):
        files.open_archive(root, "Set", "images")
    twice = tree(tmp_path / "twice", "Set/Set/images/1.png")
    with pytest.raises(InputError, match=f"one level deeper.*--manual_dir {twice}/Set$"):
        files.open_archive(twice, "Set", "images")
    above = tree(tmp_path / "above", "data/Set/images/1.png")
    with pytest.raises(InputError, match=f"one level deeper.*--manual_dir {above}/data$"):
        files.open_archive(above, "Set", "images")


def test_a_missing_archive_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"neither Set nor Set\.zip.*next: fetch"):
        files.open_archive(tmp_path, "Set", "images")
    tree(tmp_path, "Set/other/1.png")
    with pytest.raises(InputError, match="Set without images"):
        files.open_archive(tmp_path, "Set", "images")


def test_depth_is_found_in_every_layout_by_id(tmp_path):
    tree(tmp_path, "7.png", "x/y/00012.jpg", "x/13_depth.npy", "a_1.PNG", "99.png", "12.txt")
    ids = ["7", "8", "12", "13", "a_1"]
    found, surplus, faults = files.match_depth(files.Folder(tmp_path), ids)
    assert surplus == ["99.png", "12.txt"]
    assert not faults
    assert found == {"7": "7.png", "12": "x/y/00012.jpg", "13": "x/13_depth.npy", "a_1": "a_1.PNG"}


def test_two_depth_maps_of_one_id_are_both_named(tmp_path):
    tree(tmp_path, "a/00012.png", "b/12_depth.png", "7.png")
    found, _, (fault,) = files.match_depth(files.Folder(tmp_path), ["7"])
    assert found == {"7": "7.png"}
    assert re.search(r"a/00012\.png.*b/12_depth\.png", str(fault))


def test_depth_that_belongs_to_no_image_is_an_error(tmp_path):
    tree(tmp_path, "7.png")
    _, _, (fault,) = files.match_depth(files.Folder(tmp_path), ["8"])
    assert "1 depth maps, none with the id of an image" in str(fault)
    assert files.match_depth(None, ["8"]) == ({}, [], [])


def test_many_faults_show_twenty_and_the_count():
    faults = [InputError(f"file {i}", "a", "b", "c") for i in range(33)]
    files.raise_faults("here", [])
    with pytest.raises(files.Faults) as caught:
        files.raise_faults("here", faults)
    lines = str(caught.value).splitlines()
    assert lines[0] == "here: 33 faults"
    assert lines[20] == "  file 19: found a, expected b; next: c"
    assert lines[21:] == ["  and 13 more"]


def photo(root, shape=(8, 10)):
    root.mkdir(exist_ok=True)
    (root / "1.jpg").write_bytes(encode(np.full((*shape, 3), 90, np.uint8), "JPEG"))
    return files.Folder(root)


def test_an_example_keeps_the_image_and_brings_depth_to_the_label(tmp_path):
    archive = photo(tmp_path / "a")
    depth = tree(tmp_path / "d", "1.png")
    label = np.full((8, 10), 3, np.uint8)
    own = (files.Folder(depth), "1.png")
    made = examples.example(archive, "1", "1.jpg", label, "1.jpg", labels.CELEBAMASK_HQ, own)
    assert made.depth_bits == 8
    made = made.features
    assert made["image"] == archive.read("1.jpg")
    assert made["label"] == encode(label)
    assert made["has_depth"] is True
    none = examples.example(archive, "1", "1.jpg", label, "1.jpg", labels.CELEBAMASK_HQ, None)
    none = none.features
    assert none["depth"] == encode(np.zeros_like(label))
    assert none["has_depth"] is False


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (
            np.full((8, 10), 19, np.uint8),
            "label value 19, expected 0 to 18 of the scheme celebamask_hq, or",
        ),
        (np.zeros((8, 8), np.uint8), "10x8 pixels, expected the proportions of its label, 8x8"),
    ],
)
def test_labels_out_of_range_and_of_other_proportions_are_refused(tmp_path, label, found):
    scheme = labels.CELEBAMASK_HQ
    with pytest.raises(InputError, match=found):
        examples.example(photo(tmp_path), "1", "1.jpg", label, "1.jpg", scheme, None)


def test_depth_of_other_proportions_is_refused(tmp_path):
    depth = files.Folder(tree(tmp_path / "d", "1.png"))
    label = np.zeros((16, 16), np.uint8)
    archive = photo(tmp_path / "a", (16, 16))
    own, scheme = (depth, "1.png"), labels.CELEBAMASK_HQ
    with pytest.raises(InputError, match=r"d/1\.png: found 5x4 pixels"):
        examples.example(archive, "1", "1.jpg", label, "1.jpg", scheme, own)


def test_depth_that_was_made_smaller_has_rounded_sides(tmp_path):
    (tmp_path / "d").mkdir()
    Image.fromarray(np.full((7, 9), 50, np.uint8)).save(tmp_path / "d" / "1.png")
    archive = photo(tmp_path / "a", (14, 19))
    label = np.zeros((14, 19), np.uint8)
    own, scheme = (files.Folder(tmp_path / "d"), "1.png"), labels.CELEBAMASK_HQ
    made = examples.example(archive, "1", "1.jpg", label, "1.jpg", scheme, own)
    depth = np.asarray(Image.open(io.BytesIO(made.features["depth"])))
    assert depth.shape == (14, 19)
    assert (depth == 50).all()


@pytest.mark.parametrize(
    ("depth", "odd"),
    [
        ([[0, 0, 0]], ["empty depth"]),
        ([[0, 9, 9]], ["constant depth"]),
        ([[200, 20, 0]], ["inverted depth"]),
        ([[20, 200, 0]], []),
    ],
)
def test_odd_depth_is_noticed(depth, odd):
    label = np.array([[2, 1, 1]], np.uint8)  # nose, skin, skin
    found = examples.depth_oddities(np.array(depth, np.uint8), label, labels.CELEBAMASK_HQ)
    assert found == odd


@pytest.mark.parametrize(
    ("label_shape", "message"),
    [((10, 8), "an EXIF orientation that turns"), ((8, 10), None), ((5, 5), "proportions")],
)
def test_a_photo_that_exif_turns_must_fit_its_label_as_stored(tmp_path, label_shape, message):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "1.jpg", exif=exif)
    label, scheme = np.zeros(label_shape, np.uint8), labels.CELEBAMASK_HQ
    archive = files.Folder(tmp_path)
    if message:
        with pytest.raises(InputError, match=message):
            examples.example(archive, "1", "1.jpg", label, "1.png", scheme, None)
    else:
        made = examples.example(archive, "1", "1.jpg", label, "1.png", scheme, None)
        assert made.oddities == ("turned by EXIF",)


def test_streaming_keeps_order_and_stays_a_few_rows_ahead(monkeypatch):
    monkeypatch.setattr(examples.machine, "cores", lambda: 2)
    started = []
    stream = examples.stream(lambda row: started.append(row) or row, range(1000))
    assert [next(stream) for _ in range(10)] == list(range(10))
    assert len(started) <= 10 + 4 * 2
    stream.close()
    assert len(started) <= 10 + 4 * 2


def test_faults_of_all_splits_are_raised_at_the_end_of_the_first(capfd):
    def make(row):
        if row < 0:
            raise InputError(f"row {row}", "a", "b", "c")
        features = {"id": str(row), "has_depth": row > 1}
        return examples.Example(features, 8 * row, oddities=("large",) if row > 1 else ())

    splits = examples.Splits("here", {"train": [1, -2, 3], "test": [4, -5]}, make, {})
    made = []
    with pytest.raises(files.Faults, match=r"(?s)2 faults.*row -2.*row -5"):
        made.extend(splits.generate("train"))
    assert [key for key, _ in made] == ["1", "3"]
    metadata = {}
    good = examples.Splits("here", {"train": [1, 2], "test": [3]}, make, metadata)
    assert [key for key, _ in good.generate("train")] == ["1", "2"]
    assert metadata == {"with_depth": {"train": 1, "test": 0}, "depth_bits": 16}
    assert "train: 1 of 2 examples: large" in capfd.readouterr().err
