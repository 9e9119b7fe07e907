"""What click says about a wrong command line, as one of our own errors."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import click

from rigappliance.errors import UsageError

PROGRAM = "rigappliance"


def usage_error(error: click.ClickException, verb: str | None) -> UsageError:
    """``error`` in three clauses; ``verb`` is the one that was called, as far as that is known."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    see = f"see `{PROGRAM} {verb} --help`" if verb else f"see `{PROGRAM} --help`"
    if isinstance(error, click.NoSuchOption):
        return no_such_option(error.option_name, option_names(context), verb, see)
    message = clause(error.format_message())
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)]) if context else ""
    if isinstance(error, click.BadParameter) and error.param is not None and error.message:
        name = " or ".join(error.param.opts)
        return UsageError(f"{name}: {clause(error.message)}", expected_value(error.param.type) or usage, see)
    return UsageError(f"{verb}: {message}" if verb else message, usage or "options and values as in its help", see)


def clause(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def no_such_option(name: str, known: Sequence[str], verb: str | None, see: str) -> UsageError:
    if verb is None:
        return UsageError(
            f"option {name!r} before the verb",
            f"one of {', '.join(known)} there",
            f"write the options of a verb behind it, as in `{PROGRAM} check -c rig.toml`",
        )
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return UsageError(
        f"{verb} has no option {name!r}", f"one of {', '.join(known)}", f"did you mean {near[0]!r}?" if near else see
    )


def option_names(context: click.Context | None) -> list[str]:
    """The long options of the verb."""
    options = context.command.get_params(context) if context else []
    return [name for option in options for name in option.opts if name.startswith("--")]


def expected_value(kind: object) -> str:
    """What an option of this type takes; empty where click's own message says it."""
    if isinstance(kind, click.Choice):
        return f"one of {', '.join(kind.choices)}"
    number = "a whole number" if isinstance(kind, click.IntRange) else "a number"
    if isinstance(kind, click.IntRange | click.FloatRange) and kind.min is not None:
        return f"{number} from {kind.min} to {kind.max}" if kind.max is not None else f"{number}, {kind.min} or more"
    return ""
