"""LaTeX: whatever stands in a table, what is written of it compiles."""

import shutil
import subprocess
import unicodedata

import pytest
from helpers import stored
from helpers.records import record
from helpers.tables import fill, hits, paper_rows, render

from lrbench.report import formats
from lrbench.report.formats import Table
from lrbench.report.frame import frame
from lrbench.report.tables import names, tables
from lrbench.report.tex import tex

# the rules of booktabs, which need not be installed
HEAD = r"""\documentclass{article}
\let\toprule\hline\let\midrule\hline\let\bottomrule\hline\def\cmidrule(lr)#1{\cline{#1}}
\begin{document}
"""
WRITTEN = {
    "λ=2 ± 1": r"$\lambda$=2 ± 1",
    "Ω Α ο ς": r"$\Omega$ $A$ $o$ $\varsigma$",
    "†‡§": "†‡§",
    "8x8 → −3 ≤ x": r"8$\times$8 $\rightarrow$ $-$3 $\leq$ x",
    "Éclair Ångström naïve Łódź": "Éclair Ångström naïve Łódź",
    "Đą ŋ ǽ": "Da ? æ",
    "“a” ‘b’ – — …": "“a” ‘b’ – — …",
    "a\tb\nc\r\n\n d": "a b c d",
    "50% & _x_ #1 {y} $ \\ ^ ~": r"50\% \& \_x\_ \#1 \{y\} \$ \textbackslash{} \textasciicircum{} \textasciitilde{}",
    "½ ² µ": "½ ² µ",
    "中文 😀": "?? ?",
    "a\u200bb\x07c\udcff": "abc?",
    "[1] *": "{[}1] *",
}


def compiles(text, folder, head=HEAD):
    """Whether pdflatex makes a PDF of tables, and what it said."""
    if not shutil.which("pdflatex"):
        pytest.skip("there is no pdflatex; apt-get install texlive-latex-base")
    (folder / "t.tex").write_text(head + text + "\n\\end{document}\n", encoding="utf-8")
    call = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    done = subprocess.run(call, cwd=folder, capture_output=True, timeout=120)
    return done.returncode == 0 and b"Missing character" not in done.stdout, done.stdout[-2000:]


@pytest.mark.parametrize("text", WRITTEN)
def test_what_latex_lacks_becomes_what_it_has(text):
    assert tex(text) == WRITTEN[text]


def everything():
    """Every letter, mark and symbol of the first planes that has a name, and some that have none."""
    characters = [chr(number) for number in (*range(0x3000), *range(0xFB00, 0xFB07), 0x4E2D, 0xDCFF, 0x1F600, 0xE000)]
    return [one for one in characters if unicodedata.category(one)[0] in "LMNPSZC"]


@pytest.mark.slow
def test_every_character_compiles(tmp_path):
    every = everything()
    lines = ["x".join(every[start : start + 40]) for start in range(0, len(every), 40)]
    text = "\n\n".join(tex(line) for line in lines)
    assert len(every) > 9000
    good, said = compiles(text, tmp_path)
    assert good, said


@pytest.mark.slow
def test_a_table_compiles_whatever_it_says(tmp_path):
    cells = [*WRITTEN, *(one + " first" for one in "[*`'\"|<>-+=/~^_"), "", " ", "--set a=[1, 2]"]
    shown = dict.fromkeys(("", "λ ± [x]", "[y]", "a_b"), cells)
    columns = [(name, texts, None) for name, texts in shown.items()]
    made = [Table.of("Tabelle 中: λ & Ω", "8x8 → “λ” %", columns, cells), Table.of("", "", [("", [], None)])]
    good, said = compiles(formats.latex(made), tmp_path)
    assert good, said


@pytest.mark.slow
def test_our_tables_compile(tmp_path):
    store, _ = stored.folder(tmp_path)
    results = frame(store)
    for name in names():
        good, said = compiles(formats.latex(tables(name, results, store.right)), tmp_path)
        assert good, (name, said)
        empty = tables(name, results[:0], store.right)
        good, said = compiles(formats.latex(empty), tmp_path)
        assert good, (name, said)


@pytest.mark.slow
def test_published_tables_fit_a_column_of_a_paper(tmp_path):
    records = paper_rows()
    [filled] = fill("1", records, hits(records))
    settings = [{"sr_scale": 4, "sr_epochs": epochs, "channels": 32, "sr_pairs": "all"} for epochs in (6, 12)]
    restored = [
        record(name, 81.0 + seed, seed, one) for name in ("vdsr", "srgan") for one in settings for seed in (0, 1)
    ]
    [second] = fill("2", [record("hr-baseline", 93.0), record(), *restored])
    text = render([filled, second], "latex", long=False)
    assert text.count(r"\textbf{") == 13 and r"\multicolumn{2}{c}{cifar10}" in text and "to 32$" in text
    icassp = HEAD.replace("{article}", r"[twocolumn]{article}\textwidth=17.8cm")  # columns of 8.6 cm
    good, said = compiles(text, tmp_path, icassp)
    assert good, said
    assert "Overfull" not in (tmp_path / "t.log").read_text(encoding="latin-1")
