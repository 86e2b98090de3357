"""Who is in the picture: random identity, expression, pose, clothes and light from one key.

Lengths are in half head heights: the eyes lie at y = 0, chin and crown near -1 and +1;
x points to the subject's left (the picture's right in a frontal view), z to the viewer.
"""

from typing import Any

import numpy as np

Head = dict[str, Any]
"""Parameters of one head: name -> float32 scalar or small vector."""

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


def sample_head(key: int) -> Head:
    """Draws a head; the same key always gives the same head."""
    r = np.random.default_rng(np.random.SeedSequence([0xFACE, key]))

    def near(mean, spread, low=-2.5, high=2.5):
        """Normal, cut at so many spreads."""
        return mean + spread * np.clip(r.normal(), low, high)

    def chance(p):
        return float(r.random() < p)

    h: Head = {}
    adult = r.random() < 0.85
    masculine = r.random() < 0.5
    age = r.random()

    # Bones.
    h["face_width"] = near(1.0, 0.05)
    h["face_length"] = near(1.0 if adult else 0.92, 0.04)
    h["jaw_width"] = near(1.06 if masculine else 0.93, 0.06)
    h["chin"] = near(0.18 if masculine else 0.15, 0.015)
    h["cheek"] = near(0.22, 0.02)
    h["brow_ridge"] = near(0.10 if masculine else 0.075, 0.01)
    h["skull_back"] = near(0.90, 0.04)
    h["nose_length"] = near(0.37, 0.03)
    h["nose_tip"] = near(0.100, 0.010)
    h["nose_out"] = near(1.00, 0.035)
    h["nose_width"] = near(0.115, 0.015)
    h["eye_apart"] = near(0.305, 0.013)
    h["eye_width"] = near(0.150, 0.009)
    h["eye_slant"] = near(0.05, 0.06)
    h["ear_size"] = near(1.0, 0.10)
    h["ear_out"] = near(0.0, 0.02)
    h["neck_width"] = near(0.40 if masculine else 0.33, 0.025)

    # Expression.
    mood = r.random()
    h["smile"] = near(0.03, 0.025) if mood < 0.7 else near(-0.01, 0.012)
    h["mouth_open"] = r.uniform(0.05, 0.16) if r.random() < 0.45 else 0.0
    h["mouth_width"] = near(0.25, 0.018) * (1 + 1.5 * max(h["smile"], 0))
    h["upper_lip"] = near(0.052, 0.010)
    h["lower_lip"] = near(0.070, 0.012)
    h["eye_open"] = near(0.060, 0.009, -2.0, 2.0) if r.random() < 0.95 else 0.012
    h["gaze"] = r.uniform(-0.04, 0.04, 2) * [1, 0.5]
    h["brow_raise"] = near(0.0, 0.02)

    # Colour.
    tone = r.random() * (len(_SKIN) - 1)
    low = min(int(tone), len(_SKIN) - 2)
    skin = _SKIN[low] + (tone - low) * (_SKIN[low + 1] - _SKIN[low])
    h["skin"] = skin * r.uniform(0.93, 1.07, 3)
    dark = tone > 2.2
    grey = age > 0.75
    choice = r.choice([7, 8]) if grey else r.choice(3 if dark else 7)
    h["hair_colour"] = _HAIR[choice] * r.uniform(0.8, 1.2)
    brow = h["hair_colour"] if choice != 8 else _HAIR[7]
    h["brow_colour"] = np.minimum(brow * 0.8, skin * 0.55)
    h["iris"] = _IRIS[r.choice(2 if dark else 5)] * r.uniform(0.8, 1.2)
    made_up = (not masculine) and r.random() < 0.5
    natural = skin * [0.80, 0.50, 0.50]
    paint = np.array([(0.45, 0.02, 0.04), (0.50, 0.10, 0.14), (0.30, 0.03, 0.08)])[r.choice(3)]
    h["lip_colour"] = 0.35 * natural + 0.65 * paint if made_up else natural
    h["blush"] = r.uniform(0.05, 0.25) + 0.15 * made_up
    h["beard"] = r.uniform(0.25, 1.0) if masculine and adult and r.random() < 0.45 else 0.0
    h["moustache"] = 1.0 if h["beard"] > 0 and r.random() < 0.8 else 0.0
    h["wrinkles"] = max(age - 0.45, 0) * 1.6
    h["freckles"] = chance(0.15) * (tone < 1.5)
    h["brow_thick"] = near(0.036 if masculine else 0.026, 0.006)
    h["brow_arch"] = near(0.04, 0.015)
    h["texture"] = r.uniform(0, 100, 3)

    # Hair.
    weights = (
        [0.10, 0.13, 0.32, 0.22, 0.03, 0.06, 0.02, 0.08, 0.04]
        if masculine
        else [0.01, 0.0, 0.05, 0.05, 0.22, 0.40, 0.11, 0.07, 0.09]
    )
    style = HAIR_STYLES[r.choice(len(HAIR_STYLES), p=np.array(weights) / sum(weights))]
    h |= _hair(style, r)

    # Things worn.
    h["hat"] = chance(0.10) * r.choice([1.0, 2.0, 3.0])  # 0 none, beanie, cap, wide brim
    if style == "afro":
        h["hat"] = 0.0
    h["hat_colour"] = r.uniform(0.02, 0.6, 3)
    h["hat_low"] = r.uniform(0.40, 0.55)
    glasses = r.random()
    h["glasses"] = 0.0 if glasses > 0.16 else 1.0
    h["sunglasses"] = 1.0 if glasses < 0.04 else 0.0
    h["lens_width"] = r.uniform(0.19, 0.23)
    h["lens_height"] = r.uniform(0.12, 0.19)
    h["frame"] = r.uniform(0.012, 0.026)
    h["frame_colour"] = np.array([(0.01, 0.01, 0.01), (0.08, 0.03, 0.015), (0.35, 0.30, 0.2)])[
        r.choice(3)
    ]
    h["earrings"] = chance(0.45 if not masculine else 0.06)
    h["earring_size"] = r.uniform(0.04, 0.09)
    h["earring_drop"] = r.uniform(0.0, 0.22)
    h["necklace"] = chance(0.25 if not masculine else 0.08)
    h["necklace_drop"] = r.uniform(0.0, 0.3)
    h["metal"] = np.array([(0.85, 0.62, 0.22), (0.75, 0.75, 0.78), (0.9, 0.88, 0.82)])[r.choice(3)]
    h["cloth_colour"] = (
        r.uniform(0.01, 0.75, 3) if r.random() < 0.6 else np.full(3, r.uniform(0.01, 0.8))
    )
    h["cloth_second"] = r.uniform(0.01, 0.8, 3)
    h["cloth_pattern"] = r.choice([0.0, 0.0, 1.0, 2.0])
    h["neckline"] = r.uniform(-1.62, -1.28)
    h["v_neck"] = chance(0.4) * r.uniform(0.2, 0.6)
    h["shoulder"] = near(1.55 if masculine else 1.32, 0.08)

    # Pose and camera.
    h["yaw"] = np.deg2rad(np.clip(r.normal(0, 22), -60, 60))
    h["pitch"] = np.deg2rad(np.clip(r.normal(0, 8), -25, 25))
    h["roll"] = np.deg2rad(np.clip(r.normal(0, 7), -20, 20))
    h["distance"] = r.uniform(6.0, 10.0)
    h["frame_half"] = r.uniform(1.02, 1.40)  # half of the picture's height at the head
    h["shift"] = np.array([r.uniform(-0.08, 0.08), r.uniform(-0.22, -0.05)])

    # Light and picture.
    side, up = r.uniform(-1.1, 1.1), r.uniform(0.0, 0.9)
    light = np.array([np.sin(side) * np.cos(up), np.sin(up), np.cos(side) * np.cos(up)])
    h["light"] = light / np.linalg.norm(light)
    warmth = r.uniform(-0.15, 0.15)
    h["light_colour"] = np.array([1 + warmth, 1.0, 1 - warmth]) * r.uniform(1.5, 2.5)
    h["ambient"] = r.uniform(0.25, 0.60)
    h["ambient_colour"] = np.array([1 - 0.7 * warmth, 1.0, 1 + 0.7 * warmth])
    h["background"] = r.uniform(0.02, 0.85, (3, 3)) * r.uniform(0.4, 1.0)
    h["background_wave"] = r.uniform(-4, 4, (4, 2))
    h["background_phase"] = r.uniform(0, 6.28, 4)
    h["background_detail"] = r.uniform(0, 0.6)
    h["blur"] = r.uniform(0.25, 0.75) if r.random() < 0.85 else r.uniform(0.75, 1.3)
    h["noise"] = r.uniform(0.0, 0.02)
    h["noise_seed"] = np.int32(r.integers(2**31))
    return {k: v if k == "noise_seed" else np.asarray(v, np.float32) for k, v in h.items()}


