"""Operations of the libraries that reckon: arrays, pictures, just-in-time compilers for the processor."""

from __future__ import annotations

import io
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any


def numpy() -> None:
    np = import_module("numpy")
    random = np.random.default_rng(1)
    for kind in (np.float32, np.float64, np.complex64, np.complex128):
        matrix = (random.random((70, 70)) + 70 * np.eye(70)).astype(kind)
        assert np.allclose(np.linalg.solve(matrix, matrix @ matrix), matrix, atol=1e-2)
        assert np.allclose(np.fft.ifft(np.fft.fft(matrix)), matrix, atol=1e-3)
        assert np.allclose(matrix @ np.ones(70, kind), matrix.sum(1), atol=1e-2)
    values = random.random(5000)
    for kind in (np.float16, np.float32, np.float64):
        some = values.astype(kind)
        assert np.allclose(np.log(np.exp(some)), some, atol=1e-2)
        assert np.allclose(np.sin(some) ** 2 + np.cos(some) ** 2, 1, atol=1e-2)
    for width in (np.int8, np.int16, np.int32, np.int64, np.float32, np.float64):
        whole = (values * 100).astype(width)
        assert (np.diff(np.sort(whole)) >= 0).all()
        assert whole[np.argsort(whole)][0] == whole.min() == np.partition(whole, 9)[:9].min()
        assert whole.argmax() == list(whole).index(whole.max())


def ml_dtypes() -> None:
    np, types = import_module("numpy"), import_module("ml_dtypes")
    values = np.arange(-8, 8, dtype=np.float32)
    for kind in (types.bfloat16, types.float8_e4m3fn, types.float8_e5m2, types.int4):
        assert (values.astype(kind).astype(np.float32) == values).all()


def llvmlite() -> None:
    binding = import_module("llvmlite.binding")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = dict(binding.get_host_cpu_features())
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=3
    )
    code = binding.parse_assembly("define i64 @twice(i64 %x) { %y = mul i64 %x, 2  ret i64 %y }")
    engine = binding.create_mcjit_compiler(code, machine)
    engine.finalize_object()
    ctypes = import_module("ctypes")
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(engine.get_function_address("twice"))(21) == 42
    assert "sse4.2" in features


def numba() -> None:
    np = import_module("numpy")
    library = import_module("numba")

    @library.njit(fastmath=True)  # type: ignore[untyped-decorator]
    def dot(one: Any, two: Any) -> Any:
        total = 0.0
        for at in range(one.shape[0]):
            total += one[at] * two[at]
        return total

    @library.njit(parallel=True)  # type: ignore[untyped-decorator]
    def doubled(values: Any) -> Any:
        out = np.empty_like(values)
        for at in library.prange(values.shape[0]):
            out[at] = values[at] * 2
        return out

    values = np.arange(1000, dtype=np.float32)
    assert dot(values, values) == 332_833_500
    assert (doubled(values) == values * 2).all()


def opencv_python_headless() -> None:
    cv2, np = import_module("cv2"), import_module("numpy")
    picture = (np.add.outer(np.arange(96), np.arange(128)) % 256).astype(np.uint8)
    colour = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    assert (cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY) == picture).all()
    assert cv2.resize(colour, (64, 48), interpolation=cv2.INTER_AREA).shape == (48, 64, 3)
    assert cv2.GaussianBlur(colour, (7, 7), 2).shape == colour.shape
    assert cv2.warpAffine(picture, np.float32([[1, 0, 3], [0, 1, 2]]), (128, 96))[5, 8] == picture[3, 5]
    real = picture.astype(np.float32)
    assert np.allclose(cv2.idft(cv2.dft(real), flags=cv2.DFT_SCALE), real, atol=1e-2)
    assert np.allclose(cv2.gemm(real, real, 1, None, 0, flags=cv2.GEMM_2_T), real @ real.T, rtol=1e-3)
    for ending in (".png", ".tiff", ".webp", ".jpg", ".avif"):
        written, data = cv2.imencode(ending, colour)
        assert written
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == colour.shape


def pillow() -> None:
    image = import_module("PIL.Image")
    picture = image.linear_gradient("L").resize((120, 90), image.Resampling.LANCZOS).convert("RGB")
    for kind in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "JPEG2000"):
        file = io.BytesIO()
        picture.save(file, kind)
        file.seek(0)
        assert image.open(file).convert("RGB").size == (120, 90)
    blurred = picture.filter(import_module("PIL.ImageFilter").GaussianBlur(3)).rotate(30)
    assert blurred.getextrema()[0][1] > 100
    font = import_module("PIL.ImageFont").load_default(20)
    import_module("PIL.ImageDraw").Draw(picture).text((5, 5), "rig", font=font)
    profile = import_module("PIL.ImageCms")
    assert profile.profileToProfile(
        picture, profile.createProfile("sRGB"), profile.createProfile("LAB"), outputMode="LAB"
    )


