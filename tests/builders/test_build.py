"""The build command: what it prints, what it refuses, what a killed build leaves."""

import errno
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from faceparse_jax.data.splits import newest_version
from faceparse_jax.errors import InputError
from tests.support.dummy_archives import celebamask_hq, helen_relabelled, helen_smith, lapa
from tfds_builders import build


@pytest.fixture
def manual_dir(tmp_path):
    celebamask_hq(tmp_path / "manual")
    return tmp_path / "manual"


def run(capfd, *argv) -> tuple[int, str, str]:
    status = build.main([str(word) for word in argv])
    return status, *capfd.readouterr()


def test_the_list_names_every_dataset_and_config(capfd):
    status, out, _ = run(capfd, "--list")
    assert status == 0
    assert "celebamask_hq_d" in out
    for order in ("official", "bisenet", "farl"):
        assert f"--config {order}" in out


def test_a_build_ends_with_counts_and_the_next_command(capfd, manual_dir, tmp_path):
    words = ("--name", "celebamask_hq_d", "--manual_dir", manual_dir, "--data_dir", tmp_path / "d")
    status, out, err = run(capfd, *words)
    assert status == 0
    folder = tmp_path / "d" / "celebamask_hq_d" / "official" / "1.1.0"
    assert out.splitlines() == [
        f"celebamask_hq_d/official in {folder}",
        "  train             2 examples, 2 with depth",
        "  validation        2 examples, 2 with depth",
        "  test              1 examples, 0 with depth",
        "next: python -m faceparse_jax.main --config configs/celebamask_hq_d.py "
        f"--workdir runs/celebamask --config.data.data_dir={tmp_path / 'd'}",
    ]
    assert "100%" not in err  # what takes seconds shows its progress on a terminal alone
    status, again, _ = run(capfd, *words)
    assert status == 0
    assert again.splitlines()[1:] == out.splitlines()
    assert again.startswith("already prepared")


def test_another_config_is_in_the_next_command(capfd, manual_dir, tmp_path):
    status, out, _ = run(
        capfd, "--name", "celebamask_hq_d", "--config", "farl",
        "--manual_dir", manual_dir, "--data_dir", tmp_path / "d",
    )  # fmt: skip
    assert status == 0
    assert out.rstrip().endswith("--config.data.config=farl")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--name", "celeba"), r"--name celeba: found no such dataset, expected one of .*celebam"),
        (("--name", "celebamask_hq_d"), "--manual_dir: found nothing"),
        (("--name", "celebamask_hq_d", "--config", "best"), "one of official, bisenet, farl"),
        (("--name", "celebamask_hq_d", "--manual_dir", "/absent"), "no such folder"),
    ],
)
def test_wrong_words_are_one_sentence_and_status_2(capfd, tmp_path, words, message):
    status, out, err = run(capfd, *words, "--data_dir", tmp_path / "d")
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert re.search(message, err)


def test_bad_files_end_with_status_2_and_no_dataset(capfd, manual_dir, tmp_path):
    (manual_dir / "CelebAMask-HQ" / "CelebA-HQ-img" / "2.jpg").write_bytes(b"no photo")
    status, _, err = run(
        capfd, "--name", "celebamask_hq_d", "--manual_dir", manual_dir, "--data_dir", tmp_path / "d"
    )
    assert status == 2
    assert "2.jpg: found a truncated" in err.splitlines()[-1]
    assert "Traceback" not in err
    with pytest.raises(InputError, match="no prepared dataset"):
        newest_version("celebamask_hq_d", "official", tmp_path / "d")


def test_a_data_dir_that_is_a_file_is_refused(capfd, manual_dir, tmp_path):
    (tmp_path / "d").write_text("")
    status, _, err = run(
        capfd, "--name", "celebamask_hq_d", "--manual_dir", manual_dir, "--data_dir", tmp_path / "d"
    )
    assert status == 2
    assert "expected a folder that can be written" in err


