"""Several processes that are one run, as real processes over loopback; any number of devices."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from faceparse_jax.checkpoints import store
from faceparse_jax.checkpoints.trained import load_trained
from faceparse_jax.errors import InputError
from faceparse_jax.evaluation import evaluate
from faceparse_jax.runtime import hosts
from tests.support.bad_input import listing
from tests.support.locks import process_that_locks
from tests.support.places import ROOT
from tests.support.runs import command, numbers, small_config

STEPS, PATIENCE = 7, 400  # seconds; other work may keep the machine busy
# A checkpoint at each second step and the last; evaluation of 13 heads in batches of 4. With other
# seeds a batch may have statistics of nearly equal values, which enlarge what rounding left.
OPTIONS = {
    "seed": 1,
    "devices": 0,
    "train.steps": STEPS,
    "eval.batch": 4,
    "eval.every": STEPS,
    "checkpoint.every": 2,
    "checkpoint.keep": 9,
    "log.pictures_every": STEPS,
}


def config_for(data_dir, devices=0):
    config = small_config(data_dir, STEPS)
    config.update_from_flattened_dict(OPTIONS | {"devices": devices})
    return config


def environment(devices: int) -> dict[str, str]:
    return os.environ | {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
    }


class Pair:
    """The same command in two processes with one device each; killed where it outlives a test."""

    def __init__(self, workdir: pathlib.Path, *arguments: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.logs = [workdir.with_suffix(f".{i}.log") for i in range(2)]
        self.processes = []
        for i, log in enumerate(self.logs):
            words = [sys.executable, "-m", "faceparse_jax.main", f"--workdir={workdir}", *arguments]
            words += [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={i}"]
            with open(log, "w") as out:
                self.processes.append(
                    subprocess.Popen(words, cwd=ROOT, env=environment(1), stdout=out, stderr=out)
                )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)
                process.wait(PATIENCE)

    def until(self, condition) -> None:
        """Waits for a condition while both processes live."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert all(process.poll() is None for process in self.processes), self.told()
            assert time.monotonic() < end, self.told()
            time.sleep(0.02)

    def statuses(self) -> list[int]:
        return [process.wait(PATIENCE) for process in self.processes]

    def told(self) -> str:
        return "\n".join(log.read_text()[-2000:] for log in self.logs)


def train_alone(config, workdir: pathlib.Path) -> None:
    """The run in one process, which has as many devices as it uses.

    The same number of devices then adds in the same order as in several processes.
    """
    words = [sys.executable, "-m", "faceparse_jax.main", f"--workdir={workdir}", *flags_of(config)]
    done = subprocess.run(
        words, cwd=ROOT, env=environment(config.devices), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def flags_of(config) -> list[str]:
    """The whole config on the command line of the file that it started from."""
    from faceparse_jax.configs import synthetic_heads

    start = synthetic_heads.get_config()
    before, now = (dict(_flat(c.to_dict())) for c in (start, config))
    changed = [f"--config.{k}={v}" for k, v in now.items() if before[k] != v]
    return ["--config=configs/synthetic_heads.py", *changed]


def _flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.fixture(scope="module")
def pair_run(data_dir, tmp_path_factory):
    """A run of two processes that nothing disturbs, evaluated by two processes."""
    folder = tmp_path_factory.mktemp("runs") / "pair"
    with Pair(folder, *flags_of(config_for(data_dir))) as pair:
        assert pair.statuses() == [0, 0], pair.told()
    with Pair(folder, "--mode=evaluate", "--checkpoint=last") as pair:
        assert pair.statuses() == [0, 0], pair.told()
    return folder


def same_bits(a: pathlib.Path, b: pathlib.Path) -> None:
    assert store.read_meta(a, "last")["sha256"] == store.read_meta(b, "last")["sha256"]
    assert numbers(a) == numbers(b)


def close(a: pathlib.Path, b: pathlib.Path) -> None:
    """Equal to float32 rounding: sums over the batch run in another order."""
    left, right = (load_trained(w, "last").variables for w in (a, b))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-5), left, right)
    for step, values in numbers(a).items():
        for name, value in values.items():
            # A pixel near a tie may change its class.
            rounding = 2e-3 if name.startswith("validation") else 1e-4
            assert value == pytest.approx(numbers(b)[step][name], rel=rounding, abs=1e-4), name


