// Section 10: the order of a task's runners, and how many of them count. Accounts are lower-case hex.

import { H } from './digests.js'

// `persons`: account to person for those who are attested; sets for what the document calls excluded, set back, behind.
export function ranking ({ candidates, beacon, model, purpose, excluded, setBack, behind, persons, oneUnattested }) {
  const place = (account) => [
    Number(setBack.has(account)),
    Number(behind.has(account)),
    H('peerboard/rank/1', beacon, model, purpose, Buffer.from(account, 'hex')).toString('hex')
  ].join(' ')
  const seen = new Set()
  return candidates
    .filter((account) => !excluded.has(account))
    .map((account) => ({ account, place: place(account) }))
    .sort((one, other) => (one.place < other.place ? -1 : 1))
    .filter(({ account }) => {
      const person = persons[account] ?? (oneUnattested ? 'nobody attested' : account)
      return !seen.has(person) && seen.add(person)
    })
    .map(({ account }) => account)
}

// K and R of a task that `available` accounts are left for.
export function quorumOf (available, wanted, least) {
  if (available >= 2 * wanted - 1) return { quorum: wanted, assigned: 2 * wanted - 1 }
  const quorum = Math.max(least, Math.floor(available / 2) + 1)
  return { quorum, assigned: available < quorum ? 0 : available }
}
