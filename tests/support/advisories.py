"""Whether a published advisory names anything that is installed here: `make audit`.

pip-audit says “no known vulnerabilities” also when it could look up nothing; this says how many it could. Exits with 1
if one is found, with 0 if none is or if the advisories cannot be reached, which it says.
"""

import json
import subprocess
import sys
from collections.abc import Sequence


def audit(options: Sequence[str] = ("--local", "--skip-editable")) -> tuple[int, str]:
    """(exit status, what to say)."""
    command = [sys.executable, "-m", "pip_audit", *options, "--format", "json", "--progress-spinner", "off"]
    result = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        return 0, f"NOT AUDITED: the advisories cannot be reached: {result.stderr.strip()[-300:]}"
    found = [
        f"{package['name']} {package['version']}: {one['id']}; fixed in: {', '.join(one['fix_versions']) or 'none'}"
        for package in packages
        for one in package.get("vulns", [])
    ]
    looked_up = sum("skip_reason" not in package for package in packages)
    if found:
        return 1, "\n".join(["Vulnerable packages are installed:", *found])
    if not looked_up:
        return 0, f"NOT AUDITED: the advisories know none of the {len(packages)} packages; is the service reachable?"
    return 0, f"No advisory names any of {looked_up} packages; {len(packages) - looked_up} could not be looked up."


if __name__ == "__main__":
    status, words = audit()
    print(words)
    sys.exit(status)
