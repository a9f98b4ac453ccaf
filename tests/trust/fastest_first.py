"""A pytest plugin: the fastest tests run first, by the durations of an earlier run, so that `-x` ends early.

A test that takes much longer than before ends the whole process: a mutant that hangs counts as noticed.
"""

import json
import os
import threading

import pytest

DURATIONS = os.environ["FASTEST_FIRST"]
UNKNOWN = 0.5  # seconds of a test that has not run yet
TIME_LIMIT = 86  # the exit code after a test that hangs

seconds = {}
if os.path.exists(DURATIONS):
    with open(DURATIONS, encoding="utf-8") as file:
        KNOWN = json.load(file)
else:
    KNOWN = {}


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: KNOWN.get(item.nodeid, UNKNOWN))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    limit = 20 + 5 * KNOWN[item.nodeid] if item.nodeid in KNOWN else 600
    watch = threading.Timer(limit, os._exit, [TIME_LIMIT])
    watch.daemon = True
    watch.start()
    try:
        return (yield)
    finally:
        watch.cancel()


def pytest_runtest_logreport(report):
    seconds[report.nodeid] = seconds.get(report.nodeid, 0) + report.duration


def pytest_sessionfinish(exitstatus):
    if exitstatus == 0 and not KNOWN:
        with open(DURATIONS, "w", encoding="utf-8") as file:
            json.dump(seconds, file)
