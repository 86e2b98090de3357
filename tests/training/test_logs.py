"""No logged step is lost, doubled or left torn; TensorBoard gets the same numbers."""

import io
import json
import struct
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from faceparse_jax.errors import InputError
from faceparse_jax.training.logs import Logs, last_step


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def events(workdir):
    """Events of all TensorBoard files: length u64, checksum u32, message, checksum u32."""
    for path in sorted((workdir / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += length + 16


def write(workdir, steps, start_step=0):
    with Logs(workdir, 10, start_step=start_step) as logs:
        for step in steps:
            logs.scalars(step, {"loss": step / 4, "rate/rgb": np.float32(0.5)})


def test_lines_are_on_disk_before_the_end(tmp_path):
    with Logs(tmp_path / "run", 10) as logs:
        logs.scalars(1, {"loss": 0.25})
        assert lines(tmp_path / "run") == [{"step": 1, "loss": 0.25}]


def test_torn_line_and_steps_that_come_again_are_dropped(tmp_path):
    write(tmp_path, [1, 2, 3, 4])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    write(tmp_path, [3, 4, 5], start_step=2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]
    assert not list(tmp_path.glob("*.partial"))


def test_only_a_torn_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"st')
    write(tmp_path, [1])
    assert [line["step"] for line in lines(tmp_path)] == [1]


def test_foreign_line_is_refused_and_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nhello\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2.*hello"):
        Logs(tmp_path, 10, start_step=1)
    assert path.read_text() == '{"step": 1}\nhello\n'


def test_numbers_that_are_not_finite_stay_valid_json(tmp_path):
    with Logs(tmp_path, 10) as logs:
        logs.scalars(1, {"loss": float("nan"), "other": float("inf")})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text) == {"step": 1, "loss": None, "other": None}


def test_tensorboard_has_scalars_picture_and_the_restart(tmp_path):
    write(tmp_path, [1, 2])
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Logs(tmp_path, 10, start_step=1) as logs:
        logs.scalars(2, {"loss": 0.75})
        logs.pictures(2, "examples", picture)
    scalars, pictures, restarts = [], [], []
    for event in events(tmp_path):
        if event.HasField("session_log"):
            restarts.append(event.step)
        for value in event.summary.value:
            if value.HasField("image"):
                pictures.append(value.image.encoded_image_string)
            else:
                scalars.append((event.step, value.tag, value.simple_value))
    assert sorted(scalars) == [
        (1, "loss", 0.25),
        (1, "rate/rgb", 0.5),
        (2, "loss", 0.5),
        (2, "loss", 0.75),
        (2, "rate/rgb", 0.5),
    ]
    assert restarts == [1, 2]  # TensorBoard forgets what it has from these steps on
    assert len(pictures) == 1
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(pictures[0]))), picture)


def test_a_torn_tensorboard_file_keeps_what_came_before(tmp_path):
    """A kill tears the last record; the resumed run begins a file of its own."""
    write(tmp_path, [1, 2])
    (path,) = (tmp_path / "tensorboard").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    write(tmp_path, [3], start_step=2)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    steps = set()
    for file in (tmp_path / "tensorboard").iterdir():
        try:
            for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
                steps |= {Event.FromString(record).step}
        except tf.errors.DataLossError:
            assert file == path
    assert steps >= {1, 2, 3}


class Clock:
    """Stands still until somebody lets it go on."""

    now = 50.0

    def __call__(self):
        return self.now


SOME = {"images_per_second": 12.34, "rate": 0.01, "loss": 1.5}


def test_progress_in_a_file_is_plain_lines_and_compilation_is_no_part_of_the_time_left(
    tmp_path, capsys
):
    clock = Clock()
    with Logs(tmp_path, 1000, start_step=10, clock=clock) as logs:
        for step in range(11, 1001):
            with logs.compiling("the step"):
                clock.now += 600 if step == 11 else 0
            clock.now += 10 if step > 11 else 0
            if step == 21:
                with logs.compiling("the evaluation"):
                    clock.now += 600
            if step in (11, 21, 1000):
                logs.progress(step, **SOME)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "compiling the step, which may take minutes",
        "step   11/1000  loss 1.5000  rate 1.00e-02  12.3 images/s",
        "compiling the evaluation, which may take minutes",
        "step   21/1000  loss 1.5000  rate 1.00e-02  12.3 images/s  2:43:10 left",
        "step 1000/1000  loss 1.5000  rate 1.00e-02  12.3 images/s  0:00 left",
    ]


@pytest.mark.parametrize(("terminal", "apart"), [(False, 30.0), (True, 0.5)])
def test_a_line_is_due_however_long_the_steps_take(tmp_path, monkeypatch, terminal, apart):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    clock = Clock()
    with Logs(tmp_path, 10, clock=clock) as logs, Logs(tmp_path, 10, lead=False) as other:
        assert not logs.due()
        clock.now += apart
        assert logs.due()
        assert not other.due()
        logs.progress(1, **SOME)
        clock.now += apart - 0.01
        assert not logs.due()


def test_lines_that_are_due_change_no_logged_number(tmp_path):
    with Logs(tmp_path, 10) as logs:
        logs.progress(1, **SOME)
    assert lines(tmp_path) == []


def test_the_last_step_of_a_log(tmp_path):
    assert last_step(tmp_path) == 0
    write(tmp_path, [1, 7, 3])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9')
    assert last_step(tmp_path) == 7


def test_progress_on_a_terminal_replaces_its_line(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Logs(tmp_path, 10) as logs:
        for step in (1, 2):
            logs.progress(step, images_per_second=1.0, rate=0.1, loss=1.0)
    text = terminal.getvalue()
    assert text.count("\r") == 2
    assert text.count("\n") == 1
    assert text.endswith("\n")


def test_other_processes_write_and_print_nothing(tmp_path, capsys):
    with Logs(tmp_path / "run", 10, lead=False) as logs:
        logs.scalars(1, {"loss": 1.0})
        logs.pictures(1, "examples", np.zeros((2, 2, 3), np.uint8))
        logs.progress(1, images_per_second=1.0, rate=0.1, loss=1.0)
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr() == ("", "")
