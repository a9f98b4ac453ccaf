"""Names of log files: one per action, and only characters that every file system takes."""

import itertools
import re
from pathlib import Path

from onnxbuild.execute.policy import log_file

NAMES = ["a", "b", "a-b", "b-c", "a.b", "a_b", "a--b", "b-", "b-c-d"]


def test_no_two_actions_share_a_log():
    ids = [f"{model}:{kind}" for model, kind in itertools.product(NAMES, NAMES)]
    ids += [f"{model}/{target}:{kind}" for model, target, kind in itertools.product(NAMES, NAMES, NAMES)]
    logs = {log_file(Path("logs"), action).name for action in ids}
    assert len(logs) == len(ids)
    assert {log_file(Path("logs"), "a/b-c:x"), log_file(Path("logs"), "a-b/c:x")} == {
        Path("logs/a+b-c+x.txt"), Path("logs/a-b+c+x.txt"),
    }  # fmt: skip


def test_a_log_is_a_file_in_the_folder_whatever_a_plugin_calls_its_kind():
    for kind in ("../x", "a\0b", "a\nb", "c:\\d", "é", "a+b", "%2b"):
        log = log_file(Path("logs"), f"m/t:{kind}")
        assert log.parent == Path("logs")
        assert re.fullmatch(r"[A-Za-z0-9._+%-]+", log.name)


def test_the_longest_names_fit_into_a_file_name():
    assert len(log_file(Path("logs"), f"{'m' * 100}/{'t' * 100}:quantize-10").name) <= 255
