"""Print the lowest version of every library that pyproject.toml admits, as pip constraints.

Tools of development (ruff, pytest, ...) are left alone: what matters is what users have installed.
"""

import re
import tomllib
from pathlib import Path

content = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
project = tomllib.loads(content)["project"]
extras = project["optional-dependencies"]
wanted = project["dependencies"] + [
    entry for name in extras if name not in ("dev", "mutants") for entry in extras[name]
]
for entry in wanted:
    if found := re.fullmatch(r"([\w.-]+)>=([\w.]+)", entry):
        print(f"{found[1]}=={found[2]}")
    elif not entry.startswith(f"{project['name']}["):
        raise SystemExit(f"pyproject.toml: {entry!r} has no lowest version")
