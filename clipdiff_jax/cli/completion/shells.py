"""Scripts by which bash, zsh and fish complete the words of `clipdiff`, made from its table.

All three do the same: the words so far name a command; behind an option come its choices, or files,
or nothing where nothing can be guessed; elsewhere come the commands of a group, or options and
files.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import clipdiff_jax
from clipdiff_jax.cli.completion.table import EDITS, FILES, RECIPES, Table
from clipdiff_jax.core.recipes import recipe_names

_READY = Path(clipdiff_jax.__file__).parent / "assets" / "edits"


class Option(NamedTuple):
    """An option of a command, and what may stand behind it.

    place: the words before, as the scripts compare them: " watermark new --pattern".
    choices: what can be listed. files: whether it takes files. switch: whether it takes nothing.
    several: whether it takes more than one.
    """

    command: str
    name: str
    help: str
    choices: tuple[str, ...]
    files: bool
    switch: bool
    several: bool

    @property
    def place(self) -> str:
        return f" {self.command} {self.name}"


def bash(table: Table) -> str:
    """For bash, 3.2 too, which macOS has."""
    options = list(_options(table))
    several = "|".join(_quoted(one.place) for one in options if one.several)
    commands = "|".join(_quoted(f" {name}") for name in table if name)
    listed = [
        f"    {_quoted(one.place)}) words={_quoted(' '.join(one.choices))};;"
        for one in options
        if one.choices
    ]
    files = "|".join(_quoted(one.place) for one in options if one.files and not one.choices)
    values = "|".join(_quoted(one.place) for one in options if _is_value(one))
    here = [
        f"  {_quoted(f' {name}' if name else '')}) words={_quoted(' '.join(_words(one)))};;"
        for name, one in table.items()
    ]
    return f"""# Completion of clipdiff for bash: eval "$(clipdiff completion bash)"
