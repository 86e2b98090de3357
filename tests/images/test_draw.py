"""What pictures show: the scheme's colours, borders, sides, and no depth as no grey."""

import numpy as np
import pytest

from faceparse_jax.images import draw
from faceparse_jax.labels import CELEBAMASK_HQ, CELEBAMASK_HQ_BISENET, IGNORE


def half_and_half(size=40, left=0, right=13):
    label = np.full((size, size), left, np.uint8)
    label[:, size // 2 :] = right
    return label


def test_colours_are_the_schemes_and_ignored_is_white():
    label = np.array([[0, 1, 13, IGNORE]], np.uint8)
    colours = draw.colourise(label, CELEBAMASK_HQ)
    expected = [CELEBAMASK_HQ.colours[c] for c in (0, 1, 13)] + [(255, 255, 255)]
    np.testing.assert_array_equal(colours[0], expected)


def test_overlay_mixes_parts_and_leaves_the_background():
    image = np.full((40, 40, 3), 100, np.uint8)
    drawn = draw.overlay(image, half_and_half(), CELEBAMASK_HQ, alpha=0.25)
    np.testing.assert_array_equal(drawn[:, :19], 100)
    expected = np.rint(0.75 * 100 + 0.25 * np.array(CELEBAMASK_HQ.colours[13]))
    np.testing.assert_array_equal(drawn[10, 30], expected)


def test_overlay_draws_a_line_where_classes_meet_and_only_there():
    image = np.full((40, 40, 3), 100, np.uint8)
    line = (draw.overlay(image, half_and_half(), CELEBAMASK_HQ, alpha=0.0) == 255).all(-1)
    assert line[:, 20].all()
    assert line.sum() == 40
    whole = draw.overlay(image, np.full((40, 40), 13, np.uint8), CELEBAMASK_HQ, alpha=0.0)
    np.testing.assert_array_equal(whole, image)


def test_no_depth_is_not_a_grey():
    depth = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colours = draw.colour_depth(depth).reshape(256, 3)
    np.testing.assert_array_equal(colours[1:], np.arange(1, 256)[:, None].repeat(3, axis=1))
    assert len(set(map(int, colours[0]))) > 1


@pytest.mark.parametrize("scheme", [CELEBAMASK_HQ, CELEBAMASK_HQ_BISENET])
def test_names_tell_the_side_of_sided_parts_only(scheme):
    names = {line.split()[1]: line for line in draw.class_names(scheme)}
    for part in ("eye", "brow", "ear"):
        assert "subject's left" in names[f"l_{part}"]
        assert "subject's right" in names[f"r_{part}"]
    assert "lower lip" in names["l_lip"]
    assert sum("subject's" in line for line in names.values()) == 6


def test_legend_shows_the_colours_of_the_classes_present():
    strip = draw.legend(CELEBAMASK_HQ, [13, 1, IGNORE], height=200)
    assert strip.shape[0] == 200

    def shown(c):
        return (strip == CELEBAMASK_HQ.colours[c]).all(-1)

    assert shown(1).any()
    assert shown(13).any()
    assert not shown(4).any()
    assert np.argwhere(shown(1))[:, 0].max() < np.argwhere(shown(13))[:, 0].min()


def test_all_classes_fit_in_the_legend_of_a_low_picture():
    picture = np.zeros((50, 60, 3), np.uint8)
    label = np.arange(3000, dtype=np.uint8).reshape(50, 60) % 19
    sheet = draw.with_legend(picture, label, CELEBAMASK_HQ)
    np.testing.assert_array_equal(sheet[:50, :60], picture)
    strip = sheet[:, 60:].reshape(-1, 3)
    for colour in CELEBAMASK_HQ.colours:
        assert (strip == colour).all(-1).sum() > 50


def test_small_predictions_are_enlarged_by_a_whole_factor():
    image = np.full((50, 40, 3), 100, np.uint8)
    drawn = draw.prediction_picture(image, np.zeros((50, 40), np.uint8), CELEBAMASK_HQ)
    assert drawn.shape[0] == 400
    np.testing.assert_array_equal(drawn[:400, :320], 100)


def test_contact_sheet_places_rows_and_columns_and_marks_gaps():
    red, blue = (np.full((30, 40, 3), c, np.uint8) for c in ((255, 0, 0), (0, 0, 255)))
    sheet = draw.contact_sheet([[red, blue], [blue, None]], ["one", "a long second title"])
    rows, columns = np.nonzero((sheet == (255, 0, 0)).all(-1))
    assert (np.ptp(rows), np.ptp(columns)) == (29, 39)
    blue_at = np.argwhere((sheet == (0, 0, 255)).all(-1))
    assert len(blue_at) == 2 * 30 * 40
    # Right of red in its row, and below it in its column.
    assert blue_at[blue_at[:, 0] <= rows.max()][:, 1].min() > columns.max()
    assert blue_at[blue_at[:, 1] <= columns.max()][:, 0].min() > rows.max()
    with pytest.raises(ValueError, match="zip"):
        draw.contact_sheet([[red]], ["one", "two"])
