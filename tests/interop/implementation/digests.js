// Section 4: digests with a tag, and what is hashed with them: ids, consents, epochs and stamps.

import { createHash } from 'node:crypto'
import { encode } from './cbor.js'
import { toMap } from './messages.js'

export function sha256 (...parts) {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

export function H (tag, ...parts) {
  return sha256(encode([tag, ...parts]))
}

export function asNumber (digest) {
  return BigInt('0x' + Buffer.from(digest).toString('hex'))
}

export function bigEndian32 (number) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(number)
  return bytes
}

export function modelId (model) {
  const adapters = model.adapters.map(({ file, scale, configuration }) =>
    configuration === undefined ? [file.sha256, scale] : [file.sha256, scale, configuration.sha256])
  return H('peerboard/model/1', model.base.sha256, adapters)
}

export function benchmarkId (benchmark) {
  return H('peerboard/benchmark/1', toMap('Benchmark', benchmark))
}

export function textDigest (document) {
  return H('peerboard/text/1', toMap('TextDocument', document))
}

export function consentTo (network, account) {
  return H('peerboard/consent/1', network, account)
}

export function successionConsent (network, signer, succession) {
  const { log_key: key, chain_anchor: anchor, chain_length: length, sequence } = succession
  return H('peerboard/succession/1', network, signer, key, anchor, length, sequence)
}

export function commitmentDigest (network, account, { epoch, ground, salt, run, tasks }) {
  const results = tasks.map((task) => toMap('TaskResult', task))
  return H('peerboard/commit/1', network, account, epoch, ground, salt, toMap('Run', run), results)
}

export function taskId ({ model, benchmark, epoch, depth, purpose, looks_at: looksAt }) {
  return H('peerboard/task/1', model, benchmark, epoch, depth, purpose, looksAt)
}

export function promptDigest (tokens) {
  return H('peerboard/transcript-prompt/1', tokens)
}

// The digest of each answer of a transcript, and of the whole; `adapters` are pairs of SHA-256 and scale.
export function transcriptDigests (base, adapters, content, transcript) {
  const answers = transcript.answers.map((answer) => H('peerboard/transcript-question/1', toMap('Answer', answer)))
  return { answers, transcript: H('peerboard/transcript/1', base, adapters, content, answers) }
}

export function questionsDigest (indexes) {
  return H('peerboard/questions/1', indexes)
}

// Section 6. The preimages in the order in which marks reveal them, which is from the anchor backwards; and the anchor.
export function hashChain (seed, length) {
  const chain = [seed]
  while (chain.length < length) chain.push(sha256(chain.at(-1)))
  return { preimages: chain.toReversed(), anchor: sha256(chain.at(-1)) }
}

export function beacon (preimage, revealed) {
  const order = (one, other) => one.epoch - other.epoch || Buffer.compare(one.account, other.account)
  const salts = revealed.toSorted(order).map(({ epoch, account, salt }) => [epoch, account, salt])
  return H('peerboard/beacon/1', preimage, H('peerboard/salts/1', salts))
}

export function leaderlessBeacon (marked, epoch) {
  return H('peerboard/leaderless/1', marked, epoch)
}

export function ground (size, root, beaconOfEpoch) {
  return H('peerboard/ground/1', size, root, beaconOfEpoch)
}

// Section 7. `stamp` is null where the profile has none.
export function isWorkStamp (network, device, epoch, stamp, seconds) {
  if (seconds === 0) return true
  if (stamp === null) return false
  const limit = (1n << 256n) / (BigInt(seconds) << 20n)
  return asNumber(sha256(H('peerboard/stamp/1', network, device, epoch), stamp)) < limit
}

// Numbers below `limit`, each as likely as any other, drawn from a key (sections 8 and 11): a generator of places.
export function * stream (key) {
  for (let counter = 0; ; counter++) {
    const digest = sha256(key, bigEndian32(counter))
    for (let place = 0; place < 32; place += 8) yield digest.readBigUInt64BE(place)
  }
}

// The next number of the stream that is below the largest multiple of `limit`, mod `limit`.
export function drawBelow (limit, numbers) {
  const bound = BigInt(limit)
  const end = ((1n << 64n) / bound) * bound
  for (;;) {
    const { value } = numbers.next()
    if (value < end) return Number(value % bound)
  }
}
