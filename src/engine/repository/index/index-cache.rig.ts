/** What the tests of the index share: folders of their own, and entries with random ids. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SeededRandom } from '#base'
import type { ChunkId } from '../crypto.ts'
import { type ChunkLocation, ENTRY_BYTES, writeIndexEntry } from './run-file.ts'

const folders: string[] = []

export async function freshFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-index-'))
  folders.push(folder)
  return folder
}

export async function removeFolders(): Promise<void> {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
}

export function randomLocation(random: SeededRandom): ChunkLocation {
  return {
    pack: random.below(1000),
    offset: random.below(0x7fffffff),
    sealedBytes: random.below(0x7fffffff),
    plainBytes: 1 + random.below(4 * 1024 * 1024),
    codec: random.below(2),
    kind: random.pick(['data', 'node']),
  }
}

/** Entries ascending by id; some ids have several locations. */
export function sortedEntries(list: readonly (readonly [ChunkId, ChunkLocation])[]): Buffer {
  const entries = list.map(([id, location]) => {
    const entry = Buffer.alloc(ENTRY_BYTES)
    writeIndexEntry(entry, 0, id, location)
    return entry
  })
  return Buffer.concat(entries.sort((a, b) => a.compare(b, 0, 32, 0, 32)))
}
