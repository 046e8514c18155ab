"""Functions that numba compiles to machine code.

Where what has to be done differs from row to row (walking through messages of various length, searching among a
meter's readings, shifting them to make room) whole columns take dozens of passes over memory; compiled, one.

The code is compiled when it is first called, and kept in the user's cache. Numba takes kept code for valid as long as
the function's own file is unchanged; but code of other files is compiled into it. So what is kept is kept apart for
each state of the sources, and goes when nobody has used it for a month.

Arrays should not be handed from one compiled function to the next in an inner loop: each call counts references to all
of them, which takes longer than most work.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGES = ("connectors", "flows")
_WITHOUT = Path("connectors", "simulation")  # compiles nothing, and nothing of it is compiled in
_KEPT_SECONDS = 30 * 86_400
_config: Any = numba.config


def _cache_folder() -> Path | None:
    """A folder of its own for this state of the sources; None where none can be had."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    every = (path for package in _PACKAGES for path in (root / package).rglob("*.py"))
    for source in sorted(path for path in every if root / _WITHOUT not in path.parents):
        digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    base = _config.CACHE_DIR or Path(home) / "gridflow"
    folder = Path(base) / f"compiled-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # when it was last used
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    _remove_unused(folder.parent)
    return folder


def _remove_unused(base: Path) -> None:
    """Remove what other states of the sources have left and not used for long.

    A process may do the same at the same time, or begin to use what is being removed: numba compiles what it does not
    find.
    """
    before = time.time() - _KEPT_SECONDS
    for folder in base.glob("compiled-" + 16 * "[0-9a-f]"):
        try:
            unused = folder.stat().st_mtime < before
        except OSError:  # somebody else has removed it
            continue
        if unused:
            shutil.rmtree(folder, ignore_errors=True)


_FOLDER = _cache_folder()
if _FOLDER is not None:
    _config.CACHE_DIR = str(_FOLDER)


def is_compiled() -> bool:
    """Whether code of this state of the sources is kept: then it only has to be loaded."""
    return _FOLDER is not None and next(_FOLDER.rglob("*.nbc"), None) is not None


def compiled(function: Function) -> Function:
    """Compile a function; division by zero gives inf or nan as in numpy, and sums are not reordered."""
    kept = _FOLDER is not None
    return cast("Function", numba.njit(cache=kept, nogil=True, error_model="numpy")(function))
