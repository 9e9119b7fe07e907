"""Operations of serialisers, validators, hashes and files."""

from __future__ import annotations

import io
import os
import tempfile
from importlib import import_module
from pathlib import Path

VALUE = {"text": "naïve" * 40, "numbers": list(range(300)), "nothing": None, "share": 0.25}


def msgspec() -> None:
    spec = import_module("msgspec")
    assert spec.json.decode(spec.json.encode(VALUE)) == VALUE
    assert spec.msgpack.decode(spec.msgpack.encode(VALUE)) == VALUE


def jiter() -> None:
    assert import_module("jiter").from_json(import_module("json").dumps(VALUE).encode()) == VALUE


def ijson() -> None:
    backend = import_module("ijson").get_backend("yajl2_c")
    assert list(backend.items(io.BytesIO(b'{"a": [1, 2, 3]}'), "a.item")) == [1, 2, 3]


def cbor2() -> None:
    cbor = import_module("cbor2")
    assert cbor.loads(cbor.dumps(VALUE)) == VALUE


def protobuf() -> None:
    struct = import_module("google.protobuf.struct_pb2").Struct()
    assert import_module("google.protobuf.internal.api_implementation").Type() == "upb"
    struct.update({"a": [1, 2], "b": "text"})
    other = type(struct)()
    other.ParseFromString(struct.SerializeToString())
    assert other == struct


def pydantic_core() -> None:
    pydantic = import_module("pydantic")
    model = pydantic.create_model("Model", number=(int, ...), names=(list[str], ...))
    text = model(number="7", names=["a" * 500]).model_dump_json()
    assert model.model_validate_json(text).number == 7


def rpds_py() -> None:
    table = import_module("rpds").HashTrieMap({number: str(number) for number in range(1000)})
    assert table.remove(4).insert("x", 1)["x"] == 1


def pybase64() -> None:
    base64 = import_module("pybase64")
    data = bytes(range(256)) * 64
    assert base64.b64decode(base64.b64encode(data), validate=True) == data
    assert base64.b64encode(data) == import_module("base64").b64encode(data)


def blake3() -> None:
    hasher = import_module("blake3").blake3
    # The digest of nothing is printed in the algorithm's own test vectors.
    assert hasher(b"").hexdigest().startswith("af1349b9f5f9a1a6a0404dea36dcc949")
    data = bytes(range(251)) * 5000
    assert hasher(data).digest() == hasher().update(data[:70_001]).update(data[70_001:]).digest()


def cryptography() -> None:
    base = "cryptography.hazmat.primitives"
    hashes, padding = import_module(f"{base}.hashes"), import_module(f"{base}.asymmetric.padding")
    rsa, ec, x25519 = (import_module(f"{base}.asymmetric.{name}") for name in ("rsa", "ec", "x25519"))
    aead = import_module(f"{base}.ciphers.aead")
    data = bytes(range(256)) * 40
    for cipher in (aead.AESGCM(bytes(32)), aead.ChaCha20Poly1305(bytes(32)), aead.AESCCM(bytes(16))):
        assert cipher.decrypt(bytes(12), cipher.encrypt(bytes(12), data, b""), b"") == data
    key = rsa.generate_private_key(65537, 2048)
    signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    key.public_key().verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    curve = ec.generate_private_key(ec.SECP256R1())
    curve.public_key().verify(curve.sign(data, ec.ECDSA(hashes.SHA512())), data, ec.ECDSA(hashes.SHA512()))
    one, two = x25519.X25519PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    assert one.exchange(two.public_key()) == two.exchange(one.public_key())


def cffi() -> None:
    ffi = import_module("cffi").FFI()
    ffi.cdef("int abs(int);")
    assert ffi.dlopen(None).abs(-7) == 7
    assert list(ffi.new("int[3]", [1, 2, 3])) == [1, 2, 3]


def frozenlist() -> None:
    values = import_module("frozenlist").FrozenList([1, 2])
    values.append(3)
    values.freeze()
    assert hash(values)
    assert list(values) == [1, 2, 3]


def propcache() -> None:
    class Thing:
        @import_module("propcache").cached_property  # type: ignore[untyped-decorator]
        def value(self) -> object:
            return object()

    thing = Thing()
    assert thing.value is thing.value


def psutil() -> None:
    process = import_module("psutil")
    assert process.virtual_memory().total > 0
    assert process.Process().memory_info().rss > 0


def setproctitle() -> None:
    import_module("setproctitle").setproctitle("renamed")
    assert import_module("setproctitle").getproctitle() == "renamed"


def fastar() -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, archive = Path(directory, "source"), Path(directory, "archive.tar.gz")
        source.write_bytes(bytes(range(256)) * 100)
        with import_module("fastar").open(archive, "w:gz") as tar:
            tar.append(source)
        with import_module("fastar").open(archive, "r") as tar:
            tar.unpack(Path(directory, "out"))
        assert any(path.read_bytes() == source.read_bytes() for path in Path(directory, "out").rglob("source"))


def rignore() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, ".ignore").write_text("*.log\n")
        for name in ("a.log", "b.txt"):
            Path(directory, name).touch()
        assert [Path(path).name for path in import_module("rignore").walk(directory) if Path(path).is_file()] == [
            "b.txt"
        ]


def watchfiles() -> None:
    with tempfile.TemporaryDirectory() as directory:
        watcher = import_module("watchfiles._rust_notify").RustNotify([directory], False, True, 50, True, False)
        Path(directory, "new").write_text("text")
        changes = watcher.watch(100, 50, 20_000, None)
        watcher.close()
        assert any(os.path.basename(path) == "new" for _, path in changes)  # noqa: PTH119


def hf_xet() -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "file")
        file.write_bytes(bytes(range(251)) * 2000)
        one, two = import_module("hf_xet").hash_files([str(file), str(file)])
        assert str(one.hash if hasattr(one, "hash") else one) == str(two.hash if hasattr(two, "hash") else two)
