// Sections 6 to 10, 13 and 14 together: what a log decides, as far as runners alone speak in it.
//
// It knows delegations, profiles, commitments, results and marks. Where people register models, attest, appeal, rate or
// vote there is more to it, and a log in which somebody does is refused here rather than read wrongly. A mark's `state`
// is not checked, and a late result lifts no setback.

import { verdict } from './counting.js'
import { beacon, benchmarkId, commitmentDigest, ground, leaderlessBeacon, modelId, sha256, taskId } from './digests.js'
import { transitions } from './document.js'
import { sum } from './fingerprint.js'
import { leafOf, rootOf } from './log.js'
import { redrawPools } from './pools.js'
import { Refused } from './refused.js'
import { quorumOf, ranking } from './runners.js'
import { depths, dueSubjects, questionOrder } from './tasks.js'

const hex = (bytes) => Buffer.from(bytes).toString('hex')
const FLOATS = new Set(['F32', 'F16'])

export class Ledger {
  constructor (genesis, network) {
    Object.assign(this, { genesis, network, parameters: genesis.parameters, leaves: [], marks: 0, pools: {}, opening: null })
    if (genesis.parameters.audit_share) throw new Refused('audits are more than this ledger can read')
    this.preimage = genesis.chain_anchor
    this.devices = new Map() // device to account
    this.accounts = new Map() // account to {since, seen, offers: device to {epoch, memory, disk, renewed}}
    this.turns = new Map() // subject to {asked, dueAgain, quorum, disputes, failures}
    this.missed = new Map() // account to the count of marks at which it missed a reveal
    this.statements = [] // of the open epochs: {kind, epoch, account, id, body}
    this.subjects = new Map()
    for (const model of genesis.models) {
      for (const benchmark of genesis.benchmarks) {
        this.subjects.set(`${hex(modelId(model))} ${hex(benchmarkId(benchmark))}`, { model, benchmark })
      }
    }
    this.parts = {
      delegation: (envelope) => this.#delegate(envelope),
      profile: (envelope) => this.#renew(envelope),
      commitment: (envelope) => this.#state(envelope),
      result: (envelope) => this.#state(envelope),
      mark: (envelope) => this.#mark(envelope)
    }
  }

  // Folds the log's next entry. What a mark closes and opens comes back, null for everything else.
  append (envelope) {
    if (!this.parts[envelope.kind]) throw new Refused(`a ${envelope.kind} is more than this ledger can read`)
    const found = this.parts[envelope.kind](envelope) ?? null
    this.leaves.push(leafOf(envelope.bytes))
    return found
  }

