"""The loopback Hub, driven by the real client alone: what other tests build on."""

import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from samples.hub import (
    LoopbackHub,
    after,
    cut,
    hang_up,
    lose_answer,
    refuse,
    slow,
    with_body,
    with_content,
    with_etag,
)

WEIGHTS = np.random.default_rng(0).integers(0, 256, 2_000_000, dtype=np.uint8).tobytes()
FILES: dict[str, bytes | None] = {
    "model.safetensors": WEIGHTS,
    "config.json": b'{"a": 1}',
    "evaluations/one.json": b"{}",
}
REPO = "org/model"
# The client sends a large file in a way that its HTTP library will not take for ever.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


def additions(files: dict[str, bytes | None]) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, content) for path, content in files.items() if content is not None]


def pull(filename: str, **options: object) -> bytes:
    return Path(hf_hub_download(REPO, filename, **options)).read_bytes()


def cached() -> set[str]:
    """Names of the contents that the client counts as complete."""
    blobs = Path(os.environ["HF_HOME"]).glob("hub/*/blobs/*")
    return {path.name for path in blobs if not path.name.endswith(".incomplete")}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_client_knows_no_other_address(hub: LoopbackHub) -> None:
    assert hub.url == constants.ENDPOINT
    assert Path(constants.HF_HUB_CACHE).is_relative_to(os.environ["HF_HOME"])
    assert huggingface_hub.get_token() is None
    code = "from huggingface_hub import constants; print(constants.ENDPOINT, constants.HF_HUB_CACHE)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.split() == [hub.url, constants.HF_HUB_CACHE]


def test_without_the_fixture_nobody_answers() -> None:
    with pytest.raises(Exception, match="refused"):  # of httpx or of requests, as the client is new or old
        HfApi().model_info(REPO)


def test_there_and_back(hub: LoopbackHub) -> None:
    api = HfApi(token=hub.token)
    assert api.whoami()["name"] == "alice"
    url = api.create_repo(REPO)
    assert (url.repo_id, str(url)) == (REPO, f"{hub.url}/{REPO}")
    first = api.create_commit(REPO, additions(FILES), commit_message="First")
    # The weights went through LFS: up to the CDN and down from it, without a token; the rest is in git.
    (upload,) = hub.asked("lfs-upload")
    assert upload.host == "localhost" and upload.token is None and upload.body() == WEIGHTS
    second = api.create_commit(REPO, additions({"config.json": b'{"a": 2}'}), commit_message="Second")
    assert len({first.oid, second.oid}) == 2 and len(second.oid) == 40

    info = HfApi().model_info(REPO, files_metadata=True)
    assert info.sha == second.oid
    files = {file.rfilename: file for file in info.siblings or []}
    assert set(files) == {*FILES, ".gitattributes"}
    weights, config = files["model.safetensors"], files["config.json"]
    assert weights.size == len(WEIGHTS) and weights.lfs and weights.lfs["sha256"] == sha256(WEIGHTS)
    # git's own name of the blob, from `printf '{"a": 2}' | git hash-object --stdin`
    assert (config.size, config.lfs, config.blob_id) == (8, None, "447f075d20cfeba46f8a9e142157c80b4e1860a6")

    assert pull("model.safetensors") == WEIGHTS
    (down,) = hub.asked("/cdn/", "GET")
    assert down.host == "localhost" and down.token is None
    assert pull("config.json") == b'{"a": 2}'
    assert pull("config.json", revision=first.oid) == b'{"a": 1}'
    assert pull("evaluations/one.json", revision=second.oid) == b"{}"
    with pytest.raises(EntryNotFoundError):
        pull("none.json")
    with pytest.raises(RevisionNotFoundError):
        pull("config.json", revision="none")
    with pytest.raises(RevisionNotFoundError):
        HfApi().model_info(REPO, revision="f" * 40)
    assert {file.path for file in api.list_repo_tree(REPO)} == {
        *("model.safetensors", "config.json", "evaluations", ".gitattributes")
    }
    assert [commit.title for commit in api.list_repo_commits(REPO)] == ["Second", "First", "initial commit"]


