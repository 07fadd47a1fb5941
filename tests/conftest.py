"""What every test gets: a clean environment, the decimal context, and no exception lost in a task."""

from __future__ import annotations

import gc
import inspect
import logging
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.architecture import floor_coverage
from tests.property import walk_speed
from tradefan.units import use_decimal_context

# The same examples at every run, so that a red test is red for everybody; slow machines get no deadline.
# `pytest --hypothesis-profile=explore` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("same")


def pytest_configure() -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith("TRADEFAN__") or name == "TRADEFAN_URL"]:
        del os.environ[name]
    use_decimal_context()


_LONG = ("simulation", "unit/sim", "property/test_walks.py", "property/test_journal_damage.py")
_WHOLE = tuple(Path(__file__).parent / name for name in _LONG)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure the coverage of single parts only: whole worlds take up to four times under a tracer.

    pytest-cov's own `no_cover` does nothing in the workers of xdist.
    """
    tracer = sys.gettrace()
    if tracer is None or not any(item.path.is_relative_to(folder) for folder in _WHOLE):
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Hold the branches of the pure floors to the coverage that pyproject.toml asks for."""
    result = yield
    floor_coverage.judge(session)
    return result


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the branches of each pure floor under the table of lines, and how fast the walker was."""
    floor_coverage.report(terminalreporter, config)
    walk_speed.report(terminalreporter)


class _Lost(logging.Handler):
    """Collects what asyncio and uvloop say when nobody took a task's exception."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(logging.Formatter().format(record))


@pytest.fixture(autouse=True)
def lost_exceptions(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Fail a test that loses an exception in a task or callback, in whichever loop it ran.

    Both loops report such an exception to the logger `asyncio` and to nobody else. A test that means to lose
    one looks at this list and clears it.
    """
    handler = _Lost()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        yield handler.texts
        # A task in a reference cycle reports when it is collected. Only an async test can have an old one;
        # a full collection after each of thousands of pure tests would cost more than they do.
        gc.collect(2 if inspect.iscoroutinefunction(getattr(request, "function", None)) else 0)
    finally:
        logger.removeHandler(handler)
    if handler.texts:
        pytest.fail(
            "an exception was lost in a task or callback:\n" + "\n".join(handler.texts), pytrace=False
        )


@pytest.fixture(autouse=True)
def _decimal_context() -> None:
    """A test that changes the context must not change the next one's."""
    use_decimal_context()


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder of reference data sets that are too large, or not free enough, to travel in tests/data."""
    value = os.environ.get("TRADEFAN_REFERENCE_DATA")
    if value is None:
        pytest.skip("TRADEFAN_REFERENCE_DATA is not set: the reference data is not on this machine")
    folder = Path(value)
    assert folder.is_dir(), f"TRADEFAN_REFERENCE_DATA names no folder: {value}"
    return folder


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Give a loopback port that nobody listens on at the moment of asking."""

    def take() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return take
