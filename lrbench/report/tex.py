"""Plain text as LaTeX, such as compiles without a package, whatever characters are in it."""

from __future__ import annotations

import re
import unicodedata

SPECIAL = {character: "\\" + character for character in "%&_#{}$"}
SPECIAL |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "`": "'"}
SPECIAL |= {"<": "$<$", ">": "$>$", "|": "$|$", "−": "$-$"}
# LaTeX (since 2018) reads ASCII, the Latin letters and marks up to here, and these; but not those.
LATIN, MARKS, NOT = "ž", "†‡•…–—‑‐‘’“”€⁄", "«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų"
LOOKS = {"✓": "ok", "✗": "x", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ħ": "h", "Ħ": "H"}
LOOKS |= {"‚": ",", "„": ",,", "«": r"$\ll$", "»": r"$\gg$", "∙": r"$\cdot$"}
MATHS = {"∓": "mp", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx", "∼": "sim", "∈": "in", "∑": "sum", "∏": "prod"}
MATHS |= {"→": "rightarrow", "←": "leftarrow", "↑": "uparrow", "↓": "downarrow", "↔": "leftrightarrow", "∞": "infty"}
MATHS |= {"⇒": "Rightarrow", "⇐": "Leftarrow", "⇔": "Leftrightarrow", "√": "surd", "∂": "partial", "∇": "nabla"}
MATHS |= {"∝": "propto", "≡": "equiv", "⋅": "cdot", "ς": "varsigma", "ϕ": "phi", "ε": "varepsilon", "ϵ": "epsilon"}
KNOWN = SPECIAL | LOOKS | {character: rf"$\{name}$" for character, name in MATHS.items()}
# Greek letters; those that look as Latin ones are written so, as TeX has no other of them
NAMES = "ALPHA|BETA|GAMMA|DELTA|EPSILON|ZETA|ETA|THETA|IOTA|KAPPA|LAMDA|MU|NU|XI|OMICRON|PI|RHO|SIGMA|TAU|UPSILON"
GREEK = re.compile(f"GREEK (SMALL|CAPITAL) LETTER ({NAMES}|PHI|CHI|PSI|OMEGA)")
AS_LATIN = {"omicron": "o", "ALPHA": "A", "BETA": "B", "EPSILON": "E", "ZETA": "Z", "ETA": "H", "IOTA": "I"}
AS_LATIN |= {"KAPPA": "K", "MU": "M", "NU": "N", "OMICRON": "O", "RHO": "P", "TAU": "T", "CHI": "X"}


def tex(text: str) -> str:
    """Plain text as LaTeX in UTF-8; a question mark for each character that LaTeX has no word for."""
    written = "".join(_known(one) or _plainer(one) for one in " ".join(text.split()))
    written = re.sub(r"(?<=\d)x(?=\d)", r"$\\times$", written)
    return re.sub(r"^[\[*]", r"{\g<0>}", written)  # behind the end of a table's line these would be its options


def _known(character: str) -> str:
    """One character as LaTeX; empty where it is not known."""
    if character in KNOWN:
        return KNOWN[character]
    if " " <= character <= "~" or ("\xa1" <= character <= LATIN and character not in NOT) or character in MARKS:
        return "" if character == "\xad" else character  # which is not seen
    found = GREEK.fullmatch(unicodedata.name(character, ""))
    if not found:
        return ""
    name = found[2].replace("LAMDA", "LAMBDA")
    if found[1] == "SMALL":
        name = name.lower()
    return f"${AS_LATIN.get(name) or chr(92) + (name if name.islower() else name.capitalize())}$"


def _plainer(character: str) -> str:
    """What a character stands for, without accents, or nothing for what is not seen."""
    if unicodedata.category(character) in ("Cc", "Cf") or unicodedata.combining(character):
        return ""
    parts = [part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)]
    return "?" if parts == [character] else "".join(_known(part) or "?" for part in parts)