def test_two_processes_and_one_agree(data_dir, pair_run, tmp_path):
    train_alone(config_for(data_dir, devices=2), tmp_path / "one")
    close(tmp_path / "one", pair_run)


def test_killed_processes_go_on_and_nothing_differs(data_dir, pair_run, tmp_path):
    folder = tmp_path / "killed"
    with Pair(folder, *flags_of(config_for(data_dir))) as pair:
        pair.until(lambda: (folder / "checkpoints" / "last" / "4").is_dir())
        pair.send(signal.SIGKILL)
    with Pair(folder, *flags_of(config_for(data_dir))) as pair:
        assert pair.statuses() == [0, 0], pair.told()
    same_bits(folder, pair_run)


@pytest.mark.parametrize(
    ("number", "statuses"), [(signal.SIGTERM, [143, 143]), (signal.SIGINT, [143, 130])]
)
def test_a_signal_to_one_process_saves_the_run_of_both(data_dir, tmp_path, number, statuses):
    folder = tmp_path / "stopped"
    config = config_for(data_dir)
    config.train.steps = 10_000  # as long as it takes the signal to get around
    config.checkpoint.every = 10_000
    config.optim.schedule = "constant"
    with Pair(folder, *flags_of(config)) as pair:
        pair.until(lambda: (folder / "metrics.jsonl").exists())
        pair.until(lambda: len((folder / "metrics.jsonl").read_text().splitlines()) >= 2)
        pair.processes[1].send_signal(number)
        assert pair.statuses() == statuses, pair.told()
    step = store.read_meta(folder, "last")["step"]
    assert step == max(numbers(folder))
    assert f"saved at step {step}" in pair.told()


def test_where_the_lead_is_refused_the_others_do_not_wait(data_dir, pair_run, tmp_path):
    folder = tmp_path / "locked"
    shutil.copytree(pair_run, folder)
    before = listing(folder)
    with process_that_locks(folder) as other:
        with Pair(folder, *flags_of(config_for(data_dir))) as pair:
            assert pair.statuses() == [2, 2], pair.told()
            lead, second = (log.read_text() for log in pair.logs)
        assert f"found process {other.pid} on" in lead
        assert "error: the run: found process 0 refused" in second
    assert listing(folder) == before


def test_one_process_goes_on_from_the_checkpoint_of_two(data_dir, pair_run, tmp_path):
    """For one step, on one device: a second would make more of what rounding left."""
    folder = tmp_path / "fewer"
    shutil.copytree(pair_run, folder)
    shutil.rmtree(folder / "checkpoints" / "last" / str(STEPS))
    shutil.rmtree(folder / "checkpoints" / "best")
    train_alone(config_for(data_dir, devices=1), folder)
    assert store.read_meta(folder, "last")["step"] == STEPS
    close(folder, pair_run)


def test_evaluation_is_the_same_to_the_last_integer(data_dir, pair_run):
    """13 examples, 4 in a batch: on 8 devices most rows are padding."""
    by_pair = json.loads((pair_run / "evaluation" / "test_last.json").read_text())
    assert by_pair["provenance"]["scored_on"]["examples"] == {"all": 13, "with_depth": 13}
    for devices in (1, 2, 8):
        (found,) = evaluate.evaluate_run(pair_run, "last", config_for(data_dir, devices)).values()
        found = json.loads(json.dumps(found))
        assert found["routes"] == by_pair["routes"], devices
        assert found["provenance"]["scored_on"] == by_pair["provenance"]["scored_on"]
    assert np.sum(found["routes"]["rgb"]["confusion"]) == 13 * 64 * 64


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--coordinator=localhost"], "--process=0..N-1"),
        (["--processes=2"], "--process=0..N-1"),
        (["--coordinator=localhost:1", "--processes=2", "--process=2"], "--process=0..N-1"),
        (["--coordinator=auto"], "a cluster that JAX knows"),
        (["--coordinator=auto", "--mode=study"], "--mode train or evaluate"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(flags, says, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    done = command(f"--workdir={tmp_path / 'run'}", "--config=configs/synthetic_heads.py", *flags)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_at_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(InputError, match="no answer within 0 s"):
            hosts.join(f"127.0.0.1:{port}", 2, 1, coordinator_timeout=0)
