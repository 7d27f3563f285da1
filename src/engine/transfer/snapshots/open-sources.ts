/**
 * From what is to be taken, machines that run and images that nobody uses, to open instants of one moment.
 *
 * Images first: their locks hold them still until the running machines are taken, and their bytes are the same at any
 * moment in between. Several machines are taken together (openTogether); what they are apart is given as `skewMs`.
 */
import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, isHoldfastError, must } from '#base'
import {
  type ConsistencyLevel,
  describeRunning,
  HypervisorError,
  type Instant,
  type InstantHost,
  type MachineDescription,
  openStoppedInstant,
  openTogether,
  QmpClient,
  type RunningMachine,
  type TrackingRequest,
} from '#engine/hypervisor'
import type { MachineMonitor } from '../running-machine.ts'
import { joinInstants } from './joined-instant.ts'

/** `base`: the read-only image that it is an overlay on. */
type DiskAt = Readonly<{ diskId: string; path: string; base?: string }>

export type MachineToTake = Readonly<{
  kind: 'machine'
  name: string
  sockets: MachineMonitor
  disks: readonly DiskAt[]
}>
export type ImageToTake = Readonly<{ kind: 'image'; name: string; format: 'qcow2' | 'raw' } & DiskAt>

export type OpenedSources = Readonly<{
  /** All of them as one. */
  instant: Instant
  /** One a source, in their order. */
  instants: readonly Instant[]
  /** Several machines were stopped within this; 0 for one. */
  skewMs: number
  /** To be called when the instant has ended: removes the folder of its sockets. */
  close: () => Promise<void>
}>

export type OpenSourcesOptions = Readonly<{
  host: Omit<InstantHost, 'runFolder'>
  tracking: TrackingRequest | undefined
  consistency: ConsistencyLevel
  strict: boolean
  /** How long an instant of another task on the same machine is waited for. */
  waitMs: number
  signal?: AbortSignal
}>

const POLL_MS = 100

/** A path as the kernel knows it; one that is no file of this host stays as it is. */
async function resolved(path: string): Promise<string> {
  return realpath(path).catch(() => path)
}

/** The machine with only the disks that are asked for, under their own identities. */
async function describe(clock: Clock, { name, sockets, disks }: MachineToTake): Promise<RunningMachine> {
  const qmp = await QmpClient.connect(sockets.qmpSocketPath, { clock })
  try {
    const { machine, nodeNames, agentSocketPath } = await describeRunning(qmp)
    const paths = await Promise.all(machine.disks.map(({ path }) => resolved(path)))
    const found: MachineDescription['disks'][number][] = []
    for (const { diskId, path } of disks) {
      const wanted = await resolved(path)
      const disk = machine.disks[paths.indexOf(wanted)]
      if (disk === undefined)
        throw new HypervisorError('disk_unsupported', `${name} has no disk at ${path}.`, { facts: { name, path } })
      found.push({ ...disk, diskId })
    }
    const agent = sockets.agentSocketPath ?? agentSocketPath
    return {
      description: { ...machine, name, disks: found },
      sockets: { qmpSocketPath: sockets.qmpSocketPath, ...(agent !== undefined && { agentSocketPath: agent }) },
      nodeNames,
    }
  } finally {
    await qmp.close()
  }
}

function imageAlone({ name, diskId, path, format }: ImageToTake): MachineDescription {
  return {
    schema: 1,
    name,
    uuid: diskId,
    firmware: 'bios',
    machineType: 'pc',
    cpuCount: 1,
    memoryMib: 0,
    disks: [{ lun: 0, diskId, role: 'data', path, format, bus: 'virtio-blk', serial: '' }],
    networks: [],
    agent: false,
    tags: {},
  }
}

/** Tries again while another instant of the same machine or image is open. */
async function untilFree<T>(options: OpenSourcesOptions, open: () => Promise<T>): Promise<T> {
  const { clock } = options.host
  const endMs = clock.monotonicMs() + options.waitMs
  for (;;) {
    try {
      return await open()
    } catch (error) {
      if (!isHoldfastError(error, 'instant_open', 'qmp_busy') || clock.monotonicMs() > endMs) throw error
      await clock.sleep(POLL_MS, options.signal)
    }
  }
}

/**
 * Opens them all, at one moment.
 * @throws what opening any of them raises; nothing is open then
 */
export async function openSources(
  sources: readonly (MachineToTake | ImageToTake)[],
  options: OpenSourcesOptions,
): Promise<OpenedSources> {
  const runFolder = await mkdtemp(join(tmpdir(), 'hf-'))
  const close = (): Promise<void> => rm(runFolder, { recursive: true, force: true })
  const opened = new Map<MachineToTake | ImageToTake, Instant>()
  try {
    const host: InstantHost = { ...options.host, runFolder }
    const { tracking, consistency, strict, signal } = options
    const common = { ...(tracking !== undefined && { tracking }), ...(signal !== undefined && { signal }) }
    for (const source of sources) {
      if (source.kind === 'machine') continue
      const stopped = { description: imageAlone(source), stoppedCleanly: true }
      const wanted = { ...common, consistency: 'crash' as const }
      opened.set(source, await untilFree(options, () => openStoppedInstant(host, stopped, wanted)))
    }
    const machines = sources.filter((source) => source.kind === 'machine')
    const asked = { ...common, consistency, strict }
    const together =
      machines.length === 0
        ? { instants: [], skewMs: 0 }
        : await untilFree(options, async () => {
            const described = await Promise.all(machines.map((machine) => describe(host.clock, machine)))
            return openTogether(
              host,
              described.map((machine) => ({ machine, options: asked })),
            )
          })
    for (const [i, instant] of together.instants.entries()) opened.set(must(machines[i], 'One a machine'), instant)
    const instants = sources.map((source) => must(opened.get(source), 'All were opened'))
    return { instant: joinInstants(instants), instants, skewMs: together.skewMs, close }
  } catch (error) {
    for (const instant of opened.values()) await instant.abort('another could not be opened').catch(() => undefined)
    await close()
    throw error
  }
}
