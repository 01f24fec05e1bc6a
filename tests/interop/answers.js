// One function for each kind of conformance vector: from the vector to what this implementation finds, and what should
// be found.

import { encode } from './implementation/cbor.js'
import * as counting from './implementation/counting.js'
import * as digests from './implementation/digests.js'
import { mainParameters, transitions } from './implementation/document.js'
import { openEnvelope } from './implementation/envelopes.js'
import * as fingerprint from './implementation/fingerprint.js'
import * as log from './implementation/log.js'
import { decodeStruct, openText } from './implementation/messages.js'
import { redrawPools } from './implementation/pools.js'
import { answer, ask, ItemSet, proceed, readMessage } from './implementation/reconciliation.js'
import { Refused } from './implementation/refused.js'
import { quorumOf, ranking } from './implementation/runners.js'
import * as scores from './implementation/scores.js'
import { depths, dueSubjects, questionOrder } from './implementation/tasks.js'

const bytes = (hex) => Buffer.from(hex, 'hex')
const all = (hexes) => hexes.map(bytes)
const parametersOf = (input) => ({ ...mainParameters, ...input.parameters })

// What needs a whole ledger (sections 7, 9, 14, 15, 17, 18 and 19 together), and what convicts a log key.
export const leftOut = ['log', 'evidence', 'sighting', 'cosigned', 'snapshot-header', 'snapshot']

// A function of the vector's input, whose value must be what is expected.
const of = (compute) => ({ input, expected }) => ({ found: compute(input), expected })

// The same, null where the input is refused.
const orNull = (compute) => of((input) => {
  try {
    return compute(input)
  } catch (error) {
    if (error instanceof Refused) return null
    throw error
  }
})

