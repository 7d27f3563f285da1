/**
 * QmpClient speaks the QEMU Machine Protocol with one monitor of one QEMU (docs/interop/qmp-spec.rst).
 *
 * Promises
 *   1. Every command is answered once: with its value, with `qmp_command_failed` (class and desc in the facts), with
 *      `timed_out`, or with `qmp_disconnected` when the monitor goes away. Nothing waits for ever.
 *   2. Commands may be in flight together; QEMU runs them in the order in which `execute` was called.
 *   3. An event that arrives after `expectEvent` was called is never missed, however late `within` is called.
 *   4. A monitor that another client holds is `qmp_busy`: QEMU lets a second client connect and then never greets it.
 *
 * A timed-out command may still run inside QEMU: the caller must look at the state before it repeats it.
 * A crash of ours closes the socket; QEMU drops the client and accepts the next one. What was done stays done.
 */
import { createConnection, type Socket } from 'node:net'
import { BaseError, type Clock, errnoOf, messageOf } from '#base'
import { HypervisorError } from '../errors.ts'
import { within } from './deadline.ts'
import { LineSplitter } from './line-splitter.ts'
import { asCount, asObject, isObject, type JsonObject, textOr } from './shape.ts'

export type QmpEvent = Readonly<{ name: string; data: JsonObject; atMs: number }>
export type QmpVersion = Readonly<{ major: number; minor: number; micro: number; package: string }>
export type QmpOptions = Readonly<{ clock: Clock; connectTimeoutMs?: number; commandTimeoutMs?: number }>
export type EventPredicate = (event: QmpEvent) => boolean

/** An event that is being listened for since the moment this was made. */
export type EventExpectation = Readonly<{
  /** The first matching event since then. @throws BaseError `timed_out`, or `qmp_disconnected`. */
  within(timeoutMs: number): Promise<QmpEvent>
  /** Stops listening. Harmless after the event came. */
  cancel(): void
}>

const CONNECT_MS_DEFAULT = 5_000
/** blockdev-add opens files and qom-set drains a disk: on a loaded host seconds, never a minute. */
const COMMAND_MS_DEFAULT = 30_000
/** More unanswered commands than this are a fault of ours that must not become QEMU's. */
const IN_FLIGHT_MAX = 1_000

type Pending = Readonly<{ command: string; resolve: (value: unknown) => void; reject: (error: Error) => void }>
type Watcher = Readonly<{
  name: string
  matches: EventPredicate
  resolve: (event: QmpEvent) => void
  reject: (error: Error) => void
}>

function openSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ path })
    socket.once('connect', () => resolve(socket))
    socket.once('error', (cause) => {
      const hint = 'Is the machine running, and may this user open its monitor socket?'
      const facts = { socketPath: path, errno: errnoOf(cause) }
      reject(
        new HypervisorError('qmp_unreachable', `No QEMU answers at ${path}.`, { facts, retry: 'later', hint, cause }),
      )
    })
  })
}

function commandFailed(command: string, reply: JsonObject): HypervisorError {
  const error = isObject(reply['error']) ? reply['error'] : {}
  const desc = textOr(error['desc'], 'no description')
  return new HypervisorError('qmp_command_failed', `QEMU refused ${command}: ${desc}`, {
    facts: { command, class: textOr(error['class'], 'GenericError'), desc },
  })
}

function eventOf(message: JsonObject): QmpEvent {
  const timestamp = isObject(message['timestamp']) ? message['timestamp'] : {}
  const seconds = Number(timestamp['seconds'] ?? 0)
  const microseconds = Number(timestamp['microseconds'] ?? 0)
  return {
    name: textOr(message['event'], ''),
    data: isObject(message['data']) ? message['data'] : {},
    atMs: seconds * 1000 + microseconds / 1000,
  }
}

export class QmpClient {
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #commandTimeoutMs: number
  readonly #splitter = new LineSplitter()
  readonly #pending = new Map<string, Pending>()
  readonly #watchers = new Set<Watcher>()
  readonly #listeners = new Set<(event: QmpEvent) => void>()
  readonly #greeted = Promise.withResolvers<JsonObject>()
  readonly #ended = Promise.withResolvers<HypervisorError>()
  #version: QmpVersion = { major: 0, minor: 0, micro: 0, package: '' }
  #failure: HypervisorError | undefined
  #sent = 0

