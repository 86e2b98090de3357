"""Runs that are stopped, whose checkpoints are damaged, or whose loss is not finite."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import jax
import numpy as np
import pytest

from faceparse_jax.checkpoints import store
from faceparse_jax.checkpoints.trained import load_trained
from faceparse_jax.errors import InputError, NonFiniteError, Stopped
from faceparse_jax.evaluation import evaluate
from faceparse_jax.runtime import interrupts
from faceparse_jax.runtime.lock import LOCK
from faceparse_jax.training import loop
from faceparse_jax.training.logs import Logs
from faceparse_jax.training.replay import replay
from faceparse_jax.training.setup import accept
from tests.support.bad_input import listing
from tests.support.locks import process_that_locks
from tests.support.runs import numbers, small_config


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    """A run of four steps that nothing disturbs."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    loop.train(small_config(data_dir), folder)
    return folder


@pytest.fixture
def cut(whole, tmp_path):
    """The same run as it was after its third step."""
    folder = tmp_path / "cut"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / "last" / "4")
    shutil.rmtree(folder / "checkpoints" / "best")
    return folder


def same_end(a: pathlib.Path, b: pathlib.Path) -> None:
    assert numbers(a) == numbers(b)
    left, right = (load_trained(w, "last").variables for w in (a, b))
    jax.tree.map(np.testing.assert_array_equal, left, right)
    metas = [store.read_meta(w, "last") for w in (a, b)]
    assert metas[0]["sha256"] == metas[1]["sha256"]  # the optimiser's state too


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(
    data_dir, whole, tmp_path, monkeypatch, number
):
    progress = Logs.progress

    def interrupt(self, step, **values):
        progress(self, step, **values)
        if step == 2:
            monkeypatch.setattr(interrupts, "_came", number)

    config = small_config(data_dir)
    config.checkpoint.every = 4
    with monkeypatch.context() as patch:
        patch.setattr(Logs, "progress", interrupt)
        with pytest.raises(Stopped, match="saved at step 2; next: the same command") as caught:
            loop.train(config, tmp_path / "run")
    assert caught.value.exit_status == 128 + number
    assert store.read_meta(tmp_path / "run", "last")["step"] == 2
    monkeypatch.setattr(interrupts, "_came", 0)
    loop.train(config, tmp_path / "run")
    same_end(tmp_path / "run", whole)


def test_a_signal_after_the_last_step_is_not_lost(data_dir, cut, whole, monkeypatch):
    monkeypatch.setattr(loop, "signal_at", lambda step: signal.SIGTERM if step == 4 else 0)
    with pytest.raises(Stopped, match="saved at step 4"):
        loop.train(small_config(data_dir), cut)
    same_end(cut, whole)


def test_the_best_checkpoint_that_a_state_names_is_written_before_it(data_dir, whole, tmp_path):
    job = accept(small_config(data_dir))
    with store.Checkpoints(whole, 3, read_only=True) as saved:
        state, meta = job.begin(saved)
    order = []
    with store.Checkpoints(tmp_path / "run", 3) as made:
        made._best.wait_until_finished = lambda: order.append("best is written")
        made._last.save = lambda *_, **__: order.append("last begins")
        made.save(state, meta)
    assert order[:2] == ["best is written", "last begins"]


def test_another_measure_of_the_best_begins_anew(data_dir, whole, capsys):
    config = small_config(data_dir)
    found = {}
    for size in (0, 32):
        config.eval.label_size = size
        with store.Checkpoints(whole, 3, read_only=True) as saved:
            found[size] = accept(config).begin(saved)[1]["best"]
    by = {"route": "rgb", "label_size": 0, "dataset": "synthetic_heads/tiny"}
    assert found[0] | {"score": 0} == {"step": 4, "score": 0} | by
    assert found[32] is None
    assert "chosen anew, by route rgb, label_size 32" in capsys.readouterr().err


