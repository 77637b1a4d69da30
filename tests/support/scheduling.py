"""How pytest-xdist divides the tests among its processes: a pytest plugin for `pytest -n`.

A file stays in one process, since its tests share fixtures. There are two exceptions: all tests on the browser site
stay in one process, and tests that share nothing are assigned singly. The longest files come first, so that no process
waits at the end.
"""

import pytest
from xdist.scheduler import LoadScopeScheduling

ON_BROWSER_SITE = ("test_accessibility.py", "test_browser.py", "test_desk_keys.py", "test_outbox.py", "test_uploads.py")
SHARES_NOTHING = ("test_faults.py", "test_service.py", "test_upgrades.py", "test_worker.py")
LONGEST_FIRST = (
    "test_gpu_tiny.py", "test_training.py", "test_browser.py", "test_accessibility.py", "test_outbox.py",
    "test_desk_keys.py", "test_postgres.py", "test_tour.py", "test_reproduce.py", "test_backup.py", "test_worker.py",
    "test_service.py", "test_packaging.py", "test_pretrain.py", "test_autolabels.py", "test_faults.py", "test_chain.py",
    "test_docs.py", "test_evaluate.py", "test_policies.py", "test_refl_pages.py", "test_fuzz.py", "test_demo.py",
    "test_two_machines.py", "test_jobs.py", "test_evaluation_metrics.py", "test_deployment.py", "test_predictors.py",
)  # fmt: skip


class Scheduler(LoadScopeScheduling):
    """A queue of groups, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if path.endswith(ON_BROWSER_SITE):
            return "browser site"
        return nodeid if path.endswith(SHARES_NOTHING) else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduler:
    config.option.loadscopereorder = False
    return Scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
