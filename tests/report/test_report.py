"""The report: what is on its pages, where its links lead, and that a folder is replaced whole or not at all."""

import csv
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from helpers import stored
from helpers.cli import caller
from helpers.records import diverged
from matplotlib.image import imread
from safetensors.torch import save as save_tensors

from lrbench.errors import UserError
from lrbench.report import figures, predictions, tables
from lrbench.report.formats import Table
from lrbench.report.frame import frame
from lrbench.report.site import first_page, run_page, writer
from lrbench.report.site import pages as site_pages
from lrbench.store import replaced
from lrbench.store.store import Store

pytestmark = pytest.mark.slow

CLAIM = "DFD is above its LR-baseline"


class Page(HTMLParser):
    """What tests ask of a page."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.tags, self.rows = path, set(), [], [], []
        self.text, self.source, self.inside = "", path.read_text(), False
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.text += " "
            self.rows[-1].append(["", []])
            self.inside = True
        if tag == "a" and self.inside:
            self.rows[-1][-1][1].append(attributes["href"])

    def handle_data(self, data):
        self.text += data
        if self.inside:
            self.rows[-1][-1][0] += data

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def row(self, label):
        """The cells of the first row of that name: text without line breaks -> the links in it."""
        [cells, *_] = [row for row in self.rows if row and " ".join(row[0][0].split()).startswith(label)]
        return [(" ".join(text.split()), links) for text, links in cells]


def claims(results):
    """A table as another module might add it: what it calls its columns is its own affair."""
    head = ["claim", "verdict"]
    runs = tuple(results.loc[results["method"].isin(["dfd", "lr-baseline"]), "id"])
    shown, behind = pd.DataFrame([[CLAIM, "holds"]], columns=head), pd.DataFrame([[runs, ()]], columns=head)
    return Table("Claims", "two seeds", shown, ["By a t-test."], runs=behind)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The report of a small store, with claims: folder, store, method -> runs."""
    folder = tmp_path_factory.mktemp("report")
    store, runs = stored.folder(folder)
    with pytest.MonkeyPatch.context() as patch:
        of_name = tables.tables
        patch.setattr(
            tables,
            "tables",
            lambda name, results, *others: [claims(results)] if name == "claims" else of_name(name, results, *others),
        )
        writer.write(store, folder / "site", folder / "data", lambda message: None)
    return folder / "site", store, runs


def pages(folder):
    return [Page(path) for path in sorted(folder.rglob("*.html"))]


def home(run):
    return f"runs/{run.id}/index.html"


# --- the pages ------------------------------------------------------------------------------------------


def test_every_run_has_a_page_and_every_kind_of_page_is_there(site):
    folder, _, runs = site
    names = ("index", "tables", "claims", "figures", "cost", "runs")
    expected = {f"{name}.html" for name in names} | {home(run) for found in runs.values() for run in found}
    assert {page.path.relative_to(folder).as_posix() for page in pages(folder)} == expected


def test_every_link_leads_to_something_within_the_folder(site):
    folder = site[0]
    by_path = {page.path: page for page in pages(folder)}
    assert len(by_path) > 10
    for page in by_path.values():
        assert len(page.links) > 5
        for address in page.links:
            assert not re.match(r"[a-z]+:|/", address), address
            path, _, anchor = unquote(address).partition("#")
            target = (page.path.parent / path).resolve() if path else page.path
            assert target.is_file() and target.is_relative_to(folder.resolve()), (page.path, address)
            assert not anchor or anchor in Page(target).ids, (page.path, address)


def test_nothing_in_the_folder_asks_for_the_network(site):
    for path in site[0].rglob("*"):
        if path.name in ("report.css", "report.js"):  # what libraries ask for is seen in a browser
            assert not re.search(r"https?:|//[a-z]|@import|url\(", path.read_text()), path
        if path.suffix == ".html":
            assert not re.search(r"<(link|script|img|iframe)[^>]*(https?:)?//", path.read_text()), path


