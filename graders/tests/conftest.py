"""Settings for every test, and the browser that some of them drive."""

import os
from collections.abc import Iterator

import jax
import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, expect, sync_playwright

from graders.tests.browser import PATIENCE, chromium

jax.config.update("jax_num_cpu_devices", 8)  # as lesson 07 has them

# The same examples on every machine, and no limit on the time of one: JAX compiles at the first.
settings.register_profile(
    "graders",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("graders")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without one the tests are skipped, in CI they fail."""
    executable = chromium()
    if executable is None and "CI" not in os.environ:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    assert executable, "CI has no Chromium: .ci/run installs it"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=executable)
        yield chrome
        chrome.close()
