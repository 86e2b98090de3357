"""Videos: whole files or none, ids without loss, times and turns as the file has them."""

import csv
import fractions
import shutil
import signal
import struct

import numpy as np
import pytest
from PIL import Image

from faceparse_jax.errors import InputError, Stopped
from faceparse_jax.labels import CELEBAMASK_HQ
from faceparse_jax.prediction import video
from faceparse_jax.prediction.files import Settings, Unparsed, predict_files
from faceparse_jax.runtime import interrupts
from tests.support.known_parser import CLOTH, HAIR, bands, names, recorded

av = pytest.importorskip("av", reason="the extra video is not installed")

WHOLE = Settings(crop="none")
WRITTEN = ["clip_areas.csv", "clip_labels.mkv", "clip_overlay.mp4", "predictions.json"]


def write_clip(path, pictures, ticks=None, rate=25, **options):
    """Pictures as a video without loss, each at a hundredth of a second of its own."""
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream("libx264rgb", rate=rate, options={"crf": "0"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "rgb24"
        stream.codec_context.time_base = fractions.Fraction(1, 100)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = ticks[number] if ticks else number * 4
            frame.time_base = fractions.Fraction(1, 100)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def moving(count, height=40, width=30):
    """Labels whose bands move down, and their pictures."""
    label, picture = bands(height, width)
    return [(np.roll(label, n, 0), np.roll(picture, n, 0)) for n in range(count)]


def decoded(path, form):
    """The frames of a video, and when they are shown."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    return [frame.to_ndarray(format=form) for frame in frames], [frame.time for frame in frames]


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, [picture for _, picture in moving(10)])
    return path


def test_ids_areas_and_overlay_of_every_frame(parser, clip, tmp_path):
    out = tmp_path / "out"
    predict_files(parser, clip, None, out, WHOLE)
    assert names(out) == WRITTEN
    labels, _ = decoded(out / "clip_labels.mkv", "gray")
    pictures, _ = decoded(clip, "rgb24")
    expected = [result.label for result in parser(pictures, crop="none")]
    assert len({label.tobytes() for label in expected}) == 10
    np.testing.assert_array_equal(labels, expected)
    rows = table(out / "clip_areas.csv")
    assert [row["frame"] for row in rows] == list(map(str, range(10)))
    for row, label in zip(rows, expected, strict=True):
        for c in (0, HAIR, CLOTH):
            share = float(row[CELEBAMASK_HQ.classes[c]])
            assert share == pytest.approx((label == c).mean(), abs=1e-6)
    overlays, _ = decoded(out / "clip_overlay.mp4", "rgb24")
    shown = parser(pictures[3], crop="none").overlay()
    assert overlays[3].shape == shown.shape
    assert np.abs(overlays[3].astype(int) - shown).mean() < 12  # colours of two pixels are shared
    entry = recorded(out)["clip"]
    assert entry["frames"] == 10
    assert entry["written"] == {
        "labels": "clip_labels.mkv", "overlay": "clip_overlay.mp4", "areas": "clip_areas.csv",
    }  # fmt: skip
    counts = np.bincount(np.ravel(expected), minlength=19)
    assert entry["pixels"] == {
        name: int(n) for name, n in zip(CELEBAMASK_HQ.classes, counts, strict=True) if n
    }


def test_times_of_a_variable_rate_are_kept_and_odd_sizes_taken(parser, tmp_path):
    ticks = [50, 52, 60, 100, 101]
    clip, out = tmp_path / "clip.mkv", tmp_path / "out"
    write_clip(clip, [picture for _, picture in moving(5, 41, 31)], ticks)
    predict_files(parser, clip, None, out, WHOLE)
    expected = [(tick - 50) / 100 for tick in ticks]
    assert [float(row["seconds"]) for row in table(out / "clip_areas.csv")] == expected
    for name, form, shape in (
        ("clip_labels.mkv", "gray", (41, 31)), ("clip_overlay.mp4", "rgb24", (42, 32, 3)),
    ):  # fmt: skip
        frames, times = decoded(out / name, form)
        assert times == pytest.approx(expected, abs=1e-3)
        assert frames[0].shape == shape


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2)])
def test_a_turned_video_is_parsed_upright(parser, clip, tmp_path, matrix, turns):
    a, b, c, d = matrix
    data = clip.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    at = data.index(upright, data.index(b"tkhd"))
    clip.write_bytes(data[:at] + turned + data[at + 36 :])
    stored, _ = decoded(clip, "rgb24")
    predict_files(parser, clip, None, tmp_path / "out", WHOLE)
    labels, _ = decoded(tmp_path / "out" / "clip_labels.mkv", "gray")
    expected = parser(np.rot90(stored[0], turns), crop="none").label
    np.testing.assert_array_equal(labels[0], expected)


def test_a_video_is_parsed_once_and_again_where_it_changed(parser, clip, tmp_path, capsys):
    out = tmp_path / "out"
    first = predict_files(parser, clip, None, out, WHOLE)
    before = (out / "clip_areas.csv").stat().st_mtime_ns
    assert predict_files(parser, clip, None, out, WHOLE) == first
    assert "1 of 1 inputs were parsed before" in capsys.readouterr().err
    assert (out / "clip_areas.csv").stat().st_mtime_ns == before
    predict_files(parser, clip, None, out, Settings(crop="none", scheme="lapa"))
    assert recorded(out)["clip"]["scheme"] == "lapa"
    labels, _ = decoded(out / "clip_labels.mkv", "gray")
    pictures, _ = decoded(clip, "rgb24")
    expected = parser(pictures[0], crop="none", scheme="lapa").label
    np.testing.assert_array_equal(labels[0], expected)
    (out / "predictions.json").unlink()
    with pytest.raises(InputError, match=r"clip_labels\.mkv, .*not written by a prediction"):
        predict_files(parser, clip, None, out, WHOLE)


def test_a_frame_without_a_face_is_counted(parser, clip, tmp_path):
    predict_files(parser, clip, None, tmp_path / "out")
    (warning,) = recorded(tmp_path / "out")["clip"]["warnings"]
    assert warning.startswith("no face was found")
    assert warning.endswith("(10 of 10 frames)")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_video_that_is_cut_is_parsed_as_far_as_it_goes_with_a_warning(parser, tmp_path, name):
    """MP4 with its index at the start, and Matroska; FFmpeg tells of no damage there."""
    clip, out = tmp_path / name, tmp_path / "out"
    pictures = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8)
    write_clip(clip, pictures, movflags="faststart")
    predict_files(parser, clip, None, out, WHOLE)
    assert recorded(out)["clip"]["warnings"] == []
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    predict_files(parser, clip, None, out, WHOLE)
    entry = recorded(out)["clip"]
    assert 0 < entry["frames"] < 15
    assert len(decoded(out / "clip_labels.mkv", "gray")[0]) == entry["frames"]
    assert entry["warnings"] == [
        f"its frames end after {entry['frames'] * 0.04:.1f} s, before the end that the file tells "
        "of, so that it may be cut or damaged"
    ]


def test_a_box_outside_of_a_video_is_told_with_what_else_cannot_be_parsed(parser, clip, tmp_path):
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    Image.fromarray(bands(90, 90)[1]).save(photo)
    with pytest.raises(Unparsed, match=r"1 of 2 inputs.*clip\.mp4: 30 x 40 pixels, of which"):
        predict_files(parser, [photo, clip], None, out, Settings(crop=(50.0, 50.0, 80.0, 80.0)))
    assert sorted(recorded(out)) == ["photo"]
    assert not [name for name in names(out) if name.startswith("clip")]


@pytest.mark.parametrize("ending", ["a stop", "a full disk", "damage"])
def test_nothing_is_left_of_a_video_that_was_not_parsed_to_its_end(
    parser, clip, tmp_path, monkeypatch, ending
):
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    Image.fromarray(bands(40, 30)[1]).save(photo)
    add = video.Writer.add

    def ends(self, *arguments):
        if self.frames == 5:
            if ending == "a stop":
                monkeypatch.setattr(interrupts, "_came", signal.SIGINT)
            elif ending == "a full disk":
                monkeypatch.setattr(np, "bincount", full)
            else:
                raise InputError("clip.mp4", "damage", "none", "mend it")
        add(self, *arguments)

    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    wanted = {"a stop": Stopped, "a full disk": video.Unwritable, "damage": Unparsed}[ending]
    with monkeypatch.context() as patch:
        patch.setattr(video.Writer, "add", ends)
        with pytest.raises(wanted) as error:
            predict_files(parser, [photo, clip], None, out, WHOLE)
    monkeypatch.undo()
    assert type(error.value) is wanted
    assert not [name for name in names(out) if name.startswith("clip")]
    assert sorted(recorded(out)) == ["photo"]
    predict_files(parser, [photo, clip], None, out, WHOLE)
    assert sorted(recorded(out)) == ["clip", "photo"]


def test_bad_videos_and_wishes_are_one_sentence(parser, clip, tmp_path):
    out = tmp_path / "out"
    cut, text, sound = (tmp_path / name for name in ("cut.mp4", "text.mp4", "sound.mkv"))
    cut.write_bytes(clip.read_bytes()[:900])
    text.write_text("no video")
    with av.open(str(sound), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 80), np.int16), "s16", "mono")
        samples.rate = 8000
        file.mux(stream.encode(samples))
        file.mux(stream.encode())
    for given, depth, settings, says in (
        (cut, None, WHOLE, r"cut\.mp4: found a truncated, damaged or foreign file"),
        (text, None, WHOLE, r"text\.mp4: found a truncated, damaged or foreign file"),
        (sound, None, WHOLE, r"sound\.mkv: found a file without pictures"),
        (clip, clip, WHOLE, r"found depth beside a video .* leave --depth out"),
        (clip, None, Settings(probabilities=True), r"--probabilities: found a video"),
        (clip, None, Settings(uncertainty=True), r"--uncertainty: found a video"),
        (clip, None, Settings(output="depth"), r"what output depth .* needs"),
        (clip, None, Settings(crop=(90.0, 90.0, 99.0, 99.0)), r"30 x 40 pixels, of which the box"),
    ):
        with pytest.raises(InputError, match=says):
            predict_files(parser, given, depth, out, settings)
        assert not out.exists()
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(clip, folder)
    with pytest.raises(InputError, match=r"no such file, but videos.* that end in \.jpg"):
        predict_files(parser, folder, None, out)


def test_a_video_whose_size_changes_is_refused_whole(parser, tmp_path):
    clip = tmp_path / "clip.ts"
    parts = []
    for height in (40, 60):
        write_clip_part = tmp_path / f"{height}.ts"
        with av.open(str(write_clip_part), "w") as file:
            stream = file.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = height, 40, "yuv420p"
            for _ in range(5):
                picture = bands(height, 40)[1]
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
        parts.append(write_clip_part.read_bytes())
    clip.write_bytes(b"".join(parts))
    clip = clip.rename(tmp_path / "clip.mpg")
    with pytest.raises(Unparsed, match=r"a frame of 40x60 pixels after others of 40x40"):
        predict_files(parser, [clip, clip_of_one(tmp_path)], None, tmp_path / "out", WHOLE)
    assert names(tmp_path / "out") == ["one_areas.csv", "one_labels.mkv", "one_overlay.mp4",
                                       "predictions.json"]  # fmt: skip


def clip_of_one(folder):
    """A video of one frame."""
    write_clip(folder / "one.mp4", [moving(1)[0][1]])
    return folder / "one.mp4"
