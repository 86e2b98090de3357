"""What a user imports, and what an installation of the package brings."""

import ast
import itertools
import os
import subprocess
import sys
import tomllib

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import faceparse_jax
from faceparse_jax import main
from faceparse_jax.checkpoints import packed
from faceparse_jax.errors import InputError
from faceparse_jax.prediction import parser
from faceparse_jax.runtime import command_line
from tests.support.places import ROOT


def test_the_public_names():
    assert faceparse_jax.load is parser.load
    assert faceparse_jax.Parser is parser.Parser
    assert faceparse_jax.Result is parser.Result
    assert {"load", "Parser", "Result", "__version__"} <= set(dir(faceparse_jax))
    with pytest.raises(AttributeError, match="'faceparse_jax' has no attribute 'lod'"):
        faceparse_jax.lod  # noqa: B018


def test_the_package_alone_brings_no_jax():
    code = (
        "import sys, faceparse_jax\n"
        "dir(faceparse_jax)\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules\n"
        "from faceparse_jax import load\n"
        "assert 'jax' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def elsewhere(tmp_path):
    """A folder of a user, whose own package has the name of the repository's folder."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise SystemExit('not this one')\n")
    return tmp_path


def run_elsewhere(folder, *words):
    """Python in a user's folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", ["synthetic_heads", "configs/lapa_d_128.py", "studies/synthetic"])
def test_configs_of_the_package_are_found_from_any_folder(name, elsewhere):
    (elsewhere / name).mkdir(parents=True)  # as where data of this name are prepared
    code = (
        "import sys\n"
        "from faceparse_jax import main\n"
        "from faceparse_jax.runtime import command_line\n"
        "mode, values = command_line.parse(sys.argv[1:], main.MODES)\n"
        "print(values['config'].get('arms') is not None)"
    )
    mode = "study" if "studies" in name else "train"
    done = run_elsewhere(elsewhere, "-c", code, f"--mode={mode}", "--workdir=w", f"--config={name}")
    assert done.stdout == f"{mode == 'study'}\n", done.stderr


def test_a_file_that_is_there_goes_before_one_of_the_package(elsewhere):
    (elsewhere / "configs" / "lapa_d.py").write_text("raise ValueError('the user\\'s own')\n")
    words = ("--workdir", "w", "--config", "configs/lapa_d.py")
    done = run_elsewhere(elsewhere, "-m", "faceparse_jax.main", *words)
    assert done.returncode == 2
    assert "ValueError: the user's own" in done.stderr


def test_a_checkout_without_symbolic_links_is_told_what_to_do(tmp_path, monkeypatch):
    link = tmp_path / "configs"
    link.write_text("../configs")
    monkeypatch.setattr(command_line, "_CONFIGS", link)
    with pytest.raises(InputError, match=r"text file in place of a link.*core\.symlinks true"):
        command_line.parse(["--config=configs/lapa_d.py", "--workdir=run"], main.MODES)


def test_a_plain_installation_has_the_configs_within_the_package():
    include = TOOLS["setuptools"]["packages"]["find"]["include"]
    installed = setuptools.find_packages(ROOT, include=include)
    assert {"faceparse_jax.configs", "faceparse_jax.configs.studies"} <= set(installed)
    assert {name.partition(".")[0] for name in installed} == {"faceparse_jax", "tfds_builders"}
    assert (ROOT / "faceparse_jax" / "configs").resolve() == ROOT / "configs"


def test_an_installation_brings_the_shipped_networks():
    patterns = TOOLS["setuptools"]["package-data"]["faceparse_jax"]
    name = packed.HEADS.relative_to(ROOT / "faceparse_jax")
    assert any(name.match(pattern) for pattern in patterns)


def imported(*patterns: str) -> set[str]:
    """The modules of others that files of the repository import, also within functions."""
    own = {"faceparse_jax", "tfds_builders", "configs"}
    found = set()
    for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            found |= {name.partition(".")[0] for name in names}
    return found - own - sys.stdlib_module_names


# The modules of the distributions whose names are others.
MODULES = {
    "absl-py": "absl",
    "ai-edge-litert": "ai_edge_litert",
    "annotated-types": "annotated_types",
    "google-cloud-storage": "google",
    "ml-collections": "ml_collections",
    "orbax-checkpoint": "orbax",
    "pillow": "PIL",
    "tensorflow-cpu": "tensorflow",
    "tensorflow-datasets": "tensorflow_datasets",
}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, TOOLS = PYPROJECT["project"], PYPROJECT["tool"]
ASKED = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}


def modules(extra: str) -> set[str]:
    names = [Requirement(line).name for line in ASKED[extra]]
    return {MODULES.get(name, name) for name in names}


# What needs more than the package alone brings.
OF_DATA = ["tfds_builders/**/*.py", "faceparse_jax/data/tfds_*.py"]
OF_STUDIES = ["faceparse_jax/studies/*.py"]
OF_BUCKETS = ["faceparse_jax/runtime/places.py"]
OF_EXPORT = ["faceparse_jax/export/formats.py"]
OF_VIDEOS = ["faceparse_jax/prediction/video.py"]
OF_DEPTH = ["faceparse_jax/data/make_depth.py", "faceparse_jax/data/face_mesh.py"]

