/**
 * What all jobs on machines share: their parts, the steps that start and stop one, and what is done when one fails.
 *
 *   dies                            what is left                     what goes on
 *   serve, at any moment            the record says the step         the next serve takes the job over from its last step
 *   the worker, while starting      a QEMU or none                   the task begins again and finds out which
 *   serve, before recording         a machine that runs              the task is asked again and says so
 *   the job fails or is cancelled   a state in between               `settle` ends what may run, and puts the record back
 */
import { type ErrorShape, errorShapeOf, isoTime } from '#base'
import type { CatalogTransaction } from '#catalog'
import { type OwnMachineBacking, powerMove, settledPower } from '#domain'
import { JobsError } from '../../errors.ts'
import type { JobContext, StepContext } from '../../port.ts'
import type { SealedOrders } from '../../sealed-orders.ts'
import { type ComputeParts, WORKER_RETRY } from '../create-disk.ts'
import { whyNotHere } from './host-room.ts'
import {
  type BackingChange,
  changeMachine,
  findOwnMachine,
  hostNameFor,
  nicsOfMachine,
  ownMachineOf,
  setDisks,
  sizeOfMachine,
  wantedMachine,
} from './machine-records.ts'
import {
  START_MACHINE_TASK,
  type StartedMachine,
  type StartMachineInput,
  STOP_MACHINE_TASK,
  type StopMachineInput,
} from './machine-tasks.ts'
import type { MachineNetwork } from '#engine/hypervisor'
import { findResource, type ResourceRecord } from '#catalog'
import { plugCards, unplugCards } from '../../network/apply-network.ts'

/** Folder of the home in which orders of machines are sealed. */
export const MACHINE_ORDERS = 'machine-orders'

export type MachineJobParts = ComputeParts & Readonly<{ orders: SealedOrders }>
export type MachineIdInput = Readonly<{ id: string }>

/** Guests take their time to end their services; then the plug is pulled. */
export const SHUTDOWN_MS_MAX = 90_000

/** The rest of an input was made by the API; each job knows its own. */
export function readIdInput(given: unknown): MachineIdInput {
  const isRecord = typeof given === 'object' && given !== null && 'id' in given
  if (isRecord && typeof given.id === 'string') return given as MachineIdInput
  throw new JobsError('job_input_invalid', 'The job’s input has no valid id.')
}

type Moving = Readonly<{ to: OwnMachineBacking['power']; more?: BackingChange }>

/** Writes the next power state, and keeps where it rested for the time in between. */
export async function movePower(
  trx: CatalogTransaction,
  parts: Pick<MachineJobParts, 'source'>,
  id: string,
  { to, more = {} }: Moving,
): Promise<void> {
  const record = await findResource(trx, id)
  const own = record === undefined ? undefined : ownMachineOf(record)
  if (own === undefined) return
  const isBetween = to === 'starting' || to === 'stopping' || to === 'deallocating'
  const powerBefore = isBetween ? (own.powerBefore ?? settledPower(own.power)) : undefined
  await changeMachine(trx, id, { backing: { ...more, power: powerMove(own.power, to), powerBefore } }, parts.source)
}

type Admission = Readonly<{ admitted: true } | { admitted: false; why: string }>

/** Takes the room that the machine needs, in one transaction with the look whether there is some. */
async function admit(parts: MachineJobParts, id: string): Promise<Admission> {
  const { catalog, source } = parts
  return catalog.write(async (trx) => {
    const { record, own } = await findOwnMachine(trx, id)
    if (record.state === 'Deleting') throw new JobsError('machine_not_there', `The machine ${id} is being deleted.`)
    const why = own.allocated ? undefined : await whyNotHere(trx, id, sizeOfMachine(record))
    if (why !== undefined) return { admitted: false, why }
    const more: BackingChange = { wanted: 'running', allocated: true, why: undefined }
    if (own.power !== 'running') await movePower(trx, parts, id, { to: 'starting', more })
    await setDisks(trx, record, 'Attached', source)
    return { admitted: true }
  })
}

async function startOnWorker(
  parts: MachineJobParts,
  step: StepContext,
  id: string,
  networks: readonly MachineNetwork[],
): Promise<StartedMachine> {
  const { catalog, tasks, orders } = parts
  const { record, own } = await findOwnMachine(catalog, id)
  const seed = own.seed === undefined ? undefined : await orders.get(own.seed)
  const input: StartMachineInput = {
    machine: await wantedMachine(catalog, record, own, networks),
    ...(seed !== undefined && { seed }),
  }
  return (await tasks.run(step, START_MACHINE_TASK, input)) as StartedMachine
}

async function recordStart(parts: MachineJobParts, id: string, started: StartedMachine): Promise<void> {
  const { catalog, source, orders } = parts
  const { own } = await findOwnMachine(catalog, id)
  await catalog.write(async (trx) => {
    const { record } = await findOwnMachine(trx, id)
    const more = { startedMs: started.startedAtMs, seed: undefined, why: undefined }
    await movePower(trx, parts, id, { to: 'running', more })
    await setDisks(trx, record, 'Attached', source, { name: record.name, ...started.sockets })
  })
  if (own.seed !== undefined) await orders.remove(own.seed)
}

type Cards = Readonly<{ cards: readonly string[]; machine: string }>

