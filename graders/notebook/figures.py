"""The figure style of the course, for JupyterLab's light and dark theme."""

from __future__ import annotations

import base64
import html
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY = "#7a7a7a"
"""Text and axes: more than 4:1 in contrast with the page of either theme."""
COLOURS = (
    "#2f7fc1",  # blue
    "#d0701c",  # orange
    "#2d9150",  # green
    "#d64545",  # red
    "#8f6bc2",  # purple
    "#a0694f",  # brown
    "#cc5ba3",  # pink
    GREY,
    "#858521",  # olive
    "#17899a",  # cyan
)
"""In the order of Matplotlib's own; each at least 3:1 on either page."""
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": f"cycler(color={COLOURS})",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY
    ),
}
_done = False


def style_once() -> None:
    """Sets Matplotlib's defaults as soon as it is there; what is set later stays."""
    global _done
    if not _done and "matplotlib.pyplot" in sys.modules:
        _done = True
        use_style()


def use_style() -> None:
    """Figures have no background, mid-tone colours, and twice the resolution in a notebook.

    There they also have an alternative text for screen readers, see `image_with_alt`.
    """
    import matplotlib

    matplotlib.rcParams.update(STYLE)
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is not None:
        from matplotlib_inline.config import InlineBackend

        inline = InlineBackend.instance(parent=shell)
        # Of a figure whose own background is transparent the inline backend says that it needs a
        # light one or a dark one, and JupyterLab paints it. The picture alone is transparent.
        inline.print_figure_kwargs = {"bbox_inches": "tight", "facecolor": "none"}
        inline.figure_formats = {"retina"}
        # JupyterLab drops an alternative text beside image/png, and prefers text/html.
        formatters = shell.display_formatter.formatters
        formatters["text/html"].for_type_by_name("matplotlib.figure", "Figure", image_with_alt)


def image_with_alt(figure: Figure) -> str | None:
    """The figure as an HTML image; None for an empty one.

    Its alternative text is the figure's label, which `plt.figure("Loss of each step")` and
    `plt.subplots(num="Loss of each step")` set. A figure without one is described by its titles and
    the labels of its axes.
    """
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    picture = shell.display_formatter.formatters["image/png"](figure)
    if picture is None:
        return None
    data, about = picture
    source = base64.b64encode(data).decode() if isinstance(data, bytes) else data
    alt = html.escape(str(figure.get_label()) or _titles(figure))
    style = f"width:{about['width']}px;max-width:100%;height:auto"
    return f'<img alt="{alt}" style="{style}" src="data:image/png;base64,{source}">'


def _titles(figure: Figure) -> str:
    """The titles, and the labels of the axes, that are set."""
    words = [figure.get_suptitle()]
    for axes in figure.axes:
        labels = [axes.get_ylabel(), axes.get_xlabel()]
        words += [axes.get_title(), " against ".join(filter(None, labels))]
    return "Figure. " + ". ".join(filter(None, words))
