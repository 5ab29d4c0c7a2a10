"""Repositories of the loopback Hub: files, commits, branches and pull requests, in a folder.

As in git, contents are stored by their hash and a commit is a small file named by its own hash, so that every
commit stays readable after the next one.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

# What the real Hub's .gitattributes sends through LFS, as far as these tests need it.
LFS_PATTERNS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.npz", "*.npy")
ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS).encode()


def is_lfs(path: str) -> bool:
    return any(fnmatch(path.rsplit("/", 1)[-1], pattern) for pattern in LFS_PATTERNS)


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """The small text that stands in git for a file in LFS."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


@dataclass(frozen=True)
class File:
    size: int
    sha256: str
    oid: str  # of the blob in git: of the content or, with LFS, of the pointer
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


class Objects:
    """Contents by their sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def add(self, content: bytes, lfs: bool = False) -> File:
        sha256 = hashlib.sha256(content).hexdigest()
        self.path(sha256).write_bytes(content)
        oid = git_oid(pointer(sha256, len(content)) if lfs else content)
        return File(size=len(content), sha256=sha256, oid=oid, lfs=lfs)


class Repository:
    def __init__(self, folder: Path, objects: Objects, repo_id: str) -> None:
        self.folder, self.objects, self.id = folder / repo_id, objects, repo_id

    def exists(self) -> bool:
        return self.folder.is_dir()

    def create(self, private: bool, gated: bool, user: str) -> None:
        for name in ("commits", "refs/heads", "refs/tags", "refs/pr"):
            (self.folder / name).mkdir(parents=True)
        self.settings = {"private": private, "gated": gated, "granted": []}
        self.commit({".gitattributes": self.objects.add(ATTRIBUTES)}, "initial commit", user=user)

    def delete(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def settings(self) -> dict:
        """``private``, ``gated``, and the users who may read it although it is gated (``granted``)."""
        return json.loads((self.folder / "settings.json").read_text())

    @settings.setter
    def settings(self, settings: dict) -> None:
        (self.folder / "settings.json").write_text(json.dumps(settings))

    def ref(self, revision: str) -> Path | None:
        """The file that holds a branch, a tag or a pull request."""
        for place in ("refs/heads", "refs/tags", ""):
            path = self.folder / place / revision
            if (place or revision.startswith("refs/pr/")) and path.is_file():
                return path
        return None

    def resolve(self, revision: str) -> str:
        """The commit of a branch, a tag, ``refs/pr/N`` or a commit; ``KeyError`` if there is none."""
        ref = self.ref(revision)
        if ref is not None:
            return ref.read_text()
        known = [path.name for path in (self.folder / "commits").iterdir() if path.name.startswith(revision)]
        if len(revision) >= 7 and len(known) == 1:  # a short one will do, as on the real Hub
            return known[0]
        raise KeyError(revision)

    def refs(self, kind: str) -> dict[str, str]:
        """Names and commits of ``heads``, ``tags`` or ``pr``."""
        folder = self.folder / "refs" / kind
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}

    def set_ref(self, ref: str, commit: str) -> None:
        path = self.folder / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)

    def read(self, commit: str) -> dict:
        return json.loads((self.folder / "commits" / commit).read_text())

    def files(self, revision: str) -> dict[str, File]:
        files = self.read(self.resolve(revision))["files"]
        return {path: File(**files[path]) for path in sorted(files)}

    def content(self, path: str, revision: str = "main") -> bytes:
        return self.objects.path(self.files(revision)[path].sha256).read_bytes()

    def history(self, revision: str) -> list[tuple[str, dict]]:
        """Commits and what they hold, the newest first."""
        commits, sha = [], self.resolve(revision)
        while sha:
            commits.append((sha, self.read(sha)))
            sha = commits[-1][1]["parent"]
        return commits

    def commit(
        self,
        files: dict[str, File | None],
        title: str,
        *,
        revision: str = "main",
        description: str = "",
        user: str = "",
        pull_request: bool = False,
    ) -> tuple[str, int | None]:
        """Files added, replaced or (None) removed on a branch, on a pull request, or on a new pull request.

        Returns:
            The commit, and the number of the new pull request.
        """
        parent = self.resolve(revision) if self.refs("heads") else None
        tree = {path: File(**file) for path, file in self.read(parent)["files"].items()} if parent else {}
        for path, file in files.items():
            if file is None:
                del tree[path]
            else:
                tree[path] = file
        commit = {
            "parent": parent,
            "title": title,
            "message": description,
            "user": user,
            "date": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "files": {path: asdict(file) for path, file in tree.items()},
        }
        content = json.dumps(commit).encode()
        sha = hashlib.sha1(content).hexdigest()
        (self.folder / "commits" / sha).write_bytes(content)
        number = None
        if pull_request:
            number = len(self.refs("pr")) + 1
            ref = f"refs/pr/{number}"
        else:
            ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        self.set_ref(ref, sha)
        return sha, number
