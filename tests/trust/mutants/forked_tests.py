"""A pytest plugin: collect tests once, then run some of them for each request, in a process forked for it.

A request is a line of JSON in the pipe `MUTANTS_REQUESTS`: the names of the tests in their order, a mutant to patch in,
and the log of the functions that are called, or null. Events go to the pipe `MUTANTS_EVENTS` as lines of JSON.
"""

import contextlib
import functools
import itertools
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from mutants import recorder
from mutants.patching import patch

REQUESTS, EVENTS = (int(os.environ.pop(name)) for name in ("MUTANTS_REQUESTS", "MUTANTS_EVENTS"))
for pipe in (REQUESTS, EVENTS):
    os.set_inheritable(pipe, False)  # not for what the tests start

reports = []


def pytest_runtest_logreport(report):
    reports.append(report)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    recorder.stop()
    items = {item.nodeid: item for item in session.items}
    _tell("collected", list(items))
    with open(REQUESTS, encoding="utf-8") as lines:
        for line in lines:
            _serve(items, json.loads(line))
    return True


def _tell(*event):
    os.write(EVENTS, (json.dumps(event) + "\n").encode())


def _serve(items, request):
    """Run the tests in a forked process, and leave no process behind."""
    forked = os.fork()
    if forked == 0:
        try:
            os.setsid()
            _tell("forked", os.getpid())
            _run([items[name] for name in request["tests"]], request["mutant"], request["log"])
        except Exception as error:  # of this plugin: pytest reports those of a test
            _tell("broken", repr(error))
        finally:
            os._exit(0)
    os.waitpid(forked, 0)
    _end_group(forked)
    _tell("over")


def _end_group(leader):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _run(items, mutant, log):
    try:
        if mutant:
            patch(*mutant)
    except ValueError:  # such as a function that no longer uses `super()`
        _tell("unpatched")
        return
    for item, following in itertools.zip_longest(items, items[1:]):
        if not _passes(item, following, log) and not log:
            return
    _tell("passed")


def _passes(item, following, log):
    """Run one test. With a log, also tell which functions were called."""
    _tell("starts", item.nodeid)
    reports.clear()
    _forget()
    begin = os.stat(log).st_size if log else 0
    if log:
        recorder.record(f"{Path.cwd() / 'onnxbuild'}{os.sep}", log)
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    recorder.stop()
    failed = any(report.failed for report in reports)
    _tell("ended", failed, sum(report.duration for report in reports), _lines(log, begin) if log else [])
    return not failed


def _forget():
    """Empty the caches of functions: else only the first of several tests would call what they call."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "onnxbuild"]
    for value in [value for module in modules for value in vars(module).values()]:
        if isinstance(value, functools._lru_cache_wrapper):
            value.cache_clear()


def _lines(log, begin):
    with open(log, "rb") as file:
        file.seek(begin)
        return sorted(set(file.read().decode().splitlines()))
