"""Which faults would the tests notice? Changes the code in small ways, one at a time, and runs the tests that
execute the changed line: `make mutants`.

What is changed, how often, and the test files to choose from are set in pyproject.toml, `[tool.mutants]`.
Most changes are mutmut's. Its runner isn't used: it tries every change, several hours here, and puts switches
into functions, which torch's exporters and numba can't read. Only a copy of the tree is changed. Linux only:
every run is a fork of a process that has imported torch.
"""

import argparse
import ast
import collections
import contextlib
import difflib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

ROOT = Path(__file__).parent.parent
PACKAGE = "pointmae_zoo"
SKIPPED = (cst.Annotation, cst.Import, cst.ImportFrom, cst.Decorator)


@dataclass
class Mutant:
    """One change: the whole file after it, and the lines of the statement that it is in."""

    path: str
    lines: range
    at_import: bool
    old: cst.CSTNode
    new: cst.CSTNode
    rank: str
    source: str = ""
    shown: str = ""
    fate: str = ""

    @property
    def place(self) -> str:
        return f"{self.path}:{self.lines.start}"


class Changes(cst.CSTVisitor):
    """Every change of one file that is worth a run; `rank` orders them by chance."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, path: str, seed: int, module: cst.Module) -> None:
        super().__init__()
        self.path, self.seed, self.module = path, seed, module
        self.found: list[Mutant] = []
        self.statements: list[range] = []
        self.names: list[str] = []
        self.seen: collections.Counter[str] = collections.Counter()

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, SKIPPED):
            return False
        if isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
            self.statements.append(self.header(node))
        for new in changed(node):
            words = self.module.code_for_node(node), self.module.code_for_node(new)
            identity = f"{self.seed} {self.path} {'.'.join(self.names)} {words}"
            self.seen[identity] += 1
            rank = hashlib.sha256(f"{identity} {self.seen[identity]}".encode()).hexdigest()
            lines = self.statements[-1]
            self.found.append(Mutant(self.path, lines, not self.names, node, new, rank))
        if isinstance(node, cst.FunctionDef):
            self.names.append(node.name.value)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
            self.statements.pop()
        if isinstance(original_node, cst.FunctionDef):
            self.names.pop()

    def header(self, node: cst.SimpleStatementLine | cst.BaseCompoundStatement) -> range:
        place = self.get_metadata(PositionProvider, node)
        if isinstance(node, cst.SimpleStatementLine | cst.Match) or not node.body.body:
            return range(place.start.line, place.end.line + 1)
        body = self.get_metadata(PositionProvider, node.body.body[0])
        return range(place.start.line, max(body.start.line, place.start.line + 1))


def changed(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """What could stand in the place of ``node``.

    From mutmut's changes those are left out that any test notices (a positional argument removed, None for an
    argument or a value), and changed texts, most of which are parts of messages. Added are a condition turned
    round, and a call left out whose result nobody uses.
    """
    for kind, operator in mutators.mutation_operators:
        left_out = operator in (
            mutators.operator_string,
            mutators.operator_assignment,
            mutators.operator_arg_removal,
        )
        if isinstance(node, kind) and not left_out:
            yield from operator(node)
    if isinstance(node, cst.Call) and len(node.args) > 1:
        for place, argument in enumerate(node.args):
            if argument.keyword is not None:
                yield node.with_changes(args=[*node.args[:place], *node.args[place + 1 :]])
    if isinstance(node, cst.If | cst.While):
        asked = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), asked))
    if isinstance(node, cst.Expr) and isinstance(node.value, cst.Call):
        yield node.with_changes(value=cst.Name("None"))


def sample(paths: list[str], count: int, seed: int) -> list[Mutant]:
    """``count`` changes of these files, at most one to a statement; the same for the same seed and code."""
    found: list[Mutant] = []
    modules: dict[str, cst.Module] = {}
    for path in paths:
        wrapper = MetadataWrapper(cst.parse_module((ROOT / path).read_text(encoding="utf-8")))
        modules[path] = wrapper.module
        changes = Changes(path, seed, wrapper.module)
        wrapper.visit(changes)
        found += changes.found
    chosen: dict[tuple[str, range], Mutant] = {}
    for mutant in sorted(found, key=lambda mutant: mutant.rank):
        if len(chosen) == count:
            break
        if (mutant.path, mutant.lines) in chosen:
            continue
        before = modules[mutant.path]
        mutant.source = cst.ensure_type(before.deep_replace(mutant.old, mutant.new), cst.Module).code
        try:
            same = ast.dump(ast.parse(mutant.source)) == ast.dump(ast.parse(before.code))
        except SyntaxError:
            continue
        if same:
            continue
        pairs = difflib.ndiff(before.code.splitlines(), mutant.source.splitlines())
        mutant.shown = "\n".join(line for line in pairs if line.startswith(("- ", "+ ")))
        chosen[mutant.path, mutant.lines] = mutant
    return sorted(chosen.values(), key=lambda mutant: (mutant.path, mutant.lines.start))


class Record:
    """A pytest plugin that notes, for each test that passes, how long it took and which lines it ran."""

    def __init__(self, tree: Path, record: Path) -> None:
        self.tree, self.record = tree, record
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self.failed: list[str] = []
        self.fixtures: dict[str, list[str]] = {}
        self.coverage = coverage.Coverage(
            data_file=None, source=[str(self.tree / PACKAGE)], config_file=False
        )

    def pytest_sessionstart(self) -> None:
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self.current = item.nodeid
        self.coverage.switch_context(item.nodeid)
        self.fixtures[item.nodeid] = list(getattr(item, "fixturenames", []))
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        # What a shared fixture runs counts for all its tests, not only for the first.
        self.coverage.switch_context(f"fixture {fixturedef.argname}")
        try:
            return (yield)
        finally:
            self.coverage.switch_context(self.current)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if not report.passed:
            self.failed.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {
            str(Path(path).relative_to(self.tree)): {
                line: [name for name in names if name]
                for line, names in data.contexts_by_lineno(path).items()
            }
            for path in data.measured_files()
        }
        noted = {name: seconds for name, seconds in self.seconds.items() if name not in self.failed}
        content = {"lines": lines, "seconds": noted, "failed": self.failed, "fixtures": self.fixtures}
        self.record.write_text(json.dumps(content), encoding="utf-8")


class Coverage:
    """Which tests run a line: what `Record` saw, and what it cannot see (path -> how tests are called)."""

    def __init__(self, content: dict[str, Any], unseen: dict[str, list[str]]) -> None:
        self.unseen = unseen
        self.seconds: dict[str, float] = content["seconds"]
        users = collections.defaultdict(set)
        for test, names in content["fixtures"].items():
            for name in names:
                users[f"fixture {name}"].add(test)
        self.tests: dict[str, dict[int, set[str]]] = {}
        self.breadth: collections.Counter[str] = collections.Counter()
        for path, lines in content["lines"].items():
            here = self.tests[path] = {}
            for line, contexts in lines.items():
                here[int(line)] = {test for name in contexts for test in users.get(name, {name})} & set(
                    self.seconds
                )
                self.breadth.update(here[int(line)])

    def of(self, mutant: Mutant, limit: float) -> list[str]:
        """The tests of a mutant, narrow and quick ones first, about ``limit`` seconds of them."""
        lines = self.tests.get(mutant.path, {})
        beginnings = tuple(self.unseen.get(mutant.path, []))
        found = {test for test in self.seconds if beginnings and test.startswith(beginnings)}
        found.update(*(lines.get(line, set()) for line in (lines if mutant.at_import else mutant.lines)))
        chosen: list[str] = []
        total = 0.0
        for test in sorted(found, key=lambda test: (self.seconds[test] + 0.01) * self.breadth[test]):
            total += self.seconds[test]
            if chosen and total > limit:
                break
            chosen.append(test)
        return chosen


class Only:
    """A pytest plugin that keeps only the given tests, in the given order."""

    def __init__(self, tests: list[str]) -> None:
        self.order = {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.order), key=lambda item: self.order[item.nodeid]
        )


def copy_of_tree(tree: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def start(tree: Path, plugin: Any, arguments: list[str]) -> int:
    """A process that runs pytest in a copy of the tree; its exit status is pytest's."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    os.nice(15)
    log = os.open(tree.parent / "pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(tree)
    shutil.rmtree(tree.parent / "tmp", ignore_errors=True)
    (tree.parent / "tmp").mkdir()
    os.environ.update(PYTHONPATH=str(tree), TMPDIR=str(tree.parent / "tmp"), PYTHONDONTWRITEBYTECODE="1")
    tempfile.tempdir = None
    sys.path.insert(0, str(tree))
    # A file changed twice within a second at the same size would be taken for its old bytecode.
    sys.dont_write_bytecode = True
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    status = 3
    try:
        status = int(pytest.main([*options, *arguments], plugins=[plugin]))
    finally:
        sys.stdout.flush()
        os._exit(status)


def wait(child: int, seconds: float) -> str:
    """How the process ended: 'passed', 'failed' or 'too slow'."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            stop(child)
            return "passed" if status == 0 else "failed"
        time.sleep(0.02)
    stop(child)
    os.waitpid(child, 0)
    return "too slow"


def stop(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def measured(tree: Path, tests: list[str], record: Path) -> dict[str, Any]:
    """What `Record` wrote, by running the tests where ``record`` isn't there yet."""
    if not record.exists():
        began = time.monotonic()
        wait(start(tree, Record(tree, record), tests), 3600)
        if not record.exists():
            log = (tree.parent / "pytest.log").read_text(encoding="utf-8")
            raise SystemExit(f"the tests could not be run:\n{log[-3000:]}")
        print(f"measured in {time.monotonic() - began:.0f} s", flush=True)
    content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    print(f"{len(content['seconds'])} tests, {sum(content['seconds'].values()):.0f} s", flush=True)
    for test in dict.fromkeys(content["failed"]):
        print(f"left out, as it fails or is skipped: {test}", flush=True)
    return content


def try_out(mutant: Mutant, tree: Path, tests: list[str], seconds: float) -> None:
    if not tests:
        mutant.fate = "no test"
        return
    path = tree / mutant.path
    path.write_text(mutant.source, encoding="utf-8")
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    mutant.fate = wait(start(tree, Only(tests), ["-x", *files]), seconds)
    shutil.copy2(ROOT / mutant.path, path)


def main() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutants"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=settings["sample"], help="changes in each group")
    parser.add_argument("--seed", type=int, default=settings["seed"])
    parser.add_argument(
        "--group", choices=list(settings["groups"]), help="one group of modules (default: all)"
    )
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="of the sample those with this in PATH:LINE"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="which tests run which lines, kept for a next run"
    )
    options = parser.parse_args()
    left_out = {path for pattern in settings["left-out"] for path in ROOT.glob(pattern)}
    mutants: list[Mutant] = []
    for name, patterns in settings["groups"].items():
        if options.group in (None, name):
            paths = sorted({p for pattern in patterns for p in ROOT.glob(pattern)} - left_out)
            mutants += sample([str(path.relative_to(ROOT)) for path in paths], options.sample, options.seed)
    mutants = [mutant for mutant in mutants if any(text in mutant.place for text in options.only)]
    os.environ["OMP_NUM_THREADS"] = "1"
    for private in ("POINTMAE_ZOO_TESTDATA", "POINTMAE_ZOO_PARITY"):
        os.environ.pop(private, None)
    for library in ("numba", "safetensors.torch", "scipy.spatial", "torch", "trimesh"):
        __import__(library)
    with tempfile.TemporaryDirectory(prefix="mutants-") as made:
        tree = Path(made) / "tree"
        copy_of_tree(tree)
        record = (options.record or Path(made) / "record.json").absolute()
        tests = Coverage(measured(tree, settings["tests"], record), settings["unseen"])
        for mutant in mutants:
            chosen = tests.of(mutant, settings["seconds"])
            try_out(mutant, tree, chosen, 30 + 4 * sum(tests.seconds[test] for test in chosen))
            print(f"{mutant.fate:9} {mutant.place}, {len(chosen)} tests", flush=True)
            if mutant.fate in ("passed", "no test"):
                print(mutant.shown, flush=True)
    print("\n| module | mutants | killed |\n| --- | ---: | ---: |")
    for path in dict.fromkeys(mutant.path for mutant in mutants):
        fates = [mutant.fate in ("failed", "too slow") for mutant in mutants if mutant.path == path]
        print(f"| `{path.removeprefix(f'{PACKAGE}/')}` | {len(fates)} | {sum(fates)} |")


if __name__ == "__main__":
    main()
