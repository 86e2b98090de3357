"""A parser whose answers are known, and a folder of photographs for it."""

import pytest
from PIL import Image

from tests.support.known_parser import bands, depth_like, make_parser


@pytest.fixture(scope="module")
def parser():
    return make_parser("rgb", "depth", "translator")


@pytest.fixture
def photos(tmp_path):
    """A folder of three photos, two with depth in another folder."""
    for number, shape in enumerate([(40, 30), (64, 64), (20, 50)]):
        photo = bands(*shape)[1]
        for folder, name, pixels in (
            ("images", f"{number}.png", photo),
            ("depths", f"{number}{'_depth' * (number == 1)}.png", depth_like(photo)),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / name)
    (tmp_path / "depths" / "2.png").unlink()
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path
