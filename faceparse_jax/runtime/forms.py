"""For which platform the program that is being traced takes its forms.

The same sum has forms that are faster on CPUs, on GPUs or on TPUs and agree to rounding. They are
chosen where JAX traces a function. Choosing where it lowers one, as `jax.lax.platform_dependent`
does, would trace every form of every convolution, and tracing is a part of each start.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_CHOSEN = contextvars.ContextVar("platform", default="")


def platform() -> str:
    """What the forms are for: cpu, gpu, tpu or phone; JAX's own backend unless told otherwise.

    Those for a phone are the plain ones without what the GPUs of phones refuse; export alone
    asks for them.

    benchmarks/models.py measures the forms, benchmarks/compiled.py compiles them for TPUs.
    """
    return _CHOSEN.get() or jax.default_backend()


@contextlib.contextmanager
def forms_for(platform: str) -> Iterator[None]:
    """What is traced inside has the forms for a platform, as lowering for another machine needs.

    JAX keeps what it has traced: a function that was jitted outside stays as it is.
    """
    token = _CHOSEN.set(platform)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
