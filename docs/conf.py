"""The site: Sphinx with MyST, from the pages beside this file. `bash scripts/docs` builds it into `site`.

Nothing is loaded from elsewhere: furo brings its fonts and scripts, and equations become MathML, which browsers draw.
"""

import re
import sys
from html import escape
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

project = "LightCRCF"
author = "The LightCRCF developers"
version = release = version_of("lightcrcf")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # as GitHub makes them, so that links work in both places
default_role = "literal"  # docstrings write `name` as Markdown does

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_custom_sections = [("Source", "notes_style")]
napoleon_use_rtype = False
maximum_signature_line_length = 100  # longer ones have a line for each argument

html_theme = "furo"
html_title = "LightCRCF"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
html_static_path = ["style"]
html_css_files = ["site.css"]


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="equation" role="math" aria-label="{escape(node.astext(), quote=True)}">')
    translator.body.append(convert(node.astext(), display="block"))
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def _read(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Two documents lie outside of this folder, and the site has a page for each."""
    for outside, page in (("benchmarks/README", "results/measuring"), ("README", "index")):
        source[0] = re.sub(rf"\]\(((?:\.\./)*)\.\./{outside}\.md", rf"](\1{page}.md", source[0])


def _docstring(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Keep the bars of |A|, which reStructuredText takes for a substitution."""
    lines[:] = [re.sub(r"\|(\w+)\|", r"\\|\1\\|", line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer of equations, and what is changed on the way in."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
