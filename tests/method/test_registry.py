"""Plugins: other people's, broken ones, ones of the same name, and drafts that are not installed."""

from __future__ import annotations

import hashlib
import importlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.extras import BASICSR

from lrbench.data import datasets
from lrbench.errors import UserError
from lrbench.execute import session
from lrbench.execute.progress import Progress
from lrbench.execute.session import Request
from lrbench.method import registry
from lrbench.method import source as sources
from lrbench.plan.plan import Protocol, plan

METHOD = """
from lrbench.method.base import Method, Needs

class Theirs(Method):
    name = "{name}"

    def __init__(self, config, context, needs):
        super().__init__(config, context, needs)
        self.backbone = context.backbone()

    @classmethod
    def needs_of(cls, config):
        return {{"teacher": Needs("hr-baseline")}}

    def loss(self, batch):
        distance = (self.backbone.features(batch.up) - self.needs["teacher"].backbone.features(batch.hr)).abs()
        return {{"recognition": self.cross_entropy(self.backbone(batch.up), batch.y), "distance": distance.mean()}}

    def forward(self, up):
        return self.backbone(up)
"""


@pytest.fixture(autouse=True)
def without_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other tests in this process."""
    monkeypatch.setattr(registry, "_drafts", {})


class Installer:
    """Makes folders that Python takes for installed distributions."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch

    def __call__(self, distribution: str, module: str, source: str, *entries: str) -> None:
        """A distribution with one module and its lines of entry_points.txt."""
        site = self.folder / distribution
        info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text("\n".join([f"[{registry.METHODS}]", *entries, ""]))
        (site / f"{module}.py").write_text(source)
        self.monkeypatch.syspath_prepend(site)
        self.monkeypatch.delitem(sys.modules, module, raising=False)
        registry.installed.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """Installs fake distributions until the test ends, when drafts are forgotten too."""
    modules, drafts = set(sys.modules), dict(registry._drafts)
    yield Installer(tmp_path / "site", monkeypatch)
    monkeypatch.undo()
    for module in [
        name for name in sys.modules if name.startswith(("their_", "lrbench_draft_")) and name not in modules
    ]:
        del sys.modules[module]
    sources._loaded.files.clear()
    registry._drafts.clear()
    registry._drafts.update(drafts)
    registry.installed.cache_clear()


def protocol() -> Protocol:
    return Protocol(datasets.info("digits", datasets.data_root(None)), scale=2, precision="fp32", width=0.125)


def refusal(name: str) -> str:
    """The one line with which a method is refused."""
    with pytest.raises(UserError) as caught:
        registry.method(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


OURS = list(registry.methods())


def working() -> list[str]:
    """The installed methods of this repository that can be used."""
    found = []
    for name in OURS:
        with suppress(UserError):
            found.append(registry.method(name).name)
    return found


def test_somebody_elses_method_works_like_ours(install: Installer, tmp_path: Path) -> None:
    install("theirs", "their_method", METHOD.format(name="theirs"), "theirs = their_method:Theirs")
    assert registry.methods()["theirs"] == "theirs 1.2"
    spec = plan("theirs", {}, protocol())
    assert [need.method for need in spec.walk()] == ["hr-baseline", "theirs"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small = {"width": 0.125, "recipe": "quick", "epochs": 1, "limit_train": 200, "limit_test": 50}
    request = Request("theirs", "digits", tmp_path / "runs", scale=2, precision="fp32", device="cpu", **small)
    [record] = session.run(request, Progress())
    torch.set_num_threads(threads)
    assert (record.spec.method, record.spec.version) == ("theirs", "1")
    digest = hashlib.sha256(METHOD.format(name="theirs").encode()).hexdigest()
    assert record.method_source == registry.SCHEME + digest


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('first line\\nsecond line')", "RuntimeError: first line second line"),
        ("raise ValueError", "ValueError: "),
        ("import sys; sys.exit('not a module')", "SystemExit: not a module"),
        ("class Theirs(:", "SyntaxError: "),
        ("", "AttributeError: module 'their_broken' has no attribute 'Theirs'"),
        ("class Theirs: name = 'broken'", "is not a subclass of lrbench.method.base.Method"),
        ("Theirs = 'a text'", "is not a subclass of lrbench.method.base.Method"),
        ("from lrbench.method.base import Method\nclass Theirs(Method): pass", "their_broken.Theirs has no name"),
        (METHOD.format(name="other"), "their_broken.Theirs.name is 'other'; its entry point says 'broken'"),
    ],
)
def test_a_broken_plugin_is_named_and_hurts_nobody(source: str, error: str, install: Installer) -> None:
    install("theirs", "their_broken", source, "broken = their_broken:Theirs")
    assert registry.methods()["broken"] == "theirs 1.2"
    assert error in refusal("broken")
    assert working() == OURS
    assert all(plan(name, {}, protocol()) for name in OURS if BASICSR or "basicsr" not in name)


