"""Who is in the picture: a person's bones, expression, colours, hair and clothes, from one key.

Lengths are in half head heights: the eyes lie at y = 0, chin and crown near -1 and +1;
x points to the subject's left (the picture's right in a frontal view), z to the viewer.
"""

from typing import NamedTuple

import numpy as np

from faceparse_jax.data.synthetic import setting
from faceparse_jax.data.synthetic.draws import Head, chance, near

HAIR_STYLES = ("bald", "receding", "short", "crop", "bob", "long", "bun", "afro", "fringe")

# Skin from the lightest to the darkest, linear RGB, interpolated between.
_SKIN = np.array(
    [
        (0.80, 0.56, 0.45),
        (0.70, 0.44, 0.32),
        (0.52, 0.30, 0.19),
        (0.30, 0.155, 0.09),
        (0.10, 0.048, 0.03),
    ]
)
_HAIR = np.array(
    [
        (0.010, 0.008, 0.007),
        (0.025, 0.016, 0.011),
        (0.075, 0.038, 0.020),
        (0.17, 0.085, 0.035),
        (0.42, 0.26, 0.10),
        (0.62, 0.46, 0.24),
        (0.30, 0.075, 0.020),
        (0.34, 0.33, 0.32),
        (0.72, 0.71, 0.70),
    ]
)
_IRIS = np.array(
    [
        (0.05, 0.022, 0.010),
        (0.10, 0.05, 0.02),
        (0.08, 0.10, 0.04),
        (0.08, 0.16, 0.28),
        (0.16, 0.20, 0.22),
    ]
)


class Person(NamedTuple):
    """What several parts of a head depend on; age is 0 to 1, tone 0 (lightest skin) to 4."""

    adult: bool
    masculine: bool
    age: float
    tone: float


def sample_head(key: int) -> Head:
    """Draws a head; the same key always gives the same head.

    The order of the draws is part of the renderer's version: another one gives other heads.

    Args:
        key: a non-negative integer.

    Returns:
        Every number that `render.render` takes, float32 but for the seed of the noise, int32.
    """
    r = np.random.default_rng(np.random.SeedSequence([0xFACE, key]))
    adult, masculine, age = r.random() < 0.85, r.random() < 0.5, r.random()
    person = Person(adult, masculine, age, 0.0)
    h = _bones(person, r) | _expression(r)
    person = person._replace(tone=r.random() * (len(_SKIN) - 1))
    low = min(int(person.tone), len(_SKIN) - 2)
    skin = _SKIN[low] + (person.tone - low) * (_SKIN[low + 1] - _SKIN[low])
    h |= _colours(person, skin, r)
    style = _style(person, r)
    h |= _hair(style, r) | _worn(person, style, r) | _clothes(person, r)
    h |= setting.sample_setting(skin, h["hair_colour"], h["cloth_colour"], r)
    return {k: v if k == "noise_seed" else np.asarray(v, np.float32) for k, v in h.items()}


def _bones(person: Person, r: np.random.Generator) -> Head:
    """Sizes of the skull and of the parts of the face; see `body.head`."""
    h: Head = {}
    h["face_width"] = near(r, 1.015, 0.05)
    h["face_length"] = near(r, 1.0 if person.adult else 0.92, 0.04)
    h["jaw_width"] = near(r, 1.15 if person.masculine else 1.02, 0.06)
    h["chin"] = near(r, 0.18 if person.masculine else 0.15, 0.015)
    h["cheek"] = near(r, 0.22, 0.02)
    h["brow_ridge"] = near(r, 0.10 if person.masculine else 0.075, 0.01)
    h["skull_back"] = near(r, 0.90, 0.04)
    h["nose_length"] = near(r, 0.37, 0.03)
    h["nose_tip"] = near(r, 0.100, 0.010)
    h["nose_out"] = near(r, 1.00, 0.035)
    h["nose_width"] = near(r, 0.115, 0.015)
    h["eye_apart"] = near(r, 0.296, 0.013)
    h["eye_width"] = near(r, 0.119, 0.009)
    h["eye_slant"] = near(r, 0.03, 0.06)
    h["ear_size"] = near(r, 1.0, 0.10)
    h["ear_out"] = near(r, 0.0, 0.02)
    h["neck_width"] = near(r, 0.46 if person.masculine else 0.39, 0.03)
    return h