def test_pages_are_semantic(site):
    titles = []
    for page in pages(site[0]):
        assert page.attributes("html") == [{"lang": "en-GB"}]
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.attributes("meta")
        assert len(page.attributes("h1")) == len(page.attributes("title")) == len(page.attributes("main")) == 1
        assert len(page.attributes("caption")) == len(page.attributes("table"))
        assert page.attributes("th") == [one for one in page.attributes("th") if one.get("scope") in ("col", "row")]
        assert all(one.get("alt") for one in page.attributes("img"))
        titles.append(re.search("<title>(.*)</title>", page.source)[1])
    assert len(set(titles)) == len(titles)


def test_what_comes_from_records_is_no_markup(site):
    shown = 0
    for page in pages(site[0]):
        scripts = {Path(one.get("src", "")).name for one in page.attributes("script")}
        assert stored.HOSTILE not in page.source and scripts <= {"datatables.js", "report.js", "plotly.min.js", ""}
        assert scripts.isdisjoint({"", "plotly.min.js"}) or page.path == site[0] / "index.html"
        shown += stored.HOSTILE in page.text
    assert shown > 7  # as text: on each run's page, and where devices are


def test_a_table_is_the_one_that_lrbench_prints(site):
    folder, store, _ = site
    page = Page(folder / "tables.html")
    for table in tables.tables("1", frame(store), store.right):
        assert f"Protocol: {table.conditions}." in page.text
        assert all(note in page.text for note in table.notes)
        for line in table.shown[table.shown[""] != "*published*"].to_numpy():
            shown = [text.partition(" seed")[0].replace("–", "-") for text, _ in page.row(line[0])]
            assert [text.replace("**", "") for text in line] == shown
    assert "Table 2" in page.text and "Restoration quality" in page.text


def test_a_cell_links_to_its_runs(site):
    folder, _, runs = site
    page = Page(folder / "tables.html")
    cells = {text.partition(" seed")[0]: links for text, links in page.row("DFD (ResNet-18)")}
    assert cells["75.50±0.71"] == [home(run) for run in runs["dfd"]]
    [name, *_] = page.row("ESPCN (SR net)")
    assert name == ("ESPCN (SR net) seed 0", [home(runs["sr-espcn"][0])])


@pytest.mark.parametrize("suffix", ["md", "csv", "tex", "json"])
def test_tables_can_be_downloaded(suffix, site):
    files = {name: site[0] / "tables" / f"{name}.{suffix}" for name in ("1", "2", "sr", "cost", "claims")}
    assert all(f"tables/{path.name}" in Page(site[0] / page).links
               for name, path in files.items()
               for page in [f"{name}.html" if name in ("cost", "claims") else "tables.html"])  # fmt: skip
    assert "70.5" in files["1"].read_text() and "25.0" in files["sr"].read_text()


def test_claims_have_a_page_of_their_own(site):
    folder, _, runs = site
    page = Page(folder / "claims.html")
    [claim, verdict] = page.row(CLAIM)
    assert verdict == ("holds", []) and "By a t-test." in page.text
    assert claim[0] == f"{CLAIM} dfd seeds 0 1; lr-baseline seeds 0 1"
    assert claim[1] == [home(run) for method in ("dfd", "lr-baseline") for run in runs[method]]
    assert CLAIM not in Page(folder / "tables.html").text


def test_cost_is_over_seeds_and_within_a_device(site, tmp_path):
    folder, _, runs = site
    page = Page(folder / "cost.html")
    row = page.row("DFD (resnet18)")
    assert row[0][1] == [home(run) for run in runs["dfd"]]
    assert [text for text, _ in row[1:7]] == ["1.235", "35.0", "100", "100", "1.5", "512"] and row[8][0] == "2"
    store, records = Store(tmp_path / "runs"), runs["dfd"]
    for record, device in zip(records, ("one", "other"), strict=True):
        metrics = record.metrics | {"images_per_second": 50.0 if device == "one" else 150.0}
        env = record.env | {"device": device}
        changed = record.model_copy(update={"env": env, "metrics": metrics})
        store.root.mkdir(exist_ok=True)
        store.save(changed, stored.CURVE, {"predicted": np.zeros(3), "label": np.zeros(3)}, save_tensors({}))
    writer.write(store, tmp_path / "site", tmp_path, lambda message: None)
    rows = [row for row in Page(tmp_path / "site" / "cost.html").rows if row[0][0].startswith("DFD")]
    assert {(row[4][0].strip(), row[7][0].strip(), row[8][0].strip()) for row in rows} == {
        ("50", "one", "1"),
        ("150", "other", "1"),
    }
    assert [row[0][1] for row in rows] == [[home(run)] for run in runs["dfd"]], "each line is linked to its own runs"


