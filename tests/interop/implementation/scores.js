// Section 16: from answers to scores, intervals and ranks, in exact fractions; section 15: contradictions and conclusions.

const [EXAMINED, NOT_REVEALED] = [0, 1]
const Z = [196n, 100n]
const DIGITS = 10n ** 12n

// Scores in tenths of a percent of outcomes 0 … 1000, of a data set of `population` questions.
export function estimate (values, population) {
  const n = BigInt(values.length)
  const p = [values.reduce((total, value) => total + BigInt(value), 0n), 1000n * n]
  const [low, high] = wilson(p, [n, 1n])
  const rest = BigInt(population) - n
  const [fpLow, fpHigh] = rest === 0n ? [p, p] : wilson(p, [n * (BigInt(population) - 1n), rest])
  return { score: tenths(p), low: tenths(low), high: tenths(high), fp_low: tenths(fpLow), fp_high: tenths(fpHigh) }
}

export function rankRanges (intervals) {
  return intervals.map(([low, high]) => [
    1 + intervals.filter((other) => other[0] > high).length,
    intervals.length - intervals.filter((other) => other[1] < low).length
  ])
}

// The answer to each question of tasks in order of closing, less those that are superseded.
export function answers (works, superseded) {
  const counting = works.filter(({ task }) => !superseded.includes(task))
  return new Map(counting.flatMap(({ questions, medians }) => questions.map((question, place) => [question, medians[place]])))
}

// Whether an examination supersedes the task that it looked at.
export function contradicts (first, second, tolerance) {
  const firmOf = ({ questions, medians, firm }) => new Map(firm.map((place) => [questions[place], medians[place]]))
  const [one, other] = [firmOf(first), firmOf(second)]
  const both = [...one.keys()].filter((question) => other.has(question))
  const apart = both.filter((question) => Math.abs(one.get(question) - other.get(question)) > tolerance)
  return 10 * apart.length > Math.max(10, both.length)
}

// Section 15: what the findings of the agreeing on one account amount to, [conclusion, flagged], or null.
export function concluded (findings, questions) {
  const isMost = (number) => 2 * number > findings.length
  if (isMost(findings.filter(({ sight }) => sight === NOT_REVEALED).length)) return [2, 0]
  const examined = findings.filter(({ sight }) => sight === EXAMINED)
  if (!isMost(examined.length)) return null
  const isFlagged = ({ flagged }, place) => Boolean(flagged[place >> 3] & (0x80 >> (place & 7)))
  const places = Array.from({ length: questions }, (_, place) => place)
  const flagged = places.filter((place) => isMost(examined.filter((one) => isFlagged(one, place)).length)).length
  return [Number(10 * flagged > Math.max(10, questions)), flagged]
}

// Fractions are [numerator, denominator] of BigInts, the denominator positive.
function wilson (p, c) {
  const z2 = multiply(Z, Z)
  const one = [1n, 1n]
  const x = add(z2, multiply(multiply([4n, 1n], c), multiply(p, minus(one, p))))
  const r = [root((x[0] * DIGITS * DIGITS) / x[1]), DIGITS]
  const middle = add(multiply(multiply([2n, 1n], c), p), z2)
  const below = multiply([2n, 1n], add(c, z2))
  const half = multiply(Z, r)
  const low = divide(minus(middle, half), below)
  const high = divide(add(middle, half), below)
  return [greater([0n, 1n], lesser(p, low)), lesser(one, greater(p, high))]
}


function tenths ([numerator, denominator]) {
  return Number((2000n * numerator + denominator) / (2n * denominator))
}

function root (number) {
  if (number < 2n) return number
  let guess = 1n << BigInt((number.toString(2).length + 1) >> 1)
  for (;;) {
    const next = (guess + number / guess) >> 1n
    if (next >= guess) return guess
    guess = next
  }
}

const add = ([a, b], [c, d]) => [a * d + c * b, b * d]
const minus = ([a, b], [c, d]) => [a * d - c * b, b * d]
const multiply = ([a, b], [c, d]) => [a * c, b * d]
const divide = ([a, b], [c, d]) => [a * d, b * c]
const greater = (one, other) => (one[0] * other[1] >= other[0] * one[1] ? one : other)
const lesser = (one, other) => (one[0] * other[1] <= other[0] * one[1] ? one : other)