def _expression(r: np.random.Generator) -> Head:
    """Mouth, eyes and brows as they are moved."""
    h: Head = {}
    mood = r.random()
    grin = mood < 0.45  # with teeth
    if grin:
        h["smile"], h["mouth_open"] = near(r, 0.026, 0.011), r.uniform(0.07, 0.20)
    else:
        h["smile"] = near(r, 0.015, 0.016) if mood < 0.85 else near(r, -0.01, 0.012)
        h["mouth_open"] = r.uniform(0.03, 0.18) if r.random() < 0.30 else 0.0
    h["grin"] = float(grin)
    h["mouth_width"] = near(r, 0.240, 0.020) * (1 + 6.5 * max(h["smile"], 0))
    # A grin shows teeth in most of the gap, and stretches the lips.
    h["teeth"] = h["mouth_open"] * r.uniform(0.55, 1.1) if grin else r.uniform(0.0, 0.05)
    h["upper_lip"] = near(r, 0.043, 0.012) * (0.75 if grin else 1)
    h["lower_lip"] = near(r, 0.071, 0.015)
    h["eye_open"] = near(r, 0.053, 0.009) * (0.82 if grin else 1) if r.random() < 0.96 else 0.012
    h["gaze"] = r.uniform(-0.04, 0.04, 2) * [1, 0.5]
    h["brow_raise"] = near(r, 0.0, 0.02)
    return h


def _colours(person: Person, skin: np.ndarray, r: np.random.Generator) -> Head:
    """Skin, hair, eyes, make-up, beard and brows; see `paint`."""
    h: Head = {}
    h["skin"] = skin * r.uniform(0.93, 1.07, 3)
    dark = person.tone > 2.2
    grey = person.age > 0.88
    choice = r.choice([7, 8]) if grey else r.choice(3 if dark else 7)
    h["hair_colour"] = _HAIR[choice] * r.uniform(0.8, 1.2)
    brow = h["hair_colour"] if choice != 8 else _HAIR[7]
    h["brow_colour"] = np.minimum(brow * 0.8, skin * 0.55)
    h["iris"] = _IRIS[r.choice(2 if dark else 5)] * r.uniform(0.8, 1.2)
    made_up = (not person.masculine) and r.random() < 0.6
    natural = skin * r.uniform([0.62, 0.28, 0.32], [0.90, 0.50, 0.55])
    paint = np.array([(0.45, 0.02, 0.04), (0.50, 0.10, 0.14), (0.30, 0.03, 0.08)])[r.choice(3)]
    h["lip_colour"] = 0.35 * natural + 0.65 * paint if made_up else natural
    h["blush"] = r.uniform(0.05, 0.25) + 0.15 * made_up
    h["beard"] = (
        r.uniform(0.25, 1.0) if person.masculine and person.adult and r.random() < 0.45 else 0.0
    )
    h["moustache"] = 1.0 if h["beard"] > 0 and r.random() < 0.8 else 0.0
    h["wrinkles"] = max(person.age - 0.45, 0) * 1.6
    h["freckles"] = chance(r, 0.15) * (person.tone < 1.5)
    h["brow_thick"] = near(r, 0.038 if person.masculine else 0.027, 0.008)
    h["brow_arch"] = near(r, 0.055, 0.022)
    h["brow_width"] = near(r, 0.225, 0.025)
    h["brow_dense"] = r.uniform(0.45, 0.95)
    h["shadow_colour"] = skin * r.uniform(0.2, 0.9, 3)
    h["eye_shadow"] = r.uniform(0.2, 0.9) if made_up and r.random() < 0.7 else 0.0
    h["liner"] = r.uniform(0.6, 1.0) if made_up else r.uniform(0.1, 0.6)
    h["shine"] = r.uniform(0.03, 0.30)
    h["pores"] = r.uniform(0.0, 1.0)
    h["texture"] = r.uniform(0, 100, 3)
    return h