def test_figures_are_drawn_and_those_that_cannot_be_are_named(site, tmp_path, capsys):
    folder = site[0]
    page = Page(folder / "figures.html")
    assert imread(folder / "figures" / "curves.png").std() > 0.05
    assert (folder / "figures" / "curves.svg").read_text().startswith("<?xml")
    drawn = {one["src"] for one in page.attributes("img")}
    for name in figures.names():
        assert f"figures/{name}.png" in drawn or f"{name} is not drawn: " in page.text
    assert "fig3 is not drawn: cifar10 is not in the data folder; run 'lrbench data fetch cifar10'" in page.text
    assert str(folder.parent / "data") not in page.source  # a path of this machine


@pytest.mark.parametrize("of_data", [True, False])
def test_data_that_cannot_be_read_leave_out_a_figure_and_a_full_disk_ends_the_report(
    of_data, site, tmp_path, monkeypatch
):
    def draw(*args, **options):
        if of_data:
            raise UserError("cannot read DATA/cifar10.npz: Permission denied") from PermissionError(13, "no")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures, "draw", draw)
    out, said = tmp_path / "site", list[str]()
    if not of_data:
        with pytest.raises(OSError, match="No space left"):
            writer.write(site[1], out, tmp_path, said.append)
        assert not out.exists()
    else:
        writer.write(site[1], out, tmp_path, said.append)
        assert "fig3 is not drawn: cannot read DATA/cifar10.npz: Permission denied." in Page(out / "figures.html").text


def test_tables_without_a_run_are_named(tmp_path):
    store = Store(tmp_path / "runs")
    store.root.mkdir()
    stored.put(store, "lr-baseline")
    writer.write(store, tmp_path / "site", tmp_path, lambda message: None)
    page = Page(tmp_path / "site" / "tables.html")
    assert "Table sr: no run yet." in page.text and "Restoration" not in page.text
    assert not (tmp_path / "site" / "claims.html").exists() or "claims" in tables.names()


# --- the page of a run ----------------------------------------------------------------------------------


def test_a_runs_files_are_the_stores(site):
    folder, store, runs = site
    for run in [one for found in runs.values() for one in found]:
        for name in ("record.json", "curve.csv", "predictions.npz"):
            assert (folder / "runs" / run.id / name).read_bytes() == (store.root / run.id / name).read_bytes()
        arrays = "(psnr, ssim" if "psnr" in run.metrics else "(predicted, label)"
        assert arrays in Page(folder / "runs" / run.id / "index.html").text


def test_a_run_links_to_what_it_needs_what_needs_it_and_its_other_seeds(site):
    folder, _, runs = site
    zero = {method: found[0].id for method, found in runs.items()}
    links = {method: set(Page(folder / "runs" / run / "index.html").links) for method, run in zero.items()}
    assert f"../{zero['hr-baseline']}/index.html" in links["dfd"]
    assert f"../{zero['lr-baseline']}/index.html" not in links["dfd"]
    assert f"../{zero['dfd']}/index.html" in links["hr-baseline"] - links["lr-baseline"]
    assert f"../{runs['dfd'][1].id}/index.html" in links["dfd"]
    assert f"../{runs['dfd'][1].id}/index.html" not in links["hr-baseline"]


def test_a_need_that_is_not_in_the_store_is_named_without_a_link(tmp_path):
    store = Store(tmp_path / "runs")
    store.root.mkdir()
    run = stored.put(store, "dfd", settings={"init": "lr-baseline"})
    writer.write(store, tmp_path / "site", tmp_path, lambda message: None)
    page = Page(tmp_path / "site" / "runs" / run.id / "index.html")
    assert page.text.count("(not in this store)") == len(run.spec.needs) == 2
    assert all(need.id in page.text and not any(need.id in one for one in page.links)
               for need in run.spec.needs.values())  # fmt: skip


