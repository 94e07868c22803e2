"""Datasets: canonical files, import with its refusals, fetch, subsets and validation splits."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import resource
import shlex
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.cli import caller, process
from PIL import ExifTags, Image

from lrbench import api
from lrbench.data import datasets, importing
from lrbench.data.dataset import KNOWN, Dataset, DatasetInfo, Known, Split
from lrbench.data.importing import fetch_dataset, import_dataset
from lrbench.data.prepare import prepare
from lrbench.data.splits import hold_out, subset
from lrbench.errors import UserError

Arrays = dict[str, Any]
CLASSES, SIDE = 4, 8


def arrays(train: int = 40, test: int = 20, side: int = SIDE, classes: int = CLASSES) -> Arrays:
    """A small dataset with the MedMNIST keys; every class is in both splits."""
    rng = np.random.default_rng(0)
    made: Arrays = {}
    for part, n in (("train", train), ("test", test)):
        made[f"{part}_images"] = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
        made[f"{part}_labels"] = (np.arange(n) % classes).astype(np.uint8)
    return made


def npz(folder: Path, changed: Arrays | None = None, name: str = "in.npz", **base: int) -> Path:
    """The small dataset as a file, with some keys changed or (None) left out."""
    content = {**arrays(**base), **(changed or {})}
    path = folder / name
    with path.open("wb") as file:
        np.savez(file, **{key: value for key, value in content.items() if value is not None})
    return path


def pictures(folder: Path, sizes: tuple[int, int] = (SIDE, SIDE), mode: str = "RGB") -> Path:
    """The small dataset as a folder of class folders of PNG files."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 6), ("test", 3)):
        for name in ("cat", "ant", "bee"):
            (folder / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 256, (*sizes[::-1], 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(folder / part / name / f"{i}.png")
    return folder


def refused(action: Callable[[], object]) -> str:
    """The line of the UserError that `action` must raise."""
    with pytest.raises(UserError) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    return line


def same(a: Dataset, b: Dataset) -> bool:
    return a.splits.keys() == b.splits.keys() and all(
        np.array_equal(a.splits[part].images, b.splits[part].images)
        and np.array_equal(a.splits[part].labels, b.splits[part].labels)
        for part in a.splits
    )


@pytest.fixture
def lrbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command: arguments -> exit status, stdout, stderr."""
    return caller(monkeypatch, capsys)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


# --- the canonical file ---------------------------------------------------------------------------------


def test_import_and_load_agree(tmp_path: Path, root: Path) -> None:
    made = import_dataset("mine", npz(tmp_path), root)
    loaded = datasets.load("mine", root)
    assert made == loaded.info == datasets.info("mine", root)
    assert made.counts == {"train": 40, "test": 20} and made.side == SIDE
    assert made.classes == ("0", "1", "2", "3")
    train = loaded.splits["train"]
    assert train.images.dtype == np.uint8 and train.images.shape == (40, SIDE, SIDE, 3)
    assert train.labels.dtype == np.int64 and train.labels.shape == (40,) and train.groups is None
    assert [path.name for path in root.iterdir()] == ["mine.npz"]


def test_order_and_fingerprint_do_not_depend_on_the_order_of_the_source(tmp_path: Path, root: Path) -> None:
    content, rng = arrays(), np.random.default_rng(1)
    content["train_source"] = np.arange(40) // 2
    shuffled = dict(content)
    for part, n in (("train", 40), ("test", 20)):
        order = rng.permutation(n)
        for key in (k for k in content if k.startswith(part)):
            shuffled[key] = content[key][order]
    first = import_dataset("first", npz(tmp_path, content), root)
    second = import_dataset("second", npz(tmp_path, shuffled), root)
    assert first.fingerprint == second.fingerprint
    a, b = datasets.load("first", root), datasets.load("second", root)
    assert same(a, b)
    assert np.array_equal(a.splits["train"].groups, b.splits["train"].groups)  # type: ignore[arg-type]


def test_equal_images_of_different_groups_have_one_order(tmp_path: Path, root: Path) -> None:
    content = arrays()
    content["train_images"][[0, 4]] = content["train_images"][8]  # of one class
    content["train_source"] = np.arange(40)
    reverse = {key: value[::-1] for key, value in content.items()}
    first = import_dataset("first", npz(tmp_path, content), root)
    second = import_dataset("second", npz(tmp_path, reverse), root)
    assert first.fingerprint == second.fingerprint
    groups = [datasets.load(name, root).splits["train"].groups for name in ("first", "second")]
    assert np.array_equal(groups[0], groups[1])  # type: ignore[arg-type]


def test_fingerprint_is_the_hash_of_the_sorted_hashes(tmp_path: Path, root: Path) -> None:
    content = {**arrays(), "train_source": np.arange(40) % 7}
    found = import_dataset("mine", npz(tmp_path, content), root).fingerprint
    rows = sorted(
        (hashlib.sha256(image.tobytes() + bytes([label])).digest(), int(group))
        for image, label, group in zip(
            content["train_images"], content["train_labels"], content["train_source"], strict=True
        )
    )
    assert found["train"] == hashlib.sha256(b"".join(digest for digest, _ in rows)).hexdigest()
    grouped = b"".join(digest + group.to_bytes(8, "little", signed=True) for digest, group in rows)
    assert found["groups"] == hashlib.sha256(grouped).hexdigest()
    assert set(found) == {"train", "test", "groups"}


def test_a_label_is_two_bytes_where_one_is_not_enough(tmp_path: Path, root: Path) -> None:
    content = arrays(train=300, test=300, side=4, classes=300)
    content["train_labels"] = content["test_labels"] = np.arange(300)
    found = import_dataset("many", npz(tmp_path, content), root)
    rows = sorted(
        hashlib.sha256(image.tobytes() + label.to_bytes(2, "little")).digest()
        for label, image in enumerate(content["train_images"])
    )
    assert found.fingerprint["train"] == hashlib.sha256(b"".join(rows)).hexdigest()
    assert datasets.load("many", root).splits["train"].labels.max() == 299


def test_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRBENCH_DATA", str(tmp_path / "named"))
    assert datasets.data_root(tmp_path) == tmp_path
    assert datasets.data_root(None) == tmp_path / "named"
    monkeypatch.delenv("LRBENCH_DATA")
    assert datasets.data_root(None).parts[-2:] == ("lrbench", "data")


def test_a_tilde_is_the_home_folder_wherever_a_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lrbench: Any
) -> None:
    """In the variables too, and behind an =, where a shell leaves it; nowhere a folder of that name is made."""
    home, here = tmp_path / "home", tmp_path / "here"
    (home / "data").mkdir(parents=True)
    here.mkdir()
    npz(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    assert lrbench("data", "import", "mine", "~/in.npz", "--data=~/data")[0] == 0
    monkeypatch.setenv("LRBENCH_DATA", "~/data")
    assert "mine: 40 train" in lrbench("datasets")[1] and datasets.data_root(None) == datasets.data_root(Path("~/data"))
    train = ["--method=lr-baseline", "--dataset=mine", "--scale=2", "--width=0.125", "--recipe=~/own.toml"]
    (home / "own.toml").write_text("epochs = 1\nbatch_size = 8\n")
    assert lrbench("run", *train, "--device=cpu", "--threads=1", "--results=~/runs")[0] == 0
    monkeypatch.setenv("LRBENCH_RESULTS", "~/runs")
    assert lrbench("table", "leaderboard", "--out=~/made.csv")[0] == 0
    assert "lr-baseline" in (home / "made.csv").read_text()
    monkeypatch.setenv("LRBENCH_RESULTS", "~/other")
    monkeypatch.setenv("LRBENCH_BASELINES", "~/runs")
    assert "LR-baseline" in lrbench("table", "leaderboard")[1] and "LR-baseline" in str(api.leaderboard("~/other"))
    assert not list(here.iterdir())
    for words in (("datasets", "--data=~nobody-of-this-name/data"), ("table", "1", "--results=~nobody-of-this-name")):
        status, out, err = lrbench(*words)
        assert (status, out, err.count("\n")) == (2, "", 1) and "no home folder is known" in err


NOBODY = """
import os
os.getuid = os.geteuid = lambda: 4242
from lrbench.cli import main
main()
"""


@pytest.mark.slow
def test_without_a_home_folder_there_is_no_traceback(tmp_path: Path) -> None:
    """Of a user whom the machine does not know either, as in a container."""
    gone = {"HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LRBENCH_DATA", "MPLCONFIGDIR"}
    env = {name: value for name, value in os.environ.items() if name not in gone} | {"TMPDIR": str(tmp_path)}

    def call(line: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", NOBODY, *line.split()]
        return subprocess.run(command, env=env, text=True, capture_output=True, cwd=tmp_path)

    train = "--method lr-baseline --dataset digits --scale 2 --width 0.125 --recipe quick --epochs 1 --device cpu"
    for line in (f"run {train} --limit-train 300", "datasets", "plot curves", "report"):
        done = call(line)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert f"not in {tmp_path}/lrbench-4242/data" in call("datasets").stdout
    done = call("datasets --data=~/data")
    assert done.returncode == 2 and "write the path in full, or set HOME" in done.stderr
    assert not (tmp_path / "~").exists()


def test_available(tmp_path: Path, root: Path) -> None:
    assert list(datasets.available(root)) == ["cifar10", "cifar100", "svhn", "digits"]
    import_dataset("mine", npz(tmp_path), root)
    (root / "broken.npz").write_bytes((root / "mine.npz").read_bytes()[:-100])
    (root / ".tmp-left.npz").write_bytes(b"")
    found = datasets.available(root)
    assert list(found) == ["cifar10", "cifar100", "svhn", "digits", "broken", "mine"]
    assert isinstance(found["mine"], DatasetInfo) and isinstance(found["digits"], DatasetInfo)
    assert isinstance(found["svhn"], UserError) and "lrbench data fetch svhn" in str(found["svhn"])
    assert isinstance(found["broken"], UserError) and "damaged" in str(found["broken"])


@pytest.mark.parametrize("read", [datasets.info, datasets.load])
def test_a_name_that_is_not_there(read: Callable[[str, Path], object], tmp_path: Path, root: Path) -> None:
    import_dataset("mine", npz(tmp_path), root)
    assert refused(lambda: read("cifr10", root)) == "no dataset 'cifr10'; did you mean 'cifar10'?"
    assert "did you mean 'mine'?" in refused(lambda: read("mime", root))
    assert "no dataset '../in'" in refused(lambda: read("../in", root))
    assert refused(lambda: read("cifar10", root)) == (
        f"cifar10 is not in {root}; run 'lrbench data fetch cifar10', or 'lrbench data import cifar10 PATH.npz'"
    )


def test_digits_need_no_file(root: Path) -> None:
    digits = datasets.load("digits", root)
    assert digits.info == datasets.info("digits", root)
    assert digits.info.counts == {"train": 1297, "test": 500} and digits.info.side == 8
    train, test = digits.splits["train"], digits.splits["test"]
    assert train.images.shape == (1297, 8, 8, 3) and train.images.dtype == np.uint8
    assert train.images.min() == 0 and train.images.max() == 255
    assert (train.images[..., 0] == train.images[..., 2]).all()
    assert set(np.bincount(test.labels)) <= set(range(48, 53))
    assert same(digits, datasets.load("digits", root))
    # The same on every machine: scores on digits can be compared.
    assert digits.info.fingerprint["train"].startswith("de3dd595720a1eb4")
    assert digits.info.fingerprint["test"].startswith("f05ace08af5aacd4")
    assert not root.exists()


def test_nothing_here_waits_for_torch() -> None:
    code = "import sys; from lrbench.data import datasets, importing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- files that are not what they should be -------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_a_truncated_file(keep: float, tmp_path: Path, root: Path) -> None:
    import_dataset("mine", npz(tmp_path), root)
    path = root / "mine.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    for read in (datasets.info, datasets.load):
        line = refused(partial(read, "mine", root))
        assert str(path) in line and "'lrbench data import mine PATH.npz'" in line and "fetch" not in line


def test_a_flipped_bit(tmp_path: Path, root: Path) -> None:
    import_dataset("mine", npz(tmp_path), root)
    path, good = root / "mine.npz", datasets.load("mine", root)
    whole = path.read_bytes()
    caught = 0
    for place in np.linspace(0, len(whole) - 1, 300).astype(int):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(place) % 8
        path.write_bytes(flipped)
        try:  # a flip in what the archive does not use changes nothing; any other must be noticed
            assert same(datasets.load("mine", root), good)
        except UserError as error:
            assert "damaged" in str(error)
            caught += 1
    assert caught > 250


def test_groups_are_not_lost_with_their_name(tmp_path: Path, root: Path) -> None:
    import_dataset("mine", npz(tmp_path, {"train_source": np.arange(40)}), root)
    path = root / "mine.npz"
    path.write_bytes(path.read_bytes().replace(b"train_groups", b"train_grouqs"))
    assert "a file that lrbench did not write" in refused(lambda: datasets.load("mine", root))


def link(path: Path, place: Path) -> None:
    place.symlink_to(path)


@pytest.mark.parametrize("place", [None, link, lambda path, place: place.hardlink_to(path)], ids=["it", "link", "hard"])
@pytest.mark.parametrize("command", ["import", "import another", "fetch"])
def test_a_file_of_the_users_own_is_never_replaced(
    place: Callable[[Path, Path], None] | None, command: str, tmp_path: Path, root: Path, lrbench: Any
) -> None:
    """Not by an import of itself or of another, nor by fetching; and the command that the line gives works."""
    root.mkdir()
    path = npz(tmp_path if place else root, {"mine": np.arange(3), "meta": np.array("notes")}, name="svhn-mine.npz")
    name = "svhn" if command == "fetch" else "svhn-mine"
    target = root / f"{name}.npz"
    if place:
        place(path, target)
    else:
        path = path.rename(target)
    before = path.read_bytes()
    source = npz(tmp_path) if command == "import another" else target
    args = ["fetch", name] if command == "fetch" else ["import", name, source]
    for call in (["data", *args], ["run", "--method=lr-baseline", "--dataset", name]):
        status, out, err = lrbench(*call, "--data", root)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"{target} is a file that lrbench did not write" in err and "move it to another folder" in err
    assert path.read_bytes() == before and [one.name for one in root.iterdir()] == [target.name]
    if command == "import":
        way = shlex.split(err.partition("another one: ")[2])
        assert lrbench(*way[1:])[0] == 0
        assert datasets.info(name, root / "datasets").counts == {"train": 40, "test": 20}
        assert path.read_bytes() == before


def a_renamed_array(folder: Path) -> bytes:
    np.save(folder / "array.npy", np.arange(9))
    return (folder / "array.npy").read_bytes()


@pytest.mark.parametrize("content", [lambda folder: b"notes of my own\n", a_renamed_array], ids=["text", "array"])
def test_what_never_was_an_archive_is_the_users_own(
    content: Callable[[Path], bytes], tmp_path: Path, root: Path, lrbench: Any
) -> None:
    root.mkdir()
    path, before = root / "mine.npz", content(tmp_path)
    path.write_bytes(before)
    for call in (["data", "import", "mine", npz(tmp_path)], ["run", "--method=lr-baseline", "--dataset=mine"]):
        status, out, err = lrbench(*call, "--data", root)
        assert (status, out, err.count("\n")) == (2, "", 1) and f"{path} is a file that lrbench did not write" in err
    assert path.read_bytes() == before and [*root.iterdir()] == [path]


def test_what_is_no_file_is_left_as_it_is(tmp_path: Path, root: Path) -> None:
    root.mkdir()
    (root / "gone.npz").symlink_to(tmp_path / "unmounted.npz")
    (root / "folder.npz").mkdir()
    for name in ("gone", "folder"):
        for action in (lambda: import_dataset(name, npz(tmp_path), root), lambda: datasets.info(name, root)):  # noqa: B023
            assert f"{name}.npz is no file, or a link to one that is not there" in refused(action)
    assert os.readlink(root / "gone.npz") == str(tmp_path / "unmounted.npz")


def test_what_cannot_be_read_is_set_aside_and_not_lost(tmp_path: Path, root: Path, lrbench: Any) -> None:
    """What is damaged, and a dataset that was renamed by hand."""
    import_dataset("mine", npz(tmp_path), root)
    (root / "mine.npz").rename(root / "theirs.npz")
    (root / "cut.npz").write_bytes((root / "theirs.npz").read_bytes()[:-100])
    for name in ("cut", "theirs"):
        before = (root / f"{name}.npz").read_bytes()
        status, _, err = lrbench("data", "import", name, npz(tmp_path), "--data", root)
        assert status == 0 and f"is set aside as .damaged-{name}.npz-1" in err
        assert (root / f".damaged-{name}.npz-1").read_bytes() == before
        assert datasets.info(name, root).name == name
    assert lrbench("data", "import", "cut", npz(tmp_path, test=24), "--data", root)[::2] == (0, "")
    assert datasets.info("cut", root).counts["test"] == 24  # what lrbench wrote is replaced
    assert len([*root.iterdir()]) == 4


THEIRS = np.array(json.dumps({"name": "mine", "format": 1, "author": "me"}))


@pytest.mark.parametrize(
    "add",
    [
        {"mine": np.zeros(3)},
        {"meta": np.array([{}], dtype=object)},
        {"meta": np.zeros(3)},
        {"meta": THEIRS},
        {"meta": np.array("[1, 2]")},
    ],
)
def test_a_file_that_lrbench_did_not_write(add: Arrays, tmp_path: Path, root: Path) -> None:
    import_dataset("mine", npz(tmp_path), root)
    with np.load(root / "mine.npz") as written:
        content = {**written, **add}
    np.savez(root / "mine.npz", **content)
    assert "a file that lrbench did not write" in refused(lambda: import_dataset("mine", npz(tmp_path), root))
    if "meta" in add:
        assert "a file that lrbench did not write" in refused(lambda: datasets.info("mine", root))


def test_a_renamed_file_does_not_pass_for_another(tmp_path: Path, root: Path) -> None:
    import_dataset("mine", npz(tmp_path), root)
    (root / "mine.npz").rename(root / "cifar10.npz")
    line = refused(lambda: datasets.info("cifar10", root))
    assert "cifar10.npz" in line and "'lrbench data fetch cifar10'" in line


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):  # the machine's fault, not the user's: the command line exits with 1
        import_dataset("mine", npz(tmp_path), tmp_path / "file" / "root")


# --- the machine's faults, which are not the file's ---------------------------------------------------------

UNREADABLE = Path("/proc/self/mem")  # a file whose first byte cannot be read: EIO, as of a broken disk


def _listed(path: Path, root: Path) -> None:
    datasets.info("mine", root)


def _replaced(path: Path, root: Path) -> None:
    import_dataset("mine", npz(path.parent, name="good.npz"), root)


def _imported(path: Path, root: Path) -> None:
    import_dataset("other", path, root)


def _picture(path: Path, root: Path) -> None:
    folder = pictures(path.parent / "pictures")
    (folder / "test" / "bee" / "7.png").symlink_to(path)
    import_dataset("other", folder, root)


@pytest.mark.parametrize("action", [_listed, _replaced, _imported, _picture])
def test_a_file_that_the_disk_does_not_give_is_not_called_damaged(
    action: Callable[[Path, Path], None], tmp_path: Path, root: Path, lrbench: Any
) -> None:
    root.mkdir()
    (tmp_path / "in.npz").symlink_to(UNREADABLE)
    (root / "mine.npz").symlink_to(UNREADABLE)
    with pytest.raises(OSError, match="Input/output error") as caught:
        action(tmp_path / "in.npz", root)
    assert str(caught.value.filename).startswith(str(tmp_path))
    assert [path.name for path in root.iterdir()] == ["mine.npz"]
    status, out, err = lrbench("datasets", "--data", root)  # the others are listed
    assert (status, err) == (0, "") and f"mine: cannot read {root / 'mine.npz'}: Input/output error" in out


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "x"), zlib.error("Error -4 while decompressing data")])
@pytest.mark.parametrize("action", [_listed, _replaced, _imported, _picture])
def test_a_file_for_which_memory_is_too_small_is_not_called_damaged(
    action: Callable[[Path, Path], None],
    error: Exception,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    lrbench: Any,
) -> None:
    import_dataset("mine", npz(tmp_path), root)
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "7.png")
    before = (root / "mine.npz").read_bytes()

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(np, "load", fails)
    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(MemoryError):
        action(tmp_path / ("7.png" if action is _picture else "in.npz"), root)
    assert (root / "mine.npz").read_bytes() == before and len([*root.iterdir()]) == 1
    status, out, err = lrbench("datasets", "--data", root)
    assert (status, err) == (0, "") and "mine: out of memory\n" in out and "digits: 1,297" in out


def test_an_import_that_hides_that_memory_is_too_small(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, lrbench: Any
) -> None:
    def hides(*_: object, **__: object) -> None:
        try:
            raise MemoryError
        finally:
            raise ValueError("I/O operation on closed file")  # as zipfile does when it closes what it could not write

    path = npz(tmp_path)
    monkeypatch.setattr(np, "savez", hides)
    assert lrbench("data", "import", "mine", path, "--data", root) == (1, "", "lrbench: out of memory\n")


@pytest.mark.slow
def test_an_import_for_which_memory_is_too_small_says_so(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "large.npz"
    content = arrays(train=60_000, test=4, side=64)
    content["train_images"][:] = 0
    np.savez_compressed(path, **content)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1_200 << 20, 1_200 << 20))

    env = {"OPENBLAS_NUM_THREADS": "1"}
    done = process("data", "import", "large", str(path), "--data", str(root), env=env, preexec_fn=limit)
    assert done.returncode == 1 and "out of memory" in done.stderr and done.stderr.count("\n") == 1


# --- import ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_grey_images_become_rgb(shape: tuple[int, ...], tmp_path: Path, root: Path) -> None:
    content = arrays(side=28)
    for part in ("train", "test"):
        content[f"{part}_images"] = content[f"{part}_images"][..., 0].reshape(-1, *shape)
        content[f"{part}_labels"] = content[f"{part}_labels"][:, None]
    made = import_dataset("grey", npz(tmp_path, content), root)
    repeated = {key: np.repeat(content[key].reshape(-1, 28, 28, 1), 3, 3) for key in ("train_images", "test_images")}
    assert made.side == 28
    assert made.fingerprint == import_dataset("rgb", npz(tmp_path, {**content, **repeated}), root).fingerprint


def test_optional_keys(tmp_path: Path, root: Path) -> None:
    more = {
        "val_images": np.zeros((2, SIDE, SIDE, 3), np.uint8),
        "val_labels": np.array([3, 0]),
        "class_names": np.array(["a", "b", "c", "d"]),
        "train_source": np.stack([np.arange(40) // 4, np.arange(40)], 1).astype(np.int32),
        "test_source": np.zeros((20, 2)),
    }
    made = import_dataset("mine", npz(tmp_path, more), root)
    assert made.counts == {"train": 40, "val": 2, "test": 20} and made.classes == ("a", "b", "c", "d")
    loaded = datasets.load("mine", root)
    groups = loaded.splits["train"].groups
    assert groups is not None and groups.dtype == np.int64
    assert np.array_equal(np.bincount(groups), [4] * 10)
    assert loaded.splits["test"].groups is None


U8, ONE = np.uint8, np.zeros((40, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train_labels": None, "test_images": None}, ["has no train_labels, test_images"]),
        ({"val_images": ONE}, ["has no val_labels"]),
        ({"train_images": ONE.astype(float)}, ["train_images", "float64", "uint8"]),
        ({"train_images": np.full((40, SIDE, SIDE, 3), np.nan)}, ["float64", "uint8"]),
        ({"train_images": ONE.astype(np.int16)}, ["int16", "uint8"]),
        ({"train_images": np.zeros((40, 8, 9, 3), U8)}, ["8x9", "not square"]),
        ({"train_images": np.zeros((40, 3, 8, 8), U8)}, ["40x3x8x8", "(n, S, S, 3)"]),
        ({"train_images": np.zeros((40, 64), U8)}, ["40x64", "(n, S, S, 3)"]),
        ({"test_images": np.zeros((20, 9, 9, 3), U8)}, ["the test images are 9x9", "8x8"]),
        ({"test_images": np.zeros((0, 8, 8, 3), U8)}, ["test_images", "empty"]),
        ({"train_labels": np.zeros(39, U8)}, ["train_labels", "39 for 40 images"]),
        ({"train_labels": np.zeros((40, 14), U8)}, ["14 labels per image", "multi-label"]),
        ({"train_labels": np.zeros((40, 1, 1), U8)}, ["(40, 1, 1)"]),
        ({"train_labels": np.zeros(40)}, ["train_labels", "float64", "integers"]),
        ({"train_labels": np.arange(40) % 4 + 1}, ["4 classes", "from 1 to 4", "renumber them 0 to 3"]),
        ({"train_labels": np.arange(40) % 4 - 1}, ["from -1 to 2", "renumber them 0 to 3"]),
        ({"train_labels": np.arange(40) % 2 * 9}, ["2 classes", "from 0 to 9", "renumber them 0 to 1"]),
        ({"train_labels": np.zeros(40, U8)}, ["number of classes is 1"]),
        ({"train_labels": np.full(40, 2**63, np.uint64)}, ["renumber"]),
        ({"test_labels": np.full(20, 4)}, ["test labels run from 4 to 4", "0 to 3"]),
        ({"test_labels": np.full(20, -1)}, ["test labels run from -1 to -1"]),
        ({"classes": np.array(list("abc"))}, ["train labels run from 0 to 3", "0 to 2"]),
        ({"classes": np.array(list("abcde"))}, ["class 'e' has no training image"]),
        ({"classes": np.array(list("abca"))}, ["names a class twice"]),
        ({"classes": np.arange(4)}, ["classes in", "strings"]),
        ({"classes": np.array(["a", "b", "c", None], dtype=object)}, ["classes in", "Python objects"]),
        ({"train_images": np.array([{}] * 40, dtype=object)}, ["train_images in", "Python objects"]),
        ({"train_source": np.arange(39)}, ["train_source", "39 for 40 images"]),
        ({"train_source": np.zeros((40, 0), int)}, ["train_source", "(40, 0)"]),
        ({"train_source": np.zeros(40)}, ["train_source", "float64"]),
    ],
)
def test_an_npz_that_is_refused(changed: Arrays, words: list[str], tmp_path: Path, root: Path) -> None:
    path = npz(tmp_path, changed)
    line = refused(lambda: import_dataset("mine", path, root))
    assert not [word for word in words if word not in line], line
    assert not root.exists()


@pytest.mark.parametrize("place", ["itself", "another folder", "another name"])
def test_a_file_that_lrbench_wrote_is_imported_as_what_it_is(place: str, tmp_path: Path, root: Path) -> None:
    """With the names of its classes and the groups of its images, without which the fingerprint is another."""
    more = {
        "train_source": np.arange(40) // 3,
        "classes": np.array(["ant", "bee", "cow", "dog"]),
        "val_images": np.zeros((2, SIDE, SIDE, 3), np.uint8),
        "val_labels": np.array([3, 0]),
    }
    made = import_dataset("mine", npz(tmp_path, more), root)
    before = datasets.load("mine", root)
    name, to = "other" if place == "another name" else "mine", root if place == "itself" else tmp_path / "to"
    again = import_dataset(name, root / "mine.npz", to)
    assert again == replace(made, name=name, source="imported from mine.npz")
    loaded = datasets.load(name, to)
    assert same(loaded, before) and loaded.info.fingerprint == made.fingerprint and "groups" in made.fingerprint
    assert np.array_equal(loaded.splits["train"].groups, before.splits["train"].groups)  # type: ignore[arg-type]


def test_a_file_of_another_version_of_lrbench_is_not_read_for_less_than_it_is(tmp_path: Path, root: Path) -> None:
    import_dataset("mine", npz(tmp_path, {"classes": np.array(list("abcd"))}), root)
    with np.load(root / "mine.npz") as written:
        content = dict(written)
    meta = json.loads(str(content["meta"]))
    np.savez(tmp_path / "later.npz", **content | {"meta": np.array(json.dumps(meta | {"format": 99}))})
    line = refused(lambda: import_dataset("other", tmp_path / "later.npz", root))
    assert "later.npz is damaged, or of another version of lrbench" in line


def test_images_of_three_pixels(tmp_path: Path, root: Path) -> None:
    assert "3 pixels wide; 4 is the least" in refused(lambda: import_dataset("tiny", npz(tmp_path, side=3), root))
    assert import_dataset("tiny", npz(tmp_path, side=4), root).side == 4


def test_paths_that_are_refused(tmp_path: Path, root: Path) -> None:
    def line(path: Path) -> str:
        return refused(lambda: import_dataset("mine", path, root))

    assert "does not exist" in line(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("notes")
    assert "neither an .npz file nor a folder" in line(tmp_path / "notes.txt")
    os.mkfifo(tmp_path / "pipe.npz")
    assert "neither an .npz file nor a folder" in line(tmp_path / "pipe.npz")
    (tmp_path / "page.npz").write_text("<html>")
    assert "not a whole .npz" in line(tmp_path / "page.npz")
    whole = npz(tmp_path).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-100])
    assert "not a whole .npz" in line(tmp_path / "cut.npz")
    flipped = bytearray(whole)
    flipped[2000] ^= 1
    (tmp_path / "flipped.npz").write_bytes(flipped)
    assert "flipped.npz is damaged" in line(tmp_path / "flipped.npz")
    assert not root.exists()


@pytest.mark.parametrize("name", ["", "Mine", "../mine", ".mine", "a/b", "mine\n", "-x", "é"])
def test_names_that_are_refused(name: str, tmp_path: Path, root: Path) -> None:
    with pytest.raises(UserError, match="cannot be called"):  # the name may hold a line break
        import_dataset(name, npz(tmp_path), root)
    assert not root.exists()


def test_a_refused_import_leaves_what_was_there(tmp_path: Path, root: Path) -> None:
    before = import_dataset("mine", npz(tmp_path), root)
    refused(lambda: import_dataset("mine", npz(tmp_path, {"test_labels": None}), root))
    assert datasets.load("mine", root).info == before


def test_a_folder_of_pictures(tmp_path: Path, root: Path) -> None:
    folder = pictures(tmp_path / "in")
    (folder / "README").write_text("beside the splits")
    (folder / "train" / "ant" / ".DS_Store").write_text("")
    warned: list[str] = []
    made = import_dataset("mine", folder, root, warned.append)
    assert warned == [f"left out of {folder}: README, train/ant/.DS_Store"]
    assert made.classes == ("ant", "bee", "cat") and made.counts == {"train": 18, "test": 9}
    train = datasets.load("mine", root).splits["train"]
    pixels = np.asarray(Image.open(folder / "train" / "cat" / "3.png"))
    assert train.labels[(train.images == pixels).all(axis=(1, 2, 3))].tolist() == [2]


def test_a_folder_with_validation_images_and_grey_ones(tmp_path: Path, root: Path) -> None:
    folder = pictures(tmp_path / "in", mode="L")
    (folder / "val" / "bee").mkdir(parents=True)
    Image.new("P", (SIDE, SIDE)).save(folder / "val" / "bee" / "x.gif")
    assert import_dataset("mine", folder, root).counts == {"train": 18, "val": 1, "test": 9}
    images = datasets.load("mine", root).splits["train"].images
    assert (images[..., 0] == images[..., 1]).all()


def _no_test(folder: Path) -> str:
    (folder / "test").rename(folder / "other")
    return "test is missing"


def _no_images(folder: Path) -> str:
    for file in (folder / "test").rglob("*.png"):
        file.unlink()
    return "test has no images"


def _empty_class(folder: Path) -> str:
    (folder / "train" / "dog").mkdir()
    return "class 'dog' has no training image"


def _new_class(folder: Path) -> str:
    (folder / "test" / "cat").rename(folder / "test" / "eel")
    return "test/eel is a class that train/ does not have"


def _one_class(folder: Path) -> str:
    for name in ("ant", "bee"):
        (folder / "train" / name).rename(folder / f"{name}-moved")
    return "at least two classes"


def _other_size(folder: Path) -> str:
    Image.new("RGB", (9, 9)).save(folder / "train" / "bee" / "7.png")
    return "train/bee/7.png is 9x9, where others are 8x8"


def _not_square(folder: Path) -> str:
    Image.new("RGB", (8, 9)).save(folder / "train" / "bee" / "7.png")
    return "train/bee/7.png is 8x9, not square"


def _other_size_in_test(folder: Path) -> str:
    for file in (folder / "test").rglob("*.png"):
        Image.new("RGB", (9, 9)).save(file)
    return "the test images are 9x9"


def _unreadable(folder: Path) -> str:
    (folder / "train" / "bee" / "7.png").write_text("<html>")
    return "train/bee/7.png cannot be read as an image"


def _cut_off(folder: Path) -> str:
    file = folder / "train" / "bee" / "3.png"
    file.write_bytes(file.read_bytes()[:-60])
    return "train/bee/3.png cannot be read as an image"


def _folder_among_images(folder: Path) -> str:
    (folder / "train" / "bee" / "more").mkdir()
    return "train/bee/more cannot be read as an image"


def _sixteen_bits(folder: Path) -> str:
    Image.fromarray(np.full((8, 8), 999, np.uint16)).save(folder / "train" / "bee" / "7.png")
    return "train/bee/7.png has more than 8 bits"


def _sixteen_bits_of_colour(folder: Path) -> str:
    size, ends = b"\0\0\0\x08" * 2, b"\x10\x02\0\0\0"  # Pillow writes none such
    rows = zlib.compress((b"\0" + bytes(range(48))) * 8)
    chunks = [(b"IHDR", size + ends), (b"IDAT", rows), (b"IEND", b"")]
    packed = [len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4) for kind, data in chunks]
    (folder / "train" / "bee" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    return "train/bee/7.png has more than 8 bits"


def _sixteen_bits_of(kind: str, words: bytes) -> Callable[[Path], str]:
    def spoil(folder: Path) -> str:
        (folder / "train" / "bee" / f"7.{kind}").write_bytes(words)
        return f"train/bee/7.{kind} has more than 8 bits"

    return spoil


def _sixteen_bits_of_sgi(folder: Path) -> str:
    Image.new("RGB", (SIDE, SIDE)).save(folder / "train" / "bee" / "7.rgb", bpc=2)
    return "train/bee/7.rgb has more than 8 bits"


def _no_split_behind_a_link(folder: Path) -> str:
    (folder / "test").rename(folder / "moved")
    (folder / "test").symlink_to("/nowhere/at/all")
    return "test is missing (a link to /nowhere/at/all, which is not there)"


def _several_frames(folder: Path) -> str:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(folder / "train" / "bee" / "7.gif", save_all=True, append_images=[second])
    return "train/bee/7.gif has 2 frames"


def _link(place: str) -> Callable[[Path], str]:
    def spoil(folder: Path) -> str:
        (folder / place).symlink_to("/nowhere/at/all")
        return f"{place} {WORDS[place.count('/')]} (a link to /nowhere/at/all, which is not there)"

    return spoil


WORDS = ["is no split", "is no class folder", "cannot be read as an image"]


def _beside_the_classes(folder: Path) -> str:
    Image.new("RGB", (8, 8)).save(folder / "train" / "dog.png")
    return "train/dog.png is no class folder"


def _misnamed_split(folder: Path) -> str:
    (folder / "valid" / "ant").mkdir(parents=True)
    return "valid is no split: the folder has train, test and, if need be, val"


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "train" / "bee" / "7.png")
    return "train/bee/7.png cannot be read as an image"


FOLDER_FAULTS = [
    _sixteen_bits_of("ppm", b"P6 8 8 65535\n" + bytes(range(192)) * 2),
    _sixteen_bits_of("ppm", b"P6 8 8 1023\n" + b"\x01\xff" * 192),
    _sixteen_bits_of("ppm", b"P3 8 8 65535\n" + b"999 " * 192),
    _sixteen_bits_of_sgi, _no_split_behind_a_link,
    _sixteen_bits_of_colour, _several_frames, _link("val"), _link("train/dog"), _link("test/dog"),
    _link("train/bee/7.png"), _beside_the_classes, _misnamed_split, _pipe,
    _no_test, _no_images, _empty_class, _new_class, _one_class, _other_size, _not_square, _other_size_in_test,
    _unreadable, _cut_off, _folder_among_images, _sixteen_bits,
]  # fmt: skip


@pytest.mark.parametrize("spoil", FOLDER_FAULTS)
def test_a_folder_that_is_refused(spoil: Callable[[Path], str], tmp_path: Path, root: Path) -> None:
    folder = pictures(tmp_path / "in")
    words = spoil(folder)
    assert words in refused(lambda: import_dataset("mine", folder, root))
    assert not root.exists()


def test_photos_are_turned_as_their_camera_says(tmp_path: Path, root: Path) -> None:
    """Whatever the format, and though the orientation is all that tells them apart."""
    folder = pictures(tmp_path / "in")
    upright = np.zeros((SIDE, SIDE, 3), np.uint8)
    upright[:2], upright[:, :2] = 255, 90
    stored = np.rot90(upright)  # to be turned by 90 degrees clockwise
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    names = ["7.png", "7.tif", "7.webp"]
    for name in names:
        options = {"lossless": True} if name == "7.webp" else {}
        Image.fromarray(stored).save(folder / "train" / "ant" / name, exif=exif, **options)
    import_dataset("mine", folder, root)
    images = datasets.load("mine", root).splits["train"].images
    assert (images == upright).all(axis=(1, 2, 3)).sum() == len(names)
    assert not (images == stored).all(axis=(1, 2, 3)).any()


def test_names_that_are_no_text_are_made_printable(tmp_path: Path, root: Path, lrbench: Any) -> None:
    """Of the folder, of classes, and of what an older version has written; no file in the data root breaks the list."""
    folder = pictures(tmp_path / os.fsdecode(b"caf\xe9"))
    for part in ("train", "test"):
        for name, other in (("ant", os.fsdecode(b"\xe9")), ("bee", "b\ne"), ("cat", os.fsdecode(b"\xe8"))):
            (folder / part / name).rename(folder / part / other)
    made = import_dataset("mine", folder, root)
    assert made.classes == ("b\\ne", "\\udce8", "\\udce9") and made.source == "imported from caf\\udce9"
    with np.load(root / "mine.npz") as archive:
        content = {**archive}
    meta = json.loads(str(content["meta"])) | {"classes": ["\udce9", "b\ne", "c"], "source": "imported from caf\udce9"}
    for name, change in (("old", {}), ("odd", {"source": 3}), ("odder", {"classes": None})):
        np.savez(root / f"{name}.npz", **content | {"meta": np.array(json.dumps(meta | {"name": name} | change))})
    (root / os.fsdecode(b"bad\xe9.npz")).write_text("")
    status, out, err = lrbench("datasets", "--data", root)
    lines = {line.partition(":")[0]: line for line in out.splitlines()}
    assert (status, err, len(lines)) == (0, "", 8)
    assert all(line.isprintable() for line in lines.values()), lines
    assert "imported from caf\\udce9" in lines["mine"] and "imported from caf\\udce9" in lines["old"]
    assert "make it again" in lines["odd"] and "make it again" in lines["odder"]


def see_through(mode: str, alpha: int) -> Image.Image:
    """A picture with a pixel of this alpha; all others are opaque."""
    image = Image.new("RGBA", (SIDE, SIDE), (200, 100, 0, 255))
    image.putpixel((3, 4), (200, 100, 0, alpha))
    if mode in ("P", "RGB"):
        image = Image.new(mode, (SIDE, SIDE), 1 if mode == "P" else (200, 100, 0))
        if alpha < 255:
            image.putpixel((3, 4), 0 if mode == "P" else (1, 2, 3))
        image.info["transparency"] = 0 if mode == "P" else (1, 2, 3)
    return image.convert(mode)


@pytest.mark.parametrize("kind", ["RGBA png", "LA png", "PA tif", "P gif", "P png", "RGB png"])
def test_a_picture_with_a_pixel_that_is_not_opaque_is_refused(kind: str, tmp_path: Path, root: Path) -> None:
    folder, (mode, suffix) = pictures(tmp_path / "in"), kind.split()
    file = folder / "test" / "ant" / f"7.{suffix}"
    see_through(mode, 254).save(file)
    assert f"{file} has transparent pixels" in refused(lambda: import_dataset("mine", folder, root))
    see_through(mode, 255).save(file)  # an alpha channel of no use
    made = import_dataset("mine", folder, root)
    with Image.open(file) as image:
        plain = Image.fromarray(np.asarray(image.convert("RGBA"))[..., :3])
    file.unlink()
    plain.save(file.with_suffix(".png"))
    assert import_dataset("mine", folder, root).fingerprint == made.fingerprint and made.counts["test"] == 10


def test_pictures_of_other_colours_and_the_second_picture_of_a_camera(tmp_path: Path, root: Path) -> None:
    folder = pictures(tmp_path / "in")
    Image.new("CMYK", (SIDE, SIDE)).save(folder / "test" / "ant" / "7.jpg")
    photo, preview = Image.new("RGB", (SIDE, SIDE)), Image.new("RGB", (2, 2))
    photo.save(folder / "test" / "ant" / "8.jpg", "MPO", save_all=True, append_images=[preview])
    assert import_dataset("mine", folder, root).counts == {"train": 18, "test": 11}


# --- known names ----------------------------------------------------------------------------------------


def test_known_classes() -> None:
    assert [len(known.classes) for known in KNOWN.values()] == [10, 100, 10]
    assert len(set(KNOWN["cifar100"].classes)) == 100
    assert list(KNOWN["cifar100"].classes) == sorted(KNOWN["cifar100"].classes)


def whole(name: str, side: int = 4) -> Arrays:
    """As many images as the known dataset has, all black, its classes as even as can be."""
    known = KNOWN[name]
    made: Arrays = {}
    for part, n in known.counts.items():
        made[f"{part}_images"] = np.zeros((n, side, side), np.uint8)
        made[f"{part}_labels"] = np.arange(n) % len(known.classes)
    return made


def test_a_part_of_svhn_is_not_svhn(tmp_path: Path, root: Path) -> None:
    line = refused(lambda: import_dataset("svhn", npz(tmp_path, classes=10), root))
    assert "not the whole of svhn (40 + 20 images" in line and "such as 'svhn-partial'" in line


def test_content_that_is_not_the_known_one(tmp_path: Path, root: Path) -> None:
    def line(name: str, content: Arrays) -> str:
        path = npz(tmp_path, content)
        return refused(lambda: import_dataset(name, path, root))

    assert "4x4 images in 10 classes, not 32x32 in 10" in line("svhn", whole("svhn"))
    black = whole("cifar10", side=32)
    other = "import it under another name, such as 'cifar10-other'"
    assert line("cifar10", black) == f"this is not cifar10 (its images or labels differ): {other}"
    assert not root.exists()


def test_what_else_a_known_name_refuses(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    even = {"train": (10,) * 4, "test": (5,) * 4}
    known = Known(tuple("abcd"), {"train": 40, "test": 20}, per_class=even, side=SIDE)
    monkeypatch.setitem(KNOWN, "pets", known)

    def line(changed: Arrays) -> str:
        path = npz(tmp_path, changed)
        return refused(lambda: import_dataset("pets", path, root))

    content = arrays()
    extra = {"val_images": content["test_images"], "val_labels": content["test_labels"]}
    assert "not pets (40 + 20 + 20 val images, not 40 + 20)" in line(extra)
    assert "leave train_source out" in line({"train_source": np.arange(40)})
    content["train_labels"][0] = 1
    assert "not pets (it has 9 train images of label 0, 'a', not 10)" in line(content)
    content = arrays()
    content["test_labels"][0] = 1
    assert "not pets (it has 4 test images of label 0, 'a', not 5)" in line(content)
    assert not root.exists()


def svhn(shift: int) -> Arrays:
    """As many black images of each digit as SVHN has; its labels moved up by `shift`, the last to the first."""
    made: Arrays = {}
    for part, counts in SVHN_DIGITS.items():
        made[f"{part}_images"] = np.zeros((sum(counts), 32, 32), np.uint8)
        made[f"{part}_labels"] = (np.repeat(np.arange(10), counts) + shift) % 10
    return made


SVHN_DIGITS = {
    "train": (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
    "test": (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
}


def test_svhn_with_labels_shifted_by_one_is_refused(tmp_path: Path, root: Path) -> None:
    """As SVHN's own files have them, from 1 to 10, less one: the digit 1 would be called 0."""
    line = refused(lambda: import_dataset("svhn", npz(tmp_path, svhn(shift=9)), root))
    said = "this is not svhn (it has 13,861 train images of label 0, '0', not 4,948)"
    assert line == f"{said}: import it under another name, such as 'svhn-other'"
    assert not root.exists()


@pytest.mark.slow
def test_svhn_with_the_counts_of_svhn_is_taken(tmp_path: Path, root: Path) -> None:
    """Shifted in the test set alone, it is refused; and by `load`, where an older version has imported it so."""
    right = svhn(shift=0)
    wrong = right | {"test_labels": svhn(shift=1)["test_labels"]}
    line = refused(lambda: import_dataset("svhn", npz(tmp_path, wrong), root))
    assert "it has 1,595 test images of label 0, '0', not 1,744" in line
    import_dataset("svhn", npz(tmp_path, right), root)
    assert datasets.load("svhn", root).info.counts == {"train": 73_257, "test": 26_032}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KNOWN, "svhn", replace(KNOWN["svhn"], per_class=None))
        import_dataset("svhn", npz(tmp_path, wrong), root)
    assert "make it again with 'lrbench data fetch svhn'" in refused(lambda: datasets.load("svhn", root))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_a_known_data_set_is_known_by_its_labels_too(name: str) -> None:
    known = KNOWN[name]
    assert known.fingerprint or {part: sum(n) for part, n in (known.per_class or {}).items()} == known.counts


def test_known_names_give_known_classes(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known(("cat", "dog"), {"train": 8, "test": 4}, per_class={"train": (4, 4), "test": (2, 2)}, side=SIDE)
    monkeypatch.setitem(KNOWN, "pets", known)
    base: Arrays = {"train": 8, "test": 4, "classes": 2}
    assert import_dataset("pets", npz(tmp_path, **base), root).classes == ("cat", "dog")
    assert datasets.info("pets", root).classes == ("cat", "dog")
    path = npz(tmp_path, {"classes": np.array(["dog", "cat"])}, **base)
    assert "not called cat to dog, in that order" in refused(lambda: import_dataset("pets", path, root))


def test_digits_cannot_be_imported_or_fetched(tmp_path: Path, root: Path) -> None:
    assert "cannot be imported" in refused(lambda: import_dataset("digits", npz(tmp_path), root))
    assert "nothing to fetch" in refused(lambda: fetch_dataset("digits", root))


# --- fetch ----------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An HTTP server on this machine that serves `tmp_path`/served; gives its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_name_that_cannot_be_fetched(root: Path) -> None:
    assert "did you mean 'cifar10'?" in refused(lambda: fetch_dataset("cifar-10", root))


def test_no_network(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # nothing listens there
    line = refused(lambda: fetch_dataset("cifar10", root))
    assert "could not fetch cifar10: " in line and "Connection refused" in line
    assert "'lrbench data import cifar10 PATH'" in line
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("cifar-10-python.tar.gz", b"<!DOCTYPE html><html>log in</html>", "an HTML page came instead of"),
        ("cifar-10-python.tar.gz", b"\x1f\x8b something else", "wrong checksum (17 bytes)"),
        ("else", b"", "404"),
    ],
)
def test_what_arrives_is_not_the_data(
    file: str,
    content: bytes,
    words: str,
    server: str,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torchvision.datasets import CIFAR10

    (tmp_path / "served" / file).write_bytes(content)
    monkeypatch.setattr(CIFAR10, "url", f"{server}/cifar-10-python.tar.gz")
    line = refused(lambda: fetch_dataset("cifar10", root))
    assert words in line and "lrbench data import" in line
    assert list(root.iterdir()) == []


def test_svhn_as_its_files_hold_it(server: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through torchvision with small files: axes in order, label 10 is the digit 0, a part is refused."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    content = arrays(side=32, classes=10)
    files = {}
    for part in ("train", "test"):
        labels = content[f"{part}_labels"]
        path = tmp_path / "served" / f"{part}.mat"
        images = content[f"{part}_images"].transpose(1, 2, 3, 0)
        savemat(path, {"X": images, "y": np.where(labels == 0, 10, labels)[:, None]})
        files[part] = [f"{server}/{part}.mat", f"{part}.mat", hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", files)
    assert "not the whole of svhn (40 + 20" in refused(lambda: fetch_dataset("svhn", root))
    known = Known(KNOWN["svhn"].classes, {"train": 40, "test": 20})
    monkeypatch.setitem(KNOWN, "svhn", known)
    fetched = fetch_dataset("svhn", root)
    imported = import_dataset("same", npz(tmp_path, content), root)
    assert fetched.fingerprint == imported.fingerprint and server in fetched.source
    assert same(datasets.load("svhn", root), datasets.load("same", root))
    assert sorted(path.name for path in root.iterdir()) == ["same.npz", "svhn.npz"]


def test_fetch_again_only_where_needed(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, calls = arrays(), []

    def source(kind: str, folder: Path) -> tuple[dict[str, Split], str]:
        calls.append(folder)
        labels = {part: content[f"{part}_labels"].astype(np.int64) for part in ("train", "test")}
        return {part: Split(content[f"{part}_images"], labels[part]) for part in labels}, "here"

    known = Known(tuple("abcd"), {"train": 40, "test": 20}, side=SIDE)
    monkeypatch.setitem(KNOWN, "pets", known)
    monkeypatch.setitem(importing.SOURCES, "pets", "Pets")
    monkeypatch.setattr(importing, "_torchvision", source)
    first = fetch_dataset("pets", root)
    assert fetch_dataset("pets", root) == first and len(calls) == 1
    (root / "pets.npz").write_bytes(b"")
    assert fetch_dataset("pets", root) == first and len(calls) == 2
    assert not calls[0].exists()


# --- subsets and validation splits ----------------------------------------------------------------------

LABELS = np.random.default_rng(3).choice(5, size=997, p=[0.5, 0.2, 0.15, 0.1, 0.05])


@pytest.mark.parametrize("n", [20, 100, 333, 996, 997])
def test_a_subset_keeps_the_proportions(n: int) -> None:
    chosen = subset(LABELS, n)
    assert len(chosen) == n and (np.diff(chosen) > 0).all()
    taken, counts = np.bincount(LABELS[chosen], minlength=5), np.bincount(LABELS)
    assert (np.abs(taken - n * counts / 997) < 1).all()
    for c in range(5):
        assert np.array_equal(chosen[LABELS[chosen] == c], np.flatnonzero(np.equal(LABELS, c))[: taken[c]])


@pytest.mark.parametrize(
    ("n", "of_each"),
    [(5, [1, 1, 1, 1, 1]), (6, [1, 2, 1, 1, 1]), (17, [1, 13, 1, 1, 1]), (203, [1, 190, 1, 10, 1])],
)
def test_a_class_too_rare_for_a_share_has_one_image_in_a_subset_and_keeps_it(n: int, of_each: list[int]) -> None:
    labels = np.repeat(np.arange(5), [1, 940, 2, 50, 4])
    chosen = subset(labels, n)
    assert np.bincount(labels[chosen]).tolist() == of_each and (np.diff(chosen) > 0).all()
    if n > 5:
        train, val = hold_out(labels[chosen], None)
        assert set(labels[chosen][train]) == set(range(5)) and len(val)


def test_a_run_has_the_images_that_its_spec_names(tmp_path: Path, root: Path) -> None:
    """Those of a class too rare for a share, where the run was planned after a limit kept them, and only there."""
    known = np.repeat(np.arange(4), [90, 6, 3, 1])
    images = np.random.default_rng(0).integers(0, 256, (100, SIDE, SIDE, 3), dtype=np.uint8)
    tail = npz(tmp_path, {"train_images": images, "train_labels": known})
    import_dataset("tail", tail, root)
    made = datasets.info("tail", root)
    assert (
        made.per_class == {"train": [90, 6, 3, 1], "test": [5, 5, 5, 5]} == datasets.load("tail", root).info.per_class
    )
    spec = tiny.spec(data=made, limit_train=12)
    before = spec.model_copy(update={"rare_classes": "by share"})
    found = [prepare(one, root, torch.device("cpu")).train.y for one in (spec, before)]
    assert [np.bincount(labels, minlength=4).tolist() for labels in found] == [[9, 1, 1, 1], [11, 1, 0, 0]]


def test_a_subset_of_a_long_tail_has_all_its_classes_and_keeps_their_order() -> None:
    counts = np.round(500 * 0.01 ** (np.arange(100) / 99)).astype(int)  # CIFAR-100's usual long tail: 500 to 5 images
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(100), counts))
    for n in (100, 101, 150, 500, 3000):
        taken = np.bincount(labels[subset(labels, n)], minlength=100)
        assert taken.sum() == n and taken.min() >= 1 and (np.diff(taken) <= 0).all()


@pytest.mark.parametrize(("n", "nearest"), [(0, 5), (-5, 5), (4, 5), (998, 997)])
def test_a_subset_that_cannot_be(n: int, nearest: int) -> None:
    line = refused(lambda: subset(LABELS, n))
    assert line == f"limit {n} must lie between 5, one a class, and 997; the nearest is {nearest}"


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.99])
def test_hold_out_keeps_the_proportions(fraction: float) -> None:
    train, val = hold_out(LABELS, None, fraction)
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(997))
    assert (np.diff(train) > 0).all() and (np.diff(val) > 0).all()
    assert len(val) == max(1, round(fraction * 997))
    assert len(np.unique(LABELS[train])) == 5
    assert (np.abs(np.bincount(LABELS[val], minlength=5) - len(val) * np.bincount(LABELS) / 997) <= 1).all()


