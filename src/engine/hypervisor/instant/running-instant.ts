/**
 * An open instant of a running machine, held by this process. Its end is `commit` or `abort`; both take it apart and are
 * safe to call again, also after an error in the middle: the journal keeps the verdict, and recovery goes on from there.
 *
 * With the job method it also guards the guest: when the scratch is nearly full, or the guest stopped because it is, the
 * job is cancelled and the guest continued at once; the instant is broken then.
 */
import { formatBytes, isHoldfastError } from '#base'
import { HypervisorError } from '../errors.ts'
import type { Instant, InstantDisk } from '../port.ts'
import type { QmpClient, QmpEvent } from '../qmp/client.ts'
import type { ConsistencyReason } from '../quiesce/consistency-reason.ts'
import type { InstantHost, RunningMachine } from './access.ts'
import { dismantle, relieveGuest, removeFiles } from './dismantle.ts'
import { cancelJob, insertedNode, presentExport } from './graph.ts'
import { queryStatus } from './inventory.ts'
import type { InstantJournal, RunningRecord, InstantStep } from './journal.ts'
import type { Moment } from './moment.ts'
import { payPostScript } from './post-script-debt.ts'
import { SCRIPT_MARGIN_MS } from './quiet-guest.ts'
import type { InstantPlan } from './plan.ts'
import { canRead, readableOffset } from './probe.ts'
import { takeOver } from './recover.ts'
import { nextGeneration } from './tracking.ts'
import { freeBytesOf, SCRATCH_FLOOR_BYTES_DEFAULT } from './scratch.ts'

/** What the owner of an instant works with; `record` is what the journal holds now. */
export type OpenState = {
  readonly host: InstantHost
  readonly journal: InstantJournal
  readonly qmp: QmpClient
  record: RunningRecord
}

/** Writes the step to the journal, with what changes by it. A limit holds for its step only. */
export async function enterStep(
  state: OpenState,
  step: InstantStep,
  change: Partial<Pick<RunningRecord, 'postScript' | 'stepMsMax'>> = {},
): Promise<void> {
  const record = { ...state.record, stepMsMax: undefined, ...change, step }
  await state.journal.replace(record)
  state.record = record
  await state.host.onStep?.(step)
}

/**
 * Takes everything apart, closes the record and the monitor. @throws what QEMU or the agent refused; the instant is given up
 * to recovery and the watchdog then, although its owner lives.
 */
export async function closeInstant(state: OpenState, verdict: 'commit' | 'abort'): Promise<void> {
  try {
    await takeApart(state, verdict)
  } catch (error) {
    await state.journal.abandon(state.record.id)
    throw error
  } finally {
    await state.qmp.close()
  }
}

/** A guest that cannot be thawed does not keep its disks on filters: the rest is done all the same. */
async function takeApart(state: OpenState, verdict: 'commit' | 'abort'): Promise<void> {
  const { clock } = state.host
  // An open instant leaves no guest suffering, so its verdict may be written first and survives whatever comes.
  if (state.record.step === 'open') await enterStep(state, verdict)
  try {
    await relieveGuest(state.qmp, clock, state.record)
  } catch (error) {
    await dismantle(state.qmp, clock, state.record, verdict)
    throw error
  }
  const { postScript, step } = state.record
  // It may run for as long as the guest's settings allow, which is not the limit of the step that failed.
  if (postScript !== undefined && step !== verdict)
    await enterStep(state, 'wake', { stepMsMax: postScript.timeoutMs + SCRIPT_MARGIN_MS })
  const isPaid = await payPostScript(clock, state.record)
  const paid = isPaid ? { postScript: undefined } : {}
  // Only now: the step before told what the guest was suffering.
  if (state.record.step !== verdict || isPaid !== (state.record.postScript === undefined))
    await enterStep(state, verdict, paid)
  await dismantle(state.qmp, clock, state.record, verdict)
  await state.host.onStep?.('dismantled')
  await removeFiles(state.record)
  if (isPaid) await state.journal.remove(state.record.id)
  else await state.journal.leaveOwing(state.record)
}

function broken(message: string, cause?: unknown): HypervisorError {
  return new HypervisorError('instant_broken', message, {
    retry: 'later',
    hint: 'Give the scratch folder more room, or back up when the machine writes less.',
    cause,
  })
}

export class RunningInstant implements Instant {
  readonly id: string
  readonly takenAtMs: number
  readonly consistency: Moment['consistency']
  readonly notes: readonly string[]
  readonly reasons: readonly ConsistencyReason[]
  readonly pauseMs: number
  readonly freezeMs: number
  readonly weakerPromise: string | undefined
  readonly machine: RunningMachine['description']
  readonly disks: readonly InstantDisk[]
  readonly #state: OpenState
  /** By LUN, an offset that `check` reads. */
  readonly #readable = new Map<number, number>()
  readonly #forgetEvents: () => void
  #breakage: HypervisorError | undefined
  #guarding: Promise<void> = Promise.resolve()
  #ended: 'commit' | 'abort' | undefined
  #closing: Promise<void> | undefined