def test_a_runs_page_has_its_spec_and_provenance(site):
    folder, _, runs = site
    run = runs["dfd"][0]
    page = Page(folder / "runs" / run.id / "index.html")
    assert json.loads(re.search(r"\{\n.*\n\}", page.text, re.DOTALL)[0]) == run.spec.model_dump(mode="json")
    assert {run.id, run.method_source, *run.files.values()} <= set(page.text.split())
    assert page.row("lam")[1:3] == [("2.0", []), ("2.0", [])] and "2.15.0" in page.text
    assert page.row("parameters")[1][0] == "1,234,567" and "75.00" in page.text
    assert len(page.attributes("polyline")) == 4  # loss, recognition in two pieces about a nan, and accuracy


def test_a_run_of_another_store_has_its_files_and_says_where_it_was_read(tmp_path):
    own, other = Store(tmp_path / "runs", others=[tmp_path / "shipped"]), Store(tmp_path / "shipped")
    own.root.mkdir()
    other.root.mkdir()
    mine, theirs = stored.put(own, "lr-baseline"), stored.put(other, "hr-baseline")
    writer.write(own, tmp_path / "site", tmp_path, lambda message: None)
    for run, store in ((mine, own), (theirs, other)):
        folder = tmp_path / "site" / "runs" / run.id
        assert (folder / "record.json").read_bytes() == (store.root / run.id / "record.json").read_bytes()
        assert ("read from" in (page := Page(folder / "index.html")).text) == (run is theirs)
        assert str(tmp_path) not in page.source
    assert "shipped" in page.text


def test_an_sr_nets_page_shows_what_it_restores(site):
    folder, store, runs = site
    [run] = runs["sr-espcn"]
    page = Page(folder / "runs" / run.id / "index.html")
    assert "25.00" in page.text and "8x8 to 16x16" in page.text
    image = imread(folder / "runs" / run.id / "restored.png")
    restored = store.predictions(run.id)["restored"]
    assert (np.round(image[:, 16:32, :3] * 255) == restored[1]).all() and image.shape[:2] == (16, 8 * 16)


# --- linking ---------------------------------------------------------------------------------------------


def test_cells_have_the_runs_that_there_are_pages_of(tmp_path):
    store, runs = stored.folder(tmp_path)
    here = [one.id for one in runs["dfd"]]
    head = ["", "toys 8x8", "published", "toys 8x8"]  # heads may be equal
    shown = pd.DataFrame([["A", "-", "-", "x"], ["B †", "1.00 (2)", "2.00", "diverged"]], columns=head)
    behind = pd.DataFrame([[(), (), (), ()], [(), (*here, "failed"), (), ("gone",)]], columns=head)
    related = run_page.Related(frame(store))
    assert related.cells(Table("T", "p", shown, runs=behind)) == [
        [("A", []), ("", []), ("", []), ("x", [])],
        [("B †", []), ("1.00 (2)", here), ("2.00", []), ("diverged", [])],
    ]
    assert related.cells(Table("T", "p", shown))[1] == [("B †", []), ("1.00 (2)", []), ("2.00", []), ("diverged", [])]
    assert site_pages.numeric(shown) == [False, True, True, False]


def test_a_difference_links_to_the_runs_that_it_was_taken_from(tmp_path):
    store, runs = stored.folder(tmp_path)
    writer.write(store, tmp_path / "site", tmp_path, lambda message: None)
    rows = [row for row in Page(tmp_path / "site" / "tables.html").rows if row[0][0].startswith("DFD (resnet18)")]
    [[_, _, top1, gain, *_]] = rows  # of the leaderboard
    assert top1[1] == [home(run) for run in runs["dfd"]]
    assert gain[0].startswith("+5.00") and gain[1] == [home(run) for run in runs["lr-baseline"]]


