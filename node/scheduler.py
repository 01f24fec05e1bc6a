"""What this node does in each epoch: evaluate, commit, fix what was seen, reveal.

The epoch's work starts with its mark, or leaderless when the mark does not come within the grace. A node that learns
of the mark later switches to it unless it has committed. Everything it did is stored, so that a restart in the middle
of an epoch goes on where it was.
"""

from collections.abc import Callable, Collection, Iterable

import trio
from msgspec.structs import replace

from eval.energy import Energy
from eval.hub import Fetching
from node import stamping
from node.batches import Batches
from node.bulletin import Bulletin, Level, Topic
from node.clock import Clock
from node.energy_tally import energy_of
from node.evaluation import Evaluated, EvaluationFailed, Evaluator, Progress, Request
from node.examiner import Examiner
from node.gossip import Gossiper
from node.identity import Identity
from node.pauses import KEYS_ELSEWHERE, Pauses
from node.prefetching import Prefetching
from node.replica import Replica
from node.timetable import Timetable
from node.work_order import WorkQueue, in_order, taken_on
from protocol.envelope import seal
from protocol.messages import Claim, ClaimedTask, Profile, Run, TaskResult
from protocol.plan import Plan
from protocol.quota import quota
from protocol.tasks import Task

BACK_OFFS_PER_EPOCH = 240
CLAIM_SECONDS = 2.0
CLAIMS_PER_EPOCH = 30
NO_RUN = Run("none", "none", "none", 0)


class Current:
    """What is being evaluated now, for people to see."""

    def __init__(self) -> None:
        self.request: Request | None = None
        self.progress = Progress(0, 0, 0.0)
        self.prefetching: Fetching | None = None
        self.fetching_ahead: Fetching | None = None
        self.evaluated = 0
        self.failed = 0
        self.energy: Energy | None = None
        """Of all that was evaluated, as far as it is known."""
        self.run: Run | None = None
        """How the last evaluation was computed: the engine's version, the class of hardware, the mode."""

    def note(self, evaluated: Evaluated) -> None:
        """Count an evaluation that has ended."""
        self.evaluated += 1
        self.run = evaluated.run
        energy = energy_of(evaluated.result, evaluated.run)
        if energy is not None:
            self.energy = energy if self.energy is None else self.energy + energy

    @property
    def downloads(self) -> tuple[Fetching, ...]:
        """What is downloaded now: for the current task, for the one after it, and for tasks that may come."""
        each_of = (self.progress.fetching, self.prefetching, self.fetching_ahead)
        return tuple(each for each in each_of if each is not None)


