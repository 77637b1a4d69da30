"""The documentation: commands parse, named files and pictures exist, and the site builds and loads nothing else."""

import argparse
import ast
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, get_commands, load_command_class
from django.urls import resolve

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
MOST_LINES_OF_README = 120
PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES_OF_PICTURE = 200_000
PICTURE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[^)#]+)(?P<theme>#only-(?:light|dark))?\)")

LANGUAGES = {"sh", "python", "text"}  # shell is always called sh, so that these tests find it
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE)
LOOKS_LIKE_SHELL = re.compile(
    r"^\s*(\$ |>>> )?(make|pip|git|python3?|accelerate|export|curl|\S*manage\.py) \S", re.MULTILINE
)
SEPARATORS = {"&&", "||", ";", "|"}
ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)
BLOCKING_COMMANDS = {
    "serve",
    "qcluster",
    "runserver",
    "createsuperuser",
}  # the last reads its input
BLOCKING_TARGETS = {"run"}
COMMAND = "diffusionreward"  # `manage.py` in an installation
PLAIN = {"cd", "git", "mkdir", "cp", "install"}  # only their paths are checked
# Programs of an operator's machine. What they do to it was checked by hand.
OPERATING = {"aws", "chmod", "docker", "envsubst", "nginx", "openssl", "ray", "systemctl", "systemd-run", "useradd"}
MADE_BY_EXAMPLES = {"rewardlab/metrics/sharpness.py", "refl/policies/sdlora.py"}  # of CONTRIBUTING.md
FILES = re.compile(r"`((?:annotate|rewardlab|refl|tests|docs|templates|static)/[\w./-]*[\w/])`")


@dataclass(frozen=True)
class Block:
    """A fenced block: the page, the line where it begins, its language and its lines."""

    page: Path
    line: int
    language: str
    body: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            page,
            text[: found.start()].count("\n") + 1,
            found["language"],
            re.sub(f"^{found['indent']}", "", found["body"], flags=re.MULTILINE),
        )
        for found in FENCE.finditer(text)
    ]


def commands_of(body: str) -> list[list[str]]:
    """Split a block into simple commands, as lists of words, without leading assignments."""
    commands: list[list[str]] = []
    for line in body.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = next((place for place, word in enumerate(words) if word in SEPARATORS), len(words))
            command, words = words[:end], words[end + 1 :]
            while command and ASSIGNMENT.fullmatch(command[0]):
                command = command[1:]
            if command:
                commands.append(command)
    return commands


SHELL_BLOCKS = [block for page in PAGES for block in blocks_of(page) if block.language == "sh"]


def fault_of(command: list[str]) -> str:
    """Return why a command is wrong; an empty string if it is right."""
    program, *arguments = command
    name = Path(program).name
    if (name == "torchrun" or (name == "accelerate" and arguments[:1] == ["launch"])) and "manage.py" in arguments:
        return fault_of(["python", *arguments[arguments.index("manage.py") :]])
    if re.fullmatch(r"python3?", name):
        if arguments[:1] == ["manage.py"]:
            return fault_of_management(arguments[1:])
        if arguments[:1] == ["-m"] and len(arguments) > 1:
            return fault_of_module(arguments[1], arguments[2:])
    if name == "make":
        return fault_of_make(arguments)
    if name == "pip" and arguments[:1] == ["install"]:
        file = arguments[arguments.index("-r") + 1] if "-r" in arguments else "pyproject.toml"
        return "" if (ROOT / file).is_file() else f"there is no {file}"
    if name == "export":
        unknown = [word.partition("=")[0] for word in arguments if word.partition("=")[0] not in known_settings()]
        return f"the code reads no variable {', '.join(unknown)}" if unknown else ""
    if program == "." and arguments == [".venv/bin/activate"]:
        return ""
    if name == "curl":
        return fault_of_addresses(arguments)
    if name in OPERATING and (ours := [place for place, word in enumerate(arguments) if Path(word).name == COMMAND]):
        called = arguments[ours[-1] + 1 :]
        return fault_of_management(called) if called[:1] and called[0] in get_commands() else fault_of_paths(arguments)
    if name in PLAIN | OPERATING or (name in ("ruff", "pytest", "mkdocs", "pre-commit") and arguments):
        return fault_of_paths(arguments)
    if (ROOT / program).is_file() and os.access(ROOT / program, os.X_OK):
        return ""
    return f"{program} is not known: check it by hand, and extend this test"