def test_runs_of_one_method_are_told_apart_by_their_settings(tmp_path):
    store = Store(tmp_path)
    runs = [stored.put(store, "dfd", seed, settings={"lam": lam}).id for lam in (0.5, 2.0) for seed in (1, 0)]
    related = run_page.Related(frame(store))
    assert [(name, [run.seed for run in found]) for name, found in related.experiments(runs)] == [
        ("DFD", [0, 1]),
        ("DFD lam=0.5", [0, 1]),
    ]
    assert [name for name, _ in related.experiments(runs[:2])] == ["dfd"]


def test_the_first_page_says_what_each_page_holds_and_the_page_of_tables_begins_with_links(site):
    folder, _, runs = site
    first, page = Page(folder / "index.html"), Page(folder / "tables.html")
    said = " ".join(first.text.split())
    count = {name: len(Page(folder / f"{name}.html").attributes("table")) for name in ("tables", "cost")}
    pages = f"Tables {count['tables']} tables Claims 1 table Figures {len(list((folder / 'figures').glob('*.png')))}"
    assert pages in said and f"Cost {count['cost']} tables Runs {sum(map(len, runs.values()))} runs" in said
    assert [one for one in page.links if one.startswith("#table-")] == [
        f"#{one['id']}" for one in page.attributes("h2")
    ]


# --- the folder ------------------------------------------------------------------------------------------


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small(tmp_path):
    """A store of one run, in a folder of its own."""
    store = Store(tmp_path / "runs")
    store.root.mkdir()
    stored.put(store, "lr-baseline")
    return store


def write(store, out):
    return writer.write(store, out, out.parent / "data", lambda message: None)


def test_a_report_is_replaced_by_a_newer_one(small, tmp_path):
    out = tmp_path / "deep" / "site"
    assert write(small, out) == out / "index.html"
    [old] = small.records()
    new = stored.put(small, "hr-baseline")
    (small.root / old.id).rename(tmp_path / "gone")
    write(small, out)
    assert [path.name for path in (out / "runs").iterdir()] == [new.id]
    assert [path.name for path in out.parent.iterdir()] == ["site"]


def test_an_empty_folder_is_filled(small, tmp_path):
    (tmp_path / "site").mkdir()
    assert write(small, tmp_path / "site").is_file()


@pytest.mark.parametrize("place, message", [
    ("thesis.tex", "is not empty, and not written by lrbench; choose another"),
    ("runs/notes/mine.txt", "is not empty, and not written by lrbench"),
])  # fmt: skip
def test_a_folder_of_the_users_is_refused(small, tmp_path, place, message):
    file = tmp_path / "site" / place
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    before = content(tmp_path)
    with pytest.raises(UserError, match=message):
        write(small, tmp_path / "site")
    assert content(tmp_path) == before


@pytest.mark.parametrize("place", ["CNAME", ".git/HEAD", "runs/mine.txt"])
def test_a_report_that_holds_a_file_of_the_users_is_refused(small, tmp_path, place):
    out = tmp_path / "site"
    write(small, out)
    (out / place).parent.mkdir(exist_ok=True)
    (out / place).write_text("mine")
    before = content(tmp_path)
    with pytest.raises(UserError, match=f"holds {re.escape(place)}, which lrbench did not write"):
        write(small, out)
    assert content(tmp_path) == before


def test_a_file_that_comes_while_the_report_is_written_is_not_lost(small, tmp_path, monkeypatch):
    out = tmp_path / "site"
    write(small, out)
    monkeypatch.setattr(writer.run_page, "restored_png", lambda arrays: (out / "mine.txt").write_text("mine") and None)
    with pytest.raises(UserError, match=r"holds mine.txt"):
        write(small, out)
    assert (out / "mine.txt").read_text() == "mine" and (out / "index.html").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "site"]


@pytest.mark.parametrize("there", [True, False])
def test_what_fails_half_way_leaves_all_as_it_was(small, tmp_path, monkeypatch, there):
    out = tmp_path / "deep" / "site"
    if there:
        write(small, out)
    before = content(tmp_path)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_page, "restored_png", full)
    with pytest.raises(OSError, match="No space"):
        write(small, out)
    assert content(tmp_path) == before and out.parent.exists() == there
    assert not there or [path.name for path in out.parent.iterdir()] == ["site"]


