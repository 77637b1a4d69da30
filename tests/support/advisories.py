"""Look for published advisories about the installed packages: `make audit`.

pip-audit says “no known vulnerabilities” even if it could not look up any package. This says how many it looked up. The
exit status is 1 if an advisory is found, and 0 if none is, or if the service cannot be reached, which is printed.
"""

import json
import subprocess
import sys
from collections.abc import Sequence


def audit(options: Sequence[str] = ("--local", "--skip-editable")) -> tuple[int, str]:
    """Return the exit status and a message."""
    command = [sys.executable, "-m", "pip_audit", *options, "--format", "json", "--progress-spinner", "off"]
    result = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        return 0, f"NOT AUDITED: the advisories cannot be reached: {result.stderr.strip()[-300:]}"
    found = [
        f"{package['name']} {package['version']}: {vuln['id']}; fixed in: {', '.join(vuln['fix_versions']) or 'none'}"
        for package in packages
        for vuln in package.get("vulns", [])
    ]
    looked_up = sum("skip_reason" not in package for package in packages)
    if found:
        return 1, "\n".join(["Vulnerable packages are installed:", *found])
    if not looked_up:
        return 0, f"NOT AUDITED: none of the {len(packages)} packages is known; can the service be reached?"
    return 0, f"No advisory names any of {looked_up} packages; {len(packages) - looked_up} could not be looked up."


if __name__ == "__main__":
    status, message = audit()
    print(message)
    sys.exit(status)
