// Section 22: a libp2p node with gossip on the network's two topics, and requests of one stream each.

import { sha256 } from './digests.js'
import { Refused } from './refused.js'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const [REQUEST_MAXIMUM, RESPONSE_MAXIMUM] = [1 << 20, 16 << 20]
const REFUSED = 0xffffffff
const SECONDS = 10

export class Network {
  // A node that listens on a multiaddr. `judge(topic, data, forwarder)` is called once for each message and throws
  // `Refused` for what must not be relayed; `tell(event, details)` hears what happens.
  static async open (listen, judge, tell) {
    const network = new Network()
    network.judge = judge
    network.tell = tell
    network.node = await createLibp2p({
      addresses: { listen: [listen] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      services: {
        identify: identify(),
        ping: ping(),
        pubsub: gossipsub({ globalSignaturePolicy: 'StrictSign', emitSelf: false, msgIdFn: messageId })
      }
    })
    network.pubsub.addEventListener('subscription-change', ({ detail: { peerId, subscriptions } }) => {
      for (const { topic, subscribe } of subscriptions) if (subscribe) tell('subscribed', { peer: `${peerId}`, topic })
    })
    network.node.addEventListener('connection:open', ({ detail: { remotePeer, direction } }) => {
      tell('connected', { peer: `${remotePeer}`, direction })
    })
    return network
  }

  get pubsub () {
    return this.node.services.pubsub
  }

  get addresses () {
    return this.node.getMultiaddrs().map(String)
  }

  join (topic) {
    this.pubsub.topicValidators.set(topic, (forwarder, { data }) => {
      try {
        this.judge(topic, Buffer.from(data), `${forwarder}`)
        return 'accept'
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        this.tell('refused', { topic, reason: error.reason, forwarder: `${forwarder}` })
        return 'reject'
      }
    })
    this.pubsub.subscribe(topic)
  }

  // Resolves once a peer has subscribed to the topic.
  async audience (topic) {
    while (!this.pubsub.getSubscribers(topic).length) {
      await new Promise((resolve) => this.pubsub.addEventListener('subscription-change', resolve, { once: true }))
    }
  }

  async publish (topic, data) {
    await this.audience(topic)
    const { recipients } = await this.pubsub.publish(topic, data)
    return recipients.map(String)
  }

  async dial (address) {
    const { remotePeer } = await this.node.dial(multiaddr(address))
    return `${remotePeer}`
  }

  // The peer's response to a request.
  async request (peer, protocol, body) {
    const { remotePeer } = this.node.getConnections().find((connection) => `${connection.remotePeer}` === peer)
    const signal = AbortSignal.timeout(SECONDS * 1000)
    const stream = await this.node.dialProtocol(remotePeer, protocol, { signal })
    try {
      await write(stream, body)
      const response = await read(stream, RESPONSE_MAXIMUM)
      await stream.close({ signal })
      return response
    } catch (error) {
      stream.abort(error)
      throw error
    }
  }

  // Answers requests with what `handler(body)` gives; what goes wrong ends that stream and no more.
  async serve (protocol, handler) {
    await this.node.handle(protocol, async (stream, { remotePeer }) => {
      try {
        await write(stream, handler(await read(stream, REQUEST_MAXIMUM)))
        await stream.close({ signal: AbortSignal.timeout(SECONDS * 1000) })
        this.tell('answered', { protocol, peer: `${remotePeer}` })
      } catch (error) {
        stream.abort(error)
        this.tell('not answered', { protocol, peer: `${remotePeer}`, reason: `${error.message}` })
      }
    })
  }

  async close () {
    await this.node.stop()
  }
}

function messageId ({ topic, data }) {
  return sha256(topic, Buffer.of(0), data)
}

async function write (stream, body) {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length)
  if (!stream.send(Buffer.concat([length, body]))) await stream.onDrain()
}

async function read (stream, maximum) {
  let bytes = Buffer.alloc(0)
  for await (const chunk of stream) {
    bytes = Buffer.concat([bytes, chunk.subarray()])
    if (bytes.length < 4) continue
    const length = bytes.readUInt32BE(0)
    if (length === REFUSED) throw new Error('the peer refuses to answer')
    if (length > maximum) throw new Error(`a body of ${length} bytes is too long`)
    if (bytes.length >= 4 + length) return bytes.subarray(4, 4 + length)
  }
  throw new Error('the stream ended before the body was complete')
}
