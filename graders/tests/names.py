"""Names of students and files that are more than text to somebody: a corpus for every output."""

from __future__ import annotations

REFUSED = {
    "a pattern": ["S[1]", "S*", "S?", "*", "[!a]*", "a[b]c", "[bold red]markup[]", "back\\slash"],
    "control characters": [
        "esc\x1b[31mred",
        "title\x1b]0;owned\x07",
        "new\nline",
        "carriage\rreturn",
        "tab\there",
        "del\x7f",
        "c1\x9b2J",
        "separator\u2028line",
        "paragraph\u2029line",
    ],
    "characters that are not seen": [
        "rtl\u202egpj.exe",
        "isolate\u2066x",
        "zero\u200bwidth",
        "soft\u00adhyphen",
        "\ufeffbom",
    ],
    "not UTF-8": ["\udcff\udcfe", "half\udce9"],
    "a formula": ["=cmd|x", "+1+1", "-2+3", "@sum", '=HYPERLINK("x")'],
    "a leading dot": ["...", ".hidden"],
    "blanks at the ends": ["Bob ", " Bob", "Bob\u00a0"],
    "too long": ["x" * 200],
    "a twin": ["Ada", "ADA", "Zoe\u0301", "Zo\u00e9", "\ufb01nn", "finn"],
}
# Odd, and nothing but text where they are escaped.
TAKEN = [
    "S1",
    "Zoë Ångström",
    "李雷",
    "O'Brien",
    'quo"te',
    "comma, semicolon;",
    "<b>bold",
    "<img src=x onerror=alert(1)>",
    "a&b",
    "{student}",
    "%s %(x)s",
    "$(id) `id`",
    "ben=1",
]
FILES = ["esc\x1b[2J.ipynb", "\udcff\udcfe.ipynb", "rtl\u202e.ipynb", "=1+1.ipynb"]
