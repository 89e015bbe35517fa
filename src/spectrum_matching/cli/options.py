"""Commands as functions of their options: groups, words and defaults in --help, and the options of every command."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, field, is_dataclass, make_dataclass, replace
from itertools import takewhile
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import docstring_parser
import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, arg
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from ..files.settings import infinite_numbers
from ..processes import is_main_process
from .output import Shown, show_messages

Command = Callable[..., Any]

GROUPS = {
    "images": ("data", "size", "num_images", "split", "labels", "masks"),
    "running": ("device", "dtype", "tiling", "batch_size", "workers", "seed"),
    "output": ("out", "figures", "overwrite", "dry_run"),
}
"""Options that commands have in common, by the group in which --help shows them."""

SEVERAL = re.compile(r"\{?\[(\S+) \[\1 \.\.\.\]\]\}?")  # as tyro shows values of any number

SHOWN = {
    "json": "Print the result as one JSON object in place of text.",
    "quiet": "Show no progress, and of messages only warnings and errors.",
}
"""Options of every command, the fields of `Shown`."""

GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}


def parse(command: Command, prog: str, arguments: Sequence[str]) -> Any:
    """Call a command, as `described` returns it, with these arguments, and return what it returns; --help exits.

    Of several processes, the main one shows help and errors.
    """
    if {"--help", "-h"} & set(arguments):
        arguments = ["--help"]  # tyro leaves out of its help what was given already
    return tyro.cli(command, prog=prog, args=arguments, registry=_registry(), console_outputs=is_main_process())


def require_names(command: Command, arguments: Sequence[str], others: str) -> None:
    """Check that a command, as `described` returns it, takes as many names as stand before the first option.

    others: what to say of those that it does not take.

    Raises:
        ValueError: naming the first that is one too many.
    """
    names = list(takewhile(lambda word: not word.startswith("-"), arguments))
    parameters = inspect.signature(command).parameters.values()
    taken = [get_args(each.annotation)[0] for each in parameters if each.kind is each.POSITIONAL_ONLY]
    if len(names) > len(taken) and not any(get_origin(kind) is Sequence for kind in taken):
        few = f"{len(taken) or 'no'} name{'s' * (len(taken) != 1)}"
        raise ValueError(f"takes {few}, and {names[len(taken)]!r} is one too many{others and f': {others}'}")


def described(command: Command, defaults: Mapping[str, object] | None = None) -> Command:
    """Return a command's function as tyro shows it, with the words of its docstring and the options of every command.

    An option that is NaN or infinite is refused. defaults: in place of the function's own.
    """
    text = docstring_parser.parse(command.__doc__ or "")
    words = {each.arg_name: " ".join((each.description or "").split()) for each in text.params}
    hints = get_type_hints(command, include_extras=True)
    own: list[inspect.Parameter] = []
    grouped: dict[str, list[tuple[str, Any, Any]]] = {group: [] for group in GROUPS}
    for name, parameter in inspect.signature(command).parameters.items():
        default = (defaults or {}).get(name, parameter.default)
        kind = hints[name] if is_dataclass(default) else _shown_as(hints[name], words.get(name), default)
        if name in GROUP_OF and parameter.kind is parameter.KEYWORD_ONLY:
            value = field() if default is parameter.empty else field(default=default)
            grouped[GROUP_OF[name]].append((name, kind, value))
        else:
            own.append(parameter.replace(annotation=kind, default=default))
    grouped["output"] += [(name, _shown_as(bool, said, False), field(default=False)) for name, said in SHOWN.items()]
    groups: list[inspect.Parameter] = []
    for group, fields in grouped.items():
        if fields:
            made = make_dataclass(group, fields, frozen=True, kw_only=True)
            default = made() if all(value.default is not MISSING for *_, value in fields) else inspect.Parameter.empty
            options = {"default": default, "annotation": Annotated[made, OmitArgPrefixes]}
            groups.append(inspect.Parameter(group, inspect.Parameter.KEYWORD_ONLY, **options))

    def call(*arguments: Any, **options: Any) -> Any:
        for group in groups:
            made = options.pop(group.name)
            options |= {name: getattr(made, name) for name, *_ in grouped[group.name]}
        shown = Shown(**{name: options.pop(name) for name in SHOWN})
        for key, number in infinite_numbers(options):
            option = (key.partition(".")[2] or key).replace("_", "-")
            raise ValueError(f"--{option} is {number}: must be a finite number")
        show_messages(shown)
        return command(*arguments, **options)

    parameters = [*own, *groups]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    call.__doc__ = "\n\n".join(filter(None, (text.short_description, text.long_description)))
    return call


def _shown_as(kind: Any, words: str | None, default: object) -> Any:
    """Return the type of an option with what --help says of it; what is off by default needs no --no-OPTION."""
    flags = (FlagCreatePairsOff,) if default is False else ()
    hint = "(required)" if default is inspect.Parameter.empty else _said
    return Annotated[(kind, arg(help=words, help_behavior_hint=hint), *flags)]


def _said(default: str) -> str:
    """Return what --help says of a default, given as text; what None or no value means is in the option's own words."""
    return "(optional)" if default in ("None", "") else f"(default: {default})"


def _registry() -> ConstructorRegistry:
    """Return rules that show a value that may be None as what it is otherwise, and defaults of records by `_said`."""
    registry, inside = ConstructorRegistry(), [False]

    @contextmanager
    def otherwise() -> Iterator[None]:
        inside[0] = True
        try:
            yield
        finally:
            inside[0] = False

    @registry.primitive_rule
    def shown_without_none(info: PrimitiveTypeInfo) -> Any:
        if inside[0]:
            return None
        with otherwise():
            spec = ConstructorRegistry.get_primitive_spec(info)
        if isinstance(spec, PrimitiveConstructorSpec):
            metavar = spec.metavar.removeprefix("{None}|").replace("{None,", "{")
            spec = replace(spec, metavar=SEVERAL.sub(r"\1 ...", metavar))
        return spec

    @registry.struct_rule
    def shown_with_defaults(info: StructTypeInfo) -> StructConstructorSpec | None:
        if inside[0] or not is_dataclass(info.type):
            return None
        with otherwise():
            spec = ConstructorRegistry.get_struct_spec(info)
        if not isinstance(spec, StructConstructorSpec):
            return None
        return replace(spec, fields=tuple(map(_with_default, spec.fields)))

    return registry


def _with_default(each: StructFieldSpec) -> StructFieldSpec:
    if is_dataclass(each.default):
        return each
    kind: Any = Annotated[each.type, arg(help_behavior_hint=_said)]
    return replace(each, type=kind)
