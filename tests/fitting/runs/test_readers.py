from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from fitting.errors import InputError
from fitting.runs.importing import Import, import_table, parse_mapping
from fitting.runs.readers import READERS, load_reader, read_source


def pass_on(files: Sequence[Path], doing: str) -> Iterable[Path]:
    return files


def source(path: Path, kind: str | None = None) -> tuple[str, pd.DataFrame]:
    return read_source(str(path), kind, track=pass_on)


def imported(table: pd.DataFrame, mapping: str = "", seq_len: float | None = None) -> Import:
    return import_table(table, where="runs", mapping=parse_mapping(mapping), seq_len=seq_len)


SWEEP = (
    "n,d,learning_rate,bs,final\n"
    "60000000,2000000000,0.001,32,2.9\n"
    "60000000,2000000000,0.002,32,2.8\n"
)
SWEEP_MAP = "params=n,tokens=d,lr=learning_rate,batch_tokens=bs,loss=final"


def test_any_csv_is_mapped_and_its_batch_turned_into_tokens(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text(SWEEP)
    kind, table = source(path)
    found = imported(table, SWEEP_MAP, seq_len=2048)
    assert kind == "csv"
    assert found.runs.table["batch_tokens"].to_list() == [65536.0, 65536.0]
    assert found.runs.table["seq_len"].to_list() == [2048.0, 2048.0]
    assert found.mapped["batch_tokens"] == "bs x 2048"


def test_a_batch_in_sequences_imported_as_tokens_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text(SWEEP)
    with pytest.raises(InputError, match=r"none of 2 runs can be used.*it counts sequences"):
        imported(source(path)[1], SWEEP_MAP)


def test_tokens_come_from_steps_and_batch() -> None:
    table = pd.DataFrame({"params": [6e7], "loss": [2.9], "it": [1000], "batch_tokens": [65536]})
    found = imported(table, "steps=it")
    assert found.runs.table["tokens"].to_list() == [65_536_000.0]
    assert found.mapped["tokens"] == "it x batch_tokens"


def test_a_number_serves_every_run() -> None:
    table = pd.DataFrame({"loss": [2.9, 2.8]})
    found = imported(table, "params=6e7,tokens=2e9,optimizer=lion")
    assert found.runs.table["params"].to_list() == [6e7, 6e7]
    assert found.runs.table["optimizer"].to_list() == ["lion", "lion"]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("lr", "--map 'lr': not NAME=SOURCE"),
        ("learning=lr", "--map 'learning': not a column of the runs table"),
        ("lr=a,lr=b", "--map 'lr': given twice"),
        ("lr=learnin_rate", "no column 'learnin_rate'; nearest is 'learning_rate'"),
        ("params=n", "nothing gives tokens, loss"),
        ("params=n,tokens=d,loss=final,steps=d", "tokens is d already"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_one_line(
    tmp_path: Path, mapping: str, said: str
) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text(SWEEP)
    with pytest.raises(InputError, match=said):
        imported(source(path)[1], mapping)


def test_rows_that_cannot_stand_are_counted_by_name() -> None:
    table = pd.DataFrame(
        {
            "params": ["6e7", "6e7", "", "6e7", "6e7"],
            "tokens": "2e9",
            "loss": ["2.9", "-1", "2.8", "oops", "2.7"],
            "status": ["finished", "finished", "finished", "crashed", "running"],
            "extra": 1,
        },
        index=range(2, 7),
    )
    found = imported(table)
    assert len(found.runs.table) == 1
    assert found.left_out == ("extra",)
    assert [(r.origin, r.reason) for r in found.rejections] == [
        ("runs row 6", "not over"),
        ("runs row 3", "bad cell"),
        ("runs row 4", "bad cell"),
        ("runs row 5", "bad cell"),
    ]


def test_a_runs_page_of_wandb_keeps_the_state_of_each_run(tmp_path: Path) -> None:
    path = tmp_path / "wandb.csv"
    path.write_text(
        '"Name","ID","State","learning_rate","eval/loss"\n'
        '"swift","a1","finished","0.001","2.9"\n"swift","a2","crashed","0.004","7.0"\n'
        '"slow","a3","running","0.002","3.3"\n'
    )
    kind, table = source(path)
    found = imported(table, "params=6e7,tokens=2e9,lr=learning_rate,loss=eval/loss")
    assert kind == "wandb"
    assert found.runs.table["run_id"].to_list() == ["a1", "a2"]
    assert found.runs.outcome.to_list() == ["finished", "failed"]
    assert [r.detail for r in found.rejections] == ["status is running"]


def test_a_chart_of_wandb_gives_each_run_its_last_value(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    path.write_text(
        "Step,a - b - loss,a - b - loss__MIN,c - loss,c - loss__MIN\n"
        "10,4.0,3.9,4.1,4\n20,3.0,2.9,3.1,3\n30,,,2.9,2.8\n"
    )
    kind, table = source(path)
    assert kind == "wandb"
    assert table.to_dict("records") == [
        {"run_id": "a - b", "loss": "3.0", "step": "20"},
        {"run_id": "c", "loss": "2.9", "step": "30"},
    ]


def test_local_folders_of_wandb_are_read_without_its_package(tmp_path: Path) -> None:
    files = tmp_path / "wandb" / "offline-run-20260101_000000-abc123" / "files"
    files.mkdir(parents=True)
    (files / "wandb-summary.json").write_text(json.dumps({"eval": {"loss": 2.9}, "_step": 10}))
    (files / "config.yaml").write_text(
        "_wandb:\n  value: {}\nlr:\n  desc: null\n  value: 0.001\nmodel:\n  value:\n    d: 256\n"
    )
    kind, table = source(tmp_path)
    assert kind == "wandb"
    assert table.to_dict("records") == [
        {"lr": 0.001, "model.d": 256, "eval.loss": 2.9, "_step": 10, "run_id": "abc123"}
    ]
    (files / "config.yaml").write_text("a: [1\n")
    with pytest.raises(InputError, match="a damaged W&B run"):
        source(tmp_path)


def mlflow_run(folder: Path, *, loss: str, status: int = 3, stage: str = "active") -> None:
    for part in ("params", "metrics/eval", "tags"):
        (folder / part).mkdir(parents=True)
    (folder / "meta.yaml").write_text(
        f"artifact_uri: file:///x\nlifecycle_stage: {stage}\nrun_id: {folder.name}\n"
        f"run_name: bold-fox\nstatus: {status}\n"
    )
    (folder / "params" / "lr").write_text("0.001")
    (folder / "metrics" / "eval" / "loss").write_text(loss)


def test_mlflow_gives_the_value_at_the_last_step(tmp_path: Path) -> None:
    experiment = tmp_path / "mlruns" / "0"
    mlflow_run(experiment / "a1", loss="1 4.0 0\n9 3.0 10\n5 3.5 5\n")
    mlflow_run(experiment / "a2", loss="1 nan 10\n", status=4)
    mlflow_run(experiment / "a3", loss="1 1.0 10\n", stage="deleted")
    kind, table = source(tmp_path / "mlruns")
    assert kind == "mlflow"
    assert table.to_dict("records") == [
        {"run_id": "a1", "status": "finished", "lr": "0.001", "eval/loss": "3.0"},
        {"run_id": "a2", "status": "failed", "lr": "0.001", "eval/loss": "nan"},
    ]
    found = imported(table, "params=6e7,tokens=2e9,loss=eval/loss")
    assert found.runs.outcome.to_list() == ["finished", "failed"]


def test_a_damaged_metric_of_mlflow_is_one_line(tmp_path: Path) -> None:
    mlflow_run(tmp_path / "0" / "a1", loss="not a metric line\n")
    with pytest.raises(InputError, match=r"loss row 1: 'not a metric line' is not timestamp"):
        source(tmp_path)


@pytest.mark.parametrize("name", ["journal.log", "study.db"])
def test_optuna_studies_are_read_from_journal_and_database(tmp_path: Path, name: str) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = tmp_path / name
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = (
        JournalStorage(JournalFileBackend(str(path)))
        if name.endswith("log")
        else f"sqlite:///{path}"
    )
    study = optuna.create_study(storage=storage, study_name="sweep")

    def train(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
        trial.set_user_attr("params", 6e7)
        if trial.number == 1:
            raise optuna.TrialPruned
        return 2.9 + lr

    study.optimize(train, n_trials=3)
    kind, table = source(path)
    found = imported(table, "tokens=2e9,lr=learning_rate")
    assert kind == "optuna"
    assert found.runs.table["run_id"].to_list() == ["sweep/0", "sweep/1", "sweep/2"]
    assert found.runs.outcome.to_list() == ["finished", "pruned", "finished"]
    losses = found.runs.finished["loss"] - found.runs.finished["lr"]
    assert losses.to_list() == pytest.approx([2.9, 2.9])


def test_what_is_no_optuna_storage_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(b"SQLite format 3\x00 and then nothing")
    with pytest.raises(InputError, match="not an Optuna storage"):
        source(path)


def test_another_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("create table runs (id integer)")
        database.commit()
    before = path.read_bytes()
    with pytest.raises(InputError, match="not an Optuna storage"):
        source(path)
    assert path.read_bytes() == before


def test_a_missing_database_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_source(f"sqlite:///{tmp_path}/none.db", None, track=pass_on)
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gives_the_last_scalar_of_each_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `dev` has it")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for name, losses in (("a", [4.0, 3.0]), ("b/c", [4.0, 2.5])):
        writer = EventFileWriter(str(tmp_path / name))
        told = HParamsPluginData(version=0)
        told.session_start_info.hparams["lr"].number_value = 0.001
        told.session_start_info.hparams["optimizer"].string_value = "adamw"
        start = Summary.Value(tag="_hparams_/session_start_info")
        start.metadata.plugin_data.plugin_name = "hparams"
        start.metadata.plugin_data.content = told.SerializeToString()
        writer.add_event(Event(summary=Summary(value=[start])))
        for step, loss in enumerate(losses, start=1):
            value = Summary.Value(tag="train/loss", simple_value=loss)
            writer.add_event(Event(summary=Summary(value=[value]), step=10 * step))
        writer.close()
    kind, table = source(tmp_path)
    assert kind == "tensorboard"
    assert table.to_dict("records") == [
        {"run_id": "a", "lr": 0.001, "optimizer": "adamw", "train/loss": 3.0, "step": 20},
        {"run_id": "b/c", "lr": 0.001, "optimizer": "adamw", "train/loss": 2.5, "step": 20},
    ]


def test_an_unknown_reader_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--from 'mlfow': .*; nearest is 'mlflow'"):
        source(tmp_path, "mlfow")


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_refuses_an_empty_folder_or_file_in_one_line(
    tmp_path: Path, kind: str
) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    for path in (tmp_path / "none", empty):
        with pytest.raises(InputError) as caught:
            load_reader(kind).read(str(path), pass_on)
        assert "\n" not in str(caught.value)


def test_a_folder_without_runs_says_which_readers_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds nothing known"):
        source(tmp_path)


def test_a_nan_loss_of_a_finished_run_is_diverged() -> None:
    table = pd.DataFrame({"params": [6e7], "tokens": [2e9], "loss": [math.nan]})
    assert imported(table.assign(status="finished")).runs.report.diverged == 1


def test_a_table_of_which_most_rows_cannot_be_right_is_refused() -> None:
    table = pd.DataFrame(
        {
            "params": [1e8] * 20,
            "tokens": [2e9] * 20,
            "lr": [1e-3] * 20,
            "batch_tokens": [64.0] * 18 + [2048.0] * 2,
            "loss": [3.0 + 0.01 * k for k in range(20)],
        }
    )
    with pytest.raises(InputError, match="a column is likely in another unit"):
        import_table(table, where="t.csv", mapping={})
