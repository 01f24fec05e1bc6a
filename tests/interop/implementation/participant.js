// What this node holds of a network, and what it says and answers (sections 2, 20, 21 and 22).

import { decode, encode } from './cbor.js'
import { consentTo, sha256 } from './digests.js'
import { openEnvelope, sealEnvelope } from './envelopes.js'
import { Ledger } from './ledger.js'
import { leafOf, readCheckpoint, rootOf, verifierOf } from './log.js'
import { decodeStruct } from './messages.js'
import { Network } from './network.js'
import { answer, ask, ItemSet, proceed } from './reconciliation.js'
import { Refused } from './refused.js'

const [LOG, RECONCILE] = ['/peerboard/log/1', '/peerboard/reconcile/1']
const [ENVELOPES, PEERS] = ['/peerboard/envelopes/1', '/peerboard/peers/1']
const MESSAGE_MAXIMUM = 128 << 10
const PORTION = 2000
const ROUNDS = 16
const TIMELESS = 2n ** 63n - 1n

const UNLOGGED = new Set(['claim', 'mark', 'unknown']) // marks are the log key's to log

const epochOf = ({ body }) => (body?.epoch === undefined ? TIMELESS : BigInt(body.epoch))

export class Participant {
  // Listens on a multiaddr for the network of a genesis in CBOR; `tell(event, details)` hears what happens.
  static async open (genesis, listen, tell) {
    const participant = new Participant()
    participant.tell = tell
    participant.genesis = decodeStruct('Genesis', genesis)
    participant.id = sha256(genesis)
    participant.held = new Map() // envelopes that peers may lack, by id in hex
    participant.log = { note: Buffer.alloc(0), entries: [] }
    participant.ledger = new Ledger(participant.genesis, participant.id)
    participant.following = Promise.resolve()
    const origin = `peerboard/${participant.id.toString('hex')}`
    participant.logKey = verifierOf(origin, participant.genesis.log_key)
    participant.topics = ['envelopes', 'checkpoints'].map((name) => `/peerboard/${participant.id.toString('hex').slice(0, 32)}/${name}/1`)
    participant.network = await Network.open(listen, (...message) => participant.#judge(...message), tell)
    await participant.#serve()
    return participant
  }

  // Takes part in the network's gossip.
  join () {
    for (const topic of this.topics) this.network.join(topic)
  }

  // Signs a message and keeps it for peers that ask.
  hold (kind, message, key) {
    const envelope = openEnvelope(sealEnvelope(kind, message, this.id, key), this.id)
    this.#take(envelope)
    this.tell('signed', { kind, id: envelope.id })
    return envelope
  }

  // Sends an envelope to whoever is subscribed.
  async publish ({ kind, id, bytes }) {
    const recipients = await this.network.publish(this.topics[0], bytes)
    this.tell('published', { kind, id, recipients })
  }

  // Takes a device into an account's service and shows a sign of life, with room for no model; the two envelopes.
  introduce (account, device, epoch) {
    const consent = device.sign(consentTo(this.id, account.public))
    return [
      this.hold('delegation', { device: device.public, consent }, account),
      this.hold('profile', { epoch, memory: 0, disk: 0, backends: ['cpu'] }, device)
    ]
  }

  // Brings this node and a peer to the same set of envelopes beyond the log.
  async reconcile (peer) {
    const set = this.#items()
    const [have, need] = [new Set(), new Set()]
    let rounds = 0
    for (let message = ask(set); message !== null && rounds < ROUNDS; rounds++) {
      const answered = await this.network.request(peer, RECONCILE, message)
      message = proceed(set, answered, MESSAGE_MAXIMUM, have, need)
    }
    const given = [...have].slice(0, PORTION).map((id) => this.held.get(id).bytes)
    const wanted = [...need].slice(0, PORTION).map((id) => Buffer.from(id, 'hex'))
    const wants = encode(new Map([[0, wanted], [1, given]]))
    const taken = decode(await this.network.request(peer, ENVELOPES, wants)).get(0)
    for (const bytes of taken) this.#take(openEnvelope(bytes, this.id))
    this.tell('reconciled', { peer, rounds, given: given.length, taken: taken.length, held: [...this.held.keys()] })
  }

  // Fetches what a peer has of the log beyond what is known here, and folds it if it is what the log key signed.
  follow (peer) {
    const isDone = this.following.then(() => this.#fetch(peer))
    this.following = isDone.catch(() => {})
    return isDone
  }

  async #fetch (peer) {
    if (this.unreadable) throw this.unreadable
    const known = this.log.entries.length
    const fresh = []
    let [note, size, root] = [null, Infinity, null]
    while (known + fresh.length < size) {
      const asked = encode(new Map([[0, known + fresh.length], [1, PORTION]]))
      const portion = decode(await this.network.request(peer, LOG, asked))
      if (!portion.get(0).length) return
      if (note === null) ({ note, size, root } = { note: portion.get(0), ...readCheckpoint(`${portion.get(0)}`, this.logKey) })
      if (!portion.get(1).length) break
      fresh.push(...portion.get(1).slice(0, size - known - fresh.length))
    }
    if (known + fresh.length !== size || size === known) return
    const entries = [...this.log.entries, ...fresh]
    if (!rootOf(entries.map(leafOf)).equals(root)) throw new Refused('these are not the entries that the log key signed')
    const opened = fresh.map((bytes) => openEnvelope(bytes, this.id))
    this.log = { note, entries }
    this.tell('followed', { peer, size, root, kinds: opened.map(({ kind }) => kind) })
    for (const envelope of opened) this.#fold(envelope)
  }

  async leave () {
    await this.network.close()
  }

  // Decides what is relayed. Throws `Refused`.
  #judge (topic, data, forwarder) {
    if (topic === this.topics[0]) {
      const envelope = openEnvelope(data, this.id)
      this.#take(envelope)
      this.tell('envelope', { kind: envelope.kind, id: envelope.id, signer: envelope.signer, body: envelope.body, forwarder })
    } else {
      const { size, root } = readCheckpoint(data.toString(), this.logKey)
      this.tell('checkpoint', { size, root, forwarder })
      this.follow(forwarder).catch((error) => this.tell('not followed', { peer: forwarder, reason: error.message }))
    }
  }

