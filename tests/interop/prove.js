// Runs the conformance vectors (protocol/vectors/) through this implementation.
//
//     node prove.js [folder of vectors]
//
// Prints one JSON line a kind, {"file", "kind", "passed", "failed": [{"name", "found", "expected"}]}, and exits with 1 if
// anything failed or is of a kind that `answers.js` does not know and does not name as left out.

import { readdirSync, readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { answers, leftOut } from './answers.js'

const folder = process.argv[2] ?? new URL('../../protocol/vectors', import.meta.url).pathname
let failures = 0
for (const file of readdirSync(folder).filter((name) => name.endsWith('.json')).sort()) {
  const vectors = readVectors(`${folder}/${file}`)
  for (const kind of new Set(vectors.map((vector) => vector.kind))) {
    const answer = file === 'envelopes.json' ? answers.envelope : answers[kind]
    if (!answer && leftOut.includes(kind)) continue
    const tried = vectors.filter((vector) => vector.kind === kind).map((vector) => attempt(answer, vector))
    const failed = tried.filter(({ passed }) => !passed).map(({ name, found, expected }) => ({ name, found, expected }))
    failures += failed.length
    console.log(text({ file, kind, passed: tried.length - failed.length, failed }))
  }
}
process.exitCode = failures ? 1 : 0

function attempt (answer, vector) {
  const { name } = vector
  try {
    const { found, expected } = answer(vector)
    return { name, passed: isDeepStrictEqual(plain(found), plain(expected)), found, expected }
  } catch (error) {
    return { name, passed: false, found: `${error.stack}`, expected: vector.expected }
  }
}

// Numbers beyond 2^53 are BigInts.
function readVectors (file) {
  const exact = (_, value, { source }) => (typeof value === 'number' && !Number.isSafeInteger(value) ? BigInt(source) : value)
  return JSON.parse(readFileSync(file, 'utf8'), exact)
}

// Byte strings are compared as hex.
function plain (value) {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined).map(([key, item]) => [key, plain(item)]))
}

function text (value) {
  return JSON.stringify(plain(value), (_, item) => (typeof item === 'bigint' ? `${item}` : item))
}
