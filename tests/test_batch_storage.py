"""of-batch and storage elsewhere: the same results as here, and faults that pass, or are told."""

import contextlib
import http.server
import itertools
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overfeat_tools.batch import storage
from overfeat_tools.batch.listing import Sources
from overfeat_tools.batch.output import open_output
from overfeat_tools.commands import batch as command
from overfeat_tools.commands.batch_options import Options
from tests import batch_pictures
from tests.batch_pictures import contents
from tests.processes import run

fsspec = pytest.importorskip("fsspec")
COMMON = ("--net", "tiny", "--size", "input", "--readers", "1", "--recursive")
NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(storage, "MOST_WAIT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of twelve pictures, two of them broken."""
    folder = tmp_path_factory.mktemp("pictures")
    batch_pictures.make(folder, 12, 2)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give what is made of it here."""
    out = tmp_path_factory.mktemp("out")
    assert work(str(folder), str(out)) == 3
    return {name: data for name, data in contents(out).items() if name[0] != "."}


def work(source: str, output: str, **more: object) -> int:
    """Do what of-batch does, in this process."""
    options = Options(
        net="tiny", size="input", readers=1, quiet=True, recursive=True, shard_size=5, output=output, **more
    )
    options.check()
    sources = Sources([source], None, options.recursive, f".{options.form}")
    job, place = command._job(options, sources, stream=False), open_output(output)  # noqa: SLF001 -- the work itself
    try:
        job.check_output(place)
        return command._run(options, job, sources, place)  # noqa: SLF001 -- as above
    finally:
        place.close()


def put(folder: Path, root: str) -> None:
    fs = fsspec.filesystem("memory")
    for name, data in contents(folder).items():
        fs.pipe_file(f"{root}/{name}", data)


def in_memory(root: str) -> dict[str, bytes]:
    fs = fsspec.filesystem("memory")
    return {name.removeprefix(f"{root}/"): fs.cat_file(name) for name in fs.find(root) if "/.of-batch/" not in name}


def test_in_and_out_of_memory(folder: Path, expected: dict[str, bytes], capfd: pytest.CaptureFixture[str]) -> None:
    root = f"/memory{next(NUMBERS)}"
    put(folder, f"{root}/in")
    assert work(f"memory:/{root}/in", f"memory:/{root}/out") == 3
    assert in_memory(f"{root}/out") == expected
    before = fsspec.filesystem("memory").modified(f"{root}/out/00003.bmp.features")
    assert work(f"memory:/{root}/in", f"memory:/{root}/out") == 3
    assert fsspec.filesystem("memory").modified(f"{root}/out/00003.bmp.features") == before
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("often", [2, 1000])
def test_storage_that_fails(
    often: int,
    folder: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What fails for a moment changes nothing; what fails for good is told, and done when it is mended."""
    root = f"/memory{next(NUMBERS)}"
    put(folder, f"{root}/in")
    kind = type(fsspec.filesystem("memory"))
    counts: dict[str, int] = {}

    def failing(real: Callable[..., object]) -> Callable[..., object]:
        def call(self: object, path: str, *more: object, **options: object) -> object:
            counts[path] = counts.get(path, 0) + 1
            if counts[path] <= often and "shard" not in path and "made" not in path and "plan" not in path:
                raise TimeoutError("no answer")
            return real(self, path, *more, **options)

        return call

    with monkeypatch.context() as faulty:
        faulty.setattr(kind, "cat_file", failing(kind.cat_file))
        source, output = f"memory:/{root}/in", f"memory:/{root}/out"
        if often == 2:
            assert work(source, output) == 3
        else:
            with pytest.raises(storage.StorageError, match="no answer"):
                work(source, output)
            assert in_memory(f"{root}/out") == {}
    assert work(source, output) == 3
    assert in_memory(f"{root}/out") == expected
    assert capfd.readouterr().err == ""


class Server(http.server.ThreadingHTTPServer):
    """A server on the loopback that misbehaves the first time that it is asked for a thing."""

    def __init__(self, files: dict[str, bytes], fault: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.fault, self.asked = files, fault, set[str]()
        self.daemon_threads = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for a `Server`."""

    server: Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        data = self.server.files.get(self.path.lstrip("/"))
        wanted = self.headers.get("Range")
        fault = self.server.fault if self.command == "GET" and str(wanted) + self.path not in self.server.asked else ""
        if self.command == "GET":
            self.server.asked.add(str(wanted) + self.path)
        if data is None or fault == "500":
            self.send_error(404 if data is None else 500)
            return
        status = 200
        if wanted and self.server.fault != "no ranges":
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            total, status = len(data), 206
            first, last = int(start), min(int(end or total), total - 1)
            data = data[first : last + 1]
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        if self.server.fault != "no ranges":
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):
                self.wfile.write(data[: len(data) // 2])
                if fault == "slow":
                    time.sleep(0.2)
                if fault != "cut":
                    self.wfile.write(data[len(data) // 2 :])


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes], str], str]]:
    """Give a function that starts a server and gives its address."""
    servers: list[Server] = []

    def start(files: dict[str, bytes], fault: str) -> str:
        servers.append(Server(files, fault))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1].address

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # fsspec's own sessions
@pytest.mark.parametrize("fault", ["", "500", "cut", "slow", "no ranges"])
def test_an_archive_over_http(
    fault: str, folder: Path, expected: dict[str, bytes], tmp_path: Path, serve: Callable[[dict[str, bytes], str], str]
) -> None:
    pytest.importorskip("aiohttp")
    with tarfile.open(tmp_path / "one.tar", "w") as archive:
        for name in contents(folder):
            archive.add(folder / name, name)
    address = serve({"data/one.tar": (tmp_path / "one.tar").read_bytes()}, fault)
    assert work(f"{address}/data/one.tar", str(tmp_path / "out")) == 3
    made = {name: data for name, data in contents(tmp_path / "out").items() if name[0] != "."}
    place = address.removeprefix("http://")
    assert made == {f"{place}/data/one.tar/{name}": data for name, data in expected.items()}


def test_a_bucket(folder: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    """Real processes, a real server: pictures from s3://, results to it, as tables where pyarrow is there."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        surroundings = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as changed:
            for name, value in surroundings.items():
                changed.setenv(name, value)
            fs = fsspec.filesystem("s3", skip_instance_cache=True)
            fs.mkdir("bucket")
            for name, data in contents(folder).items():
                fs.pipe_file(f"bucket/in/{name}", data)
            result = run("batch", *COMMON, "-i", "s3://bucket/in", "-o", "s3://bucket/out", **surroundings)
            assert result.status == 3, result.err
            assert "10 done, 2 failed" in result.err
            fs.invalidate_cache()
            found = {name.removeprefix("bucket/out/"): fs.cat_file(name) for name in fs.find("bucket/out")}
            assert {name: data for name, data in found.items() if name[0] != "."} == expected
            again = run("batch", *COMMON, "-i", "s3://bucket/in", "-o", "s3://bucket/out", **surroundings)
            assert "0 done, 10 done before" in again.err
    finally:
        server.stop()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 -- nothing is left here
