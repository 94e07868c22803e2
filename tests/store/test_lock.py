"""Locks between processes: folders that come and go."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from helpers.cli import COMMAND

from lrbench.store import lock
from lrbench.store.arrays import arrays


def test_a_folder_that_others_are_removing_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, make, left = tmp_path / "locks" / "run", Path.mkdir, [FileExistsError, FileNotFoundError, FileNotFoundError]

    def disturbed(self: Path, *args: object, **kwargs: object) -> None:
        """Another process removes the folder between two steps."""
        if left:
            raise left.pop()(self)
        make(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", disturbed)
    with lock.held(place, lambda _: pytest.fail("nobody has it")):
        assert place.exists()
    assert not place.exists()


def test_a_file_that_cannot_be_made_is_an_error_and_no_loop(tmp_path: Path) -> None:
    """As in /proc, where it would otherwise be tried for ever."""
    (tmp_path / "run").symlink_to(tmp_path / "nowhere" / "run")
    with pytest.raises(FileNotFoundError), lock.held(tmp_path / "run", lambda _: None):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), lock.held(tmp_path / "file" / "run", lambda _: None):
        pass


def test_a_lock_whose_folder_is_removed_ends_well(tmp_path: Path) -> None:
    place = tmp_path / "locks" / "run"
    with lock.held(place, lambda _: None):
        shutil.rmtree(place.parent)
    assert not place.parent.exists()


def holder(path: Path, held: Event, go: Event) -> None:
    with lock.held(path, lambda _: None):
        held.set()
        go.wait(60)


def test_a_lock_is_waited_for_and_said_so_once_until_its_holder_is_dead(tmp_path: Path) -> None:
    context, place, told = get_context("fork"), tmp_path / "locks" / "run", []
    held, never = context.Event(), context.Event()
    process = context.Process(target=holder, args=(place, held, never))
    process.start()
    assert held.wait(60)

    def waiting(_: str) -> None:
        told.append(1)
        process.kill()

    with lock.held(place, waiting):
        assert told == [1] and place.exists()
    process.join()
    assert not place.exists()


def busy(path: Path, number: int, counter: Path) -> None:
    """Add to a number in a file, which goes wrong as soon as two do it at once."""
    for _ in range(number):
        with lock.held(path, lambda _: None):
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


# --- file systems without locks ---------------------------------------------------------------------------


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=lambda code: errno.errorcode[code])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """flock fails as on Lustre or NFS, in processes that are forked too."""

    def flock(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_one_of_many_processes_holds_it(tmp_path: Path) -> None:
    test_of_many_processes_one_holds_it_though_file_and_folder_come_and_go(tmp_path)
    test_a_file_that_cannot_be_made_is_an_error_and_no_loop(tmp_path)
    test_a_lock_whose_folder_is_removed_ends_well(tmp_path)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_killed_process_is_not_waited_for(tmp_path: Path) -> None:
    """The one who waits is told the file that may be deleted; nor does an older version's empty file matter."""
    context, place, told = get_context("fork"), tmp_path / "locks" / "run", list[str]()
    place.parent.mkdir()
    place.touch()  # as a killed process leaves it where there are locks
    held, never = context.Event(), context.Event()
    process = context.Process(target=holder, args=(place, held, never))
    process.start()
    assert held.wait(60)
    [file] = place.parent.iterdir()

    def waiting(way_out: str) -> None:
        told.append(way_out)
        process.kill()
        process.join()

    with lock.held(place, waiting):
        assert told == [f" (if there is none any more, delete {file})"]
    with lock.held(place, lambda _: pytest.fail("nobody has it")):
        pass
    assert not list(place.parent.iterdir())


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_file_of_another_machine_may_be_deleted(tmp_path: Path) -> None:
    place, told = tmp_path / "run", list[str]()
    left = place.with_name(f"run{lock.SOFT}")
    left.write_text("1\nanother-machine\n")

    def waiting(way_out: str) -> None:
        told.append(way_out)
        left.unlink()

    with lock.held(place, waiting):
        assert len(told) == 1 and str(left) in told[0]

    (tmp_path / "kept.lock.soft").write_text("1\nanother-machine\n")
    assert (arrays(tmp_path / "kept", lambda: {"a": np.arange(3)})["a"] == np.arange(3)).all()
    assert not (tmp_path / "kept").exists()


@pytest.mark.usefixtures("no_locks")
def test_where_neither_kind_of_lock_can_be_made_the_line_names_file_and_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(filelock.SoftFileLock, "acquire", fails)
    words = "choose another folder, such as --results"
    with pytest.raises(OSError, match=words) as caught, lock.held(tmp_path / "run", lambda _: None):
        pass
    assert caught.value.filename == str(tmp_path / f"run{lock.SOFT}")


@pytest.mark.slow
def test_without_locks_the_command_trains(tmp_path: Path) -> None:
    """Two processes at once, after one that was killed, into one folder."""
    (tmp_path / "sitecustomize.py").write_text(
        "import fcntl, os\ndef flock(*_):\n    raise OSError(38, os.strerror(38))\nfcntl.flock = flock\n"
    )
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    results = tmp_path / "runs"
    call = [*COMMAND, *f"run --method lr-baseline --dataset digits --scale 2 --width 0.125 --results {results}".split()]
    call += ["--recipe", "quick", "--epochs", "3", "--limit-train", "300", "--limit-test", "100", "--device", "cpu"]
    options: dict[str, Any] = {"env": env, "text": True, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    killed = subprocess.Popen(call, **options)
    for line in killed.stderr or []:
        if "epoch 1/3" in line:
            killed.kill()
    killed.communicate()
    assert [path.name for path in results.glob(".locks/*")] and not list(results.glob("[!.]*"))
    both = [subprocess.Popen(call, **options) for _ in range(2)]
    said = [one.communicate(timeout=200)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert len([*results.glob("[!.]*")]) == 1 and not list(results.glob(".locks/*"))


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
        with lock.held(Path("locks/run"), lambda _: None):
            pass

    assert in_child_without_rights(tmp_path, hold) == 0 and not list(tmp_path.iterdir())
