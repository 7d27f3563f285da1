/**
 * Snapshots of a machine's disks as they were before a restore replaced them: rows and versions like those that a user takes. The
 * machine is off: its images stand still.
 *
 *   dies                            what is left           what goes on
 *   serve, with the rows            rows, Creating         the step finds them
 *   the worker, while taking        at most an instant     the task begins again: the disks have not changed
 *   the job fails                   rows, points           `dropSnapshots` gives up the points and the rows
 */
import { isoTime, must, type Random, randomUuid } from '#base'
import { type CatalogTransaction, findResource, insertResource, listResources, type ResourceRecord } from '#catalog'
import { snapshotHistory } from '#domain'
import { type ComputeParts, WORKER_RETRY } from '../../compute/create-disk.ts'
import { backingOf, propertiesOf } from '../../compute/disk-records.ts'
import { regionRepository } from '../../compute/region-repository.ts'
import { dropSnapshot, finishSnapshot, SNAPSHOT_TYPE } from '../../compute/snapshot-rows.ts'
import { TAKE_SNAPSHOTS_TASK, type TakeSnapshotsInput, type TakeSnapshotsOutput } from '../../compute/take-snapshots.ts'
import { FORGET_VERSIONS_TASK } from '../../compute/version-tasks.ts'
import type { JobContext, StepContext } from '../../port.ts'
import { join } from 'node:path'

export type SnapshotParts = ComputeParts & Readonly<{ random: Random }>
export type DiskBefore = Readonly<{ id: string; lun: number }>
export type KeptSnapshot = Readonly<{ id: string; disk: string; uniqueId: string }>

const INHERITED = ['osType', 'hyperVGeneration', 'diskSizeGB', 'diskSizeBytes']

function bodyOf(disk: ResourceRecord, uniqueId: string, nowMs: number): Readonly<Record<string, unknown>> {
  const from = propertiesOf(disk)
  return {
    sku: { name: 'Standard_LRS', tier: 'Standard' },
    properties: {
      networkAccessPolicy: 'AllowAll',
      publicNetworkAccess: 'Enabled',
      ...Object.fromEntries(INHERITED.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]]))),
      creationData: { createOption: 'Copy', sourceResourceId: disk.id, sourceUniqueId: from['uniqueId'] },
      incremental: true,
      encryption: { type: 'EncryptionAtRestWithPlatformKey' },
      diskState: 'Unattached',
      uniqueId,
      timeCreated: isoTime(nowMs),
      completionPercent: 0,
    },
  }
}

async function rowsOf(trx: CatalogTransaction, jobId: string, group: string): Promise<ResourceRecord[]> {
  const rows = await listResources(trx, { type: SNAPSHOT_TYPE, group })
  return rows.filter(({ backing }) => backing['madeBy'] === jobId)
}

function groupOf(id: string): string {
  return id.slice(0, id.toLowerCase().indexOf('/providers/'))
}

async function announce(
  { catalog, source, random }: SnapshotParts,
  jobId: string,
  machine: ResourceRecord,
  disks: readonly DiskBefore[],
): Promise<KeptSnapshot[]> {
  const group = groupOf(machine.id)
  return catalog.write(async (trx) => {
    const mine = await rowsOf(trx, jobId, group)
    const kept: KeptSnapshot[] = []
    for (const { id: diskId, lun } of disks) {
      const disk = must(await findResource(trx, diskId), 'The machine has the disk')
      const diskUniqueId = String(propertiesOf(disk)['uniqueId'])
      const name = `${machine.name.slice(0, 40)}-${lun < 0 ? 'os' : `lun${lun}`}-before-restore-${jobId.slice(0, 8)}`
      const id = `${group}/providers/${SNAPSHOT_TYPE}/${name}`
      kept.push({ id, disk: diskId, uniqueId: diskUniqueId })
      if (mine.some((row) => row.name === name)) continue
      await insertResource(
        trx,
        {
          id,
          subscription: machine.subscription,
          group,
          type: SNAPSHOT_TYPE,
          name,
          location: machine.location,
          tags: {},
          state: 'Creating',
          body: bodyOf(disk, randomUuid(random), source.nowMs()),
          backing: { madeBy: jobId },
        },
        source,
      )
    }
    return kept
  })
}

async function take(
  { folder, ...parts }: SnapshotParts,
  step: StepContext,
  region: string,
  kept: readonly KeptSnapshot[],
): Promise<TakeSnapshotsOutput> {
  const { access } = await regionRepository({ ...parts, keysFolder: join(folder, 'keys') }, region)
  const sources: TakeSnapshotsInput['sources'][number][] = []
  for (const { disk, uniqueId } of kept) {
    const record = must(await findResource(parts.catalog, disk), 'The machine has the disk')
    const { file, format, base } = backingOf(record)
    sources.push({
      kind: 'image',
      name: record.name,
      format,
      diskId: uniqueId,
      path: file,
      ...(base !== undefined && { base: base.file }),
    })
  }
  const wanted: TakeSnapshotsInput = {
    ...access,
    sources,
    disks: kept.map(({ uniqueId }) => ({
      diskId: uniqueId,
      history: snapshotHistory(uniqueId, true),
      incremental: true,
    })),
    consistency: 'crash',
    strict: false,
    waitMs: 30_000,
  }
  return (await parts.tasks.run(step, TAKE_SNAPSHOTS_TASK, wanted)) as TakeSnapshotsOutput
}

/** Steps of a job: a snapshot of each disk is there afterwards. The machine must be off. */
export async function snapshotDisks(
  job: JobContext,
  parts: SnapshotParts,
  machine: string,
  disks: readonly DiskBefore[],
): Promise<readonly KeptSnapshot[]> {
  const { catalog, source } = parts
  const record = async (): Promise<ResourceRecord> => must(await findResource(catalog, machine), 'It was there')
  const kept = await job.step('announce the snapshots', async () => announce(parts, job.jobId, await record(), disks))
  const taken = await job.step(
    'take the snapshots',
    async (step) => take(parts, step, (await record()).location ?? '', kept),
    { retry: WORKER_RETRY },
  )
  await job.step('keep the snapshots', async () => {
    const region = (await record()).location ?? ''
    await catalog.write(async (trx) => {
      for (const { id, uniqueId } of kept) {
        const version = taken.versions.find(({ diskId }) => diskId === uniqueId)
        if (version !== undefined) await finishSnapshot(trx, { id, region, version }, source)
      }
    })
  })
  return kept
}

/** As if they had not been taken. */
export async function dropSnapshots(parts: SnapshotParts, step: StepContext, machine: ResourceRecord): Promise<void> {
  const { catalog, tasks, folder } = parts
  const rows = await catalog.write((trx) => rowsOf(trx, step.jobId, groupOf(machine.id)))
  if (rows.length === 0) return
  const { access } = await regionRepository({ ...parts, keysFolder: join(folder, 'keys') }, machine.location ?? '')
  await tasks.run(step, FORGET_VERSIONS_TASK, { ...access, madeBy: step.jobId })
  await catalog.write(async (trx) => {
    for (const { id } of rows) await dropSnapshot(trx, id)
  })
}
