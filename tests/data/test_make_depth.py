"""Depth from face meshes: triangles, rasterising, the rest of the head, files."""

import numpy as np
import pytest
from PIL import Image
from scipy.interpolate import LinearNDInterpolator

from faceparse_jax import images, labels
from faceparse_jax.data import face_mesh, make_depth
from faceparse_jax.errors import InputError
from tests.support.dummy_archives import head

# A grid of 5 by 5 vertices, each square cut in two, with one triangle cut in three by a
# vertex inside it: its outline has three neighbours but is no triangle of the surface.
_GRID = [(x, y) for y in range(5) for x in range(5)]


def _edges():
    edges = set()
    for i, (x, y) in enumerate(_GRID):
        for dx, dy in ((1, 0), (0, 1), (1, 1)):
            if (x + dx, y + dy) in _GRID:
                edges.add((i, _GRID.index((x + dx, y + dy))))
    inner = (12, 13, 18)
    return [*edges, *((25, corner) for corner in inner)], inner


def test_triangles_are_found_from_edges():
    edges, enclosing = _edges()
    found = {tuple(t) for t in face_mesh.triangles(edges).tolist()}
    assert len(found) == 2 * 16 - 1 + 3
    assert enclosing not in found
    # Euler: vertices - edges + triangles = 1 for a disc.
    assert 26 - len(edges) + len(found) == 1


def test_a_ring_is_walked_once_and_filled():
    ring = face_mesh.ring([(3, 7), (9, 3), (7, 4), (4, 9)])
    assert ring == [3, 7, 4, 9]
    assert face_mesh.fan(ring).tolist() == [[3, 7, 4], [3, 4, 9]]


def test_rasterising_is_linear_interpolation():
    rng = np.random.default_rng(0)
    points = np.array(_GRID, float) * 9 + 2 + rng.uniform(-1, 1, (25, 2))
    depth = rng.uniform(0, 9, 25)
    edges = [edge for edge in _edges()[0] if 25 not in edge]
    corners = face_mesh.triangles(edges)
    found = face_mesh.rasterise(np.column_stack([points, depth]), corners, (40, 44))
    pixels = np.stack(np.meshgrid(np.arange(44) + 0.5, np.arange(40) + 0.5), -1)
    # Triangle by triangle by SciPy, since its own triangulation may be another.
    expected = np.full((40, 44), np.nan)
    for corner in corners:
        one = LinearNDInterpolator(points[corner], depth[corner])(pixels)
        expected = np.fmax(expected, one)
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.sum() > 1000
    assert (np.isfinite(found) != np.isfinite(expected)).sum() <= 2  # pixels on an edge
    np.testing.assert_allclose(found[both], expected[both], atol=1e-6)


def test_the_nearer_triangle_hides_the_farther_one():
    square = np.array([(0, 0), (8, 0), (0, 8), (8, 8)], float)
    vertices = np.concatenate([np.c_[square, np.full(4, 5)], np.c_[square / 2, np.full(4, 2)]])
    corners = np.array([(0, 1, 2), (1, 3, 2), (4, 5, 6), (5, 7, 6)])
    found = face_mesh.rasterise(vertices, corners, (9, 9))
    assert (found[:4, :4] == 2).all()
    assert (found[4:8, :8] == 5).all()
    assert np.isnan(found[8]).all()


def ball(shape=(80, 80), radius=30):
    """Depth of the front of a ball, and where its middle is seen as a face."""
    y, x = np.indices(shape) + 0.5
    squared = (x - 40) ** 2 + (y - 40) ** 2
    depth = radius - np.sqrt(np.maximum(radius**2 - squared, 0))
    return np.where(squared < radius**2, depth, np.nan), squared < (0.6 * radius) ** 2


def test_a_head_goes_on_where_the_face_ends():
    whole, middle = ball()
    face = np.where(middle, whole, np.nan)
    outline = np.isfinite(whole)
    found = face_mesh.extend(face, outline)
    np.testing.assert_array_equal(np.isfinite(found), outline)
    np.testing.assert_array_equal(found[middle], face[middle])
    beyond = outline & ~middle
    assert np.corrcoef(found[beyond], whole[beyond])[0, 1] > 0.9
    assert found[beyond].min() > np.nanmedian(face)
    # No step at the seam larger than the slope there.
    assert np.nanmax(np.abs(np.diff(found, axis=0))) < 4
    grey = face_mesh.to_grey(found)
    assert (grey[outline].min(), grey[outline].max()) == (face_mesh.NEAR, face_mesh.FAR)
    assert (grey[~outline] == 0).all()
    deep = face_mesh.to_grey(found, bits=16)
    assert deep.dtype == np.uint16
    assert len(np.unique(deep)) > 2 * len(np.unique(grey))


def finder(image):
    """In place of MediaPipe: a square where the photograph is not black."""
    y, x = np.nonzero(image.max(axis=-1) > 60)
    if not y.size:
        return []
    left, right, top, bottom = x.min(), x.max() + 1, y.min(), y.max() + 1
    corners = np.array([(0, 1, 2), (1, 3, 2)])
    small = np.array([(0, 0, 1), (4, 0, 1), (0, 4, 1), (4, 4, 1)], float)
    vertices = [(left, top, 3), (right, top, 5), (left, bottom, 3), (right, bottom, 5)]
    return [(small, corners), (np.array(vertices, float), corners)]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    one = np.zeros((40, 50, 3), np.uint8)
    one[10:30, 20:40] = 200
    Image.fromarray(one).save(folder / "one.png")
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / "dark.png")
    (folder / "broken.jpg").write_bytes(b"no photo")
    (folder / "notes.txt").write_text("not a photograph")
    return folder


