"""The files around the code agree with it: version, address, papers, Python versions."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import pointmae_zoo
from pointmae_zoo.models.registry import list_families

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="not a checkout: the source archive leaves .github out")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked(*patterns: str) -> list[str]:
    """Names of the files that git knows."""
    command = ["git", "ls-files", "-z", "--", *patterns]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip("\0").split("\0")


def test_the_version_stands_in_one_place():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == pointmae_zoo.__version__
    assert "version" in PROJECT["dynamic"]
    headings = re.findall(r"^## \[([^]]+)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == pointmae_zoo.__version__


def test_the_citation_has_the_papers_of_the_models():
    found = {one["url"]: one for one in yaml.safe_load(read("CITATION.cff"))["references"]}
    own = [family for family in list_families() if ROOT / "pointmae_zoo" in family.recipes.parents]
    papers = {family.paper.url: family.paper for family in own}  # not those that other tests register
    assert set(found) == set(papers)
    for url, paper in papers.items():
        assert f"title     = {{{found[url]['title']}}}" in paper.bibtex
        names = [f"{one['family-names']}, {one['given-names']}" for one in found[url]["authors"]]
        assert f"{{{' and '.join(names)}}}" in paper.bibtex
        assert found[url]["conference"]["name"] == paper.venue
        assert paper.venue.endswith(str(found[url]["year"]))


def test_the_project_has_one_address():
    home = PROJECT["urls"]["Homepage"]
    others = set()
    for name in tracked("*.md", "*.yml", "*.yaml", "*.toml", "*.cff", "*.py"):
        for owner, repository in re.findall(r"github(?:usercontent)?\.com/([\w-]+)/([\w-]+)", read(name)):
            if "pointmae" in repository.lower():
                others.add(f"https://github.com/{owner}/{repository}")
    assert others == {home}
    assert all(address.startswith(home) for address in PROJECT["urls"].values())


def test_the_workflow_runs_every_classifier():
    tests = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]["test"]["strategy"]["matrix"]
    prefix = "Programming Language :: Python :: 3."
    named = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if one.startswith(prefix)}
    assert named <= set(tests["python"])
    assert f">={min(named)}" == PROJECT["requires-python"]


def test_publishing_waits_for_the_tests_and_keeps_no_token():
    text = read(".github/workflows/publish.yml")
    jobs = yaml.safe_load(text)["jobs"]
    assert {"test", "version"} <= set(jobs["publish"]["needs"])
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in text
    script = jobs["version"]["steps"][1]["run"]
    for tag, right in ((f"v{pointmae_zoo.__version__}", True), ("v9.9.9", False)):
        given = {**os.environ, "TAG": tag}
        done = subprocess.run(["sh", "-c", script], cwd=ROOT, env=given, check=False)
        assert (done.returncode == 0) is right


def test_forms_ask_for_something():
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) >= 2
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form["name"] and form["description"]
        names = [field["id"] for field in form["body"]]
        assert len(set(names)) == len(names)
        assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_files_over_the_limit_are_weights():
    """As the hook of .pre-commit-config.yaml has it."""
    repositories = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    hooks = [hook for one in repositories for hook in one["hooks"]]
    (hook,) = (hook for hook in hooks if hook["id"] == "check-added-large-files")
    (limit,) = (int(argument.partition("=")[2]) for argument in hook["args"])
    large = [name for name in tracked() if (ROOT / name).stat().st_size > limit * 1024]
    assert large
    assert all(re.match(hook["exclude"], name) for name in large)


def test_contributing_has_every_room_from_top_to_bottom():
    table = read("CONTRIBUTING.md").split("| room | holds |")[1].split("\n\n")[0]
    listed = [re.findall(r"`(\w+)(?:/|\.py)`", row.split("|")[1]) for row in table.splitlines()[2:]]
    contract = SETTINGS["tool"]["importlinter"]["contracts"][0]
    floors = [sorted(floor.split(" | ")) for floor in contract["layers"] if floor != "__main__"]
    assert [sorted(row) for row in listed] == floors


def test_files_and_folders_that_pages_name_exist():
    """Paths in backticks, from the root or from the package."""
    path = re.compile(r"`([\w./]+/[\w.]+\.(?:py|yml)|(?:tests|models|ops|hub)/[\w/]+)`")
    checked = 0
    for page in ("CONTRIBUTING.md", "README.md", *tracked("docs/*.md")):
        for name in path.findall(re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)):
            assert (ROOT / name).exists() or (ROOT / "pointmae_zoo" / name).exists(), f"{page}: {name}"
            checked += 1
    assert checked > 40


def test_the_map_in_contributing_is_right():
    """Names in its first column lie below each other as drawn; files that a line names lie in its folder."""
    drawing = read("CONTRIBUTING.md").split("The same as a map")[1].split("```")[1]
    folders: list[str] = []
    for line in drawing.strip().splitlines():
        names, _, comment = line.strip().partition("  ")
        del folders[(len(line) - len(line.lstrip())) // 4 :]
        places = [ROOT.joinpath(*folders, name) for name in names.split(", ")]
        places += [places[0] / name for name in re.findall(r"\w+\.(?:py|md\.jinja)", comment)]
        assert all(place.exists() for place in places), line
        folders.append(names)
