#!/usr/bin/env bash
# ./run.sh           the demo: synthetic heads, training, evaluation, prediction
# ./run.sh predict PHOTO...   parses photographs or folders of them with the networks that ship, into
#                    the folder parsed; flags of --mode predict may follow, as in --out FOLDER
# ./run.sh study     the demo's study: scarce depth, three seeds, tables and a plot
# ./run.sh install   only makes the virtual environment
# ./run.sh test      lint and tests; words behind it are pytest's, as in ./run.sh test --cov
# ./run.sh make_depth --images PHOTOS --out DEPTH   depth maps for photographs, by a face mesh
# ./run.sh lock      writes constraints.txt anew from the environment
# VENV names another folder for the environment, VENV_DEPTH for make_depth's, DEMO and STUDY others for what they write.
set -euo pipefail
unset CDPATH  # with which cd tells where it went
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=${VENV:-.venv}
python=$venv/bin/python

fail() { echo "error: $1" >&2; exit 2; }

# Ctrl-C reaches what runs here, too; one of our commands tells of it and has status 130.
ours=
stop() {
  [ "$ours$1" = yes130 ] || echo "stopped by SIGINT; what was finished is kept; next: the same command again" >&2
  kill $(jobs -p) 2>/dev/null || true
  exit 130
}
trap 'stop $?' INT

# Runs what has words of its own about Ctrl-C: in the background it gets none.
quietly() { "$@" & wait $!; }

# find_python LAST: a Python from 3.11 to 3.LAST, for which there are wheels of every requirement
find_python() {
  local name
  for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if "$name" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $1))" 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  fail "python3: found $(python3 --version 2>&1 || true), expected Python 3.11 to 3.$1; next: install it, or name it with PYTHON=/path/to/python3.11"
}

# is_venv FOLDER: one that failed half-way has no pip, and pip of one without a prefix of its own
# would install for the whole machine, as where pyenv is not told of its folder
is_venv() {
  "$1/bin/python" -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null
}

# make_venv FOLDER LAST
make_venv() {
  if is_venv "$1"; then return; fi
  local base
  base=$(find_python "$2")
  quietly "$base" -m venv "$1" ||
    fail "venv: found none, expected Python's venv module; next: install python3-venv"
  is_venv "$1" ||
    fail "$1: found a Python of another place in it, expected a virtual environment; next: remove $1, and name Python itself with PYTHON=/path/to/python3.11"
}

# install_into FOLDER LAST REQUIREMENTS [FILE...]: anew where one of these files has changed
install_into() {
  local stamp=$1/requirements.sha256 want
  want=$(cat "${@:3}" | sha256sum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then return; fi
  make_venv "$1" "$2"
  echo "installing $3 into $1 (some minutes)"
  # Without a home folder pip would keep its cache in a folder named ~.
  "$1/bin/python" -c 'import os, sys; sys.exit(os.path.expanduser("~") == "~")' ||
    export PIP_NO_CACHE_DIR=1
  quietly "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$3"
  echo "$want" >"$stamp"
}

install() { install_into "$venv" 13 requirements.txt constraints.txt pyproject.toml; }

lock() {
  make_venv "$venv" 13
  # Without the constraints, which this replaces.
  quietly "$python" -m pip install --quiet --disable-pip-version-check -e '.[bucket,data,study,test]'
  {
    echo "# Exact versions of all that pyproject.toml asks for and brings along, with its extras;"
    echo "# written by ./run.sh lock from the environment."
    # TensorFlow has two names, by the machine (pyproject.toml).
    "$python" -m pip list --format=freeze --exclude-editable --exclude pip --exclude setuptools \
      --exclude wheel | sed -E 's/^tensorflow([-_]cpu)?==(.*)/tensorflow==\2\ntensorflow_cpu==\2/'
  } >constraints.txt.new
  mv constraints.txt.new constraints.txt
}

run_tests() {
  install
  "$python" -m ruff check .
  "$python" -m ruff format --check .
  # Each file stays in one process: its fixtures are made once. Order: tests/conftest.py.
  "$python" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder "$@"
}

say_and_run() { echo "\$ $*"; ours=yes; "$@"; ours=; }

demo() {
  local out=${DEMO:-runs/demo}
  install
  say_and_run "$python" -m tfds_builders.build --name synthetic_heads --config demo --data_dir "$out/data"
  say_and_run "$python" -m faceparse_jax.main --config configs/synthetic_heads.py \
    --workdir "$out/run" --config.data.data_dir="$out/data" --config.model.init=heads
  say_and_run "$python" -m faceparse_jax.main --mode evaluate --workdir "$out/run"
  say_and_run "$python" -m faceparse_jax.data.synthetic.export --out "$out/heads" --count 4
  say_and_run "$python" -m faceparse_jax.main --mode predict --workdir "$out/run" \
    --image "$out/heads/images" --crop none --out "$out/parsed"
  say_and_run "$python" -m faceparse_jax.main --mode predict --image docs/portraits --out "$out/portraits"
  cp "$out/run/evaluation/test_best.png" "$out/contact_sheet.png"
  cat <<EOF

Held-out heads, parsed:  $out/contact_sheet.png
Two portraits, parsed:   $out/portraits/hopper_overlay.png and collins_overlay.png
Predicted files:         $out/parsed
Scores:                  $out/run/evaluation/test_best.json
Training log:            $out/run/metrics.jsonl and $out/run/tensorboard
Checkpoints:             $out/run/checkpoints
EOF
}

study() {
  local out=${STUDY:-runs/study}
  install
  say_and_run "$python" -m tfds_builders.build --name synthetic_heads --config demo --data_dir "$out/data"
  say_and_run "$python" -m faceparse_jax.main --mode study --config configs/studies/synthetic.py \
    --workdir "$out" --config.base.data.data_dir="$out/data"
  echo "Tables, plot, scores and record: $out/tables.md, plot.png, results.csv, record.json"
}

# from_caller VENV MODULE WORDS...: runs it in the folder for which the user's paths are meant
from_caller() {
  local own
  own=$(cd "$1" && pwd)
  export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
  cd "$caller"
  exec "$own/bin/python" -m "${@:2}"
}

predict() {
  case ${1:-} in
    "") fail "./run.sh predict: found no photograph, expected photographs or folders, then flags; next: ./run.sh predict photo.jpg" ;;
    -*) ;;
    *) set -- --image "$@" ;;
  esac
  install
  from_caller "$venv" faceparse_jax.main --mode predict --out parsed "$@"
}

make_depth() {
  # An environment of its own: MediaPipe and TensorFlow need different versions of protobuf.
  local own=${VENV_DEPTH:-.venv-depth}
  install_into "$own" 12 requirements-depth.txt
  from_caller "$own" faceparse_jax.data.make_depth "$@"
}

case ${1:-demo} in
  demo) demo ;;
  predict) shift; predict "$@" ;;
  study) study ;;
  install) install ;;
  test) shift; run_tests "$@" ;;
  lock) lock ;;
  make_depth) shift; make_depth "$@" ;;
  *) fail "run.sh: found '$1', expected no argument, predict, study, install, test, lock or make_depth; next: ./run.sh" ;;
esac