def test_a_small_subset_has_no_image_of_the_validation_split() -> None:
    assert not np.intersect1d(subset(LABELS, 500), hold_out(LABELS, None)[1]).size


def test_hold_out_leaves_a_training_image_of_each_class() -> None:
    labels = np.array([0, 1, 2, 2, 3])
    train, val = hold_out(labels, None, 0.9)
    assert labels[val].tolist() == [2] and len(train) == 4


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3])
def test_hold_out_keeps_groups_together(fraction: float) -> None:
    groups = np.random.default_rng(4).integers(0, 400, len(LABELS)) * 7 - 100
    train, val = hold_out(LABELS, groups, fraction)
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(997))
    assert not np.intersect1d(groups[train], groups[val]).size
    share = np.bincount(LABELS[val], minlength=5) / np.bincount(LABELS)
    assert (np.abs(share - fraction) < 0.05).all()
    again = hold_out(LABELS, groups, fraction)
    assert np.array_equal(again[0], train) and np.array_equal(again[1], val)


def test_large_groups() -> None:
    labels = np.tile([0, 1], 50)
    train, val = hold_out(labels, np.repeat([0, 1, 2], [40, 40, 20]))
    assert len(val) == 20 and len(train) == 80
    assert "can be held out" in refused(lambda: hold_out(labels, np.zeros(100, int)))
    assert "can be held out" in refused(lambda: hold_out(labels, labels))


