/**
 * AgentClient speaks with the QEMU guest agent of one machine over its chardev socket (docs/interop/qemu-ga-ref.rst).
 *
 * Promises
 *   1. One conversation per machine at a time (lock.ts); `close` gives the turn back.
 *   2. Every call has a deadline. After a missed one the stream is synchronised again (`guest-sync-delimited`) before the
 *      next command, so that a late answer is never taken for another command's.
 *   3. What only a frozen agent says is `agent_frozen`; a silent one is `agent_unavailable`.
 *
 * The agent inside the guest is not trusted: it may say anything, at any length up to the limit, or nothing.
 * **A Linux agent never thaws by itself, and a lost connection does not thaw it.** Who freezes writes that down first
 * (instant/journal.ts), so that the watchdog thaws whatever dies.
 */
import { createConnection, type Socket } from 'node:net'
import { BaseError, type Clock, isHoldfastError, MIB } from '#base'
import { HypervisorError } from '../errors.ts'
import { within } from '../qmp/deadline.ts'
import { LineSplitter } from '../qmp/line-splitter.ts'
import { isObject, type JsonObject, textOr } from '../qmp/shape.ts'
import { lockAgent } from './lock.ts'

export type AgentOptions = Readonly<{
  clock: Clock
  /** How long to wait for other conversations to end. */
  lockTimeoutMs?: number
  /** How long to wait for the agent to answer at all; it is asked again every PROBE_MS. */
  readyTimeoutMs?: number
}>
export type CommandTimeout = Readonly<{ timeoutMs?: number }>

const LOCK_MS_DEFAULT = 30_000
const READY_MS_DEFAULT = 2_000
const COMMAND_MS_DEFAULT = 10_000
/** An idle agent answers in milliseconds; measured under load at most 0.2 s. */
const PROBE_MS = 500
/** The agent's own limit for file reads and exec output is 16 MiB, base64 adds a third (qga/commands.c). */
const ANSWER_BYTES_MAX = 32 * MIB
const SENTINEL = 0xff

let syncIds = 0

function unavailable(socketPath: string, cause?: unknown): HypervisorError {
  return new HypervisorError('agent_unavailable', 'The guest agent does not answer.', {
    facts: { socketPath },
    retry: 'later',
    hint: 'Install and start qemu-guest-agent in the guest; check that no other program holds its channel.',
    cause,
  })
}

function commandFailed(command: string, error: JsonObject): HypervisorError {
  const desc = textOr(error['desc'], 'no description')
  const facts = { command, class: textOr(error['class'], 'GenericError'), desc }
  if (/frozen/i.test(desc)) {
    return new HypervisorError('agent_frozen', `The guest's file systems are frozen: ${command} has to wait.`, {
      facts,
      retry: 'later',
    })
  }
  return new HypervisorError('agent_command_failed', `The guest agent refused ${command}: ${desc}`, { facts })
}

function openSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ path })
    socket.once('connect', () => resolve(socket))
    socket.once('error', (cause) => reject(unavailable(path, cause)))
  })
}

export class AgentClient {
  readonly #socketPath: string
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #release: () => void
  readonly #splitter = new LineSplitter(ANSWER_BYTES_MAX)
  #answers: ((message: JsonObject) => void) | undefined
  #inStep = false
  #failure: HypervisorError | undefined
  readonly #ended = Promise.withResolvers<never>()

