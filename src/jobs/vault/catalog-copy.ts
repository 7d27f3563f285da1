/**
 * The catalog's back-up into a vault: a point of the history `holdfast-catalog` whose one disk is the catalog's file, as SQLite's own
 * back-up copies it while it is in use. So with the server gone whoever has a vault and its key has regions, vaults, policies, items and jobs
 * too (`holdfast recover`). Beside it lies `recover.json`, which says what the server was.
 *
 *   dies                     what is left                    what goes on
 *   serve, while copying     a `.tmp-*` file in `run`        the step makes it anew; maintenance removes what is a day old
 *   the worker               packs that nobody names         the task begins again
 *   after the commit         the point, by the job's note    the task finds it; then older ones are given up
 *
 * The newest few are kept, and what is locked. It holds no secret in the clear but what the catalog does: salted hashes of clients' secrets.
 */
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isHoldfastError } from '#base'
import { findSetting } from '#catalog'
import type { Repository, StoreDescriptor } from '#engine/repository'
import { backUp } from '#engine/transfer'
import { madeByNote } from '../compute/take-snapshots.ts'
import type { RegionRepositoryParts } from '../compute/region-repository.ts'
import type { JobDefinition, StepContext } from '../port.ts'
import {
  absolutePathOf,
  inputInvalid,
  readTaskAccess,
  recordOf,
  type RepositoryHost,
  withRepository,
} from '../repository-access.ts'
import type { TaskHandler, TaskRunner } from '../tasks.ts'
import { vaultRepository } from './vault-repository.ts'

export const COPY_CATALOG_JOB = 'copy-catalog-to-vault'
export const KEEP_CATALOG_TASK = 'keep-catalog-copy'
/** The history that these points form in each vault. */
export const CATALOG_HISTORY = 'holdfast-catalog'
export const CATALOG_DISK = 'catalog.sqlite'
export const RECOVER_ATTACHMENT = 'recover.json'

const WORKER_RETRY = { attemptsMax: 12, delayMs: 300, delayMsMax: 30_000 }
const KEPT = 7

/** What `recover.json` says. Fields are added, never changed. */
export type RecoverFacts = Readonly<{
  schema: 1
  vault: string
  subscription?: string
  tenant?: string
  madeMs: number
}>

export type CatalogCopyParts = Readonly<{
  tasks: TaskRunner
  repositories: RegionRepositoryParts
  /** The home's folder. */
  folder: string
}>

export type CatalogCopied = Readonly<{ point: string; sizeBytes: number; forgotten: number }>

export function copyCatalogJob(parts: CatalogCopyParts): JobDefinition<Readonly<{ vault: string }>, CatalogCopied> {
  const { tasks, repositories, folder } = parts
  const { catalog, host } = repositories
  return {
    name: COPY_CATALOG_JOB,
    version: 1,
    parse: (given) => {
      const { vault } = recordOf(given, 'fields')
      if (typeof vault !== 'string') throw inputInvalid('vault')
      return { vault }
    },
    run: async (job, { vault }) => {
      const path = join(folder, 'run', `.tmp-catalog-${job.jobId}`)
      job.cleanup('remove the copy', () => rm(path, { force: true }), { when: 'always' })
      const facts = await job.step('copy', async (): Promise<RecoverFacts> => {
        await catalog.backupTo(path)
        const [subscription, tenant] = [
          await findSetting(catalog, 'subscription'),
          await findSetting(catalog, 'tenant'),
        ]
        return {
          schema: 1,
          vault,
          ...(subscription !== undefined && { subscription }),
          ...(tenant !== undefined && { tenant }),
          madeMs: host.clock.nowMs(),
        }
      })
      const keep = async (step: StepContext): Promise<CatalogCopied> => {
        const { access } = await vaultRepository(repositories, vault)
        return (await tasks.run(step, KEEP_CATALOG_TASK, { ...access, path, facts })) as CatalogCopied
      }
      return job.step('keep', keep, { retry: WORKER_RETRY })
    },
  }
}

export function keepCatalogTask(host: RepositoryHost): TaskHandler {
  return async (given, { key, signal, progress }): Promise<CatalogCopied> => {
    const input = recordOf(given, 'fields')
    const path = absolutePathOf(input['path'], 'path')
    const facts = new TextEncoder().encode(JSON.stringify(recordOf(input['facts'], 'facts')))
    return withRepository(readTaskAccess(input), host, async (repository, store) => {
      const note = madeByNote(key.job)
      const made = repository
        .points()
        .findLast(({ machine, notes }) => machine === CATALOG_HISTORY && notes.includes(note))
      const more = { ...host, signal, progress, note, facts }
      const point = made ?? (await keepCopy(repository, store, path, more))
      const [disk] = point.disks
      return { point: point.id, sizeBytes: disk?.virtualSizeBytes ?? 0, forgotten: await forgetOld(repository) }
    })
  }
}

type CopyOptions = RepositoryHost & Readonly<{ signal: AbortSignal; note: string; facts: Uint8Array }>

async function keepCopy(repository: Repository, store: StoreDescriptor, path: string, options: CopyOptions) {
  const { size } = await stat(path)
  const map = { runs: [{ start: 0, length: size, kind: 'data' as const, fileOffset: 0 }] }
  const disk = {
    id: CATALOG_DISK,
    lun: 0,
    format: 'raw',
    sizeBytes: size,
    source: { kind: 'file' as const, path, sizeBytes: size, map },
    changes: { kind: 'all' as const, reason: 'catalog' },
  }
  const input = {
    machine: CATALOG_HISTORY,
    takenAtMs: options.clock.nowMs(),
    consistency: 'application' as const,
    notes: [options.note],
    disks: [disk],
    attachments: [{ name: RECOVER_ATTACHMENT, bytes: options.facts }],
    chunkSizeBytes: 64 * 1024,
  }
  return backUp(repository, input, { ...options, store })
}

/** Gives up all but the newest; those that are locked stay until their locks end. */
async function forgetOld(repository: Repository): Promise<number> {
  const old = repository
    .points()
    .filter(({ machine }) => machine === CATALOG_HISTORY)
    .slice(0, -KEPT)
  let forgotten = 0
  for (const { id } of old) {
    try {
      await repository.forget([id])
      forgotten += 1
    } catch (error) {
      if (!isHoldfastError(error, 'point_locked')) throw error
    }
  }
  return forgotten
}