def test_a_run_in_which_another_process_trains_is_left_alone(data_dir, cut, whole):
    before = listing(cut)
    with process_that_locks(cut) as other:
        with pytest.raises(InputError, match=f"found process {other.pid} on .*, which works in it"):
            loop.train(small_config(data_dir), cut)
        assert listing(cut).keys() == before.keys() | {LOCK}
        evaluate.evaluate_run(cut, "last")  # reads alone, and stays possible
        other.kill()  # leaves the file
        other.wait()
        assert (cut / LOCK).exists()
        loop.train(small_config(data_dir), cut)
    assert not (cut / LOCK).exists()
    same_end(cut, whole)


def test_a_run_of_constant_rate_goes_on_to_more_steps_and_nothing_differs(
    data_dir, tmp_path, capsys
):
    longer, shorter = (small_config(data_dir, steps) for steps in (4, 2))
    for config in (longer, shorter):
        config.optim.schedule, config.eval.every = "constant", 2
    loop.train(longer, tmp_path / "at once")
    run = tmp_path / "run"
    loop.train(shorter, run)
    before = listing(run)
    capsys.readouterr()
    assert loop.train(shorter, run) == {}
    told = capsys.readouterr().err
    assert f"{run}: finished at step 2; next: --config.train.steps=4 for as many steps" in told
    assert f"--mode evaluate --workdir {run} for scores" in told
    assert listing(run) == before
    loop.train(longer, run)
    same_end(run, tmp_path / "at once")
    with pytest.raises(InputError, match="found 2, expected at least 4, the steps that the run in"):
        loop.train(shorter, run)
    assert json.loads((run / "config.json").read_text())["train"]["steps"] == 4


def test_more_steps_of_a_rate_that_falls_are_another_run(data_dir, whole, capsys):
    config = small_config(data_dir, 8)
    says = r"train.steps=4 \(now 8\), expected .* of every step depend on train.steps \(cosine\)"
    with pytest.raises(InputError, match=says):
        loop.check_workdir(whole, config.to_dict())
    loop.train(small_config(data_dir), whole)
    told = capsys.readouterr().err
    assert f"{whole}: finished at step 4; next: python -m faceparse_jax.main --mode eval" in told


@pytest.mark.parametrize(
    ("before", "now", "differs"),
    [
        (("tfds", True), ("arrays", False), ""),
        (("arrays", False), ("tfds", True), ""),
        (("arrays", False), ("arrays", True), ""),
        (("tfds", False), ("tfds", True), "data.cache=False"),
        (("tfds", False), ("arrays", False), "data.source='tfds'"),
    ],
)
def test_where_batches_come_from_may_change_where_they_stay_the_same(
    data_dir, tmp_path, before, now, differs
):
    """`test_arrays_give_the_batches_of_the_cached_reader` says where they do."""
    config = small_config(data_dir)
    config.data.source, config.data.cache = before
    (tmp_path / "config.json").write_text(config.to_json())
    config.data.source, config.data.cache = now
    if differs:
        with pytest.raises(InputError, match=differs):
            loop.check_workdir(tmp_path, config.to_dict())
    else:
        config.data.shuffle_buffer = 7
        loop.check_workdir(tmp_path, config.to_dict())


UNNAMED = ".orbax-checkpoint-tmp"


def _bare(run):
    """Nothing of orbax's own beside the arrays, and other times."""
    for path in run.rglob("*"):
        if path.name in ("_CHECKPOINT_METADATA", "commit_success.txt"):
            path.unlink()
        else:
            os.utime(path, (1e9, 1e9))


def _strewn(run):
    """Files and folders that a copy leaves, or that somebody keeps there."""
    for folder in [path for path in run.rglob("*") if path.is_dir()]:
        for name in (".DS_Store", "x.partial", "._3"):
            (folder / name).write_bytes(b"x")
    for which in ("last", "best"):
        for name in (
            "3 copy",
            "3.partial",
            f"9{UNNAMED}-mine",
            f"4 old{UNNAMED}",
            "step_3",
            "0009",
        ):
            folder = run / "checkpoints" / which / name
            folder.mkdir(parents=True)
            (folder / "mine").write_text("x")
        (run / "checkpoints" / which / "12").write_text("x")


