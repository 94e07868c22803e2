"""Locks between processes: folders that come and go."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.synchronize import Event
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
    """As in /proc, where it would otherwise be tried for ever."""
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


def holder(path: Path, held: Event, go: Event) -> None:
    with lock.held(path, lambda: None):
        held.set()
        go.wait(60)


def test_a_lock_is_waited_for_and_said_so_once_until_its_holder_is_dead(tmp_path: Path) -> None:
    context, place, told = get_context("fork"), tmp_path / "locks" / "run", []
    held, never = context.Event(), context.Event()
    process = context.Process(target=holder, args=(place, held, never))
    process.start()
    assert held.wait(60)

    def waiting() -> None:
        told.append(1)
        process.kill()

    with lock.held(place, waiting):
        assert told == [1] and place.exists()
    process.join()
    assert not place.exists()


def busy(path: Path, number: int, counter: Path) -> None:
    """Add to a number in a file, which goes wrong as soon as two do it at once."""
    for _ in range(number):
        with lock.held(path, lambda: None):
            counter.write_text(str(int(counter.read_text()) + 1))
        with suppress(OSError):
            path.parent.rmdir()  # as a process does that made the folder


def test_of_many_processes_one_holds_it_though_file_and_folder_come_and_go(tmp_path: Path) -> None:
    context, counter = get_context("fork"), tmp_path / "counter"
    counter.write_text("0")
    processes = [context.Process(target=busy, args=(tmp_path / "locks" / "run", 25, counter)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert counter.read_text() == "100" and [process.exitcode for process in processes] == [0] * 4


def in_child_without_rights(folder: Path, action: Callable[[], None]) -> int:
    """The exit status of a process that may not write into a folder: 0 where it met an OSError."""
    folder.chmod(0o555)
    child = os.fork()
    if not child:
        os.chdir(folder)
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            action()
        except OSError:
            os._exit(0)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    folder.chmod(0o755)
    return status


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    def hold() -> None:
        with lock.held(Path("locks/run"), lambda: None):
            pass

    assert in_child_without_rights(tmp_path, hold) == 0 and not list(tmp_path.iterdir())