  constructor(state: OpenState, plan: InstantPlan, moment: Moment, machine: RunningMachine) {
    this.#state = state
    this.id = plan.id
    this.takenAtMs = moment.takenAtMs
    this.consistency = moment.consistency
    this.notes = [...plan.notes, ...moment.shortfalls.map(({ note }) => note)]
    this.reasons = moment.shortfalls.map(({ code }) => code)
    this.pauseMs = moment.pauseMs
    this.freezeMs = moment.freezeMs
    this.weakerPromise = plan.weakerPromise
    this.machine = machine.description
    this.disks = plan.disks.map((disk) => instantDisk(disk, state.record.nbdSocketPath))
    this.#forgetEvents = state.qmp.onEvent((event) => this.#guard(event))
  }

  /** Looks at the connection, the filters, the room, and reads a sector of every disk: about 50 ms a disk. */
  async check(): Promise<void> {
    await this.#guarding
    if (this.#breakage !== undefined) throw this.#breakage
    const { qmp, host, record } = this.#state
    if (this.#ended !== undefined) throw broken('The instant is closed.')
    if (qmp.failure !== undefined) throw broken('The connection to QEMU was lost.', qmp.failure)
    for (const disk of record.disks) {
      if (disk.method === 'filter' && (await this.#inserted(disk.qomPath)) !== disk.filterNode) {
        throw broken(`The filter of disk ${disk.lun} was removed.`)
      }
    }
    for (const disk of this.disks) {
      if (!(await this.#isReadable(disk))) throw broken(`The scratch of disk ${disk.lun} was full or too slow.`)
    }
    const freeBytes = await freeBytesOf(host.scratchFolder)
    const floorBytes = host.scratchFloorBytes ?? SCRATCH_FLOOR_BYTES_DEFAULT
    if (freeBytes < floorBytes) throw broken(`The scratch folder has only ${formatBytes(freeBytes)} left.`)
  }

  /** QEMU may die between the look at the connection and this. */
  async #inserted(qomPath: string): Promise<string | undefined> {
    try {
      return await insertedNode(this.#state.qmp, qomPath)
    } catch (error) {
      throw isHoldfastError(error, 'qmp_disconnected') ? broken('The connection to QEMU was lost.', error) : error
    }
  }

  async #isReadable(disk: InstantDisk): Promise<boolean> {
    if (disk.source.kind !== 'nbd') return true
    const offset = this.#readable.get(disk.lun) ?? (await readableOffset(disk.source))
    if (offset === undefined) return true
    this.#readable.set(disk.lun, offset)
    return canRead(disk.source, offset)
  }

  async commit(): Promise<void> {
    await this.#end('commit')
  }

  async abort(_reason: string): Promise<void> {
    await this.#end('abort')
  }

  async #end(verdict: 'commit' | 'abort'): Promise<void> {
    const { host, journal } = this.#state
    if (this.#ended !== undefined && this.#ended !== verdict) {
      throw new HypervisorError('instant_failed', `The instant was closed by ${this.#ended} already.`, {
        facts: { id: this.id, verdict },
      })
    }
    if (this.#ended === verdict) {
      // Closed, being closed, or given up after an error: then the journal holds the verdict, and anybody may go on.
      await this.#closing?.catch(() => takeOver(host.clock, journal, this.id))
      return
    }
    this.#ended = verdict
    this.#forgetEvents()
    this.#closing = this.#guarding.then(() => closeInstant(this.#state, verdict))
    await this.#closing.catch(async (error: unknown) => {
      if (!isHoldfastError(error, 'qmp_disconnected')) throw error
      // QEMU ended, and with it all that would have to be removed there.
      await takeOver(host.clock, journal, this.id)
    })
  }

  #guard(event: QmpEvent): void {
    if (this.weakerPromise === undefined) return
    if (event.name !== 'STOP' && event.name !== 'BLOCK_WRITE_THRESHOLD') return
    this.#guarding = this.#guarding
      .then(() => this.#relieve(event.name))
      .catch((error: unknown) => {
        this.#breakage ??= broken('The scratch filled, and the backup job could not be cancelled.', error)
      })
  }

  /** Gives the instant up for the guest's sake. A guest that was stopped for another reason is left alone. */
  async #relieve(cause: string): Promise<void> {
    const { qmp, host, record } = this.#state
    const ioError = (await queryStatus(qmp)) === 'io-error'
    if (cause === 'STOP' && !ioError) return
    this.#breakage ??= broken('The scratch filled; the backup job was cancelled so that the machine goes on.')
    for (const disk of record.disks) {
      if (disk.method === 'job') await cancelJob(qmp, host.clock, disk.jobId)
    }
    if ((await queryStatus(qmp)) === 'io-error') await qmp.execute('cont')
  }
}

function instantDisk(
  disk: RunningRecord['disks'][number] | InstantPlan['disks'][number],
  socketPath: string,
): InstantDisk {
  const { previous } = disk.tracking
  const generation = nextGeneration(disk.tracking)
  const context = previous === undefined ? {} : { bitmapContext: `qemu:dirty-bitmap:${previous}` }
  return {
    lun: disk.lun,
    diskId: disk.diskId,
    format: disk.format,
    sizeBytes: disk.sizeBytes,
    source: { kind: 'nbd', socketPath, exportName: disk.exportName, ...context },
    ...(generation === undefined ? {} : { generation }),
    ...(previous === undefined ? {} : { present: { socketPath, exportName: presentExport(disk).name } }),
    changes: disk.tracking.changes,
    releases: disk.method === 'filter',
  }
}
