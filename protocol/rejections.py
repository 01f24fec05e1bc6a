"""Every reason to refuse a message, or to void an entry of the log.

Stateless reasons are a property of the bytes: every node finds the same, and a peer that relays such a message
misbehaves. Reasons of state (VOID) depend on the log prefix: the entry stays in the log, has no effect, and is never
held against whoever relayed it.
"""

from enum import StrEnum


class Rejection(StrEnum):
    """A reason, with a sentence for people in `sentence`."""

    # stateless: the bytes are wrong
    TOO_LARGE = "too_large"
    NOT_DETERMINISTIC_CBOR = "not_deterministic_cbor"
    NOT_AN_ENVELOPE = "not_an_envelope"
    WRONG_ALGORITHM = "wrong_algorithm"
    WRONG_SCHEMA = "wrong_schema"
    BAD_SIGNATURE = "bad_signature"
    OTHER_TEXT = "other_text"
    PROVES_NOTHING = "proves_nothing"
    # of state: the entry is out of place
    VOID_UNKNOWN_KIND = "void_unknown_kind"
    VOID_DUPLICATE = "void_duplicate"
    VOID_NOT_DELEGATED = "void_not_delegated"
    VOID_ALREADY_DELEGATED = "void_already_delegated"
    VOID_NOT_THE_LOG_KEY = "void_not_the_log_key"
    VOID_EPOCH_PASSED = "void_epoch_passed"
    VOID_EPOCH_AHEAD = "void_epoch_ahead"
    VOID_OUT_OF_SEQUENCE = "void_out_of_sequence"
    VOID_WRONG_PREIMAGE = "void_wrong_preimage"
    VOID_WRONG_STATE = "void_wrong_state"
    VOID_OTHER_GROUND = "void_other_ground"
    VOID_NO_OPEN_EPOCH = "void_no_open_epoch"
    VOID_NOT_A_RUNNER = "void_not_a_runner"
    VOID_NO_COMMITMENT = "void_no_commitment"
    VOID_DOES_NOT_OPEN = "void_does_not_open"
    VOID_LATE = "void_late"
    VOID_ALREADY_REGISTERED = "void_already_registered"
    VOID_QUOTA = "void_quota"
    VOID_NO_STAMP = "void_no_stamp"
    VOID_NOT_AN_ATTESTER = "void_not_an_attester"
    VOID_WRONG_VERSION = "void_wrong_version"
    VOID_NEWER_VERSION = "void_newer_version"
    VOID_SAME_REPOSITORY = "void_same_repository"
    VOID_NO_SCOPE = "void_no_scope"
    VOID_NOT_DONE = "void_not_done"
    VOID_SUPERSEDED = "void_superseded"
    VOID_APPEALED = "void_appealed"
    VOID_UNKNOWN_MODEL = "void_unknown_model"
    VOID_UNKNOWN_BENCHMARK = "void_unknown_benchmark"
    VOID_UNKNOWN_TRACK = "void_unknown_track"
    VOID_UNKNOWN_PROPOSAL = "void_unknown_proposal"
    VOID_OUT_OF_BOUNDS = "void_out_of_bounds"
    VOID_TOO_MANY = "void_too_many"

    @property
    def is_stateless(self) -> bool:
        """Whether the bytes alone are the reason."""
        return not self.value.startswith("void_")

    @property
    def sentence(self) -> str:
        """What is wrong, for a person."""
        return _SENTENCES[self]


