/**
 * openRunningInstant: from a running machine to an open instant, or to an error and nothing left behind. What it is to do
 * is planned first (plan.ts) and written to the journal; the rest is carrying out, one step of the journal after another.
 */
import { chown, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { assert, BaseError, isHoldfastError, must, toHex } from '#base'
import { identityOf, makeFolderDurable } from '#runtime'
import { HypervisorError } from '../errors.ts'
import type { Instant, OpenInstantOptions } from '../port.ts'
import { askCapabilities } from '../qmp/capabilities.ts'
import { QmpClient } from '../qmp/client.ts'
import { openPassage } from '../qemu/passage.ts'
import { ownerOfSocket } from '../qemu/process-user.ts'
import { type InstantHost, type RunningMachine, socketPathIn } from './access.ts'
import { type Action, addAccess, addExport, addScratchNode, flushDrives, transaction } from './graph.ts'
import { findDrive, type Inventory, readInventory } from './inventory.ts'
import { InstantJournal, type RunningRecord } from './journal.ts'
import { takeMoment } from './moment.ts'
import { startNbdServer } from './nbd-server.ts'
import { isOwedByAnother } from './post-script-debt.ts'
import { type InstantPlan, type InstantRequest, planInstant } from './plan.ts'
import { closeInstant, enterStep, type OpenState, RunningInstant } from './running-instant.ts'
import { trackingRecord } from './tracking.ts'
import { ensureWatchdog } from './watchdog-process.ts'
import { syncImages } from './sync-images.ts'
import { capScratch, createScratch, SCRATCH_FLOOR_BYTES_DEFAULT } from './scratch.ts'

/** The files of an image that may be named by a link. */
async function resolved(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch {
    return path // it may be no file of this host at all; then only the name counts
  }
}

async function matchDisks(machine: RunningMachine, inventory: Inventory, excluded: readonly number[]) {
  const drives = await Promise.all(
    inventory.drives.map(async (drive) => ({ ...drive, filename: await resolved(drive.filename) })),
  )
  const wanted = machine.description.disks.filter((disk) => !excluded.includes(disk.lun))
  return Promise.all(
    wanted.map(async (disk) => {
      const nodeName = machine.nodeNames?.[disk.lun]
      return { disk, drive: findDrive({ ...inventory, drives }, { path: await resolved(disk.path), nodeName }) }
    }),
  )
}

function throwRefusals(plan: InstantPlan, machine: string): void {
  const [first] = plan.refusals
  if (first === undefined) return
  throw new HypervisorError(first.code, `No instant of ${machine}: ${first.message}`, {
    facts: { machine, refusals: plan.refusals.map((refusal) => refusal.message) },
    retry: first.code === 'instant_open' || first.code === 'disk_in_use' ? 'later' : 'never',
  })
}

async function makePlan(
  qmp: QmpClient,
  host: InstantHost,
  machine: RunningMachine,
  options: OpenInstantOptions,
  refusedFilter: readonly number[],
): Promise<{ plan: InstantPlan; inventory: Inventory }> {
  const [capabilities, inventory] = await Promise.all([askCapabilities(qmp), readInventory(qmp)])
  const request: InstantRequest = {
    id: toHex(host.random.bytes(4)),
    disks: await matchDisks(machine, inventory, options.excludeLuns ?? []),
    tracking: options.tracking,
    refusedFilter: host.jobsOnly === true ? machine.description.disks.map((disk) => disk.lun) : refusedFilter,
  }
  const plan = planInstant(request, inventory, capabilities)
  throwRefusals(plan, machine.description.name)
  return { plan, inventory }
}

/** Bitmaps before the moment: mended, cleaned of stale ones, and the new ones there but not yet recording. One transaction. */
export function prepareActions(plan: InstantPlan, granularityBytes: number): Action[] {
  const actions: Action[] = []
  for (const { formatNode: node, tracking } of plan.disks) {
    const { heal } = tracking
    if (heal !== undefined) {
      actions.push({ type: 'block-dirty-bitmap-enable', data: { node, name: heal.into } })
      actions.push({ type: 'block-dirty-bitmap-merge', data: { node, target: heal.into, bitmaps: heal.from } })
    }
    for (const name of [...tracking.remove, ...(heal?.from ?? [])]) {
      actions.push({ type: 'block-dirty-bitmap-remove', data: { node, name } })
    }
    if (tracking.next === undefined) continue
    const data = {
      node,
      name: tracking.next,
      persistent: tracking.persistent,
      granularity: granularityBytes,
      disabled: true,
    }
    actions.push({ type: 'block-dirty-bitmap-add', data })
  }
  return actions
}

function capsOf(host: InstantHost, plan: InstantPlan): Promise<number[]> {
  const sizes = plan.disks.map((disk) => disk.sizeBytes)
  return capScratch(host.scratchFolder, sizes, {
    floorBytes: host.scratchFloorBytes ?? SCRATCH_FLOOR_BYTES_DEFAULT,
    bytesMax: host.scratchBytesMax ?? Number.MAX_SAFE_INTEGER,
  })
}

/** QEMU makes its socket in the run folder, and opens the scratch files. @throws `machine_path_closed` */
async function giveFolders({ processUser: user, scratchFolder, runFolder, own }: InstantHost): Promise<void> {
  for (const folder of [scratchFolder, runFolder]) await makeFolderDurable(folder)
  if (user === undefined) return
  await chown(runFolder, user.uid, user.gid)
  await openPassage({ user, own }, [join(scratchFolder, 'file'), join(runFolder, 'socket')])
}

async function recordOf(
  host: InstantHost,
  machine: RunningMachine,
  plan: InstantPlan,
  options: OpenInstantOptions,
  wasRunning: boolean,
): Promise<RunningRecord> {
  await giveFolders(host)
  const caps = await capsOf(host, plan)
  const nbdSocketPath = socketPathIn(host.runFolder, plan.id)
  const decisions = plan.disks.map((disk) => disk.tracking)
  return {
    schema: 1,
    kind: 'running',
    id: plan.id,
    machine: machine.description.name,
    machineUuid: machine.description.uuid,
    owner: must(identityOf(), 'This process is alive'),
    step: 'prepare',
    access: machine.sockets,
    // Without a number `identityOf` would be of ourselves.
    guestProcess: machine.sockets.processId === undefined ? undefined : identityOf(machine.sockets.processId),
    wasRunning,
    disks: plan.disks.map((disk, i) => ({
      ...disk,
      scratchPath: join(host.scratchFolder, `hf-${plan.id}-${disk.lun}.scratch`),
      scratchCapBytes: must(caps[i], 'One cap per disk'),
    })),
    nbdSocketPath,
    tracking: trackingRecord(decisions, options.tracking),
  }
}

async function prepare(state: OpenState, plan: InstantPlan, granularityBytes: number): Promise<void> {
  const { qmp, host, record } = state
  const pass = async (step: string): Promise<void> => host.onStep?.(step)
  await transaction(qmp, prepareActions(plan, granularityBytes))
  await pass('prepare.bitmaps')
  await Promise.all(record.disks.map((disk) => createScratch(disk, host.processUser)))
  await pass('prepare.files')
  for (const disk of record.disks) await addScratchNode(qmp, disk)
  await startNbdServer(qmp, { socketPath: record.nbdSocketPath, processId: record.access.processId })
  await syncImages(plan.disks)
  await flushDrives(qmp, plan.disks)
  await pass('prepare.nodes')
}

async function carryOut(
  state: OpenState,
  machine: RunningMachine,
  plan: InstantPlan,
  options: OpenInstantOptions,
): Promise<RunningInstant> {
  const { qmp, host } = state
  await prepare(state, plan, options.tracking?.granularityBytes ?? 0)
  if (options.signal?.aborted === true)
    throw new BaseError('cancelled', 'The instant was cancelled before it was taken.')
  const moment = await takeMoment(qmp, {
    plan,
    wasRunning: state.record.wasRunning,
    consistency: options.consistency,
    strict: options.strict ?? false,
    agentSocketPath: machine.sockets.agentSocketPath,
    clock: host.clock,
    enter: (step, change) => enterStep(state, step, change),
    signal: options.signal,
    together: host.whenStill !== undefined,
    isOwedByAnother: () => isOwedByAnother(host.journalFolder, state.record),
    whenStill: host.whenStill,
    pass: async (step) => host.onStep?.(step),
  })
  for (const disk of plan.disks) await addAccess(qmp, disk)
  for (const disk of plan.disks) await addExport(qmp, disk)
  await host.onStep?.('exported')
  await enterStep(state, 'open')
  return new RunningInstant(state, plan, moment, machine)
}

async function attempt(
  qmp: QmpClient,
  host: InstantHost,
  machine: RunningMachine,
  options: OpenInstantOptions,
  refusedFilter: readonly number[],
): Promise<Instant> {
  const { plan, inventory } = await makePlan(qmp, host, machine, options, refusedFilter)
  const journal = new InstantJournal(host.journalFolder)
  const record = await recordOf(host, machine, plan, options, inventory.running)
  const state: OpenState = { host, journal, qmp, record }
  await journal.create(record)
  try {
    if (host.watchdog === 'start') await ensureWatchdog(host.clock, host.journalFolder)
    await host.onStep?.('prepare')
    return await carryOut(state, machine, plan, options)
  } catch (error) {
    await closeInstant(state, 'abort').catch(() => {
      // The record stays, so recovery or the watchdog goes on; the first error is what the caller must hear.
    })
    throw error
  }
}

/**
 * Opens an instant of all disks of a running (or paused) machine. Holds a monitor connection until commit or abort.
 * @throws HypervisorError: `instant_open`, `disk_in_use`, `disk_unsupported`, `freeze_failed` (strict), `instant_failed`,
 * `nbd_server_foreign`, `qmp_busy`, `qmp_unreachable`, ...
 */
export async function openRunningInstant(
  given: InstantHost,
  machine: RunningMachine,
  options: OpenInstantOptions,
): Promise<Instant> {
  const user = given.processUser ?? (await ownerOfSocket(machine.sockets.qmpSocketPath))
  const host = { ...given, ...(user !== undefined && { processUser: user }) }
  const connected = async (refusedFilter: readonly number[]): Promise<Instant> => {
    const qmp = await QmpClient.connect(machine.sockets.qmpSocketPath, { clock: host.clock })
    try {
      return await attempt(qmp, host, machine, options, refusedFilter)
    } catch (error) {
      await qmp.close()
      throw error
    }
  }
  try {
    return await connected([])
  } catch (error) {
    if (!isHoldfastError(error, 'disk_unsupported') || error.facts['filterRefused'] !== true) throw error
    const luns = error.facts['luns']
    assert(Array.isArray(luns), 'A refused filter names its disks')
    return connected(luns.map(Number))
  }
}