def test_maps_are_written_and_what_is_missing_is_listed(photos, tmp_path):
    made = make_depth.make(photos, tmp_path / "out", finder)
    assert made.written == made.several == ["one"]
    assert made.not_found == ["dark"]
    assert len(made.faults) == 1
    assert "broken.jpg: found a truncated" in str(made.faults[0])
    assert (tmp_path / "out" / "not_found.txt").read_text() == "dark\n"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["not_found.txt", "one.png"]
    depth = images.read_depth(tmp_path / "out" / "one.png")
    assert depth.shape == (40, 50)
    assert (depth > 0).sum() == 20 * 20
    assert depth[20, 21] < depth[20, 38]  # larger = farther
    again = make_depth.make(photos, tmp_path / "out", finder)
    assert (again.written, again.kept) == ([], ["one"])
    text = make_depth.report(made, tmp_path / "out")
    assert "1 photographs without a face that was found; no map:\n  dark" in text


def test_nothing_else_passes_for_a_finished_map(photos, tmp_path):
    with pytest.raises(InputError, match="the folder of the inputs"):
        make_depth.make(photos, photos, finder)
    out = tmp_path / "out"
    make_depth.make(photos, out, finder)
    before = (out / "one.png").read_bytes()
    with pytest.raises(InputError, match=r"found one\.png, not written by make_depth with these"):
        make_depth.make(photos, out, finder, bits=16)
    assert (out / "one.png").read_bytes() == before
    Image.open(out / "one.png").save(out / "dark.png")  # as another tool would
    (out / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"found broken\.png, dark\.png, not written"):
        make_depth.make(photos, out, finder)


def test_labels_say_where_the_head_is(photos, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    label = np.zeros((20, 25), np.uint8)  # half the size of the photograph
    label[3:17, 8:22] = labels.LAPA.classes.index("hair")
    label[6:14, 11:19] = labels.LAPA.classes.index("skin")
    label[10, 14:16] = labels.LAPA.classes.index("inner_mouth")
    Image.fromarray(label).save(folder / "one_label.png")
    (photos / "dark.png").unlink()
    made = make_depth.make(photos, tmp_path / "out", finder, folder, labels.LAPA, bits=16)
    assert made.written == ["one"]
    depth = images.read_depth(tmp_path / "out" / "one.png")
    assert depth.dtype == np.uint16
    wide = label.repeat(2, 0).repeat(2, 1)
    opening = labels.LAPA.classes.index("inner_mouth")
    np.testing.assert_array_equal(depth > 0, (wide > 0) & (wide != opening))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.zeros((9, 50), np.uint8), "expected the proportions of its photograph, 50x40 pixels"),
        (np.full((40, 50), 18, np.uint8), "found the label value 18, expected 0 to 10"),
        (None, "no such file"),
    ],
)
def test_labels_that_do_not_fit_are_named(photos, tmp_path, label, message):
    for name in ("dark.png", "broken.jpg"):
        (photos / name).unlink()
    (tmp_path / "labels").mkdir()
    if label is not None:
        Image.fromarray(label).save(tmp_path / "labels" / "one.png")
    made = make_depth.make(photos, tmp_path / "out", finder, tmp_path / "labels", labels.LAPA)
    assert made.written == []
    assert message in str(made.faults[0])


def test_a_mesh_beside_the_labelled_head_is_not_taken(photos, tmp_path):
    label = np.zeros((40, 50), np.uint8)
    label[:5, :5] = 1
    image = images.read_image(photos / "one.png")
    assert make_depth.depth_map(image, finder(image)[1:], label > 0) is None


def test_the_command_needs_mediapipe_and_photographs(tmp_path, photos, capsys):
    words = ["--images", str(photos), "--out", str(tmp_path / "out")]
    assert make_depth.main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: make_depth: found no MediaPipe")
    assert "./run.sh make_depth" in told
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none, expected photographs"):
        make_depth.make(tmp_path / "empty", tmp_path / "out", finder)
    with pytest.raises(InputError, match="no such folder"):
        make_depth.make(tmp_path / "absent", tmp_path / "out", finder)
    Image.new("RGB", (9, 9)).save(photos / "one.jpg")
    with pytest.raises(InputError, match=r"one\.jpg and one\.png, expected each stem once"):
        make_depth.make(photos, tmp_path / "out", finder)
    assert not (tmp_path / "out").exists()


def test_depth_of_a_synthetic_head_reads_as_depth(tmp_path):
    """What is written is what the builders read."""
    made = head(0)
    there = made["depth"][..., 0] > 0
    depth = np.where(there, made["depth"][..., 0].astype(float), np.nan)
    Image.fromarray(face_mesh.to_grey(depth)).save(tmp_path / "x.png")
    read = images.read_depth(tmp_path / "x.png")
    np.testing.assert_array_equal(read > 0, there)
    assert np.corrcoef(read[there], made["depth"][..., 0][there])[0, 1] > 0.999
