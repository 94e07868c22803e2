"""In a notebook: a class of a cell is trained, little is printed, and an edited cell is another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CELL = """
from pathlib import Path
from lrbench.execute.session import Request, run
from lrbench.method import registry

class Mine(registry.method("lr-baseline")):
    name = "mine"

    def loss(self, batch):
        return {{name: {factor} * term for name, term in super().loss(batch).items()}}

def train():
    [record] = run(Request(
        "mine", "digits", Path({results!r}), scale=2, width=0.125, recipe="quick", epochs=5, limit_train=64,
        limit_test=32, device="cpu", precision="fp32", threads=1, plugins=(Mine,),
    ))
    return record.id

train()
"""


def test_a_class_of_a_cell_is_run(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="there is no notebook here: pip install nbclient ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="there is no notebook here: pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="there is no notebook here: pip install nbclient ipykernel")
    first, edited = (CELL.format(factor=factor, results=str(tmp_path / "runs")) for factor in (1, 0.5))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in (first, "train()", edited)])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    ids = [
        [one.data["text/plain"] for one in cell.outputs if one.output_type == "execute_result"]
        for cell in notebook.cells
    ]
    assert ids[0] == ids[1] != ids[2]
    lines = said(notebook.cells[0])
    assert len(lines) == 3, lines
    assert "mine on digits x2" in lines[0] and "5 epochs of 64 images" in lines[0]
    assert lines[1].startswith("epoch 5/5 ") and "images/s" in lines[1], "one line, which changes"
    assert "top1" in lines[2] or "diverged" in lines[2]
    assert not said(notebook.cells[1]), "nothing was trained"


SUITE = """
import lrbench as lr
from pathlib import Path
Path({folder!r}, "mine.toml").write_text('title = "Mine"\\n[[runs]]\\nmethod = ["lr-baseline", "hr-baseline"]\\n'
    'dataset = "digits"\\nscale = 2\\nwidth = 0.125\\nrecipe = "quick"\\nepochs = 2\\nlimit_train = 300\\n')
len(lr.reproduce({folder!r} + "/mine.toml", results={folder!r} + "/runs", seeds=1, device="cpu", threads=1))
"""


def test_a_suite_is_run_with_one_screen_in_the_cell(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="there is no notebook here: pip install nbclient ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="there is no notebook here: pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="there is no notebook here: pip install nbclient ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SUITE.format(folder=str(tmp_path)))])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    [cell] = notebook.cells
    assert [one.data["text/plain"] for one in cell.outputs if one.output_type == "execute_result"] == ["2"]
    screen, *lines = said(cell)
    assert screen.splitlines()[-1] == "2 done" and "━" in screen, screen
    assert len(lines) == 2 and all("top-1" in line for line in lines), lines


def said(cell: Any) -> list[str]:
    """What a cell has shown besides its result."""
    return [one.data["text/plain"] for one in cell.outputs if one.output_type == "display_data"]
