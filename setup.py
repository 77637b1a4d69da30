"""Copy the templates, static files and translations into the wheel; pyproject.toml holds everything else."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SITE_FILES = ("templates", "static", "locale")


class BuildWithSiteFiles(build_py):
    """Copy folders into the wheel that a checkout keeps outside the packages."""

    def run(self) -> None:
        if not self.editable_mode:
            # Otherwise files of an earlier build, including deleted modules, would end up in the wheel.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for name in SITE_FILES:
                shutil.copytree(name, Path(self.build_lib, "annotate", "site_files", name))


setup(cmdclass={"build_py": BuildWithSiteFiles})
