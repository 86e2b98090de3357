"""Photographs, masks and depth maps of every kind that users have."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from faceparse_jax import images
from faceparse_jax.errors import InputError
from faceparse_jax.images.read import BEHIND

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, form, **options)
    return file.getvalue()


def png(values: np.ndarray) -> bytes:
    """A 16-bit PNG of three channels, which Pillow cannot write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_every_mode_become_three_channels(mode):
    grey = np.repeat(np.array([[0, 255], [255, 0]], np.uint8)[..., None], 3, -1)
    form = "TIFF" if mode == "CMYK" else "PNG"
    read = images.read_image(encoded(Image.fromarray(grey).convert(mode), form))
    np.testing.assert_array_equal(read, grey)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB"])
def test_hidden_colours_of_transparent_pixels_do_not_show(mode):
    """The right half is wholly transparent, whatever colour its pixels have."""
    seen, hidden = (51, 51, 51), (255, 255, 255)
    rgb = np.array([[seen, seen, hidden, hidden]], np.uint8)
    if mode in ("P", "L", "RGB"):  # one colour stands for nothing
        picture = Image.fromarray(rgb).convert(mode)
        there = picture.getpixel((2, 0))
        data = encoded(picture, transparency=there)
    else:
        alpha = np.array([[[255], [255], [0], [0]]], np.uint8)
        picture = Image.fromarray(np.concatenate([rgb, alpha], -1), "RGBA").convert(mode)
        data = encoded(picture, "TIFF" if mode == "PA" else "PNG")
        if mode == "PA" and not Image.open(io.BytesIO(data)).has_transparency_data:
            pytest.skip("Pillow writes no alpha beside a palette")
    read = images.read_image(data)
    np.testing.assert_array_equal(read[0, :2], [seen, seen])
    np.testing.assert_array_equal(read[0, 2:], [BEHIND, BEHIND])


def test_half_transparent_pixels_are_mixed_with_what_lies_behind():
    read = images.read_image(encoded(np.array([[[255, 0, 100, 51]]], np.uint8)))
    np.testing.assert_allclose(
        read[0, 0], 0.2 * np.array([255, 0, 100]) + 0.8 * np.array(BEHIND), atol=1
    )


def test_transparent_pixels_of_a_depth_map_have_no_depth():
    depth = np.array([[9, 80, 90]], np.uint8)
    alpha = np.array([[0, 255, 1]], np.uint8)
    for picture in (
        Image.merge("LA", [Image.fromarray(depth), Image.fromarray(alpha)]),
        Image.merge("RGBA", [Image.fromarray(depth)] * 3 + [Image.fromarray(alpha)]),
    ):
        np.testing.assert_array_equal(images.read_depth(encoded(picture)), [[0, 80, 90]])
    read = images.read_depth(encoded(Image.fromarray(depth), transparency=9))
    np.testing.assert_array_equal(read, [[0, 80, 90]])


@pytest.mark.parametrize("turn", Image.Transpose)
def test_one_channel_is_turned_as_pillow_turns_it(turn):
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3)
    expected = np.asarray(Image.fromarray(picture).transpose(turn))
    np.testing.assert_array_equal(images.turned(picture, turn), expected)


@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "<i4", "<i8", "<u4", "|u1", "<u2"])
def test_measured_depth_is_read_from_arrays_of_every_number(tmp_path, kind):
    values = np.array([[1, 2, 70]], kind)
    np.save(tmp_path / "depth.npy", values)
    np.testing.assert_array_equal(images.read_depth(tmp_path / "depth.npy", measured=True), values)


@pytest.mark.parametrize("form", ["TIFF", "PPM"])
def test_measured_depth_is_read_from_pictures_of_floats(form):
    values = np.array([[0.25, 1.5, 3e4]], np.float32)
    data = encoded(values, form)
    np.testing.assert_array_equal(images.read_depth(data, measured=True), values)
    with pytest.raises(InputError, match="mode F"):
        images.read_depth(data)


@pytest.mark.parametrize("measured", [False, True])
def test_16_bits_of_a_pgm_are_16_bits(measured):
    values = np.array([[0, 300], [4000, 65535]], np.uint16)
    read = images.read_depth(encoded(values, "PPM"), measured=measured)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, values)


def test_measured_depth_is_read_from_openexr(tmp_path):
    openexr = pytest.importorskip("OpenEXR", reason="the optional package OpenEXR is not there")
    values = np.array([[0.25, 1.5, 3e4]], np.float32)
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    for channels in ({"Z": values}, {"RGB": np.stack([values] * 3, -1)}, {"R": values}):
        openexr.File(header, channels).write(str(tmp_path / "a.exr"))
        np.testing.assert_array_equal(images.read_depth(tmp_path / "a.exr", measured=True), values)
    (tmp_path / "a.exr").write_bytes((tmp_path / "a.exr").read_bytes()[:60])
    with pytest.raises(InputError, match="damaged"):
        images.read_depth(tmp_path / "a.exr", measured=True)