def _unnamed(run):
    """The names that checkpoints have until they are written."""
    for number, path in enumerate(sorted((run / "checkpoints" / "last").iterdir())):
        path.rename(path.with_name(f"{path.name}{UNNAMED}{'-17' * number}"))


@pytest.mark.parametrize("change", [_bare, _strewn, _unnamed])
def test_a_copied_run_opens_and_nothing_that_lies_beside_is_deleted(
    data_dir, cut, whole, capfd, change
):
    saved = [folder / str(step) for step in (1, 2, 3) for folder in cut.glob("checkpoints/last")]
    change(cut)
    beside = {
        path: found
        for path, found in listing(cut / "checkpoints").items()
        if not any((cut / "checkpoints" / path).is_relative_to(folder) for folder in saved)
    }
    if change is _unnamed:  # read as it is
        beside = {}
        assert store.read_meta(cut, "last")["step"] == 3
        load_trained(cut, "last")
    loop.train(small_config(data_dir), cut)
    assert "damaged" not in capfd.readouterr().err
    same_end(cut, whole)
    assert beside.items() <= listing(cut / "checkpoints").items()


@pytest.mark.parametrize("lost", ["the folder", "its names"])
def test_a_run_whose_checkpoints_are_lost_does_not_begin_anew(data_dir, cut, whole, lost):
    if lost == "the folder":
        shutil.rmtree(cut / "checkpoints" / "last")
        shutil.copytree(whole / "checkpoints" / "best", cut / "checkpoints" / "best")
    else:
        _unnamed(cut)
        for path in cut.glob("checkpoints/last/*/commit_success.txt"):
            path.unlink()
    before = listing(cut)
    with pytest.raises(InputError, match="no checkpoint, expected those of a run that came to ste"):
        loop.train(small_config(data_dir), cut)
    assert listing(cut) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(data_dir, cut, whole):
    shutil.rmtree(cut / "checkpoints")
    lines = (cut / "metrics.jsonl").read_text().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_text("".join(lines[:2]))
    loop.train(small_config(data_dir), cut)
    same_end(cut, whole)


def test_a_best_checkpoint_that_is_lost_is_chosen_anew(data_dir, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "best")
    with pytest.raises(InputError, match=r"no checkpoint, expected .*add --checkpoint=last"):
        load_trained(tmp_path / "run", "best")
    with store.Checkpoints(tmp_path / "run", 3, read_only=True) as saved:
        assert accept(small_config(data_dir)).begin(saved)[1]["best"] is None
    assert "chosen anew, since it is lost" in capsys.readouterr().err


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def _truncate(folder):
    path = _files(folder / "inference")[-1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(folder):
    path = _files(folder / "opt_state")[-1]
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data) // 3 + 64):
        data[place] ^= 0xFF
    path.write_bytes(data)


def _lose_an_item(folder):
    shutil.rmtree(folder / "opt_state")


def _lose_a_file(folder):
    _files(folder / "inference")[-1].unlink()


def _no_meta(folder):
    (folder / "meta" / "metadata").write_text("{")


def _empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    "damage", [_truncate, _flip, _lose_an_item, _lose_a_file, _no_meta, _empty]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(data_dir, whole, cut, capfd, damage):
    damage(cut / "checkpoints" / "last" / "3")
    loop.train(small_config(data_dir), cut)
    told = capfd.readouterr().err
    assert f"warning: {cut / 'checkpoints' / 'last' / '3'} is damaged" in told
    assert "going on from step 2" in told
    assert (cut / "checkpoints" / "damaged" / "3").is_dir()
    same_end(cut, whole)


