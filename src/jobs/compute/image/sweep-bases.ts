/**
 * Removes bases that nothing needs any more: when the last disk on one goes or its image does (`releaseBase`), and by the job
 * `sweep-bases` at night, for what crashes left. What goes is planned by records (domain); the worker looks at the overlays
 * themselves before it removes, so a plan that is out of date removes nothing that is used.
 */
import { rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Clock } from '#base'
import { type Catalog, listPools, listResources } from '#catalog'
import { baseName, type DiskBacking, type DiskBase, type ImageBacking, planBaseRemoval } from '#domain'
import type { JobContext, JobDefinition } from '../../port.ts'
import { absolutePathOf, inputInvalid, recordOf } from '../../repository-access.ts'
import type { TaskHandler, TaskRunner } from '../../tasks.ts'
import { DRAFT_PREFIX } from '../disk-files.ts'
import { DISK_TYPE } from '../disk-records.ts'
import { basesFolder } from './base-place.ts'
import { type Bases, basesOfOverlays, namesIn } from './bases.ts'
import { IMAGE_TYPES } from './image-rows.ts'

export const SWEEP_BASES_JOB = 'sweep-bases'
export const SWEEP_BASES_TASK = 'sweep-bases'

/** Old enough that no making which still runs can have left it. */
const DRAFT_AGE_MS = 24 * 3600 * 1000

type SweepInput = Readonly<{
  pool: string
  namedByDisks: readonly string[]
  namedByImages: readonly string[]
  /** Only this one; undefined: all. */
  only?: string
}>

function namesOf(value: unknown, what: string): Set<string> {
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return new Set(value)
  throw inputInvalid(what)
}

/** {pool, namedByDisks, namedByImages, only?} → how many files were removed. */
export function sweepBasesTask(bases: Bases, clock: Clock): TaskHandler {
  return async (given) => {
    const input = recordOf(given, 'fields')
    const pool = absolutePathOf(input['pool'], 'pool')
    const only = input['only'] ?? undefined
    const there = await namesIn(basesFolder(pool))
    const asked = typeof only === 'string' ? there.filter((name) => name === only) : there
    const plan = planBaseRemoval({
      bases: asked.filter((name) => name.endsWith('.qcow2') && !name.startsWith(DRAFT_PREFIX)),
      namedByDisks: namesOf(input['namedByDisks'], 'namedByDisks'),
      namedByImages: namesOf(input['namedByImages'], 'namedByImages'),
      namedByFiles: await basesOfOverlays(pool),
    })
    let removed = 0
    for (const name of plan) if (await bases.remove(pool, name)) removed += 1
    if (only === undefined) removed += await removeOldDrafts(pool, there, clock)
    return removed
  }
}

async function removeOldDrafts(pool: string, names: readonly string[], clock: Clock): Promise<number> {
  let removed = 0
  for (const name of names) {
    if (!name.startsWith(DRAFT_PREFIX)) continue
    const path = join(basesFolder(pool), name)
    const { mtimeMs } = await stat(path)
    if (clock.nowMs() - mtimeMs < DRAFT_AGE_MS) continue
    await rm(path, { force: true })
    removed += 1
  }
  return removed
}

/** Names of bases that records need, in whatever pool. */
async function namedIn(catalog: Catalog): Promise<Pick<SweepInput, 'namedByDisks' | 'namedByImages'>> {
  const disks = await listResources(catalog, { type: DISK_TYPE })
  const images = (await Promise.all(IMAGE_TYPES.map((type) => listResources(catalog, { type })))).flat()
  return {
    namedByDisks: disks.flatMap(({ backing }) => {
      const { base } = backing as Partial<DiskBacking>
      return base === undefined ? [] : [basename(base.file)]
    }),
    namedByImages: images.flatMap(({ backing }) =>
      ((backing as ImageBacking).disks ?? []).flatMap(({ version }) => {
        const name = baseName(version)
        return typeof name === 'string' ? [name] : []
      }),
    ),
  }
}

type Parts = Readonly<{ catalog: Catalog; tasks: TaskRunner }>

/** To be called when the record that needed the base is gone; does nothing while another one does. */
export async function releaseBase(
  job: JobContext,
  { catalog, tasks }: Parts,
  base: Pick<DiskBase, 'file'>,
  step: string,
): Promise<void> {
  await job.step(step, async (context) => {
    const pool = dirname(dirname(base.file))
    const only = basename(base.file)
    const named = await namedIn(catalog)
    if (named.namedByDisks.includes(only) || named.namedByImages.includes(only)) return
    await tasks.run(context, SWEEP_BASES_TASK, { pool, ...named, only } satisfies SweepInput)
  })
}

/** Gives the number of files that were removed. */
export function sweepBasesJob({ catalog, tasks }: Parts): JobDefinition<unknown, number> {
  return {
    name: SWEEP_BASES_JOB,
    version: 1,
    run: async (job) => {
      const pools = await job.step('list the pools', async () => (await listPools(catalog)).map(({ path }) => path))
      let removed = 0
      for (const pool of pools)
        removed += await job.step(`sweep ${pool}`, async (step) => {
          // Records are read in the same step: what is announced later is seen by its overlay, or makes its base again.
          const input: SweepInput = { pool, ...(await namedIn(catalog)) }
          return (await tasks.run(step, SWEEP_BASES_TASK, input)) as number
        })
      return removed
    },
  }
}
