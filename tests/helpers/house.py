"""The rules of the house as functions over the source's syntax trees: rule -> where it is broken.

Nothing is imported, so that they take a second. A finding is a line that begins with the place,
`folder/file.py:function` or `folder/file.py`, by which `tests/test_house.py` may except it.

    python -m helpers.house        (in tests/) prints all findings
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = "clipdiff_jax"

# Imports point to the left; within a layer they may go one way between two folders.
LAYERS = (
    ("core",),
    ("diffusion",),
    ("models",),
    ("perceptual", "data", "weights", "training"),
    ("clip", "pixel", "latent"),
    ("edit", "guided", "unclip", "reassembly"),
    ("metrics", "pictures"),
    ("cli",),
)
LEVEL = {folder: level for level, layer in enumerate(LAYERS) for folder in layer}

MOST_PARAMETERS = 7
MOST_LINES = 400
NAMELESS = ("utils", "util", "helpers", "misc", "common")
TYPED = re.compile(
    r"(\w+_)?(params|parameters|model|models|dtype|config|clip|base|unclip|diffusion|frozen|state"
    r"|network|unet|tower|encoder|decoder|prior|upsampler|sampling|editing|drawing|schedule)"
)


class Module(NamedTuple):
    """A source file: its dotted name, its path from the root, its tree."""

    name: str
    path: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        """The folder of the package it is in; empty for the front door."""
        parts = self.path.split("/")
        return parts[1] if len(parts) > 2 else ""

    @property
    def place(self) -> str:
        return self.path.removeprefix(f"{PACKAGE}/")


@cache
def modules() -> dict[str, Module]:
    """All modules of the package by dotted name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        relative = path.relative_to(ROOT)
        parts = relative.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, relative.as_posix(), ast.parse(path.read_text()))
    return found


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """(line, module of ours) of every import, also inside functions, and of every module that is
    named by a string."""
    known = modules()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.name.split(".")
                is_package = module.path.endswith("__init__.py")
                above = above[: len(above) - node.level + is_package]
                base = ".".join([*above, base] if base else above)
            names = [
                inner if (inner := f"{base}.{alias.name}") in known else base
                for alias in node.names
            ]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value.partition(":")[0]]
            if node.value == PACKAGE:
                continue
        else:
            continue
        yield from ((node.lineno, name) for name in names if name in known)


def import_direction() -> Iterator[str]:
    """Imports point down the layers; the front door, which is above all, is nobody's import."""
    for module in modules().values():
        if not module.folder:
            continue
        if module.folder not in LEVEL:
            yield f"{module.place}: the folder '{module.folder}' is in no layer"
            continue
        for line, name in imported(module):
            folder = modules()[name].folder
            if folder and LEVEL.get(folder, 0) > LEVEL[module.folder]:
                yield f"{module.place}: imports {name} in line {line}, which is above it"


def folder_cycles() -> Iterator[str]:
    """No two folders import each other, by whatever way round."""
    edges: dict[str, set[str]] = {}
    for module in modules().values():
        if module.folder:
            targets = {modules()[name].folder for _, name in imported(module)}
            edges.setdefault(module.folder, set()).update(targets - {"", module.folder})
    yield from (f"{' and '.join(group)}: import each other" for group in _cycles(edges))


def module_cycles() -> Iterator[str]:
    """No two modules need each other to be imported; a module needs the packages it is in."""
    edges = {}
    for module in modules().values():
        apart = [function.node for function in _functions(module.tree)]
        apart += [n for n in ast.walk(module.tree) if isinstance(n, ast.If) and _is_for_types(n)]
        later = {id(n) for one in apart for n in ast.walk(one)}
        now = [
            node
            for node in ast.walk(module.tree)
            if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in later
        ]
        at_once = module._replace(tree=ast.Module(body=now, type_ignores=[]))
        needed = {name for _, target in imported(at_once) for name in _packages(target)}
        own = {name for name in _packages(module.name)}
        edges[module.name] = needed - own
    yield from (f"{', '.join(group)}: import each other" for group in _cycles(edges))


def many_parameters() -> Iterator[str]:
    """No function has more than seven parameters, but for `__call__`; `self` does not count."""
    for module in modules().values():
        for function in _functions(module.tree):
            arguments = function.node.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            names = [one.arg for one in named if one.arg not in ("self", "cls")]
            names += [one.arg for one in (arguments.vararg, arguments.kwarg) if one is not None]
            if function.name.split(".")[-1] != "__call__" and len(names) > MOST_PARAMETERS:
                yield f"{module.place}:{function.name}: {len(names)} parameters"


def long_files() -> Iterator[str]:
    """No Python file has more than 400 lines."""
    for path in python_files():
        count = len(path.read_text().splitlines())
        if count > MOST_LINES:
            yield f"{path.relative_to(ROOT).as_posix()}: {count} lines"


def untyped_names() -> Iterator[str]:
    """Nothing that is called params, model, dtype, config and the like is annotated as `Any`."""
    for module in modules().values():
        for owner, name, annotation in _annotated(module.tree):
            if TYPED.fullmatch(name) and _is_any(annotation):
                yield f"{module.place}:{owner}: {name} is Any"


def nameless_files() -> Iterator[str]:
    """No file or folder is called utils, helpers, misc or common."""
    for module in modules().values():
        parts = Path(module.place).with_suffix("").parts
        yield from (f"{module.place}: '{part}' says nothing" for part in parts if part in NAMELESS)