def test_16_bit_pictures_are_scaled_not_cut():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    read = images.read_image(encoded(values))
    np.testing.assert_array_equal(read[0, :, 0], [0, 1, 128, 255])
    np.testing.assert_array_equal(read[..., 0], read[..., 2])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_predictions_and_not_stored_images(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = np.random.default_rng(0).integers(0, 256, (2, 3, 3)).astype(np.uint8)
    data = encoded(Image.fromarray(picture), exif=exif)
    np.testing.assert_array_equal(images.read_image(data, upright=False), picture)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(images.read_image(data), expected)
    if orientation == 6:  # the camera's top is at the right: turn clockwise
        np.testing.assert_array_equal(images.read_image(data), np.rot90(picture, -1))


def test_a_photo_with_damaged_exif_is_read():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(np.zeros((2, 3, 3), np.uint8), "WEBP", exif=exif)
    assert images.read_image(data).shape == (3, 2, 3)
    assert images.read_image(data.replace(b"MM\x00*", b"MM\x00?")).shape == (2, 3, 3)


@pytest.mark.parametrize("cut", [0, 20, -40])
def test_truncated_files_are_named(tmp_path, cut):
    path = tmp_path / "photo.jpg"
    data = encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8), "JPEG")
    path.write_bytes(data[:cut])
    with pytest.raises(InputError, match=r"photo\.jpg: found .*expected an image"):
        images.read_image(path)


def test_what_is_no_image_or_not_there_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(InputError, match=r"notes\.png"):
        images.read_image(tmp_path / "notes.png")
    with pytest.raises(InputError, match=r"absent\.png: found no such file"):
        images.read_depth(tmp_path / "absent.png")
    with pytest.raises(InputError, match="directory"):
        images.read_image(tmp_path)


def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(images.read, "MAX_PIXELS", 11)
    with pytest.raises(InputError, match="4x3 pixels, expected at most 11"):
        images.read_image(encoded(RAMP), "big.png")


def test_a_file_above_the_limit_is_not_read(tmp_path, monkeypatch):
    data = encoded(RAMP)
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setattr(images.read, "MAX_BYTES", len(data))
    assert images.read_image(tmp_path / "a.png").shape == (3, 4, 3)
    monkeypatch.setattr(images.read, "MAX_BYTES", len(data) - 1)
    with pytest.raises(InputError, match="no plain file of at most"):
        images.read_image(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_never_raise_anything_else():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
    for form in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM"):
        data = np.frombuffer(encoded(photo, form), np.uint8)
        for _ in range(60):
            bad = data.copy()
            bad[rng.integers(0, len(bad), 4)] = rng.integers(0, 256, 4)
            for read in (images.read_image, images.read_depth, images.read_mask):
                with contextlib.suppress(InputError):
                    assert read(bad.tobytes()).size


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_a_part_is_every_pixel_that_is_not_zero(mode):
    mask = np.array([[0, 1, 0], [1, 1, 0]], bool)
    if mode == "I;16":
        image = Image.fromarray(mask.astype(np.uint16))
    else:
        image = Image.fromarray(mask).convert(mode)
    np.testing.assert_array_equal(images.read_mask(encoded(image)), mask)


def test_a_faint_mask_counts_too():
    np.testing.assert_array_equal(images.read_mask(encoded(RAMP // 200)), RAMP // 200 > 0)


def test_depth_layouts_agree():
    wide = np.repeat(RAMP[..., None], 3, -1)
    for values in (RAMP, wide):
        np.testing.assert_array_equal(images.read_depth(encoded(values)), RAMP)
    for values in (RAMP, wide, RAMP[..., None]):
        file = io.BytesIO()
        np.save(file, values)
        np.testing.assert_array_equal(images.read_depth(file.getvalue()), RAMP)


def test_16_bit_depth_keeps_every_bit_in_every_layout():
    deep = RAMP.astype(np.uint16) * 255 + np.arange(4, dtype=np.uint16)
    wide = np.repeat(deep[..., None], 3, -1)
    file = io.BytesIO()
    np.save(file, deep.astype(">u2"))
    for data in (encoded(deep), png(wide), file.getvalue()):
        read = images.read_depth(data)
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, deep)


def test_coloured_depth_is_refused_at_8_and_at_16_bits():
    wide = np.repeat(RAMP[..., None], 3, -1)
    wide[0, 0, 1] += 1
    for data in (encoded(wide), png(wide.astype(np.uint16))):
        with pytest.raises(InputError, match="three channels that differ"):
            images.read_depth(data)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([{}], object), "pickled"),
        (RAMP.astype(np.float32), "float32"),
        (np.zeros((2, 3, 4), np.uint8), r"shape \(2, 3, 4\)"),
        (np.zeros((0, 3), np.uint8), "shape"),
    ],
)
def test_arrays_that_are_no_depth_are_refused(values, found):
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    with pytest.raises(InputError, match=found):
        images.read_depth(file.getvalue(), "d.npy")


def test_an_array_header_cannot_claim_more_than_the_file_has():
    file = io.BytesIO()
    np.save(file, np.zeros((4, 4), np.uint8))
    data = file.getvalue().replace(b"(4, 4)", b"(40000, 40000)")
    with pytest.raises(InputError, match=r"damaged"):
        images.read_depth(data)


def test_8_bits_of_depth_keep_none_and_only_none_at_zero():
    deep = np.array([[0, 1, 128, 386, 65535]], np.uint16)
    np.testing.assert_array_equal(images.depth_to_u8(deep), [[0, 1, 1, 2, 255]])
    np.testing.assert_array_equal(images.depth_to_u8(RAMP), RAMP)
    assert not images.depth_to_u8(np.zeros((2, 2), np.uint16)).any()


def test_millimetres_are_refused():
    with pytest.raises(InputError, match="16-bit depth of at most 900"):
        images.depth_to_u8(np.array([[0, 900]], np.uint16))
