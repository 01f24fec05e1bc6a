// Section 13: from what was said about a task to its verdict.

import { questionsDigest } from './digests.js'
import { failuresOfModels } from './document.js'
import { agree, fingerprintSize, largestAgreeing, sum, valuesOf } from './fingerprint.js'

const PREFIX = 16

// `task`: {questions, quorum, assigned, ranks, tolerance, outcomeTolerance}. A statement is {rank, commitments: [{id,
// digest}], results: [{id, commitment, digest, result, saw}]}, of one account; ids are hex, byte strings Buffers.
export function verdict (task, statements, dispersion) {
  const valid = statements.map((statement) => validOf(task, statement)).filter(Boolean).sort((a, b) => a.rank - b.rank)
  const counted = valid.filter((one) => one.rank < task.assigned && isWitnessed(one, valid, task.quorum))
  const short = { valid, counted, agreeing: [], earning: [], medians: [], total: null, failure: null, firm: [] }
  if (counted.length < task.quorum) return { ...short, event: 'CLOSED_SHORT' }
  for (const failure of failuresOfModels) {
    const naming = counted.filter((one) => one.result.failure === failure)
    if (2 * naming.length > counted.length) return { ...short, failure, event: 'CLOSED_FAILED' }
  }
  const agreeing = agreeingOf(task, counted)
  const firm = firmQuestions(task, agreeing)
  const isMost = agreeing.length >= task.quorum && 2 * agreeing.length > counted.length
  const sums = agreeing.map((one) => sum(firm.map((question) => one.result.outcomes[question])))
  if (!isMost || Math.max(...sums) - Math.min(...sums) > dispersion * firm.length) {
    return { ...short, agreeing, event: 'CLOSED_SPLIT' }
  }
  const medians = mediansOf(task, agreeing)
  const total = lowerMedian(agreeing.map((one) => sum(one.result.outcomes)))
  const earning = valid.filter((one) => agreeing.includes(one) || earns(task, one, valid, agreeing, medians, firm))
  return { ...short, agreeing, earning, medians, total, firm, event: 'CLOSED_DONE' }
}

// Whether the verdict is DONE, and stays so whichever single account's statements are taken away.
export function isFirm (task, statements, dispersion) {
  const isDone = (said) => verdict(task, said, dispersion).event === 'CLOSED_DONE'
  return isDone(statements) && statements.every((lost) => isDone(statements.filter((one) => one !== lost)))
}

// Rule 1: the account's one valid result, or null.
function validOf (task, { rank, commitments, results }) {
  if (rank >= task.ranks || commitments.length !== 1 || results.length !== 1) return null
  const [[commitment], [said]] = [commitments, results]
  const opens = said.commitment === commitment.id && said.digest === commitment.digest
  if (!opens || !isConsistent(task, said.result)) return null
  return { rank, commitment: commitment.id, result: said.result, saw: said.saw }
}

function isConsistent (task, result) {
  const { questions, outcomes, total, margins, near_ties: ties, fingerprint, transcript, stops, findings } = result
  const evaluation = [questions, outcomes, total, margins, ties, fingerprint]
  if (result.failure !== undefined) return [...evaluation, findings].every((part) => part === undefined)
  if ([...evaluation, transcript].some((part) => part === undefined)) return false
  const n = task.questions.length
  const spare = 8 * ties.length - n
  return questions.equals(questionsDigest(task.questions)) &&
    outcomes.length === n && margins.length === n && sum(outcomes) === total &&
    ties.length === Math.ceil(n / 8) && (n === 0 || (ties.at(-1) & ((1 << spare) - 1)) === 0) &&
    fingerprint.length === fingerprintSize(n) &&
    (stops === undefined || (stops.length === n && stops.every((stop) => stop <= 4))) &&
    findings === undefined // of examinations, which are more than this implementation reads
}

// Rule 2: enough others have seen the commitment in time.
function isWitnessed (one, valid, quorum) {
  const seen = one.commitment.slice(0, 2 * PREFIX)
  const witnesses = valid.filter((other) => other !== one && other.saw[one.rank] === seen)
  return witnesses.length >= quorum - 1
}

// Rule 3: by fingerprint, less those whose outcomes are too far away.
function agreeingOf (task, counted) {
  const evaluated = counted.filter((one) => one.result.failure === undefined)
  const vectors = evaluated.map((one) => valuesOf(one.result.fingerprint))
  const set = largestAgreeing(vectors, task.questions.length, task.tolerance).map((place) => evaluated[place])
  const [medians, firm] = [mediansOf(task, set), firmQuestions(task, set)]
  return set.filter((one) => isNear(task, one, medians, firm))
}

function earns (task, one, valid, agreeing, medians, firm) {
  if (one.rank < task.assigned || one.result.failure !== undefined || !isWitnessed(one, valid, task.quorum)) return false
  const values = valuesOf(one.result.fingerprint)
  const agreesWith = (other) => agree(values, valuesOf(other.result.fingerprint), task.questions.length, task.tolerance)
  return agreeing.every(agreesWith) && isNear(task, one, medians, firm)
}

function isNear (task, one, medians, firm) {
  const far = firm.filter((question) => Math.abs(one.result.outcomes[question] - medians[question]) > task.outcomeTolerance)
  return 10 * far.length <= Math.max(10, firm.length)
}

function mediansOf (task, set) {
  return set.length ? task.questions.map((_, place) => lowerMedian(set.map((one) => one.result.outcomes[place]))) : []
}

// The places of the questions that more than half of the set do not call a near tie.
function firmQuestions (task, set) {
  const isTie = (one, place) => Boolean(one.result.near_ties[place >> 3] & (0x80 >> (place & 7)))
  return [...task.questions.keys()].filter((place) => 2 * set.filter((one) => !isTie(one, place)).length > set.length)
}

export function lowerMedian (numbers) {
  return numbers.toSorted((one, other) => one - other)[Math.floor((numbers.length - 1) / 2)]
}
