"""How many cores a model makes good use of, and in what way: several lanes (`eval.lanes`), or threads in one.

Threads meet after each of a graph's operations. The work of a dozen questions at once is worth two threads even in a
model of a million weights (1.5 times as fast by the clock, for an eighth more processor time); a third wants more.
Lanes never meet, but each reads all weights.
"""

LARGEST_IN_LANES = 20_000_000
MOST_LANES = 8  # Python's share of a lane's work is done by one lane at a time
FEWEST_THREADS, WEIGHTS_PER_THREAD = 2, 20_000_000


def threads_for(parameters: int, cores: int) -> int:
    """Threads that a model of this size makes good use of, at most as many as `cores` and at least one."""
    most = MOST_LANES if parameters <= LARGEST_IN_LANES else _threads_of_a_graph(parameters)
    return max(1, min(cores, most))


def lanes_for(parameters: int, threads: int, questions: int) -> int:
    """The number of lanes for so many questions, at most `threads`."""
    return max(1, min(threads, questions, MOST_LANES)) if parameters <= LARGEST_IN_LANES else 1


def threads_in_each(parameters: int, threads: int, lanes: int) -> int:
    """Threads of one of so many lanes."""
    return max(1, min(threads // lanes, _threads_of_a_graph(parameters)))


def _threads_of_a_graph(parameters: int) -> int:
    return FEWEST_THREADS + parameters // WEIGHTS_PER_THREAD