  private constructor(socket: Socket, options: QmpOptions) {
    this.#socket = socket
    this.#clock = options.clock
    this.#commandTimeoutMs = options.commandTimeoutMs ?? COMMAND_MS_DEFAULT
    this.#greeted.promise.catch(() => {
      // Whoever connects awaits it; when nobody does any more, the failure has already reached everybody by #fail.
    })
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    socket.on('error', (cause) => this.#fail('qmp_disconnected', 'The connection to QEMU failed.', cause))
    socket.on('close', () => this.#fail('qmp_disconnected', 'QEMU closed the monitor connection.'))
  }

  /** Connects, waits for the greeting and negotiates capabilities. @throws `qmp_unreachable`, `qmp_busy`. */
  static async connect(socketPath: string, options: QmpOptions): Promise<QmpClient> {
    const timeoutMs = options.connectTimeoutMs ?? CONNECT_MS_DEFAULT
    const client = new QmpClient(await openSocket(socketPath), options)
    try {
      const greeting = await within(options.clock, timeoutMs, client.#greeted.promise, () =>
        busy(socketPath, timeoutMs),
      )
      client.#version = versionOf(greeting)
      await client.execute('qmp_capabilities', {}, { timeoutMs })
      return client
    } catch (error) {
      await client.close()
      throw error
    }
  }

  get version(): QmpVersion {
    return this.#version
  }

  /** Why the connection is over; undefined while it lives. */
  get failure(): HypervisorError | undefined {
    return this.#failure
  }

  /** Resolves with the reason when the connection ends, also after `close`. Never rejects. */
  get ended(): Promise<HypervisorError> {
    return this.#ended.promise
  }

  /** Runs one command and returns its `return` member. `args` are sent as they stand (QMP spelling). */
  execute(command: string, args: JsonObject = {}, options: Readonly<{ timeoutMs?: number }> = {}): Promise<unknown> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#pending.size >= IN_FLIGHT_MAX) {
      const facts = { command, inFlight: this.#pending.size }
      return Promise.reject(
        new HypervisorError('qmp_busy', 'Too many commands wait for QEMU.', { facts, retry: 'later' }),
      )
    }
    this.#sent += 1
    const id = `hf-${this.#sent}`
    const reply = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject })
    })
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    const timeoutMs = options.timeoutMs ?? this.#commandTimeoutMs
    return within(this.#clock, timeoutMs, reply, () => {
      this.#pending.delete(id)
      const facts = { command, timeoutMs }
      return new BaseError('timed_out', `QEMU did not answer ${command} within ${timeoutMs} ms.`, {
        facts,
        retry: 'later',
      })
    })
  }

  /**
   * Sends every command that `send` executes in one write: QEMU has them all before it begins with the first, and needs
   * nothing more from us until the last. `send` must not wait.
   */
  inOneWrite<T>(send: () => T): T {
    this.#socket.cork()
    try {
      return send()
    } finally {
      this.#socket.uncork()
    }
  }

  /** Starts to listen for an event now; call it before the command that raises the event. */
  expectEvent(name: string, matches: EventPredicate = () => true): EventExpectation {
    const seen = Promise.withResolvers<QmpEvent>()
    seen.promise.catch(() => {
      // An expectation that nobody waits for must not end the process; who waits gets the same error from `within`.
    })
    const watcher: Watcher = { name, matches, resolve: seen.resolve, reject: seen.reject }
    if (this.#failure === undefined) this.#watchers.add(watcher)
    else seen.reject(this.#failure)
    const cancel = (): void => {
      this.#watchers.delete(watcher)
    }
    const wait = (timeoutMs: number): Promise<QmpEvent> =>
      within(this.#clock, timeoutMs, seen.promise, () => {
        cancel()
        const facts = { event: name, timeoutMs }
        return new BaseError('timed_out', `QEMU raised no ${name} within ${timeoutMs} ms.`, { facts, retry: 'later' })
      })
    return { within: wait, cancel }
  }

  /** The next matching event from now on. To wait for what a command raises, use `expectEvent` before it. */
  waitFor(name: string, matches: EventPredicate, timeoutMs: number): Promise<QmpEvent> {
    return this.expectEvent(name, matches).within(timeoutMs)
  }

  /** Runs a command and waits for the event that it leads to. @throws as `execute` and `expectEvent`. */
  async executeUntil(
    command: string,
    args: JsonObject,
    until: Readonly<{ event: string; matches?: EventPredicate; timeoutMs: number }>,
  ): Promise<QmpEvent> {
    const expected = this.expectEvent(until.event, until.matches)
    try {
      await this.execute(command, args)
    } catch (error) {
      expected.cancel()
      throw error
    }
    return expected.within(until.timeoutMs)
  }

  /** Calls `listener` for every event until the returned function is called. The listener must not throw. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Ends the connection; commands in flight fail with `qmp_disconnected`. Idempotent. */
  async close(): Promise<void> {
    this.#fail('qmp_disconnected', 'The monitor connection was closed by us.')
    if (this.#socket.closed) return
    await new Promise<void>((resolve) => {
      this.#socket.once('close', () => resolve())
      this.#socket.destroy()
    })
  }

  #receive(bytes: Buffer): void {
    if (this.#failure !== undefined) return
    try {
      for (const line of this.#splitter.push(bytes)) {
        const text = line.toString('utf8').trim()
        if (text !== '') this.#handle(asObject(JSON.parse(text), 'a QMP message'))
      }
    } catch (cause) {
      this.#fail('qmp_protocol_violation', `What QEMU sent is not QMP: ${messageOf(cause)}`, cause)
    }
  }

  #handle(message: JsonObject): void {
    if (isObject(message['QMP'])) return this.#greeted.resolve(message['QMP'])
    if (typeof message['event'] === 'string') return this.#publish(eventOf(message))
    const id = message['id']
    if (typeof id !== 'string') {
      const error = isObject(message['error']) ? textOr(message['error']['desc'], '') : ''
      return this.#fail('qmp_protocol_violation', `QEMU answered nothing that was asked: ${error || 'no id'}.`)
    }
    const pending = this.#pending.get(id)
    if (pending === undefined) return // the answer to a command that timed out
    this.#pending.delete(id)
    if ('error' in message) pending.reject(commandFailed(pending.command, message))
    else pending.resolve(message['return'])
  }

  #publish(event: QmpEvent): void {
    for (const watcher of this.#watchers) {
      if (watcher.name !== event.name || !watcher.matches(event)) continue
      this.#watchers.delete(watcher)
      watcher.resolve(event)
    }
    for (const listener of this.#listeners) listener(event)
  }

  #fail(code: 'qmp_disconnected' | 'qmp_protocol_violation', message: string, cause?: unknown): void {
    if (this.#failure !== undefined) return
    const failure = new HypervisorError(code, message, {
      retry: code === 'qmp_disconnected' ? 'later' : 'never',
      cause,
    })
    this.#failure = failure
    this.#socket.destroy()
    this.#greeted.reject(failure)
    for (const pending of this.#pending.values()) pending.reject(failure)
    for (const watcher of this.#watchers) watcher.reject(failure)
    this.#pending.clear()
    this.#watchers.clear()
    this.#ended.resolve(failure)
  }
}

function busy(socketPath: string, timeoutMs: number): HypervisorError {
  return new HypervisorError('qmp_busy', `The monitor at ${socketPath} is held by another client.`, {
    facts: { socketPath, timeoutMs },
    retry: 'later',
    hint: 'A QEMU monitor serves one client at a time: give Holdfast a monitor of its own (-qmp unix:...).',
  })
}

function versionOf(greeting: JsonObject): QmpVersion {
  const version = asObject(greeting['version'], 'the version')
  const qemu = asObject(version['qemu'], 'the version of QEMU')
  return {
    major: asCount(qemu['major'], 'the major version'),
    minor: asCount(qemu['minor'], 'the minor version'),
    micro: asCount(qemu['micro'], 'the micro version'),
    package: textOr(version['package'], ''),
  }
}