def test_a_report_that_was_moved_away_by_a_killed_process_comes_back(small, tmp_path):
    out = tmp_path / "site"
    write(small, out)
    out.rename(tmp_path / ".tmp-old-site")
    (tmp_path / ".tmp-new-12345678-site").mkdir()
    with pytest.raises(ValueError, match="again"), replaced.replaced(out, lambda _: None):
        raise ValueError("again")
    assert (out / "index.html").is_file() and sorted(path.name for path in tmp_path.iterdir()) == ["runs", "site"]


def test_a_store_whose_name_is_no_text_is_reported(tmp_path):
    beside = Store(tmp_path / os.fsdecode(b"caf\xe9"))
    beside.root.mkdir()
    stored.put(beside, "lr-baseline")
    (beside.root / os.fsdecode(b"bad\xe9")).mkdir()
    write(Store(tmp_path / "runs", others=[beside.root]), tmp_path / "site")
    assert "caf\\udce9, not from your own results" in (tmp_path / "site" / "tables.html").read_text()


def test_a_link_to_a_folder_stays_one(small, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "site").symlink_to("real")
    write(small, tmp_path / "site")
    assert (tmp_path / "site").is_symlink() and (tmp_path / "real" / "index.html").is_file()


# --- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def lrbench(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, folder in (("LRBENCH_RESULTS", "runs"), ("LRBENCH_DATA", "data")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("LRBENCH_BASELINES", "")  # the records that ship with the checkout are not read
    return caller(monkeypatch, capsys)


def test_the_command(lrbench, small, tmp_path):
    status, out, err = lrbench("report")
    assert (status, out) == (0, "site/index.html\n") and (tmp_path / "site" / "index.html").is_file()
    assert all(line.startswith("lrbench: ") and "is not drawn" in line for line in err.splitlines())


def test_the_command_reads_the_baselines_unless_told_not_to(lrbench, small, tmp_path, monkeypatch):
    beside = Store(tmp_path / "beside")
    beside.root.mkdir()
    theirs, [mine] = stored.put(beside, "hr-baseline"), small.records()
    monkeypatch.setenv("LRBENCH_BASELINES", "beside")
    for args, runs in (((), {mine.id, theirs.id}), (("--baselines", "none"), {mine.id})):
        assert lrbench("report", *args)[0] == 0
        assert {path.name for path in (tmp_path / "site" / "runs").iterdir()} == runs


def test_another_dataset_stands_in_published_tables_and_claims(lrbench, small, tmp_path):
    for method in ("lr-baseline", "dfd"):
        stored.put(small, method, dataset="mine")
    assert lrbench("report", "--dataset", "svhn=mine")[0] == 0
    for name in ("index", "tables"):
        page = Page(tmp_path / "site" / f"{name}.html")
        assert "mine stands in the columns of svhn, without its numbers." in page.text
        assert {"mine 8x8", "cifar10 8x8"} <= {text for row in page.rows for text, _ in row}
    page = Page(tmp_path / "site" / "claims.html")
    assert "mine" in page.text and "svhn" not in page.text


