"""Makes the HTML of hints harmless: it is made of Markdown that another tool has rendered."""

import re
from functools import lru_cache

import bleach
from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, CSSSanitizer
from markupsafe import Markup

_TAGS = {
    *bleach.ALLOWED_TAGS,
    *("p", "div", "span", "pre", "br", "hr", "del", "sub", "sup", "h1", "h2", "h3"),
    *("h4", "h5", "h6", "details", "summary", "dl", "dt", "dd", "figure", "figcaption"),
    *("table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption"),
    *("svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text"),
    *("tspan", "title", "desc"),
}
_ATTRIBUTES = {
    *("align", "alt", "aria-label", "colspan", "height", "open", "role"),
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
_LINK = re.compile(r"(https?:|mailto:|#)", re.IGNORECASE)


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "href":
        return tag == "a" and bool(_LINK.match(value))
    if name == "style" and "url" in value.lower():
        return False
    return name in _ATTRIBUTES


_CLEANER = bleach.Cleaner(
    tags=_TAGS,
    attributes=_allowed,
    protocols={"http", "https", "mailto"},
    css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES),
    strip=True,
)


@lru_cache(1024)  # of a class: its cards are much alike
def clean(html: str) -> Markup:
    """The HTML without scripts, handlers, pictures, frames, or styles that could cover the page."""
    return Markup(_CLEANER.clean(html))
