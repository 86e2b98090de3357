"""The shape of the house: which wing may import which, and where files lie."""

import ast
import pathlib

import pytest

from tests.support.places import ROOT

PACKAGE = "faceparse_jax"
# From bottom to top. A wing imports what lies below it; wings of one floor leave each other alone.
FLOORS = (
    ("errors",),
    ("runtime",),
    ("labels",),
    ("config",),
    ("images",),
    ("models", "data"),
    ("checkpoints",),
    ("evaluation",),
    ("training",),
    ("prediction",),
    ("export", "studies"),
    ("main",),
)
HEIGHT = {wing: height for height, floor in enumerate(FLOORS) for wing in floor}
OUTSIDE = {"benchmarks", "configs", "tests", "tfds_builders"}
MOST_FILES = 6


def imports(path: pathlib.Path, root: pathlib.Path) -> list[tuple[str, str]]:
    """Every import of a file, also within functions, as where it stands and the full name."""
    folders = path.relative_to(root).parts[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        place = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            found += [(place, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = folders[: len(folders) - node.level + 1] if node.level else ()
            origin = [*start, *filter(None, [node.module])]
            found += [(place, ".".join([*origin, alias.name])) for alias in node.names]
    return found


def imports_below(folder: pathlib.Path, pattern: str = "*.py") -> list[tuple[str, str]]:
    """The imports of every file below a folder whose name fits, in the order of their paths."""
    files = sorted(folder.rglob(pattern))
    return [found for path in files for found in imports(path, folder.parent)]


def wing(parts: tuple[str, ...]) -> str:
    """The folder or the file of the package in which a module or a name lies."""
    return pathlib.PurePath(parts[1]).stem if len(parts) > 1 else "__init__"


def upwards(package: pathlib.Path) -> list[str]:
    """Imports within a package of a wing that does not lie below the importer's own.

    The package's ``__init__`` is what users import, so it may import any wing, and no wing may
    import more of it than its version.
    """
    wrong = []
    for place, name in imports_below(package):
        parts = tuple(name.split("."))
        if parts[0] != package.name or parts[1:] == ("__version__",):
            continue
        here, there = wing(pathlib.PurePath(place.split(":")[0]).parts), wing(parts)
        if here == "__init__" or (here == there and here in HEIGHT):
            continue
        if HEIGHT.get(there, len(FLOORS)) >= HEIGHT.get(here, -1):
            wrong.append(f"{place} imports {name}")
    return wrong


def outward(package: pathlib.Path) -> list[str]:
    """Imports by a package of what stands beside it in the repository."""
    found = imports_below(package)
    return [f"{place} imports {name}" for place, name in found if name.split(".")[0] in OUTSIDE]


def files_directly_in(package: pathlib.Path) -> list[str]:
    return sorted(path.name for path in package.iterdir() if path.is_file())


def of_tests(folder: pathlib.Path) -> list[str]:
    """Imports of test modules and of conftest, by any file of the tests."""
    return [
        f"{place} imports {name}"
        for place, name in imports_below(folder)
        if any(part == "conftest" or part.startswith("test_") for part in name.split("."))
    ]


def named_utils(root: pathlib.Path) -> list[str]:
    """Files and folders of our own whose name says nothing of what they do."""
    folders = [root / name for name in (PACKAGE, *OUTSIDE)]
    paths = [*root.glob("utils*"), *(path for folder in folders for path in folder.rglob("utils*"))]
    return sorted(str(path.relative_to(root)) for path in paths if path.stem == "utils")


def test_no_import_runs_upwards():
    found = upwards(ROOT / PACKAGE)
    assert not found, "\n".join(found)


def test_the_package_imports_nothing_that_stands_beside_it():
    found = outward(ROOT / PACKAGE)
    assert not found, "\n".join(found)


def test_few_files_lie_directly_in_the_package():
    found = files_directly_in(ROOT / PACKAGE)
    assert len(found) <= MOST_FILES, found


def test_no_test_module_is_imported():
    found = of_tests(ROOT / "tests")
    assert not found, "\n".join(found)


def test_nothing_is_named_utils():
    found = named_utils(ROOT)
    assert not found, "\n".join(found)


def written(root: pathlib.Path, **files: str) -> pathlib.Path:
    """Writes modules of a package by their dotted names, and returns the package's folder."""
    for name, text in files.items():
        path = root / PACKAGE / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / PACKAGE


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("labels.a", "import faceparse_jax.training.loop"),
        ("labels.a", "from faceparse_jax.training import loop"),
        ("labels.a", "from faceparse_jax import training"),
        ("labels.a", "from faceparse_jax import load"),
        ("labels.a", "import faceparse_jax"),
        ("labels.a", "from ..training.loop import train"),
        ("labels.a", "from .. import training"),
        ("labels.deeper.a", "from ...training import loop"),
        ("labels.a", "def late():\n    if True:\n        from faceparse_jax.training import loop"),
        ("models.a", "from faceparse_jax.data import reader"),
        ("data.a", "from faceparse_jax.models import ops"),
        ("errors", "from faceparse_jax.runtime import hosts"),
        ("studies.a", "from faceparse_jax import main"),
        ("main", "from faceparse_jax import a_file_without_a_floor"),
        ("a_file_without_a_floor", "from faceparse_jax import errors"),
    ],
)
def test_an_import_upwards_is_noticed(name, line, tmp_path):
    package = written(tmp_path, **{"labels.b": "import json", name: line})
    (wrong,) = upwards(package)
    assert wrong.startswith(f"{PACKAGE}/{name.replace('.', '/')}.py:")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("training.a", "from faceparse_jax.models import ops"),
        ("training.a", "from faceparse_jax.training.loop import train"),
        ("training.a", "from . import loop"),
        ("training.a", "from ..models import ops"),
        ("runtime.a", "from faceparse_jax import __version__"),
        ("__init__", "from faceparse_jax.prediction import load"),
        ("main", "from faceparse_jax import studies, errors"),
        ("labels.a", "import jax, training, models.data"),
    ],
)
def test_an_import_downwards_is_right(name, line, tmp_path):
    assert upwards(written(tmp_path, **{name: line})) == []


