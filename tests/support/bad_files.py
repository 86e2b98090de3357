"""Bad official archives and bad words for the commands that read them."""

import io
import os
import pathlib
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.support import dummy_archives
from tests.support.bad_input import BUILD, Case, nothing
from tests.support.dummy_archives import emptied, encode, removed, zeroed
from tests.support.files import half, huge_png, npy

DECODE, MAKE_DEPTH = "faceparse_jax.data.decode", "faceparse_jax.data.make_depth"
COMPARE = "faceparse_jax.studies.compare"

CELEBA = "CelebAMask-HQ"
PHOTO = f"{CELEBA}/CelebA-HQ-img/1.jpg"
MASKS = f"{CELEBA}/CelebAMask-HQ-mask-anno"
MASK = f"{MASKS}/0/00001_skin.png"
MAPPING = f"{CELEBA}/CelebA-HQ-to-CelebA-mapping.txt"
DEPTH = f"{CELEBA}-D/1.png"
GREY = np.full((64, 64), 9, np.uint8)
RNG = np.random.default_rng(0)


def picture(form: str, mode: str = "RGB", size=(64, 64)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, form)
    return file.getvalue()


def put(archive, name: str, data: bytes | str | None):
    """An archive with one file replaced, or removed for None."""

    def make(folder: pathlib.Path) -> None:
        archive(folder)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data.encode() if isinstance(data, str) else data)

    return make


def change(archive, name: str, how):
    def make(folder: pathlib.Path) -> None:
        archive(folder)
        path = folder / name
        path.write_bytes(how(path.read_bytes()))

    return make


def without(archive, name: str):
    def make(folder: pathlib.Path) -> None:
        archive(folder)
        shutil.rmtree(folder / name)

    return make


def spoiled(archive, damage):
    """An archive that a damage of `dummy_archives` goes over."""

    def make(folder: pathlib.Path) -> None:
        archive(folder)
        damage(folder)

    return make


def pipe(archive, name: str):
    def make(folder: pathlib.Path) -> None:
        archive(folder)
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return make


def in_both(folder: pathlib.Path) -> None:
    """A photograph of the relabelled Helen for training and for the test, with its label."""
    R(folder)
    for path in (folder / STAR).parent.glob("101_1_*"):
        shutil.copy(path, folder / "helenstar_release" / "test")


def packed_depth(write):
    """CelebAMask-HQ with its depth in a zip that `write` makes."""

    def make(folder: pathlib.Path) -> None:
        dummy_archives.celebamask_hq(folder)
        shutil.rmtree(folder / f"{CELEBA}-D")
        write(folder / f"{CELEBA}-D.zip")

    return make


def members(*names: str, data: bytes = b"", method=zipfile.ZIP_DEFLATED):
    def write(path: pathlib.Path) -> None:
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in names:
                archive.writestr(name, data or encode(GREY))

    return write


def patched(find: bytes, offset: int, value: bytes):
    """A zip of one map with some bytes of its headers overwritten."""

    def write(path: pathlib.Path) -> None:
        members("1.png")(path)
        data = bytearray(path.read_bytes())
        for mark, at in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
            if find in (mark, b"both"):
                place = data.index(mark) + offset + at
                data[place : place + len(value)] = value
        path.write_bytes(data)

    return write


def broken_zip(path: pathlib.Path) -> None:
    members("1.png", "2.png")(path)
    path.write_bytes(half(path.read_bytes()))


def twice(path: pathlib.Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        members("1.png", "1.png")(path)


def damaged_member(path: pathlib.Path) -> None:
    members("1.png", method=zipfile.ZIP_STORED)(path)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)


def _celeba(name, make, says):
    words = [BUILD, "--name=celebamask_hq_d", "--manual_dir={folder}", "--data_dir={folder}/out"]
    return Case(f"CelebAMask-HQ: {name}", "CelebAMask-HQ-D archive", make, words, says)


