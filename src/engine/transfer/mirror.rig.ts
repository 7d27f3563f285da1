/** What the tests of mirrors share: a repository that lives (backups, forgets, prunes), and its mirror. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type BlobStore,
  MemoryStore,
  Mirror,
  type MirrorParts,
  type PassReport,
  type PointRecord,
  type Repository,
} from '#engine/repository'
import { contentOf, type LockLab } from './immutability.rig.ts'

const folders: string[] = []
export async function removeMirrorFolders(): Promise<void> {
  for (const folder of folders) await rm(folder, { recursive: true })
}
export async function cacheFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-mirror-'))
  folders.push(folder)
  return folder
}

/** A store for the mirror of a lab's repository, that locks by the clock of its server. */
export const mirrorStore = (lab: LockLab, name = 'mirror'): MemoryStore => new MemoryStore({ name, clock: lab.server })

/** As a process that has just begun mirrors once. */
export async function mirrorOnce(
  lab: LockLab,
  source: BlobStore,
  target: BlobStore,
  more: Partial<MirrorParts> & Readonly<{ adopt?: boolean }> = {},
): Promise<PassReport> {
  const { adopt = false, ...rest } = more
  const cache = rest.cacheFolder ?? (await cacheFolder())
  const parts = { source, target, clock: lab.host, random: lab.random, writer: 'test', ...rest, cacheFolder: cache }
  return (await Mirror.open(parts)).pass({ adopt })
}

export type Kept = Readonly<{ point: PointRecord; content: Uint8Array }>

/** Three points, the first forgotten, pruned so that packs were rewritten and deleted, and one more. */
export async function live(lab: LockLab, repository: Repository): Promise<Kept[]> {
  const first = contentOf({ 0: 1, 1: 1, 2: 1, 4: 1, 7: 1 })
  const second = contentOf({ 0: 1, 1: 2, 2: 1, 4: 1, 7: 2 })
  const third = contentOf({ 0: 3, 1: 2, 4: 1, 7: 2, 9: 3 })
  const one = await lab.backUp(repository, first)
  const two = await lab.backUp(repository, second, { parent: one, changed: [1, 7] })
  await repository.forget([one.id])
  await lab.prune(repository)
  const three = await lab.backUp(repository, third, { parent: two, changed: [0, 2, 9] })
  return [
    { point: two, content: second },
    { point: three, content: third },
  ]
}

/** The objects of a store that a mirror must have: all but strays and what makes a store a mirror. */
export async function objectsOf(store: BlobStore): Promise<Map<string, string>> {
  const objects = new Map<string, string>()
  for await (const { key } of store.list(''))
    if (key !== 'mirror') objects.set(key, Buffer.from(await store.get(key)).toString('base64'))
  return objects
}

/** With the key alone, the mirror lists and restores these points, and no others. */
export async function assertServes(lab: LockLab, target: BlobStore, kept: readonly Kept[]): Promise<void> {
  const opened = await lab.open(target)
  assert.deepEqual(
    opened.points().map(({ id }) => id),
    kept.map(({ point }) => point.id),
  )
  for (const { point, content } of kept) await lab.assertRestores(opened, point, content)
}