def _style(person: Person, r: np.random.Generator) -> str:
    """One of `HAIR_STYLES`."""
    weights = (
        [0.07, 0.10, 0.42, 0.16, 0.06, 0.10, 0.02, 0.05, 0.02]
        if person.masculine
        else [0.01, 0.0, 0.05, 0.02, 0.16, 0.54, 0.11, 0.04, 0.07]
    )
    return HAIR_STYLES[r.choice(len(HAIR_STYLES), p=np.array(weights) / sum(weights))]


def _worn(person: Person, style: str, r: np.random.Generator) -> Head:
    """Hat, glasses and jewellery; see `worn`."""
    h: Head = {}
    h["hat"] = chance(r, 0.10) * r.choice([1.0, 2.0, 3.0])  # 0 none, beanie, cap, wide brim
    if style == "afro":
        h["hat"] = 0.0
    h["hat_colour"] = _fabric(r)
    h["hat_low"] = r.uniform(0.27, 0.55)
    h["hat_tall"] = r.uniform(0.0, 0.25)
    glasses = r.random()
    h["glasses"] = 0.0 if glasses > 0.13 else 1.0
    h["sunglasses"] = 1.0 if glasses < 0.04 else 0.0
    h["lens_width"] = r.uniform(0.19, 0.23)
    h["lens_height"] = r.uniform(0.12, 0.19)
    h["frame"] = r.uniform(0.008, 0.028)
    h["lens_square"] = r.uniform(2.0, 5.0)
    h["lens_tint"] = r.uniform(0.0, 0.25) if r.random() < 0.7 else r.uniform(0.25, 0.8)
    h["lens_glare"] = r.uniform(0.0, 0.6) * chance(r, 0.6)
    h["lens_colour"] = r.uniform(0.0, 0.15, 3)
    h["frame_colour"] = np.array([(0.01, 0.01, 0.01), (0.08, 0.03, 0.015), (0.35, 0.30, 0.2)])[
        r.choice(3)
    ]
    h["earrings"] = chance(r, 0.65 if not person.masculine else 0.08)
    h["earring_size"] = r.uniform(0.04, 0.15)
    h["earring_drop"] = r.uniform(0.0, 0.35)
    h["earring_hoop"] = chance(r, 0.35)
    h["necklace"] = chance(r, 0.25 if not person.masculine else 0.08)
    h["necklace_drop"] = r.uniform(0.0, 0.3)
    h["necklace_wide"] = r.uniform(0.02, 0.05)
    h["metal"] = np.array([(0.85, 0.62, 0.22), (0.75, 0.75, 0.78), (0.9, 0.88, 0.82)])[r.choice(3)]
    return h


def _clothes(person: Person, r: np.random.Generator) -> Head:
    """Clothes and shoulders; see `worn.cloth`."""
    h: Head = {}
    h["cloth_colour"] = _fabric(r)
    h["cloth_second"] = _fabric(r)
    h["cloth_pattern"] = r.choice([0.0, 0.0, 0.0, 0.0, 1.0, 2.0])
    neckline = r.random()
    h["neckline"] = r.uniform(-1.65, -1.25)
    if neckline < 0.12:
        h["neckline"] = r.uniform(-1.20, -1.0)  # a high collar
    elif neckline < (0.15 if person.masculine else 0.35):
        h["neckline"] = r.uniform(-2.3, -1.7)  # bare shoulders
    h["v_neck"] = chance(r, 0.75) * r.uniform(0.2, 1.0)
    h["collar"] = chance(r, 0.45) * r.uniform(0.02, 0.10)
    h["lapel"] = chance(r, 0.35) * r.uniform(0.15, 0.5)
    h["lapel_colour"] = _fabric(r) if r.random() < 0.5 else np.full(3, 0.75)
    h["fold"] = r.uniform(0.005, 0.03)
    h["shoulder"] = near(r, 1.55 if person.masculine else 1.32, 0.10)
    h["shoulder_up"] = near(r, 0.16, 0.08)
    return h


