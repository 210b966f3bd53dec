"""The rules of the house: what may import what, what loads when, and what the pins cover."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from chesslm.cli import app

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "chesslm"

# No torch in these, not even inside a function.
TORCH_FREE = ["pgn", "notation", "boards", "shards", "config", "tokenizer", "files", "errors"]
# No torch when imported: worker processes import them.
LIGHT = [*TORCH_FREE, "prepare", "generate"]
SUITES = ["legality", "selfplay", "squares", "rules", "puzzles", "probe", "world_model", "sinks", "translation"]
HEAVY = ["torch", "transformers", "lightning", "numpy", "pyarrow", "tokenizers", "chess", "rich", "jinja2"]
VERBS = sorted(command.name or command.callback.__name__ for command in app.registered_commands if command.callback)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """All that a file imports, inside functions too, but not what only a type checker reads."""

    class Visitor(ast.NodeVisitor):
        def __init__(self) -> None:
            self.found: set[str] = set()

        def visit_If(self, node: ast.If) -> None:
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:
            self.found |= {alias.name for alias in node.names}

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            assert node.module and not node.level, f"{path}: imports are absolute"
            self.found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}

    visitor = Visitor()
    visitor.visit(ast.parse(path.read_text()))
    return visitor.found


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def reached(start: str) -> set[str]:
    """Everything that a module imports, directly or through other modules of ours."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for name in IMPORTS.get(waiting.pop(), ()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen


def run_python(script: str) -> str:
    """Standard output of a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", TORCH_FREE)
def test_these_need_no_torch_at_all(name: str):
    roots = {imported.partition(".")[0] for imported in reached(f"chesslm.{name}")}
    assert not roots & {"torch", "transformers", "lightning"}


def load_without_torch(names: Iterable[str]) -> str:
    """What a fresh interpreter says that imports these modules; it fails where one of them loads torch."""
    return run_python(f"""
import importlib, sys
for name in {sorted(names)}:
    importlib.import_module(name)
    for heavy in ("torch", "transformers", "lightning"):
        if heavy in sys.modules:
            sys.exit(f"{{name}} loads {{heavy}}")
print("light")
""")


def test_importing_the_light_modules_loads_no_torch():
    assert load_without_torch(f"chesslm.{name}" for name in LIGHT) == "light\n"


def test_what_only_judges_loads_no_torch_in_a_worker_process():
    calls = re.compile(r"(?:pool\.map\(|in_order\(\w+, )(\w+)")
    found = set[str]()
    for name, path in MODULES.items():
        for function in calls.findall(path.read_text()):
            # Otherwise it is an argument or a variable, which stands for functions of that module.
            found.add(getattr(getattr(import_module(name), function, None), "__module__", name))
    # The cells of a study train there, and a probe's games are read through the model there.
    found -= {"chesslm.transfer", "chesslm.inside.activations", "chesslm.parallel"}
    assert {"chesslm.eval.positions", "chesslm.eval.exam", "chesslm.inside.counterfactual"} < found
    assert load_without_torch(found) == "light\n"


@pytest.mark.parametrize("part", ["eval", "inside", "play", "report"])
def test_measuring_and_playing_never_import_training(part: str):
    for name in MODULES:
        if name.startswith(f"chesslm.{part}"):
            assert not reached(name) & {"chesslm.train", "chesslm.demo"}, name


def test_nothing_imports_the_command_line():
    importers = {name for name, imported in IMPORTS.items() if "chesslm.cli" in imported}
    assert importers == {"chesslm.__main__"}


def test_a_suite_imports_no_other_suite():
    suites = {f"chesslm.eval.{suite}" for suite in SUITES} & MODULES.keys()
    assert suites
    for suite in suites:
        assert not reached(suite) & (suites - {suite}), suite


def test_importing_the_package_loads_nothing_else():
    script = "import sys; before = set(sys.modules); import chesslm; print(sorted(set(sys.modules) - before))"
    assert run_python(script) == "['chesslm']\n"


def test_no_help_page_loads_anything_heavy():
    script = f"""
import sys
from chesslm.cli import run
for arguments in [["--help"], ["--version"], *([verb, "--help"] for verb in {VERBS})]:
    assert run(arguments) == 0, arguments
print("loaded:", sorted(set(sys.modules) & set({HEAVY})))
"""
    out = run_python(script)
    assert out.endswith("loaded: []\n")
    for verb in VERBS:
        assert f"Usage: chesslm {verb} " in out


@pytest.mark.parametrize("name", MODULES)
def test_a_module_fits_a_reader(name: str):
    text = MODULES[name].read_text()
    assert len(text.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(text)), "a module says what goes in and comes out"


def test_every_dependency_is_pinned_with_all_that_it_needs():
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {canonical(name) for name in pins}
    waiting = [Requirement("chesslm-testbed[dev]")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        needed = waiting.pop()
        key = (canonical(needed.name), frozenset(needed.extras))
        if key in seen:
            continue
        seen.add(key)
        if needed.name != "chesslm-testbed":
            assert key[0] in pinned, f"{needed.name} is not pinned"
        for line in requires(needed.name) or []:
            further = Requirement(line)
            marker = further.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *needed.extras)):
                waiting.append(further)
    assert len(seen) > 30


def canonical(name: str) -> str:
    """A distribution's name as the index compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()
