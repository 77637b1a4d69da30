"""The HTTP API, from its OpenAPI schema."""

from collections.abc import Iterator
from typing import Any

from _generate.cells import code, table, text


def http_api() -> str:
    """List requests and responses of /api/v1/, from the schema that the site serves."""
    from drf_spectacular.generators import SchemaGenerator

    schema = SchemaGenerator().get_schema(request=None, public=True)
    parts = []
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            parts.append(f"### {method.upper()} `{path}`\n\n{text(about.get('description', ''))}\n")
            if rows := list(request_rows(schema, about)):
                parts.append(table(("field", "type", "required", "meaning"), rows))
            rows = [response_row(status, response) for status, response in sorted(about["responses"].items())]
            parts.append(table(("status", "response"), rows))
    return "\n".join(parts)


def request_rows(schema: dict[str, Any], about: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for parameter in about.get("parameters", ()):
        needed = "yes" if parameter.get("required") else ""
        where = f"in the {parameter['in']}"
        words = ". ".join(filter(None, (where, parameter.get("description", ""))))
        yield code(parameter["name"]), kind_of(schema, parameter["schema"]), needed, text(words)
    content = about.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        body = resolved(schema, content["schema"])
        for name, field in body.get("properties", {}).items():
            needed = "yes" if name in body.get("required", ()) else ""
            yield code(name), kind_of(schema, field), needed, text(field.get("description", "").split("\n")[0])


def response_row(status: str, response: dict[str, Any]) -> tuple[str, str]:
    contents = response.get("content", {})
    names = [reference_name(kind.get("schema", {})) for kind in contents.values()]
    shown = ", ".join(dict.fromkeys(code(name) for name in names if name))
    words = text(response.get("description", "").split("\n")[0])
    return status, ": ".join(filter(None, (shown, words))) or "No response body"


def api_objects() -> str:
    """List the fields of the objects in the API's responses."""
    from drf_spectacular.generators import SchemaGenerator

    schema = SchemaGenerator().get_schema(request=None, public=True)
    parts = []
    for name, about in schema["components"]["schemas"].items():
        if "properties" in about and not name.endswith("Request"):
            rows = [
                (code(field), kind_of(schema, kind), text(kind.get("description", "").split("\n")[0]))
                for field, kind in about["properties"].items()
            ]
            parts.append(f"### {name}\n\n" + table(("field", "type", "meaning"), rows))
    return "\n".join(parts)


def reference_name(kind: dict[str, Any]) -> str:
    if kind.get("type") == "array":
        inner = reference_name(kind["items"])
        return f"list of {inner}" if inner else ""
    return kind.get("$ref", "").rpartition("/")[2]


def resolved(schema: dict[str, Any], kind: dict[str, Any]) -> dict[str, Any]:
    name = kind.get("$ref", "").rpartition("/")[2]
    return schema["components"]["schemas"][name] if name else kind


def kind_of(schema: dict[str, Any], kind: dict[str, Any]) -> str:
    for several in ("oneOf", "allOf", "anyOf"):
        if several in kind:
            return " or ".join(dict.fromkeys(kind_of(schema, one) for one in kind[several]))
    about = resolved(schema, kind)
    if (name := reference_name(kind)) and "properties" in about:
        return code(name)
    if "enum" in about:
        return ", ".join(code("null" if value is None else str(value)) for value in about["enum"])
    if "const" in about:
        return code("null" if about["const"] is None else str(about["const"]))
    types = about.get("type", "any")
    shown = types if isinstance(types, list) else [types]
    return " or ".join(about.get("format", one) if one == "string" else str(one) for one in shown)
