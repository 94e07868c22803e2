"""Plain text as LaTeX, such as compiles without a package, whatever characters are in it."""

from __future__ import annotations

import re
import unicodedata

SPECIAL = {character: "\\" + character for character in "%&_#{}$"}
SPECIAL |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "`": "'"}
SPECIAL |= {"<": "$<$", ">": "$>$", "|": "$|$"}
MARKS = {"†": r"$^\dagger$", "‡": r"$^\ddagger$", "§": r"\S{}", "¶": r"\P{}", "©": r"\copyright{}", "£": r"\pounds{}"}
MARKS |= {
    "✓": "ok",
    "✗": r"$\times$",
    "€": "EUR",
    "°": r"$^\circ$",
    "•": r"$\bullet$",
    "∙": r"$\cdot$",
    "·": r"$\cdot$",
}
MARKS |= {"–": "--", "—": "---", "‑": "-", "‐": "-", "…": r"\ldots{}", "⁄": "/", "¡": "!`", "¿": "?`"}
MARKS |= {"‘": "`", "’": "'", "‚": ",", "“": "``", "”": "''", "„": ",,", "«": r"$\ll$", "»": r"$\gg$"}
MATHS = {"±": "pm", "∓": "mp", "×": "times", "÷": "div", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx", "∼": "sim"}
MATHS |= {"→": "rightarrow", "←": "leftarrow", "↑": "uparrow", "↓": "downarrow", "↔": "leftrightarrow", "∞": "infty"}
MATHS |= {"↕": "updownarrow", "⇒": "Rightarrow", "⇐": "Leftarrow", "⇔": "Leftrightarrow", "∈": "in", "∑": "sum"}
MATHS |= {"∏": "prod", "√": "surd", "∂": "partial", "∇": "nabla", "∝": "propto", "≡": "equiv", "¬": "neg", "⋅": "cdot"}
MATHS |= {"ς": "varsigma", "ϕ": "phi", "ε": "varepsilon", "ϵ": "epsilon", "ϑ": "vartheta", "∩": "cap", "∪": "cup"}
LETTERS = {"ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}"}
LETTERS |= {"ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th"}
LETTERS |= {"ħ": "h", "Ħ": "H", "ŋ": "ng", "Ŋ": "Ng"}
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u ", "\u0307": "."}
ACCENTS |= {
    "\u0308": '"',
    "\u030a": "r ",
    "\u030b": "H ",
    "\u030c": "v ",
    "\u0323": "d ",
    "\u0327": "c ",
    "\u0331": "b ",
}
# Greek letters that have a Latin form, as TeX has no other of them
LATIN = {"omicron": "o", "ALPHA": "A", "BETA": "B", "EPSILON": "E", "ZETA": "Z", "ETA": "H", "IOTA": "I", "KAPPA": "K"}
LATIN |= {"MU": "M", "NU": "N", "OMICRON": "O", "RHO": "P", "TAU": "T", "CHI": "X"}
NAMES = "ALPHA|BETA|GAMMA|DELTA|EPSILON|ZETA|ETA|THETA|IOTA|KAPPA|LAMDA|MU|NU|XI|OMICRON|PI|RHO|SIGMA|TAU|UPSILON"
GREEK = re.compile(f"GREEK (SMALL|CAPITAL) LETTER ({NAMES}|PHI|CHI|PSI|OMEGA)")
KNOWN = SPECIAL | MARKS | LETTERS | {character: rf"$\{name}$" for character, name in MATHS.items()} | {"−": "$-$"}


def tex(text: str) -> str:
    """Plain text as LaTeX; a question mark for each character that LaTeX has no word for."""
    written = ""
    for character in " ".join(text.split()):
        written += _known(character) or _taken_apart(character)
    written = re.sub(r"(?<=\d)x(?=\d)", r"$\\times$", written)
    return re.sub(r"^[\[*]", r"{\g<0>}", written)  # behind the end of a table's line these would be its options


def _known(character: str) -> str:
    """One character as LaTeX; empty where it is not known."""
    if character in KNOWN:
        return KNOWN[character]
    if " " <= character <= "~":
        return character
    found = GREEK.fullmatch(unicodedata.name(character, ""))
    if not found:
        return ""
    name = found[2].replace("LAMDA", "LAMBDA")
    if found[1] == "SMALL":
        name = name.lower()
    letter = LATIN.get(name) or "\\" + (name if name.islower() else name.capitalize())
    return f"${letter}$"


def _taken_apart(character: str) -> str:
    """A letter with its first accent, what a character stands for, or nothing for what is not seen."""
    if unicodedata.category(character) in ("Cc", "Cf"):
        return ""
    first, *rest = list(unicodedata.normalize("NFKD", character))
    if first == character:
        return "" if unicodedata.combining(character) else "?"
    written = _known(first) or "?"
    for one in rest:
        if one in ACCENTS and len(written) == 1:
            written = rf"\{ACCENTS[one]}{{{written}}}"
        elif not unicodedata.combining(one):
            written += _known(one) or "?"
    return written
