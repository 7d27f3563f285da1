/**
 * Disks that a restore makes, as records and files. A record names the job that it is restored by (`restoredBy` of its backing),
 * so that whoever cleans up finds what is the job's by looking.
 *
 *   dies                              what is left                  what goes on
 *   serve, before the rows            nothing                       the step begins again
 *   serve, with the rows              rows in state Creating        the step finds them
 *   the worker, while writing         a draft beside the disk       the task begins again; the draft is removed
 *   serve, before the last record     whole files                   the task finds them whole
 *   the job fails or is cancelled     rows, files                   `giveUp` removes files, then rows: nothing of it is left
 */
import { join } from 'node:path'
import { isoTime, must, type Random, randomUuid } from '#base'
import {
  type CatalogTransaction,
  deleteResource,
  findResource,
  insertResource,
  listAllPools,
  listResources,
  type Pool,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { type AzureMachine, type KeptDisk, sizeGb } from '#domain'
import { type ComputeParts, poolOf, removeFiles, WORKER_RETRY } from '../../compute/create-disk.ts'
import { backingOf, changeDisk, DISK_TYPE } from '../../compute/disk-records.ts'
import { type MadeDisk, MAKE_DISK_TASK } from '../../compute/make-disk.ts'
import type { MakeDiskInput } from '../../compute/make-disk-input.ts'
import { JobsError } from '../../errors.ts'
import type { JobContext, StepContext } from '../../port.ts'
import { placesOfPoint } from '../point-source.ts'
import { findPoint } from './find-point.ts'
import { restoredDiskName, type RestoreOrder } from './order.ts'
import type { ReadVaultPoint } from './read-point.ts'

export type RestoreDisksParts = ComputeParts & Readonly<{ random: Random }>

/** A disk that is restored: where it stands in the point, and the managed disk that it becomes. */
export type RestoredDisk = Readonly<{
  id: string
  name: string
  diskId: string
  lun: number
  sizeBytes: number
  usedBytes: number
}>

type Fields = Readonly<Record<string, unknown>>

const DISKS_AT_ONCE = 2
/** Of a disk that is described; what belongs to its old place is not taken over. */
const KEPT_PROPERTIES = [
  'osType',
  'hyperVGeneration',
  'supportedCapabilities',
  'supportsHibernation',
  'networkAccessPolicy',
  'publicNetworkAccess',
  'dataAccessAuthMode',
  'burstingEnabled',
  'optimizedForFrequentAttach',
  'diskIOPSReadWrite',
  'diskMBpsReadWrite',
]

/** Of this host, where there is one. @throws JobsError `region_without_pool` */
async function choosePool(trx: CatalogTransaction, region: string): Promise<Pool> {
  const pools = await listAllPools(trx, region)
  const found = pools.find(({ host }) => host === undefined) ?? pools[0]
  if (found !== undefined) return found
  throw new JobsError('region_without_pool', `The region ${region} has no pool for disks.`, { facts: { region } })
}

function subscriptionOf(group: string): string {
  return /^\/subscriptions\/([^/]+)/i.exec(group)?.[1] ?? ''
}

function keptProperties(kept: KeptDisk | undefined, azure: AzureMachine | null): Fields {
  const before = (kept?.body['properties'] ?? {}) as Fields
  const same = Object.fromEntries(
    KEPT_PROPERTIES.flatMap((name) => (before[name] === undefined ? [] : [[name, before[name]] as const])),
  )
  const isUefi = kept?.lun === -1 && azure?.firmware === 'uefi'
  return {
    networkAccessPolicy: 'AllowAll',
    publicNetworkAccess: 'Enabled',
    ...same,
    ...(isUefi && { hyperVGeneration: 'V2' }),
  }
}

type NewRow = Readonly<{ disk: RestoredDisk; kept: KeptDisk | undefined; pool: Pool; jobId: string }>

async function insertRow(
  trx: CatalogTransaction,
  parts: RestoreDisksParts,
  order: RestoreOrder,
  azure: AzureMachine | null,
  { disk, kept, pool, jobId }: NewRow,
): Promise<void> {
  const uniqueId = randomUuid(parts.random)
  const sku = (kept?.body['sku'] ?? { name: 'Standard_LRS', tier: 'Standard' }) as Fields
  await insertResource(
    trx,
    {
      id: disk.id,
      subscription: subscriptionOf(order.group),
      group: order.group,
      type: DISK_TYPE,
      name: disk.name,
      location: order.region,
      tags: kept?.tags ?? {},
      state: 'Creating',
      body: {
        sku,
        properties: {
          ...keptProperties(kept, azure),
          creationData: { createOption: 'Restore', sourceResourceId: `${order.itemKey}/recoveryPoints/${order.point}` },
          diskSizeBytes: disk.sizeBytes,
          diskSizeGB: sizeGb(disk.sizeBytes),
          uniqueId,
          timeCreated: isoTime(parts.source.nowMs()),
          encryption: { type: 'EncryptionAtRestWithPlatformKey' },
          diskState: 'Unattached',
        },
      },
      backing: {
        file: join(pool.path, 'disks', `${uniqueId}.qcow2`),
        format: 'qcow2',
        pool: pool.name,
        ...(pool.host !== undefined && { host: `${pool.region}/${pool.host}` }),
        restoredBy: jobId,
      },
    },
    parts.source,
  )
}

function noInstantElsewhere({ region, name, host }: Pool): JobsError {
  return new JobsError(
    'disk_elsewhere',
    `The pool ${region}/${name} is on the host ${host ?? ''}: machines run on the server’s own.`,
    {
      facts: { region, pool: name },
      hint: 'Give the region a pool of this host, or restore without holdfastInstant.',
    },
  )
}

/** A name that no disk of the group has. */
async function freeName(trx: CatalogTransaction, group: string, wanted: string): Promise<string> {
  for (let n = 1; ; n += 1) {
    const name = n === 1 ? wanted : `${wanted}-${n}`
    if ((await findResource(trx, `${group}/providers/${DISK_TYPE}/${name}`)) === undefined) return name
  }
}

/** The point's disks that the order wants. @throws JobsError `disk_not_there` */
function wantedDisks(order: RestoreOrder, read: ReadVaultPoint, luns: ReadonlyMap<string, number>) {
  const all = read.disks.map((disk) => ({ ...disk, lun: luns.get(disk.diskId) ?? -1 }))
  const { luns: wanted } = order
  const found = wanted === null ? all : all.filter(({ lun }) => wanted.includes(lun))
  if (found.length > 0) return found.toSorted((a, b) => a.lun - b.lun)
  throw new JobsError('disk_not_there', 'The recovery point holds none of the disks that were asked for.', {
    facts: { point: order.point, luns: (wanted ?? []).map(String) },
  })
}

/** Writes the rows of all disks, in state Creating; finds those that it wrote before. */
export async function announceDisks(
  parts: RestoreDisksParts,
  job: Readonly<{ jobId: string }>,
  order: RestoreOrder,
  read: ReadVaultPoint,
): Promise<RestoredDisk[]> {
  const { catalog, source } = parts
  const { disks: known } = await findPoint(catalog, order)
  const luns = new Map(known.map(({ diskId, lun }) => [diskId, lun]))
  const nowMs = source.nowMs()
  return catalog.write(async (trx) => {
    const mine = await rowsOf(trx, job.jobId, order.group)
    const pool = await choosePool(trx, order.region)
    if (order.instant && pool.host !== undefined) throw noInstantElsewhere(pool)
    const made: RestoredDisk[] = []
    for (const { diskId, lun, sizeBytes, usedBytes } of wantedDisks(order, read, luns)) {
      const before = mine.find((row) => row.backing['restoredDisk'] === diskId)
      const name = before?.name ?? (await freeName(trx, order.group, restoredDiskName(order.friendlyName, lun, nowMs)))
      const id = before?.id ?? `${order.group}/providers/${DISK_TYPE}/${name}`
      const disk = { id, name, diskId, lun, sizeBytes, usedBytes }
      made.push(disk)
      if (before !== undefined) continue
      const kept = read.azure?.disks.find((one) => one.diskId === diskId)
      await insertRow(trx, parts, order, read.azure, { disk, kept, pool, jobId: job.jobId })
      await changeDisk(trx, id, { backing: { restoredDisk: diskId } }, source)
    }
    return made
  })
}

async function rowsOf(trx: CatalogTransaction, jobId: string, group: string): Promise<ResourceRecord[]> {
  const rows = await listResources(trx, { type: DISK_TYPE, group })
  return rows.filter(({ backing }) => backing['restoredBy'] === jobId)
}

async function makeOne(
  parts: RestoreDisksParts,
  step: StepContext,
  order: RestoreOrder,
  read: ReadVaultPoint,
  disk: RestoredDisk,
): Promise<MadeDisk> {
  const record = must(await findResource(parts.catalog, disk.id), 'The row was announced')
  const backing = backingOf(record)
  const { file, host } = backing
  const { access, point } = await placeFor(parts, order, read, host)
  const wanted: MakeDiskInput = {
    file,
    pool: await poolOf(parts.catalog, order.region, backing),
    sizeBytes: undefined,
    bytes: { kind: 'version', access, point, disk: disk.diskId },
  }
  return (await parts.tasks.run(step, MAKE_DISK_TASK, wanted, host)) as MadeDisk
}

/** The place that could be opened, as the host reaches it. */
async function placeFor(
  { folder, ...parts }: RestoreDisksParts,
  order: RestoreOrder,
  { place }: ReadVaultPoint,
  host: string | undefined,
) {
  if (host === undefined) return place
  const point = await findPoint(parts.catalog, order)
  const places = await placesOfPoint({ ...parts, keysFolder: join(folder, 'keys') }, point, {
    from: order.from,
    elsewhere: host,
  })
  return places.find(({ side }) => side === place.side) ?? place
}

/** Steps of a job: every disk's file is whole afterwards. At most two are written at once. */
export async function makeDisks(
  job: JobContext,
  parts: RestoreDisksParts,
  order: RestoreOrder,
  read: ReadVaultPoint,
  disks: readonly RestoredDisk[],
): Promise<void> {
  const doneBytes = disks.map(() => 0)
  const totalBytes = disks.reduce((sum, { usedBytes }) => sum + usedBytes, 0)
  const make = async (at: number): Promise<void> => {
    const disk = must(disks[at], 'There is a disk of that number')
    await job.step(
      `disk ${disk.lun}`,
      (step) => {
        const progress: StepContext['progress'] = ({ task, doneBytes: done }) => {
          doneBytes[at] = Math.min(done, disk.usedBytes)
          step.progress({ task, doneBytes: doneBytes.reduce((sum, one) => sum + one, 0), totalBytes })
        }
        return makeOne(parts, { ...step, progress }, order, read, disk)
      },
      { retry: WORKER_RETRY },
    )
    doneBytes[at] = disk.usedBytes
  }
  const lanes = Array.from({ length: Math.min(DISKS_AT_ONCE, disks.length) }, async (_, lane) => {
    for (let at = lane; at < disks.length; at += DISKS_AT_ONCE) await make(at)
  })
  await Promise.all(lanes)
}

/** All of them are disks from now on, in one transaction. */
export async function keepDisks(parts: RestoreDisksParts, disks: readonly RestoredDisk[]): Promise<void> {
  await parts.catalog.write(async (trx) => {
    for (const { id } of disks) await changeDisk(trx, id, { state: 'Succeeded' }, parts.source)
  })
}

/** Removes what the job made, unless a machine has it by now. One pool has them all, and so one host. */
export async function giveUpDisks(parts: RestoreDisksParts, step: StepContext, order: RestoreOrder): Promise<void> {
  const { catalog, tasks } = parts
  const all = await catalog.write((trx) => rowsOf(trx, step.jobId, order.group))
  const rows = all.filter(({ body }) => typeof body['managedBy'] !== 'string')
  const [first] = rows
  if (first === undefined) return
  const files = rows.map((row) => backingOf(row).file)
  await removeFiles(tasks, step, files, backingOf(first).host)
  await catalog.write(async (trx) => {
    for (const { id } of rows) await deleteResource(trx, id)
  })
}

/** What of a record only the restore needed goes. */
export async function settleDisks(parts: RestoreDisksParts, disks: readonly RestoredDisk[]): Promise<void> {
  await parts.catalog.write(async (trx) => {
    for (const { id } of disks) {
      const record = await findResource(trx, id)
      if (record === undefined) continue
      const { restoredBy: _by, restoredDisk: _disk, ...backing } = record.backing
      await updateResource(trx, id, { backing }, parts.source)
    }
  })
}
