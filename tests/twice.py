"""Something done by two processes, as `torch.distributed.run` would start them."""

import multiprocessing
import os
import socket

import accelerate


def in_two_processes(task, *arguments, seconds=120):
    """Call `task(rank, *arguments)` in two forked processes with the launcher's variables.

    Forked, as what takes the time of a launch is three imports of torch.

    Raises:
        AssertionError: If one of them fails.
    """
    fork = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        fork.Process(target=_begin, args=(task, rank, port, arguments)) for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(seconds)
        process.kill()
    assert [process.exitcode for process in started] == [0, 0]


def _begin(task, rank, port, arguments):
    accelerate.state.AcceleratorState._reset_state(True)  # of the tests before this
    os.environ |= {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"},
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"},
        **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
    }
    task(rank, *arguments)
