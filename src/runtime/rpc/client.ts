/** The side that asks: one connection, many calls, each with its events. The end of the connection fails what is open. */
import type { Socket } from 'node:net'
import { HoldfastError, reviveError } from '#base'
import { RpcError } from './errors.ts'
import {
  type Hello,
  type Message,
  MessageReader,
  readError,
  readHello,
  readId,
  RPC_PROTOCOL,
  send,
} from './messages.ts'
import { dial, type RpcAddress } from './transport.ts'

export type RpcCallOptions = Readonly<{
  onEvent?: (event: unknown) => void
  /** Leaves the call: it rejects with the signal's reason, and the other side is told. */
  signal?: AbortSignal
}>

type Waiting = Readonly<{
  resolve: (value: unknown) => void
  reject: (error: unknown) => void
  onEvent: ((event: unknown) => void) | undefined
}>

const HELLO_TIMEOUT_MS = 10_000

export class RpcClient {
  /** What the other side said of itself. */
  readonly peer: Hello
  readonly #socket: Socket
  readonly #waiting: Map<number, Waiting>
  #lastId = 0

  private constructor(socket: Socket, peer: Hello, waiting: Map<number, Waiting>) {
    this.#socket = socket
    this.peer = peer
    this.#waiting = waiting
  }

  /** Connects and exchanges hellos. @throws RpcError */
  static async open(
    address: RpcAddress,
    role: string,
    version: string,
    helloTimeoutMs = HELLO_TIMEOUT_MS,
  ): Promise<RpcClient> {
    const socket = await dial(address)
    const waiting = new Map<number, Waiting>()
    const peer = await new Promise<Hello>((resolve, reject) => {
      const silent = new RpcError('rpc_unreachable', 'The other side does not say hello.', { retry: 'later' })
      const timer = setTimeout(() => socket.destroy(silent), helloTimeoutMs)
      timer.unref()
      receive(
        socket,
        waiting,
        (hello) => {
          clearTimeout(timer)
          resolve(hello)
        },
        reject,
      )
      send(socket, { holdfast: RPC_PROTOCOL, role, version, facts: {} })
    })
    return new RpcClient(socket, peer, waiting)
  }

  /** @throws what the method threw, revived; RpcError `rpc_closed`; the signal's reason */
  call(method: string, params: unknown, options: RpcCallOptions = {}): Promise<unknown> {
    this.#lastId += 1
    const id = this.#lastId
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted === true) return reject(options.signal.reason)
      if (this.#socket.destroyed) return reject(closed())
      const leave = (): void => {
        this.#waiting.delete(id)
        send(this.#socket, { id, leave: true })
        reject(options.signal?.reason)
      }
      const over = (): void => options.signal?.removeEventListener('abort', leave)
      send(this.#socket, { id, method, params: params ?? null })
      options.signal?.addEventListener('abort', leave, { once: true })
      this.#waiting.set(id, {
        resolve: (value) => {
          over()
          resolve(value)
        },
        reject: (error) => {
          over()
          reject(error)
        },
        onEvent: options.onEvent,
      })
    })
  }

  close(): void {
    this.#socket.destroy()
  }
}

function closed(cause?: unknown): RpcError {
  return new RpcError('rpc_closed', 'The connection ended.', { retry: 'later', cause })
}

function settle(waiting: Map<number, Waiting>, message: Message): void {
  const id = readId(message)
  const call = waiting.get(id)
  if (call === undefined) return // The caller left before the answer came.
  if ('event' in message) return call.onEvent?.(message['event'])
  waiting.delete(id)
  if ('error' in message) call.reject(reviveError(readError(message['error'])))
  else call.resolve(message['result'])
}

function receive(
  socket: Socket,
  waiting: Map<number, Waiting>,
  onHello: (hello: Hello) => void,
  onFailure: (error: unknown) => void,
): void {
  const reader = new MessageReader()
  let greeted = false
  let failure: unknown
  const take = (message: Message): void => {
    if (greeted && 'id' in message) return settle(waiting, message)
    if ('error' in message) throw reviveError(readError(message['error']))
    const hello = readHello(message)
    greeted = true
    onHello(hello)
  }
  socket.on('data', (data) => {
    try {
      for (const message of reader.push(data)) take(message)
    } catch (error) {
      failure = error
      socket.destroy()
    }
  })
  socket.on('error', (error) => {
    failure ??= error
  })
  socket.on('close', () => {
    onFailure(failure instanceof HoldfastError ? failure : closed(failure))
    for (const call of waiting.values()) call.reject(closed(failure))
    waiting.clear()
  })
}