def _depth(name, make, says):
    case = _celeba(name, make, says)
    return Case(f"depth: {name}", "depth maps and zips", make, case.command, says)


MANY_C, MANY_L = dummy_archives.many_celebamask_hq, dummy_archives.many_lapa
MANY_H = dummy_archives.many_helen
C, L, H = dummy_archives.celebamask_hq, dummy_archives.lapa, dummy_archives.helen_smith
R = dummy_archives.helen_relabelled


def _lapa(name, make, says):
    words = [BUILD, "--name=lapa_d", "--manual_dir={folder}", "--data_dir={folder}/out"]
    return Case(f"LaPa: {name}", "LaPa-D archive", make, words, says)


def _helen(name, make, says, config="smith"):
    words = [BUILD, "--name=helen_d", f"--config={config}", "--manual_dir={folder}"]
    words.append("--data_dir={folder}/out")
    return Case(f"Helen {config}: {name}", "Helen-D archive", make, words, says)


def _own(name, make, says, *words):
    command = [BUILD, "--name=folder", "--manual_dir={folder}", "--data_dir={folder}/out", *words]
    return Case(f"own folder: {name}", "folder of one's own", make, command, says)


def _words(name, area, says, *words, make=nothing):
    return Case(f"{area}: {name}", area, make, words, says)


def swapped_lapa(folder: pathlib.Path) -> None:
    L(folder)
    for split in dummy_archives.LAPA_SPLITS:
        root = folder / "LaPa" / split
        root.joinpath("images").rename(root / "aside")
        root.joinpath("labels").rename(root / "images")
        root.joinpath("aside").rename(root / "labels")


def listed(**lists: str):
    """A user's own folder without folders of splits, and its lists."""

    def make(folder: pathlib.Path) -> None:
        dummy_archives.own_by_hash(folder, 8)
        for name, text in lists.items():
            (folder / f"{name}.txt").write_text(text)

    return make


OWN = dummy_archives.own
OWN_LABEL, OWN_PHOTO = "labels/train/face0.png", "images/train/face0.jpg"
OWN_DEPTH = "depth/train/face0.png"
POINTS = "LaPa/train/landmarks/1001_1.txt"
LABEL = "LaPa/train/labels/1001_1.png"
SOFT = "SmithCVPR2013_dataset_resized/labels/101_1/101_1_lbl05.png"
EXEMPLARS = "SmithCVPR2013_dataset_resized/exemplars.txt"
STAR = "helenstar_release/train/101_1_label.png"

