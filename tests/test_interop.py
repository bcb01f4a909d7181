"""PyTorch, ONNX Runtime and OpenVINO compute what we compute, from what is made for them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import overfeat_tools
from overfeat_tools import Network, interop
from overfeat_tools.backend import CpuBackend
from overfeat_tools.errors import OverfeatError, UsageError
from overfeat_tools.networks.layers import Pad
from overfeat_tools.networks.network import Network as Engine
from overfeat_tools.networks.topology import TINY, TOPOLOGIES
from tests import processes, synthetic_weights
from tests.test_vgg import SMALL, small_weights

Array = npt.NDArray[Any]
Untyped: TypeAlias = Any
Open: TypeAlias = Callable[[Path], Callable[[Array], Array]]
"""Opens a model; gives what computes with it."""

TOLERANCE = 1e-5
LAYERS = ("features", "scores", "probabilities")
SHAPES = ((1, 231, 231), (1, 480, 640), (3, 231, 240))

__all__ = ["small_weights"]  # a fixture


def pictures(count: int, height: int, width: int) -> Array:
    """Give drawn shapes and noise, (N, H, W, 3) uint8."""
    random = np.random.default_rng(height + width)
    made = random.integers(0, 256, (count, height, width, 3)) // 3
    made[:, 20:-30, 40:-10] += random.integers(0, 170, (count, 1, 1, 3))
    return made.astype(np.uint8)


def channels_first(batch: Array) -> Array:
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32)


def assert_same(ours: Array, theirs: Array, largest: float = 0.0) -> None:
    """Compare our layer (N, H, W, C) with theirs (N, C, H, W), by its largest value or a larger one."""
    ours = ours.transpose(0, 3, 1, 2)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE * max(largest, np.abs(ours).max())


@pytest.fixture(scope="module")
def tiny() -> Iterator[Network]:
    with Network("tiny", device="cpu", threads=2) as net:
        yield net


@pytest.fixture(scope="module")
def small(small_weights: Path, backend: CpuBackend) -> Engine:
    """Open a network with VGG's padding, rectifiers and normalisation by channel."""
    return Engine(SMALL, small_weights, backend)


@pytest.fixture
def torch() -> Untyped:
    return pytest.importorskip("torch")


@pytest.fixture
def runtime() -> Open:
    """Give a function that opens a model in ONNX Runtime."""
    onnxruntime = pytest.importorskip("onnxruntime")

    def opened(model: Path) -> Callable[[Array], Array]:
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        return lambda x: np.asarray(session.run(None, {"pictures": x})[0])

    return opened


@pytest.fixture
def openvino() -> Open:
    """Give a function that opens a model in OpenVINO, held to float32."""
    module = pytest.importorskip("openvino")

    def opened(model: Path) -> Callable[[Array], Array]:
        core = module.Core()
        compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda x: np.asarray(compiled.create_infer_request().infer({0: x})[0])

    return opened


# PyTorch.


@pytest.mark.parametrize("shape", SHAPES)
def test_every_layer_in_torch(shape: tuple[int, int, int], tiny: Network, torch: Untyped) -> None:
    module = interop.to_torch(tiny)
    assert len(module) == len(TINY.layers)
    every_layer(module, tiny.engine, pictures(*shape), torch)


def test_every_layer_of_vggs_kind_in_torch(small: Engine, torch: Untyped) -> None:
    from overfeat_tools.interop.torch_module import checked_module

    every_layer(checked_module(small), small, pictures(2, 40, 63), torch)


def every_layer(module: Untyped, engine: Engine, batch: Array, torch: Untyped) -> None:
    ours = engine.begin_layers(batch, range(len(module)))()
    with torch.no_grad():
        x = torch.from_numpy(channels_first(batch))
        for number, layer in enumerate(module):
            x = layer(x)
            assert_same(ours[number], x.numpy())
        assert torch.equal(module(torch.from_numpy(channels_first(batch))), x)


def test_layers_have_their_numbers(tiny: Network, torch: Untyped) -> None:
    module = interop.to_torch(tiny)
    assert module.features is module[19] is module.get_submodule("features") is module.get_submodule("19")
    assert [name for name, _ in module.named_children()] == [str(number) for number in range(23)]
    x = torch.zeros(1, 3, 231, 231)
    assert module[:20](x).shape == (1, 96, 1, 1)
    seen = []
    module.features.register_forward_hook(lambda *found: seen.append(found[2]))
    module(x)
    assert torch.equal(seen[0], module[:20](x))
    kernels = sum(np.prod(shape) + shape[0] for shape in TINY.kernel_shapes)
    assert sum(parameter.numel() for parameter in module.parameters()) == kernels
    assert set(module.state_dict()) >= {"0.mean", "0.deviation", "19.weight", "19.bias"}
    moved = module.to("meta")
    assert {each.device.type for each in (*moved.parameters(), *moved.buffers())} == {"meta"}


