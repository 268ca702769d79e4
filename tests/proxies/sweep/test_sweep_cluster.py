"""Sweeps on a Ray cluster of two nodes, both on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from fitting.errors import InputError
from proxies.sweep.executors import cluster as room
from proxies.sweep.executors.cluster import Cluster, run_cluster
from proxies.sweep.executors.desk import Desk, Ended, Job
from proxies.sweep.folder.records import TABLE, read_records
from proxies.sweep.run_sweep import Means, check_means, run_sweep
from proxies.sweep.spec_file import parse_spec
from tests.fixtures.sweeps import tiny_sweep

SPEC = tiny_sweep(tokens="[16384]")
RUNS = 6

on_a_cluster = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of a head, where the driver is, and another node, one core each."""
    from ray import cluster_utils

    made: Any = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def sequential(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("sequential")
    run_sweep(parse_spec(SPEC, where="SPEC"), folder, means=Means(executor="sequential"))
    return read_table(folder)


def read_table(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / TABLE).drop(columns="seconds")


class TestOnACluster:
    pytestmark = on_a_cluster

    def test_two_nodes_make_the_table_of_a_sequential_sweep(
        self, tmp_path: Path, nodes: Any, sequential: pd.DataFrame
    ) -> None:
        means = Means(executor="ray", address=nodes.address)
        assert room.count_places(Desk(**empty_desk(nodes.address))) == 2
        run_sweep(parse_spec(SPEC, where="SPEC"), tmp_path, means=means)
        pd.testing.assert_frame_equal(read_table(tmp_path), sequential)
        assert len(list(tmp_path.glob("runs/*/curve.csv"))) == RUNS

    def test_a_sweep_that_is_stopped_goes_on_from_its_checkpoints(
        self, tmp_path: Path, nodes: Any, sequential: pd.DataFrame
    ) -> None:
        means = Means(executor="ray", address=nodes.address)
        reported: list[str] = []

        def stop_soon(desk: Desk) -> Iterator[Ended]:
            def report(run_id: str, step: int, loss: float) -> bool:
                reported.append(run_id)
                return True

            told = reporting(desk, report)
            yield from run_cluster(
                replace(told, stopping=lambda: desk.stopping() or bool(reported))
            )

        spec = parse_spec(SPEC, where="SPEC")
        assert run_sweep(spec, tmp_path, execute=stop_soon, means=means).runs < RUNS
        assert list(tmp_path.glob("runs/*/*.pt"))
        run_sweep(spec, tmp_path, means=means)
        pd.testing.assert_frame_equal(read_table(tmp_path), sequential)

    def test_a_node_that_is_killed_loses_and_doubles_nothing(
        self, tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = parse_spec(SPEC.replace("16384", "65536"), where="SPEC")
        run_sweep(spec, tmp_path / "whole", means=Means(executor="sequential"))
        spare = nodes.add_node(num_cpus=1)
        under_way: set[str] = set()
        lost: list[str] = []
        put_back = room.lose

        def note(cluster: Cluster, job: Job, what: str, *, most: int) -> Ended | None:
            lost.append(what)
            return put_back(cluster, job, what, most=most)

        def report(run_id: str, step: int, loss: float) -> bool:
            under_way.add(run_id)
            # Three runs at once are one on each node.
            if len(under_way) == 3 and spare in nodes.worker_nodes:
                nodes.remove_node(spare, allow_graceful=False)
            return True

        def kill_a_node(desk: Desk) -> Iterator[Ended]:
            for ended in run_cluster(reporting(desk, report)):
                under_way.discard(ended.run_id)
                yield ended

        monkeypatch.setattr(room, "lose", note)
        means = Means(executor="ray", address=nodes.address, workers=3)
        run_sweep(spec, tmp_path / "ray", execute=kill_a_node, means=means)
        assert lost == ["node"]
        assert len({record.number for record in read_records(tmp_path / "ray")}) == RUNS
        pd.testing.assert_frame_equal(read_table(tmp_path / "ray"), read_table(tmp_path / "whole"))


def reporting(desk: Desk, report: Callable[[str, int, float], bool]) -> Desk:
    """The desk with jobs that report, to `report`."""

    def next_job() -> Job | None:
        job = desk.next_job()
        return job and replace(job, reports=True)

    return replace(desk, next_job=next_job, report=report)


def empty_desk(address: str | None) -> dict[str, Any]:
    spec = parse_spec(SPEC, where="SPEC")
    return {
        "next_job": lambda: None,
        "report": lambda run_id, step, loss: True,
        "stopping": lambda: False,
        "corpus": spec.corpus,
        "address": address,
    }


@pytest.mark.parametrize(
    ("means", "said"),
    [
        (Means(address="a:6379"), "add --executor ray"),
        (Means(executor="sequential", gpus=0.5), "add --executor ray"),
    ],
)
def test_a_cluster_is_refused_where_no_executor_is_on_it(means: Means, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_means(means)


@pytest.mark.parametrize(
    ("address", "said"), [("here", "HOST:PORT"), ("127.0.0.1:1", "no Ray cluster answers there")]
)
def test_an_address_where_nobody_listens_is_refused_at_once(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        room.check_address(address)


def test_a_missing_ray_is_said_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'windtunnel\[cluster\]'"):
        check_means(Means(executor="ray"))


@pytest.mark.parametrize(
    ("means", "said"),
    [
        (Means(executor="ray", gpus=0.5), "add --device cuda"),
        (Means(executor="ray", gpus=1.5, device="cuda"), "a fraction above 0, or a whole number"),
        (Means(executor="ray", gpus=-1, device="cuda"), "a fraction above 0, or a whole number"),
        (Means(executor="ray", device="cuda:1"), "say cuda"),
    ],
)
def test_gpus_that_ray_cannot_give_are_refused(
    means: Means, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_spec", lambda name: True)
    with pytest.raises(InputError, match=said):
        check_means(means)


def test_runs_get_a_quarter_of_a_gpu_unless_told_otherwise() -> None:
    class FourGpus:
        @staticmethod
        def cluster_resources() -> dict[str, float]:
            return {"CPU": 8.0, "GPU": 4.0}

    ray: Any = FourGpus
    desk = Desk(**empty_desk(None))
    found = [
        replace(desk, device=device, gpus=gpus, workers=workers)
        for device, gpus, workers in (
            ("cpu", None, None),
            ("cuda", None, None),
            ("cuda", 0.1, None),
            ("cuda", 2.0, None),
            ("cuda", None, 3),
        )
    ]
    assert [room.find_room(ray, one) for one in found] == [8, 16, 40, 2, 3]
