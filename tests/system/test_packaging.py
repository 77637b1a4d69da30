"""The wheel, installed outside the checkout; its requirements; what the libraries import at their top level."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from rewardlab import assets
from rewardlab.reward_model import backbones
from rewardlab.reward_model import model as reward_model
from tests.support import random_networks
from tests.support.servers import ROOT

UNIX_ONLY = {"fcntl", "grp", "pwd", "resource", "termios"}
# The list of an earlier build's files (egg-info) would bring them into this wheel too.
UNNEEDED = (".*", "*.egg-info", "build", "var", "tests", "__pycache__")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED = PYPROJECT["project"]
TEXT = "The face of a woman aged about 40."

SCORE = """
import sys
from pathlib import Path
import refl, rewardlab
from rewardlab import metrics
from rewardlab.images import read, to_tensor
for package in (refl, rewardlab):
    folder = Path(package.__file__).parent
    assert folder.is_relative_to(sys.prefix), folder
    assert (folder / "py.typed").is_file()
image = to_tensor([read(Path(sys.argv[2]))])
assert metrics.load("niqe")(image).isfinite().all()
print(f"{rewardlab.load(sys.argv[1]).score(image, sys.argv[3]).item():+.4f}")
"""

IMPORT_ALL = """
import importlib, pkgutil, sys, refl, rewardlab
for package in (refl, rewardlab):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
assert not {"django", "annotate"} & {*sys.modules}
"""

SIGN_IN = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "annotate.settings"
import django
django.setup()
from django.test import Client
page = Client().get("/accounts/login/", headers={"host": "localhost", "accept-language": "de"})
assert page.status_code == 200, page.status_code
print(page.content.decode())
"""


class Installation:
    """The wheel in a virtual environment, with links to the distributions that it declares, and to no other."""

    def __init__(self, folder: Path, wheel: Path, *extras: str) -> None:
        self.venv, self.cwd = folder / "venv", folder / "elsewhere"
        venv.create(self.venv)
        target = ["--python", self.venv / "bin" / "python"]
        subprocess.run([*PIP, *target, "install", "--no-deps", "--no-index", wheel], check=True)
        packages = next(self.venv.glob("lib/*/site-packages"))
        declared = chain(DECLARED["dependencies"], *(DECLARED["optional-dependencies"][extra] for extra in extras))
        for found in with_dependencies(map(Requirement, declared)):
            for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
                if not (packages / top).exists():
                    (packages / top).symlink_to(Path(found.locate_file(top)))
        self.cwd.mkdir()

    def run(self, program: str, *arguments: str | Path) -> str:
        """Return what the program prints. It runs in an empty folder, without this test run's settings."""
        unset = {"PYTHONPATH", "DJANGO_SETTINGS_MODULE", "MEDIA_ROOT", "RUN_ROOT", "DATABASE_URL"}
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        environment["DATA_ROOT"] = str(self.cwd / "data")
        command = [self.venv / "bin" / program, *arguments]
        done = subprocess.run(command, cwd=self.cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


def with_dependencies(requirements: Iterable[Requirement]) -> Iterator[Distribution]:
    """Yield what pip would install for these requirements, from the packages of this environment."""
    left, seen = list(requirements), set()
    while left:
        requirement = left.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key not in seen:
            seen.add(key)
            found = distribution(requirement.name)
            yield found
            for needed in map(Requirement, found.requires or ()):
                environments = [{"extra": extra} for extra in requirement.extras or {""}]
                if not needed.marker or any(needed.marker.evaluate(each) for each in environments):
                    left.append(needed)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, since a build leaves files beside the code
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*UNNEEDED))
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    return Installation(tmp_path_factory.mktemp("bare"), wheel)


@pytest.mark.parametrize("backbone", ["hpsv2", "compact"])
def test_bare_installation_scores_an_image(bare, backbone, tmp_path):
    if backbone == "compact" and not assets.is_available("minilm-l6"):
        pytest.skip("requirements-demo.txt is not installed")
    with random_networks.seeded("cpu"):
        is_compact = backbone == "compact"
        model = backbones.open_compact(seed=0) if is_compact else random_networks.reward_model("cpu", tiny=True)
        reward_model.save(model, tmp_path / "model")
    image = tmp_path / "image.png"
    Image.fromarray(next(random_networks.pictures(1, 192))).save(image)
    score = bare.run("python", "-c", SCORE, tmp_path / "model", image, TEXT)
    line = bare.run("rewardlab-score", "--model", tmp_path / "model", "--text", TEXT, image)
    assert line.split() == [score.strip(), str(image)]


def test_train_installation_imports_every_module_without_django(wheel, tmp_path):
    Installation(tmp_path, wheel, "train").run("python", "-c", IMPORT_ALL)


def test_web_installation_shows_its_sign_in_page(wheel, tmp_path):
    web = Installation(tmp_path, wheel, "web")
    assert "[annotate]" in web.run("diffusionreward", "--help")
    assert "no issues" in web.run("diffusionreward", "check")
    web.run("diffusionreward", "migrate", "--verbosity", "0")
    web.run("diffusionreward", "collectstatic", "--no-input", "--verbosity", "0")
    page = web.run("python", "-c", SIGN_IN)
    assert "<h1>Anmelden</h1>" in page  # from the translations
    for file in (r"components\.\w{12}\.css", r"fonts/inter-latin\.\w{12}\.woff2"):
        assert re.search(rf"/static/{file}", page)


def test_requirements_hold_the_pins_of_what_is_declared():
    extras = dict(DECLARED["optional-dependencies"])
    development = extras.pop("dev")
    for optional in ("ray", "sentry"):  # requirements-dev.txt pins them for the tests
        extras.pop(optional)
    runtime = [*DECLARED["dependencies"], *PYPROJECT["build-system"]["requires"], *chain(*extras.values())]
    for file, declared in (("requirements.txt", runtime), ("requirements-dev.txt", development)):
        requirements = [Requirement(line) for line in declared]
        pins = _pins(ROOT / file)
        assert {canonicalize_name(each.name) for each in requirements} == set(pins)
        refused = [str(each) for each in requirements if pins[canonicalize_name(each.name)] not in each.specifier]
        assert not refused


def test_libraries_import_no_unix_only_module_at_top_level():
    found = [
        f"{path.relative_to(ROOT)}:{statement.lineno}"
        for package in ("rewardlab", "refl")
        for path in sorted((ROOT / package).rglob("*.py"))
        for statement in _top_level(ast.parse(path.read_text()))
        if _imported(statement) & UNIX_ONLY
    ]
    assert not found


def _pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [(Requirement(line).name, line.partition("==")[2]) for line in lines]
    return {canonicalize_name(name): version for name, version in pairs}


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement that runs when the module is imported, also below `if` and in classes."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _top_level(child)


def _imported(statement: ast.AST) -> set[str]:
    if isinstance(statement, ast.Import):
        return {alias.name.partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.ImportFrom) and not statement.level:
        return {str(statement.module).partition(".")[0]}
    return set()
