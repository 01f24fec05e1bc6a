"""The one exception by which a part of the evaluator says that a task cannot be evaluated, and whose fault it is."""

from protocol.failures import Failure


class EvaluationError(Exception):
    """A typed failure with a detail for people; becomes `eval.job.JobFailed` at the edge."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        super().__init__(f"{failure.sentence} {detail}".strip())
        self.failure = failure
        self.detail = detail
