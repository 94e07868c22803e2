"""What lies below a folder."""

from __future__ import annotations

from pathlib import Path

from lrbench.store.store import CURVE, PREDICTIONS, WEIGHTS


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with its content; empty where there is no folder."""
    paths = folder.rglob("*")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def finished(results: Path) -> dict[str, bytes]:
    """The bytes of every finished run that do not depend on when and where it was trained."""
    return {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for name in (CURVE, PREDICTIONS, WEIGHTS)
        for path in results.glob(f"[!.]*/{name}")
    }
