/**
 * One moment of several running machines: all are made ready, all are stopped, and none goes on before the last one stands
 * still. So whatever one of them did after its instant came after the instant of every other: what they say to each other
 * is never received before it was sent.
 *
 *   machine A   scripts . freeze, ready . stop . . filters, go on
 *   machine B   . scripts freeze, ready . . stop . filters, go on
 *                       all quiet       all ready  all stopped
 *
 * `skewMs` bounds how far apart the stops were: from when all were ready to when the last was seen to stand. All or none: if one cannot be taken the others are aborted. Machines that wait
 * for each other wait at most MEET_MS_MAX, for each other's pre-scripts as long as those may take; then all go on and there is no
 * instant. None is frozen before the last pre-script has ended.
 */
import { assert, BaseError, type Clock } from '#base'
import { HypervisorError } from '../errors.ts'
import type { Instant, OpenInstantOptions } from '../port.ts'
import type { InstantHost, RunningMachine } from './access.ts'
import { SCRIPT_SECONDS_MAX } from '../quiesce/script-settings.ts'
import { openRunningInstant } from './open-running.ts'

export type Together = Readonly<{ instants: readonly Instant[]; skewMs: number }>
export type OneOfTogether = Readonly<{ machine: RunningMachine; options: OpenInstantOptions }>

/** Windows thaws by itself after 10 s, and a guest that stands still for longer is missed. */
const MEET_MS_MAX = 8_000
/** What a pre-script may take, and preparing beside it. */
const QUIET_MS_MAX = SCRIPT_SECONDS_MAX * 1_000 + 60_000

/** Where all meet; broken by the first that fails. */
class MeetingPlace {
  readonly #clock: Clock
  readonly #waitMsMax: number
  readonly #open = Promise.withResolvers<void>()
  readonly #over = new AbortController()
  #missing: number

  constructor(count: number, clock: Clock, waitMsMax: number) {
    this.#missing = count
    this.#clock = clock
    this.#waitMsMax = waitMsMax
    this.#open.promise.catch(() => {
      // Those who wait hear of it; there may be none.
    })
  }

  async arrive(): Promise<void> {
    this.#missing -= 1
    if (this.#missing === 0) {
      this.#open.resolve()
      this.#over.abort()
    }
    await Promise.race([this.#open.promise, this.#tooLate()])
  }

  break(reason: unknown): void {
    this.#open.reject(reason)
    this.#over.abort()
  }

  async #tooLate(): Promise<void> {
    try {
      await this.#clock.sleep(this.#waitMsMax, this.#over.signal)
    } catch {
      return this.#open.promise // All came, or one failed.
    }
    throw new HypervisorError('instant_failed', `The machines were not all ready within ${this.#waitMsMax} ms.`, {
      retry: 'later',
    })
  }
}

/** A machine whose devices refuse filters begins a second time, and would be late: all of it is done again by jobs then. */
class BeganTwice extends Error {}

type Meeting = Readonly<{
  quiet: MeetingPlace
  ready: MeetingPlace
  stopped: MeetingPlace
  begun: Set<number>
  readyMs: Map<number, number>
  stoppedMs: Map<number, number>
}>

function stepsOf(host: InstantHost, meeting: Meeting, at: number): InstantHost {
  return {
    ...host,
    whenStill: async () => {
      meeting.stoppedMs.set(at, host.clock.monotonicMs())
      await meeting.stopped.arrive()
    },
    onStep: async (step) => {
      if (step === 'prepare.bitmaps') {
        if (meeting.begun.has(at)) throw new BeganTwice()
        meeting.begun.add(at)
      }
      if (step === 'quiesced') await meeting.quiet.arrive()
      if (step === 'pause') {
        await meeting.ready.arrive()
        meeting.readyMs.set(at, host.clock.monotonicMs())
      }
      await host.onStep?.(step)
    },
  }
}

async function attempt(host: InstantHost, machines: readonly OneOfTogether[]): Promise<Together> {
  const { clock } = host
  const meeting: Meeting = {
    quiet: new MeetingPlace(machines.length, clock, QUIET_MS_MAX),
    ready: new MeetingPlace(machines.length, clock, MEET_MS_MAX),
    stopped: new MeetingPlace(machines.length, clock, MEET_MS_MAX),
    begun: new Set(),
    readyMs: new Map(),
    stoppedMs: new Map(),
  }
  const opened = await Promise.allSettled(
    machines.map(async ({ machine, options }, at) => {
      try {
        return await openRunningInstant(stepsOf(host, meeting, at), machine, options)
      } catch (error) {
        meeting.quiet.break(error)
        meeting.ready.break(error)
        meeting.stopped.break(error)
        throw error
      }
    }),
  )
  const failed = opened.filter((one) => one.status === 'rejected')
  const instants = opened.filter((one) => one.status === 'fulfilled').map(({ value }) => value)
  if (failed.length > 0) {
    await Promise.allSettled(instants.map((instant) => instant.abort('another machine could not be taken')))
    throw (failed.find(({ reason }) => reason instanceof BeganTwice) ?? failed[0])?.reason
  }
  return { instants, skewMs: Math.max(...meeting.stoppedMs.values()) - Math.min(...meeting.readyMs.values()) }
}

/**
 * Instants of all the machines at one moment, in their order.
 * @throws what openRunningInstant throws for any of them, `instant_failed` when they do not meet; nothing is open then
 */
export async function openTogether(host: InstantHost, machines: readonly OneOfTogether[]): Promise<Together> {
  assert(machines.length > 0, 'Somebody is to be taken')
  const [first, ...others] = machines
  if (first !== undefined && others.length === 0)
    return { instants: [await openRunningInstant(host, first.machine, first.options)], skewMs: 0 }
  try {
    return await attempt(host, machines)
  } catch (error) {
    if (!(error instanceof BeganTwice)) throw error
    if (machines.some(({ options }) => options.signal?.aborted === true))
      throw new BaseError('cancelled', 'The instant was cancelled before it was taken.')
    return attempt({ ...host, jobsOnly: true }, machines)
  }
}
