"""How many questions to run at once.

More questions share each pass over the weights; but in a unified cache every token also looks at the cells of all
other questions, if only to skip them. With weights read once a step and `unshared` cells a question, the cost per
question is about

    steps * step / slots  +  unshared * (unshared / 2 + steps) * cell * slots

which is least at the square root of the ratio. The constants are rough and need not be exact: around the minimum the
cost is flat. So the number is shifted a little for rounds of equal size: a last one of few questions would read all
weights for them as often as for a full one. They are the same everywhere, so that machines form alike batches.
"""

import math
from collections.abc import Sequence

from eval.header import Header
from eval.memory import Need

MOST_SLOTS = 16
NANOSECONDS_PER_CELL = 1.3  # a head's look at a masked cell
BYTES_PER_NANOSECOND = 20.0  # memory bandwidth
NANOSECONDS_PER_STEP = 500_000.0  # building and starting a batch
NANOSECONDS_PER_WEIGHT = 0.15  # to make a 32-bit float of it, where products are not llama.cpp's own


def best_slots(header: Header, needs: Sequence[Need], steps: int, *, products: bool = False) -> int:
    """Questions at once, 1 to `MOST_SLOTS`, for questions that take about `steps` passes after their prompt.

    With `products` each pass makes floats of all weights (`eval.products`).
    """
    unshared = sum(need.cells for need in needs) / len(needs)
    heads = header.of_architecture("attention.head_count", 1) * header.of_architecture("block_count", 1)
    converting = header.parameters * NANOSECONDS_PER_WEIGHT if products else 0.0
    step = NANOSECONDS_PER_STEP + header.weight_bytes / BYTES_PER_NANOSECOND + converting
    looking = unshared * (unshared / 2 + steps) * max(1, heads) * NANOSECONDS_PER_CELL
    best = max(1, min(MOST_SLOTS, round(math.sqrt(steps * step / looking))))
    rounds = max(round(len(needs) / best), math.ceil(len(needs) / MOST_SLOTS))
    return math.ceil(len(needs) / max(1, rounds))
