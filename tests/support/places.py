"""Where the repository, its golden files and the data that it may not give away lie."""

import os
import pathlib

ROOT = pathlib.Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden"
# Real photographs and whole golden files, which are not the project's to give away.
SHARED = pathlib.Path(os.environ.get("FACEPARSE_SHARED", ROOT.parent / "shared"))
