"""The Python interface, as README shows it and as a notebook uses it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.stored import folder, put

import lrbench as lr
from lrbench import api

README = Path(__file__).parents[1] / "README.md"
SMALL = {"scale": 2, "width": 0.125, "recipe": "quick", "epochs": 1, "precision": "fp32", "threads": 1}


class Linear(lr.Method):
    """A method that is defined where it is used."""

    name = "linear"
    reads = ("up",)

    def __init__(self, config, context, needs):
        super().__init__(config, context, needs)
        self.layer = torch.nn.Linear(3 * context.side**2, context.classes)

    def loss(self, batch):
        return {"recognition": self.cross_entropy(self(batch.up), batch.y)}

    def forward(self, up):
        return self.layer(up.flatten(1))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRBENCH_RESULTS", raising=False)
    return tmp_path


def test_importing_it_is_quick_and_shows_what_there_is() -> None:
    code = "import sys, lrbench; assert 'run' in dir(lrbench) and 'pandas' not in sys.modules; print(dir(lrbench))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(name in shown for name in lr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        lr.rum  # noqa: B018


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    assert len(blocks) == 2
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "A: DFD lam=0.5" in done.stdout and "2 seeds are few" in done.stdout


def test_a_class_is_trained_reused_and_loaded(here: Path) -> None:
    runs = lr.run(Linear, "digits", seeds=range(2), **SMALL)
    assert list(runs["seed"]) == [0, 1] and list(runs["method"]) == ["linear"] * 2 and runs["top1"].notna().all()
    assert lr.run(Linear, "digits", seeds=range(2), **SMALL)["env.finished"].equals(runs["env.finished"])
    net = lr.load(runs["id"][0][:8])
    logits = net(torch.rand(5, 3, net.context.side, net.context.side))
    assert logits.shape == (5, 10) and not any(weight.requires_grad for weight in net.parameters())
    assert lr.results()["id"].tolist() == sorted(runs["id"])
    figure = lr.plot("curves")
    assert isinstance(figure, matplotlib.figure.Figure) and figure._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(lr.Error, match="no setting or condition 'datasets'; did you mean 'dataset'"):
        lr.compare("linear", "linear", datasets="digits")
    assert "linear" in lr.leaderboard()._repr_html_()


def test_a_suite_is_run_and_its_tables_are_written(here: Path) -> None:
    Path("mine.toml").write_text(
        'title = "Mine"\ntables = ["leaderboard"]\n[[runs]]\nmethod = ["lr-baseline", "hr-direct"]\n'
        'dataset = "digits"\nscale = 2\nwidth = 0.125\nrecipe = "quick"\nepochs = 1\n'
        "limit_train = 300\nlimit_test = 100\n"
    )
    runs = lr.reproduce("mine.toml", out="made", seeds=1)
    assert sorted(runs["method"]) == ["hr-baseline", "hr-direct", "lr-baseline"] and runs["top1"].notna().all()
    assert "LR-baseline" in Path("made/table-leaderboard.md").read_text()
    again = lr.reproduce("mine.toml", seeds=1)
    assert again["env.finished"].tolist() == runs["env.finished"].tolist()
    wider = lr.reproduce("mine.toml", seeds=1, width=0.25, datasets="digits")
    assert set(wider["width"]) == {0.25} and not set(wider["id"]) & set(runs["id"])
    for wrong, message in (
        (lambda: lr.reproduce("tabel1"), "did you mean 'table1'"),
        (lambda: lr.reproduce("mine.toml", sed=3), "sed"),
        (lambda: lr.reproduce("mine.toml", preset="minni"), "did you mean 'mini'"),
    ):
        with pytest.raises(lr.Error, match=message):
            wrong()


class NoForward(lr.Method):
    name = "no-forward"

    def __init__(self, config, context, needs):
        super().__init__(config, context, needs)
        self.net = context.backbone()


class NoTerms(Linear):
    name = "no-terms"

    def loss(self, batch):
        return {}


class Misread(Linear):
    name = "misread"
    reads = ("upp",)


class NeedsByName(Linear):
    name = "needs-by-name"

    @classmethod
    def needs_of(cls, config):
        return "hr-baseline"


def with_terms(terms):
    """A class whose loss gives these terms, made from the usual one."""

    def loss(self, batch):
        return terms(Linear.loss(self, batch)["recognition"])

    return type("Terms", (Linear,), {"name": "terms", "loss": loss, "__module__": __name__})


def with_state(state):
    """A class whose network has such an extra state."""

    class State(Linear):
        name = "state"

        def get_extra_state(self):
            return state

        def set_extra_state(self, state):
            pass

    return State


def with_state_dict(change):
    """A class whose state is changed so before it is stored."""

    def state_dict(self, *args, **options):
        return change(Linear.state_dict(self, *args, **options))

    return type("Changed", (Linear,), {"name": "changed", "state_dict": state_dict, "__module__": __name__})


class LateBuffer(Linear):
    name = "late"

    def loss(self, batch):
        self.register_buffer("late", torch.zeros(1))
        return super().loss(batch)


class SparseWeights(Linear):
    name = "sparse"

    def __init__(self, *args):
        super().__init__(*args)
        self.register_buffer("table", torch.eye(3).to_sparse())


def with_optimizer_state(value):
    """A class whose optimizer keeps such a value."""

    def optimizers(self, updates):
        [one] = Linear.optimizers(self, updates)
        one.optimizer.state[self.layer.weight]["kept"] = value
        return [one]

    return type("Kept", (Linear,), {"name": "kept", "optimizers": optimizers, "__module__": __name__})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (with_optimizer_state(Path("a")), "kept: its state cannot be kept in a checkpoint, for pathlib.PosixPath"),
        (with_optimizer_state(lambda: 1), "kept: its state cannot be kept in a checkpoint, for"),
        (with_terms(lambda term: {"plain": term, "odd": 0.5}), "loss term 'odd' is a float; it must be a tensor"),
        (with_terms(lambda term: {"plain": term, "odd": None}), "loss term 'odd' is a NoneType; it must be a tensor"),
        (with_terms(lambda term: {"plain": term, "odd": term.expand(4)}), "loss term 'odd' has shape (4,)"),
        (with_terms(lambda term: {"odd": term + 0j}), "loss term 'odd' is of torch.complex64"),
        (with_terms(lambda term: {1: term}), "a term of its loss is called 1; its name must be text"),
        (with_terms(lambda term: term), "loss returned a Tensor; it must be a dict of one or more named tensors"),
        (with_terms(lambda term: {"odd": term.detach()}), "no term of its loss has a gradient"),
        (with_state({"steps": 3}), "its state '_extra_state' is a dict; make it a plain tensor"),
        (with_state(None), "its state '_extra_state' is a NoneType"),
        (SparseWeights, "sparse: its state 'table' cannot be stored"),
        (with_state_dict(lambda state: {}), "its weights do not load again: "),
        (LateBuffer, "its state 'late' was not there when it was built; make all weights"),
        (with_terms(lambda term: {"plain": term, "odd": term.to("meta")}), "loss term 'odd' is of torch.float32"),
        (NoForward, "NoForward has no forward"),
        (NoTerms, "it must be a dict of one or more named tensors"),
        (Misread, "misread: reads = ('upp',); it is a tuple of some of ('hr', 'lr', 'up')"),
        (NeedsByName, "needs_of returned 'hr-baseline'; it must be a dict, role -> Needs(method)"),
    ],
)
def test_a_class_that_breaks_the_contract_gets_one_line(wrong: type[lr.Method], said: str, here: Path) -> None:
    with pytest.raises(lr.Error) as error:
        lr.run(wrong, "digits", **SMALL)
    assert said in str(error.value)
    assert not list(here.glob("results/runs/.work/*/checkpoint")), "it was said after an epoch"


def test_options_settings_and_presets_are_those_of_the_command_line(here: Path) -> None:
    asked = api.request("dfd", "digits", "mini", lam=0.5, scale=2, epochs=3)
    assert asked.settings == {"lam": 0.5} and asked.seeds == (0, 1, 2) and asked.width == 0.25
    assert (asked.recipe, asked.epochs, asked.limit_train, asked.cap_limits) == ("quick", 3, 10_000, True)
    numpy = api.request("dfd", "digits", seeds=np.arange(3), scale=np.int64(2), lam=np.float32(0.5))
    assert (numpy.seeds, numpy.scale, numpy.settings) == ((0, 1, 2), 2, {"lam": 0.5}) and type(numpy.scale) is int


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: lr.run("dfd", "digits", sedes=3), "did you mean 'seeds'"),
        (lambda: lr.run("dfd", "digits", lamb=3), "did you mean 'lam'"),
        (lambda: lr.run("dfdd", "digits"), "did you mean 'dfd'"),
        (lambda: lr.run("dfd", "digits", preset="min"), "did you mean 'mini'"),
        (lambda: lr.table("leaderbord"), "did you mean 'leaderboard'"),
        (lambda: lr.plot("fig4"), "did you mean 'fig"),
        (lambda: lr.plot("fig2", methods=["dfd"]), "fig2 takes no methods"),
        (lambda: lr.load("0123"), "no run '0123'"),
        (lambda: lr.results(baselines=["nowhere"]), "there is no folder 'nowhere'"),
        (lambda: lr.compare("dfd", "lr-baseline"), "no method or run 'dfd'"),
        (lambda: lr.run("dfd", "digits", scale="4"), "scale='4': Input should be a valid integer"),
        (lambda: lr.run("dfd", "digits", precision="fp16"), "precision='fp16': Input should be 'auto', 'fp32' or"),
        (lambda: lr.run("dfd", "digits", device="gpu"), "device='gpu': Input should be 'auto', 'cpu' or 'cuda'"),
        (lambda: lr.run("dfd", "digits", threads="x"), "threads x is no number of threads; say one, or auto"),
        (lambda: lr.run("dfd", "digits", threads=1.5), "threads=1.5: Input should be a valid integer"),
        (lambda: lr.run("dfd", "digits", seeds=3), "seeds=3: say which, such as range(3) or [3]"),
        (lambda: lr.run("dfd", "digits", seeds=[-1]), "seeds=(-1,): Input should be greater than or equal to 0"),
        (lambda: lr.run("dfd", "digits", seeds=[]), "seeds=(): Tuple should have at least 1 item"),
        (lambda: lr.run("dfd", "digits", seeds=1.5), "seeds=(1.5,): Input should be a valid integer"),
        (lambda: lr.run("dfd", "digits", seeds=True), "seeds=(True,): Input should be a valid integer"),
        (lambda: lr.run("dfd", "digits", epochs="ten"), "epochs='ten': Input should be a valid integer"),
        (lambda: lr.run("dfd", "digits", width="wide"), "width='wide': Input should be a valid number"),
        (lambda: lr.run("dfd", "digits", capture="no"), "capture='no': Input should be a valid boolean"),
        (lambda: lr.run("dfd", "digits", backbone=[]), "backbone=[]: Input should be a valid string"),
        (lambda: lr.run("dfd", "digits", preset=[]), "preset=[]: Input should be a valid string"),
        (lambda: lr.run("dfd", "digits", lam=0.5, settings={"lam": 1}), "given twice: lam=0.5 and lam=1"),
        (lambda: lr.run("dfd", 3), "dataset=3: Input should be a valid string"),
        (lambda: lr.run(3, "digits"), "3 is not a subclass"),
        (lambda: lr.table(1, results=__file__), "is no folder; name one"),
        (lambda: lr.run("dfd", "digits", results=f"{__file__}/runs"), "is no folder; name one"),
        (lambda: lr.run(Linear, "digits", scale=2, width=1e9), "is not above 0 and at most 16"),
        (lambda: lr.table(1, baselines="nowhere"), "there is no folder 'nowhere'"),
        (lambda: lr.table(3), "no table '3'; choose from 1, 2"),
        (lambda: lr.table(3, datasets="svhn=mine"), "no table '3'; choose from 1, 2"),
        (lambda: lr.table(2, datasets="svhn=mine"), "table 2 has no dataset 'svhn' to replace; choose from cifar10"),
        (lambda: lr.table(1, datasets="shvn=mine"), "table 1 has no dataset 'shvn' to replace; did you mean 'svhn'?"),
        (lambda: lr.table(1, datasets="svhn=mine"), "there is no run in"),
        (lambda: lr.compare(3, "dfd"), "first=3: Input should be a valid string"),
        (lambda: lr.compare("dfd", "dfd", scale=object()), "not a valid JSON value"),
        (lambda: lr.plot("fig3", images=0), "images=0: Input should be greater than or equal to 1"),
        (lambda: lr.plot("fig2", datset="digits"), "fig2 takes no datset; it takes datasets, settings"),
        (lambda: lr.load(3), "run=3: Input should be a valid string"),
        (lambda: lr.load("0123", device="gpu"), "device='gpu': Input should be 'auto', 'cpu' or 'cuda'"),
    ],
)
def test_what_cannot_be_is_one_error_of_one_line(here: Path, call, said: str) -> None:
    with pytest.raises(lr.Error) as error:
        call()
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not list(here.iterdir())


def test_tables_are_frames_with_the_runs_behind_each_cell(tmp_path: Path) -> None:
    store, runs = folder(tmp_path)
    [table] = lr.table(1, results=store.root)
    dfd = {run.id for run in runs["dfd"]}
    cells = [ids for ids in table.runs.to_numpy().ravel() if set(ids) == dfd]
    assert len(cells) == 1 and table.shown.shape == table.runs.shape
    numbers = table.numbers
    line = numbers[(numbers["method"] == "dfd") & (numbers["n"] > 0)].squeeze()
    assert set(line["runs"].split()) == dfd
    assert line["top1_mean"] == np.mean([run.metrics["top1"] for run in runs["dfd"]])
    assert line["control_gain"] == 5.0 and "<table" in table._repr_html_()


def test_another_dataset_stands_in_the_columns_of_a_published_one(tmp_path: Path) -> None:
    store, _ = folder(tmp_path)
    runs = [put(store, method, seed, dataset="mine") for method in ("dfd", "lr-baseline") for seed in (0, 1)]
    [table] = lr.table(1, results=store.root, datasets=["svhn=mine"])
    assert list(table.shown.columns[1:]) == ["cifar10 8x8", "cifar10 16x16", "mine 8x8", "mine 16x16"]
    assert sum(set(ids) == {run.id for run in runs[:2]} for ids in table.runs["mine 8x8"]) == 1
    published = table.shown[table.shown.iloc[:, 0].str.contains("published")]
    assert (published["mine 8x8"] == "-").all() and (published["cifar10 8x8"] != "-").all()
    assert "mine stands in the columns of svhn, without its numbers." in table.legend
    evidence = lr.table("claims", results=store.root, datasets="svhn=mine")[1]
    assert "DFD (ResNet-18), mine x4" in list(evidence.shown.iloc[:, 0])
    with pytest.raises(lr.Error, match="there is no run of dataset 'min'; did you mean 'mine'"):
        lr.table(1, results=store.root, datasets="svhn=min")


def test_records_beside_ones_own_count_are_named_and_are_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, runs = folder(tmp_path / "theirs")
    before = {path: path.stat().st_mtime_ns for path in theirs.root.rglob("*")}
    mine = tmp_path / "mine"
    found = lr.results(mine, baselines=[theirs.root])
    assert set(found["origin"]) == {str(theirs.root)} and len(found) == sum(map(len, runs.values()))
    [board] = [one for one in lr.leaderboard(mine, baselines=[theirs.root]) if "cifar10" in one.title]
    assert any(str(theirs.root) in note for note in board.notes)
    assert {path: path.stat().st_mtime_ns for path in theirs.root.rglob("*")} == before and not mine.exists()
    assert len(lr.results(mine, baselines=theirs.root)) == len(lr.results(mine, baselines=str(theirs.root)))
    monkeypatch.setenv("LRBENCH_BASELINES", str(theirs.root))
    assert len(lr.results(mine)) == len(found) and lr.results(mine, baselines=[]).empty
    for run in runs["dfd"]:
        (theirs.root / run.id / "weights.safetensors").unlink()
    with pytest.raises(lr.Error, match="no weights"):
        lr.load(runs["dfd"][0].id, mine, baselines=[theirs.root])


def test_a_need_whose_record_is_beside_ones_own_without_weights_is_trained_and_that_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lr.run("hr-baseline", "digits", results="theirs", **SMALL)
    [weights] = Path("theirs").glob("*/weights.safetensors")
    kept = weights.read_bytes()
    lr.run("dfd", "digits", results="first", baselines=["theirs"], **SMALL)
    assert not list(Path("first").glob(f"{weights.parent.name}*"))  # its teacher is there, with its weights
    weights.unlink()
    capsys.readouterr()
    again = lr.run("dfd", "digits", results="second", baselines=["theirs"], **SMALL)
    assert (Path("second") / weights.parent.name / "weights.safetensors").read_bytes() == kept
    assert "is in theirs without the weights that are needed" in capsys.readouterr().err
    reused = lr.run("hr-baseline", "digits", results="third", baselines=["theirs"], **SMALL)
    assert not Path("third").exists() and again["teacher"][0] == reused["id"][0]
    assert list(reused["origin"]) == ["theirs"] and again["origin"].isna().all() and len(again) == 1
    assert again["teacher_top1"][0] == reused["top1"][0] and again["teacher_epochs"][0] == 1


@pytest.mark.parametrize("own", [True, False])
def test_reports_go_on_without_a_run_of_which_a_file_is_damaged(own: bool, tmp_path: Path) -> None:
    store, runs = folder(tmp_path)
    (damaged, kept), (other, _) = runs["dfd"], runs["lr-baseline"]
    (store.root / damaged.id / "predictions.npz").write_bytes(b"")
    (store.root / other.id / "curve.csv").write_bytes(b"")
    stores = {"results": store.root} if own else {"results": tmp_path / "mine", "baselines": store.root}
    for _ in range(1 if own else 2):  # of another store nothing is set aside: it is said each time
        warned: list[str] = []
        [table] = lr.table(1, **stores, warn=warned.append)
        ids = {run for cell in table.runs.to_numpy().ravel() for run in cell}
        assert {kept.id, other.id} <= ids and damaged.id not in ids, "a table reads no curve"
        assert len(warned) == 1 and damaged.id in warned[0] and ("set aside" in warned[0]) == own
    assert list(lr.compare("dfd", "lr-baseline", **stores, warn=warned.append).seeds["seed"]) == [1]
    warned.clear()
    assert lr.plot("curves", **stores, warn=warned.append)
    assert any(other.id in one and "curve.csv" in one for one in warned)


def test_a_frame_has_one_row_per_run_and_what_a_record_says(here: Path) -> None:
    runs = lr.run("lr-baseline", "digits", **SMALL)
    assert isinstance(runs, pd.DataFrame) and len(runs) == 1
    run = runs.iloc[0]
    assert (run["dataset"], run["size"], run["label"], run["set.init"]) == ("digits", "4x4", "LR-baseline", "scratch")
    assert run["recipe.epochs"] == 1 and run["status"] == "done"