def test_two_distributions_of_one_name_are_an_error_that_names_both(install: Installer) -> None:
    install("theirs", "their_method", METHOD.format(name="theirs"), "theirs = their_method:Theirs")
    install("others", "their_other", METHOD.format(name="theirs"), "theirs = their_other:Theirs")
    line = refusal("theirs")
    assert "theirs 1.2" in line and "others 1.2" in line
    assert registry.methods()["theirs"] in line
    assert working() == OURS


def test_nobody_can_replace_one_of_our_methods(install: Installer) -> None:
    install("theirs", "their_method", METHOD.format(name=OURS[0]), f"{OURS[0]} = their_method:Theirs")
    line = refusal(OURS[0])
    assert "theirs 1.2" in line and "lrbench" in line
    assert working() == OURS[1:]


def test_one_distribution_found_twice_is_no_conflict(install: Installer) -> None:
    source, entry = METHOD.format(name="theirs"), "theirs = their_method:Theirs"
    install("theirs", "their_method", source, entry)
    install("theirs-again", "their_method", source, entry)
    assert registry.method("theirs").name == "theirs"


@pytest.mark.parametrize("name", OURS)
def test_an_unknown_name_is_answered_with_the_nearest(name: str) -> None:
    wrong = name[:-1] + "q"
    assert refusal(wrong) == f"no method '{wrong}'; did you mean '{name}'?"


def test_an_unknown_name_that_is_near_to_none_is_answered_with_many() -> None:
    line = refusal("zzzzzzzzzzzz")
    assert all(name in line for name in OURS[:20])


@pytest.fixture
def draft(install: Installer, tmp_path: Path) -> Path:
    """A file with a method that is not installed."""
    path = tmp_path / "their_draft.py"
    path.write_text(METHOD.format(name="draft"))
    return path


def test_a_draft_is_known_by_its_name(draft: Path) -> None:
    registry.add_drafts([f"{draft}:Theirs"])
    cls = registry.method("draft")
    assert cls.__name__ == "Theirs"
    assert registry.methods()["draft"] == str(draft)
    assert refusal("drafd") == "no method 'drafd'; did you mean 'draft'?"


def test_an_edited_draft_is_another_run(draft: Path) -> None:
    specs = []
    for comment in ("", "# edited\n", ""):
        draft.write_text(METHOD.format(name="draft") + comment)
        registry.add_drafts([f"{draft}:Theirs"])
        specs.append(plan("draft", {}, protocol()))
        digest = hashlib.sha256(draft.read_bytes()).hexdigest()
        assert specs[-1].version == f"draft-{digest[:16]}"
        assert registry.source_hash(registry.method("draft")) == registry.SCHEME + digest
    first, edited, restored = specs
    assert first.id == restored.id != edited.id
    assert first.needs == edited.needs  # the teacher is the same


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("{folder}/missing.py:Theirs", "--plugin wants FILE.py:Class; there is no file '{folder}/missing.py'"),
        ("{folder}:Theirs", "--plugin wants FILE.py:Class; there is no file '{folder}'"),
        ("{draft}", "--plugin wants FILE.py:Class; '{draft}' names no class"),
        ("{draft}:Thers", "no class in {draft} 'Thers'; did you mean 'Theirs'?"),
        ("{draft}:", "no class in {draft} ''; choose from Method, Needs, Theirs"),
        ("{draft}:Needs", "<class 'lrbench.method.base.Needs'> is not a subclass of lrbench.method.base.Method"),
        ("{draft}:Method", "lrbench.method.base.Method has no name; give its class one, as text"),
        ("{text}:Theirs", "--plugin wants FILE.py:Class; '{text}' is not a Python file"),
        ("{syntax}:Theirs", "{syntax} does not load: SyntaxError: invalid syntax (syntax.py, line 1)"),
        ("{exits}:Theirs", "{exits} does not load: SystemExit: 3"),
    ],
)
def test_a_draft_that_cannot_be_loaded_is_refused_in_one_line(place: str, line: str, draft: Path) -> None:
    files = {"draft": draft, "folder": draft.parent}
    for name, file, source in [
        ("text", "notes.txt", "class Theirs: pass"),
        ("syntax", "syntax.py", "class Theirs(:"),
        ("exits", "exits.py", "raise SystemExit(3)"),
    ]:
        files[name] = draft.with_name(file)
        files[name].write_text(source)
    with pytest.raises(UserError) as caught:
        registry.add_drafts([place.format(**files)])
    assert str(caught.value) == line.format(**files)
    assert list(registry.methods()) == OURS


