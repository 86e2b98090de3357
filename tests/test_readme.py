"""What the README, the pages of docs and those of the builders tell a user to type."""

import pytest

from tests.support import pages
from tests.support.places import ROOT

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("tfds_builders/*/README.md"))]
# The commands of results are those of the revisions that the page names.
PAGES += sorted(set(ROOT.glob("docs/*.md")) - {ROOT / "docs" / "results.md"})
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in PAGES}
COMMANDS = [(page, line) for page, text in TEXTS.items() for line in pages.commands(text)]
MENTIONS = [(page, line) for page, text in TEXTS.items() for line in pages.mentions(text)]
PYTHON = [(page, code) for page, text in TEXTS.items() for code in pages.blocks(text, "python")]


@pytest.mark.parametrize(("page", "line"), COMMANDS + MENTIONS)
def test_a_command_of_a_page_can_run(page, line):
    pages.check_command(line)


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_the_python_of_a_page_runs(page, code, tmp_path):
    pages.check_python(code, tmp_path)


def test_the_readme_has_what_is_checked():
    of_readme = [line for page, line in COMMANDS if page == "README.md"]
    assert any(line.startswith("./run.sh") for line in of_readme)
    assert any("faceparse_jax.main" in line for line in of_readme)
    assert any(page == "README.md" for page, _ in PYTHON)


TRAIN = "python -m faceparse_jax.main --workdir runs/one --config configs/lapa_d.py"
PAGE = """
Text with `python -m faceparse_jax.labels`, `--config.optim.rate=0.5`, `--config.KEY=1` and
`python -m tfds_builders.build --name helen_d
--manual_dir D [--config relabelled] [--check]` or `pip install ".[data]"`.

```bash
# A comment.
./run.sh test   # another
python -m faceparse_jax.main --config ... --quick
XLA_FLAGS=--xla python -m faceparse_jax.main --workdir runs/one \\
  --config configs/lapa_d.py
```

```
./run.sh no_language
```
"""


def test_commands_are_found_in_blocks_and_in_sentences():
    commands, mentions = pages.commands(PAGE), pages.mentions(PAGE)
    assert [" ".join(line.split()) for line in commands] == [
        "./run.sh test # another",
        f"XLA_FLAGS=--xla {TRAIN}",
    ]
    assert mentions == [
        "python -c 'import faceparse_jax.labels'",
        "--config.optim.rate=0.5",
        "python -m tfds_builders.build --name helen_d --manual_dir D --config relabelled --check",
        'pip install ".[data]"',
    ]
    for line in commands + mentions:
        pages.check_command(line)


def test_what_is_short_runs(capsys):
    pages.check_command("faceparse --help")
    assert "--mode predict" in capsys.readouterr().out
    pages.check_command("python -m faceparse_jax.labels")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{TRAIN} --quick", "no such flag"),
        (f"{TRAIN} --image photo.jpg", "--mode predict"),
        (f"{TRAIN} --config.optim.rat=1", "rat"),
        (f"{TRAIN} --config.train.steps=many", "many"),
        (f"{TRAIN} --config.train.steps=-1", "config.train.steps"),
        (f"{TRAIN} --config.loss.mutual_mean=faces", "'classes' or 'pixels'"),
        (f"{TRAIN} --mode tune", "tune"),
        ("faceparse --mode predict --workdir runs/one --image a.jpg", "--out"),
        ("python -m faceparse_jax.main --workdir r --config configs/ffhq.py", "configs/ffhq.py"),
        ("python -m faceparse_jax.main --workdir r --config=configs/ffhq.py", "configs/ffhq.py"),
        ("python -m faceparse_jax.train --workdir r", "no module faceparse_jax.train"),
        ("python -m faceparse.main --workdir r", "no module faceparse.main"),
        (*pages.mentions("`python -m faceparse_jax.train`"), "no module faceparse_jax.train"),
        ("python -m tfds_builders.build --nam lapa_d --sorted", "--sorted"),
        ("python -m tfds_builders.build --name ffhq", "no dataset ffhq"),
        ("python -m tfds_builders.build --name lapa_d --config farl", "not farl"),
        ("python -m faceparse_jax.data.decode --name lapa_d --config official", "--size"),
        ("python -m faceparse_jax.studies.compare one.json", "records"),
        ("python benchmarks/absent.py", "benchmarks/absent.py"),
        ("./run.sh studies", "run.sh knows"),
        ("./run.sh make_depth --image photos", "--out"),
        ("./run.sh predict photo.jpg --quick", "no such flag"),
        ('pip install ".[data,plots]"', "no extra data,plots"),
        ("pip install -r requirement.txt", "no file requirement.txt"),
        ("conda install faceparse", "no command"),
        ("--config.loss.mutul=1", "mutul"),
        ("--config.loss.mutul", "mutul"),
        ("--config.base.optim.rat=1", "rat"),
    ],
)
def test_a_command_that_cannot_run_is_noticed(line, says):
    with pytest.raises(pages.Wrong) as error:
        pages.check_command(line)
    assert says in str(error.value)


LOAD = 'from faceparse_jax import load\nparser = load("runs/one")\n'
READ = 'from faceparse_jax.images import read_image\nphoto = read_image("photos/a.png")\n'


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("from faceparse_jax import lod\n", "lod"),
        ("from faceparse_jax.predict import load\n", "faceparse_jax.predict"),
        (LOAD + READ + "parser(picture=photo)\n", "picture"),
        (LOAD + READ + "parser(image=photo).labels\n", "labels"),
        (LOAD + "parser(image=photo)\n", "photo"),
    ],
)
def test_python_that_cannot_run_is_noticed(code, says, tmp_path):
    with pytest.raises(pages.Wrong, match=says):
        pages.check_python(code, tmp_path)
    pages.check_python(LOAD + READ + "parser(image=photo).label\n", tmp_path)
