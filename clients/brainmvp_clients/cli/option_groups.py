"""Options in groups: a command's parameter that is a dataclass stands for the options in it.

Typer knows functions with one parameter an option. Here a command takes a few frozen dataclasses,
whose fields are annotated as such parameters would be::

    @dataclass(frozen=True)
    class Pace:
        rate: Annotated[float | None, typer.Option(help="Studies a minute at most.")] = None

    def score(out: Path, pace: Pace) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints


def expanded(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command as Typer wants it: each group of options replaced by its fields, in place.

    A group is made before the command is called, so what its ``__post_init__`` raises is raised
    before anything is done.

    Raises:
        ValueError: two options have one name.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        kind = hints.get(name)
        if isinstance(kind, type) and is_dataclass(kind):
            groups[name] = kind
            parameters += _options(kind)
        else:
            annotation = parameter.annotation if kind is None else kind
            option = parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=annotation)
            parameters.append(option)

    @wraps(command)
    def call(**given: Any) -> Any:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        return command(**given, **made)

    call.__annotations__ = {option.name: option.annotation for option in parameters}
    vars(call)["__signature__"] = Signature(parameters)
    return call


def _options(group: type[Any]) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
