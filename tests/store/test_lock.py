"""Locks between processes: folders that come and go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lrbench.store import lock


def test_a_folder_that_others_are_removing_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, make, left = tmp_path / "locks" / "run", Path.mkdir, [FileExistsError, FileNotFoundError, FileNotFoundError]

    def disturbed(self: Path, *args: object, **kwargs: object) -> None:
        """Another process removes the folder between two steps."""
        if left:
            raise left.pop()(self)
        make(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", disturbed)
    with lock.held(place, lambda: pytest.fail("nobody has it")):
        assert place.exists()
    assert not place.exists()


def test_a_file_that_cannot_be_made_is_an_error_and_no_loop(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "nowhere" / "run")
    with pytest.raises(FileNotFoundError), lock.held(tmp_path / "run", lambda: None):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), lock.held(tmp_path / "file" / "run", lambda: None):
        pass


def test_a_lock_whose_folder_is_removed_ends_well(tmp_path: Path) -> None:
    place = tmp_path / "locks" / "run"
    with lock.held(place, lambda: None):
        os.unlink(place)
        place.parent.rmdir()
    assert not place.parent.exists()
