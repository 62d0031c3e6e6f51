"""Rules for all tests: no network, and in CI no skips. And a model for all."""

import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

os.environ["HF_HUB_OFFLINE"] = "1"
# Tiny tensors gain nothing from a second thread, and on a busy machine the threads of one wait for each other: there a
# forward of the tiny models took forty times as long with two.
os.environ["OMP_NUM_THREADS"] = "1"

pytest_plugins = ["pytester"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]

# Reasons (their beginnings) for which a test may be skipped in CI too.
SKIPS_ALLOWED_IN_CI: tuple[str, ...] = ()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_skipped_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_skipped_in_ci((yield))


def _failed_if_skipped_in_ci(report: Report) -> Report:
    """CI has every component, so a skip there means that something is not tested any more."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.removeprefix("Skipped: ").startswith(SKIPS_ALLOWED_IN_CI):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where every component must be there: {reason}"
    return report


@pytest.fixture(scope="session")
def random_wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights, see `tiny_models.py`. Read it only."""
    from tiny_models import random_wan

    return random_wan(tmp_path_factory.mktemp("models") / "random-wan")


@pytest.fixture(scope="module")
def browser() -> Generator["Browser", None, None]:
    """A real Chromium; without one the test is skipped, and in CI, as every skipped test, failed."""
    from playwright.sync_api import expect, sync_playwright

    if CHROMIUM is None:
        pytest.skip("Chromium is missing: install the package `chromium` to run the browser tests")
    with sync_playwright() as playwright:
        expect.set_options(timeout=60_000)  # a busy machine may be slow, but not wrong
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()
