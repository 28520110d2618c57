"""What schemathesis has to know besides the description."""

import os
import re

import schemathesis
import yaml
from hypothesis import strategies as st

# Formats that are a grammar, or that the server alone can make.
FORMATS = {
    "scim-filter": ["", "kind pr", 'metadata.name sw "a"', 'not (metadata.labels.env eq "x") or metadata.uid pr'],
    "scim-user-filter": ["", "active eq true", 'email ew "@example.com" and not (displayName pr)', 'userName sw "a"'],
    "cursor": [""],
    "token-lifetime": ["1h", "30d", "1h30m"],
    "cidr": ["192.0.2.0/24", "2001:db8::/32", "127.0.0.0/8"],
    # What is sent is always about a time that is to come.
    "date-time": ["2040-01-31T12:00:00Z", "2039-12-31T23:59:59.5+02:00"],
    # A session must not be idle for longer than it lasts, by default too.
    "duration-2m-to-30d": ["", "2m", "1h30m", "8h"],
    "duration-5m-to-90d": ["", "8h", "7d12h", "90d"],
}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _register(name):
    """A length of time names its bounds in its format."""
    bounds = re.fullmatch(r"duration-(\d+)([smhd])-to-(\d+)([smhd])", name)
    if bounds and name not in FORMATS:
        least = int(bounds[1]) * SECONDS[bounds[2]]
        most = int(bounds[3]) * SECONDS[bounds[4]]
        FORMATS[name] = ["", f"{least}s", bounds[1] + bounds[2], bounds[3] + bounds[4], f"{most // 120}m{most % 120}s", f"{(least + most) // 2}s"]
    if name in FORMATS:
        schemathesis.openapi.format(name, st.sampled_from(FORMATS[name]))


for format_name in list(FORMATS):
    _register(format_name)


def _walk(node, visit):
    if isinstance(node, dict):
        visit(node)
        for value in node.values():
            _walk(value, visit)
    elif isinstance(node, list):
        for value in node:
            _walk(value, visit)


@schemathesis.hook
def before_load_schema(ctx, raw_schema):
    def visit(node):
        if isinstance(node.get("format"), str):
            _register(node["format"])

    _walk(raw_schema, visit)


class _Dumper(yaml.SafeDumper):
    """Writes YAML that 1.1 and 1.2 read alike: every string in quotes, every key on its line."""

    def ignore_aliases(self, data):
        return True

    def check_simple_key(self):
        return not isinstance(self.event, yaml.CollectionStartEvent)


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


# The first name of the family is the one that is looked for.
@schemathesis.serializer("text/yaml", "application/yaml")
def as_yaml(ctx, value):
    if isinstance(value, bytes):
        return value
    return yaml.dump(value, Dumper=_Dumper, width=float("inf")).encode()


PROTECTED = set(filter(None, os.environ.get("PROTECTED", "").split(",")))


def _own_name(case):
    """A resource's name stands in its path and in its body: it is drawn once."""
    name = (case.path_parameters or {}).get("name")
    body = case.body
    if case.method != "PUT" or not isinstance(body, dict) or not isinstance(name, str) or case.path.count("/") != 4:
        return
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
        metadata["name"] = name


def _name_of(document):
    metadata = document.get("metadata") if isinstance(document, dict) else None
    return metadata.get("name") if isinstance(metadata, dict) else None


def _distinct(items, key):
    """Takes out what stands in a list twice by its key, which JSON Schema cannot say."""
    seen = set()
    for item in list(items):
        k = key(item) if isinstance(item, dict) else None
        if k is None:
            continue
        if k in seen:
            items.remove(item)
        seen.add(k)


def _distinct_in(body):
    def visit(node):
        if isinstance(node.get("models"), list):
            _distinct(node["models"], lambda m: m["name"] if isinstance(m.get("name"), str) else None)
        if isinstance(node.get("collaborators"), list):
            _distinct(node["collaborators"], lambda c: (str(c.get("subject")).lower(), str(c.get("role"))))
        if isinstance(node.get("documents"), list):
            _distinct(node["documents"], lambda d: (str(d.get("kind")), str(_name_of(d))))
        # The description says it in words.
        if "entra" in (node.get("preset"), node.get("provider")) and node.get("emailVerified") == "assumed":
            del node["emailVerified"]

    _walk(body, visit)


def _protect(case):
    for values in (case.path_parameters, case.query):
        for key in ("name", "user"):
            if isinstance(values, dict) and isinstance(values.get(key), str) and values[key] in PROTECTED:
                values[key] = "somebody-else"

    def visit(node):
        if isinstance(_name_of(node), str) and _name_of(node) in PROTECTED:
            node["metadata"]["name"] = "somebody-else"

    _walk(case.body, visit)


def _stay_here(body):
    """Puts loopback in place of the hosts whose keys the server would fetch by itself."""

    def here(value):
        if isinstance(value, list):
            return [here(v) for v in value]
        return re.sub(r"^(https?://)(\[[^\]]*\]|[^/:?#]+)", r"\g<1>127.0.0.1", value) if isinstance(value, str) else value

    def visit(node):
        for key in ("issuer", "jwks_uri", "jwksURLs"):
            if key in node:
                node[key] = here(node[key])

    _walk(body, visit)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    if case.method != "GET":
        _protect(case)
        if case.meta and case.meta.generation.mode.is_positive:
            _distinct_in(case.body)
        # What is wrong is refused, and nothing of it is fetched; mended here it might be right.
        if not case.meta or case.meta.generation.mode.is_positive:
            _stay_here(case.body)
    _own_name(case)
    # OpenAPI cannot say that two headers exclude each other.
    if case.headers and "If-Match" in case.headers and "If-None-Match" in case.headers:
        del case.headers["If-None-Match"]