def fault_of_management(arguments: list[str]) -> str:
    if not arguments:
        return "manage.py needs a command"
    name, *options = arguments
    app = get_commands().get(name)
    if app is None:
        return f"there is no command {name}"
    try:
        load_command_class(app, name).create_parser("manage.py", name).parse_args(options)
    except (CommandError, argparse.ArgumentTypeError) as error:
        return f"{name}: {error}"
    return ""


def fault_of_module(module: str, arguments: list[str]) -> str:
    if find_spec(module) is None:
        return f"there is no module {module}"
    if not module.startswith(("tests", "rewardlab", "refl", "annotate")):
        return ""
    known = options_of_module(module)
    if known is None:
        return f"{module} has no options" if any(word.startswith("-") for word in arguments) else ""
    unknown = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    unknown = [word for word in unknown if word not in known]
    return f"{module} has no option {', '.join(unknown)}" if unknown else ""


@cache
def options_of_module(module: str) -> frozenset[str] | None:
    """Return the options in its --help; None if it has no argparse parser."""
    spec = find_spec(f"{module}.__main__") if find_spec(module).submodule_search_locations else find_spec(module)
    assert spec and spec.origin, f"{module} cannot be run"
    source = ast.parse(Path(spec.origin).read_text())
    if not any(isinstance(node, ast.Attribute) and node.attr == "ArgumentParser" for node in ast.walk(source)):
        return None
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return frozenset(re.findall(r"--[\w-]+", done.stdout))


def fault_of_make(arguments: list[str]) -> str:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    variables = {*re.findall(r"^(\w+) \?=", makefile, re.MULTILINE), *re.findall(r"\$\((?:if \$\()?(\w+)\)", makefile)}
    for word in arguments:
        name, is_variable, _ = word.partition("=")
        if is_variable and name not in variables | known_settings():
            return f"the Makefile reads no variable {name}"
        if not is_variable and word not in targets:
            return f"the Makefile has no target {word}"
    return ""


def fault_of_addresses(arguments: list[str]) -> str:
    addresses = [urlsplit(word) for word in arguments if word.startswith(("http:", "https:"))]
    try:
        for address in addresses:
            resolve(address.path)
    except Exception as error:  # noqa: BLE001 - any failure to resolve it is the fault
        return f"the site has no {address.path} ({type(error).__name__})"
    return "" if addresses else "curl without an address"


def fault_of_paths(arguments: list[str]) -> str:
    missing = [word for word in arguments if re.match(r"(annotate|rewardlab|refl|tests|docs|deploy/(?!tls))/?", word)]
    missing = [word for word in missing if not (ROOT / word.partition("::")[0]).exists()]
    return f"there is no {', '.join(missing)}" if missing else ""


@cache
def known_settings() -> frozenset[str]:
    """Return the environment variables that the documentation describes; its build compares them with the code."""
    source = ast.parse((ROOT / "docs/_generate/settings.py").read_text())
    found = next(node.value for node in source.body if isinstance(node, ast.AnnAssign) and node.target.id == "SETTINGS")
    return frozenset(key.value for key in found.keys)


def blocks_the_shell(command: list[str]) -> bool:
    """Return whether it runs until it is stopped, or asks questions and so reads the lines pasted after it."""
    if "--noinput" in command or "--check" in command:
        return False
    if Path(command[0]).name == "make":
        targets = [word for word in command[1:] if "=" not in word]
        return not targets or bool(BLOCKING_TARGETS & {*targets})
    return "manage.py" in command and command[command.index("manage.py") + 1] in BLOCKING_COMMANDS


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=lambda block: block.where)
def test_commands_in_docs_parse_and_block_only_in_the_last_line(block):
    commands = commands_of(block.body)
    faults = [f"{shlex.join(command)}: {fault}" for command in commands if (fault := fault_of(command))]
    early = [shlex.join(command) for command in commands[:-1] if blocks_the_shell(command)]
    assert not faults, f"{block.where}\n" + "\n".join(faults)
    assert not early, f"{block.where}: must be the last line of its block: {early}"


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("python manage.py make_gold --annotator", "make_gold: .*--annotator"),
        ("python manage.py restor", "there is no command restor"),
        ("python manage.py export", "export: .*out"),
        ("accelerate launch --num_processes 4 manage.py refl --frm a --base other", "refl: .*--base"),
        ("python -m tests.gpu --small", "tests.gpu has no option --small"),
        ("python -m tests.no_such", "there is no module tests.no_such"),
        ("make rnu", "the Makefile has no target rnu"),
        ("make run PROT=8001", "the Makefile reads no variable PROT"),
        ("export DATA_ROT=/data", "the code reads no variable DATA_ROT"),
        ("curl http://localhost:8000/api/v1/campaign", "the site has no /api/v1/campaign"),
        ("pip install -r requirements-no.txt", "there is no requirements-no.txt"),
        ("rm -r var", "rm is not known"),
    ],
)
def test_wrong_command_is_found(command, fault):
    assert re.search(fault, fault_of(shlex.split(command)))


