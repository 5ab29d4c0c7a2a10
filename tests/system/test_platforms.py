"""What Windows or macOS lack (locks, limits, signals) has an alternative, which is tried without them."""

import ast
import contextlib
import errno
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trimesh

from pointmae_zoo import cli
from pointmae_zoo.inference import read_table
from pointmae_zoo.inference.resumable import Journal
from pointmae_zoo.shapes.measures import Measures
from pointmae_zoo.system import files
from pointmae_zoo.system.files import lock, locked, remove_locked
from pointmae_zoo.train.target_cache import _claimed
from pointmae_zoo.train.training_run import locked_run_folder

ROOT = Path(__file__).resolve().parents[2]

# The folder of this file is put on PYTHONPATH, so that every Python process of a test starts with it.
WITHOUT_POSIX = """
import os, signal, sys
for name in ("fcntl", "resource", "msvcrt", "termios", "grp", "pty", "tty"):
    sys.modules[name] = None
for module, names in {
    os: "fork forkpty killpg setsid sched_getaffinity getloadavg chown mkfifo",
    signal: "SIGALRM SIGHUP SIGUSR1 SIGUSR2 SIGCHLD setitimer alarm pause",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""


def without_posix(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the package's command line where POSIX-only modules, functions and signals are missing."""
    (folder / "sitecustomize.py").write_text(WITHOUT_POSIX, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-m", "pointmae_zoo", "--debug", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_embed_works_without_posix_only_calls(tmp_path: Path) -> None:
    for size in (1, 2):
        trimesh.creation.box(extents=(1, 1, size)).export(tmp_path / f"{size}.stl")
    done = without_posix(tmp_path, "embed", ".", "--out", "features.npz", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert len(read_table(tmp_path / "features.npz").paths) == 2
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.slow
def test_training_works_without_posix_only_calls(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("timm")
    fields = {"steps": 2, "procedural_clouds": 130, "batch_size": 8, "warmup_steps": 0}
    changes = [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]
    done = without_posix(tmp_path, "pretrain", "--recipe", "smoke", "--out", "run", *changes)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model.safetensors").stat().st_size > 1000


POSIX_ONLY = {
    "os": "fork forkpty killpg setsid setpgid sched_getaffinity getuid geteuid getloadavg uname chown mkfifo",
    "signal": "SIGKILL SIGALRM SIGHUP SIGUSR1 SIGUSR2 SIGCHLD setitimer ITIMER_REAL alarm pause",
    "time": "tzset",
}
NOT_ON_WINDOWS = {"fcntl", "resource", "termios", "grp", "pwd", "pty", "tty", "multiprocessing"}
"""multiprocessing is there, but imports the caller's main module, in which nobody can ask for a guard."""


@pytest.mark.parametrize("folder", ["pointmae_zoo", "benchmarks", "examples"])
def test_what_windows_lacks_is_asked_for_first(folder: str) -> None:
    """By ``try: import`` or ``hasattr`` right around it."""
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        guarded = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Try, ast.With, ast.If, ast.IfExp)) and asks(node)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in guarded:
                continue
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.attr not in POSIX_ONLY.get(node.value.id, "").split(), f"{file}:{node.lineno}"
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert not names & NOT_ON_WINDOWS, f"{file}:{node.lineno}"
            elif isinstance(node, ast.keyword):
                assert node.arg not in ("preexec_fn", "pass_fds"), f"{file}:{node.lineno}"


def asks(node: ast.AST) -> bool:
    """Whether a block has an alternative to what is missing."""
    if isinstance(node, ast.Try):
        return any("ImportError" in ast.unparse(handler.type or node) for handler in node.handlers)
    if isinstance(node, ast.With):
        return "suppress(ImportError" in ast.unparse(node.items[0])
    return "hasattr(" in ast.unparse(node.test)  # type: ignore[attr-defined]


@pytest.fixture
def windows_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, an open file can't be removed."""
    unlink = Path.unlink

    def only_closed(path: Path, missing_ok: bool = False) -> None:
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                if os.path.samefile(f"/proc/self/fd/{number}", path):
                    raise PermissionError(13, "The process cannot access the file", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", only_closed)


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks up open files in /proc")


def test_a_lock_lasts_until_its_file_is_closed_and_leaves_the_file_s_position(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b") as first, open(tmp_path / "file", "r+b") as second:
        first.write(b"12345")
        assert lock(first)
        first.write(b"678")
        first.flush()
        with pytest.raises(BlockingIOError, match="another process"):
            lock(second)
        first.close()
        assert lock(second)
        assert second.read() == b"12345678"
        remove_locked(tmp_path / "file", second)
    assert not (tmp_path / "file").exists()


@linux
def test_windows_leaves_a_file_that_another_has_opened(windows_files: None, tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as mine, open(tmp_path / "file", "rb"):
        lock(mine)
        remove_locked(tmp_path / "file", mine)
        assert mine.closed
    assert (tmp_path / "file").exists()


def test_waiting_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    inside, leave, order = threading.Event(), threading.Event(), []
    told = print

    def tell(*words: object, **options: Any) -> None:
        told(*words, **options)
        leave.set()  # the second one waits: the first may leave

    monkeypatch.setattr(files, "print", tell, raising=False)

    def first() -> None:
        with locked(tmp_path / "lock") as alone:
            assert alone
            inside.set()
            leave.wait()
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with locked(tmp_path / "lock", "waiting for the other") as alone:
        assert alone
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert "waiting for the other" in capsys.readouterr().err
    assert not (tmp_path / "lock").exists()


@linux
def test_windows_keeps_two_processes_apart_everywhere(windows_files: None, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows", {"seed": 0})
    with pytest.raises(ValueError, match="another run is writing this output"):
        Journal(tmp_path / "rows", {"seed": 0})
    journal.add(["file"], np.ones((1, 2), np.float32), [Measures((1.0, 1.0, 1.0), None, None, 0, False)])
    journal.close()
    journal = Journal(tmp_path / "rows", {"seed": 0})
    assert list(journal.rows) == ["file"]
    journal.remove()
    assert not (tmp_path / "rows").exists()
    with (
        locked_run_folder(tmp_path),
        pytest.raises(ValueError, match="another process is training in it"),
        locked_run_folder(tmp_path),
    ):
        pass
    with _claimed(tmp_path, 0) as mine, _claimed(tmp_path, 0) as again:
        assert mine and not again
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_without_any_locks_everybody_is_let_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a network disk that has none."""

    def refused(number: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.lock_descriptor", refused)
    with locked(tmp_path / "lock") as alone:
        assert alone is False
    with _claimed(tmp_path, 0) as first, _claimed(tmp_path, 0) as second:
        assert first and second
    with locked_run_folder(tmp_path), locked_run_folder(tmp_path):
        pass
    journal = Journal(tmp_path / "rows", {})
    Journal(tmp_path / "rows", {}).close()
    journal.remove()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_cores_are_counted_where_the_system_does_not_say_which_are_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pointmae_zoo.shapes import reader_pool

    available_cores = reader_pool.available_cores.__wrapped__  # not what stands in for it in tests
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert available_cores() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


@pytest.mark.parametrize("name", ["grün.npy", "部品.npy"])
def test_a_name_that_the_terminal_cannot_show_is_escaped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stdout is ASCII or, as on Windows, cp1252."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(cli.models, "list_", lambda: print(name))
    app = SimpleNamespace(
        parse_args=lambda words: (cli.models.list_, SimpleNamespace(args=(), kwargs={}), {}), help_print=None
    )
    monkeypatch.setattr(cli, "build_app", lambda: app)
    assert cli.main(["embed"]) == 0
    assert written.getvalue().strip() == name.encode("ascii", "backslashreplace")