export const answers = {
  envelope ({ network, envelope, kind, id, valid, rejection }) {
    try {
      const found = openEnvelope(bytes(envelope), bytes(network))
      return { found: { kind: found.kind, id: found.id, rejection: null }, expected: { kind, id, rejection: valid ? null : rejection } }
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      return { found: error.reason, expected: rejection }
    }
  },

  digest: of(({ tag, parts }) => {
    const values = parts.map(function value (part) {
      return Array.isArray(part) ? part.map(value) : part?.hex === undefined ? part : bytes(part.hex)
    })
    return { cbor: encode([tag, ...values]), digest: digests.H(tag, ...values) }
  }),
  'model-id': of(({ model }) => digests.modelId(decodeStruct('Model', bytes(model)))),
  'benchmark-id': of(({ benchmark }) => digests.benchmarkId(decodeStruct('Benchmark', bytes(benchmark)))),
  'network-id': of(({ genesis }) => decodeStruct('Genesis', bytes(genesis)) && digests.sha256(bytes(genesis))),
  'text-digest': of(({ document }) => digests.textDigest(decodeStruct('TextDocument', bytes(document)))),
  text: of(({ document, digest }) => {
    try {
      return openText(bytes(document), bytes(digest), digests.textDigest) && null
    } catch (error) {
      if (error instanceof Refused) return error.reason
      throw error
    }
  }),
  'prompt-digest': of(({ tokens }) => digests.promptDigest(tokens)),
  'transcript-digest': of(({ base, adapters, dataset, transcript }) => digests.transcriptDigests(
    bytes(base), adapters.map(({ sha256, scale }) => [bytes(sha256), scale]), bytes(dataset), decodeStruct('Transcript', bytes(transcript))
  )),
  'commitment-digest': of(({ network, account, result }) => {
    return digests.commitmentDigest(bytes(network), bytes(account), decodeStruct('Result', bytes(result)))
  }),
  'task-id': of(({ model, benchmark, looks_at: looksAt, ...rest }) => digests.taskId({
    model: bytes(model), benchmark: bytes(benchmark), looks_at: looksAt === null ? null : bytes(looksAt), ...rest
  })),
  'hash-chain': of(({ seed, length }) => {
    const { preimages, anchor } = digests.hashChain(bytes(seed), length)
    return [...preimages, anchor]
  }),
  beacon: of(({ preimage, revealed }) => {
    const salts = revealed.map(({ epoch, account, salt }) => ({ epoch, account: bytes(account), salt: bytes(salt) }))
    return digests.beacon(bytes(preimage), salts)
  }),
  'leaderless-beacon': of(({ marked, epoch }) => digests.leaderlessBeacon(bytes(marked), epoch)),
  ground: of(({ size, root, beacon }) => digests.ground(size, bytes(root), bytes(beacon))),
  'work-stamp': of(({ network, device, epoch, stamp, seconds }) => {
    return digests.isWorkStamp(bytes(network), bytes(device), epoch, stamp === null ? null : bytes(stamp), seconds)
  }),

  'question-order': of(({ beacon, content, questions, depth }) => questionOrder(bytes(beacon), bytes(content), questions, depth)),
  'due-subjects': of((input) => {
    const subjects = input.models.flatMap((model) => input.benchmarks.map((benchmark) => `${model} ${benchmark}`))
    const turns = new Map(input.turns.map(({ subject, asked, due_again: dueAgain }) => [subject, { asked, dueAgain }]))
    return dueSubjects(subjects, turns, parametersOf(input), input.examined)
  }),
  depths: of((input) => Object.fromEntries(depths(input.undecided, input.due, input.left, parametersOf(input)))),
  pools: of((input) => redrawPools({
    ...input, beacon: bytes(input.beacon), parameters: parametersOf(input), attested: input.attested && new Set(input.attested)
  })),
  ranking: of((input) => ranking({
    ...input,
    beacon: bytes(input.beacon),
    model: bytes(input.model),
    excluded: new Set(input.excluded),
    setBack: new Set(input.set_back),
    behind: new Set(input.behind),
    oneUnattested: input.one_unattested
  })),
  quorum: of(({ available, wanted, quorum }) => quorumOf(available, wanted, quorum)),

  tail: of(({ network, beacon, model, dataset, question, questions, eligible }) => {
    const seed = fingerprint.fingerprintSeed(...all([network, beacon, model, dataset]), question)
    return { seed, tail: fingerprint.tailOf(seed, eligible, questions) }
  }),
  encoding: of(({ log_probabilities: values }) => fingerprint.encodeFingerprint(values.map((line) => line.map(readFloat)))),
  agreement: of(({ first, second, questions, tolerance }) => {
    const [one, other] = [first, second].map((hex) => fingerprint.valuesOf(bytes(hex)))
    return {
      spreads: [one, other].map(fingerprint.spread),
      distances: fingerprint.distances(one, other, questions),
      agree: fingerprint.agree(one, other, questions, tolerance)
    }
  }),
  'largest-agreeing': of(({ fingerprints, questions, tolerance }) => {
    return fingerprint.largestAgreeing(fingerprints.map((hex) => fingerprint.valuesOf(bytes(hex))), questions, tolerance)
  }),

  transition: of(({ state, event }) => transitions.get(state)?.get(event) ?? null),
  verdict: of(answerVerdict),

  tree: of(({ entries }) => {
    const leaves = all(entries).map(log.leafOf)
    return { leaves, root: log.rootOf(leaves) }
  }),
  inclusion: of(({ leaf, index, size, proof, root }) => log.isIncluded(bytes(leaf), index, size, all(proof), bytes(root))),
  consistency: of(({ first, second, proof, root, later }) => log.isConsistent(first, second, all(proof), bytes(root), bytes(later))),
  'tile-paths': ({ input: { size, since }, expected }) => {
    const before = new Set(log.tilePaths(since))
    return { found: log.tilePaths(size).filter((path) => !before.has(path)).sort(), expected: expected.toSorted() }
  },
  'tile-path': of(({ path }) => log.isTilePath(path)),
  bundle: of(({ entries }) => log.bundleOf(all(entries))),
  checkpoint: orNull(({ note, log_key: key, witnesses }) => log.readCheckpoint(note, key, witnesses)),
  fork: of(({ first, second, log_key: key, prefix_root: root, proof }) => {
    return log.isFork(first, second, key, root === null ? null : bytes(root), all(proof))
  }),
  receipt: of(({ receipt, network, log_key: key }) => {
    try {
      const { envelope, bound, size } = log.readReceipt(bytes(receipt), bytes(network), bytes(key))
      return { envelope, bound, size }
    } catch (error) {
      if (error instanceof Refused) return { rejection: error.reason }
      throw error
    }
  }),
  omission: of(({ receipt, network, log_key: key, entries, size, root, proof }) => {
    const promise = log.readReceipt(bytes(receipt), bytes(network), bytes(key))
    const idOf = (entry) => Buffer.concat([entry, Buffer.alloc(32)]).subarray(0, 32)
    return log.isOmission(promise, all(entries), idOf, { size, root: bytes(root) }, all(proof))
  }),

  talk: answerTalk,
  answer: orNull(({ answering, message }) => answer(itemsOf(answering), bytes(message), 4096)),

  estimate: of(({ values, population }) => scores.estimate(values, population)),
  'rank-ranges': of(({ intervals }) => scores.rankRanges(intervals)),
  answers: of(({ works, superseded }) => Object.fromEntries(scores.answers(works, superseded))),
  conclusion: of(({ questions, findings }) => {
    const said = findings.map((finding) => (finding ? decodeStruct('Finding', bytes(finding)) : {}))
    const found = scores.concluded(said, questions)
    return found && { conclusion: found[0], flagged: found[1] }
  }),
  contradiction: of(({ first, second, tolerance }) => scores.contradicts(first, second, tolerance))
}

