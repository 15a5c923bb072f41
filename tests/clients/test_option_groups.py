"""Options in groups: what a command line says reaches the group that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from brainmvp_clients.cli.option_groups import expanded


@dataclass(frozen=True)
class Pace:
    rate: Annotated[float, typer.Option(min=0, help="Studies a minute.")] = 1.0
    names: Annotated[list[str] | None, typer.Option()] = None

    def __post_init__(self) -> None:
        if self.rate == 13:
            raise ValueError("an unlucky rate")


@dataclass(frozen=True)
class Place:
    folder: Annotated[Path, typer.Option(help="Where to.")]
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False


@dataclass(frozen=True)
class Clash:
    rate: Annotated[int, typer.Option()] = 0


Called = list[tuple[str, Place, Pace, bool]]


@pytest.fixture
def called() -> Called:
    return []


@pytest.fixture
def run(called: Called) -> Callable[..., Any]:
    def command(
        model: Annotated[str, typer.Argument()], place: Place, pace: Pace, quiet: bool = False
    ) -> None:
        """Do it."""
        called.append((model, place, pace, quiet))

    app = typer.Typer()
    app.command()(expanded(command))
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_options_reach_their_group_and_what_is_not_given_is_the_groups_default(
    run: Callable[..., Any], called: Called
) -> None:
    given = ("m", "--folder", "out", "--overwrite", "--names", "a", "--names", "b", "--quiet")
    assert run(*given).exit_code == 0
    assert run("m", "--folder", "out", "--rate", "2.5").exit_code == 0
    assert called == [
        ("m", Place(Path("out"), True), Pace(1.0, ["a", "b"]), True),
        ("m", Place(Path("out")), Pace(2.5), False),
    ]


def test_a_group_keeps_the_help_the_limits_and_what_must_be_given(
    run: Callable[..., Any], called: Called
) -> None:
    said = run("--help").output
    assert "Do it." in said and "Studies a minute." in said and "Where to." in said
    assert run("m").exit_code == 2 and "--folder" in run("m").output
    assert run("m", "--folder", "out", "--rate", "-1").exit_code == 2
    assert not called


def test_what_a_group_refuses_is_refused_before_the_command_begins(
    run: Callable[..., Any], called: Called
) -> None:
    ended = run("m", "--folder", "out", "--rate", "13")
    assert isinstance(ended.exception, ValueError) and not called


def test_options_stand_where_their_group_stood_also_behind_a_wrapper() -> None:
    def command(first: int, pace: Pace, last: int = 0) -> None: ...

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        command(*args, **kwargs)

    for function in (command, guarded):
        assert list(signature(expanded(function)).parameters) == ["first", "rate", "names", "last"]


def test_two_options_of_one_name_are_a_mistake_in_the_program_that_is_seen_at_once() -> None:
    def command(pace: Pace, clash: Clash) -> None: ...

    with pytest.raises(ValueError, match="rate"):
        expanded(command)
