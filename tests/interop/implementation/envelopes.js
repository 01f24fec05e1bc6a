// Section 2: from bytes to an envelope, and back.

import { decode, encode } from './cbor.js'
import { consentTo, sha256, successionConsent } from './digests.js'
import { kinds } from './document.js'
import { fromMap, toMap } from './messages.js'
import { Refused } from './refused.js'
import { isValidSignature } from './signatures.js'

const LARGEST = 32_768
const LARGEST_UNKNOWN = 4_096
const TAG = 0xd2 // tag 18
const ALGORITHM = -19

// The envelope in these bytes: {id, signer, kind, body}; the body of an unknown kind is any value. Throws `Refused`.
export function openEnvelope (bytes, network) {
  if (bytes.length > LARGEST) throw new Refused('too_large')
  const tagged = bytes[0] === TAG
  const parts = decode(tagged ? bytes.subarray(1) : bytes)
  if (!tagged || !Array.isArray(parts) || parts.length !== 4) throw new Refused('not_an_envelope')
  const [header, unprotected, payload, signature] = parts
  const isWhole = [header, payload, signature].every((part) => part instanceof Uint8Array) && signature.length === 64
  if (!isWhole || !(unprotected instanceof Map) || unprotected.size) throw new Refused('not_an_envelope')
  const signer = signerOf(header)
  const { kind, body } = openPayload(payload, bytes.length)
  const signed = encode(['Signature1', header, network, payload])
  if (!isValidSignature(signer, signed, signature)) throw new Refused('bad_signature')
  checkConsent(kind, body, network, signer)
  return { id: sha256(signed), signer, kind, body, bytes: Buffer.from(bytes) }
}

// A message of this kind, signed: the envelope's bytes.
export function sealEnvelope (kind, message, network, key) {
  const [number, { struct }] = [...kinds].find(([, known]) => known.kind === kind)
  const header = encode(new Map([[1, ALGORITHM], [4, key.public]]))
  const payload = encode([number, toMap(struct, message)])
  const signature = key.sign(encode(['Signature1', header, network, payload]))
  return Buffer.concat([Buffer.of(TAG), encode([header, new Map(), payload, signature])])
}

function signerOf (header) {
  const entries = decode(header)
  const isHeader = entries instanceof Map && entries.size === 2 && entries.has(1) && entries.has(4)
  if (!isHeader) throw new Refused('not_an_envelope')
  if (entries.get(1) !== ALGORITHM) throw new Refused('wrong_algorithm')
  const signer = entries.get(4)
  if (!(signer instanceof Uint8Array) || signer.length !== 32) throw new Refused('not_an_envelope')
  return signer
}

function openPayload (payload, size) {
  const parts = decode(payload)
  if (!Array.isArray(parts) || parts.length !== 2) throw new Refused('wrong_schema')
  const [number, body] = parts
  if (!Number.isInteger(number) || number < 0 || number > 255) throw new Refused('wrong_schema')
  const known = kinds.get(number)
  if (known) return { kind: known.kind, body: fromMap(known.struct, body) }
  if (size > LARGEST_UNKNOWN) throw new Refused('too_large')
  return { kind: 'unknown', body }
}

function checkConsent (kind, body, network, signer) {
  const wanted = {
    delegation: () => [body.device, consentTo(network, signer)],
    succession: () => [body.log_key, successionConsent(network, signer, body)]
  }[kind]
  if (wanted && !isValidSignature(...wanted(), body.consent)) throw new Refused('bad_signature')
}