CASES = [
    _celeba("a photograph that is missing", put(C, PHOTO, None), "part masks without image"),
    _celeba("a photograph cut in half", change(C, PHOTO, half), "truncated"),
    _celeba("a photograph without a byte", put(C, PHOTO, b""), "an empty file"),
    _celeba("words for a photograph", put(C, PHOTO, "not a photograph"), "foreign"),
    _celeba("a PNG named .jpg", put(C, PHOTO, picture("PNG")), "no JPEG"),
    _celeba("a GIF named .jpg", put(C, PHOTO, picture("GIF", "P")), "no JPEG"),
    _celeba("a photograph of ten billion pixels", put(C, PHOTO, huge_png()), "pixels"),
    _celeba("no photographs", without(C, f"{CELEBA}/CelebA-HQ-img"), "CelebA-HQ-img"),
    _celeba("a mask cut in half", change(C, MASK, half), "truncated"),
    _celeba("a mask of another size", put(C, MASK, encode(GREY[:32])), "32"),
    _celeba("a mask of no part", put(C, MASK.replace("skin", "beard"), encode(GREY)), "beard"),
    _celeba("words for a mask", put(C, MASK, "mask"), "foreign"),
    _celeba("no masks", without(C, f"{CELEBA}/CelebAMask-HQ-mask-anno"), "without part masks"),
    _celeba("one folder of masks lacks", spoiled(MANY_C, removed(MASKS, "7")),
            "anno/7: found an image without part masks, 12 times"),
    _celeba("the folder of masks is empty", spoiled(MANY_C, emptied(MASKS)),
            "mask-anno: found an image without part masks, 17 times"),
    _celeba("photographs without a byte", spoiled(MANY_C, zeroed(f"{CELEBA}/CelebA-HQ-img", "14*")),
            "an empty file, 12 times"),
    _celeba("no mapping", put(C, MAPPING, None), "mapping"),
    _celeba("a number without end in the mapping",
            change(C, MAPPING, lambda d: d + f"{'1' * 5000} 1 2.jpg\n".encode()), "each idx once"),
    _celeba("words in the mapping", change(C, MAPPING, lambda d: d + b"one two three\n"), "one"),
    _celeba("an id twice in the mapping", change(C, MAPPING, lambda d: d + d[-70:]), "mapping"),
    _celeba("an empty mapping", put(C, MAPPING, b""), "mapping"),
    _celeba("noise for a mapping", put(C, MAPPING, RNG.bytes(500)), "mapping"),
    _celeba("a pipe for a photograph", pipe(C, PHOTO), "no plain file"),
    _celeba("nothing at all", nothing, "neither"),
    _celeba("the archive one level deeper", lambda f: C(f / "deeper"), "one level deeper"),
    _depth("two maps of one id", put(C, f"{CELEBA}-D/00001.png", encode(GREY)), "a second depth"),
    _depth("no map with an id", packed_depth(members("a.png")), "none with the id"),
    _depth("a map cut in half", change(C, DEPTH, half), "truncated"),
    _depth("words for a map", put(C, DEPTH, "depth"), "foreign"),
    _depth("colours", put(C, DEPTH, encode(RNG.integers(0, 255, (64, 64, 3), np.uint8))), "differ"),
    _depth("inks", put(C, DEPTH, picture("TIFF", "CMYK")), "CMYK"),
    _depth("fractions", put(C, DEPTH, picture("TIFF", "F")), "mode F"),
    _depth("millimetres", put(C, DEPTH, encode(np.full((64, 64), 900, np.uint16))), "at most 900"),
    _depth("32-bit values", put(C, DEPTH, encode(70_000 + np.int32(GREY), "TIFF")), "65535"),
    _depth("ten billion pixels", put(C, DEPTH, huge_png()), "pixels"),
    _depth("a pickle", put(C, DEPTH, npy(np.array([{}]), allow_pickle=True)), "pickled"),
    _depth("a pickle without a header", put(C, DEPTH, b"\x80\x04]\x94."), "foreign"),
    _depth("NaN", put(C, DEPTH, npy(np.full((64, 64), np.nan))), "float64"),
    _depth("signed numbers", put(C, DEPTH, npy(np.full((64, 64), -1, np.int16))), "int16"),
    _depth("words in an array", put(C, DEPTH, npy(np.array(["a"]))), "numbers of type"),
    _depth("an array of four axes", put(C, DEPTH, npy(GREY.reshape(2, 32, 2, 32))), "shape"),
    _depth("an array without values", put(C, DEPTH, npy(GREY[:0])), "shape"),
    _depth("an array cut in half", put(C, DEPTH, half(npy(GREY))), "damaged"),
    _depth("an array larger than its file", put(C, DEPTH, npy(GREY)[:128] + b"1"), "damaged"),
    _depth("a zip cut in half", packed_depth(broken_zip), "zip"),
    _depth("words for a zip", packed_depth(lambda p: p.write_text("zip")), "a zip archive"),
    _depth("a zip without a byte", packed_depth(lambda p: p.write_bytes(b"")), "a zip archive"),
    _depth("a zip without members", packed_depth(members()), "no depth map in it"),
    _depth("a name upwards", packed_depth(members("../1.png")), "leads out of the archive"),
    _depth("an absolute name", packed_depth(members("/etc/1.png")), "leads out of the archive"),
    _depth("a drive's name", packed_depth(members("C:\\1.png")), "leads out of the archive"),
    _depth("a bomb", packed_depth(members("1.png", data=bytes(2**26 + 1))), "a member of"),
    _depth("a name twice", packed_depth(twice), "a second member of this name"),
    _depth("an encrypted member", packed_depth(patched(b"both", 6, b"\x01")), "encrypted"),
    _depth("an unknown method", packed_depth(patched(b"both", 8, b"\x63")), "zip"),
    _depth("a member with a false sum", packed_depth(damaged_member), "damaged"),
    _lapa("nothing at all", nothing, "neither LaPa nor"),
    _lapa("no validation split", without(L, "LaPa/val"), "split validation: found no"),
    _lapa("an empty split", without(L, "LaPa/test/images"), "LaPa/test"),
    _depth("an empty folder", spoiled(C, emptied(f"{CELEBA}-D")), "no depth map in it"),
    _lapa("no labels in a split of many", spoiled(MANY_L, removed("LaPa/train", "labels")),
          "train/labels: found an image without a label map, 15 times"),
    _lapa("half of the photographs", spoiled(MANY_L, removed("LaPa/train/images", "2*")),
          "train/images: found a label map and a landmark file without image, 12 times"),
    _lapa("no labels", without(L, "LaPa/train/labels"), "without a label map"),
    _lapa("a label that is missing", put(L, LABEL, None), "1001_1"),
    _lapa("photographs and labels swapped", swapped_lapa, "swapped"),
    _lapa("a class above the range", put(L, LABEL, encode(GREY[:48] + 9)), "value 18"),
    _lapa("a label of another size", put(L, LABEL, encode(GREY)), "its label, 64x64"),
    _lapa("a JPEG for a label", put(L, LABEL, picture("JPEG")), "a lossless label map"),
    _lapa("a 16-bit label", put(L, LABEL, encode(GREY[:48].astype(np.uint16))), "I;16"),
    _lapa("a label with alpha", put(L, LABEL, picture("PNG", "RGBA", (64, 48))), "RGBA"),
    _lapa("landmarks that are missing", put(L, POINTS, None), "without a landmark file"),
    _lapa("105 landmarks", change(L, POINTS, lambda d: d.rsplit(b"\n", 2)[0] + b"\n"), "landmarks"),
    _lapa("words for landmarks", put(L, POINTS, "106\n" + "x y\n" * 106), "landmarks"),
    _lapa("landmarks nowhere", put(L, POINTS, "106\n" + "nan nan\n" * 106), "landmarks"),
    _lapa("noise for landmarks", put(L, POINTS, RNG.bytes(400)), "landmarks"),
    _helen("nothing at all", nothing, "SmithCVPR2013"),
    _helen("a list that is missing", put(H, EXEMPLARS, None), "exemplars.txt"),
    _helen("words in a list", change(H, EXEMPLARS, lambda d: d + b"who is this\n"), "who is"),
    _helen("a list of absent photographs", change(H, EXEMPLARS, lambda d: d + b"9 , 9_9\n"), "9_9"),
    _helen("an id in two lists", change(H, EXEMPLARS, lambda d: d + b"9 , 104_1\n"), "104_1"),
    _helen("the folder of labels is empty",
           spoiled(MANY_H, emptied("SmithCVPR2013_dataset_resized/labels")),
           "labels: found an image without soft maps, 17 times"),
    _helen("a soft map that is missing", put(H, SOFT, None), "lbl05"),
    _helen("a soft map cut in half", change(H, SOFT, half), "truncated"),
    _helen("a soft map of another size", put(H, SOFT, encode(GREY[:9])), "64x9 pixels"),
    _helen("noise for a list", put(H, EXEMPLARS, RNG.bytes(300)), "exemplars.txt"),
    _helen("nothing at all", nothing, "helenstar_release", "relabelled"),
    _helen("a label that is missing", put(R, STAR, None), "101_1", "relabelled"),
    _helen("a class above the range", put(R, STAR, encode(GREY[:48] + 9)), "18, exp", "relabelled"),
    _helen("an id in both folders", in_both, "an id that train has too", "relabelled"),
    _helen("no test split", without(R, "helenstar_release/test"), "split test", "relabelled"),
    _own("nothing at all", nothing, "no images"),
    _own("no classes", put(OWN, "classes.txt", None), "no classes.txt"),
    _own("an empty list of classes", put(OWN, "classes.txt", ""), "0 classes"),
    _own("noise for classes", put(OWN, "classes.txt", RNG.bytes(300)), "classes.txt"),
    _own("classes without background", put(OWN, "classes.txt", "hair\nskin\n"), "'background'"),
    _own("a sentence for a class", put(OWN, "classes.txt", "background\na b c\n"), "line 2"),
    _own("a class twice", put(OWN, "classes.txt", "background\na\na\n"), "a second time"),
    _own("a class named like a score", put(OWN, "classes.txt", "background\nmean\n"), "'mean'"),
    _own("a side alone", put(OWN, "classes.txt", "background\nleft_x\n"), "its other side"),
    _own("a pair of no class", put(OWN, "classes.txt", "background\na\na <-> b\n"),
         "pair with 'b'"),
    _own("an unknown scheme", put(OWN, "classes.txt", "scheme = ffhq\n"), "one of celebamask_hq"),
    _own("a class that has no line", put(OWN, "classes.txt", "background\nskin\n"),
         "a picture in colours"),
    _own("a class above the list", put(OWN, OWN_LABEL, encode(GREY + 2)), "value 11"),
    _own("a colour of no class", put(OWN, OWN_LABEL, encode(
        np.full((64, 64, 3), (1, 2, 3), np.uint8))), "#010203 in 4,096 pixels"),
    _own("a label with holes", put(OWN, OWN_LABEL, picture("PNG", "RGBA")), "transparent"),
    _own("a JPEG for a label", put(OWN, OWN_LABEL, picture("JPEG")), "a lossless label map"),
    _own("a 16-bit label", put(OWN, OWN_LABEL, encode(GREY.astype(np.uint16))), "I;16"),
    _own("a label of another size", put(OWN, OWN_LABEL, encode(GREY[:32, :32])),
         "face0.jpg: found 64x64 pixels, expected 32x32"),
    _own("a label of another form", put(OWN, OWN_LABEL, encode(GREY[:32])), "the proportions"),
    _own("a label that is missing", put(OWN, OWN_LABEL, None), "an image without a label"),
    _own("a photograph that is missing", put(OWN, OWN_PHOTO, None), "a label without image"),
    _own("a photograph cut in half", change(OWN, OWN_PHOTO, half), "truncated"),
    _own("a photograph without a byte", put(OWN, OWN_PHOTO, b""), "an empty file"),
    _own("a photograph of ten billion pixels", put(OWN, OWN_PHOTO, huge_png()), "pixels"),
    _own("two photographs of one name", put(OWN, "images/train/face0.png", picture("PNG")),
         "a second file of this name"),
    _own("a pipe for a photograph", pipe(OWN, OWN_PHOTO), "no plain file"),
    _own("photographs beside the folders", put(OWN, "images/a.jpg", picture("JPEG")),
         "beside them"),
    _own("two folders of one split", spoiled(OWN, lambda f: shutil.copytree(
        f / "images/val", f / "images/validation")), "a second folder of this split"),
    _own("lists beside the folders", put(OWN, "train.txt", "face0\n"), "train.txt beside them"),
    _own("no validation split", spoiled(OWN, lambda f: (
        shutil.rmtree(f / "images/val"), shutil.rmtree(f / "labels/val"))), "split validation"),
    _own("depth cut in half", change(OWN, OWN_DEPTH, half), "truncated"),
    _own("depth of another form", put(OWN, OWN_DEPTH, encode(GREY[:20])), "the proportions"),
    _own("depth of others", spoiled(OWN, lambda f: (
        f.joinpath("depth/val").rename(f / "depth/other"), shutil.rmtree(f / "depth/train"))),
         "none with the name of a photograph"),
    _own("a list of nobody", listed(train="000\nnobody\n", val="001\n"), "no photograph of this"),
    _own("a photograph in two lists", listed(train="000\n", val="000\n"), "listed already"),
    _own("lists without validation", listed(train="000\n", test="001\n"), "split validation"),
    _own("noise for a list", listed(train="\x01\x02\n"), "no photograph of this name"),
    _own("too few for the hash", lambda f: dummy_archives.own_by_hash(f, 1), "by the hash of its"),
    _own("a name that is a path", OWN, "no name of a dataset", "--config=../mine"),
    _words("an unknown dataset", "build command", "no such dataset", BUILD, "--name=ffhq"),
    _words("an unknown config", "build command", "no such config", BUILD, "--name=lapa_d",
           "--config=farl", "--manual_dir={folder}"),
    _words("no dataset", "build command", "--name or --list", BUILD),
    _words("an unknown flag", "build command", "--force", BUILD, "--name=lapa_d", "--force"),
    _words("no folder of files", "build command", "--manual_dir", BUILD, "--name=lapa_d"),
    _words("a folder that is not there", "build command", "absent", BUILD, "--name=lapa_d",
           "--manual_dir={folder}/absent"),
    _words("a file for the folder", "build command", "no such folder", BUILD, "--name=lapa_d",
           "--manual_dir={folder}/file", make=lambda f: f.joinpath("file").write_text("x")),
    _words("a file for the target", "build command", "--data_dir", BUILD, "--name=lapa_d",
           "--manual_dir={folder}", "--data_dir={folder}/file",
           make=lambda f: (L(f), f.joinpath("file").write_text("x"))),
    _words("a check of nothing", "build command", "neither LaPa", BUILD, "--name=lapa_d", "--check",
           "--manual_dir={folder}"),
    _words("no prepared dataset", "arrays command", "tfds_builders.build", DECODE,
           "--name=lapa_d", "--config=official", "--size=64", "--data_dir={folder}"),
    _words("a side of 8", "arrays command", "at least 16", DECODE,
           "--name=lapa_d", "--config=official", "--size=8"),
    _words("a word for a side", "arrays command", "large", DECODE,
           "--name=lapa_d", "--config=official", "--size=large"),
    _words("no config", "arrays command", "--config", DECODE, "--name=lapa_d",
           "--size=64"),
    _words("no MediaPipe", "make_depth command", "MediaPipe", MAKE_DEPTH,
           "--images={folder}", "--out={folder}/out"),
    _words("12 bits", "make_depth command", "invalid choice: 12", MAKE_DEPTH,
           "--images={folder}", "--out={folder}/out", "--bits=12"),
    _words("an unknown scheme", "make_depth command", "cityscapes", MAKE_DEPTH,
           "--images={folder}", "--out={folder}/out", "--scheme=cityscapes"),
    _words("a record that is missing", "compare command", "No such file", COMPARE,
           "{folder}/a.json", "{folder}/b.json"),
    _words("a record that is no JSON", "compare command", "a.json", COMPARE,
           "{folder}/a.json", "{folder}/a.json", make=lambda f: (f / "a.json").write_text("")),
    _words("a record that is a list", "compare command", "no JSON object", COMPARE,
           "{folder}/a.json", "{folder}/a.json",
           make=lambda f: (f / "a.json").write_text("[]")),
    _words("one record", "compare command", "records", COMPARE, "{folder}/a.json"),
]  # fmt: skip