def safetensors() -> None:
    np, torch = import_module("numpy"), import_module("torch")
    arrays, tensors = import_module("safetensors.numpy"), import_module("safetensors.torch")
    with tempfile.TemporaryDirectory() as directory:
        file = str(Path(directory, "a.safetensors"))
        arrays.save_file({"a": np.arange(10_000, dtype=np.float32)}, file)
        assert (arrays.load_file(file)["a"] == np.arange(10_000)).all()
        tensors.save_file({"b": torch.arange(10_000).to(torch.bfloat16)}, file)
        with import_module("safetensors").safe_open(file, "pt") as opened:
            part = opened.get_slice("b")[100:104]
        assert part.tolist() == [100, 101, 102, 103]


def torch() -> None:
    """Matrix products, convolution, attention, sorting, and a function compiled with a C++ compiler."""
    library = import_module("torch")
    functional = library.nn.functional
    library.manual_seed(1)
    exact = library.randint(-4, 5, (65, 65)).double()
    for kind in (library.float32, library.float64, library.bfloat16, library.float16):
        product = exact[:, :16].to(kind) @ exact[:16].to(kind)
        assert library.allclose(product.double(), exact[:, :16] @ exact[:16], rtol=1e-2, atol=1)
        assert (functional.linear(exact.to(kind), library.eye(65, dtype=kind)).double() == exact).all()
    eight = exact[:64, :64].to(library.int8)
    assert (library._int_mm(eight, eight.t().contiguous()).double() == eight.double() @ eight.t().double()).all()
    picture = library.randn(2, 3, 20, 20)
    assert library.allclose(functional.conv2d(picture, library.ones(4, 3, 1, 1))[:, 0], picture.sum(1), atol=1e-4)
    some = library.randn(1, 2, 64, 32)
    assert functional.scaled_dot_product_attention(some, some, some, is_causal=True)[0, 0, 0].allclose(
        some[0, 0, 0], 1e-3
    )
    normal = functional.layer_norm(some, (32,))
    assert abs(float(normal.mean())) < 1e-4
    assert library.allclose(functional.softmax(some, -1).sum(-1), library.ones(1, 2, 64))
    assert (library.sort(picture.flatten()).values.diff() >= 0).all()
    solved = library.linalg.solve(exact + 40 * library.eye(65), exact)
    assert library.allclose((exact + 40 * library.eye(65)) @ solved, exact)
    assert library.allclose(library.fft.ifft(library.fft.fft(some)).real, some, atol=1e-4)
    quantised = library.quantize_per_tensor(some, 0.1, 0, library.qint8).dequantize()
    assert float((quantised - some.clamp(-12.8, 12.7)).abs().max()) < 0.06
    if import_module("shutil").which("c++"):
        compiled = library.compile(lambda x: (functional.silu(x) * x).sum(-1), dynamic=False)
        assert library.allclose(compiled(some), (functional.silu(some) * some).sum(-1), atol=1e-3)


def torchvision() -> None:
    library, functions, io_ = (import_module(f"torchvision{part}") for part in ("", ".transforms.v2.functional", ".io"))
    torch_ = import_module("torch")
    boxes = torch_.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
    assert library.ops.nms(boxes, torch_.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]
    picture = torch_.arange(3 * 40 * 50).remainder(256).to(torch_.uint8).view(3, 40, 50)
    assert functions.resize(picture, [20, 25], antialias=True).shape == (3, 20, 25)
    assert (io_.decode_png(io_.encode_png(picture)) == picture).all()
    assert io_.decode_jpeg(io_.encode_jpeg(picture)).shape == picture.shape


def torchaudio() -> None:
    functions, torch_ = import_module("torchaudio.functional"), import_module("torch")
    sound = torch_.sin(torch_.arange(1600) / 10)[None]
    assert functions.resample(sound, 16_000, 8_000).shape == (1, 800)
    steady = functions.lfilter(sound, torch_.tensor([1.0, 0.0]), torch_.tensor([1.0, 0.0]))
    assert torch_.allclose(steady, sound.clamp(-1, 1), atol=1e-4)


def torch_c_dlpack_ext() -> None:
    torch_ = import_module("torch")
    assert torch_.from_dlpack(torch_.arange(4)).tolist() == [0, 1, 2, 3]
