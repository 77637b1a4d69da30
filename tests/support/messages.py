"""Messages to translate: of the compiled templates and of the Python code."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from django.template.base import FilterExpression, Node, NodeList, Template
from django.template.library import SimpleBlockNode
from django.template.loader import get_template
from django.templatetags.i18n import BlockTranslateNode, TranslateNode
from django.utils import translation
from django.utils.functional import Promise

from tests.support.servers import ROOT

SINGULAR = {"_", "gettext", "gettext_lazy", "gettext_noop"}
PLURAL = {"ngettext", "ngettext_lazy"}
WITH_CONTEXT = {"pgettext", "pgettext_lazy"}


class Message(NamedTuple):
    """A message with its plural and its context, as in the catalogue."""

    text: str
    plural: str = ""
    context: str | None = None


def of_templates() -> Iterator[tuple[str, Message]]:
    """Yield the name of each template and its messages."""
    folder = ROOT / "templates"
    for path in sorted(folder.rglob("*.html")):
        name = str(path.relative_to(folder))
        with translation.override(None):  # the text of a lazy message is then the message itself
            yield from ((name, message) for message in _of_template(get_template(name).template))


def _nodes(nodes: NodeList) -> Iterator[Node]:
    """Yield all nodes, and those that are enclosed by components, which Django does not count among their children."""
    for node in nodes.get_nodes_by_type(Node):
        yield node
        if isinstance(node, SimpleBlockNode):
            yield from _nodes(node.nodelist)


def _of_template(template: Template) -> Iterator[Message]:
    for node in _nodes(template.nodelist):
        if isinstance(node, TranslateNode):
            yield Message(_doubled(node.filter_expression.var.literal), context=_context(node))
        elif isinstance(node, BlockTranslateNode):
            plural = node.render_token_list(node.plural)[0] if node.plural else ""
            yield Message(node.render_token_list(node.singular)[0], plural, _context(node))
        yield from (Message(str(found)) for value in vars(node).values() for found in _lazy(value))


def _doubled(text: str) -> str:
    return text.replace("%", "%%")


def _context(node: TranslateNode | BlockTranslateNode) -> str | None:
    return node.message_context.resolve({}) if node.message_context else None


def _lazy(value: object) -> Iterator[Promise]:
    """Yield the messages written as `_("...")` in a tag's arguments."""
    if isinstance(value, Promise):
        yield value
    elif isinstance(value, FilterExpression):
        yield from _lazy(value.var)
        for _function, arguments in value.filters:
            yield from (found for _is_variable, argument in arguments for found in _lazy(argument))
    elif isinstance(value, dict):
        yield from (found for each in value.values() for found in _lazy(each))


def of_python() -> Iterator[tuple[str, Message]]:
    """Yield the path of each module of the site and the messages in its calls of gettext."""
    for path in sorted((ROOT / "annotate").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                yield from ((str(path.relative_to(ROOT)), message) for message in _of_call(call.func.id, call))


def _of_call(function: str, call: ast.Call) -> Iterator[Message]:
    texts = [argument.value if isinstance(argument, ast.Constant) else None for argument in call.args[:2]]
    if function in SINGULAR and isinstance(texts[0], str):
        yield Message(texts[0])
    elif function in PLURAL and all(isinstance(text, str) for text in texts):
        yield Message(*texts)
    elif function in WITH_CONTEXT and all(isinstance(text, str) for text in texts):
        yield Message(texts[1], context=texts[0])