  #take (envelope) {
    if (!UNLOGGED.has(envelope.kind)) this.held.set(envelope.id.toString('hex'), envelope)
  }

  // Keeps what a log entry says, and forgets what nobody asks for any more.
  #fold (envelope) {
    const id = envelope.id.toString('hex')
    if (epochOf(envelope) === TIMELESS) this.held.delete(id)
    else this.#take(envelope)
    const marked = this.#append(envelope)
    if (marked === null) return
    for (const [key, old] of this.held) if (epochOf(old) < BigInt(marked.epoch) - 2n) this.held.delete(key)
    this.tell('mark', marked)
  }

  // What the ledger cannot read it cannot skip either.
  #append (envelope) {
    try {
      return this.ledger.append(envelope)
    } catch (error) {
      this.unreadable = error
      throw error
    }
  }

  #items () {
    return new ItemSet([...this.held.values()].map((envelope) => ({ epoch: epochOf(envelope), id: envelope.id })))
  }

  async #serve () {
    await this.network.serve(RECONCILE, (message) => answer(this.#items(), message, MESSAGE_MAXIMUM))
    await this.network.serve(ENVELOPES, (body) => {
      const wants = decode(body)
      for (const bytes of wants.get(1)) this.#take(openEnvelope(bytes, this.id))
      const given = wants.get(0).map((id) => this.held.get(id.toString('hex'))?.bytes).filter(Boolean)
      this.tell('exchanged', { given: given.length, taken: wants.get(1).length })
      return encode(new Map([[0, given]]))
    })
    await this.network.serve(LOG, (body) => {
      const asked = decode(body)
      const { note, entries } = this.log
      return encode(new Map([[0, note], [1, entries.slice(asked.get(0), asked.get(0) + asked.get(1))]]))
    })
    await this.network.serve(PEERS, () => Buffer.from(JSON.stringify({ addresses: [] })))
  }
}
