// A participant that does as it is told.
//
//     node peer.js GENESIS.cbor
//
// Each line of standard input is a command, {"do": name, ...}; each line of standard output an event, {"event": name,
// ...}, byte strings in hex. Commands are done one after the other; {"event": "done", "do"} says that one is, and one that
// fails ends the process. So does the end of the input, in good order.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { randomBytes } from 'node:crypto'
import { Participant } from './implementation/participant.js'
import { keyOf } from './implementation/signatures.js'

const [account, device] = [keyOf(randomBytes(32)), keyOf(randomBytes(32))]
const participant = await Participant.open(readFileSync(process.argv[2]), '/ip4/127.0.0.1/tcp/0', tell)
tell('listening', { addresses: participant.network.addresses, account: account.public, device: device.public })

const commands = {
  dial: ({ address }) => participant.network.dial(address),
  join: () => participant.join(),
  introduce: async ({ epoch, quietly }) => {
    for (const envelope of participant.introduce(account, device, epoch)) if (!quietly) await participant.publish(envelope)
  },
  reconcile: ({ peer }) => participant.reconcile(peer),
  follow: ({ peer }) => participant.follow(peer)
}
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...details } = JSON.parse(line)
  await commands[name](details)
  tell('done', { do: name })
}
await participant.leave()
tell('left', {})

function tell (event, details) {
  process.stdout.write(JSON.stringify({ event, ...plain(details) }) + '\n')
}

function plain (value) {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]))
}