@pytest.mark.parametrize("args, message", [
    (("--dataset", "cifar10"), "--dataset wants OLD=NEW; got 'cifar10'"),
    (("--dataset", "shvn=cifar10"), "no published table has dataset 'shvn' to replace; did you mean 'svhn'?"),
    (("--dataset", "svhn=mine"), "there is no run of dataset 'mine'; choose from cifar10"),
    (("--results", "nowhere"), "there is no run in nowhere; start with 'lrbench run'"),
    (("--out", "."), "--out . is the current folder, or holds it; choose another"),
    (("--out", "file"), "--out wants a folder; file is none"),
    (("--out", "runs"), "--out runs is not empty, and not written by lrbench; choose another, or an empty one"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_writes_nothing(lrbench, small, tmp_path, args, message):
    (tmp_path / "file").write_text("")
    before = content(tmp_path)
    assert lrbench("report", *args) == (2, "", f"lrbench: {message}\n")
    assert content(tmp_path) == before


def test_a_folder_that_cannot_be_written(lrbench, small):
    status, out, err = lrbench("report", "--out", Path("/proc/deep/site"))
    assert (status, out) == (1, "") and err.startswith("lrbench: cannot write or read /proc") and err.count("\n") == 1


def test_csv_of_predictions_reads_back():
    class One:
        def predictions(self, run):
            return {"predicted": np.array([1, 2]), "label": np.array([1, 0])}

    out = io.StringIO()
    assert predictions.write(["abc"], One(), out) == 2
    read = list(csv.reader(out.getvalue().splitlines()))
    assert read == [["run", "index", "label", "predicted"], ["abc", "0", "1", "1"], ["abc", "1", "0", "2"]]


def test_what_diverged_or_learned_one_class_is_said_on_every_page(tmp_path):
    store, found = stored.folder(tmp_path)
    lost, guessing = (diverged(found["dfd"][1]), found["lr-baseline"][0])
    metrics = guessing.metrics | {"predicted_classes": 1}
    for one, curve in ((lost, "epoch,loss,recognition,train_top1\n1,3,2.5,20\n"), (guessing, stored.CURVE)):
        one = one.model_copy(update={"metrics": metrics}) if one is guessing else one
        store.save(one, curve, store.predictions(one.id), b"")
    out = writer.write(store, tmp_path / "site", tmp_path, lambda message: None).parent
    page = Page(out / "runs" / lost.id / "index.html")
    said = " ".join(page.text.split())
    assert "Diverged: no number in epoch 3." in said and "diverged top-1 on 20 test images" in said
    assert "It predicts one class" in Page(out / "runs" / guessing.id / "index.html").text
    [row] = [row for row in Page(out / "runs.html").rows if row[-1][0] == lost.id]
    assert "diverged" in [text for text, _ in row] and "10.00" not in [text for text, _ in row]
    assert "DFD (resnet18), 1 of 2 diverged" in Page(out / "cost.html").text
    seeds = Page(out / "index.html").row("DFD")[4]
    assert seeds == ("0 1 (diverged)", [home(one) for one in found["dfd"]])


# --- the first page --------------------------------------------------------------------------------------


def test_the_first_page_has_the_leaderboard_the_published_tables_and_the_claims(site):
    folder, store, _ = site
    page = Page(folder / "index.html")
    ways = {row[0][0]: row for row in page.rows if len(row) == 6}
    assert [text for text, _ in ways["method"]][1:] == ["top-1 (%)", "gain", "95 % interval", "seeds", "size"]
    [place] = [one for one in tables.tables("leaderboard", frame(store), store.right) if len(one.numbers) > 2]
    for way in place.numbers.to_dict("records"):
        run = frame(store).set_index("id").loc[way["id"]]
        (_, score, gain, _, seeds, size), links = zip(*ways[run["label"]], strict=True)
        assert score == f"{way['top1_mean']:.2f} ± {way['top1_sd']:.2f}"
        assert gain == ("-" if np.isnan(way["control_gain"]) else f"{way['control_gain']:+.2f}")
        assert seeds.split() == ["0", "1"] and links[4] == [home(one) for one in site[2][run["method"]]]
        assert size == ("32x32 (HR)" if way["tested_on"] == "hr" else "8x8")
    [caption] = re.findall('<span id="ways-caption">(.*)</span>', page.source)
    assert caption.endswith(": cifar10, resnet18, recipe paper"), "what all lines share is said once"
    assert "Table 1: top-1 accuracy" in page.text and "Table 2: top-1 accuracy" in page.text
    assert f"holds {CLAIM}" in " ".join(page.text.split())


def test_the_plot_of_gains_has_every_gain_once_in_its_place(site):
    folder, store, _ = site
    boards = tables.tables("leaderboard", frame(store), store.right)
    every = first_page.ways([one for one in boards if len(one.numbers)], frame(store))
    gained = every[every["control_gain"].notna()]
    assert len(gained)
    html = first_page.plot(every)
    assert 'src="plotly.min.js"' in html and (folder / "plotly.min.js").stat().st_size > 1e6
    runs = [way["runs"].split()[0] for way in gained.to_dict("records")]
    assert all(html.count(f'"{run}"') == 1 for run in runs)
    assert first_page.plot(every[every["control_gain"].isna()]) == ""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The ways of training in some places, and the frame that they are of."""
    store = Store(tmp_path_factory.mktemp("places"))
    old, chosen = {"spec": {"protocol": 1}}, {"select": "best-epoch"}
    for place in ({}, old, chosen, {"scale": 2}):
        for method in ("hr-baseline", "lr-baseline", "dfd"):
            stored.put(store, method, **place)
        if "scale" not in place:
            stored.put(store, "dfd", settings={"lam": 0.5}, **place)
    results = frame(store)
    return first_page.ways(tables.tables("leaderboard", results, store.right), results), results


def test_the_menu_of_the_plot_names_places_and_leaves_out_those_with_one_gain(places):
    every, _ = places
    html = first_page.plot(every)
    titles, place = re.findall(r'"label":"([^"]*)"', html), "cifar10 8x8 resnet18"
    alike = [f"{place}; epoch chosen on held-out images", f"{place}; final epoch"]
    assert sorted(titles) == [f"{place} (old protocol)", *alike]
    [of_one] = re.findall(r'"label":"([^"]*)"', first_page.plot(every[every["scale"] == 2]))
    assert of_one == "cifar10 16x16 resnet18", "there is none with more"
    assert all(f'"name":"{said}"' in html for said, *_ in first_page.KINDS.values())


def test_the_first_page_answers_what_gains_most_where_both_were_run(places):
    of_one = places[0].query("scale == 2 and method == 'dfd'").iloc[:1]

    def way(name, gain, teacher=None, sr_images="", n=3, scale=4):
        size = "8x8" if scale == 4 else "16x16"
        gained = {"control_gain": gain, "control_low": gain - 1, "control_high": gain + 1}
        return of_one.assign(
            name=name, control_n=n, sr_images=sr_images, teacher_top1=teacher, scale=scale, size=size, **gained
        )

    ways = [
        way("Weak", 0.5, teacher=90.0),
        way("Strong", 2.0, teacher=90.0),
        way("One seed", 9.0, teacher=90.0, n=1),
        way("No teacher", 8.0),
        way("Restored", -0.25, sr_images="50000"),
        way("Alone", 1.0, teacher=90.0, scale=2),
    ]
    said = "distilling gains up to +2.00 [+1.00, +3.00] (Strong, the best of 2)"
    also = "super-resolving gains -0.25 [-1.25, +0.75] (Restored)"
    place = "cifar10 8x8 resnet18"
    top1 = {"a": 72.0, "b": 73.0, "c": 72.0, "d": 70.0, "e": 70.0, "f": 70.0}
    results = pd.DataFrame({"id": [*top1], "seed": [0, 1, 2] * 2, "status": "done", "top1": [*top1.values()]})
    every = pd.concat(ways, ignore_index=True).assign(diverged_runs="")
    every["runs"] = every["name"].map({"Strong": "a b c", "Restored": "d e f"}).fillna("-")
    [told] = first_page.answers(every, results, lambda run: np.arange(1000) < 10 * top1[run])
    assert (told["place"], told["text"].rpartition(" [")[0]) == (
        place,
        f"{said}; {also}; the one minus the other is +2.33",
    )
    low, high = map(float, told["text"].rpartition(" [")[2].rstrip("]").split(", "))
    assert low <= 2.33 - 1.43 and high >= 2.33 + 1.43  # a t-interval: 4.303 times the standard error, 1/3


def test_the_leaderboard_has_a_line_for_each_way_methods_and_settings_apart(places):
    board = first_page.board(*places)
    assert board["columns"] == ["settings", "size", "protocol"] and board["all"] == ["cifar10", "resnet18"]
    assert {line["method"] for line in board["lines"]} == {"HR-baseline", "LR-baseline", "DFD"}
    assert [line["settings"] for line in board["lines"] if line["method"] == "DFD"].count("lam=0.5") == 3
    runs = [run for line in board["lines"] for _, run, _ in line["seeds"]]
    assert sorted(runs) == sorted(places[1]["id"]), "what is tested on HR images stands once"