def caches() -> Iterator[str]:
    """No function remembers what it returned: models would never be let go."""
    for module in modules().values():
        found: dict[str, int] = {}
        for place, node in _places(module):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                used = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
            else:
                used = [node.func] if isinstance(node, ast.Call) else []
            if any(_last_name(one) in ("cache", "lru_cache") for one in used):
                found.setdefault(place, node.lineno)
        yield from (f"{place}: is cached in line {line}" for place, line in found.items())


def static_positions() -> Iterator[str]:
    """What is static is named, or is a static field of a model; nothing is so by its position.

    `flax.linen.remat` has no other way, for a `train` that is a Python bool.
    """
    for module in modules().values():
        remats = {
            id(keyword)
            for _, node in _places(module)
            if isinstance(node, ast.Call) and _last_name(node.func) == "remat"
            for keyword in node.keywords
        }
        for place, node in _places(module):
            named = isinstance(node, ast.keyword) and node.arg == "static_argnums"
            if named and id(node) not in remats:
                yield f"{place}: static_argnums in line {node.value.lineno}"


def prints() -> Iterator[str]:
    """Only commands write to the console: the folder `cli`, and functions called `main`."""
    for module in modules().values():
        for place, node in _places(module):
            called = isinstance(node, ast.Call) and _last_name(node.func) == "print"
            if called and module.folder != "cli" and not place.endswith(":main"):
                yield f"{place}: prints in line {node.lineno}"


def root_logging() -> Iterator[str]:
    """Messages go to the logger of the module that sends them, not to the root's."""
    levels = ("debug", "info", "warning", "error", "exception", "critical", "log", "basicConfig")
    for module in modules().values():
        for place, node in _places(module):
            of_logging = isinstance(node, ast.Attribute) and _last_name(node.value) == "logging"
            if of_logging and node.attr in levels:
                yield f"{place}: logging.{node.attr} in line {node.lineno}"


def tests_mirror_the_package() -> Iterator[str]:
    """A test lies in the folder of what it tests, be that of the package or one beside it."""
    beside = ("benchmarks", "configs", "docs")
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        where = ROOT if folder.parts[:1] and folder.parts[0] in beside else ROOT / PACKAGE
        if not (where / folder).is_dir():
            yield f"{path.relative_to(ROOT).as_posix()}: there is no folder '{folder}' to test"


def unfinished() -> Iterator[str]:
    """Nothing is left for later."""
    for path in python_files():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"#.*\b(TODO|FIXME|XXX|HACK)\b", line):
                yield f"{path.relative_to(ROOT).as_posix()}: line {number}: {line.strip()}"


RULES: tuple[Callable[[], Iterator[str]], ...] = (
    import_direction,
    folder_cycles,
    module_cycles,
    many_parameters,
    long_files,
    untyped_names,
    nameless_files,
    caches,
    static_positions,
    prints,
    root_logging,
    tests_mirror_the_package,
    unfinished,
)


def python_files() -> list[Path]:
    """The Python files of the repository that are ours."""
    folders = ("clipdiff_jax", "tests", "benchmarks", "configs", "docs")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted([*ROOT.glob("*.py"), *inside])


def _is_for_types(node: ast.If) -> bool:
    return _last_name(node.test) == "TYPE_CHECKING"


def _packages(name: str) -> list[str]:
    """A module and the packages it is in."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


class _Function(NamedTuple):
    name: str  # with the classes and functions it is in
    node: ast.FunctionDef | ast.AsyncFunctionDef


@cache
def _functions(tree: ast.AST, inside: str = "") -> tuple[_Function, ...]:
    found: list[_Function] = []
    for node in ast.iter_child_nodes(tree):
        name = getattr(node, "name", "")
        path = inside
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            path = f"{inside}.{name}" if inside else name
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append(_Function(path, node))
        found += _functions(node, path)
    return tuple(found)


def _places(module: Module) -> Iterator[tuple[str, ast.AST]]:
    """(place, node) of every node; functions are in the place of their own name."""
    inside: dict[int, str] = {}
    for function in _functions(module.tree):  # inner ones after those they are in
        inside |= {id(node): f":{function.name}" for node in ast.walk(function.node)}
    for node in ast.walk(module.tree):
        yield module.place + inside.get(id(node), ""), node


def _annotated(tree: ast.AST) -> Iterator[tuple[str, str, ast.expr]]:
    """(function or class, name, annotation) of all parameters and variables."""
    for function in _functions(tree):
        arguments = function.node.args
        for one in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            if one.annotation is not None:
                yield function.name, one.arg, one.annotation
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    yield node.name, item.target.id, item.annotation


def _is_any(annotation: ast.expr) -> bool:
    """Whether it is `Any`, or a union with it."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return _is_any(ast.parse(annotation.value, mode="eval").body)
        except SyntaxError:
            return False
    if isinstance(annotation, ast.BinOp):
        return _is_any(annotation.left) or _is_any(annotation.right)
    return _last_name(annotation) == "Any"


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that reach each other (strongly connected components of two or more)."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for target in edges.get(ahead.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    ahead.append(target)
        reach[start] = seen
    groups = {
        tuple(sorted({b for b in edges if b in reach[a] and a in reach[b]}))
        for a in edges
        if a in reach[a]
    }
    return [list(group) for group in sorted(groups)]


if __name__ == "__main__":
    for rule in RULES:
        findings = list(rule())
        print(f"== {rule.__name__}: {len(findings)}")
        print("".join(f"{finding}\n" for finding in findings), end="")