_clipdiff() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" at="" option="" behind=0 words="" i
  COMPREPLY=()
  [[ $cur == "=" ]] && cur=""
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at ${{COMP_WORDS[i]}}" in
    {commands}) at="$at ${{COMP_WORDS[i]}}";;
    *) break;;
    esac
  done
  for ((i = COMP_CWORD - 1; i > 0; i--)); do
    case "${{COMP_WORDS[i]}}" in
    "=") ;;
    --*) option="${{COMP_WORDS[i]}}"; break;;
    *) behind=$((behind + 1));;
    esac
  done
  case "$at $option" in
  {several}) behind=0;;
  esac
  if [[ -n $option && $cur != -* && $behind == 0 ]]; then
    case "$at $option" in
{_lines(listed)}
    {files}) return;;
    {values}) compopt +o default 2>/dev/null; return;;
    esac
    if [[ -n $words ]]; then
      COMPREPLY=($(compgen -W "$words" -- "$cur"))
      return
    fi
  fi
  case "$at" in
{_lines(here)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _clipdiff clipdiff
"""


def zsh(table: Table) -> str:
    """For zsh, as a file `_clipdiff` of its `fpath` or by `eval`."""
    options = list(_options(table))
    several = "|".join(_quoted(one.place) for one in options if one.several)
    commands = "|".join(_quoted(f" {name}") for name in table if name)
    listed = [
        f"    ({_quoted(one.place)}) compadd -- {' '.join(map(_quoted, one.choices))}"
        f"{'; _files' if one.files else ''}; return;;"
        for one in options
        if one.choices
    ]
    files = "|".join(_quoted(one.place) for one in options if one.files and not one.choices)
    values = "|".join(_quoted(one.place) for one in options if _is_value(one))
    here = []
    for name, one in table.items():
        said = one.get("commands") or {key: value["help"] for key, value in one["options"].items()}
        described = " ".join(_quoted(f"{key}:{text}") for key, text in said.items())
        words = " ".join(map(_quoted, one.get("words", ())))
        at = _quoted(f" {name}" if name else "")
        here.append(
            f"  ({at}) found=({described}); plain=({words}); group={int('commands' in one)};;"
        )
    return f"""#compdef clipdiff
# Completion of clipdiff for zsh: eval "$(clipdiff completion zsh)"
_clipdiff() {{
  local at="" option="" behind=0 i=2 group=0
  local -a found plain
  while (( i < CURRENT )); do
    case "$at ${{words[i]}}" in
    ({commands}) at="$at ${{words[i]}}";;
    (*) break;;
    esac
    (( i++ ))
  done
  for (( i = CURRENT - 1; i > 1; i-- )); do
    case "${{words[i]}}" in
    (--*) option="${{words[i]}}"; break;;
    (*) (( behind++ ));;
    esac
  done
  case "$at $option" in
  ({several}) behind=0;;
  esac
  if [[ -n $option && ${{words[CURRENT]}} != -* && $behind == 0 ]]; then
    case "$at $option" in
{_lines(listed)}
    ({files}) _files; return;;
    ({values}) return;;
    esac
  fi
  case "$at" in
{_lines(here)}
  esac
  if (( group )); then
    _describe command found
  elif [[ ${{words[CURRENT]}} == -* ]]; then
    _describe -o option found
  else
    (( $#plain )) && compadd -a plain
    _files
  fi
}}
if [[ ${{funcstack[1]}} == _clipdiff ]]; then _clipdiff "$@"; else compdef _clipdiff clipdiff; fi
"""


def fish(table: Table) -> str:
    """For fish."""
    names = " ".join(_quoted(name) for name in table if name)
    lines = [
        "# Completion of clipdiff for fish: clipdiff completion fish | source",
        "function __clipdiff_is",
        "    set -l at",
        "    for word in (commandline -opc)[2..-1]",
        f"        contains -- (string join ' ' -- $at $word) {names}; or break",
        "        set at $at $word",
        "    end",
        '    test "$at" = "$argv[1]"',
        "end",
        "function __clipdiff_behind",
        "    set -l options (string match -- '--*' (commandline -opc))",
        '    test "$options[-1]" = "$argv[1]"',
        "end",
    ]
    for name, one in table.items():
        condition = f"complete -c clipdiff -n {_fish(f'__clipdiff_is {_fish(name)}')}"
        for word, text in one.get("commands", {}).items():
            lines.append(f"{condition} -f -a {_fish(word)} -d {_fish(text)}")
        if words := one.get("words"):
            lines.append(f"{condition} -a {_fish(' '.join(words))}")
    for option in _options(table):
        condition = f"complete -c clipdiff -n {_fish(f'__clipdiff_is {_fish(option.command)}')}"
        takes = "" if option.switch else " -r -F" if option.files else " -x"
        choices = f" -a {_fish(' '.join(option.choices))}" if option.choices else ""
        said = f"-l {option.name.removeprefix('--')}{takes}{choices} -d {_fish(option.help)}"
        lines.append(f"{condition} {said}")
        if option.several and option.choices:
            more = f"__clipdiff_is {_fish(option.command)}; and __clipdiff_behind {option.name}"
            lines.append(f"complete -c clipdiff -n {_fish(more)}{choices}")
    return "\n".join([*lines, ""])


SHELLS: dict[str, Callable[[Table], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def _options(table: Table) -> Iterator[Option]:
    """The options of all commands, with the names of recipes and ready edits that there are."""
    known = {RECIPES: tuple(recipe_names()), EDITS: tuple(_ready_edits())}
    for command, one in table.items():
        for name, option in one.get("options", {}).items():
            takes: Any = option["takes"]
            listed = takes if isinstance(takes, list) else known.get(takes, ())
            yield Option(
                command=command,
                name=name,
                help=option["help"],
                choices=tuple(listed),
                files=takes in (FILES, *known),
                switch=takes is None,
                several=option["several"],
            )


def _ready_edits() -> list[str]:
    return sorted(f"demo/{one.parent.name}" for one in _READY.glob("*/config.json"))


def _words(one: dict[str, Any]) -> list[str]:
    """What may stand behind a command."""
    return list(one.get("commands") or [*one["options"], *one["words"]])


def _is_value(option: Option) -> bool:
    """Whether nothing can be guessed of what stands behind it."""
    return not (option.switch or option.files or option.choices)


def _lines(lines: list[str]) -> str:
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """For bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
