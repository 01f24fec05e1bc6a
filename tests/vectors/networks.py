"""The small networks that vectors of whole logs are about."""

from msgspec.structs import replace

from protocol import epochs
from protocol.definitions import HubFile, Model
from protocol.genesis import Genesis
from protocol.parameters import DEMO, Bound
from protocol.signing import PrivateKey
from tests.vectors.envelopes import BENCHMARK
from tests.vectors.files import sha

LOG_KEY = PrivateKey(sha("log key"))
RECOVERY_KEY = PrivateKey(sha("recovery key"))
ATTESTER = PrivateKey(sha("attester"))
CHAIN_LENGTH = 16
CHAIN = epochs.hash_chain(sha("chain seed"), CHAIN_LENGTH)
LONG_CHAIN = epochs.hash_chain(sha("long chain"), 400)
PARAMETERS = replace(DEMO, quick_depth=2, standard_depth=2, comprehensive_depth=2, norm_required=2, tasks_max=8)


def base(name: str, size: int = 3_000_000) -> Model:
    """A model of one file."""
    file = HubFile(f"example/{name}", "a" * 40, f"{name}-f16.gguf", sha("file", name), size)
    return Model(file, (), "llama", 1_000_000, "F16", "MIT")


GENESIS = Genesis(
    name="example",
    time=1_800_000_000,
    parameters=PARAMETERS,
    benchmarks=(BENCHMARK,),
    models=(base("one"),),
    log_key=LOG_KEY.public,
    chain_anchor=CHAIN[-1],
    chain_length=CHAIN_LENGTH,
    attesters=(ATTESTER.public,),
    bounds=(Bound("tasks_max", 1, 100),),
)
RECOVERABLE = replace(GENESIS, recovery_key=RECOVERY_KEY.public)
LARGE = replace(GENESIS, models=(base("one", 3_000_000_000), base("two", 3_000_000_000)))
"""Its models are so large that whoever evaluated both has the highest tier."""
AUDITED = replace(GENESIS, parameters=replace(PARAMETERS, audit_share=1000))
NEWER = replace(GENESIS, parameters=replace(PARAMETERS, version=2))
STAMPED = replace(GENESIS, parameters=replace(PARAMETERS, attested=True, work_stamp_seconds=1))
LONG = replace(LARGE, chain_anchor=LONG_CHAIN[-1], chain_length=400)
