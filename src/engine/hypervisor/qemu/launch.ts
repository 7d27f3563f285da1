/**
 * Starts a machine, step by step; run-record.ts says what a crash after each step is taken for.
 *
 *   1 clear the runtime folder   2 write `starting`   3 spawn   4 the monitor answers with the right UUID   5 write `running`
 *
 * The caller holds the machine's lock and has seen that nothing runs.
 */
import { readFile, rename } from 'node:fs/promises'
import { type Clock, errnoOf, type Random, isHoldfastError, messageOf, randomUuid } from '#base'
import { currentBootId, type HostProcess, signalProcess } from '#runtime'
import { HypervisorError } from '../errors.ts'
import type { MachineDescription } from '../machine.ts'
import { networkEntrance } from '../network/entrance.ts'
import type { AcceleratorChoice } from './accelerator.ts'
import { buildCommandLine, type LaunchCapabilities } from './command-line.ts'
import { findFirmware } from './firmware.ts'
import type { MachineFolder } from './machine-folder.ts'
import { withMonitor } from './monitor.ts'
import { giveTo, groupOfDevice, ROOT_NOTE } from './process-user.ts'
import type { RunRecord } from './run-record.ts'
import { type ProcessUser, startSupervised } from './supervisor.ts'

export type LaunchContext = Readonly<{
  clock: Clock
  random: Random
  program: string
  choice: AcceleratorChoice
  user: ProcessUser | undefined
  /** See Passage. */
  own: string | undefined
}>

type StartingRecord = Extract<RunRecord, { phase: 'starting' }>

/** QEMU opens its images before its monitor answers; an image on a slow network file system takes seconds. */
const START_MS_MAX = 30_000
const POLL_MS = 20
const LOG_CHARS_MAX = 2_000

async function keepAsOld(path: string): Promise<void> {
  try {
    await rename(path, `${path}.old`)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error // the first start has no log of an earlier one
  }
}

async function lastWords(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).slice(-LOG_CHARS_MAX).trim()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return ''
    throw error
  }
}

function startFailed(machine: MachineDescription, said: string): HypervisorError {
  const reason = said.split('\n').at(-1) ?? ''
  return new HypervisorError(
    'machine_start_failed',
    `${machine.name} did not start: ${reason || 'QEMU said nothing.'}`,
    {
      facts: { machine: machine.name, said },
      ...(/lock/i.test(said) ? { hint: 'Another process has one of the images open: end it first.' } : {}),
    },
  )
}

async function waitForMonitor(
  folder: MachineFolder,
  machine: MachineDescription,
  record: StartingRecord,
  clock: Clock,
): Promise<HostProcess> {
  const endMs = clock.monotonicMs() + START_MS_MAX
  for (;;) {
    const { verdict } = await folder.judgeNow(record)
    if (verdict.power !== 'running' && verdict.end?.cause === 'start_failed')
      throw startFailed(machine, await lastWords(folder.paths.qemuLog))
    if (verdict.power === 'running') {
      try {
        await withMonitor(folder.paths.controlSocket, machine, { clock, connectTimeoutMs: 2_000 }, async () => {})
        return verdict.process
      } catch (error) {
        const isEarly = isHoldfastError(error, 'qmp_unreachable', 'qmp_busy', 'qmp_disconnected')
        if (!isEarly || clock.monotonicMs() >= endMs) {
          signalProcess(verdict.process, 'SIGKILL')
          throw error
        }
      }
    }
    if (clock.monotonicMs() >= endMs) throw startFailed(machine, await lastWords(folder.paths.qemuLog))
    await clock.sleep(POLL_MS)
  }
}

async function capabilitiesFor(machine: MachineDescription, choice: AcceleratorChoice): Promise<LaunchCapabilities> {
  const { accelerator } = choice
  if (machine.firmware === 'bios') return { accelerator }
  return { accelerator, firmware: await findFirmware(machine.machineType) }
}

async function userFor(context: LaunchContext): Promise<ProcessUser | undefined> {
  if (context.user === undefined || context.choice.accelerator !== 'kvm') return context.user
  const group = await groupOfDevice('/dev/kvm')
  return group === undefined ? context.user : { ...context.user, groups: [group] }
}

function notesFor(context: LaunchContext): string[] {
  const isRoot = context.user === undefined && process.getuid?.() === 0
  return [...(context.choice.note === undefined ? [] : [context.choice.note]), ...(isRoot ? [ROOT_NOTE] : [])]
}

/** @throws HypervisorError `machine_start_failed` when its virtual network is not there */
function entranceFor(machine: MachineDescription, user: ProcessUser | undefined): readonly string[] | undefined {
  const segment = machine.networks.find((network) => network.kind === 'segment')
  if (segment === undefined) return undefined
  const words = networkEntrance(segment.network, user)
  if (words !== undefined) return words
  throw new HypervisorError('machine_start_failed', `The virtual network of ${machine.name} is not there.`, {
    facts: { machine: machine.name, network: segment.network },
    retry: 'later',
  })
}

async function spawnMachine(
  folder: MachineFolder,
  machine: MachineDescription,
  runId: string,
  context: LaunchContext,
  options: Readonly<{ paused?: boolean }>,
): Promise<void> {
  const { paths } = folder
  const user = await userFor(context)
  const tap = machine.networks.find((network) => network.kind === 'tap')
  const entrance = entranceFor(machine, user)
  if (user !== undefined) await giveTo(user, machine, paths, context.own)
  await startSupervised({
    program: context.program,
    args: buildCommandLine(machine, paths, await capabilitiesFor(machine, context.choice), options),
    runId,
    exitPath: paths.exit,
    serialLogPath: paths.serialLog,
    qemuLogPath: paths.qemuLog,
    ...(tap?.namespace === undefined ? {} : { networkNamespace: tap.namespace }),
    ...(entrance === undefined ? {} : { entrance }),
    ...(user === undefined ? {} : { user }),
  })
}

/** @throws `machine_start_failed` with QEMU's own words; the machine is stopped then. */
export async function launchMachine(
  folder: MachineFolder,
  machine: MachineDescription,
  context: LaunchContext,
  options: Readonly<{ paused?: boolean }>,
): Promise<void> {
  const { clock } = context
  const runId = randomUuid(context.random)
  await folder.clearRuntime()
  await keepAsOld(folder.paths.serialLog)
  await keepAsOld(folder.paths.qemuLog)
  const bootId = currentBootId()
  const starting: StartingRecord = { schema: 1, runId, phase: 'starting', bootId, startedAtMs: clock.nowMs() }
  await folder.writeRun(starting)
  try {
    await spawnMachine(folder, machine, runId, context, options)
    const process = await waitForMonitor(folder, machine, starting, clock)
    const { accelerator } = context.choice
    await folder.writeRun({ ...starting, phase: 'running', process, accelerator, notes: notesFor(context) })
  } catch (cause) {
    await folder.writeRun({
      schema: 1,
      runId,
      phase: 'ended',
      end: { cause: 'start_failed', endedAtMs: clock.nowMs() },
    })
    if (isHoldfastError(cause)) throw cause
    throw new HypervisorError('machine_start_failed', `${machine.name} did not start: ${messageOf(cause)}`, { cause })
  }
}
