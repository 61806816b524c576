"Sphinx's settings for the book; book/make_book.py prepares its sources."

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

from docstrings import describe, forget_bases  # noqa: E402

import animegan_nb  # noqa: E402

project = 'animegan_nb'
author = 'the animegan_nb authors'
copyright = f'2026, {author}'
version = release = animegan_nb.__version__
language = 'en'

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.mathjax',
    'sphinx.ext.githubpages',
    'sphinx_copybutton',
]
exclude_patterns = []
source_suffix = {'.rst': 'restructuredtext', '.md': 'myst-nb', '.ipynb': 'myst-nb'}

# notebooks: as they are stored
nb_execution_mode = 'off'
nb_merge_streams = True
nb_render_markdown_format = 'myst'  # tables that code makes may hold equations and links
nb_render_image_options = {'alt': 'What the code above shows'}
myst_enable_extensions = ['dollarmath', 'amsmath']
myst_dmath_double_inline = True
myst_heading_anchors = 3

# equations: MathJax comes from a package, not from a server
mathjax_path = 'mathjax/tex-chtml.js'
mathjax_package = Path(importlib.util.find_spec('sphinx-mathjax-offline').origin).parent

# the library's reference
autodoc_default_options = {'members': True, 'member-order': 'bysource'}
autodoc_typehints = 'none'  # they stand beside the parameters
autodoc_inherit_docstrings = False  # what PyTorch says about every `forward` is no news
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_class_signature = 'separated'
python_maximum_signature_line_length = 96
python_display_short_literal_types = True
toc_object_entries_show_parents = 'hide'
default_role = 'code'
suppress_warnings = ['config.cache']

# the page
html_theme = 'sphinx_book_theme'
html_title = 'animegan_nb'
html_static_path = ['static', str(mathjax_package / 'static')]
html_css_files = ['book.css']
html_js_files = ['search.js']
html_copy_source = True
html_sourcelink_suffix = ''
html_show_sphinx = False
html_logo = 'static/logo.png'
html_favicon = 'static/favicon.png'
html_context = {'default_mode': 'auto'}
pygments_style = 'default'
html_theme_options = {
    'repository_url': 'https://github.com/animegan-nb/animegan_nb',
    'repository_branch': 'main',
    'path_to_docs': 'nbs',
    'use_repository_button': True,
    'use_download_button': True,
    'launch_buttons': {'colab_url': 'https://colab.research.google.com'},
    'logo': {'text': 'animegan_nb', 'alt_text': ''},
    'navbar_persistent': [],
    'show_navbar_depth': 1,
    'max_navbar_depth': 2,
    'show_toc_level': 2,
    'pygments_light_style': 'github-light',
    'pygments_dark_style': 'github-dark',
}


def setup(app):
    app.connect('autodoc-process-docstring', describe, priority=400)  # before Napoleon, which comes at 500
    app.connect('autodoc-process-bases', forget_bases)
