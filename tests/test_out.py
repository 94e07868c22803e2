"""--out: a regular file is replaced whole, everything else is written into; and the permissions of what is written."""

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from helpers import stored
from helpers.cli import COMMAND, caller, process

from lrbench.plan.suite import Suite
from lrbench.report import outputs
from lrbench.store.files import new_folder, write_atomic
from lrbench.store.store import Store

HEAD = {"table leaderboard --format csv": b"table,", "predictions": b"run,index,", "plot curves": b"\x89PNG"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs that nobody trained."""
    return stored.folder(tmp_path_factory.mktemp("out"))[0].root


@pytest.fixture
def lrbench(runs, monkeypatch, capsys, tmp_path):
    """Calls the command in this process, in an empty folder: arguments -> exit status, stdout, stderr."""
    monkeypatch.setenv("LRBENCH_RESULTS", str(runs))
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys)


def arrives(read, reads):
    """A thread that reads a pipe to its end."""
    thread = threading.Thread(target=lambda: reads.append(Path(read).read_bytes()), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("command", HEAD)
def test_a_pipe_with_a_name_is_written_into(command, lrbench, tmp_path):
    os.mkfifo("pipe")
    reads = []
    thread = arrives("pipe", reads)
    status, out, _ = lrbench(*command.split(), "--out", "pipe")
    thread.join(10)
    assert (status, out) == (0, "") and reads[0].startswith(HEAD[command])
    assert stat.S_ISFIFO(os.stat("pipe").st_mode) and [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("command", HEAD)
def test_a_device_stays_a_device(command, lrbench, tmp_path):
    Path("nothing").symlink_to(os.devnull)
    assert lrbench(*command.split(), "--out", "nothing")[0] == 0
    assert Path("nothing").is_symlink() and stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["nothing"]


@pytest.mark.parametrize("command", HEAD)
def test_a_device_that_is_full_is_one_line(command, lrbench, tmp_path):
    try:  # not /dev/full itself, which root could replace
        os.mknod(tmp_path / "full", stat.S_IFCHR | 0o666, os.stat("/dev/full").st_rdev)
    except PermissionError:
        pytest.skip("only root makes devices")
    status, _, err = lrbench(*command.split(), "--out", "full")
    *notes, last = err.splitlines()
    assert status == 1 and "full: No space left" in last and all("not drawn: " in note for note in notes)
    assert stat.S_ISCHR(os.stat("full").st_mode) and [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize("command", HEAD)
def test_a_link_is_followed(command, lrbench, tmp_path):
    suffix = "png" if "plot" in command else "csv"
    target, link = tmp_path / "folder" / f"there.{suffix}", tmp_path / f"link.{suffix}"
    link.symlink_to(f"folder/there.{suffix}")
    assert lrbench(*command.split(), "--out", link)[0] == 0, "a dangling link makes its target"
    assert link.is_symlink() and target.read_bytes().startswith(HEAD[command])
    target.write_bytes(b"old")
    target.chmod(0o640)
    old = target.stat().st_ino
    assert lrbench(*command.split(), "--out", link)[0] == 0
    assert link.is_symlink() and target.read_bytes().startswith(HEAD[command])
    assert target.stat().st_ino != old, "it is replaced whole"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640, "its permissions stay"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_link_in_a_folder_of_tables_and_figures_is_followed(runs, tmp_path):
    (tmp_path / "paper").mkdir()
    for name in ("table-leaderboard.md", "curves.png"):
        (tmp_path / name).symlink_to(f"paper/{name}")
    store = Store(runs)
    suite = Suite(title="", tables=["leaderboard"], figures=["curves"])
    outputs.write(suite, {record.id for record in store.records()}, store, tmp_path, tmp_path, print, {})
    assert (tmp_path / "curves.png").is_symlink() and (tmp_path / "table-leaderboard.md").is_symlink()
    assert {path.name for path in (tmp_path / "paper").iterdir()} == {"table-leaderboard.md", "curves.png"}


@pytest.mark.slow
@pytest.mark.parametrize("out", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("command", HEAD)
def test_stdout_goes_on_where_the_shell_left_it(command, out, runs, tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    log, env = tmp_path / "log", os.environ | {"LRBENCH_RESULTS": str(runs)}
    with log.open("wb") as file:
        file.write(b"first\n")
        file.flush()
        call = [*COMMAND, *command.split(), "--out", out]
        subprocess.run(call, stdout=file, env=env, cwd=tmp_path, check=True)
        os.write(file.fileno(), b"last")
    assert log.read_bytes().startswith(b"first\n" + HEAD[command]) and log.read_bytes().endswith(b"last")
    assert {path.name for path in tmp_path.iterdir()} == {"link", "log"}
    if command == "predictions":
        *_, end = log.read_text().splitlines()
        assert end == "last", "nothing but predictions"


@pytest.mark.slow
@pytest.mark.parametrize("command", HEAD)
def test_a_descriptor_of_the_shell_is_written_into(command, runs, tmp_path):
    read, write = os.pipe()
    reads = []
    with os.fdopen(read, "rb") as file:
        thread = threading.Thread(target=lambda: reads.append(file.read()))
        thread.start()
        done = process(*command.split(), "--out", f"/dev/fd/{write}", "--results", str(runs), pass_fds=[write])
        os.close(write)
        thread.join(60)
    assert (done.returncode, done.stdout) == (0, "") and reads[0].startswith(HEAD[command])


@pytest.mark.parametrize("command", ["report", "new mine", "demo", "reproduce smoke"])
@pytest.mark.parametrize("out", ["-", "pipe", "/dev/null"])
def test_what_is_no_folder_is_refused(command, out, lrbench, tmp_path):
    os.mkfifo("pipe")
    status, said, err = lrbench(*command.split(), "--out", out)
    assert (status, said, err.count("\n")) == (2, "", 1) and out in err
    assert stat.S_ISFIFO(os.stat("pipe").st_mode) and [path.name for path in tmp_path.iterdir()] == ["pipe"]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    """Sets the umask for as long as the test lasts."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o002, 0o027, 0o077])
def test_the_umask_holds(mask, lrbench, umask, tmp_path):
    umask(mask)
    for command in ("table leaderboard --out made/t.csv", "plot curves --out c.svg", "report", "new mine"):
        assert lrbench(*command.split())[0] == 0, command
    for path in tmp_path.rglob("*"):
        assert mode(path) == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_a_shared_folder_stays_shared(lrbench, umask, tmp_path):
    """Where a folder is setgid, what is made in it has its group; what is replaced keeps its permissions."""
    umask(0o002)
    group = os.getgid() if os.geteuid() else 12345
    os.chown(tmp_path, -1, group)
    tmp_path.chmod(0o2775)
    assert lrbench("table", "leaderboard", "--out", "t.csv")[0] == lrbench("report")[0] == 0
    for path in tmp_path.rglob("*"):
        assert path.stat().st_gid == group and mode(path) == (0o2775 if path.is_dir() else 0o664), path
    (tmp_path / "site").chmod(0o2750)
    tmp_path.chmod(0o775)
    assert lrbench("report")[0] == 0
    assert (tmp_path / "site").stat().st_gid == group and mode(tmp_path / "site") == 0o2750


def test_records_too(umask, tmp_path):
    umask(0o007)
    with new_folder(tmp_path / "run") as folder:
        write_atomic(folder / "record.json", "{}")
    assert mode(tmp_path / "run") == 0o770 and mode(tmp_path / "run" / "record.json") == 0o660


@pytest.mark.parametrize("place", ["link", "link/below"])
@pytest.mark.parametrize(
    "command",
    [
        "reproduce smoke --out PLACE", "reproduce smoke --results PLACE", "demo --out PLACE", "report --out PLACE",
        "table leaderboard --results PLACE", "new my-method --out PLACE",
    ],
)  # fmt: skip
def test_a_link_that_leads_nowhere_is_no_folder(command, place, lrbench, tmp_path):
    """And is named before a training, not after it."""
    Path("link").symlink_to("nowhere")
    status, out, err = lrbench(*command.replace("PLACE", place).split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "wants a folder; link is a link to nowhere, which is not there: make that folder or remove the link" in err
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_the_folder_of_a_new_package_is_made(lrbench, tmp_path):
    assert lrbench("new", "No-Name", "--out", "a/b")[0] == 2 and not list(tmp_path.iterdir())
    assert lrbench("new", "my-method", "--out", "a/b")[:2] == (0, "a/b/lrbench-my-method\n")
    assert (tmp_path / "a" / "b" / "lrbench-my-method" / "pyproject.toml").is_file()