def test_branches_tags_and_pull_requests(hub: LoopbackHub) -> None:
    api = HfApi(token=hub.token)
    api.create_repo(REPO)
    first = api.create_commit(REPO, additions(FILES), commit_message="First")
    api.create_branch(REPO, branch="try/it")
    api.create_branch(REPO, branch="try/it", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="already exists"):
        api.create_branch(REPO, branch="try/it")
    api.create_tag(REPO, tag="v1")
    operations = [*additions({"config.json": b"branch"}), CommitOperationDelete("evaluations/")]
    branch = api.create_commit(REPO, operations, commit_message="Branch", revision="try/it")
    stranger = HfApi(token=hub.stranger_token)
    with pytest.raises(HfHubHTTPError, match="create_pr=1"):
        stranger.create_commit(REPO, additions({"config.json": b"b"}), commit_message="No")
    proposal = stranger.create_commit(
        REPO,
        additions({"config.json": b"proposed", "model.safetensors": b"proposed, too"}),
        commit_message="Proposal",
        create_pr=True,
    )
    assert proposal.pr_url == f"{hub.url}/{REPO}/discussions/1" and proposal.pr_revision == "refs/pr/1"
    refs = api.list_repo_refs(REPO, include_pull_requests=True)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": first.oid, "try/it": branch.oid}
    assert [ref.target_commit for ref in refs.tags] == [first.oid]
    assert [ref.target_commit for ref in refs.pull_requests or []] == [proposal.oid]
    for revision, config in (
        *(("main", b'{"a": 1}'), ("v1", b'{"a": 1}'), ("try/it", b"branch")),
        *((branch.oid, b"branch"), ("refs/pr/1", b"proposed"), (proposal.oid, b"proposed")),
    ):
        assert pull("config.json", revision=revision) == config
    assert pull("model.safetensors", revision="refs/pr/1") == b"proposed, too"
    with pytest.raises(EntryNotFoundError):
        pull("evaluations/one.json", revision="try/it")
    with pytest.raises(HfHubHTTPError, match="has happened since"):
        api.create_commit(REPO, additions({"a": b"a"}), commit_message="Old", parent_commit=branch.oid)


def test_private_and_gated(hub: LoopbackHub) -> None:
    HfApi(token=hub.token).create_repo(REPO, private=True)
    hub.commit(REPO, FILES)
    assert HfApi(token=hub.token).model_info(REPO).private
    assert pull("model.safetensors", token=hub.read_token) == WEIGHTS
    assert all(request.token == hub.read_token for request in hub.asked("/resolve/"))
    for token in (False, hub.stranger_token):
        with pytest.raises(RepositoryNotFoundError):
            HfApi(token=token).model_info(REPO)
        with pytest.raises(RepositoryNotFoundError):
            pull("config.json", token=token)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        HfApi(token="hf_wrong").model_info(REPO)
    with pytest.raises(HfHubHTTPError, match="create_pr=1"):
        HfApi(token=hub.read_token).create_commit(REPO, additions(FILES), commit_message="No")
    with pytest.raises(HfHubHTTPError, match="don't have the rights"):
        HfApi(token=hub.stranger_token).create_repo("org/other")
    with pytest.raises(HfHubHTTPError, match="already created"):
        HfApi(token=hub.token).create_repo(REPO)

    hub.create("org/gated", FILES, gated=True)
    assert HfApi().model_info("org/gated").gated == "manual"
    for token, message in ((False, "Please log in"), (hub.stranger_token, "not in the authorized list")):
        with pytest.raises(GatedRepoError, match=message):
            hf_hub_download("org/gated", "config.json", token=token)
    repository = hub.repository("org/gated")
    repository.settings = {**repository.settings, "granted": ["bob"]}
    hf_hub_download("org/gated", "config.json", token=hub.stranger_token)


def test_a_card_with_wrong_metadata_is_refused(hub: LoopbackHub) -> None:
    api = HfApi(token=hub.token)
    api.create_repo(REPO)
    for front in ("a: [", "tags: one", "model-index:\n- name: m\n  results:\n  - metrics: []"):
        card = additions({"README.md": f"---\n{front}\n---\nText\n".encode()})
        with pytest.raises(ValueError, match="Invalid metadata"):
            api.create_commit(REPO, card, commit_message="Card")
    assert "README.md" not in hub.repository(REPO).files("main")