def test_a_draft_with_the_name_of_an_installed_method_is_an_error_that_names_both(draft: Path) -> None:
    draft.write_text(METHOD.format(name=OURS[0]))
    with pytest.raises(UserError, match="two plugins are called") as caught:
        registry.add_drafts([f"{draft}:Theirs"])
    assert str(draft) in str(caught.value) and "lrbench" in str(caught.value)
    assert working() == OURS


def test_a_draft_is_executed_once_until_it_is_edited(draft: Path) -> None:
    counted = draft.with_name("count.txt")
    source = f"open({str(counted)!r}, 'a').write('x')\n" + METHOD.format(name="draft")
    draft.write_text(source)
    for _ in range(3):
        registry.add_drafts([f"{draft}:Theirs"])
    assert counted.read_text() == "x"
    first = registry.method("draft")
    draft.write_text(source.replace(".mean()", ".amax()"))  # as long, and in the same second
    registry.add_drafts([f"{draft}:Theirs"])
    assert counted.read_text() == "xx" and registry.method("draft").version != first.version
    assert "amax" in registry.method("draft").loss.__code__.co_names


def test_a_draft_that_was_refused_leaves_nothing_and_may_be_corrected(draft: Path) -> None:
    modules = set(sys.modules)
    for source in ("class Theirs: pass", METHOD.replace('name = "{name}"', ""), METHOD.format(name=OURS[0])):
        draft.write_text(source)
        with pytest.raises(UserError):
            registry.add_drafts([f"{draft}:Theirs"])
        assert list(registry.methods()) == OURS and working() == OURS
    draft.write_text("raise RuntimeError")
    before = set(sys.modules)
    with pytest.raises(UserError):
        registry.add_drafts([f"{draft}:Theirs"])
    assert set(sys.modules) == before >= modules
    draft.write_text(METHOD.format(name="draft"))
    registry.add_drafts([f"{draft}:Theirs"])
    assert [need.method for need in plan("draft", {}, protocol()).walk()] == ["hr-baseline", "draft"]


