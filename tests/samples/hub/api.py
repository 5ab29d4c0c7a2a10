"""What may be asked about accounts and repositories."""

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from samples.hub.card import problems
from samples.hub.messages import Answer, Request, failure, found
from samples.hub.repository import File, pointer

if TYPE_CHECKING:
    from samples.hub.server import LoopbackHub


def entry(path: str, file: File) -> dict:
    data: dict = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
    if file.lfs:
        data["lfs"] = {
            "oid": file.sha256,
            "size": file.size,
            "pointerSize": len(pointer(file.sha256, file.size)),
        }
    return data


def whoami(hub: "LoopbackHub", request: Request) -> Answer:
    user = hub.writer(request)
    role = {"displayName": "test", "role": "write" if user.writes else "read"}
    auth = {"type": "access_token", "accessToken": role}
    orgs = [{"type": "org", "name": name} for name in user.spaces if name != user.name]
    return found({"type": "user", "id": user.name, "name": user.name, "orgs": orgs, "auth": auth})


def validate_yaml(hub: "LoopbackHub", request: Request) -> Answer:
    errors = [{"message": problem} for problem in problems(request.json()["content"])]
    data = {"errors": errors, "warnings": []}
    return Answer(400 if errors else 200, {"Content-Type": "application/json"}, json.dumps(data).encode())


def create_repo(hub: "LoopbackHub", request: Request) -> Answer:
    user, asked = hub.writer(request), request.json()
    space = asked.get("organization") or user.name
    repo = f"{space}/{asked['name']}"
    if not user.writes or space not in user.spaces:
        message = f'You don\'t have the rights to create a model under the namespace "{space}"'
        return failure(403, message)
    if hub.repository(repo).exists():
        data = {"error": "You already created this model repo", "url": f"{hub.url}/{repo}"}
        headers = {"Content-Type": "application/json", "X-Error-Message": data["error"]}
        return Answer(409, headers, json.dumps(data).encode())
    private = asked.get("private") or asked.get("visibility") == "private"
    hub.repository(repo).create(bool(private), False, user=user.name)
    return found({"url": f"{hub.url}/{repo}", "name": repo, "id": repo})


def delete_repo(hub: "LoopbackHub", request: Request) -> Answer:
    user, asked = hub.writer(request), request.json()
    hub.open_writing(request, f"{asked.get('organization') or user.name}/{asked['name']}").delete()
    return found({})


def model_info(hub: "LoopbackHub", request: Request, repo: str, revision: str = "main") -> Answer:
    repository = hub.open(request, repo)
    sha = hub.resolve(repository, revision)
    siblings = []
    for path, file in repository.files(sha).items():
        siblings.append({"rfilename": path})
        if "blobs" in request.query:
            siblings[-1] |= {"size": file.size, "blobId": file.oid}
            if file.lfs:
                size = len(pointer(file.sha256, file.size))
                siblings[-1]["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": size}
    settings = repository.settings
    return found(
        {
            "_id": repo,
            "id": repo,
            "modelId": repo,
            "author": repo.split("/")[0],
            "sha": sha,
            "lastModified": repository.read(sha)["date"],
            "createdAt": repository.history(sha)[-1][1]["date"],
            "private": settings["private"],
            "gated": "manual" if settings["gated"] else False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }
    )


def auth_check(hub: "LoopbackHub", request: Request, repo: str) -> Answer:
    hub.open_content(request, repo)
    return found({})


def settings(hub: "LoopbackHub", request: Request, repo: str) -> Answer:
    repository, asked = hub.open_writing(request, repo), request.json()
    if "visibility" in asked:
        asked["private"] = asked["visibility"] == "private"
    repository.settings = {**repository.settings, **asked}
    return found(repository.settings)


def refs(hub: "LoopbackHub", request: Request, repo: str) -> Answer:
    repository = hub.open(request, repo)

    def listed(kind: str) -> list[dict]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha}
            for name, sha in repository.refs(kind).items()
        ]

    data = {"branches": listed("heads"), "tags": listed("tags"), "converts": []}
    if "include_prs" in request.query:
        data["pullRequests"] = listed("pr")
    return found(data)


def commits(hub: "LoopbackHub", request: Request, repo: str, revision: str) -> Answer:
    repository = hub.open(request, repo)
    history = repository.history(hub.resolve(repository, revision))
    return found(
        [
            {
                "id": sha,
                "title": commit["title"],
                "message": commit["message"],
                "authors": [{"user": commit["user"]}],
                "date": commit["date"],
            }
            for sha, commit in history
        ]
    )


def tree(hub: "LoopbackHub", request: Request, repo: str, revision: str, folder: str | None = None) -> Answer:
    repository = hub.open(request, repo)
    start = f"{folder}/" if folder else ""
    entries, folders = [], set()
    for path, file in repository.files(hub.resolve(repository, revision)).items():
        if not path.startswith(start):
            continue
        parents = path.removeprefix(start).split("/")[:-1]
        deep = request.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        for depth in range(1, len(parents) + 1 if deep else min(len(parents), 1) + 1):
            folders.add(start + "/".join(parents[:depth]))
        if deep or not parents:
            entries.append(entry(path, file))
    if folder and not entries and not folders:
        return failure(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    return found(
        [{"type": "directory", "oid": "0" * 40, "size": 0, "path": p} for p in sorted(folders)] + entries
    )


def paths_info(hub: "LoopbackHub", request: Request, repo: str, revision: str) -> Answer:
    repository = hub.open(request, repo)
    files = repository.files(hub.resolve(repository, revision))
    paths = parse_qs(request.body().decode())["paths"]
    return found([entry(path, files[path]) for path in paths if path in files])


def branch(hub: "LoopbackHub", request: Request, repo: str, revision: str) -> Answer:
    repository = hub.open_writing(request, repo)
    ref = f"refs/heads/{revision}"
    if request.method == "DELETE":
        (repository.folder / ref).unlink()
        return found({})
    if revision in repository.refs("heads"):
        return failure(409, f"Reference already exists: {ref}")
    repository.set_ref(ref, hub.resolve(repository, request.json().get("startingPoint", "main")))
    return found({})


def tag(hub: "LoopbackHub", request: Request, repo: str, revision: str) -> Answer:
    repository = hub.open_writing(request, repo)
    ref = f"refs/tags/{request.json()['tag']}"
    if (repository.folder / ref).exists():
        return failure(409, f"Tag reference exists already: {ref}")
    repository.set_ref(ref, hub.resolve(repository, revision))
    return found({})