# Where it is missing, the error of the one kind of file that needs it says what to install.
OPTIONAL = {"OpenEXR", "pillow_heif"}


def test_every_module_comes_with_the_package_or_with_the_extra_of_its_place():
    special = {
        path
        for pattern in OF_DATA + OF_STUDIES + OF_BUCKETS + OF_EXPORT + OF_VIDEOS + OF_DEPTH
        for path in ROOT.glob(pattern)
    }
    others = [path for path in ROOT.glob("faceparse_jax/**/*.py") if path not in special]
    for extra, patterns in {
        "": [str(path.relative_to(ROOT)) for path in others],
        "data": OF_DATA,
        "study": OF_STUDIES,
        "bucket": OF_BUCKETS,
        "export": OF_EXPORT,
        "video": OF_VIDEOS,
    }.items():
        missing = imported(*patterns) - modules("") - modules(extra) - OPTIONAL
        assert not missing, f"the extra {extra!r} brings no {', '.join(sorted(missing))}"
    depth = (ROOT / "requirements-depth.txt").read_text().splitlines()
    brought = {Requirement(line).name for line in depth if line and line[0] != "#"}
    assert imported(*OF_DEPTH) <= {MODULES.get(name, name) for name in brought}


def test_nothing_is_asked_for_that_nothing_imports():
    assert modules("") <= imported("faceparse_jax/**/*.py")
    # importlib_resources is imported by tensorflow-datasets alone.
    assert modules("data") <= imported(*OF_DATA) | {"importlib_resources"}
    assert modules("study") <= imported(*OF_STUDIES)
    assert modules("bucket") <= imported(*OF_BUCKETS)
    assert modules("export") <= imported(*OF_EXPORT)
    assert modules("video") <= imported(*OF_VIDEOS)


def test_the_exact_versions_lie_in_the_ranges():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    exact = dict(line.split("==") for line in lines if not line.startswith("#"))
    exact = {canonicalize_name(name): version for name, version in exact.items()}
    for requirement in map(Requirement, itertools.chain(*ASKED.values())):
        found = exact.get(canonicalize_name(requirement.name))
        assert found, f"constraints.txt has no {requirement.name}; next: ./run.sh lock"
        assert found in requirement.specifier, f"{requirement}: found {found} in constraints.txt"
        bounds = {part.operator for part in requirement.specifier}
        assert bounds == {">=", "<"}, f"{requirement}: expected a range"


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("linux", "x86_64", "tensorflow-cpu"),
        ("linux", "aarch64", "tensorflow"),
        ("darwin", "arm64", "tensorflow"),
        ("win32", "AMD64", "tensorflow"),
    ],
)
def test_each_machine_gets_the_tensorflow_that_has_wheels_for_it(system, machine, name):
    place = {"sys_platform": system, "platform_machine": machine}
    asked = [line for line in map(Requirement, ASKED["data"]) if line.name.startswith("tensorflow")]
    chosen = [line.name for line in asked if not line.marker or line.marker.evaluate(place)]
    assert chosen == [name, "tensorflow-datasets"]


def test_running_needs_no_extra():
    """To predict, to train on arrays, to evaluate; scipy comes with JAX."""
    absent = set().union(*(modules(extra) for extra in ASKED if extra)) - {"scipy", "google"}
    absent.add("google.cloud")  # protobuf, which Orbax brings, lies in google too
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(absent)}))\n"
        "from faceparse_jax.main import STUDY\n"
        "from faceparse_jax import load\n"
        "from faceparse_jax.data import reader\n"
        "from faceparse_jax.evaluation import evaluate\n"
        "from faceparse_jax.prediction import files\n"
        "from faceparse_jax.training import loop, replay\n"
        "from faceparse_jax.data import arrays_reader\n"
        "try: STUDY.run(None, config=None)\n"
        "except Exception as error: print(error)\n"
        "try: reader.open('tfds', 'a', 'b', 'train', '.', 32)\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    study, data = done.stdout.splitlines()
    assert "no module matplotlib" in study
    assert "pip install 'faceparse_jax[study]'" in study
    assert "no module tensorflow" in data
    assert "pip install 'faceparse_jax[data]'" in data


def test_the_builders_need_the_data_extra():
    code = (
        "import sys\n"
        "sys.modules.update(tensorflow=None, tensorflow_datasets=None)\n"
        "from tfds_builders import build\n"
        "print(build.main(['--list']))\n"
        "print(build.main(['--name=lapa_d', '--manual_dir=.', '--check']))\n"
        "from faceparse_jax.data import decode\n"
        "print(decode.main(['--name=lapa_d', '--config=official', '--size=64']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "2\n2\n2\n", done.stderr
    assert done.stderr.count("pip install 'faceparse_jax[data]'") == 3
