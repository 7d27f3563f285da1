/**
 * What a worker serves of vaults to machines that run on their data: one NBD server for each restore, kept while the process lives or
 * until all its disks are whole; and which disks the worker itself has open to move data in while no machine has them.
 *
 * Nothing here is durable. A worker that dies takes its servers with it; the step of the restore's job asks its successor to serve
 * again, on the same socket, and guests wait for that (served-versions.ts).
 */
import { join } from 'node:path'
import type { ProgressSink } from '#base'
import { hydrateDisks, overlayOn, type ServedVersions, serveVersions } from '#engine/transfer'
import { JobsError } from '../../errors.ts'
import { inputInvalid, readTaskAccess, recordOf, type RepositoryHost, withRepository } from '../../repository-access.ts'
import { isThere, throughDraft } from '../../compute/disk-files.ts'
import type { MachineHost } from '../../compute/machine/machine-host.ts'
import { checkRoom, type PoolPlace } from '../../compute/pool-room.ts'
import { readPool } from '../../compute/make-disk-input.ts'
import type { PointPlace } from '../point-source.ts'

/** Disks of a restore that rest on the vault's data. JSON without secrets. */
export type InstantDisks = Readonly<{
  /** The job: its restores and their sockets are told apart by it. */
  key: string
  place: PointPlace
  /** Stands in the overlays' headers: the same after every restart. */
  socketPath: string
  pool: PoolPlace
  disks: readonly Readonly<{ diskId: string; exportName: string; file: string }>[]
}>

type Serving = Readonly<{
  served: ServedVersions
  /** What each export holds, by its name. */
  usedBytes: ReadonlyMap<string, number>
  close: () => Promise<void>
}>
type Resting = Readonly<{ control: AbortController; done: Promise<void> }>

/** After a machine asked for a disk nobody else takes it for so long: it is being started. */
const ASKED_MS = 60_000
/** A worker that is to make way for its successor waits for its tasks: none of these is long. */
const SLICE_MS = 120_000
const TABLES_BYTES = 4 * 1024 * 1024

/** @throws JobsError `job_input_invalid` */
export function readInstantDisks(given: unknown): InstantDisks {
  const { key, place, socketPath, disks, pool } = recordOf(given, 'fields')
  if (typeof key !== 'string' || typeof socketPath !== 'string' || !Array.isArray(disks)) throw inputInvalid('disks')
  readTaskAccess(recordOf(recordOf(place, 'place')['access'], 'access'))
  return { ...(given as InstantDisks), pool: readPool(pool) }
}

/** One of a worker. */
export class Hydrations {
  readonly #host: RepositoryHost
  readonly #machines: MachineHost
  readonly #serving = new Map<string, Promise<Serving>>()
  readonly #resting = new Map<string, Resting>()
  readonly #askedUntilMs = new Map<string, number>()

  constructor(host: RepositoryHost, machines: MachineHost) {
    this.#host = host
    this.#machines = machines
  }

  /**
   * Serves the versions, and makes an overlay on each that has none. Each is durable and whole, or not there. Here alone it is asked
   * whether the pool has room for all that is to move in: a machine that runs must be served whatever room is left.
   * @throws JobsError `pool_full`
   */
  async makeOverlays(wanted: InstantDisks, epoch: number): Promise<void> {
    const { served, usedBytes } = await this.#serve(wanted)
    const missing: InstantDisks['disks'][number][] = []
    for (const disk of wanted.disks) if (!(await isThere(disk.file))) missing.push(disk)
    if (missing.length === 0) return
    await checkRoom(
      wanted.pool,
      missing.reduce((sum, { exportName }) => sum + (usedBytes.get(exportName) ?? 0), TABLES_BYTES),
    )
    for (const { file, exportName } of missing) {
      const source = served.sources.get(exportName)
      if (source === undefined) throw inputInvalid('export')
      await throughDraft(file, epoch, (draft) => overlayOn(draft, source, wanted.socketPath, exportName))
    }
  }