def test_where_no_checkpoint_opens_nothing_is_moved_or_overwritten(data_dir, cut):
    last = cut / "checkpoints" / "last"
    for step in (2, 3):
        _truncate(last / str(step))
    shutil.rmtree(last / "1", ignore_errors=True)
    before = {p: p.stat().st_size for p in _files(last)}
    with pytest.raises(InputError, match=r"no checkpoint that opens \(step 3: .*; step 2: "):
        loop.train(small_config(data_dir), cut)
    assert {p: p.stat().st_size for p in _files(last)} == before


@pytest.mark.parametrize("damage", [_truncate, _lose_a_file, _no_meta])
def test_a_damaged_checkpoint_is_not_evaluated(whole, tmp_path, damage):
    shutil.copytree(whole, tmp_path / "run")
    damage(tmp_path / "run" / "checkpoints" / "best" / "4")
    with pytest.raises(InputError, match="add --checkpoint=last"):
        evaluate.evaluate_run(tmp_path / "run", "best")


def test_flipped_bytes_of_parameters_are_noticed(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    meta = tmp_path / "run" / "checkpoints" / "best" / "4" / "meta" / "metadata"
    found = json.loads(meta.read_text())
    found["sha256"]["inference"] = "0" * 64
    meta.write_text(json.dumps(found))
    with pytest.raises(InputError, match="other values than were written, expected SHA-256 000"):
        load_trained(tmp_path / "run", "best")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MiB in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_told_and_older_checkpoints_stay(data_dir, small_disk):
    folder = small_disk / "run"
    config = small_config(data_dir, steps=1000)
    config.checkpoint.keep = config.eval.every = 1000
    with (
        pytest.raises(InputError, match="a full disk, expected room for checkpoints"),
        store.told_full_disk(folder),
    ):
        loop.train(config, folder)
    assert shutil.disk_usage(small_disk).free < 2**22
    kept = sorted(int(p.name) for p in (folder / "checkpoints" / "last").glob("*[0-9]"))
    assert len(kept) > 3
    # With room again it goes on from one of the last two, whose values are what was written.
    for step in kept[:2]:
        shutil.rmtree(folder / "checkpoints" / "last" / str(step))
    with store.Checkpoints(folder, 3, read_only=True) as saved:
        job = accept(config)
        state, _ = job.begin(saved)
    assert int(state.step) in kept[-2:]


def test_a_loss_that_is_not_finite_stops_the_run_and_can_be_replayed(data_dir, tmp_path, capsys):
    config = small_config(data_dir, steps=8)
    config.optim.rate = config.optim.warmup_rate = 1e30
    config.log.every = config.eval.every = config.checkpoint.every = 3
    folder = tmp_path / "run"
    with pytest.raises(NonFiniteError, match=r"step \d: found loss = nan.*--mode replay") as told:
        loop.train(config, folder)
    record = json.loads((folder / "non_finite.json").read_text())
    assert record["step"] in (1, 2, 3)
    assert record["terms"].keys() == {"loss", "loss/rgb"}
    assert len(record["examples"]) == config.train.batch
    for name in record["examples"]:
        assert name in str(told.value)
    assert not list((folder / "checkpoints" / "last").glob("[0-9]*"))  # nothing bad is kept
    capsys.readouterr()
    files = {p: p.read_bytes() for p in folder.glob("*.json*")}
    found = replay(folder)
    assert not np.isfinite(found["loss"])
    printed = capsys.readouterr().out
    assert f"from step 0 to step {record['step']}" in printed
    assert re.search(r"not finite: .*loss, loss/rgb\n", printed)
    assert f"examples: {', '.join(record['examples'])}" in printed
    batch = np.load(folder / "replay" / f"step_{record['step']}.npz")
    assert batch["image"].shape == (8, 64, 64, 3)
    assert (folder / "replay" / f"step_{record['step']}.png").stat().st_size > 1000
    assert {p: p.read_bytes() for p in folder.glob("*.json*")} == files


def test_there_is_nothing_to_replay_in_a_good_run(whole):
    with pytest.raises(InputError, match="nothing to replay"):
        replay(whole)