function readFloat (text) {
  return { nan: NaN, inf: Infinity, '-inf': -Infinity }[text] ?? Number(text)
}

function answerVerdict ({ task: { outcome_tolerance: outcomeTolerance, ...rest }, dispersion, results, saw, statements }) {
  const task = { ...rest, outcomeTolerance }
  const read = results.map((result) => ({ transcript: Buffer.alloc(32), ...withBytes(result, ['questions', 'near_ties', 'fingerprint']) }))
  const said = statements.map((statement) => ({
    ...statement,
    results: statement.results.map((one) => ({ ...one, result: read[one.result], saw: saw[one.saw] }))
  }))
  const found = counting.verdict(task, said, dispersion)
  const ranks = (list) => list.map(({ rank }) => rank)
  const opened = transitions.get(null).get(task.assigned ? 'OPENED' : 'OPENED_SHORT')
  const committed = statements.some(({ commitments }) => commitments.length === 1) ? transitions.get(opened).get('COMMITTED') : opened
  return {
    event: found.event,
    state: transitions.get(committed)?.get(found.event) ?? committed,
    valid: ranks(found.valid),
    counted: ranks(found.counted),
    agreeing: ranks(found.agreeing),
    earning: ranks(found.earning),
    medians: found.medians,
    total: found.total,
    failure: found.failure,
    firm_questions: found.firm,
    survives_any_loss: counting.isFirm(task, said, dispersion)
  }
}

function withBytes (result, names) {
  return Object.fromEntries(Object.entries(result).map(([name, value]) => [name, names.includes(name) ? bytes(value) : value]))
}

// Both sides as this implementation plays them, and its answers to what the other implementation asked.
function answerTalk ({ input: { asking, answering, frame_limit: limit, refused }, expected }) {
  const [asks, answers] = [itemsOf(asking), itemsOf(answering)]
  const [have, need] = [new Set(), new Set()]
  for (let message = ask(asks); message !== null;) {
    message = proceed(asks, answer(answers, message, limit), limit, have, need)
  }
  const recorded = all(expected.messages)
  const isRead = recorded.every((message) => readMessage(message) !== null)
  const isAnswered = recorded.filter((_, turn) => turn % 2 === 0).every((message) => answer(answers, message, limit).length <= limit)
  const left = [...need].filter((id) => !refused.includes(id))
  return {
    found: { have: have.size, need: left.length, isRead, isAnswered },
    expected: { have: expected.have, need: expected.need, isRead: true, isAnswered: true }
  }
}

function itemsOf (lines) {
  return new ItemSet(lines.map((line) => ({ epoch: BigInt(line.split(' ')[0]), id: bytes(line.split(' ')[1]) })))
}