async function cardsOf({ catalog }: MachineJobParts, id: string): Promise<Cards> {
  const { record } = await findOwnMachine(catalog, id)
  return { cards: nicsOfMachine(record).map((nic) => nic.id), machine: hostNameFor(record) }
}

/**
 * Starts the machine, or finds it running. False when the host has no room for it: it is then as it was, and says why.
 * @param label names the steps, which are unique in a job
 */
export async function startSteps(job: JobContext, parts: MachineJobParts, id: string, label = ''): Promise<Admission> {
  const admission = await job.step(`${label}take its room`, () => admit(parts, id))
  if (!admission.admitted) return admission
  const cards = await job.step(`${label}which cards it has`, () => cardsOf(parts, id))
  const networks = await plugCards(job, parts, { name: `${label}networks`, ...cards })
  const started = await job.step(`${label}start`, (step) => startOnWorker(parts, step, id, networks), {
    retry: WORKER_RETRY,
  })
  await job.step(`${label}record the start`, () => recordStart(parts, id, started))
  return admission
}

export type StopSteps = Readonly<{ how: StopMachineInput['how']; label?: string }>

/** Ends its run; afterwards nothing of it runs. The record keeps its state in between: the caller says what it is then. */
export async function stopSteps(
  job: JobContext,
  parts: MachineJobParts,
  id: string,
  { how, label = '' }: StopSteps,
): Promise<void> {
  const { catalog, tasks } = parts
  await job.step(
    `${label}stop`,
    async (step) => {
      const { own } = await findOwnMachine(catalog, id)
      const input: StopMachineInput = { name: own.machine, how, deadlineMs: SHUTDOWN_MS_MAX }
      await tasks.run(step, STOP_MACHINE_TASK, input)
    },
    { retry: WORKER_RETRY },
  )
  const { cards } = await job.step(`${label}which cards it had`, () => cardsOf(parts, id))
  await unplugCards(job, parts, { name: `${label}networks`, cards })
}

/** What a machine is when it does not run any more. */
export async function recordRest(
  parts: MachineJobParts,
  id: string,
  to: 'stopped' | 'deallocated',
  more: BackingChange = {},
): Promise<void> {
  const { catalog, source } = parts
  await catalog.write(async (trx) => {
    const { record, own } = await findOwnMachine(trx, id)
    if (own.power === 'deallocated' && to === 'stopped') return // somebody was quicker, and it needs its host no more
    const allocated = to === 'stopped'
    const rest = { startedMs: undefined, crashes: undefined, lastCrashMs: undefined, why: undefined }
    const backing = { ...rest, allocated, ...more }
    await movePower(trx, parts, id, { to, more: backing })
    await setDisks(trx, record, 'Reserved', source)
  })
}

function whyOf(error: ErrorShape): string {
  return error.hint === undefined ? error.message : `${error.message} ${error.hint}`
}

type Settling = Readonly<{ error: unknown; isRevival: boolean }>

/** A start that somebody asked for is given up; one of ours is tried again, later each time. */
function wantedAfter(own: OwnMachineBacking, rests: string, { isRevival }: Settling, nowMs: number) {
  if (rests === 'running') return { wanted: 'running' as const }
  if (own.power !== 'starting') return {}
  return isRevival ? { crashes: (own.crashes ?? 0) + 1, lastCrashMs: nowMs } : { wanted: 'off' as const }
}

async function settle(parts: MachineJobParts, step: StepContext, id: string, settling: Settling): Promise<void> {
  const { error } = settling
  const { catalog, tasks, source } = parts
  const record: ResourceRecord | undefined = await findResource(catalog, id)
  const own = record === undefined ? undefined : ownMachineOf(record)
  if (record === undefined || own === undefined) return
  const before = own.powerBefore ?? settledPower(own.power)
  if (own.power === 'starting')
    await tasks.run(step, STOP_MACHINE_TASK, { name: own.machine, how: 'plug', deadlineMs: 0 })
  const why = error === undefined ? undefined : whyOf(errorShapeOf(error, 'job_failed'))
  await catalog.write(async (trx) => {
    const rests = own.power === 'starting' && before === 'running' ? 'stopped' : before
    const wanted = wantedAfter(own, rests, settling, source.nowMs())
    const backing = { powerBefore: undefined, power: rests, allocated: rests !== 'deallocated', why, ...wanted }
    const state = record.state === 'Creating' ? 'Failed' : (own.stateBefore ?? 'Succeeded')
    const change = { state, backing: { ...backing, stateBefore: undefined } }
    await changeMachine(trx, id, change, source)
    await setDisks(trx, record, rests === 'running' ? 'Attached' : 'Reserved', source)
  })
}

/** Runs the steps; when they fail or are cancelled nothing of a start is left, and the record says what it is and why. */
export async function settling<T>(
  job: JobContext,
  parts: MachineJobParts,
  id: string,
  run: () => Promise<T>,
  isRevival = false,
): Promise<T> {
  let failure: unknown
  job.cleanup('settle', (step) => settle(parts, step, id, { error: failure, isRevival }), { retry: WORKER_RETRY })
  try {
    return await run()
  } catch (error) {
    failure = error
    throw error
  }
}

export function hostFull(why: string): JobsError {
  return new JobsError('host_full', `Allocation failed: there is no room on the host. ${why}`, {
    hint: 'Deallocate or delete another machine, choose a smaller size, or let the host give more.',
  })
}

export function nowText({ source }: Pick<MachineJobParts, 'source'>): string {
  return isoTime(source.nowMs())
}
