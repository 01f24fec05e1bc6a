// Section 11: tails, encoded fingerprints, and which of them agree.

import { bigEndian32, drawBelow, sha256, stream } from './digests.js'

const VALUES = 16
const BYTES = 3
const TAIL = 17

export function fingerprintSeed (network, beacon, model, content, question) {
  return sha256('peerboard/fingerprint/1', Buffer.of(0), network, beacon, model, content, bigEndian32(question))
}

export function tailOf (seed, eligible) {
  const numbers = stream(seed)
  return Array.from({ length: TAIL }, () => eligible[drawBelow(eligible.length, numbers)])
}

// 48 bytes a question of lists of 16 natural log-probabilities; null where one is not finite or missing.
export function encodeFingerprint (questions) {
  if (questions.some((values) => values.length !== VALUES || !values.every(Number.isFinite))) return null
  const bytes = Buffer.alloc(questions.length * VALUES * BYTES)
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
export function distances (one, other) {
  const found = []
  for (let place = 0; place < one.length; place += VALUES) {
    found.push(sum(one.slice(place, place + VALUES).map((value, i) => Math.abs(value - other[place + i]))))
  }
  return found
}

export function agree (one, other, tolerance) {
  const questions = one.length / VALUES
  const least = Math.min(spread(one), spread(other))
  if (questions === 0 || least < 64 * VALUES * questions) return false
  const apart = distances(one, other)
  return 1000 * sum(apart) <= tolerance * least && apart.every((d) => 2000 * questions * d <= 3 * tolerance * least)
}

// The places of the largest set of vectors that agree pairwise.
export function largestAgreeing (vectors, tolerance) {
  const agreeing = vectors.map((one) => vectors.map((other) => agree(one, other, tolerance)))
  const total = (places) => sum(places.flatMap((one, at) => places.slice(at + 1).map((other) => sum(distances(vectors[one], vectors[other])))))
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
