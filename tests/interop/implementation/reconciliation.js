// Section 21: range-based set reconciliation (negentropy, version 1), both sides, without I/O.

import { sha256 } from './digests.js'
import { Refused } from './refused.js'

const VERSION = 0x61
const [SKIP, FINGERPRINT, IDS] = [0, 1, 2]
const INFINITY = 2n ** 64n
const ID = 32
const PARTS = 16

// A set of items {epoch: BigInt, id: Buffer}, in order.
export class ItemSet {
  constructor (items) {
    this.items = items.toSorted(compareItems)
  }

  // The places of the items from one bound up to another.
  between (lower, upper) {
    return [this.#placeOf(lower), this.#placeOf(upper)]
  }

  fingerprint (from, to) {
    let sum = 0n
    for (const { id } of this.items.slice(from, to)) sum += BigInt('0x' + Buffer.from(id).reverse().toString('hex'))
    const bytes = Buffer.from((sum % (1n << 256n)).toString(16).padStart(64, '0'), 'hex').reverse()
    return sha256(bytes, writeNumber(to - from)).subarray(0, 16)
  }

  #placeOf (bound) {
    let [low, high] = [0, this.items.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (compareItems(this.items[middle], bound) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

// The first message of the side that asks.
export function ask (set) {
  const writer = new Writer(Infinity)
  describe(writer, set, 0, set.items.length, END)
  return writer.bytes()
}

// The answer to a message, from the set alone. Refuses what is no message.
export function answer (set, message, limit) {
  const ranges = readMessage(message)
  return ranges === null ? Buffer.of(VERSION) : reply(set, ranges, limit, null)
}

// The asking side's next message to an answer, or null when nothing is left to say. Adds to `have` and `need`, sets of
// ids in hex.
export function proceed (set, message, limit, have, need) {
  const ranges = readMessage(message)
  if (ranges === null) throw new Refused('the other side speaks another version')
  const next = reply(set, ranges, limit, { have, need })
  return next.length === 1 ? null : next
}

function reply (set, ranges, limit, asking) {
  const writer = new Writer(limit)
  let lower = START
  for (const { bound, mode, payload } of ranges) {
    const [from, to] = set.between(lower, bound)
    if (writer.isFull()) {
      writer.add(END, FINGERPRINT, set.fingerprint(from, set.items.length))
      break
    }
    if (mode === SKIP) writer.add(bound, SKIP)
    else if (mode === FINGERPRINT && set.fingerprint(from, to).equals(payload)) writer.add(bound, SKIP)
    else if (mode === FINGERPRINT) describe(writer, set, from, to, bound)
    else if (asking) note(set, from, to, payload, asking, writer, bound)
    else answerList(writer, set, from, to, payload, bound)
    lower = bound
  }
  return writer.bytes()
}

// The ids of a range, or fingerprints of its parts where there are many.
function describe (writer, set, from, to, bound) {
  const count = to - from
  if (count < 2 * PARTS) {
    writer.add(bound, IDS, idList(set, from, to))
    return
  }
  for (let part = 0; part < PARTS; part++) {
    const [start, end] = [from + Math.floor((part * count) / PARTS), from + Math.floor(((part + 1) * count) / PARTS)]
    const upper = part === PARTS - 1 ? bound : boundBetween(set.items[end - 1], set.items[end])
    writer.add(upper, FINGERPRINT, set.fingerprint(start, end))
  }
}

function answerList (writer, set, from, to, theirs, bound) {
  const ours = set.items.slice(from, to).map(({ id }) => id.toString('hex'))
  const isSame = ours.length === theirs.size && ours.every((id) => theirs.has(id))
  if (isSame) {
    writer.add(bound, SKIP)
    return
  }
  // What does not fit ends at an item's bound; the rest is the last fingerprint's.
  const fitting = Math.min(to, from + writer.roomForIds())
  const upper = fitting === to ? bound : boundBetween(set.items[fitting - 1] ?? START, set.items[fitting])
  writer.add(upper, IDS, idList(set, from, fitting))
  if (fitting < to) {
    writer.fill()
    writer.add(END, FINGERPRINT, set.fingerprint(fitting, set.items.length))
  }
}

function note (set, from, to, theirs, { have, need }, writer, bound) {
  const ours = new Set(set.items.slice(from, to).map(({ id }) => id.toString('hex')))
  for (const id of ours) if (!theirs.has(id)) have.add(id)
  for (const id of theirs) if (!ours.has(id)) need.add(id)
  writer.add(bound, SKIP)
}

function idList (set, from, to) {
  return Buffer.concat([writeNumber(to - from), ...set.items.slice(from, to).map(({ id }) => id)])
}

// The shortest bound between two neighbours, that the second is not below.
function boundBetween (before, after) {
  if (before.epoch !== after.epoch) return { epoch: after.epoch, id: Buffer.alloc(0) }
  const shared = after.id.findIndex((byte, place) => byte !== before.id[place])
  return { epoch: after.epoch, id: after.id.subarray(0, shared + 1) }
}

const START = { epoch: 0n, id: Buffer.alloc(0) }
const END = { epoch: INFINITY, id: Buffer.alloc(0) }

function compareItems (one, other) {
  return one.epoch === other.epoch ? Buffer.compare(one.id, other.id) : one.epoch < other.epoch ? -1 : 1
}

class Writer {
  #parts = [Buffer.of(VERSION)]
  #size = 1
  #time = 0n
  #skipped = null

  constructor (limit) {
    this.limit = limit
    this.filled = false
  }

  add (bound, mode, payload = Buffer.alloc(0)) {
    if (this.filled && bound !== END) return
    if (mode === SKIP) {
      this.#skipped = bound
      return
    }
    if (this.#skipped) this.#write(this.#skipped, SKIP, Buffer.alloc(0))
    this.#skipped = null
    this.#write(bound, mode, payload)
  }

  fill () {
    this.filled = true
  }

  isFull () {
    return this.filled || this.roomForIds() < 2
  }

  // How many ids fit, beside a bound before them and a last fingerprint behind.
  roomForIds () {
    const kept = 3 * (ID + 12) + 18
    return this.limit === Infinity ? Infinity : Math.floor((this.limit - this.#size - kept) / ID)
  }

  bytes () {
    return Buffer.concat(this.#parts)
  }

  #write (bound, mode, payload) {
    const time = bound.epoch === INFINITY ? 0n : 1n + bound.epoch - this.#time
    if (bound.epoch !== INFINITY) this.#time = bound.epoch
    const parts = [writeNumber(time), writeNumber(bound.id.length), bound.id, writeNumber(mode), payload]
    this.#parts.push(...parts)
    this.#size += parts.reduce((total, part) => total + part.length, 0)
  }
}

// The ranges of a message, null if it is of another version.
export function readMessage (message) {
  const reader = { bytes: message, place: 1 }
  const version = message[0]
  if (version === undefined || version >> 4 !== 6) throw new Refused('not a message of this protocol')
  if (version !== VERSION) return null
  const ranges = []
  let before = START
  while (reader.place < message.length) {
    const bound = readBound(reader, before)
    if (before === END || (bound !== END && compareItems(before, bound) > 0)) throw new Refused('bounds must ascend')
    const mode = Number(readNumber(reader))
    ranges.push({ bound, mode, payload: readPayload(reader, mode) })
    before = bound
  }
  return ranges
}

function readBound (reader, before) {
  const difference = readNumber(reader)
  const id = take(reader, readNumber(reader))
  if (id.length > ID) throw new Refused('a bound has at most 32 bytes of an id')
  if (difference === 0n) return END
  return { epoch: before.epoch + difference - 1n, id }
}

function readPayload (reader, mode) {
  if (mode === SKIP) return null
  if (mode === FINGERPRINT) return take(reader, 16n)
  if (mode !== IDS) throw new Refused('an unknown mode')
  const count = readNumber(reader)
  const ids = new Set()
  for (let left = count; left > 0n; left--) ids.add(take(reader, BigInt(ID)).toString('hex'))
  if (BigInt(ids.size) !== count) throw new Refused('an id twice')
  return ids
}

function readNumber (reader) {
  let number = 0n
  for (let first = true; ; first = false) {
    const [byte] = take(reader, 1n)
    if (first && byte === 0x80) throw new Refused('a number is not as short as possible')
    number = (number << 7n) | BigInt(byte & 0x7f)
    if (number >= INFINITY) throw new Refused('a number is too large')
    if (byte < 0x80) return number
  }
}

function take (reader, length) {
  if (length > reader.bytes.length - reader.place) throw new Refused('the message is cut short')
  const start = reader.place
  reader.place += Number(length)
  return reader.bytes.subarray(start, reader.place)
}

function writeNumber (number) {
  const digits = [Number(BigInt(number) & 0x7fn)]
  for (let rest = BigInt(number) >> 7n; rest > 0n; rest >>= 7n) digits.unshift(Number(rest & 0x7fn) | 0x80)
  return Buffer.from(digits)
}
