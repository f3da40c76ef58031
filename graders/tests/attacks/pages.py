"""Attacks on whoever reads the feedback page; a script that runs sets `window.owned`."""

from __future__ import annotations

from nbformat.v4 import new_markdown_cell

from graders.sample.draft import Draft
from graders.tests.attacks.corpus import RIGHT, Attack, code

OWN = "window.owned=1"


def displayed(html: str) -> str:
    return code(f"from IPython.display import HTML, display\ndisplay(HTML({html!r}))", RIGHT)


IN_CODE = {
    "script": ("displays a script", displayed(f"<script>{OWN}</script>")),
    "handler": ("displays a picture that cannot load", displayed(f'<img src=x onerror="{OWN}">')),
    "svg": ("displays an SVG with a handler", displayed(f'<svg onload="{OWN}"></svg>')),
    "frame": (
        "displays a frame with a document of its own",
        displayed(
            f'<iframe srcdoc="<script>parent.owned=1</script>" src="javascript:{OWN}"></iframe>'
        ),
    ),
    "overlay": (
        "lays full marks over the page, by CSS",
        displayed(
            '<style>.score{visibility:hidden}</style><div style="position:fixed;inset:0;'
            'z-index:9999;background:white;font-size:60px">3 / 3 points</div>'
        ),
    ),
    "pulled overlay": (
        "pulls full marks over the score, by a negative margin",
        displayed('<h1 style="margin:-400px 0 0;background:white;padding:90px">3 / 3</h1>'),
    ),
    "javascript": (
        "displays JavaScript by IPython's own class",
        code(
            f"from IPython.display import Javascript, display\ndisplay(Javascript({OWN!r}))", RIGHT
        ),
    ),
    "printed script": (
        "prints what ends a <pre> and begins a script",
        code(f"print('</pre></details><script>{OWN}</script><!--')", RIGHT),
    ),
    "script in the answer": (
        "writes a script into the answer itself, and a template's braces",
        f"# </pre></code><script>{OWN}</script> {{{{ 7 * 7 }}}} {{% raw %}}\n{RIGHT}",
    ),
    "script in an error": (
        "raises an error whose name and words are a script",
        f"""
class Bad(Exception): pass
Bad.__name__ = Bad.__qualname__ = "<script>{OWN}</script>"
def double(x):
    raise Bad("<img src=x onerror={OWN}>")
""",
    ),
    "script in a card": (
        "shows a card of its own, with a handler in it",
        code(
            "from IPython.display import HTML, display\n"
            f'card = \'<div role="status" onmouseover="{OWN}"><script>{OWN}</script>'
            "3 / 3 points</div>'\n"
            "get_ipython().events.register('post_run_cell', lambda *_: display(HTML(card)))",
            RIGHT,
        ),
    ),
    "refresh": (
        "displays what sends the reader elsewhere",
        displayed('<meta http-equiv="refresh" content="0;url=about:blank"><base href="http://x/">'),
    ),
    "huge picture": (
        "displays a picture of 20 MB",
        code(
            "from IPython.display import Image, display\n"
            "display(Image(data=b'\\x89PNG\\r\\n' + bytes(20_000_000), format='png'))",
            RIGHT,
        ),
    ),
}


def scripts_in_text(draft: Draft) -> None:
    text = f"<script>{OWN}</script> [link](javascript:{OWN})\n\n<img src=x onerror='{OWN}'>"
    draft.notebook.cells.append(new_markdown_cell(text))
    draft.notebook.metadata.title = f"<script>{OWN}</script>"


ATTACKS = [
    *(
        Attack("the feedback page", name, tries, source, earns="Bad" not in source)
        for name, (tries, source) in IN_CODE.items()
    ),
    Attack(
        "the feedback page",
        "script in text",
        "writes scripts and links into Markdown and into the notebook's title",
        RIGHT,
        scripts_in_text,
        earns=True,
    ),
]