_SENTENCES: dict[Rejection, str] = {
    Rejection.TOO_LARGE: "The message is longer than a message may be.",
    Rejection.NOT_DETERMINISTIC_CBOR: "The bytes are not deterministic CBOR (RFC 8949, section 4.2.1).",
    Rejection.NOT_AN_ENVELOPE: "The bytes are not a COSE_Sign1 with the headers that an envelope has.",
    Rejection.WRONG_ALGORITHM: "The envelope is not signed with Ed25519 (COSE algorithm -19).",
    Rejection.WRONG_SCHEMA: "The payload does not have the fields, types or limits of its kind.",
    Rejection.BAD_SIGNATURE: "The signature is not the named key's over these bytes on this network.",
    Rejection.OTHER_TEXT: "The text document is not the one that the message names by its digest.",
    Rejection.PROVES_NOTHING: "The evidence does not show what it is said to show.",
    Rejection.VOID_UNKNOWN_KIND: "This version does not know the kind of message: it is kept, not interpreted.",
    Rejection.VOID_DUPLICATE: "The same message stands earlier in the log.",
    Rejection.VOID_NOT_DELEGATED: "No account has delegated to the device that signed this.",
    Rejection.VOID_ALREADY_DELEGATED: "The device belongs to an account already.",
    Rejection.VOID_NOT_THE_LOG_KEY: "Only the network's log key may sign this.",
    Rejection.VOID_EPOCH_PASSED: "The epoch is past: marks open later ones, and messages are of the open one.",
    Rejection.VOID_EPOCH_AHEAD: "The epoch lies further ahead than work can go on without a mark.",
    Rejection.VOID_OUT_OF_SEQUENCE: "It does not follow what was said before: one as new is there, or one is missing.",
    Rejection.VOID_WRONG_PREIMAGE: "The mark does not reveal the next preimage of the hash chain.",
    Rejection.VOID_WRONG_STATE: "The mark names another state than the log before it gives.",
    Rejection.VOID_OTHER_GROUND: "The message stands on another ground than the log's.",
    Rejection.VOID_NO_OPEN_EPOCH: "The epoch that the message speaks of is not open.",
    Rejection.VOID_NOT_A_RUNNER: "None of the tasks named is this account's to evaluate.",
    Rejection.VOID_NO_COMMITMENT: "The result opens no commitment of this account in the log.",
    Rejection.VOID_DOES_NOT_OPEN: "The revealed result is not what the account had committed to.",
    Rejection.VOID_LATE: "The epoch is closed: the result lifts the missed reveal and does nothing else.",
    Rejection.VOID_ALREADY_REGISTERED: "These bytes are registered already.",
    Rejection.VOID_QUOTA: "The account has not earned a registration yet.",
    Rejection.VOID_NO_STAMP: "The profile has no attestation and no valid work stamp.",
    Rejection.VOID_NOT_AN_ATTESTER: "Only the attesters that the genesis names may sign this.",
    Rejection.VOID_WRONG_VERSION: "The mark names a version of the protocol that is not in force.",
    Rejection.VOID_NEWER_VERSION: "The network's version of the protocol is newer than this program's: update it.",
    Rejection.VOID_SAME_REPOSITORY: "This person has registered from this repository within the last 24 epochs.",
    Rejection.VOID_NO_SCOPE: "The account has not reached the tier that may do this.",
    Rejection.VOID_NOT_DONE: "There is no verdict DONE of this task in the last 24 epochs.",
    Rejection.VOID_SUPERSEDED: "The task is superseded already.",
    Rejection.VOID_APPEALED: "This person has appealed against this task already.",
    Rejection.VOID_UNKNOWN_MODEL: "No model with this id is registered.",
    Rejection.VOID_UNKNOWN_BENCHMARK: "No benchmark with this id has been made known.",
    Rejection.VOID_UNKNOWN_TRACK: "There is no track of this name.",
    Rejection.VOID_UNKNOWN_PROPOSAL: "There is no proposal with this id, or its vote is over.",
    Rejection.VOID_OUT_OF_BOUNDS: "The genesis does not let governance change this, or not so far.",
    Rejection.VOID_TOO_MANY: "There are as many open proposals as there may be: of this person, or of all.",
}


class Rejected(Exception):
    """Untrusted bytes or an untrusted entry were refused: the only error that decoding raises."""

    def __init__(self, reason: Rejection, detail: str = "") -> None:
        super().__init__(f"{reason.sentence} {detail}".strip())
        self.reason = reason
        self.detail = detail
