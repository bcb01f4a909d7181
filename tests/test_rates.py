"""The cost model's rates: fitted to what was measured, kept, and never in the way."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from overfeat_tools import rates
from overfeat_tools.backend import CpuBackend
from overfeat_tools.convolution import Rates, fit
from overfeat_tools.convolution.plan import RATES, estimate, ways
from tests.test_convolution import GEOMETRIES

SHIPPED = RATES["cpu"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file where rates are kept, in a folder that is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "overfeat" / "rates.json"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Rates:
    """Give what will be found in place of measuring for seconds."""
    result = replace(SHIPPED, memory_bytes=7e9)
    monkeypatch.setattr(fit, "fit", lambda _: result)
    return result


def as_measured(machine: Rates, width: int) -> list[fit.Measured]:
    """Give what runs would take on a machine with these rates, and panels of this width."""
    made = []
    for geometry, pictures, method, size in fit.runs(width):
        way = estimate(method, (size, size), geometry, pictures, machine, width)
        made.append(fit.Measured(geometry, pictures, way, way.seconds, way.price_seconds, width))
    return made


@pytest.mark.parametrize("width", [0, 32])
@pytest.mark.parametrize("rate", [name for name, value in asdict(SHIPPED).items() if value])
@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_a_machine_is_recognised(rate: str, factor: float, width: int) -> None:
    """One rate unlike the shipped one, on a machine that is ten times as fast: the estimates follow."""
    speeds = {name: value * 10 for name, value in asdict(SHIPPED).items() if not name.startswith("half")}
    machine = replace(SHIPPED, **speeds)
    machine = replace(machine, **{rate: getattr(machine, rate) * factor})
    fitted = fit.fitted(as_measured(machine, width), SHIPPED)
    for geometry in GEOMETRIES:
        for pictures in (1, 32):
            chosen = ways(geometry, pictures, fitted, width)[0]
            true = estimate(chosen.method, chosen.size, geometry, pictures, machine, width)
            assert true.seconds <= 1.3 * ways(geometry, pictures, machine, width)[0].seconds, (str(chosen), geometry)


@pytest.mark.parametrize("width", [0, 32])
def test_the_shipped_rates_are_a_fixed_point(width: int) -> None:
    fitted = fit.fitted(as_measured(SHIPPED, width), SHIPPED)
    assert asdict(fitted) == pytest.approx(asdict(SHIPPED), rel=1e-6)


def test_measuring(backend: CpuBackend, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """For real, with a few runs of the many."""
    some = fit._RUNS[:2] + fit._RUNS[3:4] + fit._RUNS[10:11] + fit._COMPILED_RUNS[:1]  # noqa: SLF001
    monkeypatch.setattr(fit, "runs", lambda width: some if width else some[:-1])
    assert rates.kept(backend) is None
    rates.measure(backend)
    known = rates.kept(backend)
    assert known is not None
    assert all(1e-3 < value / shipped < 1e3 for value, shipped in zip(
        asdict(known).values(), asdict(SHIPPED).values(), strict=True) if shipped)  # fmt: skip
    assert {path.name for path in cache.parent.iterdir()} - {"loops"} == {cache.name}


def test_kept_for_each_machine(found: Rates, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates.measure(CpuBackend(2))
    assert rates.kept(CpuBackend(2)) == found
    assert rates.kept(CpuBackend(3)) is None
    rates.measure(CpuBackend(3))
    assert rates.kept(CpuBackend(3)) == rates.kept(CpuBackend(2)) == found
    assert len(json.loads(cache.read_text())) == 2
    monkeypatch.setattr(fit, "fit", lambda _: pytest.fail("measured again"))
    rates.measure(CpuBackend(2))


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"x": 1}'])
def test_junk_is_measured_anew(junk: bytes, found: Rates, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(junk)
    assert rates.kept(CpuBackend(1)) is None
    rates.measure(CpuBackend(1))
    assert rates.kept(CpuBackend(1)) == found


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "1e9", None, [1]])
def test_senseless_rates_are_not_taken(value: object, found: Rates, cache: Path) -> None:
    rates.measure(CpuBackend(1))
    ((machine, known),) = json.loads(cache.read_text()).items()
    cache.write_text(json.dumps({machine: known | {"memory_bytes": value}}))
    assert rates.kept(CpuBackend(1)) is None
    cache.write_text(json.dumps({machine: known | {"another": 1.0}}))
    assert rates.kept(CpuBackend(1)) is None
    cache.write_text(json.dumps({machine: known}))
    assert rates.kept(CpuBackend(1)) == found


@pytest.mark.usefixtures("found")
def test_nowhere_to_keep_them(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is a file, that can't be read or written, or no home: nothing happens."""
    cache.parent.parent.write_bytes(b"")
    rates.measure(CpuBackend(1))
    assert rates.kept(CpuBackend(1)) is None
    cache.parent.parent.unlink()
    cache.mkdir(parents=True)
    rates.measure(CpuBackend(1))
    assert rates.kept(CpuBackend(1)) is None
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    rates.measure(CpuBackend(1))
    assert rates.kept(CpuBackend(1)) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.usefixtures("found")
def test_a_folder_that_may_not_be_written(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    rates.measure(CpuBackend(1))
    assert rates.kept(CpuBackend(1)) is None


DRIVER = """
import sys
from overfeat_tools import rates
from overfeat_tools.commands import classify
from overfeat_tools.convolution import fit

rates.WORTH_SECONDS, fit.runs = float(sys.argv[1]), lambda _: fit._RUNS[:2]
sys.argv[1:] = ["--net", "tiny", "-n1", *sys.argv[2:]]
classify.main()
"""


@pytest.mark.parametrize(
    ("least_seconds", "picture", "status"), [(0.0, "spiral.png", 0), (99.0, "spiral.png", 0), (0.0, "absent.png", 3)]
)
def test_only_a_long_run_is_followed_by_measuring(least_seconds: float, picture: str, status: int, cache: Path) -> None:
    """And the answers are the same, before and after."""
    path = str(Path(__file__).parent.parent / "samples" / picture)
    command = [sys.executable, "-c", DRIVER, str(least_seconds), path]
    first, second = (subprocess.run(command, check=False, capture_output=True, text=True) for _ in range(2))
    assert (first.returncode, first.stdout) == (second.returncode, second.stdout)
    assert first.returncode == status, first.stderr
    assert cache.exists() == (least_seconds == 0.0)