@pytest.mark.parametrize(
    "line",
    [
        *(f"import {name}" for name in sorted(OUTSIDE)),
        "import json, configs.base",
        "from configs import base",
        "def late():\n    from tfds_builders.examples import progress",
    ],
)
def test_an_import_of_what_stands_beside_the_package_is_noticed(line, tmp_path):
    assert len(outward(written(tmp_path, **{"training.a": line, "errors": "import json"}))) == 1


def test_what_has_only_a_like_name_is_left_alone(tmp_path):
    lines = "import testsuite, configs_of_others\nfrom faceparse_jax.data import tests\n"
    assert outward(written(tmp_path, **{"training.a": lines})) == []


def test_a_file_too_many_is_noticed(tmp_path):
    package = written(tmp_path, **{f"file{number}": "" for number in range(MOST_FILES + 1)})
    (package / "wing").mkdir()
    assert len(files_directly_in(package)) == MOST_FILES + 1


@pytest.mark.parametrize(
    "line",
    [
        "from tests.conftest import ROOT",
        "from tests import conftest",
        "from tests.labels.test_conversion import names",
        "from tests.labels import test_conversion",
        "import tests.labels.test_conversion",
        "from . import test_other",
        "def late():\n    from ..labels.test_conversion import names",
    ],
)
@pytest.mark.parametrize("name", ["test_a", "helper"])
def test_an_import_of_a_test_module_is_noticed(name, line, tmp_path):
    path = tmp_path / "tests" / "data" / f"{name}.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"from tests.support import runs\nimport numpy.testing\n{line}\n")
    (wrong,) = of_tests(tmp_path / "tests")
    assert wrong.startswith(f"tests/data/{name}.py:")


@pytest.mark.parametrize(
    "name", ["utils.py", "tests/support/utils.py", "faceparse_jax/data/utils/__init__.py"]
)
def test_a_file_named_utils_is_noticed(name, tmp_path):
    for path in (tmp_path / name, tmp_path / "tests" / "utilities.py", tmp_path / ".venv/utils.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert named_utils(tmp_path) == [name.removesuffix("/__init__.py")]
