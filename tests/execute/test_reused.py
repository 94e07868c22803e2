"""What is said of a run that is reused though the file of its method has changed since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.execute.session import Request
from lrbench.method import registry

DRAFT = "from lrbench.method import registry\n\nclass Mine(registry.method('hr-baseline')):\n    name = 'mine'\n"


class Notes(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def run(method: str, results: Path, **options: Any) -> list[str]:
    """What is said while a run is made, or reused."""
    small = {"width": 0.125, "recipe": "quick", "epochs": 1, "limit_train": 64, "limit_test": 32, "precision": "fp32"}
    notes = Notes()
    session.run(Request(method, "digits", results, scale=2, device="cpu", **small, **options), notes)
    return [line for line in notes.said if "has changed since" in line]


def test_only_ones_own_run_of_an_installed_method_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_drafts", {})
    own, file = tmp_path / "own", tmp_path / "mine.py"
    file.write_text(DRAFT)
    draft: dict[str, Any] = {"plugins": (f"{file}:Mine",)}
    for method, options in (("hr-baseline", {}), ("mine", draft)):
        assert run(method, own, **options) == run(method, own, **options) == []
    monkeypatch.setattr(registry, "source_hash", lambda cls: "of an edited file")
    [line] = run("hr-baseline", own)
    assert "file of 'hr-baseline' has changed since; raise its `version`" in line
    assert run("mine", own, **draft) == [], "its version is made of its file"
    assert run("hr-baseline", tmp_path / "new", baselines=(own,)) == [], "it was made with other files"
    assert not (tmp_path / "new").exists()
