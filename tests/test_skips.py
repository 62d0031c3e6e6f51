"""The rule of conftest.py: under CI=true a skipped test is a failed one."""

from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.skip(reason="no browser here")
def test_marked():
    pass

def test_inside():
    pytest.skip("no browser here")

@pytest.mark.xfail(reason="known")
def test_expected_failure():
    assert False

def test_fine():
    pass
"""
MODULE = "import pytest\n\npytest.importorskip('no_such_package')\n"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    rule = Path(__file__).with_name("conftest.py").read_text()
    pytester.makeconftest(rule.replace('pytest_plugins = ["pytester"]', ""))
    pytester.makepyfile(test_some=TESTS)
    monkeypatch.delenv("CI", raising=False)
    return pytester


def test_outside_ci_a_skip_is_a_skip(suite: pytest.Pytester) -> None:
    suite.runpytest_subprocess().assert_outcomes(passed=1, skipped=2, xfailed=1)


def test_in_ci_a_skip_is_a_failure(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1, errors=1, xfailed=1)
    result.stdout.fnmatch_lines(["*skipped in CI*no browser here*"])


def test_in_ci_a_skipped_module_is_an_error(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    suite.makepyfile(test_module=MODULE)
    result = suite.runpytest_subprocess("test_module.py")
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*skipped in CI*no_such_package*"])


def test_a_reason_on_the_list_may_be_skipped_in_ci(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    rule = (suite.path / "conftest.py").read_text()
    allowing = rule.replace("SKIPS_ALLOWED_IN_CI: tuple[str, ...] = ()", "SKIPS_ALLOWED_IN_CI = ('no browser',)")
    assert allowing != rule
    suite.makeconftest(allowing)
    suite.runpytest_subprocess().assert_outcomes(passed=1, skipped=2, xfailed=1)
