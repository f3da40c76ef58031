"""What a function displays: HTML in a notebook, the same in plain text elsewhere."""

from __future__ import annotations

import sys


def show(html: str, text: str) -> None:
    """Displays the HTML where a notebook runs this process, and prints the text elsewhere."""
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from IPython.display import display

        display({"text/html": html, "text/plain": text}, raw=True)
    else:
        print(text)
