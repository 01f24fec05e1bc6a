// Sections 1 and 3: structs in maps of small integers, with the types and limits of the document's tables.

import { decode, encode } from './cbor.js'
import { enums, structs } from './document.js'
import { Refused } from './refused.js'

const checks = new Map()

// The struct of that name in deterministic CBOR, as an object; its absent fields are undefined.
export function decodeStruct (name, bytes) {
  return fromMap(name, decode(bytes))
}

export function encodeStruct (name, value) {
  return encode(toMap(name, value))
}

// A struct's fields from a decoded map. Refuses what does not have its types and limits.
export function fromMap (name, map) {
  if (!(map instanceof Map)) throw new Refused('wrong_schema')
  const fields = structs.get(name)
  const found = {}
  for (const { key, name: fieldName, type, optional } of fields) {
    if (map.has(key)) found[fieldName] = checkOf(type)(map.get(key))
    else if (!optional) throw new Refused('wrong_schema')
  }
  if ([...map.keys()].some((key) => !fields.some((field) => field.key === key))) throw new Refused('wrong_schema')
  if (name === 'Proposal' && [found.parameter, found.benchmark, found.track].filter(Boolean).length !== 1) {
    throw new Refused('wrong_schema')
  }
  return found
}

// A text document of untrusted bytes, which a message names by `digest` (section 4). Refuses any other.
export function openText (bytes, digest, digestOf) {
  if (bytes.length > 16_384) throw new Refused('too_large')
  const document = decodeStruct('TextDocument', bytes)
  const names = document.passages.map(({ name }) => name)
  if (names.some((name, place) => place > 0 && name <= names[place - 1])) throw new Refused('wrong_schema')
  if (!digestOf(document).equals(digest)) throw new Refused('other_text')
  return document
}

export function toMap (name, value) {
  const present = structs.get(name).filter((field) => value[field.name] !== undefined)
  return new Map(present.map(({ key, name: fieldName, type }) => [key, packed(type, value[fieldName])]))
}

function packed (type, value) {
  const array = /^array of \d+ to \d+: (.*)$/.exec(type)
  if (array) return value.map((item) => packed(array[1], item))
  const struct = /^`(\w+)`$/.exec(type)
  return struct ? toMap(struct[1], value) : value
}

function checkOf (type) {
  if (!checks.has(type)) checks.set(type, makeCheck(type))
  return checks.get(type)
}

// A function that gives a value of the type described in a table's cell, or refuses it.
function makeCheck (type) {
  const number = (text) => Number(text.replaceAll(',', ''))
  let match = null
  if ((match = /^array of (\d+) to ([\d,]+): (.*)$/.exec(type))) {
    const [least, most, item] = [number(match[1]), number(match[2]), match[3]]
    return (value) => {
      expect(Array.isArray(value) && least <= value.length && value.length <= most)
      return value.map(checkOf(item))
    }
  }
  if ((match = /^array: (.*)$/.exec(type))) {
    const items = match[1].match(/text, `[^`]*`/g)
    return (value) => {
      expect(Array.isArray(value) && value.length === items.length)
      return value.map((item, place) => checkOf(items[place])(item))
    }
  }
  if ((match = /^integer, ([\d,]+) to ([\d,]+)$/.exec(type))) {
    const [least, most] = [number(match[1]), number(match[2])]
    return expecting((value) => Number.isInteger(value) && least <= value && value <= most)
  }
  if ((match = /^(?:(\d+) to )?([\d,]+) bytes$/.exec(type))) {
    const most = number(match[2])
    const least = match[1] === undefined ? most : number(match[1])
    return expecting((value) => value instanceof Uint8Array && least <= value.length && value.length <= most)
  }
  if ((match = /^text(?:, `(.*)`)?$/.exec(type))) {
    const pattern = new RegExp(`^(?:${match[1] ?? '[^]*'})$`, 'u')
    return expecting((value) => typeof value === 'string' && pattern.test(value))
  }
  if ((match = /^number of a `(\w+)`$/.exec(type))) {
    const members = enums.get(match[1])
    return expecting((value) => members.has(value))
  }
  if (type === 'true or false') return expecting((value) => typeof value === 'boolean')
  if ((match = /^`(\w+)`$/.exec(type))) return (value) => fromMap(match[1], value)
  throw new Error(`docs/protocol.md has a type that this implementation does not know: ${type}`)
}

function expecting (holds) {
  return (value) => {
    expect(holds(value))
    return value
  }
}

function expect (holds) {
  if (!holds) throw new Refused('wrong_schema')
}
