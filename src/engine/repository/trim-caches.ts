/**
 * Bounds what the cached indexes of all repositories take: those used longest ago go first. What this user has seen of a log
 * (`head.json`, see remembered-head.ts) stays for ever; it is small, and without it a roll-back would go unnoticed.
 *
 * An index counts as in use for a day after its repository was last opened or closed, and is not removed then: the process
 * that opened it may still read it. So a day's work may exceed the bound.
 * A crash leaves an index that lacks files; it is made anew when it is next opened, as any damaged one.
 */
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GIB } from '#base'

export const CACHE_BYTES_MAX = 8 * GIB
const IN_USE_MS = 24 * 60 * 60 * 1000
const REPOSITORY_ID = /^[0-9a-f]{32}(-mirror)?$/

export type CachedIndex = Readonly<{ id: string; bytes: number; usedMs: number }>

/** Which indexes must go for the others to keep within `bytesMax`, those used longest ago first. Pure. */
export function indexesToRemove(cached: readonly CachedIndex[], nowMs: number, bytesMax: number): string[] {
  let bytes = cached.reduce((sum, one) => sum + one.bytes, 0)
  const going: string[] = []
  for (const one of cached.toSorted((a, b) => a.usedMs - b.usedMs)) {
    if (bytes <= bytesMax || nowMs - one.usedMs < IN_USE_MS) break
    going.push(one.id)
    bytes -= one.bytes
  }
  return going
}

async function measure(folder: string, id: string): Promise<CachedIndex> {
  const index = join(folder, id, 'index')
  let bytes = 0
  for (const name of await readdir(index)) bytes += (await stat(join(index, name))).size
  return { id, bytes, usedMs: (await stat(join(folder, id, 'head.json'))).mtimeMs }
}

/** Trims the folder; gives the ids of the repositories whose indexes went. Two at once are harmless. */
export async function trimCaches(folder: string, nowMs: number, bytesMax = CACHE_BYTES_MAX): Promise<string[]> {
  const ids = (await readdir(folder)).filter((name) => REPOSITORY_ID.test(name))
  const measured = await Promise.allSettled(ids.map((id) => measure(folder, id)))
  // One that has no index, or changes while we look, is passed over: the next look sees it.
  const cached = measured.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  const going = indexesToRemove(cached, nowMs, bytesMax)
  for (const id of going) await rm(join(folder, id, 'index'), { recursive: true, force: true })
  return going
}