class Scheduler:
    """Runs one account's duties."""

    def __init__(
        self,
        identity: Identity,
        replica: Replica,
        gossiper: Gossiper,
        batches: Batches,
        evaluator: Evaluator,
        examiner: Examiner,
        clock: Clock,
        bulletin: Bulletin,
        pauses: Pauses,
        offer: Callable[[int], Profile],
        *,
        earns: bool = False,
    ) -> None:
        self._identity = identity
        self._replica = replica
        self._gossiper = gossiper
        self._batches = batches
        self._evaluator = evaluator
        self._examiner = examiner
        self._clock = clock
        self._bulletin = bulletin
        self._pauses = pauses
        self._offer = offer
        self._earns = earns
        self._timetable = Timetable(replica.genesis)
        self._claims = 0
        self._since = clock.now()
        self.current = Current()
        self._prefetching = Prefetching(replica, identity.device.public, evaluator, pauses, self._fetched_ahead)

    async def run(self) -> None:
        """Work epoch after epoch until cancelled."""
        async with trio.open_nursery() as nursery:
            begun = max(0, self._timetable.epoch_at(self._clock.now()))
            nursery.start_soon(self.announce, begun)
            nursery.start_soon(self._prefetching.run)
            if await self._batches.open_earlier(begun):
                text = "Results of earlier epochs are sent that were not when this node stopped."
                self._bulletin.tell(Level.NOTE, "OPENED_LATE", text)
            await self._clock.sleep_until(self._timetable.start(0))
            while True:
                epoch = self._timetable.epoch_at(self._clock.now())
                if plan := await self._await_plan(epoch):
                    await self._work(plan)
                await self._clock.sleep_until(self._timetable.end(epoch))

    async def announce(self, epoch: int) -> None:
        """Say who this device speaks for, and what it offers, with a work stamp where the network asks for one."""
        network, device = self._replica.genesis.id, self._identity.device
        if device.public not in self._replica.state.devices:
            await self._gossiper.publish(self._identity.delegation(network))
        profile, state = self._offer(epoch), self._replica.state
        seconds = state.parameters.work_stamp_seconds
        if seconds and self._identity.account.public not in state.persons:
            try:
                profile = replace(profile, stamp=await stamping.find(network, device.public, epoch, seconds))
            except stamping.StampingFailed as error:
                text = f"{error} Without one nobody asks this account: it is tried again in the next epoch."
                self._bulletin.tell(Level.WARN, "NO_STAMP", text)
                return
        await self._gossiper.publish(seal(device, network, profile))

    async def _await_plan(self, epoch: int) -> Plan | None:
        """The plan on the epoch's mark; on a leaderless ground after the grace; None where there is no work."""
        if await self._mark_comes(epoch, self._timetable.leaderless_at(epoch)):
            return self._replica.plan(epoch)
        marked = self._replica.marked_epoch
        if marked is None:  # nothing runs before the first mark
            await self._mark_comes(epoch, self._timetable.end(epoch))
            return self._replica.plan(epoch) if self._replica.marked_epoch == epoch else None
        plan = self._replica.plan(epoch)
        if plan is None:
            self._bulletin.tell(Level.WARN, "NO_MARK", f"No mark since epoch {marked}: work pauses until one comes.")
            return None
        self._bulletin.tell(Level.WARN, "LEADERLESS", f"Epoch {epoch} has no mark yet: it runs leaderless.")
        return plan

    async def _mark_comes(self, epoch: int, until: float) -> bool:
        with self._clock.move_on_at(until):
            while not self._is_marked(epoch):
                await self._replica.next_mark()
        return self._replica.marked_epoch == epoch

    def _is_marked(self, epoch: int) -> bool:
        marked = self._replica.marked_epoch
        return marked is not None and marked >= epoch

    async def _work(self, plan: Plan) -> None:
        if await self._batches.has_committed_elsewhere(plan):
            text = (
                f"This node committed in epoch {plan.epoch} before it knew of the mark: it goes on with the next epoch."
            )
            self._bulletin.tell(Level.NOTE, "COMMITTED_LEADERLESS", text)
        elif plan.leaderless:
            plan = await self._work_until_marked(plan)
        else:
            await self._evaluate_and_commit(plan)
        await self._clock.sleep_until(self._timetable.seal(plan.epoch))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._give_sign_of_life, plan.epoch)
            await self._heed_other_processes(plan)
            await self._batches.fix_what_was_seen(plan)
            await self._clock.sleep_until(self._timetable.reveal(plan.epoch))
            if await self._batches.reveal(plan.epoch):
                self._bulletin.tell(Level.OK, "REVEALED", f"Results of epoch {plan.epoch} are out.")

    async def _give_sign_of_life(self, epoch: int) -> None:
        """Renew the profile, without which nobody asks this account in the next epoch; a commitment does as well.

        Only one that the log will count: not on a ground that the mark has left behind. And however busy this node is,
        a profile that grows old is renewed.
        """
        state, plan = self._replica.state, self._replica.plan(epoch)
        if self._pauses.reasons or state.opening is None:
            return
        if not self._is_young() or plan is None or not await self._batches.committed_tasks(plan):
            await self.announce(min(epoch + 1, state.opening.epoch + state.parameters.leaderless_max))

    def _is_young(self) -> bool:
        """Whether this device's profile in the log is less than half as old as one may be."""
        state = self._replica.state
        account = state.accounts.get(self._identity.account.public)
        devices = account.devices if account else ()
        oldest = state.marks - state.parameters.profile_window // 2
        return any(known.device == self._identity.device.public and known.renewed > oldest for known in devices)

    async def _work_until_marked(self, plan: Plan) -> Plan:
        """Work leaderless, and switch to the mark if it comes before this node has committed."""
        late: list[Plan] = []
        async with trio.open_nursery() as nursery:

            async def switch() -> None:
                if await self._mark_comes(plan.epoch, self._timetable.commit_by(plan.epoch)):
                    marked = self._replica.plan(plan.epoch)
                    if marked and not await self._batches.has_committed(plan.epoch):
                        late.append(marked)
                        nursery.cancel_scope.cancel()

            nursery.start_soon(switch)
            await self._evaluate_and_commit(plan)
            nursery.cancel_scope.cancel()
        if not late:
            return plan
        self._bulletin.tell(Level.NOTE, "SWITCHED", f"The mark of epoch {plan.epoch} came: this node works on it.")
        await self._evaluate_and_commit(late[0])
        return late[0]

    async def _evaluate_and_commit(self, plan: Plan) -> None:
        self._gossiper.follow(self._gossiper.shards.of_account(plan, self._identity.account.public))
        await self._batches.resend(plan)
        committed = await self._batches.committed_tasks(plan)
        mine = [task for task in await self._mine(plan) if task.id not in committed]
        if not mine:
            return
        done = await self._batches.kept(plan)
        with self._clock.move_on_at(self._timetable.commit_by(plan.epoch)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._claim, plan, mine, done)
                await self._evaluate_all(plan, [task for task in mine if task.id not in done], done)
                nursery.cancel_scope.cancel()
            if not self._pauses.has(KEYS_ELSEWHERE):
                await self._publish_claim(plan, self._claimed(mine, done))
        self.current.request = None
        spoken = await self._heed_other_processes(plan)
        ready = [done[task.id] for task in mine if task.id in done and task.id not in spoken]
        if self._pauses.has(KEYS_ELSEWHERE):
            return
        if ready and self._clock.now() < self._timetable.seal(plan.epoch):
            await self._batches.commit(plan, ready)
            text = f"Committed to {len(ready)} of {len(mine)} tasks of epoch {plan.epoch}."
            self._bulletin.tell(Level.OK, "COMMITTED", text)
        elif len(ready) < len(mine):
            text = f"{len(mine) - len(ready)} tasks of epoch {plan.epoch} were not ready in time."
            self._bulletin.tell(Level.WARN, "TOO_LATE", text)

    async def _heed_other_processes(self, plan: Plan) -> Collection[bytes]:
        """Those tasks to which the account has committed without this store's knowing: twice would count as not at all.

        Where this device's key signed that in an epoch that began with this process at work, another one has the keys:
        nothing new is signed any more. What was promised is opened all the same, and contradicts nothing.
        """
        elsewhere = await self._batches.said_elsewhere(plan)
        if not elsewhere or self._pauses.has(KEYS_ELSEWHERE):
            return elsewhere.keys()
        held, device = self._replica.held, self._identity.device.public
        by_this_key = any(key in held and held[key].signer == device for key in elsewhere.values())
        if by_this_key and self._timetable.start(plan.epoch) >= self._since:
            self._pauses.begin(KEYS_ELSEWHERE)
        else:
            what = f"This account has committed to {len(elsewhere)} tasks of epoch {plan.epoch} before"
            text = f"{what}, from elsewhere or from a store that is gone: it does not do so twice."
            self._bulletin.tell(Level.WARN, "COMMITTED_BEFORE", text)
        return elsewhere.keys()

    async def _mine(self, plan: Plan) -> list[Task]:
        """What this device takes on, in order; spare ranks only where they earn a submission that is not yet earned."""
        state, account = self._replica.state, self._identity.account.public
        if state.opening is None:
            return []
        spares = self._earns and not quota(state, account).may_register
        mine = taken_on(plan, state.opening, account, self._identity.device.public, spares=spares)
        models = {task.subject.model: state.models[task.subject.model].model for task in mine}
        files = {file.sha256: file for model in models.values() for file in model.files}
        lacking = {file.sha256 for file in await self._evaluator.lacking(tuple(files.values()))}
        return in_order(mine, models, lacking, self._offer(plan.epoch))

    async def _evaluate_all(self, plan: Plan, left: list[Task], done: dict[bytes, Evaluated]) -> None:
        """Evaluate what is left, in order; what fails here comes back later, and fails for good the second time."""
        queue = WorkQueue(left, self._replica.genesis.parameters.epoch_seconds / BACK_OFFS_PER_EPOCH)
        while turn := queue.take():
            if self._clock.now() < turn.not_before:
                await self._clock.sleep_until(turn.not_before)
            await self._pauses.none_left()
            try:
                evaluated = await self._evaluate(plan, turn.task, queue.following)
            except EvaluationFailed as error:
                self._tell_failure(turn.task, error)
                if not queue.is_given_up(turn, error.failure, self._clock.now()):
                    continue
                self.current.failed += 1
                evaluated = Evaluated(TaskResult(turn.task.id, error.failure), NO_RUN)
            else:
                queue.succeeded()
            with trio.CancelScope(shield=True):  # what is not stored cannot be revealed: no commitment to it
                await self._batches.keep(plan, evaluated)
            done[turn.task.id] = evaluated

    def _tell_failure(self, task: Task, error: EvaluationFailed) -> None:
        state, subject = self._replica.state, task.subject
        what = f"{state.models[subject.model].model.name} on {state.benchmarks[subject.benchmark].name}"
        self._bulletin.tell(Level.WARN, error.failure.name, f"{what}: {error}", task=task.id)

    def _request(self, plan: Plan, task: Task) -> Request:
        state = self._replica.state
        model, benchmark = state.models[task.subject.model].model, state.benchmarks[task.subject.benchmark]
        return Request(task, model, benchmark, self._replica.genesis.id, plan.beacon)

    async def _evaluate(self, plan: Plan, task: Task, following: Task | None) -> Evaluated:
        """Evaluate a task, and meanwhile fetch what the following one needs. Raises `EvaluationFailed`."""
        request, failed = self._request(plan, task), None
        self.current.request, self.current.progress = request, Progress(0, len(task.questions), 0.0)
        async with trio.open_nursery() as nursery:
            if following:
                nursery.start_soon(self._evaluator.prepare, self._request(plan, following), self._prefetched)
            try:
                evaluated = await self._evaluator.evaluate(request, self._progressed)
            except EvaluationFailed as error:
                failed = error  # not through the nursery, which would make a group of it
            nursery.cancel_scope.cancel()
        self._prefetched(None)
        if failed:
            raise failed
        self.current.note(evaluated)
        if not task.examined:
            return evaluated
        findings = await self._examiner.examine(request, self._progressed)
        return replace(evaluated, result=replace(evaluated.result, findings=findings))

    def _progressed(self, progress: Progress) -> None:
        self.current.progress = progress
        self._bulletin.touch(Topic.STATUS)

    def _fetched_ahead(self, fetching: Fetching | None) -> None:
        self.current.fetching_ahead = fetching
        self._bulletin.touch(Topic.STATUS)

    def _prefetched(self, fetching: Fetching | None) -> None:
        self.current.prefetching = fetching
        self._bulletin.touch(Topic.STATUS)

    async def _claim(self, plan: Plan, mine: list[Task], done: dict[bytes, Evaluated]) -> None:
        """Tell the others what this node works on, as long as there is something new to tell."""
        last: tuple[ClaimedTask, ...] = ()
        while True:
            tasks = self._claimed(mine, done)
            if tasks != last and not self._pauses.has(KEYS_ELSEWHERE):
                last = tasks
                await self._publish_claim(plan, tasks)
            # Of a large network's messages most would be claims, which are only for people to see.
            await trio.sleep(max(CLAIM_SECONDS, self._replica.genesis.parameters.epoch_seconds / CLAIMS_PER_EPOCH))

    def _claimed(self, mine: list[Task], done: dict[bytes, Evaluated]) -> tuple[ClaimedTask, ...]:
        return tuple(ClaimedTask(task.id, self._share(task, done)) for task in mine)

    async def _publish_claim(self, plan: Plan, tasks: Iterable[ClaimedTask]) -> None:
        self._claims += 1
        sequence = int(self._clock.now() - self._timetable.start(plan.epoch)) * 1000 + self._claims % 1000
        claim = Claim(plan.epoch, max(0, sequence), tuple(tasks)[:256])
        await self._gossiper.publish(seal(self._identity.device, self._replica.genesis.id, claim))

    def _share(self, task: Task, done: dict[bytes, Evaluated]) -> int:
        """Per mille of a task's questions that are done."""
        if task.id in done:
            return 1000
        request, progress = self.current.request, self.current.progress
        working = request is not None and request.task.id == task.id and progress.total > 0
        return 1000 * progress.done // progress.total if working else 0