def test_hold_out_that_cannot_be() -> None:
    assert "too few" in refused(lambda: hold_out(np.arange(5), None))


# --- real images ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cifar10_has_its_fingerprints(real_data: Path, root: Path) -> None:
    made = import_dataset("cifar10", real_data / "cifar10.npz", root)
    assert made.fingerprint == KNOWN["cifar10"].fingerprint and made.classes[3] == "cat"
    loaded = datasets.load("cifar10", root)
    assert loaded.info == made
    assert np.array_equal(np.bincount(loaded.splits["train"].labels), [5000] * 10)
    with np.load(real_data / "cifar10.npz") as given:
        swapped = {**given, "train_labels": given["train_labels"].copy()}
    swapped["train_labels"][[0, -1]] += np.array([1, 1], np.uint8)
    swapped["train_labels"] %= 10
    path = npz(root, swapped, name="swapped.npz")
    assert "its images or labels differ" in refused(lambda: import_dataset("cifar10", path, root))
    assert datasets.info("cifar10", root) == made


def test_svhn_partial_is_not_svhn(real_data: Path, root: Path) -> None:
    given = real_data / "svhn-partial.npz"
    line = refused(lambda: import_dataset("svhn", given, root))
    assert "not the whole of svhn (4,487 + 1,952 images" in line and "'svhn-partial'" in line
    made = import_dataset("svhn-partial", given, root)
    assert "groups" in made.fingerprint and made.counts == {"train": 4487, "test": 1952}
    train = datasets.load("svhn-partial", root).splits["train"]
    assert train.groups is not None
    kept, held = hold_out(train.labels, train.groups)
    assert not np.intersect1d(train.groups[kept], train.groups[held]).size
    share = np.bincount(train.labels[held]) / np.bincount(train.labels)
    assert (np.abs(share - 0.1) < 0.03).all()
