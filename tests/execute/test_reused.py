"""What is said of a run that is reused though the file of its method has changed since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.execute.session import Request
from lrbench.method import registry
from lrbench.plan.suite import Overrides
from lrbench.store import Store

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
    session.run(Request(method, "digits", results, **{"scale": 2, "device": "cpu", **small, **options}), notes)
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
    assert "the source of 'hr-baseline' has changed since; raise its `version`" in line
    options = {"scale": 2, "epochs": 1, "settings": {"init": "teacher"}}
    assert any("'hr-baseline'" in line for line in run("lr-baseline", own, **options)), "and so is one that is needed"
    assert run("mine", own, **draft) == [], "its version is made of its file"
    assert run("hr-baseline", tmp_path / "new", baselines=(own,)) == [], "it was made with other files"
    assert not (tmp_path / "new").exists()


def test_a_suite_says_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("hr-baseline", tmp_path / "own")
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'title = "One"\n[[runs]]\nmethod = "hr-baseline"\ndataset = "digits"\nscale = 2\nwidth = 0.125\n'
        'recipe = "quick"\nepochs = 1\nlimit_train = 64\nlimit_test = 32\n'
    )
    said: list[str] = []
    for changed in (False, True):
        if changed:
            monkeypatch.setattr(registry, "source_hash", lambda cls: "of an edited file")
        store = Store(tmp_path / "own", said.append)
        ordered = session.order(str(suite), Overrides(), store, device="cpu", precision="fp32", threads=1)
        assert not ordered.graph.missing and len(said) == changed
    assert "the source of 'hr-baseline' has changed since" in said[0]
