"""Something done by two processes, as `torch.distributed.run` would start them."""

import multiprocessing
import os
import socket


def in_two_processes(task, *arguments, seconds=300):
    """Call `task(rank, *arguments)` in two processes with the launcher's variables.

    They are forked from a process that has imported torch and done nothing else: what takes
    the time of a launch is three imports of torch, and a fork of the tests' own process would
    wait for threads that it has not got.

    Args:
        task: A function of a module on the path.

    Raises:
        AssertionError: If one of them fails, or does not end in `seconds`.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["accelerate", "markovbridge.cli", "markovbridge.training"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        server.Process(target=_begin, args=(task, rank, port, arguments)) for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(seconds)
        process.kill()
        process.join()
    assert [process.exitcode for process in started] == [0, 0], "-9: killed at the time limit"


def _begin(task, rank, port, arguments):
    os.environ |= {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"},
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"},
        **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
    }
    task(rank, *arguments)
