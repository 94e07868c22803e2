"""Suites: files to grids to specs, overrides, and the mistakes that are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers import tiny
from helpers.cli import process

from lrbench.data import datasets
from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.plan import suite
from lrbench.plan.plan import Protocol, graph
from lrbench.plan.suite import Overrides
from lrbench.report import figures, tables
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store

GRID = """
title = "Mine"
seeds = 2
tables = ["1"]

[[runs]]
method = ["lr-baseline", "dfd"]
dataset = "toys"
backbone = ["resnet18", "alexnet"]
width = 0.125
set.init = ["scratch", "teacher"]

[[runs]]
method = "lr-baseline"
dataset = "toys"
width = 0.125
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(GRID)
    return path


def specs(path: Path, notes: list[str] | None = None, **overrides: object) -> list[RunSpec]:
    def on(dataset: str) -> Protocol:
        assert dataset == "toys", "the data set was not renamed"
        return tiny.protocol(data=tiny.info(32))

    given = Overrides(**overrides)  # type: ignore[arg-type]
    return suite.specs(suite.load(str(path)), given, on, (notes if notes is not None else []).append)


def test_a_grid_is_the_product_of_its_axes_and_shared_runs_are_one(mine: Path) -> None:
    found = specs(mine)
    assert len(found) == len({spec.id for spec in found}) == 2 * 2 * 2 * 2  # the second grid adds nothing
    assert {(s.method, s.backbone, s.config["init"], s.seed) for s in found} == {
        (method, backbone, init, seed)
        for method in ("lr-baseline", "dfd")
        for backbone in ("resnet18", "alexnet")
        for init in ("scratch", "teacher")
        for seed in (0, 1)
    }
    assert [spec.seed for spec in found] == [0] * 8 + [1] * 8, "all of the first seed come first"


def test_the_command_line_overrides_fields_settings_and_seeds(mine: Path) -> None:
    found = specs(mine, fields={"epochs": [3], "backbone": ["resnet18"]}, settings={"lam": 0.5}, seeds=1)
    assert {(s.recipe.epochs, s.backbone, s.seed) for s in found} == {(3, "resnet18", 0)}
    assert {s.config.get("lam") for s in found if s.method == "dfd"} == {0.5}
    assert all("lam" not in s.config for s in found if s.method == "lr-baseline")


def test_a_recipe_is_a_file_beside_the_suites_own(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine.parent / "own").mkdir()
    (mine.parent / "own" / "slow.toml").write_text("lr = 0.001\n")
    mine.write_text(GRID.replace("width = 0.125", 'width = 0.125\nrecipe = ["quick", "own/slow.toml"]'))
    monkeypatch.chdir("/")
    assert {(s.recipe.schedule, s.recipe.lr) for s in specs(mine) if s.backbone == "resnet18"} == {
        ("one-cycle", 0.1),
        ("step", 0.001),
    }
    mine.write_text(GRID.replace("width = 0.125", 'recipe = "slow.toml"'))
    with pytest.raises(UserError, match=f"there is no file '{mine.parent}/slow.toml'"):
        specs(mine)


def test_a_grid_has_batch_sizes_rates_dropout_and_a_width_for_each_backbone(mine: Path) -> None:
    axes = "width = {alexnet = 0.5, default = 0.125}\nbatch_size = [8, 16]\nlr = [0.1, 0.2]\ndropout = [0.0, 0.5]"
    mine.write_text(GRID.replace("width = 0.125", axes, 1).partition('[[runs]]\nmethod = "lr-')[0])
    found = {(s.backbone, s.width, s.recipe.batch_size, s.recipe.lr, s.dropout) for s in specs(mine)}
    assert found == {
        (backbone, width, size, lr, dropout)
        for backbone, width in (("resnet18", 0.125), ("alexnet", 0.5))
        for size in (8, 16)
        for lr in (0.1, 0.2)
        for dropout in (0.0, 0.5)
    }


def test_a_data_set_may_stand_in_for_another(mine: Path) -> None:
    mine.write_text(GRID.replace('"toys"', '["svhn", "toys"]'))
    assert {spec.dataset for spec in specs(mine, renamed={"svhn": "toys"})} == {"toys"}


def test_a_data_set_that_is_missing_is_named_with_the_way_round_it(tmp_path: Path, mine: Path) -> None:
    mine.write_text(GRID.replace('"toys"', '"svhn"'))

    def on(dataset: str) -> Protocol:
        return replace(tiny.protocol(), data=datasets.info(dataset, tmp_path))

    with pytest.raises(UserError, match=r"lrbench data fetch svhn.*--dataset svhn=NAME"):
        suite.specs(suite.load(str(mine)), Overrides(), on, print)
    with pytest.raises(UserError, match="did you mean 'digits'") as error:
        suite.specs(suite.load(str(mine)), Overrides(renamed={"svhn": "digit"}), on, print)
    assert "--dataset" not in str(error.value)