def _hair(style: str, r: np.random.Generator) -> Head:
    """Shape of the hair; see `shapes.hair` for the meaning of each number."""
    h = {
        "hair": 0.0 if style == "bald" else 1.0,
        "hair_thick": r.uniform(0.05, 0.10),
        "hairline": r.uniform(0.60, 0.70),
        "hair_temple": r.uniform(0.15, 0.35),
        "hair_side": -0.22,
        "hair_low": -0.45,
        "hair_length": 0.0,
        "hair_volume": 0.0,
        "bun": 0.0,
        "curl": r.uniform(0.0, 0.5),
        "fringe": 0.0,
    }
    if style == "receding":
        h |= {"hairline": r.uniform(0.85, 0.98), "hair_thick": 0.03, "hair_temple": 0.1}
    elif style == "crop":
        h |= {"hair_thick": r.uniform(0.02, 0.04), "hair_low": -0.3}
    elif style == "short":
        h |= {"hair_thick": r.uniform(0.07, 0.15)}
    elif style in ("bob", "long", "fringe"):
        length = {"bob": r.uniform(0.6, 0.95), "long": r.uniform(1.2, 2.0)}.get(
            style, r.uniform(0.7, 1.8)
        )
        h |= {
            "hair_length": length,
            "hair_low": -length,
            "hair_side": r.uniform(-0.05, 0.28),
            "hair_thick": r.uniform(0.09, 0.15),
            "hair_volume": r.uniform(0.0, 0.14),
        }
        if style == "fringe":
            h |= {"hairline": r.uniform(0.28, 0.36), "hair_temple": 0.05, "fringe": 1.0}
    elif style == "bun":
        h |= {"bun": r.uniform(0.22, 0.34), "hair_thick": 0.05, "hair_side": -0.2}
    elif style == "afro":
        h |= {"hair_thick": r.uniform(0.25, 0.5), "curl": 1.0, "hair_side": -0.1, "hair_low": -0.55}
    return h
