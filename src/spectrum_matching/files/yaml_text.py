"""YAML as its version 1.2 reads it, within bounds: no dates, no numbers to base 60, no key twice, no flood of aliases.

PyYAML reads version 1.1, in which `1:30` is 90, `no` is false and `1e-4` a text; what is written here is read alike.
"""

import re
from typing import Any

import yaml

MOST_NODES = 100_000  # of a file, with what its aliases repeat
MOST_LEVELS = 100

# The core schema of YAML 1.2 and the merge key, by the first characters that a value of each kind can have.
SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", "<<", ["<"]),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, _pattern, _first in SCHEMA:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value
    return int(text, 16) if text.startswith("0x") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def dump_yaml(plain: Any) -> str:
    """Return plain values as YAML, keys in their order."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str) -> Any:
    """Return what YAML text holds.

    Raises:
        ValueError: saying why and where, for anything that cannot be read, a key that is there twice, an alias within
            what it names, and for too many levels or nodes, counting what aliases repeat.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root)
        return loader.construct_document(root)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        # PyYAML's own, and whatever its constructors raise for a value that its explicit tag does not fit.
        raise ValueError(" ".join(str(error).split())) from error


def _check(root: yaml.Node) -> None:
    """Walk all nodes as often as aliases repeat them."""
    n_nodes = 0
    open_nodes: list[tuple[yaml.Node, str, int]] = [(root, "", 0)]
    while open_nodes:
        node, key, level = open_nodes.pop()
        n_nodes += 1
        where = key or "the file"
        if n_nodes > MOST_NODES:
            raise ValueError(f"{where} holds more than {MOST_NODES:,} values, counting what aliases repeat")
        if level >= MOST_LEVELS:  # or an alias stands within what it names
            raise ValueError(f"{where[:80]}… is nested too deeply")
        if isinstance(node, yaml.SequenceNode):
            open_nodes += [(child, f"{key}.{i}".lstrip("."), level + 1) for i, child in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            seen = set()
            for name, child in node.value:
                inner = f"{key}.{name.value}".lstrip(".") if isinstance(name, yaml.ScalarNode) else key
                if inner in seen and isinstance(name, yaml.ScalarNode):
                    raise ValueError(f"{inner} is there twice, again in line {name.start_mark.line + 1}")
                seen.add(inner)
                open_nodes += [(name, inner, level + 1), (child, inner, level + 1)]
