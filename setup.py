"""Copy the templates, static files and translations into the wheel; pyproject.toml holds everything else."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SITE_FILES = ("templates", "static", "locale")


class BuildWithSiteFiles(build_py):
    """In a checkout these folders lie beside the packages, where a wheel cannot carry them."""

    def run(self) -> None:
        if not self.editable_mode:
            # Files of an earlier build, deleted modules included, would enter the wheel.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for name in SITE_FILES:
                shutil.copytree(name, Path(self.build_lib, "annotate", "site_files", name))


setup(cmdclass={"build_py": BuildWithSiteFiles})
