"""The environment of a test run, set before Django reads its settings (`-p tests.support.environment`)."""

import os
import tempfile
from pathlib import Path

os.environ["DATA_ROOT"] = tempfile.mkdtemp(prefix="diffusionreward-test-")
for name in ("MEDIA_ROOT", "MEDIA_STORE"):
    os.environ.pop(name, None)
os.environ.setdefault("DEPLOYMENT", "development")
# Several test processes share the cores: with more threads than cores they would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
(Path(os.environ["DATA_ROOT"]) / "staticfiles").mkdir()
