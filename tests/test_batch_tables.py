"""of-batch's tables: a row for every picture, whichever program opens them."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests import batch_pictures
from tests.batch_pictures import contents
from tests.picture_files import saved, smooth
from tests.processes import run

parquet = pytest.importorskip("pyarrow.parquet")
COMMON = ("--net", "tiny", "--format", "parquet", "--readers", "1", "--recursive")


def test_a_row_for_every_picture(tmp_path: Path) -> None:
    """In the order of the list, with what of-features and of-classify say of it, or why it failed."""
    pictures, out = tmp_path / "in", tmp_path / "out"
    bad = batch_pictures.make(pictures, 20, 4)
    (pictures / "\udcff.png").write_bytes(saved(smooth(), "PNG"))
    arguments = ("-i", pictures, "-o", out, *COMMON, "--size", "input", "--classes", "3", "--shard-size", "8")
    assert run("batch", *arguments).status == 3
    table = parquet.read_table(out)
    rows = table.to_pylist()
    assert sorted(path.name for path in out.iterdir()) == [".of-batch", *(f"shard-0000{n}.parquet" for n in range(3))]
    names = [row["path"] for row in rows]
    assert set(names) == {*contents(pictures)} - {"\udcff.png"} | {"\\udcff.png"}
    assert {row["path"] for row in rows if row["status"] != "ok"} == bad
    assert all((row["features"] is None) == bool(row["error"]) == (row["status"] != "ok") for row in rows)
    good = {pictures / row["path"]: row for row in rows if row["status"] == "ok" and "\\" not in row["path"]}
    options = ("--net", "tiny", "--reproducible", "--format", "json")
    features = run("features", *options, "--size", "input", *good).out.splitlines()
    for line, row in zip(features, good.values(), strict=True):
        np.testing.assert_array_equal(np.float32(json.loads(line)["values"]), np.float32(row["features"]))
    classes = run("classify", *options, "-n", "3", *good).out.splitlines()
    for line, row in zip(classes, good.values(), strict=True):
        shown = [(each["name"], np.float32(each["probability"])) for each in json.loads(line)["classes"]]
        assert shown == [(each["name"], np.float32(each["probability"])) for each in row["classes"]]
    made_with = json.loads(parquet.read_metadata(out / "shard-00001.parquet").metadata[b"of-batch"])
    assert (made_with["network"], made_with["layers"], len(made_with["weights"])) == ("tiny", "19", 64)


def test_what_is_done_again_is_as_if_done_once(tmp_path: Path) -> None:
    """Rows that are kept give the same bytes as rows that were computed; so do maps of several sizes."""
    pictures = tmp_path / "in"
    bad = batch_pictures.make(pictures, 6, 2)
    for number in range(3):
        (pictures / f"large{number}.png").write_bytes(saved(smooth(231 + 64 * (number % 2), 263), "PNG"))
    for size in ((), ("--size", "input")):
        out, fresh = tmp_path / f"out{len(size)}", tmp_path / f"fresh{len(size)}"
        for name in bad:
            (pictures / name).write_bytes(b"bad")
        assert run("batch", "-i", pictures, "-o", out, *COMMON, *size).status == 3
        for name in bad:
            (pictures / name).write_bytes(saved(smooth(240, 240), "PNG"))
        assert run("batch", "-i", pictures, "-o", out, *COMMON, *size, "--retry-failed").status == (0 if size else 3)
        assert run("batch", "-i", pictures, "-o", fresh, *COMMON, *size).status == (0 if size else 3)
        assert contents(out).pop("shard-00000.parquet") == contents(fresh).pop("shard-00000.parquet")
    rows = {row["path"]: row for row in parquet.read_table(tmp_path / "out0").to_pylist()}
    assert rows["large1.png"]["shape"] == [96, 3, 2]
    assert rows["a/00001.png"]["status"] == "wrong size"


def test_a_column_for_each_layer(tmp_path: Path) -> None:
    """Also where rows are kept."""
    pictures, options = tmp_path / "in", ("-L", "16,features", "--size", "input")
    (bad,) = batch_pictures.make(pictures, 6, 1)
    assert run("batch", "-i", pictures, "-o", tmp_path / "out", *COMMON, *options).status == 3
    (pictures / bad).write_bytes(saved(smooth(), "PNG"))
    for out in ("out", "fresh"):
        assert run("batch", "-i", pictures, "-o", tmp_path / out, *COMMON, *options).status == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    for row in parquet.read_table(tmp_path / "out").to_pylist():
        assert (len(row["layer_16"]), row["shape_16"], len(row["layer_19"])) == (64 * 36, [64, 6, 6], 96)


def test_a_table_without_a_picture_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_bytes(b"no picture")
    assert run("batch", "-i", tmp_path / "in", "-o", tmp_path / "out", *COMMON, "--size", "input").status == 0
    table = parquet.read_table(tmp_path / "out")
    assert (len(table), str(table.schema.field("features").type)) == (0, "fixed_size_list<element: float>[96]")


@pytest.mark.parametrize("reader", ["pandas", "polars", "duckdb"])
def test_others_open_it(reader: str, tmp_path: Path) -> None:
    library = pytest.importorskip(reader)
    batch_pictures.make(tmp_path / "in", 9, 1)
    run("batch", "-i", tmp_path / "in", "-o", tmp_path / "out", *COMMON, "--size", "input", "--shard-size", "4")
    shards = f"{tmp_path}/out/*.parquet"
    if reader == "pandas":
        rows = library.read_parquet(tmp_path / "out").to_dict("records")
    elif reader == "polars":
        rows = library.read_parquet(shards).to_dicts()
    else:
        rows = [{"path": path, "features": values} for path, values in library.sql(
            f"select path, features from '{shards}'"  # noqa: S608 -- our own
        ).fetchall()]  # fmt: skip
    expected = parquet.read_table(tmp_path / "out").to_pylist()
    assert [row["path"] for row in rows] == [row["path"] for row in expected]
    for row, wanted in zip(rows, expected, strict=True):
        values = wanted["features"]
        assert row["features"] is None if values is None else np.array_equal(row["features"], values)
