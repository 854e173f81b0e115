"""
Undocumented names of prometheus_client and granian that the service uses (decision 0026).

If these tests fail: after an upgrade of a library, workers do not start or metrics are wrong.
"""

import inspect
from pathlib import Path

import pytest
from granian._granian import ListenerSpec
from granian.server.mp import MPServer
from prometheus_client import CollectorRegistry, Histogram, mmap_dict, values
from prometheus_client.mmap_dict import MmapedDict

from service.obs import metrics_folder


def test_a_histogram_has_the_parts_that_observe_all_writes_to() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("h", "A histogram.", buckets=(1.0, 2.0), registry=registry)

    assert [1.0, 2.0, float("inf")] == list(histogram._upper_bounds)
    histogram._sum.inc(3.0)
    histogram._buckets[1].inc(2)

    assert 3.0 == registry.get_sample_value("h_sum")
    assert 2.0 == registry.get_sample_value("h_bucket", {"le": "2.0"})


def test_values_can_be_kept_in_memory_of_the_process() -> None:
    assert callable(values.MutexValue)
    assert callable(values.ValueClass)


def test_a_metric_file_can_be_read_and_extended(tmp_path: Path) -> None:
    path = str(tmp_path / "counter_1.db")
    file = MmapedDict(path)  # type: ignore[no-untyped-call]
    file.write_value("key", 3.0, 0.0)  # type: ignore[no-untyped-call]
    assert 3.0 == file.read_value("key")[0]  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]

    rows = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]

    assert [("key", 3.0)] == [(key, value) for key, value, *_ in rows]


def test_no_metric_file_is_smaller_than_the_library_creates_it() -> None:
    assert mmap_dict._INITIAL_MMAP_SIZE <= min(metrics_folder._FILE_BYTES.values())


@pytest.mark.parametrize("name", ["_serve", "_spawn_worker"])
def test_granians_server_has_the_private_methods(name: str) -> None:
    assert callable(getattr(MPServer, name))


def test_granian_creates_workers_from_a_number_a_target_and_a_loader() -> None:
    parameters = list(inspect.signature(MPServer._spawn_worker).parameters)

    assert ["self", "idx", "target", "callback_loader"] == parameters


def test_granian_can_make_a_listening_socket() -> None:
    assert callable(ListenerSpec("127.0.0.1", 0, 1).build)
