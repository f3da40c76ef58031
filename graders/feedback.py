"""The feedback page: nbgrader's, with everything a student can put into it made harmless."""

import re
from collections.abc import Generator
from typing import Any

import bleach
from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, CSSSanitizer
from jinja2 import pass_context
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

_TAGS = {
    *bleach.ALLOWED_TAGS,
    *("p", "div", "span", "pre", "br", "hr", "img", "del", "sub", "sup", "h1", "h2", "h3"),
    *("h4", "h5", "h6", "details", "summary", "dl", "dt", "dd", "figure", "figcaption"),
    *("table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption"),
    *("svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text"),
    *("tspan", "title", "desc"),
}
_ATTRIBUTES = {
    *("align", "alt", "aria-label", "class", "colspan", "height", "id", "open", "role"),
    *("rowspan", "style", "title", "width"),
    *("cx", "cy", "d", "dx", "dy", "fill", "fill-opacity", "font-family", "font-size", "opacity"),
    *("points", "preserveAspectRatio", "r", "rx", "ry", "stroke", "stroke-dasharray"),
    *("stroke-linecap", "stroke-width", "text-anchor", "transform", "viewBox", "xmlns"),
    *("x", "x1", "x2", "y", "y1", "y2"),
}
# Nothing here can lay one thing over another, the score above all.
_STYLES = {
    *(ALLOWED_CSS_PROPERTIES - {"float", "clear", "overflow"}),
    *("border", "border-left", "border-radius", "display", "gap", "grid-template-columns"),
    *("list-style", "margin", "max-width", "opacity", "overflow-wrap", "padding"),
}
_PICTURE = re.compile(r"data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
_TEST_CELL = re.compile(r'<a href="#(\w+)">Test cell</a>')
_LINK = re.compile(r"(https?:|mailto:|#)", re.IGNORECASE)


def clean(html: Any) -> str:
    """The HTML without scripts, handlers, foreign frames, or styles that could cover the page."""
    text = html.decode() if isinstance(html, bytes) else str(html)
    return bleach.clean(
        text,
        tags=_TAGS,
        attributes=_allowed,
        protocols={"http", "https", "mailto", "data"},
        css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES),
        strip=True,
    )


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "href":
        return tag == "a" and bool(_LINK.match(value))
    if name == "src":
        return tag == "img" and bool(_PICTURE.fullmatch(value))
    if name == "style" and "url" in value.lower():
        return False
    return name in _ATTRIBUTES


class FeedbackExporter(HTMLExporter):
    """Renders feedback; Markdown and HTML outputs are cleaned after they have become HTML."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """The rendered Markdown, cleaned: nbgrader's template does not do it."""
        return clean(super().markdown2html(context, source))

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **options: Any
    ) -> tuple[str, dict[str, Any]]:
        """The page; its list of marks names each check, where nbgrader writes "Test cell"."""
        page, resources = super().from_notebook_node(nb, resources, **options)
        return _TEST_CELL.sub(r'<a href="#\1">\1</a>', page), resources

    def default_filters(self) -> Generator[tuple[str, Any], Any, None]:
        """The usual filters, with our cleaning in place of nbconvert's."""
        yield from super().default_filters()
        yield "clean_html", clean
