"""The templates of the report and the card, filled in by Jinja.

In HTML templates every value is escaped, and its invisible characters are shown, without a filter. A Markdown template
has to pass what it puts into a table through the filter `markdown_cell`.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_eval_context, select_autoescape
from jinja2.nodes import EvalContext
from plotly.offline import get_plotlyjs

from jobs.engine.report.display import cell, clipped, fence, markdown_cell, percent, ratio, visible
from jobs.engine.report.figures import Figure
from jobs.engine.store.folder import Folder

FILTERS = (cell, clipped, fence, markdown_cell, percent, ratio)


def write_page(
    folder: Folder, name: str, template: str, page: Mapping[str, Any], charts: Sequence[Figure] = ()
) -> None:
    """Writes a template whose variable `page` is this value; the file is either whole or as it was before.

    charts: what the script of an HTML page draws.
    """
    figures = [{"name": each.name, "data": each.data, "layout": each.layout} for each in charts]
    text = _environment().get_template(template).render(page=page, figures=figures)
    folder.write(name, text.encode("utf-8", "backslashreplace"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("jobs.engine.report"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({each.__name__: each for each in FILTERS}, script_hash=_script_hash)
    environment.globals["plotly_source"] = get_plotlyjs
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "ensure_ascii": False,
    }  # JSON in a browser knows no NaN
    return environment


@pass_eval_context
def _shown(context: EvalContext, value: Any) -> Any:
    """What a template puts out for a value; Markup is HTML already."""
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return visible(value) if context.autoescape and is_text else value


def _script_hash(script: str) -> str:
    """What a content security policy calls a script that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