@pytest.mark.parametrize(
    ("body", "blocking"),
    [
        ("python manage.py serve\npython manage.py autolabel", True),
        ("make run PORT=8001 && make test", True),
        ("python manage.py createsuperuser\npython manage.py serve", True),
        ("python manage.py serve --check\nmake test", False),
        ("make test\nmake run", False),
    ],
)
def test_blocking_command_before_the_last_line_is_found(body, blocking):
    assert any(blocks_the_shell(command) for command in commands_of(body)[:-1]) == blocking


def test_blocks_are_fenced_and_shell_is_called_sh():
    for page in PAGES:
        blocks = blocks_of(page)
        assert page.read_text().count("```") == 2 * len(blocks), f"{page}: a fence is not closed"
        assert {block.language for block in blocks} <= LANGUAGES, page
        hidden = [block.where for block in blocks if block.language == "text" and LOOKS_LIKE_SHELL.search(block.body)]
        assert not hidden, f"shell in a block of text: {hidden}"
        prose = FENCE.sub("", page.read_text())
        indented = [line for line in prose.splitlines() if re.match(r"    \S", line) and LOOKS_LIKE_SHELL.match(line)]
        assert not indented, f"{page}: commands outside a fence: {indented}"


def test_python_blocks_import_only_what_exists():
    for block in (block for page in PAGES for block in blocks_of(page) if block.language == "python"):
        for node in ast.walk(ast.parse(block.body)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("rewardlab", "refl")):
                assert find_spec(node.module), f"{block.where}: there is no module {node.module}"


def test_files_named_in_docs_exist():
    for page in PAGES:
        named = set(FILES.findall(page.read_text())) - MADE_BY_EXAMPLES
        missing = [name for name in sorted(named) if not (ROOT / name).exists()]
        assert not missing, f"{page.relative_to(ROOT)} names files that do not exist: {missing}"


def test_readme_is_short_and_its_links_exist():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= MOST_LINES_OF_README
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links
    assert all((ROOT / link).exists() for link in links), [link for link in links if not (ROOT / link).exists()]


def test_pictures_are_small_described_and_all_shown():
    shown = set()
    for page in PAGES:
        for found in PICTURE.finditer(page.read_text()):
            assert found["alt"].strip(), f"{page.relative_to(ROOT)}: {found['file']} has no alternative text"
            shown.add((page.parent / found["file"]).resolve())
    assert shown == set(PICTURES.iterdir())
    assert max(picture.stat().st_size for picture in shown) <= MOST_BYTES_OF_PICTURE


def test_picture_for_one_theme_has_its_counterpart():
    for page in PAGES:
        themes = [found["theme"] for found in PICTURE.finditer(page.read_text()) if found["theme"]]
        assert themes.count("#only-light") == themes.count("#only-dark"), page.relative_to(ROOT)


class References(HTMLParser):
    """Collect what a page loads when it is opened: scripts, styles, images, fonts; not the links in its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.loaded.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in ("next", "prev", "canonical"):
            self.loaded.append(given.get("href") or "")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: MkDocs does not count warnings that it does not print.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_docs_site_builds_without_warnings_or_foreign_addresses(built):
    pages = sorted(built.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        found = References()
        found.feed(page.read_text())
        assert found.loaded
        outside = [address for address in found.loaded if address.startswith(("http:", "https:", "//"))]
        assert not outside, f"{page.name} loads {outside}"


def test_reference_lists_every_command_and_every_setting(built):
    commands = (built / "reference/commands.html").read_text()
    ours = [name for name, app in get_commands().items() if app == "annotate"]
    assert len(ours) > 20
    assert all(f'id="{name}"' in commands for name in ours)
    assert "--lambda-reg" in commands
    settings = (built / "reference/settings.html").read_text()
    assert all(f"<code>{name}</code>" in settings for name in known_settings())
    assert "/api/v1/judgements" in (built / "reference/http-api.html").read_text()
    assert not [page for page in built.rglob("*.html") if "generated:" in page.read_text()]