  /** Serves a restore no longer that is given up. One that is not served is let be. */
  async release(key: string): Promise<void> {
    const serving = this.#serving.get(key)
    this.#serving.delete(key)
    const opened = await serving?.catch(() => undefined) // it was never open
    await opened?.close()
  }

  /** Serves them, and moves their data in for a while. Whether all of it has moved in: then they are served no longer. */
  async hydrate(
    wanted: InstantDisks,
    how: Readonly<{
      signal: AbortSignal
      progress: ProgressSink
      onRunning: (machine: string, startedAtMs: number) => void
    }>,
  ): Promise<boolean> {
    const { served } = await this.#serve(wanted)
    const { hypervisor, clock } = this.#machines
    const isDone = await hydrateDisks({
      ...how,
      forMs: SLICE_MS,
      files: wanted.disks.map(({ file }) => file),
      hypervisor,
      clock,
      monitorPath: `${wanted.socketPath}.qmp`,
      keepAlive: served.keepAlive,
      whileResting: (file, use) => this.#rest(file, use),
    })
    if (isDone) await this.release(wanted.key)
    return isDone
  }

  /** A machine is to have the disks: whoever moves data into one at rest lets go of it first. */
  async letGo(files: readonly string[]): Promise<void> {
    const untilMs = this.#machines.clock.monotonicMs() + ASKED_MS
    for (const file of files) {
      const resting = this.#resting.get(file)
      if (resting === undefined) continue
      this.#askedUntilMs.set(file, untilMs)
      resting.control.abort()
      await resting.done.catch(() => {
        // Whoever hydrates hears of it.
      })
    }
  }

  #rest(file: string, use: (signal: AbortSignal) => Promise<void>): Promise<void> | undefined {
    if ((this.#askedUntilMs.get(file) ?? 0) > this.#machines.clock.monotonicMs()) return undefined
    this.#askedUntilMs.delete(file)
    const control = new AbortController()
    const done = use(control.signal).finally(() => this.#resting.delete(file))
    this.#resting.set(file, { control, done })
    return done
  }

  async #serve(wanted: InstantDisks): Promise<Serving> {
    const known = this.#serving.get(wanted.key)
    if (known !== undefined) return known
    const opening = this.#open(wanted)
    this.#serving.set(wanted.key, opening)
    opening.catch(() => {
      if (this.#serving.get(wanted.key) === opening) this.#serving.delete(wanted.key)
    })
    return opening
  }

  /** The repository stays open until the serving is closed. */
  #open({ place, socketPath, disks, key }: InstantDisks): Promise<Serving> {
    const ready = Promise.withResolvers<Serving>()
    const closing = Promise.withResolvers<void>()
    const over = withRepository(place.access, this.#host, async (repository, store) => {
      const point = repository.findPoint(place.point)
      const versions = disks.map(({ diskId, exportName }) => {
        const disk = point.disks.find(({ id }) => id === diskId)
        if (disk !== undefined) return { exportName, disk }
        throw new JobsError('disk_not_there', `The point ${place.point} holds no disk ${diskId}.`)
      })
      const served = await serveVersions(repository, versions, { store, socketPath, reason: `instant restore ${key}` })
      const close = async (): Promise<void> => {
        closing.resolve()
        await over
      }
      const usedBytes = new Map(versions.map(({ exportName, disk }) => [exportName, disk.usedBytes]))
      ready.resolve({ served, usedBytes, close })
      await closing.promise
      await served.close()
    })
    over.catch((error: unknown) => ready.reject(error))
    return ready.promise
  }
}

/** Where the socket of a restore lies. @param runtimeFolder a short one */
export function instantSocket(runtimeFolder: string, job: string): string {
  return join(runtimeFolder, `i-${job.replaceAll('-', '').slice(0, 12)}.nbd`)
}

/** What goes over by itself: the store, or the host, is back some day. */
export const HYDRATE_WAITS = {
  waitsFor: [
    'host_away',
    'worker_lost',
    'store_unavailable',
    'repository_not_found',
    'store_not_found',
    'qmp_unreachable',
    'qmp_busy',
  ],
} as const
