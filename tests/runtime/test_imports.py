"""The direction of imports, and the one door to the network."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.servers.product import ROOT

# What the protocol layer may take from requests: names for what it is handed, and for what can go wrong.
# Made by hand, they open nothing: sending is what needs the door.
VALUES = {"requests.Response", "requests.PreparedRequest"}
TYPES_AND_ERRORS = {"Session", "Response", "PreparedRequest", "RequestException", "Timeout", "ConnectionError"} | {
    "CaseInsensitiveDict",
    "default_hooks",
}


def test_imports_point_down() -> None:
    linter = Path(sys.executable).parent / "lint-imports"

    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_other_module_imports_a_network_library() -> None:
    """The lint rule itself, so that it also holds where nobody lints."""
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "config", "workspaces", "integrations"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_the_protocol_layer_opens_no_connection_of_its_own() -> None:
    used: set[str] = set()
    for path in (ROOT / "integrations" / "oauth").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "requests":
                used |= {alias.name for alias in node.names}
            if isinstance(node, ast.Call) and _is_requests(node.func) and ast.unparse(node.func) not in VALUES:
                used.add(f"call of {ast.unparse(node.func)}")
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "requests":
                used.add(node.attr)
            if isinstance(node, ast.Import):
                imported = {alias.name.partition(".")[0] for alias in node.names}
                used |= imported & {"urllib3", "socket", "http", "httpx", "aiohttp"}

    assert used - TYPES_AND_ERRORS - {"exceptions"} == set()


def _is_requests(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "requests"
    )
