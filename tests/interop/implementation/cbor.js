// Section 1: deterministic CBOR of integers, byte strings, text, arrays, maps, true, false and null.
//
// Integers are numbers, BigInts beyond 2^53; byte strings are Buffers, maps are Maps. Every head has one form only, so
// that what is decoded here encodes back to the same bytes.

import { Refused } from './refused.js'

const DEEPEST = 16
const REASON = 'not_deterministic_cbor'
const SIMPLE = new Map([[20, false], [21, true], [22, null]])

export function encode (value) {
  if (value === null) return Buffer.of(0xf6)
  if (typeof value === 'boolean') return Buffer.of(value ? 0xf5 : 0xf4)
  if (typeof value === 'number' || typeof value === 'bigint') return value < 0 ? head(1, -1n - BigInt(value)) : head(0, value)
  if (typeof value === 'string') return withHead(3, Buffer.from(value))
  if (value instanceof Uint8Array) return withHead(2, value)
  if (Array.isArray(value)) return Buffer.concat([head(4, value.length), ...value.map(encode)])
  const entries = [...value].map(([key, item]) => [encode(key), encode(item)])
  entries.sort(([one], [other]) => Buffer.compare(one, other))
  return Buffer.concat([head(5, entries.length), ...entries.flat()])
}

export function decode (bytes) {
  const reader = { bytes: Buffer.from(bytes), place: 0 }
  const value = read(reader, 0)
  if (reader.place !== reader.bytes.length) throw new Refused(REASON)
  return value
}

function withHead (major, bytes) {
  return Buffer.concat([head(major, bytes.length), bytes])
}

function head (major, argument) {
  const first = major << 5
  if (argument < 24) return Buffer.of(first | Number(argument))
  const size = [8, 16, 32, 64].findIndex((bits) => BigInt(argument) < 1n << BigInt(bits))
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(argument))
  return Buffer.concat([Buffer.of(first | (24 + size)), bytes.subarray(8 - (1 << size))])
}

function read (reader, depth) {
  const first = take(reader, 1)[0]
  const major = first >> 5
  if (major === 7) {
    if (!SIMPLE.has(first & 31)) throw new Refused(REASON)
    return SIMPLE.get(first & 31)
  }
  const argument = readArgument(reader, first & 31)
  switch (major) {
    case 0: return plain(argument)
    case 1: return plain(-1n - argument)
    case 2: return take(reader, argument)
    case 3: return text(take(reader, argument))
    case 4: return readArray(reader, argument, depth + 1)
    case 5: return readMap(reader, argument, depth + 1)
    default: throw new Refused(REASON) // a tag
  }
}

function readArgument (reader, short) {
  if (short < 24) return BigInt(short)
  if (short > 27) throw new Refused(REASON)
  const bytes = take(reader, 1 << (short - 24))
  const argument = BigInt('0x' + bytes.toString('hex'))
  const least = short === 24 ? 24n : 1n << BigInt(8 << (short - 25))
  if (argument < least) throw new Refused(REASON)
  return argument
}

function readArray (reader, length, depth) {
  expectRoom(reader, length, depth)
  return Array.from({ length: Number(length) }, () => read(reader, depth))
}

function readMap (reader, length, depth) {
  expectRoom(reader, length, depth)
  const found = new Map()
  let before = Buffer.alloc(0)
  for (let left = length; left > 0n; left--) {
    const start = reader.place
    const key = read(reader, depth)
    const bytes = reader.bytes.subarray(start, reader.place)
    if (Buffer.compare(before, bytes) >= 0) throw new Refused(REASON)
    before = bytes
    found.set(key, read(reader, depth))
  }
  return found
}

function expectRoom (reader, length, depth) {
  if (depth > DEEPEST || length > reader.bytes.length - reader.place) throw new Refused(REASON)
}

function take (reader, length) {
  if (length > reader.bytes.length - reader.place) throw new Refused(REASON)
  const start = reader.place
  reader.place += Number(length)
  return reader.bytes.subarray(start, reader.place)
}

function text (bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new Refused(REASON)
  }
}

function plain (integer) {
  const number = Number(integer)
  return Number.isSafeInteger(number) ? number : integer
}