def test_a_data_set_that_the_suite_does_not_have_cannot_be_replaced(mine: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'toys'"):
        specs(mine, renamed={"toy": "digits"})


def test_a_limit_above_the_whole_is_the_whole(mine: Path) -> None:
    notes: list[str] = []
    assert {spec.limit_train for spec in specs(mine, notes, fields={"limit_train": [1000]})} == {None}
    assert notes == ["toys has 40 train images: all of them are used"]
    assert {spec.limit_train for spec in specs(mine, fields={"limit_train": [20]})} == {20}


def test_suites_include_others_and_themselves_never(tmp_path: Path, mine: Path) -> None:
    both = tmp_path / "both.toml"
    both.write_text(f'title = "Both"\ninclude = ["{mine.name}"]\nfigures = ["curves"]\ntables = ["1", "2"]\n')
    loaded = suite.load(str(both))
    assert (loaded.title, loaded.tables, loaded.figures, len(loaded.runs)) == ("Both", ["1", "2"], ["curves"], 2)
    mine.write_text(f'title = "Mine"\ninclude = ["{both}"]\n')
    with pytest.raises(UserError, match="includes itself"):
        suite.load(str(both))


def test_files_are_named_from_the_suite_in_any_case_with_a_mark_and_through_links(
    tmp_path: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Included by included ones too, and never from the current folder."""
    inner = tmp_path / "deep" / "inner"
    inner.mkdir(parents=True)
    (inner / "größer.TOML").write_bytes(b"\xef\xbb\xbflr = 0.001\n")
    text = GRID.replace("width = 0.125", 'width = 0.125\nrecipe = "größer.TOML"')
    (inner / "Grid.TOML").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "deep" / "middle.toml").write_text('title = "Middle"\ninclude = ["inner/Grid.TOML"]\n')
    mine.write_text('title = "Mine"\ninclude = ["deep/middle.toml"]\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "link.TOML").symlink_to(mine)
    monkeypatch.chdir(elsewhere)
    (elsewhere / "deep").mkdir()
    (elsewhere / "deep" / "other.toml").write_text('title = "Of the current folder"\n')
    for path in (mine, Path("link.TOML"), Path("../mine.toml")):
        assert {spec.recipe.lr for spec in specs(path)} == {0.001}
    (inner / "Grid.TOML").unlink()
    with pytest.raises(UserError, match=f"there is no file '{tmp_path}/deep/inner/Grid.TOML'"):
        suite.load(str(mine))


def test_an_included_suite_that_is_not_there_is_named_with_its_file(mine: Path) -> None:
    mine.write_text('title = "Mine"\ninclude = ["tabel1"]\n')
    with pytest.raises(UserError, match=r"mine\.toml: include: no suite 'tabel1'; did you mean 'table1'"):
        suite.load(str(mine))


@pytest.mark.slow
def test_a_suite_is_utf_8_whatever_the_locale(tmp_path: Path, mine: Path) -> None:
    (tmp_path / "größer.toml").write_text("# größer\nlr = 0.001\n", encoding="utf-8")
    text = 'title = "größer"\n[[runs]]\nmethod = "lr-baseline"\ndataset = "digits"\nscale = 2\nrecipe = "größer.toml"\n'
    mine.write_text(text, encoding="utf-8")
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
    done = process("reproduce", str(mine), "--dry-run", "--results", str(tmp_path / "runs"), env=env, encoding="utf-8")
    assert done.returncode == 0 and "größer: 1 runs" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("method =", "metod ="), "did you mean 'method'"),
        (("title =", "titel ="), "did you mean 'title'"),
        (('"Mine"', "Mine"), "is not TOML"),
        (("width = 0.125", 'width = "wide"'), r"runs.0.width.0.*: .*number"),
        (('["lr-baseline", "dfd"]', '"dfx"'), "did you mean 'dfd'"),
        (("set.init", "set.initial"), "did you mean 'init'"),
        (("seeds = 2", "seeds = 0"), "no seed"),
        (("width = 0.125", "width = {alexnt = 1.0}"), "width: no backbone 'alexnt'; did you mean 'alexnet'"),
        (("width = 0.125", "width = {alexnet = 1.0}"), "width: there is no entry for resnet18"),
        (("width = 0.125", "lr = 0.0"), "learning rate 0 is not a positive number"),
        (("width = 0.125", "batch_size = 0"), "the nearest valid size is 2"),
        (("width = 0.125", 'select = "heldout"'), "did you mean 'held-out'"),
    ],
)
def test_a_mistake_is_named(mine: Path, change: tuple[str, str], message: str) -> None:
    mine.write_text(GRID.replace(*change, 1))
    with pytest.raises(UserError, match=message) as error:
        specs(mine)
    assert "\n" not in str(error.value)


def test_a_suite_without_runs_is_a_mistake(mine: Path) -> None:
    mine.write_text('title = "Mine"\n')
    with pytest.raises(UserError, match="'Mine' has no runs"):
        specs(mine)


def test_a_setting_that_no_method_has_is_named(mine: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'lam'"):
        specs(mine, settings={"lambda": 1})


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'table1'"):
        suite.load("tabel1")


SCALES = """
title = "Scales"

[[runs]]
method = "lr-baseline"
dataset = "toys"
scale = [4, 2]

[[runs]]
method = "espcn"
dataset = "toys"
set.sr_scale = 4
scale = 4

[[runs]]
method = "hr-direct"
dataset = "toys"
"""


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([2], {("lr-baseline", 2), ("hr-direct", 2)}),  # of a suite that has it: what it has of it
        ([4], {("lr-baseline", 4), ("espcn", 4), ("hr-direct", 4)}),
        ([8], {("lr-baseline", 8), ("espcn", 8), ("hr-direct", 8)}),  # of one that has not: all of it
    ],
)
def test_a_scale_narrows_a_suite_that_names_it(wanted: list[int], found: set[tuple[str, int]], tmp_path: Path) -> None:
    path = tmp_path / "scales.toml"
    path.write_text(SCALES)
    assert {(spec.method, spec.scale) for spec in specs(path, fields={"scale": wanted})} == found


@pytest.mark.parametrize("name", sorted(registry.installed(suite.SUITES)))
def test_every_suite_that_ships_can_be_planned(name: str) -> None:
    loaded = suite.load(name)
    found = suite.specs(loaded, Overrides(), lambda dataset: tiny.protocol(data=tiny.info(32)), lambda note: None)
    assert found
    assert loaded.tables or loaded.figures


def test_the_paper_is_the_union_of_its_parts_and_shares_runs() -> None:
    def ids(name: str) -> set[str]:
        on = tiny.protocol(data=tiny.info(32))
        return {s.id for s in suite.specs(suite.load(name), Overrides(), lambda dataset: on, lambda note: None)}

    parts = [ids(name) for name in ("table1", "table2", "fig2", "fig3")]
    assert ids("paper") == set.union(*parts)
    assert len(ids("paper")) < sum(map(len, parts))


def test_the_graph_holds_what_is_needed_first_and_once(tmp_path: Path, mine: Path) -> None:
    found = graph(specs(mine, seeds=1), Store(tmp_path / "runs"))
    assert set(found.missing) == set(found.specs), "an empty store"
    places = {run: place for place, run in enumerate(found.missing)}
    assert all(places[need] < places[run] for run in found.specs for need in found.below(run))
    teachers = [run for run, spec in found.specs.items() if spec.method == "hr-baseline"]
    roles = {(found.specs[one].backbone, found.specs[one].recipe.epochs): found.roles(one) for one in teachers}
    for backbone in ("resnet18", "alexnet"):  # DFD from the teacher: 200 epochs go into its weights
        assert roles.pop((backbone, 100)) == {"teacher": 1, "init": 2}
        assert roles.pop((backbone, 200)) == {"teacher": 1}
    assert not roles


def test_smoke_writes_every_table_and_figure() -> None:
    smoke = suite.load("smoke")
    assert set(smoke.tables) == set(tables.names())
    assert set(smoke.figures) == set(figures.names())


def test_the_srgan_of_full_size_makes_its_papers_updates() -> None:
    on = tiny.protocol(data=replace(tiny.info(32), counts={"train": 50_000, "test": 10_000}))
    for name in ("table2", "fig3"):
        found = suite.specs(suite.load(name), Overrides(), lambda dataset: on, lambda note: None)
        nets = {one for spec in found for one in spec.walk() if one.method == "sr-srgan"}
        updates = {one.recipe.epochs * (50_000 // one.recipe.batch_size) for one in nets}
        assert updates == {200_000}, "Ledig et al. 2017, section 3.2"


@pytest.mark.parametrize("name", ["table1", "table2", "fig2", "fig3", "smoke"])
def test_how_long_a_shipped_suite_takes_can_be_estimated(name: str) -> None:
    """Where no run like it is known, of a run that is trained nothing; one that trains nothing takes no time."""
    from lrbench.execute.estimate import Estimate

    on = tiny.protocol(data=tiny.info(32))
    runs = suite.specs(suite.load(name), Overrides(), lambda dataset: on, lambda note: None)
    known = Estimate(lambda _: tiny.info(32))
    before = {spec.id: known.seconds(spec) for spec in runs}
    for spec in runs:
        known.learn(spec, 100.0)
    seconds = {spec.id: known.seconds(spec) for spec in runs}
    untrained = {spec.id for spec in runs if registry.epochs_in_weights(spec) == registry.epochs_before(spec)}
    assert {run for run, took in seconds.items() if took == 0} == untrained
    assert {run for run, took in before.items() if took is not None} == untrained
    assert None not in seconds.values() and (name in ("fig2", "fig3")) == (not untrained)
