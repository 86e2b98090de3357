"""What is around a person: pose, light, things behind and before the head, and the camera."""

import numpy as np

from faceparse_jax.data.synthetic.draws import Head, chance, near

THINGS = 10
"""Behind the head, at most."""


def sample_setting(
    skin: np.ndarray, hair: np.ndarray, cloth: np.ndarray, r: np.random.Generator
) -> Head:
    """Draws what is around a person; the arguments are the person's colours, linear RGB [3]."""
    h = _pose(r) | _light(r)
    return h | _background(skin, hair, cloth, r) | _held(skin, r) | _camera(r)


def _pose(r: np.random.Generator) -> Head:
    """Where the head is turned, and from where it is seen."""
    h: Head = {}
    yaw = r.normal(0, 18) if r.random() < 0.9 else r.uniform(-65, 65)
    h["yaw"] = np.deg2rad(np.clip(yaw, -65, 65))
    h["pitch"] = np.deg2rad(np.clip(r.normal(0, 9), -28, 28))
    h["roll"] = np.deg2rad(np.clip(r.normal(0, 6), -25, 25))
    h["distance"] = r.uniform(4.5, 11.0)
    # Half of the picture's height at the head: near the benchmark's portraits, or anywhere.
    portrait = r.random() < 0.85
    h["frame_half"] = near(r, 1.28, 0.08) if portrait else np.exp(r.uniform(np.log(0.8), np.log(3)))
    loose = 0.04 if portrait else 0.3
    h["eyes_at"] = np.array([r.normal(0, loose), 0.044 + r.normal(0, loose)])  # -1 to 1, upwards
    return h


def _light(r: np.random.Generator) -> Head:
    """A lamp, a light from behind, and the light of the room."""
    h: Head = {}
    side, up = r.uniform(-1.3, 1.3), r.uniform(-0.1, 1.0)
    if r.random() < 0.12:
        side = r.choice([-1, 1]) * r.uniform(1.3, 2.6)  # from behind
    light = np.array([np.sin(side) * np.cos(up), np.sin(up), np.cos(side) * np.cos(up)])
    h["light"] = light / np.linalg.norm(light)
    warmth = r.uniform(-0.15, 0.15)
    h["light_colour"] = np.array([1 + warmth, 1.0, 1 - warmth]) * r.uniform(1.2, 3.0)
    h["light_hard"] = np.exp(r.uniform(np.log(2.0), np.log(12.0)))
    h["ambient"] = r.uniform(0.15, 0.9)
    rim = r.uniform(1.6, 2.8) * r.choice([-1, 1])
    h["rim"] = np.array([np.sin(rim), 0.3, np.cos(rim)])
    h["rim_colour"] = chance(r, 0.4) * r.uniform(0.2, 1.2) * r.uniform(0.6, 1.0, 3)
    h["ambient_colour"] = np.array([1 - 0.7 * warmth, 1.0, 1 + 0.7 * warmth])
    return h


def _background(skin, hair, cloth, r: np.random.Generator) -> Head:
    """A wall, or a clutter of things out of focus; see `camera.background`."""

    def colour():
        kind = r.random()
        if kind < 0.35:
            return np.full(3, r.uniform(0.0, 0.95)) * r.uniform(0.9, 1.0, 3)
        if kind < 0.45:
            return skin * r.uniform(0.6, 1.3)
        if kind < 0.52:
            return hair * r.uniform(0.6, 1.5)
        if kind < 0.57:
            return cloth * r.uniform(0.6, 1.3)
        grey = r.uniform(0.02, 0.8)
        return np.clip(grey * (1 + r.uniform(0, 1.5) * (r.uniform(0, 1, 3) - 0.5)), 0, 1)

    plain = r.random() < 0.3
    wall = colour() if r.random() < 0.7 else np.full(3, r.choice([0.0, 0.02, 0.85, 0.95]))
    return {
        "background": np.stack([wall, wall if plain else colour()]),
        "background_turn": r.uniform(0, 2 * np.pi),
        "background_colour": np.stack([colour() for _ in range(THINGS)]),
        "background_place": r.uniform(-0.1, 1.1, (THINGS, 2)),
        "background_size": np.exp(r.uniform(np.log(0.02), np.log(0.45), (THINGS, 2))),
        "background_angle": np.where(r.random(THINGS) < 0.6, 0, r.uniform(0, np.pi, THINGS)),
        "background_round": r.random(THINGS) < 0.4,
        "background_there": (r.random(THINGS) < r.uniform(0.2, 1.0)) * (not plain),
        "background_soft": np.exp(r.uniform(np.log(0.006), np.log(0.15))),
        "background_rough": np.exp(r.uniform(np.log(0.01), np.log(0.35))) * (0.2 if plain else 1),
        "background_fine": r.uniform(0.0, 1.0),
    }


def _held(skin, r: np.random.Generator) -> Head:
    """A hand or a microphone before the face, or neither; see `worn.held`."""
    kind = r.random()
    hand = r.random() < 0.7
    side = r.choice([-1, 1])
    where = (
        np.array([side * r.uniform(0.1, 0.75), r.uniform(-1.15, 0.2), r.uniform(0.75, 0.95)])
        if hand
        else np.array([r.uniform(-0.3, 0.3), r.uniform(-1.15, -0.8), r.uniform(0.95, 1.2)])
    )
    dark = np.full(3, r.uniform(0.01, 0.2))
    return {
        "held": 0.0 if kind > 0.09 else 1.0 if hand else 2.0,
        "held_at": where,
        "held_turn": side * r.uniform(-0.3, 1.1),
        "held_size": r.uniform(0.85, 1.2),
        "held_colour": skin * r.uniform(0.9, 1.1) if hand else dark,
    }


def _camera(r: np.random.Generator) -> Head:
    """What happens between light and file; see `camera.photograph`."""
    return {
        "exposure": np.exp(r.normal(0, 0.25)),
        "contrast": np.exp(r.normal(0.12, 0.2)),
        "saturation": 0.0 if r.random() < 0.05 else np.exp(r.normal(0.05, 0.25)),
        "white": np.exp(r.normal(0, 0.07, 3)),
        "vignette": r.uniform(0.0, 0.4) * (r.random() < 0.3),
        "blur": r.uniform(0.2, 0.6) if r.random() < 0.8 else r.uniform(0.6, 1.6),
        "sharpen": r.uniform(0.0, 0.8) * (r.random() < 0.5),
        "noise": r.uniform(0.0, 0.015) if r.random() < 0.8 else r.uniform(0.015, 0.06),
        "noise_seed": np.int32(r.integers(2**31)),
        "jpeg": np.exp(r.uniform(np.log(0.01), np.log(0.12))) * (r.random() < 0.4),
    }
