"""`python -m tests.runtime.deployment COMMAND …`: manage.py under the production settings of docs/operating.md.

Secrets are made up for the occasion, and VAR_DIR is a folder that goes away again.
"""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = ROOT / "docs" / "operating.md"


def production_environment(var_dir: str) -> dict[str, str]:
    """The block of settings under "Production settings", with secrets in place of the dots."""
    block = DOCUMENTED.read_text().partition("```ini\n")[2].partition("```")[0]
    pairs = (line.partition("=") for line in block.splitlines() if "=" in line and not line.startswith("#"))
    documented = {name: value for name, _, value in pairs}
    made_up = {
        "SECRET_KEY": secrets.token_urlsafe(64),
        "FERNET_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    assert set(made_up) < set(documented), f"{DOCUMENTED} does not name the secrets."
    # Neither server needs to run for a check.
    documented.update(made_up, DATABASE_URL="", VAR_DIR=var_dir, ENV_FILE="")
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, **{name: value for name, value in documented.items() if value or name == "ENV_FILE"}}


def main() -> int:
    """Run the command and return its exit code."""
    with tempfile.TemporaryDirectory(prefix="grantry-deployment-") as folder:
        command = [sys.executable, str(ROOT / "manage.py"), *sys.argv[1:]]
        return subprocess.run(command, env=production_environment(folder), cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