@pytest.mark.parametrize("threshold_layer", [2, 20])
def test_rectifier_is_exact(threshold_layer: int, tiny: Network, small: Engine, torch: Untyped) -> None:
    from overfeat_tools.interop.torch_module import checked_module

    x = torch.tensor([-1.0, 0.0, 9e-7, 1.1e-6, 2.0])
    assert interop.to_torch(tiny)[threshold_layer](x).tolist() == [0.0, 0.0, 0.0, x[3].item(), 2.0]
    assert checked_module(small)[3](x).tolist() == [0.0, 0.0, x[2].item(), x[3].item(), 2.0]


def test_the_copy_is_its_own(tiny: Network, torch: Untyped) -> None:
    """Training one module changes neither the network nor another module."""
    module, other = interop.to_torch(tiny), interop.to_torch(tiny)
    with torch.no_grad():
        module[19].weight += 1.0
    assert not torch.equal(module[19].weight, other[19].weight)
    assert np.array_equal(other[19].weight.detach().numpy(), tiny.engine.convolutions[19].weight)


@pytest.mark.parametrize("layer", ["19", "21"])
def test_gradient_is_that_of_finite_differences(layer: str, tiny: Network, torch: Untyped) -> None:
    """In float64, of one value with respect to the picture, along some directions."""
    module = interop.to_torch(tiny).double()
    part = module[: int(layer) + 1]
    random = np.random.default_rng(3)
    x = torch.from_numpy(channels_first(pictures(1, 231, 231))).double().requires_grad_()
    index = int(part(x)[0, :, 0, 0].argmax())
    part(x)[0, index, 0, 0].backward()
    for _ in range(3):
        direction = torch.from_numpy(random.standard_normal(x.shape))
        step = 1e-5  # where a rectifier or a pool changes its mind, there is no gradient
        with torch.no_grad():
            ahead, behind = (part(x + sign * step * direction)[0, index, 0, 0].item() for sign in (1, -1))
        expected = pytest.approx((ahead - behind) / (2 * step), abs=1e-5 * x.grad.norm().item())
        assert (x.grad * direction).sum().item() == expected
    assert all(parameter.grad is not None for parameter in part.parameters())


# ONNX.