def test_errors_by_status(hub: LoopbackHub) -> None:
    hub.create(REPO, FILES)
    for status in (401, 403, 404, 429, 500):
        hub.order(refuse(status, "As ordered", Retry_After="7"), "/api/models/")
        with pytest.raises(HfHubHTTPError, match="As ordered") as error:
            HfApi().model_info(REPO)
        assert error.value.response.status_code == status
        assert error.value.response.headers["Retry-After"] == "7"
    assert [request.status for request in hub.asked("/api/models/")] == [401, 403, 404, 429, 500]
    assert HfApi().model_info(REPO).id == REPO
    for code, kind in (
        *(("RepoNotFound", RepositoryNotFoundError), ("GatedRepo", GatedRepoError)),
        *(("RevisionNotFound", RevisionNotFoundError), ("EntryNotFound", EntryNotFoundError)),
    ):
        hub.order(refuse(403, "No", code), "config.json", "HEAD")
        with pytest.raises(kind):
            pull("config.json")
    assert cached() == set()
    hub.order(hang_up, "/api/models/")
    with pytest.raises(Exception, match=r"disconnect|aborted|closed"):
        HfApi().model_info(REPO)


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_connection_leaves_no_whole_file(hub: LoopbackHub, reset: bool) -> None:
    hub.create(REPO, FILES)
    hub.order(cut(len(WEIGHTS) // 2, reset), "/cdn/", "GET")
    try:
        content = pull(
            "model.safetensors"
        )  # a newer client goes on by itself where an end of file came too early
    except Exception:
        assert cached() == set()
        content = pull("model.safetensors")
    assert content == WEIGHTS
    assert hub.asked("/cdn/")[-1].status in (200, 206)


def test_a_slow_link_and_a_push_in_between(hub: LoopbackHub) -> None:
    first = hub.create(REPO, FILES)
    hub.order(slow(0.02), "/cdn/")
    hub.order(after(lambda: hub.commit(REPO, {"model.safetensors": b"new"})), "model.safetensors", "HEAD")
    assert pull("model.safetensors", revision=first) == WEIGHTS
    assert pull("model.safetensors") == b"new"


def test_what_the_client_does_not_notice(hub: LoopbackHub) -> None:
    """Neither a wrong name nor a changed content of the same size: whoever loads must look at the sha256."""
    hub.create(REPO, FILES)
    hub.order(with_etag("0" * 64), "model.safetensors", "HEAD")
    assert pull("model.safetensors") == WEIGHTS and cached() == {"0" * 64}
    second = hub.commit(REPO, {"other.safetensors": b"abc"})
    hub.order(with_body(b"cba"), "/cdn/")
    assert pull("other.safetensors", revision=second) == b"cba" and cached() == {"0" * 64, sha256(b"abc")}


def test_what_the_client_does_notice(hub: LoopbackHub) -> None:
    hub.create(REPO, FILES)
    hub.order(with_body(WEIGHTS[:-1]), "/cdn/")
    with pytest.raises(OSError, match="should be of size"):
        pull("model.safetensors")
    assert cached() == set()


def test_a_file_changed_since_it_was_listed(hub: LoopbackHub) -> None:
    sha = hub.create(REPO, FILES)
    hub.order(with_content(b"longer than before"), "config.json", "HEAD GET", times=2)
    assert pull("config.json", revision=sha) == b"longer than before"
    assert hub.orders == []


def test_a_commit_whose_answer_is_lost_is_there(hub: LoopbackHub) -> None:
    api = HfApi(token=hub.token)
    api.create_repo(REPO)
    hub.order(lose_answer, "/commit/", "POST")
    with pytest.raises(Exception):  # noqa: B017  # another one with every version of the client
        api.create_commit(REPO, additions(FILES), commit_message="First")
    head = hub.repository(REPO).resolve("main")
    assert hub.repository(REPO).content("model.safetensors") == WEIGHTS
    # The same again changes nothing: the client sees that all is there, and names the commit.
    assert api.create_commit(REPO, additions(FILES), commit_message="First").oid == head
    assert len(hub.asked("lfs-upload")) == 1


def test_an_upload_that_breaks_leaves_nothing(hub: LoopbackHub) -> None:
    api = HfApi(token=hub.token)
    api.create_repo(REPO)
    head = hub.repository(REPO).resolve("main")
    hub.order(refuse(403), "lfs-upload", "PUT")
    with pytest.raises(RuntimeError, match=r"model\.safetensors"):
        api.create_commit(REPO, additions(FILES), commit_message="First")
    assert hub.repository(REPO).resolve("main") == head and hub.asked("/commit/") == []
    hub.order(hang_up, "lfs-upload", "PUT")
    with suppress(RuntimeError):  # most versions of the client try again by themselves
        api.create_commit(REPO, additions(FILES), commit_message="First")
    api.create_commit(REPO, additions(FILES), commit_message="First")
    assert [commit.title for commit in api.list_repo_commits(REPO)] == ["First", "initial commit"]
    assert hub.repository(REPO).content("model.safetensors") == WEIGHTS


def test_a_stopped_server_and_the_cache(hub: LoopbackHub) -> None:
    sha = hub.create(REPO, FILES)
    pull("model.safetensors")
    hub.stop()
    assert pull("model.safetensors") == pull("model.safetensors", revision=sha) == WEIGHTS
    with pytest.raises(LocalEntryNotFoundError):
        pull("config.json", local_files_only=True)
    hub.start()
    assert pull("config.json") == FILES["config.json"]
    assert {request.method for request in hub.asked("model.safetensors")} == {"HEAD", "GET"}
