"""Fill templates: the one place where pages and drawings become text, and where every value in them is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["render"]


def render(template: str, **values: Any) -> str:
    """Fill a file of `lightcrcf/report/templates`; names of files and people are text there, never markup.

    Args:
        template: the file's name.
        values: what it shows; a name that the template asks for and that is not here is an error.

    Example:
        >>> render("sheet.html", title="<b>", note="", cards=[], states={}).count("&lt;b&gt;")
        2
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lightcrcf.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
