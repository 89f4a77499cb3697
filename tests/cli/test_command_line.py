"""Command lines that are almost right: options twice, other tools' habits, words without a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from lightcrcf.cli.main import app, run


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that lead to it."""
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def options(*, flags: bool, lists: bool) -> list[tuple[str, ...]]:
    """(words of the command, then the option) for each option of that kind, --help apart."""
    return [
        (*path, option.opts[0])
        for path, command in commands()
        for option in command.params
        if option.param_type_name == "option" and option.name != "help"
        if (option.is_flag, option.multiple) == (flags, lists)
    ]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command line that is a usage error."""
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_there_is_something_to_test() -> None:
    singles, lists = options(flags=False, lists=False), options(flags=False, lists=True)
    assert ("apply", "--transform") in singles
    assert ("bench", "core", "--threads") in singles
    assert len(singles) > 100
    assert ("register", "--moving-labels") in lists


@pytest.mark.parametrize("words", options(flags=False, lists=False), ids=" ".join)
def test_an_option_that_takes_one_value_is_refused_twice(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    *command, option = words
    err = refused([*command, option, "1", f"{option}=2"], capsys)
    assert f"{option}: expected one value, got 2 (1, 2); " in err


@pytest.mark.parametrize("words", options(flags=False, lists=True), ids=" ".join)
def test_an_option_that_takes_many_values_is_not(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    *command, option = words
    run([*command, option, "1", option, "2"])
    assert "expected one value" not in capsys.readouterr().err


@pytest.mark.parametrize("words", options(flags=True, lists=False), ids=" ".join)
def test_a_flag_twice_is_the_same_as_once(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    *command, flag = words
    assert run([*command, flag, flag, "--help"]) == 0
    assert capsys.readouterr().err == ""


def test_the_value_may_look_like_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["apply", "--transform", "a", "--input", "--transform", "--reference", "r", "--output", "o.nii"]
    run(words)
    assert "expected one value" not in capsys.readouterr().err


def test_two_transforms_for_an_image_are_told_a_way_that_interpolates_once(capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(["apply", "--transform", "A", "--transform", "B"], capsys)
    assert "interpolate twice" in err
    assert "-t A/warp.nii.gz -t A/affine.tfm -t B/warp.nii.gz -t B/affine.tfm" in err


def test_two_transforms_for_points_may_follow_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert "one after the other" in refused(["points", "--transform", "A", "--transform", "B"], capsys)


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["-f", "a.nii", "-m", "b.nii", "-o", "out"], "-f"),
        (["-d", "3", "-f", "a.nii"], "-d"),
        (["a.nii", "b.nii"], "a.nii b.nii"),
        (["a.nii", "b.nii", "--out", "out"], "a.nii b.nii"),
        (["--fixed", "a.nii", "--moving", "b.nii", "c.nii", "--out", "out"], "c.nii"),
    ],
    ids=" ".join,
)
def test_other_tools_habits_are_told_the_names(words: list[str], got: str, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(["register", *words], capsys)
    assert f"got {got};" in err
    assert "write: lightcrcf register --fixed F --moving M --out DIR" in err


@pytest.mark.parametrize("command", [path for path, _ in commands()], ids=" ".join)
def test_short_options_are_told_the_names_in_every_command(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    err = refused([*command, "-q", "x"], capsys)
    assert f"lightcrcf {' '.join(command)}: expected options with their whole names, got -q; " in err


def test_one_dash_is_told_to_be_two(capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(["register", "-fixed", "a.nii", "-moving", "b.nii"], capsys)
    assert "got -fixed; write --fixed" in err


def test_words_too_many_name_what_the_command_takes(capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(["apply", "a.nii", "result"], capsys)
    assert "got a.nii result;" in err
    assert "--reference REFERENCE --input INPUT --transform TRANSFORM --output OUTPUT" in err
    assert "got more;" in refused(["models", "show", "brain", "more"], capsys)


def test_help_is_shown_whatever_else_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["register", "a.nii", "--out", "a", "--out", "b", "--help"]) == 0
    assert "Usage: lightcrcf register" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--smoothness", "abc"], "--smoothness: expected a number, got abc;"),
        (["--smoothness", "20"], "--smoothness: expected 10 or less, got 20;"),
        (["--threads", "1.5"], "--threads: expected a whole number, got 1.5;"),
        (["--threads", "0"], "--threads: expected 1 or more, got 0;"),
        (["--preset", "quick"], "--preset: expected one of fast, default, accurate, got quick;"),
        (["--preset", "{x}"], "--preset: expected one of fast, default, accurate, got {x};"),
        (
            ["--preset", "a is not one of b"],
            "--preset: expected one of fast, default, accurate, got a is not one of b;",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_refused_value_is_told_what_is_expected(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    err = refused(["register", *words], capsys)
    assert err == f"error: {told} see 'lightcrcf register --help'\n"
