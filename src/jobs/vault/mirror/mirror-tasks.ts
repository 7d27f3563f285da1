/**
 * What a worker does for the mirror of a vault: a pass, and a check that heals. Each may be begun again at any time, and goes on from
 * what lies in the stores.
 *
 * A mirror's folder is made by the first pass alone. Later on a folder that is not there is an error and not a new mirror: the file
 * system that holds it is away.
 */
import { dirname } from 'node:path'
import {
  type BlobStore,
  type Credential,
  healFrame,
  type HealedFrame,
  Mirror,
  openStore,
  parseStoreLocation,
  type PassReport,
} from '#engine/repository'
import { checkMirror, type SideReport } from '#engine/transfer'
import { makeFolderDurable } from '#runtime'
import {
  inputInvalid,
  readCredential,
  readTaskAccess,
  recordOf,
  type RepositoryHost,
  type TaskAccess,
  withRepository,
} from '../../repository-access.ts'
import type { TaskHandler } from '../../tasks.ts'
import type { CheckedSide } from './mirror-status.ts'

export const MIRROR_TASK = 'mirror-vault'
export const CHECK_MIRROR_TASK = 'check-vault-mirror'

export type MirrorTaskInput = Readonly<{
  source: TaskAccess
  /** Where the mirror lies. */
  target: string
  /** Whether it may be made. */
  isFirst: boolean
}>

export type MirrorTaskOutput = Readonly<{
  head: number
  entries: number
  packs: number
  bytes: number
  owed: number
  deleted: number
  /** Points of the vault's log that the mirror could not restore; undefined when they are too many to name. */
  behind?: readonly string[]
}>

export type CheckTaskOutput = Readonly<{ ok: boolean; source: CheckedSide; target: CheckedSide }>

const NAMED_MAX = 10_000
/** Objects that a report names on each side. */
const OBJECTS_MAX = 50
/** What others commit while a pass runs, its own pin included, is brought over by the next; so many at once. */
const PASSES_MAX = 4

function inputOf(given: unknown): MirrorTaskInput {
  const input = recordOf(given, 'fields')
  const { target, isFirst } = input
  if (typeof target !== 'string') throw inputInvalid('target')
  return { source: readTaskAccess(recordOf(input['source'], 'source')), target, isFirst: isFirst === true }
}

/** @throws store_location_invalid when it is not there and may not be made */
async function openTarget(location: string, mayMake: boolean): Promise<BlobStore> {
  const descriptor = parseStoreLocation(location)
  if (mayMake && descriptor.kind === 'folder') await makeFolderDurable(dirname(descriptor.path))
  return openStore(descriptor, { create: mayMake })
}

export function mirrorTask(host: RepositoryHost): TaskHandler {
  return async (given, context): Promise<MirrorTaskOutput> => {
    const { source, target: location, isFirst } = inputOf(given)
    return withRepository(source, host, async (repository) => {
      const target = await openTarget(location, isFirst)
      try {
        const { signal, progress } = context
        const mirror = await Mirror.open({ source: repository.store, target, repository, ...host, signal, progress })
        return outputOf(await passUntilDone(mirror))
      } finally {
        await target.close()
      }
    })
  }
}

async function passUntilDone(mirror: Mirror): Promise<PassReport> {
  let last = await mirror.pass()
  for (let passes = 1; passes < PASSES_MAX && last.lag.entries > 0; passes += 1) {
    const next = await mirror.pass()
    const sum = (field: 'entries' | 'packs' | 'bytes' | 'deleted'): number => last[field] + next[field]
    last = { ...next, entries: sum('entries'), packs: sum('packs'), bytes: sum('bytes'), deleted: sum('deleted') }
  }
  return last
}

function outputOf({ head, entries, packs, bytes, owed, deleted, lag }: PassReport): MirrorTaskOutput {
  const named = lag.points.length <= NAMED_MAX ? { behind: lag.points } : {}
  return { head, entries, packs, bytes, owed: owed.length, deleted, ...named }
}

export function checkMirrorTask(host: RepositoryHost): TaskHandler {
  return async (given, context): Promise<CheckTaskOutput> => {
    const { source, target: location } = inputOf(given)
    const target = await openTarget(location, false)
    try {
      const credential = await readCredential(source.credential)
      const frame = await healOwnFrame(source.store, target, credential)
      return await withRepository(source, host, async (repository, descriptor) => {
        const places = { source: descriptor, target: parseStoreLocation(location) }
        const { signal, progress } = context
        const all = { source: repository.store, target, repository, credential, frame, places }
        const parts = { ...all, ...host, signal, progress }
        const found = await checkMirror(parts)
        // What verify told this user's index to suspect is whole again.
        if (found.source.healed.length > 0 && found.source.damage.length === 0)
          await (await repository.index()).suspect([])
        if (found.head > 0) await (await Mirror.open(parts)).extendLocks()
        return { ok: found.ok, source: sideOf(found.source), target: sideOf(found.target) }
      })
    } finally {
      await target.close()
    }
  }
}

/** A repository without its configuration or a slot that opens cannot even be opened: they are put back first. */
async function healOwnFrame(location: string, target: BlobStore, credential: Credential): Promise<HealedFrame> {
  const store = await openStore(location)
  try {
    return await healFrame(store, target, { side: 'repository', credential })
  } finally {
    await store.close()
  }
}

function sideOf({ checkedBytes, packs, hurt, healed, damage }: SideReport): CheckedSide {
  const first = (objects: readonly string[]): string[] => objects.slice(0, OBJECTS_MAX)
  return { checkedBytes, packs, hurt: first(hurt), healed: first(healed), lost: damage.length }
}
