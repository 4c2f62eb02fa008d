"""What the structure of both packages must not have: import circles, long functions, long files, unused public names.

Each check reads source files as text and returns one line per finding, so that the tests can also run it on files that
break the rule.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("chomp", "chomp_tui")
# Code that uses the packages; a name that only a test uses is not used.
USERS = (*PACKAGES, "benchmarks", "docs", "pyproject.toml", "README.md", "Makefile")
LONGEST_FUNCTION = 60
LONGEST_FILE = 400
# Textual calls methods with these prefixes by name; its documentation lists them under events, actions and reactives.
# Methods that a class of an extra calls which the tests do not install: lm-evaluation-harness's `TemplateLM`.
NOT_INSTALLED = {
    "chomp.analysis.lm_eval_model": {
        "eot_token_id", "tokenizer_name", "tok_encode", "loglikelihood_rolling", "generate_until",
    }
}  # fmt: skip
CALLED_BY_PREFIX = ("on_", "action_", "watch_", "validate_", "compute_", "check_")
WORD = re.compile(r"[A-Za-z_]\w*")

Sources = Mapping[str, str]


def module_sources(root: Path = ROOT) -> dict[str, str]:
    """Source text of every file of both packages, by dotted module name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def import_circles(sources: Sources) -> list[str]:
    """Groups of modules that import each other, directly or through others; every import counts, wherever it is."""
    graph = {name: sorted(_imported(text, sources) - {name}) for name, text in sources.items()}
    return [" ↔ ".join(sorted(group)) for group in _strong_components(graph) if len(group) > 1]


def _imported(text: str, sources: Sources) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in sources else node.module)
    return found & sources.keys()


def _strong_components(graph: Mapping[str, list[str]]) -> list[list[str]]:
    """Strongly connected components (Tarjan 1972), without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []
    for root in graph:
        work = [] if root in index else [(root, iter(graph[root]))]
        if work:
            index[root] = low[root] = len(index)
            stack.append(root)
        while work:
            node, following = work[-1]
            target = next(following, None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    cut = stack.index(node)
                    groups.append(stack[cut:])
                    del stack[cut:]
            elif target not in index:
                index[target] = low[target] = len(index)
                stack.append(target)
                work.append((target, iter(graph[target])))
            elif target in stack:
                low[node] = min(low[node], index[target])
    return groups


def long_functions(sources: Sources, most: int = LONGEST_FUNCTION) -> list[str]:
    """Functions of more than `most` lines, from `def` to the last line."""
    return [
        f"{name}:{node.lineno} {node.name} has {lines} lines"
        for name, text in sources.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > most
    ]


def long_files(sources: Sources, most: int = LONGEST_FILE) -> list[str]:
    """Files of more than `most` lines."""
    counts = {name: len(text.splitlines()) for name, text in sources.items()}
    return [f"{name} has {lines} lines" for name, lines in counts.items() if lines > most]


def unused_names(sources: Sources, other: Iterable[str] = ()) -> list[str]:
    """Public functions, classes, constants and methods whose name occurs only where it is defined.

    A name in a string counts as a use: actions, selectors and commands are named that way. A method that overrides one
    of a class outside of both packages is used by that class.

    Args:
        other: texts that use the packages, such as benchmarks and documentation.
    """
    uses: Counter[str] = Counter()
    for text in [*sources.values()]:
        uses.update(_words_of_code(text))
    for text in other:
        uses.update(WORD.findall(text))
    defined = [(module, *found) for module, text in sources.items() for found in _public_definitions(text)]
    definitions = Counter(name.rsplit(".", 1)[-1] for _, name, _ in defined)
    return [
        f"{module}:{line} {name}"
        for module, name, line in defined
        if uses[short := name.rsplit(".", 1)[-1]] <= definitions[short] and not _is_called_by_name(module, name)
    ]


def _words_of_code(text: str) -> Iterator[str]:
    """Every identifier, and every word of a string that is no docstring."""
    tree = ast.parse(text)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ImportFrom(names=names):
                # An import alone is no use: what is imported occurs again where it is used.
                yield from (alias.name for alias in names if alias.asname)
            case ast.Constant(value=str(value)) if id(node) not in docstrings:
                yield from WORD.findall(value)


def _public_definitions(text: str) -> Iterator[tuple[str, int]]:
    """Names defined in a module or in a class of a module, the latter as `Class.name`, and their lines."""
    for node in ast.parse(text).body:
        yield from _defined(node)
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield from ((f"{node.name}.{name}", line) for name, line in _defined(member))


def _defined(node: ast.stmt) -> Iterator[tuple[str, int]]:
    names: list[str] = []
    match node:
        case ast.FunctionDef(decorator_list=decorators) if any(_registers(decorator) for decorator in decorators):
            pass
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            names = [name]
        case ast.Assign(targets=targets):
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            names = [name]
    yield from ((name, node.lineno) for name in names if not name.startswith("_"))


def _registers(decorator: ast.expr) -> bool:
    """Whether a decorator makes a function known elsewhere, as click's `@group.command("name")` does."""
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr == "command"
    )


def _is_called_by_name(module: str, name: str) -> bool:
    """Whether a class outside of both packages calls the method `name` ("Class.method")."""
    owner, dot, method = name.rpartition(".")
    if not dot:
        return False
    if module.startswith("chomp_tui") and method.startswith(CALLED_BY_PREFIX):
        return True
    if module in NOT_INSTALLED:
        return method in NOT_INSTALLED[module]
    found = getattr(importlib.import_module(module), owner)
    foreign = [base for base in found.__mro__[1:] if base.__module__.split(".")[0] not in PACKAGES]
    return any(method in vars(base) for base in foreign) or method in vars(builtins.object)
