"""Operations of the libraries below the HTTP server: each sends to itself through the loopback."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

BODY = bytes(range(256)) * 300


async def _echoed() -> bytes:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(BODY)))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(BODY)
    got = await reader.readexactly(len(BODY))
    writer.close()
    server.close()
    return got


def uvloop() -> None:
    loop = import_module("uvloop").new_event_loop()
    assert loop.run_until_complete(_echoed()) == BODY


def aiohttp() -> None:
    library, web = import_module("aiohttp"), import_module("aiohttp.web")
    assert import_module("aiohttp.http_parser").HttpRequestParser.__module__ == "aiohttp._http_parser"

    async def answer(request: Any) -> Any:
        return web.Response(body=await request.read())

    async def exchange() -> bytes:
        application = web.Application()
        application.router.add_post("/", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with library.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/", data=BODY) as reply:
            got: bytes = await reply.read()
        await runner.cleanup()
        return got

    assert asyncio.run(exchange()) == BODY


def websockets() -> None:
    mask = b"abcd"
    apply = import_module("websockets.speedups").apply_mask
    assert apply(apply(BODY, mask), mask) == BODY
    assert apply(BODY, mask) == bytes(byte ^ mask[at % 4] for at, byte in enumerate(BODY))


def httptools() -> None:
    tools = import_module("httptools")
    seen: list[tuple[bytes, bytes]] = []

    class Protocol:
        def on_header(self, name: bytes, value: bytes) -> None:
            seen.append((name, value))

    parser = tools.HttpRequestParser(Protocol())
    parser.feed_data(b"GET /path?x=1 HTTP/1.1\r\nHost: rig\r\nX-Long: " + b"y" * 500 + b"\r\n\r\n")
    assert seen == [(b"Host", b"rig"), (b"X-Long", b"y" * 500)]
    assert tools.parse_url(b"http://rig:8000/v1?x=1").port == 8000


def multidict() -> None:
    values = import_module("multidict").CIMultiDict([("Key", "1"), ("key", "2")])
    assert values.getall("KEY") == ["1", "2"]


def yarl() -> None:
    url = import_module("yarl").URL("http://rig/ä ö/?q=ü")
    assert url.raw_path == "/%C3%A4%20%C3%B6/"
    assert url.query["q"] == "ü"


def pyzmq() -> None:
    zmq = import_module("zmq")
    context = zmq.Context()
    server, client = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    # Encrypted, for the sake of libsodium.
    public, secret = zmq.curve_keypair()
    server.curve_server, server.curve_secretkey = True, secret
    client.curve_serverkey = public
    client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
    client.connect(f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}")
    client.send(BODY)
    assert server.poll(60_000)
    assert server.recv() == BODY
    context.destroy(linger=0)


def grpcio() -> None:
    grpc = import_module("grpc")
    workers = import_module("concurrent.futures").ThreadPoolExecutor(1)
    server = grpc.server(workers)
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request[::-1])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("rig", {"Turn": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert channel.unary_unary("/rig/Turn")(BODY, timeout=60) == BODY[::-1]
    server.stop(None)
