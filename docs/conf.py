"""How the manual is built: sphinx-build -W docs build/docs (no network is needed)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from leadlight import __version__

project = "Leadlight"
author = "the Leadlight authors"
copyright = "the Leadlight authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "equations", "reference"]
exclude_patterns = ["_ext"]
source_suffix = {".md": "markdown"}
nitpicky = True
# Within the package a reference that leads nowhere is an error. Other projects' pages would have to
# be fetched to know where their names lead.
# Type variables and private names have no page.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!leadlight\.).*"),
    (r"py:class", r"leadlight\.[\w.]+\.([A-Z]|Found|_\w+)"),
]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath", "smartquotes"]
myst_heading_anchors = 4
# Equations are drawn by the browser's own MathML: no script, no font, no network.
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_use_type_comments = False
# The side bar names modules; with every function in it a page would take seconds to write.
toc_object_entries = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# The signature of a dataclass has the types of its fields already.
napoleon_attr_annotations = False
# A name between single back quotes is code.
default_role = "literal"

html_theme = "furo"
html_title = f"Leadlight {version}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "source_repository": "",
    "light_css_variables": {"color-brand-primary": "#1d5c8a", "color-brand-content": "#1d5c8a"},
    "dark_css_variables": {"color-brand-primary": "#8cc4ee", "color-brand-content": "#8cc4ee"},
}
