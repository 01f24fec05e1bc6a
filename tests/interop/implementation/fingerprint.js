// Section 11: tails, encoded fingerprints, and which of them agree.

import { bigEndian32, drawBelow, sha256, stream } from './digests.js'

const BYTES = 3
const valuesEach = (questions) => (questions < 20 ? 16 : 6)
const singleLimit = (tolerance, questions) => (questions < 20 ? 3 : 4) * tolerance + 28 // half per mille

export function fingerprintSize (questions) {
  return questions * valuesEach(questions) * BYTES
}

export function fingerprintSeed (network, beacon, model, content, question) {
  return sha256('peerboard/fingerprint/1', Buffer.of(0), network, beacon, model, content, bigEndian32(question))
}

// Lists of a token and of the two that are looked up after it.
export function tailOf (seed, eligible, questions) {
  const numbers = stream(seed)
  const drawn = () => eligible[drawBelow(eligible.length, numbers)]
  return Array.from({ length: valuesEach(questions) / 2 }, () => [drawn(), drawn(), drawn()])
}

// Three bytes each of lists of natural log-probabilities; null where one is not finite, missing or too many.
export function encodeFingerprint (questions) {
  const each = valuesEach(questions.length)
  if (questions.some((values) => values.length !== each || !values.every(Number.isFinite))) return null
  const bytes = Buffer.alloc(fingerprintSize(questions.length))
  questions.flat().forEach((value, place) => bytes.writeUIntBE(clamped(halfToEven(-256 * value)), place * BYTES, BYTES))
  return bytes
}

export function valuesOf (fingerprint) {
  return Array.from({ length: fingerprint.length / BYTES }, (_, place) => fingerprint.readUIntBE(place * BYTES, BYTES))
}

export function spread (values) {
  const middle = values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)]
  return sum(values.map((value) => Math.abs(value - middle)))
}

// The distance of each question.
export function distances (one, other, questions) {
  const each = valuesEach(questions)
  const found = []
  for (let place = 0; place < one.length; place += each) {
    found.push(sum(one.slice(place, place + each).map((value, i) => Math.abs(value - other[place + i]))))
  }
  return found
}

export function agree (one, other, questions, tolerance) {
  const least = Math.min(spread(one), spread(other))
  if (questions === 0 || least < 64 * one.length) return false
  const apart = distances(one, other, questions)
  const isNear = (distance) => 2000 * questions * distance <= singleLimit(tolerance, questions) * least
  return 1000 * sum(apart) <= tolerance * least && apart.every(isNear)
}

// The places of the largest set of vectors that agree pairwise.
export function largestAgreeing (vectors, questions, tolerance) {
  const agreeing = vectors.map((one) => vectors.map((other) => agree(one, other, questions, tolerance)))
  const apart = (one, other) => sum(distances(vectors[one], vectors[other], questions))
  const total = (places) => sum(places.flatMap((one, at) => places.slice(at + 1).map((other) => apart(one, other))))
  let best = { places: [], total: 0 }
  const extend = (places, from) => {
    // Sets come in lexicographic order among those of one length, so that the first of equals stays.
    const found = { places, total: total(places) }
    const longer = places.length - best.places.length
    if (longer > 0 || (longer === 0 && found.total < best.total)) best = found
    for (let next = from; next < vectors.length; next++) {
      if ([...places, next].every((place) => agreeing[place][next])) extend([...places, next], next + 1)
    }
  }
  extend([], 0)
  return best.places
}

export function sum (numbers) {
  return numbers.reduce((total, number) => total + number, 0)
}

function halfToEven (value) {
  const below = Math.floor(value)
  const rest = value - below
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below
}

function clamped (value) {
  return Math.min(2 ** 24 - 1, Math.max(0, value))
}
