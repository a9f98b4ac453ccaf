"""A run prints the warnings of lint when it plans, and spends no time on them when there is nothing to do."""

import pytest
from plugin.world import World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_two_manifests_with_one_output_folder(world):
    world.manifest({"a": [{"text": "seven"}], "b": [{"text": "three"}]}, name="next.yaml")
    world.manifest({"b": [{"text": "three"}]})
    assert "OB051" not in world.run().err, "nobody has built the other one"
    other = world.run(name="next.yaml")
    assert other.code == 0
    assert "OB051 warning: `manifest.yaml` was built here and writes the folder `out/m/b` too" in other.err
    again = world.run(name="next.yaml")
    assert (again.code, "OB051" in again.err) == (0, False)
    lint = world.run(verb="lint")
    assert (lint.code, lint.out.splitlines()[:2]) == (
        0,
        ["OB051 warning: `next.yaml` was built here and writes the folder `out/m/b` too", " --> manifest.yaml:1:88"],
    )


def test_the_remedy_is_to_write_to_another_folder(world):
    world.manifest({"a": [{"text": "seven"}]}, name="next.yaml")
    world.manifest({"a": [{"text": "three"}]})
    assert world.run().code == 0
    apart = world.run("--out", "apart", name="next.yaml")
    assert (apart.code, "OB051" in apart.err) == (0, False)
    assert "OB051" not in world.run(name="next.yaml", verb="lint").out, "all of its runs wrote elsewhere"
    assert "OB051" in world.run("--out", "out", name="next.yaml").err
    assert "OB051" in world.run(name="next.yaml").err


def test_another_output_folder(world):
    world.manifest({"a": [{"text": "five"}]}, name="next.yaml")
    world.manifest({"a": [{"text": "five"}]})
    assert world.run("--out", "elsewhere").code == 0
    assert "OB051" not in world.run(name="next.yaml").err


def test_a_manifest_of_other_models_beside_it(world):
    path = world.manifest({"a": [{"text": "five"}]}, name="next.yaml")
    path.write_text(path.read_text().replace('"m"', '"n"'))
    world.manifest({"a": [{"text": "five"}]})
    assert world.run().code == 0
    assert "OB051" not in world.run(name="next.yaml").err
