"""How a command line is read: argparse, whose mistakes are one line that names the nearest choice.

Nothing here imports jax, so that `clipdiff --help` is quick.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from clipdiff_jax.core.config import nearest, split_overrides


class UsageError(ValueError):
    """A command line that cannot be read; the message says why."""


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse would print the usage and exit.

    A command with an option `--config` takes overrides of it, `--config.a.b=value`; they are the
    attribute `overrides` of what is parsed.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        args = list(sys.argv[1:] if args is None else args)
        overrides: list[str] | None = None
        if "--config" in self._option_string_actions:
            args, overrides = split_overrides(args)
        for argument in args:
            if argument == "--":
                break
            self._check_option(argument)
        parsed, rest = super().parse_known_args(args, namespace)
        if overrides is not None:
            parsed.overrides = overrides
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _check_option(self, argument: str) -> None:
        """Raises `UsageError` for an option that does not exist.

        argparse would first miss what is required, and an option misspelt is often just that.
        """
        name = argument.partition("=")[0]
        if not name.startswith("--") or " " in argument:
            return
        known = [option for option in self._option_string_actions if option.startswith("--")]
        if not any(option.startswith(name) for option in known):
            raise UsageError(f"no option '{name}'.{nearest(name, known)} (see {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does, and names the nearest."""
        choices = action.choices
        if choices is not None and value not in choices:
            names = [str(choice) for choice in choices]
            raise argparse.ArgumentError(
                action, f"'{value}' is not one of {', '.join(names)}.{nearest(str(value), names)}"
            )
