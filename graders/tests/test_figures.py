"""The figure style: it is set once, and what it draws stands on a light and on a dark page."""

from __future__ import annotations

import subprocess
import sys

import pytest

from graders.notebook.figures import COLOURS, GREY

PAGES = {"light": "#ffffff", "dark": "#111111"}  # JupyterLab's --jp-layout-color0


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_colours_stand_on_both_pages(page: str) -> None:
    assert contrast(GREY, page) > 4
    assert {colour: contrast(colour, page) > 3 for colour in COLOURS} == dict.fromkeys(
        COLOURS, True
    )


CELLS = """
import base64, io, os
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.display_formatter.active_types = ["text/plain", "text/html", "image/png"]
shell.run_cell("import graders, matplotlib; first = matplotlib.rcParams['axes.facecolor']")
shell.run_cell("import matplotlib.pyplot as plt")
shell.run_cell("second = plt.rcParams['axes.facecolor']; plt.rcParams['font.size'] = 7")
shell.run_cell("print(first, second, plt.rcParams['font.size'])")
shell.run_cell("figure, _ = plt.subplots(figsize=(3, 2)); plt.close('all')")
data, about = shell.display_formatter.format(shell.user_ns["figure"])
image = io.BytesIO(base64.b64decode(data["image/png"]))
corner = shell.user_ns["plt"].imread(image)[0, 0]
size = about["image/png"]
print(corner[3], size.keys(), size["width"] < 310)
from matplotlib_inline.backend_inline import _fetch_figure_metadata
print(_fetch_figure_metadata(shell.user_ns["figure"]))
"""
ALTERNATIVES = """
figure, axes = plt.subplots(num='Loss of "a" < <b> & c')
plt.close("all")
first = get_ipython().display_formatter.format(figure)[0]
figure, axes = plt.subplots(1, 2)
figure.suptitle("Two runs"), axes[0].set(title="slow", xlabel="step", ylabel="loss")
plt.close("all")
second = get_ipython().display_formatter.format(figure)[0]
nothing = get_ipython().display_formatter.format(plt.figure("empty"))[0]
plt.close("all")
import base64, html.parser
class Images(html.parser.HTMLParser):
    def handle_starttag(self, tag, attributes):
        about = dict(attributes)
        print(tag, about["alt"], about["style"].startswith("width:"), about["src"][:22])
for data in (first, second):
    Images().feed(data["text/html"])
    print(base64.b64decode(data["text/html"].split("base64,")[1].split('"')[0])[1:4])
print(sorted(nothing))
"""


def test_a_notebook_that_imports_pyplot_gets_the_style_once() -> None:
    """The picture is transparent, has twice the resolution, and asks JupyterLab for no colour."""
    command = [sys.executable, "-c", CELLS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-3:] == [
        "white none 7.0",
        "0.0 dict_keys(['width', 'height']) True",
        "None",
    ]


def test_a_figure_has_an_alternative_text() -> None:
    """Its label, or what its titles and axes say; an empty figure has no image at all."""
    code = CELLS + f"shell.run_cell({ALTERNATIVES!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-5:] == [
        'img Loss of "a" < <b> & c True data:image/png;base64,',
        "b'PNG'",
        "img Figure. Two runs. slow. loss against step True data:image/png;base64,",
        "b'PNG'",
        "['text/plain']",
    ]
