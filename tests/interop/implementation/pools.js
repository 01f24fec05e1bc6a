// Section 9: who holds which slot of which base after a mark. Accounts, devices and bases are lower-case hex here, which
// sorts as the bytes do.

import { asNumber, H } from './digests.js'

const MIB = 1_048_576
const SPARE_MIB = 512

// `pools`: base to slots, each {account, device} or null; `bases`: base to bytes; `offers`: account to its devices
// {device, memory_mib, disk_mib}; `attested`: a set of accounts where the network asks for attestations, else null.
export function redrawPools ({ pools, bases, offers, beacon, marks, parameters, attested }) {
  const accounts = Object.keys(offers).sort()
  const order = Object.keys(bases).sort()
  const n = accounts.length
  const size = Math.min(n, Math.max(parameters.pool, Math.ceil((3 * n) / Math.max(1, order.length))))
  const held = new Map() // device to bytes taken
  const drawn = Object.fromEntries(order.map((base) => [base, Array(size).fill(null)]))

  const isAllowed = (account, base) => {
    const holders = drawn[base].filter(Boolean).map((slot) => slot.account)
    if (holders.includes(account)) return false
    if (attested === null || attested.has(account)) return true
    const unattested = holders.filter((holder) => !attested.has(holder)).length
    return unattested < Math.floor((size * parameters.unattested_slots) / 1000)
  }
  const hasRoom = ({ device, memory_mib: memory, disk_mib: disk }, base) =>
    disk * MIB - (held.get(device) ?? 0) >= bases[base] && (memory - SPARE_MIB) * MIB >= bases[base]
  const give = (base, slot, account, device) => {
    drawn[base][slot] = { account, device }
    held.set(device, (held.get(device) ?? 0) + bases[base])
  }

  for (const base of order) {
    const first = BigInt('0x' + base.slice(0, 16))
    const step = Math.max(1, Math.floor(parameters.period / parameters.pool))
    for (const [slot, holder] of (pools[base] ?? []).slice(0, size).entries()) {
      if (holder === null) continue
      const isTurn = (BigInt(marks + slot * step) + first) % BigInt(parameters.period) === 0n
      const offer = offers[holder.account]?.find(({ device }) => device === holder.device)
      if (!isTurn && offer && isAllowed(holder.account, base) && hasRoom(offer, base)) {
        give(base, slot, holder.account, holder.device)
      }
    }
  }
  for (const base of order) {
    for (let slot = 0; slot < size; slot++) {
      if (drawn[base][slot] !== null) continue
      for (const account of candidates(accounts, beacon, base, slot)) {
        const devices = offers[account].filter((offer) => hasRoom(offer, base)).map(({ device }) => device).sort()
        if (!devices.length || !isAllowed(account, base)) continue
        const choice = asNumber(H('peerboard/device/1', bytes(base), bytes(account))) % BigInt(devices.length)
        give(base, slot, account, devices[Number(choice)])
        break
      }
    }
  }
  return drawn
}

// The accounts in the order in which they are tried for a slot.
function * candidates (accounts, beacon, base, slot) {
  const n = accounts.length
  const at = (attempt) => Number(asNumber(H('peerboard/slot/1', beacon, bytes(base), slot, attempt)) % BigInt(n))
  for (let attempt = 0; attempt < 4 * n; attempt++) yield accounts[at(attempt)]
  for (let place = 0; place < n; place++) yield accounts[(at(0) + place) % n]
}

function bytes (hex) {
  return Buffer.from(hex, 'hex')
}
