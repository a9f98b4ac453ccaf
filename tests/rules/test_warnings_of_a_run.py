"""A run prints the warnings of lint when it plans, and spends no time on them when there is nothing to do."""

import shutil

import pytest
from plugin.world import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    shutil.rmtree(made.root / "out", ignore_errors=True)


def test_two_manifests_with_one_output_folder(world):
    world.manifest({"a": [{"text": "seven"}], "b": [{"text": "three"}]}, name="next.yaml")
    world.manifest({"b": [{"text": "three"}]})
    first = world.run()
    assert first.code == 0
    assert "OB051 warning: `next.yaml` writes the folder `out/m/b` too" in first.err
    again = world.run()
    assert (again.code, "OB051" in again.err) == (0, False)


def test_a_manifest_of_other_models_beside_it(world):
    path = world.manifest({"a": [{"text": "five"}]}, name="next.yaml")
    path.write_text(path.read_text().replace('"m"', '"n"'))
    world.manifest({"a": [{"text": "five"}]})
    assert "OB051" not in world.run().err
