"""Files down and up: regular ones, and large ones through LFS."""

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from samples.hub.messages import Answer, Request, failure, found
from samples.hub.repository import File, git_oid, is_lfs, pointer

if TYPE_CHECKING:
    from samples.hub.server import LoopbackHub

LARGE = 10 << 20  # regular files are smaller


def signature(hub: "LoopbackHub", sha256: str) -> str:
    return hmac.new(hub.secret.encode(), sha256.encode(), "sha256").hexdigest()


def signed(hub: "LoopbackHub", request: Request, sha256: str) -> bool:
    return hmac.compare_digest(request.query.get("Signature", [""])[0], signature(hub, sha256))


def resolve(hub: "LoopbackHub", request: Request, repo: str, revision: str, path: str) -> Answer:
    repository = hub.open_content(request, repo)
    sha = hub.resolve(repository, revision)
    file = repository.files(sha).get(path)
    if file is None:
        return failure(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": sha})
    headers = {"X-Repo-Commit": sha, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    if not file.lfs:
        return ranged(request, headers, hub.objects.path(file.sha256).read_bytes())
    headers["X-Linked-Etag"], headers["X-Linked-Size"] = f'"{file.sha256}"', str(file.size)
    query = f"Signature={signature(hub, file.sha256)}"
    headers["Location"] = f"{hub.cdn}/cdn/{file.sha256}/{quote(path.rsplit('/', 1)[-1])}?{query}"
    return Answer(302, headers, f"Found. Redirecting to {headers['Location']}".encode())


def cdn(hub: "LoopbackHub", request: Request, sha256: str, name: str) -> Answer:
    """The content of a large file, for whoever has its signed address; no token is asked for."""
    if not signed(hub, request, sha256):
        return failure(403, "Missing or wrong signature")
    headers = {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"}
    return ranged(request, headers, hub.objects.path(sha256).read_bytes())


def ranged(request: Request, headers: dict[str, str], content: bytes) -> Answer:
    wanted = request.headers.get("range", "").removeprefix("bytes=")
    if not wanted:
        return Answer(200, headers, content)
    first, _, last = wanted.partition("-")
    start, stop = int(first), int(last) + 1 if last else len(content)
    if start >= len(content):
        return Answer(416, {**headers, "Content-Range": f"bytes */{len(content)}"})
    part = content[start:stop]
    headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
    return Answer(206, headers, part)


def preupload(hub: "LoopbackHub", request: Request, repo: str, revision: str) -> Answer:
    """Which files go through LFS, and which are there already (by their ``oid``)."""
    repository = hub.open_writing(request, repo, pull_request="create_pr" in request.query)
    there = repository.files(hub.resolve(repository, revision))
    files = []
    for file in request.json()["files"]:
        path = file["path"]
        mode = "lfs" if is_lfs(path) or file["size"] > LARGE else "regular"
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": False})
        if path in there:
            files[-1]["oid"] = there[path].etag
    return found({"files": files})


def lfs_batch(hub: "LoopbackHub", request: Request, repo: str) -> Answer:
    """Where to put what is not there yet."""
    hub.open_writing(request, repo, pull_request=True)
    objects = []
    for asked in request.json()["objects"]:
        oid = asked["oid"]
        objects.append({"oid": oid, "size": asked["size"], "authenticated": True})
        if not hub.objects.path(oid).is_file():
            objects[-1]["actions"] = {
                "upload": {
                    "href": f"{hub.cdn}/lfs-upload/{oid}?Signature={signature(hub, oid)}",
                    "header": {},
                },
                "verify": {"href": f"{hub.url}/{repo}.git/info/lfs/objects/verify", "header": {}},
            }
    return found({"transfer": "basic", "objects": objects})


def lfs_upload(hub: "LoopbackHub", request: Request, sha256: str) -> Answer:
    if not signed(hub, request, sha256):
        return failure(403, "Missing or wrong signature")
    content = request.body()
    if hashlib.sha256(content).hexdigest() != sha256:
        return failure(400, "The content is not what its name says")
    hub.objects.add(content, lfs=True)
    return Answer(200, {"ETag": f'"{sha256}"'})


def lfs_verify(hub: "LoopbackHub", request: Request, repo: str) -> Answer:
    hub.open_writing(request, repo, pull_request=True)
    asked = request.json()
    path = hub.objects.path(asked["oid"])
    if not path.is_file() or path.stat().st_size != asked["size"]:
        return failure(404, f"No such object: {asked['oid']}")
    return found({})


def commit(hub: "LoopbackHub", request: Request, repo: str, revision: str) -> Answer:
    """Lines of JSON: the title, then what each file becomes. All of them in one commit, or none."""
    pull_request = "create_pr" in request.query
    repository = hub.open_writing(request, repo, pull_request)
    head = hub.resolve(repository, revision)
    lines = [json.loads(line) for line in request.body().splitlines() if line]
    title = lines[0]["value"]
    if title.get("parentCommit", head) != head:
        return failure(412, "A commit has happened since. Please refresh and try again.")
    files: dict[str, File | None] = {}
    for line in lines[1:]:
        path = line["value"]["path"]
        try:
            files |= change(hub, repository.files(head), line["key"], path, line["value"])
        except LookupError as error:
            return failure(400, str(error.args[0]))
    sha, number = repository.commit(
        files,
        title["summary"],
        revision=revision,
        description=title["description"],
        user=hub.writer(request).name,
        pull_request=pull_request,
    )
    url = f"{hub.url}/{repo}"
    address = f"{url}/discussions/{number}" if number else None
    return found(
        {
            "success": True,
            "commitUrl": f"{url}/commit/{sha}",
            "commitOid": sha,
            "hookOutput": "",
            "pullRequestUrl": address,
        }
    )


def change(
    hub: "LoopbackHub", there: dict[str, File], key: str, path: str, value: dict
) -> dict[str, File | None]:
    if key == "file":
        return {path: hub.objects.add(base64.b64decode(value["content"]))}
    if key == "lfsFile":
        stored = hub.objects.path(value["oid"])
        if not stored.is_file():
            raise LookupError(f"LFS pointer pointed to a file that does not exist: {path}")
        size = stored.stat().st_size
        oid = git_oid(pointer(value["oid"], size))
        return {path: File(size=size, sha256=value["oid"], oid=oid, lfs=True)}
    if key == "deletedFolder":
        return {name: None for name in there if name.startswith(path.rstrip("/") + "/")}
    if path not in there:
        raise LookupError(f"A file with this name doesn't exist: {path}")
    return {path: None}