  private constructor(socketPath: string, socket: Socket, clock: Clock, release: () => void) {
    this.#socketPath = socketPath
    this.#socket = socket
    this.#clock = clock
    this.#release = release
    this.#ended.promise.catch(() => {
      // Raced against every answer; between commands nobody waits and the next command fails by #failure.
    })
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    socket.on('error', (cause) => this.#fail(cause))
    socket.on('close', () => this.#fail())
  }

  /**
   * Takes the machine's agent lock, connects and waits until the agent answers.
   * @throws `agent_busy`, `agent_unavailable`; nothing is held then.
   */
  static async open(socketPath: string, options: AgentOptions): Promise<AgentClient> {
    const release = await lockAgent(options.clock, socketPath, options.lockTimeoutMs ?? LOCK_MS_DEFAULT)
    let client: AgentClient | undefined
    try {
      client = new AgentClient(socketPath, await openSocket(socketPath), options.clock, release)
      await client.ready(options.readyTimeoutMs ?? READY_MS_DEFAULT)
      return client
    } catch (error) {
      if (client === undefined) release()
      else await client.close()
      throw error
    }
  }

  /** Asks until the agent answers. @throws `agent_unavailable`. */
  async ready(timeoutMs: number): Promise<void> {
    const endMs = this.#clock.monotonicMs() + timeoutMs
    for (;;) {
      const leftMs = endMs - this.#clock.monotonicMs()
      try {
        return await this.#synchronise(Math.max(1, Math.min(PROBE_MS, leftMs)))
      } catch (error) {
        if (!isHoldfastError(error, 'timed_out')) throw error
        if (this.#clock.monotonicMs() >= endMs) throw unavailable(this.#socketPath, error)
      }
    }
  }

  /** Runs one agent command and returns its `return` member. */
  async command(name: string, args: JsonObject = {}, options: CommandTimeout = {}): Promise<unknown> {
    const timeoutMs = options.timeoutMs ?? COMMAND_MS_DEFAULT
    if (!this.#inStep) await this.ready(Math.min(timeoutMs, READY_MS_DEFAULT))
    this.#inStep = false
    const answer = await this.#ask(name, { execute: name, arguments: args }, timeoutMs, () => true)
    this.#inStep = true
    if ('error' in answer) throw commandFailed(name, isObject(answer['error']) ? answer['error'] : {})
    return answer['return']
  }

  /** Sends a command that a working guest does not answer, such as `guest-shutdown`. */
  async commandWithoutAnswer(name: string, args: JsonObject = {}): Promise<void> {
    if (!this.#inStep) await this.ready(READY_MS_DEFAULT)
    this.#inStep = false
    this.#send({ execute: name, arguments: args })
  }

  /** Ends the conversation and gives the turn back. Idempotent. */
  async close(): Promise<void> {
    this.#fail()
    if (!this.#socket.closed) {
      await new Promise<void>((resolve) => {
        this.#socket.once('close', () => resolve())
        this.#socket.destroy()
      })
    }
    this.#release()
  }

  async #synchronise(timeoutMs: number): Promise<void> {
    syncIds += 1
    const id = (Math.trunc(this.#clock.nowMs()) + syncIds * 7919) % 0x7fff_ffff
    this.#socket.write(Buffer.of(SENTINEL))
    const request = { execute: 'guest-sync-delimited', arguments: { id } }
    await this.#ask('guest-sync-delimited', request, timeoutMs, (message) => message['return'] === id)
    this.#inStep = true
  }

  /** Sends and waits for the first message that `isAnswer` accepts; others are leftovers of earlier conversations. */
  async #ask(
    name: string,
    request: JsonObject,
    timeoutMs: number,
    isAnswer: (message: JsonObject) => boolean,
  ): Promise<JsonObject> {
    if (this.#failure !== undefined) throw this.#failure
    const answered = Promise.withResolvers<JsonObject>()
    this.#answers = (message) => {
      if (isAnswer(message)) answered.resolve(message)
    }
    try {
      this.#send(request)
      return await within(this.#clock, timeoutMs, Promise.race([answered.promise, this.#ended.promise]), () => {
        const facts = { command: name, timeoutMs }
        return new BaseError('timed_out', `The guest agent did not answer ${name} within ${timeoutMs} ms.`, {
          facts,
          retry: 'later',
        })
      })
    } finally {
      this.#answers = undefined
    }
  }

  #send(request: JsonObject): void {
    this.#socket.write(`${JSON.stringify(request)}\n`)
  }

  #receive(bytes: Buffer): void {
    if (this.#failure !== undefined) return
    try {
      for (const line of this.#splitter.push(bytes)) {
        const message = parsed(line)
        if (message !== undefined) this.#answers?.(message)
      }
    } catch (cause) {
      this.#fail(cause)
    }
  }

  #fail(cause?: unknown): void {
    if (this.#failure !== undefined) return
    this.#failure = unavailable(this.#socketPath, cause)
    this.#socket.destroy()
    this.#ended.reject(this.#failure)
  }
}

/** The message after the last sentinel of a line; undefined for a torn or foreign one, which synchronising skips. */
function parsed(line: Buffer): JsonObject | undefined {
  const text = line.subarray(line.lastIndexOf(SENTINEL) + 1).toString('utf8')
  try {
    const message: unknown = JSON.parse(text)
    return isObject(message) ? message : undefined
  } catch {
    return undefined // half a message from before we connected: skipped by design, see above
  }
}

/** Opens a conversation, runs `talk` and closes it, whatever happens. */
export async function withAgent<T>(
  socketPath: string,
  options: AgentOptions,
  talk: (agent: AgentClient) => Promise<T>,
): Promise<T> {
  const agent = await AgentClient.open(socketPath, options)
  try {
    return await talk(agent)
  } finally {
    await agent.close()
  }
}