  #delegate ({ signer, body: { device } }) {
    if (!this.devices.has(hex(device))) this.devices.set(hex(device), hex(signer))
  }

  #renew ({ signer, body: { epoch, memory, disk } }) {
    const account = this.devices.get(hex(signer))
    if (account === undefined || !this.#isTimely(epoch)) return
    const known = this.accounts.get(account) ?? { since: this.marks, offers: new Map() }
    const last = known.offers.get(hex(signer))?.epoch ?? -1
    if (epoch <= last && this.#isTimely(last)) return
    known.seen = this.marks
    known.offers.set(hex(signer), { epoch, memory, disk, renewed: this.marks })
    this.accounts.set(account, known)
  }

  #isTimely (epoch) {
    return !this.opening || (epoch >= this.opening.epoch - 1 && epoch <= this.opening.epoch + this.parameters.leaderless_max)
  }

  #state ({ kind, id, signer, body }) {
    const account = this.opening?.devices.get(hex(signer))
    const epoch = account && this.#epoch(body.epoch)
    if (!epoch || !epoch.ground.equals(body.ground)) return
    this.statements.push({ kind, epoch: body.epoch, account, id: hex(id), body })
    const isRunner = (task) => epoch.tasks.get(hex(task))?.ranks.includes(account)
    if (kind === 'commitment' && body.tasks.some(isRunner)) this.accounts.get(account).seen = this.marks
  }

  #mark ({ signer, body: { epoch, preimage } }) {
    const { genesis, parameters, opening } = this
    const isLater = !opening || epoch > opening.epoch
    if (!isLater || !signer.equals(genesis.log_key) || !sha256(preimage).equals(this.preimage)) return null
    const closing = []
    for (let e = opening?.epoch ?? epoch; e < epoch && e <= opening.epoch + parameters.leaderless_max; e++) closing.push(e)
    const closed = closing.map((e) => ({ epoch: e, ...this.#close(e) }))
    const revealed = closed.flatMap(({ epoch: e, salts }) => salts.map((salt) => ({ epoch: e, ...salt })))
    const size = this.leaves.length
    const root = rootOf(this.leaves)
    const beaconOfEpoch = beacon(preimage, revealed)
    this.#redraw(beaconOfEpoch)
    this.opening = {
      epoch,
      size,
      root,
      beacon: beaconOfEpoch,
      ground: ground(size, root, beaconOfEpoch),
      devices: new Map(this.devices),
      plans: this.#plans(),
      opened: new Map()
    }
    this.statements = []
    this.preimage = preimage
    this.marks += 1
    const { tasks } = this.#epoch(epoch)
    return { epoch, ground: this.opening.ground, tasks: [...tasks.keys()], closed: closed.map(({ epoch: e, verdicts }) => ({ epoch: e, verdicts })) }
  }

  // An open epoch's ground and tasks, derived when they are first asked for; null for one that is not open.
  #epoch (epoch) {
    const { opening, parameters } = this
    const isOpen = opening && epoch >= opening.epoch && epoch <= opening.epoch + parameters.leaderless_max
    if (!isOpen) return null
    if (!opening.opened.has(epoch)) {
      const isMarked = epoch === opening.epoch
      const beaconOfEpoch = isMarked ? opening.beacon : leaderlessBeacon(opening.beacon, epoch)
      const groundOfEpoch = isMarked ? opening.ground : ground(opening.size, opening.root, beaconOfEpoch)
      const tasks = new Map(opening.plans.map((plan) => this.#derive(plan, epoch, beaconOfEpoch)))
      opening.opened.set(epoch, { ground: groundOfEpoch, tasks })
    }
    return opening.opened.get(epoch)
  }

  #redraw (beaconOfEpoch) {
    const { marks, parameters } = this
    const offers = {}
    for (const [account, { since, offers: devices }] of this.accounts) {
      const fresh = [...devices].filter(([, { renewed }]) => marks - renewed <= parameters.profile_window)
      const isEligible = fresh.length && marks - since >= Math.min(parameters.minimum_age, marks)
      if (isEligible) offers[account] = fresh.map(([device, { memory, disk }]) => ({ device, memory_mib: memory, disk_mib: disk }))
    }
    const bases = {}
    for (const { base, adapters } of this.genesis.models) {
      const bytes = base.size + sum(adapters.map(({ file, configuration }) => file.size + (configuration?.size ?? 0)))
      bases[hex(base.sha256)] = Math.max(bases[hex(base.sha256)] ?? 0, bytes)
    }
    const attested = parameters.attested ? new Set() : null
    this.pools = redrawPools({ pools: this.pools, bases, offers, beacon: beaconOfEpoch, marks, parameters, attested })
  }

  // What of the tasks is the same in all epochs that stand on this mark: subject, K, depth, candidates, who is set back.
  #plans () {
    const { parameters, marks } = this
    const due = dueSubjects([...this.subjects.keys()].sort(), this.turns, parameters, 0)
    const left = parameters.questions_max - due.length * parameters.quick_depth
    if (left > 0 && parameters.comprehensive_depth > parameters.quick_depth) throw new Refused('depths need a board, which this ledger has not')
    const deeper = depths([], due, left, parameters)
    const isAlive = (account) => this.accounts.get(account).seen >= marks
    const setBack = new Set([...this.missed].filter(([, at]) => marks - at < parameters.profile_window).map(([account]) => account))
    return due.map((subject) => {
      const { model } = this.subjects.get(subject)
      const holders = this.pools[hex(model.base.sha256)].filter(Boolean).map(({ account }) => account)
      const wanted = this.turns.get(subject)?.quorum ?? parameters.quorum
      return { subject, depth: deeper.get(subject) ?? parameters.quick_depth, candidates: holders.filter(isAlive), setBack, wanted }
    })
  }

  #derive ({ subject, depth, candidates, setBack, wanted }, epoch, beaconOfEpoch) {
    const { parameters } = this
    const { model, benchmark } = this.subjects.get(subject)
    const id = taskId({ model: modelId(model), benchmark: benchmarkId(benchmark), epoch, depth, purpose: 0, looks_at: null })
    const none = { purpose: 0, excluded: new Set(), behind: new Set(), persons: {}, oneUnattested: parameters.attested }
    const order = ranking({ ...none, candidates, beacon: beaconOfEpoch, model: modelId(model), setBack })
    const { quorum, assigned } = quorumOf(order.length, wanted, parameters.quorum)
    const { content, questions } = benchmark.dataset
    const task = {
      subject,
      ranks: assigned ? order.slice(0, assigned + 2) : [],
      assigned,
      quorum,
      questions: questionOrder(beaconOfEpoch, content, questions, depth),
      tolerance: this.#tolerance(model.quantisation),
      outcomeTolerance: benchmark.tolerance
    }
    return [hex(id), task]
  }

  #tolerance (quantisation) {
    if (FLOATS.has(quantisation)) return this.parameters.tolerance_float
    return quantisation === 'BF16' ? this.parameters.tolerance_bfloat : this.parameters.tolerance_quantised
  }

  #close (epoch) {
    const { tasks } = this.#epoch(epoch)
    const said = this.statements.filter((statement) => statement.epoch === epoch)
    const verdicts = [...tasks].map(([id, task]) => {
      const found = verdict({ ...task, ranks: task.ranks.length }, this.#statementsOn(id, task, said), this.parameters.dispersion)
      const state = this.#finalState(task, found.event, said, id)
      this.#turn(task.subject, state, epoch === this.opening.epoch)
      const accounts = (list) => list.map(({ rank }) => task.ranks[rank])
      return { task: id, state, total: found.total, questions: task.questions.length, counted: accounts(found.counted), agreeing: accounts(found.agreeing) }
    })
    if (epoch === this.opening.epoch) this.#noteMissed(said)
    return { verdicts, salts: epoch === this.opening.epoch ? this.#salts(said, verdicts) : [] }
  }

  #statementsOn (id, task, said) {
    return task.ranks.map((account, rank) => {
      const own = said.filter((statement) => statement.account === account)
      const place = (body) => body.tasks.findIndex((one) => hex(one.task) === id)
      const commitments = own.filter(({ kind, body }) => kind === 'commitment' && body.tasks.some((one) => hex(one) === id))
      const results = own.filter(({ kind, body }) => kind === 'result' && place(body) >= 0)
      return {
        rank,
        commitments: commitments.map(({ id: commitment, body }) => ({ id: commitment, digest: hex(body.digest) })),
        results: results.map(({ id: result, body }) => ({
          id: result,
          commitment: hex(body.commitment),
          digest: hex(this.#digest(account, body)),
          result: body.tasks[place(body)],
          saw: (body.saw[place(body)] ?? []).map(hex)
        }))
      }
    })
  }

  #digest (account, body) {
    return commitmentDigest(this.network, Buffer.from(account, 'hex'), body)
  }

  #finalState (task, event, said, id) {
    const opened = transitions.get(null).get(task.assigned ? 'OPENED' : 'OPENED_SHORT')
    if (opened === 'WAITING') return opened
    const isRunning = this.#statementsOn(id, task, said).some(({ commitments }) => commitments.length === 1)
    const state = isRunning ? transitions.get(opened).get('COMMITTED') : opened
    return transitions.get(state).get(event)
  }

  #turn (subject, state, isMarked) {
    const { marks, parameters } = this
    const turn = { asked: -1, dueAgain: false, quorum: undefined, disputes: 0, failures: 0, ...this.turns.get(subject) }
    const settled = { asked: marks, dueAgain: false, quorum: undefined, disputes: 0, failures: 0 }
    const disputes = (turn.disputes + 1) % 3
    const isSpent = isMarked && turn.disputes > 0 // an open dispute has three tasks to be settled in
    const next = {
      DONE: () => settled,
      FAILED: () => ({ ...settled, failures: turn.failures + 1 }),
      DISPUTED: () => (disputes ? { ...settled, dueAgain: true, disputes, quorum: parameters.quorum + disputes } : settled),
      WAITING: () => ({ ...turn, dueAgain: true }),
      EXPIRED: () => {
        if (isSpent && !disputes) return settled
        return { ...turn, asked: marks, dueAgain: true, disputes: isSpent ? disputes : turn.disputes }
      }
    }
    this.turns.set(subject, next[state]())
    if (this.turns.get(subject).failures >= 3) throw new Refused('dormant models are more than this ledger can read')
  }

  // Results that open a commitment of their author.
  #openings (said) {
    const commitments = said.filter(({ kind }) => kind === 'commitment')
    const opened = (result) => commitments.find(({ account, id, body }) => {
      return account === result.account && id === hex(result.body.commitment) && body.digest.equals(this.#digest(account, result.body))
    })
    return said.filter(({ kind }) => kind === 'result').map((result) => ({ result, commitment: opened(result) })).filter(({ commitment }) => commitment)
  }

  #salts (said, verdicts) {
    const counted = new Set(verdicts.flatMap((verdict) => verdict.counted))
    const openings = this.#openings(said)
    return [...counted].flatMap((account) => {
      const own = openings.filter(({ result }) => result.account === account)
      const opened = new Set(own.map(({ commitment }) => commitment.id))
      const isWhole = said.every((one) => one.kind !== 'commitment' || one.account !== account || opened.has(one.id))
      const salts = new Set(own.map(({ result }) => hex(result.body.salt)))
      return isWhole && salts.size === 1 ? [{ account: Buffer.from(account, 'hex'), salt: Buffer.from([...salts][0], 'hex') }] : []
    })
  }

  #noteMissed (said) {
    const opened = new Set(this.#openings(said).map(({ commitment }) => commitment))
    for (const statement of said) {
      if (statement.kind === 'commitment' && !opened.has(statement)) this.missed.set(statement.account, this.marks)
    }
  }
}
