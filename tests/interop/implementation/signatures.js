// Section 2: the one predicate that decides whether a signature is valid.
//
// Libraries differ in exactly these points (cofactor, encodings that are not canonical, points of small order), so only
// the arithmetic of the curve is a library's here, and the four conditions stand in the document's order.

import { createHash, createPrivateKey, createPublicKey, sign as signWithKey } from 'node:crypto'
import { ed25519 } from '@noble/curves/ed25519.js'

const { Point } = ed25519
const L = Point.Fn.ORDER
const PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex') // PKCS #8 of a 32-byte seed (RFC 8410)

export function isValidSignature (key, message, signature) {
  if (key.length !== 32 || signature.length !== 64) return false
  const scalar = littleEndian(signature.subarray(32))
  if (scalar >= L) return false
  const nonce = signature.subarray(0, 32)
  const [A, R] = [pointOf(key), pointOf(nonce)]
  if (A === null || R === null) return false
  const k = littleEndian(createHash('sha512').update(nonce).update(key).update(message).digest()) % L
  return Point.BASE.multiplyUnsafe(scalar).equals(R.add(A.multiplyUnsafe(k)))
}

// A key pair of a 32-byte seed: its public key, and a function that signs.
export function keyOf (seed) {
  const secret = createPrivateKey({ key: Buffer.concat([PREFIX, seed]), format: 'der', type: 'pkcs8' })
  const key = createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(-32)
  return { public: key, sign: (message) => signWithKey(null, message, secret) }
}

// The point that 32 bytes canonically encode, or null; null, too, if its order divides 8.
function pointOf (bytes) {
  try {
    const point = Point.fromBytes(bytes, false)
    return point.isSmallOrder() ? null : point
  } catch {
    return null
  }
}

function littleEndian (bytes) {
  return BigInt('0x' + Buffer.from(bytes).reverse().toString('hex'))
}