def test_a_full_disk_is_told_and_leaves_nothing(capfd, manual_dir, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tensorflow_datasets.core.writer.Writer.write", full)
    status, _, err = run(
        capfd, "--name", "celebamask_hq_d", "--manual_dir", manual_dir, "--data_dir", tmp_path / "d"
    )
    assert status == 2
    assert "No space left on device, expected a folder with room" in err
    assert not list((tmp_path / "d").rglob("*incomplete*"))


def test_a_check_tells_what_is_there_and_builds_nothing(capfd, manual_dir, tmp_path):
    words = ["--name", "celebamask_hq_d", "--manual_dir", manual_dir, "--check"]
    status, out, _ = run(capfd, *words, "--data_dir", tmp_path / "d")
    assert status == 0
    assert re.search(r"train +2 +24,183 +2 +128x128 \(2\)", out)
    assert "not the official counts: train 2 of 24,183" in out
    assert re.search(r"13 +hair +\d+ +\d+ +\d+", out)
    assert out.strip().endswith("usable: run the same command without --check")
    assert not (tmp_path / "d").exists()


def test_a_check_lists_all_that_is_wrong_in_one_pass(capfd, manual_dir):
    root = manual_dir / "CelebAMask-HQ"
    photos = root / "CelebA-HQ-img"
    (photos / "1.jpg").write_bytes(b"no photo")
    shutil.copy(photos / "0.jpg", photos / "2.jpg")
    shutil.copy(photos / "0.jpg", photos / "77.jpg")
    (root / "notes.txt").write_text("a file of the user's own")
    next((manual_dir / "CelebAMask-HQ-D").glob("2001*")).write_bytes(b"")
    status, out, _ = run(capfd, "--name", "celebamask_hq_d", "--manual_dir", manual_dir, "--check")
    assert status == 2
    assert "1 files that belong to no photograph" in out
    assert "notes.txt" in out
    assert "1 exact duplicates, 1 across splits" in out
    assert "train/0 = validation/2" in out
    for what in ("1.jpg: found a truncated", "77.jpg: found an image without part masks"):
        assert what in out
    assert "2001.png: found an empty file" in out
    assert "not usable" in out


@pytest.mark.parametrize(
    ("name", "config", "write", "first", "has"),
    [
        ("lapa_d", "official", lapa, r"train +3 +18,176 +3 +64x64 \(1\), 64x48", "lower_lip"),
        ("helen_d", "smith", helen_smith, r"train +3 +2,000 +3 +64x64 \(1\), 64x48", "inner"),
        ("helen_d", "relabelled", helen_relabelled, r"train +4 +- +4 +64x64", "inner"),
    ],
)
def test_every_benchmark_is_checked(capfd, tmp_path, name, config, write, first, has):
    write(tmp_path)
    words = ("--name", name, "--config", config, "--manual_dir", tmp_path, "--check")
    status, out, _ = run(capfd, *words)
    assert status == 0
    assert re.search(first, out), out
    assert has in out
    assert "usable: run the same command without --check" in out
    photo = next(path for path in sorted(tmp_path.rglob("*.jpg")))
    photo.write_bytes(photo.read_bytes()[:300])
    status, out, _ = run(capfd, *words)
    assert status == 2
    assert f"{photo.name}: found a truncated" in out


def test_a_check_names_examples_that_are_known_to_be_bad(capfd, manual_dir):
    root = manual_dir / "CelebAMask-HQ"
    for path in [*root.rglob("2002.jpg"), *root.rglob("02002_*.png")]:
        path.rename(path.with_name(path.name.replace("2002", "2110")))
    mapping = root / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text(mapping.read_text().replace("\n2002 ", "\n2110 "))
    status, out, _ = run(capfd, "--name", "celebamask_hq_d", "--manual_dir", manual_dir, "--check")
    assert status == 0
    assert "known to be bad (1):\n  test/2110: its masks are misaligned" in out


_SLOW = """
import time
from faceparse_jax.runtime import interrupts
from tfds_builders import build, files
interrupts.install()
read = files.read_photo
def slow(archive, name):
    print("reading", flush=True)
    time.sleep(5 if name.endswith("/2002.jpg") else 0)
    return read(archive, name)
files.read_photo = slow
interrupts.run(build.main)
"""


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_leaves_nothing_that_loads(capfd, manual_dir, tmp_path, kill):
    words = ["--name", "celebamask_hq_d", "--manual_dir", manual_dir, "--data_dir", tmp_path / "d"]
    root = tmp_path / "d" / "celebamask_hq_d" / "official"
    process = subprocess.Popen([sys.executable, "-c", _SLOW, *words], stdout=subprocess.DEVNULL)
    # The last split hangs, when the records of the first two are written.
    limit = time.monotonic() + 60
    while not list(root.glob("*/*-validation.tfrecord*")) and time.monotonic() < limit:
        time.sleep(0.05)
    assert list(root.glob("*incomplete*/*-train.tfrecord*"))
    process.send_signal(kill)
    assert process.wait(timeout=60) == (130 if kill == signal.SIGINT else -kill)
    with pytest.raises(InputError, match="no prepared dataset"):
        newest_version("celebamask_hq_d", "official", tmp_path / "d")
    if kill == signal.SIGKILL:
        assert list(root.glob("*incomplete*"))
    status, out, err = run(capfd, *words)
    assert status == 0
    assert "test              1 examples" in out
    assert ("left from a build that was killed" in err) == (kill == signal.SIGKILL)


def test_a_build_that_fails_removes_nothing_but_its_own(tmp_path, monkeypatch):
    """What a user puts into the new folder while the build runs stays."""

    def fails(*_):
        (tmp_path / "new" / "mine.txt").write_text("kept")
        raise InputError("a", "b", "c", "d")

    monkeypatch.setattr(build, "_prepare", fails)
    with pytest.raises(InputError):
        build.build("synthetic_heads", None, "tiny", tmp_path / "new" / "data")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "mine.txt"]