def test_all_that_a_method_imports_is_part_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own package and of what is not installed; as it was when the class was loaded."""
    package, site = tmp_path / "helped", tmp_path / "site-packages"
    files = {
        package / "__init__.py": "",
        package / "named.py": "",
        package / "values.py": "import importlib\nLAM = len([importlib.import_module('helped.named')])\n",
        package / "deep" / "late.py": "from .. import values\n",
        package / "other.py": "from lrbench.method.base import Method\n\n\nclass Other(Method):\n    name = 'other'\n",
        tmp_path / "beside.py": "import installed_one\n",
        site / "installed_one.py": "",
        package / "unused.py": "",
    }
    for path, text in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    lines = [
        "import json",
        "from helped.other import Other",
        "import beside",
        "class Mine(Other):",
        "    name = 'mine'",
    ]
    lines += ["    def loss(self, batch):", "        from .deep import late"]
    (package / "mine.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(site)
    monkeypatch.syspath_prepend(tmp_path)

    def hashed() -> str:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("helped", "beside")]:
            monkeypatch.delitem(sys.modules, name)
        cls = importlib.import_module("helped.mine").Mine
        found = registry.source_hash(cls)
        (package / "mine.py").write_text("an edit\n")
        assert registry.source_hash(cls) == found is not None
        (package / "mine.py").write_text("\n".join(lines))
        return found

    before = hashed()
    for path, text in files.items():
        path.write_text(text + "# edited\n")
        counts = path.parent != site and path.name != "unused.py"
        assert (hashed() != before) == counts, path
        path.write_text(text)
    assert hashed() == before


def test_what_lies_beside_a_draft_can_be_imported_and_is_part_of_its_version(draft: Path) -> None:
    folder = draft.parent
    (folder / "their_values.py").write_text("LAM = 1\n")
    (folder / "their_parts").mkdir()
    (folder / "their_parts" / "weight.py").write_text(
        "import their_values\n\n\ndef lam():\n    return their_values.LAM\n"
    )
    draft.write_text("from their_parts import weight\n" + METHOD.format(name="draft") + "    lam = weight.lam()\n")
    seen = []
    for text in ("LAM = 1\n", "LAM = 2\n", "LAM = 1\n"):
        (folder / "their_values.py").write_text(text)  # as long, and in the same second
        registry.add_drafts([f"{draft}:Theirs"])
        cls: Any = registry.method("draft")
        seen.append((cls.lam, cls.version))
    assert [lam for lam, _ in seen] == [1, 2, 1]
    assert seen[0] == seen[2] and seen[0][1] != seen[1][1]


def test_two_drafts_may_not_mean_different_files_by_one_name(draft: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "their_other.py"
    other.parent.mkdir()
    for path, name in ((draft, "draft"), (other, "other")):
        (path.parent / "their_values.py").write_text(f"LAM = {len(name)}\n")
        path.write_text("import their_values\n" + METHOD.format(name=name))
    registry.add_drafts([f"{draft}:Theirs"])
    with pytest.raises(UserError, match=r"imports their_values from .*other/their_values.py, but .* rename one"):
        registry.add_drafts([f"{other}:Theirs"])
    (other.parent / "their_values.py").rename(other.parent / "their_own.py")
    other.write_text(other.read_text().replace("their_values", "their_own"))
    registry.add_drafts([f"{other}:Theirs"])
    assert {"draft", "other"} <= registry.methods().keys()


@pytest.mark.parametrize("way", ["the class", "its base", "a value"])
def test_another_process_runs_what_was_read(way: str, draft: Path) -> None:
    """Whatever of it lies in the file beside."""
    source = METHOD.format(name="draft") + "    lam = 1\n"
    beside, own = {
        "the class": (source, "from their_values import Theirs\n"),
        "its base": (
            source.replace("class Theirs", "class Base"),
            "from their_values import Base\nclass Theirs(Base): pass\n",
        ),
        "a value": ("LAM = 1\n", "import their_values\n" + source.replace("lam = 1", "lam = their_values.LAM")),
    }[way]
    (draft.parent / "their_values.py").write_text(beside)
    draft.write_text(own)
    registry.add_drafts([f"{draft}:Theirs"])
    cls: Any = registry.method("draft")
    read = registry.as_read()
    for path in draft.parent.glob("*.py"):
        path.unlink()
    code = (
        "import pickle, sys\nfrom lrbench.method import registry\n"
        "registry.add_drafts(pickle.load(sys.stdin.buffer))\ncls = registry.method('draft')\n"
        "print(cls.version, cls.lam, registry.source_hash(cls))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(read), capture_output=True, check=True)
    assert done.stdout.decode().split() == [cls.version, "1", registry.source_hash(cls)]


def test_a_module_that_was_imported_from_the_disk_before_is_read_anew(
    draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a notebook, say, in which it has been edited since."""
    monkeypatch.syspath_prepend(draft.parent)
    (draft.parent / "their_values.py").write_text("LAM = 1\n")
    before = importlib.import_module("their_values")
    (draft.parent / "their_values.py").write_text("LAM = 20\n")
    draft.write_text("import their_values\n" + METHOD.format(name="draft") + "    lam = their_values.LAM\n")
    registry.add_drafts([f"{draft}:Theirs"])
    cls: Any = registry.method("draft")
    assert (before.LAM, cls.lam) == (1, 20)


def test_a_draft_whose_modules_have_changed_since_it_was_added_is_forgotten(draft: Path) -> None:
    """It would import what is not of its version."""
    other = draft.with_name("their_other.py")
    for path, name in ((draft, "draft"), (other, "other")):
        path.write_text("import their_values\n" + METHOD.format(name=name) + "    lam = their_values.LAM\n")
        (draft.parent / "their_values.py").write_text(f"LAM = {len(registry.methods())}\n")
        registry.add_drafts([f"{path}:Theirs"])
    assert "other" in registry.methods() and "draft" not in registry.methods()
    registry.add_drafts([f"{draft}:Theirs"])
    one, another = (vars(registry.method(name)) for name in ("draft", "other"))
    assert one["lam"] == another["lam"]
