"""Calls ModelInfer with the message on standard input for so many seconds; prints how many were answered."""

import asyncio
import subprocess
import sys
import time
from typing import Any

import grpc

METHOD = "/inference.GRPCInferenceService/ModelInfer"
SECONDS = 3.0
_CALLS_A_CONNECTION = 8


def call(port: int, message: bytes, calls: int) -> int:
    """How many calls a process on the second core had answered, so many at once.

    Raises:
        CalledProcessError: one of them failed.
    """
    command = ["taskset", "-c", "1", sys.executable, "-m", "churn_dev.grpc_load", str(port), str(calls)]
    return int(subprocess.run(command, input=message, stdout=subprocess.PIPE, check=True).stdout)


async def _call(port: int, message: bytes, calls: int) -> int:
    answered, until = 0, time.monotonic() + SECONDS

    async def ask_on(channel: grpc.aio.Channel) -> None:
        nonlocal answered
        infer: Any = channel.unary_unary(METHOD)
        while time.monotonic() < until:
            await infer(message)
            answered += 1

    options = [("grpc.use_local_subchannel_pool", 1)]
    address = f"127.0.0.1:{port}"
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(-(-calls // _CALLS_A_CONNECTION))]
    await asyncio.gather(*(ask_on(channels[number % len(channels)]) for number in range(calls)))
    for channel in channels:
        await channel.close()
    return answered


if __name__ == "__main__":
    print(asyncio.run(_call(int(sys.argv[1]), sys.stdin.buffer.read(), int(sys.argv[2]))))
