"""Packages that a suite needs, installed once for each content of their lists, in `KEYFERRY_TEST_CACHE` or `.work`."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("KEYFERRY_TEST_CACHE") or Path(__file__).resolve().parents[2] / ".work").resolve()


def python(requirements: Path) -> Path:
    """The interpreter of a virtual environment with the pinned packages of the list."""
    suite = requirements.parent.name
    home = CACHE / suite / f"{requirements.stem.replace('requirements', 'python')}-{digest(requirements)}"
    if not (home / "complete").exists():
        print(f"installing {requirements.name} into {home}")
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [home / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "-r", requirements], check=True)
        (home / "complete").touch()
    return home / "bin/python"


def node(folder: Path) -> Path:
    """The node_modules of the folder's package-lock.json."""
    home = CACHE / folder.name / f"node-{digest(folder / 'package-lock.json')}"
    if not (home / "complete").exists():
        print(f"installing package-lock.json into {home}")
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(folder / name, home)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                       cwd=home, check=True)
        (home / "complete").touch()
    return home / "node_modules"


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
