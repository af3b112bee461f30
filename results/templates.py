"""The templates of pages: read and compiled once in a process, and without a word of what draws figures."""

import functools
from pathlib import Path

import jinja2

FOLDER = Path(__file__).parent


@functools.cache
def environment() -> jinja2.Environment:
    """What reads the templates; everything that is put into them is escaped."""
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, loader=jinja2.FileSystemLoader(FOLDER))
