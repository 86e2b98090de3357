"""Face parsing from RGB and depth with cross-domain mutual learning, in JAX/Flax.

from faceparse_jax import load

parser = load()  # or load("runs/demo/run")
result = parser("photo.jpg")  # or a picture of Pillow, an array, depth=..., both, or lists of them
result.label, result.scheme, result.depth, result.source, result.overlay()
"""

from typing import TYPE_CHECKING, Any

from faceparse_jax.runtime import interrupts

interrupts.install_in(__name__)

if TYPE_CHECKING:
    from faceparse_jax.prediction.parser import Parser, Result, load

__all__ = ["Parser", "Result", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What users import, brought here when it is asked for, since it brings JAX along."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from faceparse_jax.prediction import parser

    return getattr(parser, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
