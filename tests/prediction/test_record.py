"""Prediction of files: what is done is kept, whatever ends the command."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from faceparse_jax.errors import InputError, Stopped
from faceparse_jax.prediction import results
from faceparse_jax.prediction.files import Settings, Unparsed, predict_files
from faceparse_jax.runtime import interrupts, records
from faceparse_jax.runtime.lock import locked
from tests.support.known_parser import bands, names, recorded

WHOLE, RGB = Settings(), Settings(output="rgb")


def break_two(images):
    whole = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(whole[: len(whole) // 2])
    (images / "7.jpg").write_bytes(b"")
    return whole


def test_broken_files_are_named_and_the_others_parsed_and_kept(parser, photos):
    images, out = photos / "images", photos / "out"
    whole = break_two(images)
    with pytest.raises(Unparsed, match=r"2 of 4 inputs.*1\.png.*7\.jpg") as error:
        predict_files(parser, images, None, out)
    assert error.value.exit_status == 4
    assert "0.png" not in str(error.value)
    assert sorted(recorded(out)) == ["0", "2"]
    (images / "1.png").write_bytes(whole)
    (images / "7.jpg").unlink()
    before = (out / "0_label.png").stat().st_mtime_ns
    predict_files(parser, images, None, out)
    assert sorted(recorded(out)) == ["0", "1", "2"]
    assert (out / "0_label.png").stat().st_mtime_ns == before


def test_strictly_all_broken_files_are_named_and_nothing_is_written(parser, photos):
    break_two(photos / "images")
    with pytest.raises(InputError, match=r"2 of 4 inputs.*1\.png.*7\.jpg"):
        predict_files(parser, photos / "images", None, photos / "out", strict=True)
    with pytest.raises(InputError, match=r"1\.png: found a truncated"):
        predict_files(parser, photos / "images" / "1.png", None, photos / "out")
    assert not (photos / "out").exists()


def test_only_what_changed_is_parsed_again(parser, photos, capsys):
    images, out = photos / "images", photos / "out"
    first = predict_files(parser, images, None, out)

    def again(settings=WHOLE):
        before = {path: path.stat().st_mtime_ns for path in out.glob("*_label.png")}
        record = predict_files(parser, images, None, out, settings)
        changed = [path.name[0] for path in before if path.stat().st_mtime_ns != before[path]]
        return record, "".join(sorted(changed))

    assert again() == (first, "")
    assert "3 of 3 inputs were parsed before" in capsys.readouterr().err
    Image.fromarray(bands(40, 30)[1][::-1]).save(images / "0.png")
    (out / "2_overlay.png").unlink()
    assert again()[1] == "02"
    assert again(RGB)[1] == "012"
    assert again(RGB)[1] == ""


@pytest.mark.parametrize("killed", [False, True])
def test_a_prediction_that_is_stopped_keeps_what_is_done(parser, photos, monkeypatch, killed):
    """Also one that is killed, which leaves no time to write the record."""
    images, out = photos / "images", photos / "out"
    for number in range(3, 40):
        shutil.copy(images / "0.png", images / f"{number}.png")
    write, calls = results.write, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            patch.setattr(interrupts, "_came", signal.SIGINT)
        return write(*arguments)

    def is_killed(*arguments):  # what is on the disk now is what a kill would leave
        shutil.copytree(out, photos / "killed")
        whole(*arguments)

    whole = records.write
    with monkeypatch.context() as patch:
        patch.setattr(results, "write", stop)
        patch.setattr(records, "write", is_killed)
        with pytest.raises(Stopped, match="SIGINT"):
            predict_files(parser, images, None, out)
    if killed:
        out = photos / "killed"
        assert not (out / "predictions.json").exists()
        with (out / "predictions.partial.jsonl").open("a") as journal:
            journal.write('{"2": {"torn')
    else:
        done = recorded(out)
        assert {"0", "1"} <= done.keys()
        # All that was written is recorded, and the last photographs were left.
        written = {name for entry in done.values() for name in entry["written"].values()}
        assert names(out) == sorted({*written, "predictions.json"})
        assert len(done) < 40
    times = {n: (out / f"{n}_label.png").stat().st_mtime_ns for n in "01"}
    record = predict_files(parser, images, None, out)
    everything = sorted(map(str, range(40)))
    assert sorted(record["predictions"]) == sorted(recorded(out)) == everything
    assert times == {n: (out / f"{n}_label.png").stat().st_mtime_ns for n in "01"}
    assert not (out / "predictions.partial.jsonl").exists()


def test_a_failure_half_way_leaves_whole_files_only(parser, photos, monkeypatch):
    save, calls = Image.Image.save, []

    def full_disk(self, file, *arguments, **more):
        calls.append(file)
        if len(calls) == 5:
            file.write(b"half")
            raise OSError("no space left on device")
        save(self, file, *arguments, **more)

    out = photos / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full_disk)
        with pytest.raises(InputError, match="no space left"):
            predict_files(parser, photos / "images", None, out, RGB)
    done = recorded(out)
    assert len(done) == 2  # threads write them all at once, and one of three failed
    assert all((out / name).exists() for one in done.values() for name in one["written"].values())
    for name in set(names(out)) - {"predictions.json"}:
        Image.open(out / name).load()
    predict_files(parser, photos / "images", None, out, RGB)
    assert "2_overlay.png" in names(out)


@pytest.mark.parametrize("broken", [[1], "x", None, {}, {"key": None, "written": {}}])
def test_records_that_this_version_does_not_write_are_written_anew(parser, photos, broken):
    images, out = photos / "images", photos / "out"
    predict_files(parser, images, None, out)
    entry = recorded(out)["1"]
    text = json.dumps({"written_by": "faceparse_jax", "predictions": {"0": broken, "1": entry}})
    (out / "predictions.json").write_text(text)
    lines = ['{"written_by": "faceparse_jax"}', "5", "[1, 2]", json.dumps({"2": broken}), '{"2"']
    (out / "predictions.partial.jsonl").write_text("\n".join(lines))
    predict_files(parser, images, None, out)
    assert {stem: entry["written"]["label"] for stem, entry in recorded(out).items()} == {
        stem: f"{stem}_label.png" for stem in "012"
    }
    assert recorded(out)["1"] == entry


@pytest.mark.parametrize("missing", [np.nan, np.inf, 65535])
def test_every_missing_value_is_recorded_as_json(parser, photos, missing, capsys):
    images, depths, out = photos / "images", photos / "depths", photos / "out"
    for _ in range(2):
        predict_files(parser, images, depths, out, Settings(depth_missing=missing))
    assert "3 of 3 inputs were parsed before" in capsys.readouterr().err

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads((out / "predictions.json").read_text(), parse_constant=refuse)


def test_two_predictions_never_write_to_one_folder_at_once(parser, photos):
    images, out = photos / "images", photos / "out"
    with (
        locked(out),
        pytest.raises(InputError, match=rf"process {os.getpid()} on .* choose another --out"),
    ):
        predict_files(parser, images, None, out)
    assert names(out) == []
    predict_files(parser, images, None, out)
    assert "faceparse_jax.lock" not in names(out)
