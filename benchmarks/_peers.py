"""The environment that the peers live in: their own packages, and torch of the running one."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PACKAGES = ("img2vec-pytorch", "embetter[vision]", "timm")
READ_VERSIONS = """
import json
from importlib.metadata import version
import img2vec_pytorch, embetter.vision, timm
print(json.dumps({n: version(n) for n in ("img2vec-pytorch", "embetter", "timm")}))
"""


def make_environment(folder: Path) -> tuple[Path, dict[str, str]]:
    """The environment's interpreter and the peers' versions; installed where they are not yet.

    Raises
    ------
    subprocess.CalledProcessError
        If they cannot be installed.
    """
    python = folder / "bin" / "python"
    try:
        return python, read_versions(python)
    except (OSError, subprocess.CalledProcessError):
        install(folder, python)
    return python, read_versions(python)


def install(folder: Path, python: Path) -> None:
    """Make the environment; what the running interpreter has is not installed again."""
    venv.create(folder, clear=True, with_pip=True)
    own = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    running = sysconfig.get_path("purelib")
    (Path(own.strip()) / "running-interpreter.pth").write_text(f"{running}\n")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stdout=sys.stderr
    )


def read_versions(python: Path) -> dict[str, str]:
    """The peers' versions; imports all of them, so that a broken one is found here."""
    found = subprocess.check_output(
        [python, "-c", READ_VERSIONS], text=True, stderr=subprocess.DEVNULL
    )
    return json.loads(found)
