/**
 * The side that answers. A method gets its parameters as they came (it checks them), a way to send events, and a signal
 * that aborts when the caller leaves or its connection ends. That end never ends the work: what a method started goes on
 * unless the method itself heeds the signal.
 */
import type { Server, Socket } from 'node:net'
import { errorShapeOf } from '#base'
import { RpcError } from './errors.ts'
import {
  type Hello,
  type Message,
  MessageReader,
  readHello,
  readId,
  RPC_PROTOCOL,
  send,
  UNSENT_BYTES_MAX,
} from './messages.ts'
import { listen, type ListenAddress } from './transport.ts'

export type RpcCall = Readonly<{ signal: AbortSignal; event: (event: unknown) => void; peer: Hello }>
export type RpcMethods = Readonly<Record<string, (params: unknown, call: RpcCall) => unknown>>

/** What one side of a connection answers. */
export type RpcAnswers = Readonly<{
  role: string
  version: string
  /** Told to everyone who says hello. */
  facts: Readonly<Record<string, unknown>>
  methods: RpcMethods
}>

export type RpcServerOptions = RpcAnswers & Readonly<{ address: ListenAddress }>

/** Answers on a connection that somebody else accepted; it ends with the connection. */
export function answerRpc(socket: Socket, answers: RpcAnswers): void {
  void new Connection(socket, answers)
}

/** Ends a connection that says nothing yet, so that the caller learns why. */
export function refuseRpc(socket: Socket, error: unknown): void {
  socket.on('error', () => socket.destroy())
  send(socket, { error: errorShapeOf(error, 'rpc_failed') })
  socket.end()
}

const CONNECTIONS_MAX = 256
const CALLS_MAX = 256

class Connection {
  readonly #socket: Socket
  readonly #options: RpcAnswers
  readonly #reader = new MessageReader()
  readonly #calls = new Map<number, AbortController>()
  #peer: Hello | undefined

  constructor(socket: Socket, options: RpcAnswers) {
    this.#socket = socket
    this.#options = options
    socket.on('data', (data) => this.#receive(data))
    socket.on('error', () => socket.destroy()) // 'close' follows and says all that there is to say.
    socket.on('close', () => {
      for (const call of this.#calls.values()) call.abort(new RpcError('rpc_closed', 'The caller is gone.'))
    })
  }

  #receive(data: Buffer): void {
    if (this.#socket.writableEnded) return // It broke the protocol; nothing that follows counts.
    try {
      for (const message of this.#reader.push(data)) this.#take(message)
    } catch (error) {
      send(this.#socket, { error: errorShapeOf(error, 'rpc_failed') })
      this.#socket.end()
    }
  }

  #take(message: Message): void {
    if (this.#peer === undefined) {
      this.#peer = readHello(message)
      const { role, version, facts } = this.#options
      send(this.#socket, { holdfast: RPC_PROTOCOL, role, version, facts })
      return
    }
    const id = readId(message)
    if (message['leave'] === true) {
      this.#calls.get(id)?.abort(new RpcError('rpc_closed', 'The caller left.'))
      return
    }
    void this.#answer(id, message, this.#peer)
  }

  async #answer(id: number, message: Message, peer: Hello): Promise<void> {
    const control = new AbortController()
    try {
      const result = await this.#run(id, message, peer, control)
      send(this.#socket, { id, result: result ?? null })
    } catch (error) {
      send(this.#socket, { id, error: errorShapeOf(error, 'rpc_failed') })
    } finally {
      if (this.#calls.get(id) === control) this.#calls.delete(id)
    }
  }

  async #run(id: number, { method, params }: Message, peer: Hello, control: AbortController): Promise<unknown> {
    const name = typeof method === 'string' ? method : ''
    const run = Object.hasOwn(this.#options.methods, name) ? this.#options.methods[name] : undefined
    if (run === undefined)
      throw new RpcError('rpc_method_unknown', `There is no method "${name}".`, { facts: { name } })
    if (this.#calls.size >= CALLS_MAX || this.#calls.has(id)) {
      throw new RpcError('rpc_busy', `A connection carries ${CALLS_MAX} calls, each with its own number.`, {
        retry: 'later',
      })
    }
    this.#calls.set(id, control)
    const event = (event: unknown): void => {
      if (!control.signal.aborted && this.#socket.writableLength < UNSENT_BYTES_MAX) send(this.#socket, { id, event })
    }
    return run(params, { signal: control.signal, event, peer })
  }
}

export class RpcServer {
  /** Where it really listens. */
  readonly address: ListenAddress
  readonly #server: Server
  readonly #sockets: Set<Socket>

  private constructor(server: Server, address: ListenAddress, sockets: Set<Socket>) {
    this.#server = server
    this.address = address
    this.#sockets = sockets
  }

  /** @throws RpcError `rpc_unreachable` when it cannot listen there */
  static async open(options: RpcServerOptions): Promise<RpcServer> {
    const sockets = new Set<Socket>()
    const { server, address } = await listen(options.address, (socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      answerRpc(socket, options)
    })
    server.maxConnections = CONNECTIONS_MAX
    return new RpcServer(server, address, sockets)
  }

  /** Ends all connections; the calls' signals abort. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      for (const socket of this.#sockets) socket.destroy()
    })
  }
}