def _fabric(r: np.random.Generator) -> np.ndarray:
    """A colour of cloth, linear RGB [3]: often black or nearly so, white, or of little colour."""
    kind = r.random()
    if kind < 0.35:
        return r.uniform(0.004, 0.05) * r.uniform(0.8, 1.2, 3)
    if kind < 0.50:
        return r.uniform(0.5, 0.85) * r.uniform(0.93, 1.07, 3)
    if kind < 0.70:
        return r.uniform(0.02, 0.35) * r.uniform(0.7, 1.3, 3)
    return r.uniform(0.01, 0.75, 3)


def _hair(style: str, r: np.random.Generator) -> Head:
    """Shape of the hair; see `worn.hair` for the meaning of each number."""
    h = {
        "hair": 0.0 if style == "bald" else 1.0,
        "hair_thick": r.uniform(0.05, 0.14),
        "hairline": r.uniform(0.58, 0.84),
        "hair_temple": r.uniform(0.15, 0.35),
        "hair_part": r.uniform(-0.3, 0.3),
        "hair_sweep": np.zeros(2),
        "hair_open": np.full(2, 2.0),
        "hair_locks": np.zeros(2),
        "hair_lock_thick": r.uniform(0.12, 0.24),
        "hair_sheet": r.uniform(0.02, 0.06),
        "hair_wave": r.uniform(0.003, 0.030),
        "hair_strand": r.uniform(0.0, 0.010),
        "hair_fine": r.uniform(25, 70),
        "hair_gloss": r.uniform(0.1, 0.6),
        "hair_ragged": r.uniform(0.0, 0.07),
        "hair_side": -0.22,
        "hair_low": -0.45,
        "hair_length": 0.0,
        "hair_volume": 0.0,
        "bun": 0.0,
        "curl": r.uniform(0.0, 0.5) * chance(r, 0.4),
    }
    if style == "receding":
        h |= {"hairline": r.uniform(0.85, 0.98), "hair_thick": 0.03, "hair_temple": 0.1}
    elif style == "crop":
        h |= {"hair_thick": r.uniform(0.02, 0.04), "hair_low": -0.3}
    elif style == "short":
        h |= {"hair_thick": r.uniform(0.08, 0.28)}
        if r.random() < 0.4:  # combed over the forehead
            h["hair_sweep"] = r.uniform(0.0, 0.5, 2)
            h["hairline"] = r.uniform(0.4, 0.7)
    elif style in ("bob", "long", "fringe"):
        length = {"bob": r.uniform(0.6, 0.95), "long": r.uniform(1.2, 2.0)}.get(
            style, r.uniform(0.7, 1.8)
        )
        h |= {
            "hair_length": length,
            "hair_low": -length,
            "hair_side": r.uniform(-0.05, 0.35),
            "hair_thick": r.uniform(0.12, 0.34),
            "hair_volume": r.uniform(0.05, 0.55),
            "hair_locks": (r.random(2) < (0.65 if length > 1 else 0.3)).astype(float),
        }
        falls = r.random()
        if falls < 0.40:  # like curtains, from a parting
            h["hair_open"] = r.uniform(0.38, 0.72, 2)
            h["hair_sweep"] = r.uniform(0.0, 0.45, 2)
        elif falls < 0.70:  # swept to one side, over brow or eye
            side = int(r.random() < 0.5)
            h["hair_sweep"][side], h["hair_sweep"][1 - side] = r.uniform(0.4, 1.1), 0.1
            h["hair_part"] = (0.35 - 0.7 * side) * r.uniform(0.3, 1.0)
            h["hair_open"][side] = r.uniform(0.40, 0.75)
        elif falls < 0.85:  # tucked behind one ear
            h["hair_open"][int(r.random() < 0.5)] = r.uniform(0.40, 0.70)
        if style == "fringe":
            h |= {"hairline": r.uniform(0.14, 0.38), "hair_temple": 0.05, "hair_sweep": np.zeros(2)}
    elif style == "bun":
        h |= {"bun": r.uniform(0.18, 0.38), "hair_thick": r.uniform(0.05, 0.12), "hair_side": -0.2}
        if r.random() < 0.4:
            h["hair_sweep"] = r.uniform(0.0, 0.6, 2)
    elif style == "afro":
        h |= {"hair_thick": r.uniform(0.25, 0.5), "curl": 1.0, "hair_side": -0.1, "hair_low": -0.55}
    return h