@pytest.mark.parametrize("layer", [0, 2, 3, 7, "features", "scores", "probabilities"])
@pytest.mark.parametrize("other", ["runtime", "openvino"])
def test_layers_of_models(
    layer: Untyped, other: str, tiny: Network, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    opened = request.getfixturevalue(other)
    pytest.importorskip("onnxruntime")
    interop.to_onnx(tiny, tmp_path / "tiny.onnx", layer)
    theirs = opened(tmp_path / "tiny.onnx")
    for shape in SHAPES:
        batch = pictures(*shape)
        assert_same(tiny.engine.run(batch, tiny.layer_number(layer)), theirs(channels_first(batch)))


def test_every_layer_of_vggs_kind_in_models(
    small: Engine, tmp_path: Path, runtime: Open
) -> None:
    from overfeat_tools.interop.onnx_file import write_checked

    for last in range(SMALL.last_layer + 1):
        write_checked(small, tmp_path / "small.onnx", last, external_data=bool(last % 2))
        for shape in ((1, 28, 28), (3, 41, 64)):
            batch = pictures(*shape)
            assert_same(small.run(batch, last), runtime(tmp_path / "small.onnx")(channels_first(batch)))


def test_what_is_in_a_model(tiny: Network, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "tiny.onnx"
    interop.to_onnx(tiny, path)
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert (model.producer_name, model.producer_version) == ("overfeat_tools", overfeat_tools.__version__)
    properties = {each.key: each.value for each in model.metadata_props}
    assert (properties["network"], properties["layer"]) == ("tiny", "22")
    assert properties["input"] == "RGB, 0 to 255, at least 231x231"
    assert [tuple(each) for each in json.loads(properties["classes"])] == [(c.wnid, c.name) for c in tiny.classes]
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[:4] == ["Sub", "Div", "Conv", "ThresholdedRelu"]
    assert "Pad" not in kinds
    names = {name for node in model.graph.node for name in node.output}
    pads = {number for number, layer in enumerate(TINY.layers) if isinstance(layer, Pad)}
    assert names == {"centred", *(f"layer{number}" for number in range(23) if number not in pads)}
    for tensor in model.graph.initializer:
        assert tensor.data_type == onnx.TensorProto.FLOAT
        assert tensor.raw_data
    [given], [result] = model.graph.input, model.graph.output
    assert (given.name, result.name) == ("pictures", "layer22")
    for value, expected in ((given, ["N", 3, "H", "W"]), (result, ["N", 26, "H_out", "W_out"])):
        assert [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim] == expected


def test_weights_beside_the_models(
    tiny: Network, tmp_path: Path, runtime: Open
) -> None:
    """Models of several layers share them; a second export may replace what is there."""
    batch = pictures(1, 231, 231)
    for _ in range(2):
        for layer in (12, 19):
            interop.to_onnx(tiny, tmp_path / f"{layer}.onnx", layer, external_data=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12.onnx", "19.onnx", "net_weight_tiny"]
    assert (tmp_path / "net_weight_tiny").read_bytes() == tiny.engine.weight_file.read_bytes()
    for layer in (12, 19):
        model = tmp_path / f"{layer}.onnx"
        assert model.stat().st_size < 10_000
        assert_same(tiny.engine.run(batch, layer), runtime(model)(channels_first(batch)))


def test_weights_are_copied_where_they_cant_be_linked(
    tiny: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    interop.to_onnx(tiny, tmp_path / "tiny.onnx", external_data=True)
    assert (tmp_path / "net_weight_tiny").read_bytes() == tiny.engine.weight_file.read_bytes()
    assert not (tmp_path / "net_weight_tiny").samefile(tiny.engine.weight_file)


def test_the_weights_are_not_replaced_by_a_model(tiny: Network, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    for external_data in (False, True):
        with pytest.raises(UsageError, match="the network's weights have this name"):
            interop.to_onnx(tiny, tmp_path / "net_weight_tiny", external_data=external_data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("external_data", [False, True])
def test_a_wrong_model_is_not_left_behind(
    external_data: bool,  # noqa: FBT001 -- a parameter of the test
    tiny: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Wrong biases are noticed, and what was there before is still there."""
    pytest.importorskip("onnxruntime")
    from overfeat_tools.interop import onnx_graph

    (tmp_path / "tiny.onnx").write_text("old")
    chains = onnx_graph._Chain  # noqa: SLF001 -- nothing from outside makes a wrong one
    parameters = chains._parameters  # noqa: SLF001

    def spoilt(chain: Untyped, number: int) -> list[str]:
        weight, bias = parameters(chain, number)
        return [weight, "bias11" if number == 14 else bias]

    monkeypatch.setattr(chains, "_parameters", spoilt)
    with pytest.raises(OverfeatError, match="layer 22 of ONNX Runtime differs from ours"):
        interop.to_onnx(tiny, tmp_path / "tiny.onnx", external_data=external_data)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("tiny.onnx", "old")]


def test_what_differs_is_refused(tiny: Network) -> None:
    from overfeat_tools.interop.check import check, specimens

    ours = tiny.engine.run(specimens(tiny.engine), 19).transpose(0, 3, 1, 2)
    check(tiny.engine, [19], lambda _: [ours], "nobody")
    wrong = ours.copy()
    wrong[0, 5, 0, 0] += 2e-5 * np.abs(ours).max()
    for theirs, words in [
        (wrong, "layer 19 of nobody differs from ours by 2e-05 of its largest value"),
        (np.where(ours == ours.max(), np.nan, ours), "differs from ours by nan"),
        (ours[:1], "has the shape"),
    ]:
        with pytest.raises(OverfeatError, match=words):
            check(tiny.engine, [19], lambda _, theirs=theirs: [theirs], "nobody")


@pytest.mark.parametrize(
    ("layer", "words"),
    [(23, "the layers of tiny are 0..22"), (-1, "0..22"), ("last", "layer='last'"), (1.5, "layer=1.5")],
)
def test_layers_that_are_not_there(layer: Untyped, words: str, tiny: Network, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(UsageError, match=words.replace(".", r"\.")):
        interop.to_onnx(tiny, tmp_path / "tiny.onnx", layer)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("library", "extra"), [("torch", "torch"), ("onnx", "onnx"), ("onnxruntime", "onnx")])
def test_libraries_that_are_missing_are_named(library: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from overfeat_tools import Network, interop\n"
        "from overfeat_tools.errors import OverfeatError\n"
        "net = Network('tiny', device='cpu', threads=1)\n"
        f"try: interop.to_torch(net) if {library!r} == 'torch' else interop.to_onnx(net, '/nowhere/tiny.onnx')\n"
        "except OverfeatError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.endswith(f": pip install 'overfeat_tools[{extra}]'\n")


def test_a_closed_network(tmp_path: Path) -> None:
    net = Network("tiny", device="cpu", threads=1)
    net.close()
    for make in (interop.to_torch, lambda net: interop.to_onnx(net, tmp_path / "tiny.onnx")):
        with pytest.raises(OverfeatError, match=r"is closed|not installed"):
            make(net)


@pytest.mark.parametrize("make", [interop.to_torch, lambda net: interop.to_onnx(net, "/nowhere/tiny.onnx")])
def test_what_is_no_network(make: Untyped) -> None:
    with pytest.raises(UsageError, match="a Network expected; str came"):
        make("tiny")


# The command.


def test_command_writes_a_model(tmp_path: Path, runtime: Open, tiny: Network) -> None:
    model = tmp_path / "features.onnx"
    done = processes.run("export", "--net", "tiny", "-L", "features", model)
    assert (done.status, done.out, done.err) == (0, b"", "")
    batch = pictures(1, 231, 231)
    assert_same(tiny.engine.run(batch, 19), runtime(model)(channels_first(batch)))
    assert [path.name for path in tmp_path.iterdir()] == ["features.onnx"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["{}/a.onnx", "-L", "99", "--net", "tiny"], 2, "layer 99: the layers of tiny are 0..22"),
        (["{}/a.onnx", "-L", "x"], 2, "-L x: a number, features, scores, probabilities expected"),
        (["{}/a.onnx", "-l", "--net", "fast"], 2, "-l means --net accurate"),
        (["{}/a.onnx", "-d", "{}"], 4, "of-download fast"),
        (["{}/a/b.onnx", "--net", "tiny"], 1, "/a/b.onnx: no such file or directory"),
        (["{}", "--net", "tiny"], 1, "not a file"),
        (["/dev/null", "--net", "tiny"], 1, "/dev/null: not a file"),
        ([], 2, "missing argument"),
    ],
)
def test_command_fails_in_one_line(arguments: list[str], status: int, words: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    given = [argument.replace("{}", str(tmp_path)) for argument in arguments]
    processes.run("export", *given).one_line(status, words)
    assert list(tmp_path.iterdir()) == []


# At full size.


@pytest.mark.long
@pytest.mark.full_size
@pytest.mark.parametrize("name", ["fast", "accurate", "vgg16"])
def test_networks_of_full_size(
    name: str, tmp_path: Path, torch: Untyped, runtime: Open, openvino: Open
) -> None:
    """At the input size, 480x640 and a batch of 3: the features, the scores, and the probabilities of a single file."""
    side = TOPOLOGIES[name].input_size
    batches = [pictures(*shape) for shape in ((1, side, side), (1, 480, 640), (3, side, side))]
    with Network(name, weights=synthetic_weights.ensure(name).parent, device="cpu", threads=2) as net:
        numbers = [net.layer_number(layer) for layer in LAYERS]
        ours = [net.engine.begin_layers(batch, numbers)() for batch in batches]
        module = interop.to_torch(net)
        for number in numbers:
            interop.to_onnx(net, tmp_path / f"{number}.onnx", number, external_data=number != numbers[-1])
    assert (tmp_path / f"{numbers[-1]}.onnx").stat().st_size < 1 << 31  # protobuf's limit
    # The softmax of scores that differ by d may differ by d / 2.
    largest = [{numbers[-1]: np.abs(maps[numbers[1]]).max() / 2} for maps in ours]
    for maps, batch, most in zip(ours, batches, largest, strict=True):
        x = torch.from_numpy(channels_first(batch))
        with torch.no_grad():
            for number, layer in enumerate(module):
                x = layer(x)
                if number in maps:
                    assert_same(maps[number], x.numpy(), most.get(number, 0.0))
    del module
    for opened in (runtime, openvino):
        for number in numbers:
            theirs = opened(tmp_path / f"{number}.onnx")
            for maps, batch, most in zip(ours, batches, largest, strict=True):
                assert_same(maps[number], theirs(channels_first(batch)), most.get(number, 0.0))
