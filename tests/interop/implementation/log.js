// Section 20: the Merkle tree of the log, its proofs and tiles, signed notes, and what convicts a log key.

import { encode } from './cbor.js'
import { sha256 } from './digests.js'
import { decodeStruct } from './messages.js'
import { Refused } from './refused.js'
import { isValidSignature } from './signatures.js'

const TILE = 256
const [LOG_TYPE, WITNESS_TYPE] = [0x01, 0x04]

export const leafOf = (entry) => sha256(Buffer.of(0), entry)
const nodeOf = (left, right) => sha256(Buffer.of(1), left, right)

export function rootOf (leaves) {
  if (leaves.length === 0) return sha256()
  if (leaves.length === 1) return leaves[0]
  let split = 1
  while (2 * split < leaves.length) split *= 2
  return nodeOf(rootOf(leaves.slice(0, split)), rootOf(leaves.slice(split)))
}

// RFC 9162, section 2.1.3.2. Sizes are safe integers, halved by division: shifts have 32 bits.
export function isIncluded (leaf, index, size, proof, root) {
  if (index >= size) return false
  let [fn, sn, hash] = [index, size - 1, leaf]
  for (const other of proof) {
    if (sn === 0) return false
    if (fn % 2 || fn === sn) {
      hash = nodeOf(other, hash)
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      hash = nodeOf(hash, other)
    }
    [fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && hash.equals(root)
}

// RFC 9162, section 2.1.4.2.
export function isConsistent (first, second, proof, root, later) {
  if (first > second) return false
  if (first === second) return proof.length === 0 && root.equals(later)
  if (first === 0) return proof.length === 0 && root.equals(rootOf([]))
  if (proof.length === 0) return false
  const isPowerOfTwo = Number.isInteger(Math.log2(first))
  const path = isPowerOfTwo ? [root, ...proof] : proof
  let [fn, sn] = [first - 1, second - 1]
  while (fn % 2) [fn, sn] = [half(fn), half(sn)]
  let [fr, sr] = [path[0], path[0]]
  for (const hash of path.slice(1)) {
    if (sn === 0) return false
    if (fn % 2 || fn === sn) {
      [fr, sr] = [nodeOf(hash, fr), nodeOf(hash, sr)]
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      sr = nodeOf(sr, hash)
    }
    [fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && fr.equals(root) && sr.equals(later)
}

// The files of a tree of this size.
export function tilePaths (size) {
  const paths = []
  for (let [level, width] = [0, size]; width > 0; [level, width] = [level + 1, Math.floor(width / TILE)]) {
    for (const names of level === 0 ? [`tile/${level}`, 'tile/entries'] : [`tile/${level}`]) {
      for (let number = 0; number * TILE < width; number++) {
        const partial = Math.min(TILE, width - number * TILE)
        paths.push(`${names}/${tileNumber(number)}${partial < TILE ? `.p/${partial}` : ''}`)
      }
    }
  }
  return paths
}

export function isTilePath (path) {
  const match = /^tile\/(entries|[0-9]|[1-5][0-9]|6[0-3])\/((?:x\d{3}\/)*)(\d{3})(?:\.p\/([1-9]\d{0,2}))?$/.exec(path)
  if (!match || Number(match[4] ?? 0) >= TILE) return false
  return !match[2].startsWith('x000/')
}

function tileNumber (number) {
  const digits = String(number)
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g)
  return groups.map((group, place) => (place < groups.length - 1 ? 'x' : '') + group).join('/')
}

export function bundleOf (entries) {
  const length = (entry) => Buffer.of(entry.length >> 8, entry.length & 255)
  return Buffer.concat(entries.flatMap((entry) => [length(entry), entry]))
}

// What a signed note (C2SP signed-note) says: {origin, size, root, cosigned}. Keys are C2SP verifier keys in text. Refuses
// a note without the log key's signature, and one with a wrong signature of a key that is known.
export function readCheckpoint (note, logKey, witnesses = []) {
  const bad = (sentence) => { throw new Refused(sentence) }
  const match = /^([^]*\n)\n((?:— \S+ \S+\n)+)$/u.exec(note)
  if (!match) bad('not a signed note')
  const text = match[1]
  const [origin, size, root, ...more] = text.split('\n').slice(0, -1)
  if (!/^(0|[1-9]\d*)$/.test(size ?? '') || !isBase64(root ?? '', 32)) bad('not a checkpoint')
  const key = readVerifier(logKey)
  if (origin !== key.name || more.includes('')) bad('not a checkpoint of this log')
  let isSigned = false
  const cosigned = {}
  for (const line of match[2].split('\n').slice(0, -1)) {
    const [, name, encoded] = line.split(' ')
    const signature = Buffer.from(encoded, 'base64')
    const isOf = (known) => known.name === name && signature.subarray(0, 4).equals(known.id)
    const witness = witnesses.map(readVerifier).find(isOf)
    if (isOf(key)) {
      if (!isValidSignature(key.key, Buffer.from(text), signature.subarray(4))) bad('a wrong signature')
      isSigned = true
    } else if (witness) {
      const time = signature.readBigUInt64BE(4)
      const said = Buffer.from(`cosignature/v1\ntime ${time}\n${text}`)
      if (!isValidSignature(witness.key, said, signature.subarray(12))) bad('a wrong cosignature')
      cosigned[name] = Number(time)
    }
  }
  if (!isSigned) bad('the log key did not sign')
  return { origin, size: Number(size), root: Buffer.from(root, 'base64'), cosigned }
}

export function verifierOf (name, key, type = LOG_TYPE) {
  const id = sha256(name, Buffer.of(0x0a, type), key).subarray(0, 4)
  return `${name}+${id.toString('hex')}+${Buffer.concat([Buffer.of(type), key]).toString('base64')}`
}

function readVerifier (text) {
  const [name, id, encoded] = [text.split('+')[0], text.split('+')[1], text.split('+').slice(2).join('+')]
  const bytes = Buffer.from(encoded, 'base64')
  const [type, key] = [bytes[0], bytes.subarray(1)]
  if (verifierOf(name, key, type) !== text || ![LOG_TYPE, WITNESS_TYPE].includes(type)) throw new Refused('no verifier key')
  return { name, id: Buffer.from(id, 'hex'), key }
}

// Whether two notes prove that the log forked.
export function isFork (first, second, logKey, prefixRoot, proof) {
  const [one, other] = [readCheckpoint(first, logKey), readCheckpoint(second, logKey)]
  const [small, large] = one.size <= other.size ? [one, other] : [other, one]
  if (small.size === large.size) return !small.root.equals(large.root)
  if (prefixRoot === null || !isConsistent(small.size, large.size, proof, prefixRoot, large.root)) return false
  return !prefixRoot.equals(small.root)
}

// What a receipt promises. Refuses one that the log key did not sign.
export function readReceipt (bytes, network, logKey) {
  const receipt = decodeStruct('Receipt', bytes)
  const { envelope, bound, size, signature } = receipt
  const promise = encode(['peerboard/receipt/1', network, envelope, bound, size])
  if (bound <= size || !isValidSignature(logKey, promise, signature)) throw new Refused('bad_signature')
  return receipt
}

// Whether the log broke the promise: its first `bound` entries are given, and `idOf` gives their ids.
export function isOmission (receipt, entries, idOf, { size, root }, proof) {
  const prefix = rootOf(entries.map(leafOf))
  const isWhole = entries.length === receipt.bound && isConsistent(receipt.bound, size, proof, prefix, root)
  return isWhole && !entries.some((entry) => idOf(entry).equals(receipt.envelope))
}

const half = (number) => Math.floor(number / 2)

function isBase64 (text, length) {
  const bytes = Buffer.from(text, 'base64')
  return bytes.length === length && bytes.toString('base64') === text
}
