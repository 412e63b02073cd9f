"""`clipdiff completion`: a script by which a shell completes commands, options and choices."""

import argparse

from clipdiff_jax.cli.completion.shells import SHELLS
from clipdiff_jax.cli.completion.table import stored_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(
        [
            'bash:  eval "$(clipdiff completion bash)"       in ~/.bashrc',
            'zsh:   eval "$(clipdiff completion zsh)"        in ~/.zshrc, after compinit',
            "fish:  clipdiff completion fish | source        in ~/.config/fish/config.fish",
        ]
    )
    parser.add_argument("shell", choices=tuple(SHELLS), help="for which shell")


def run(args: argparse.Namespace) -> None:
    """Prints the script."""
    print(SHELLS[args.shell](stored_table()), end="")
