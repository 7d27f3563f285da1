/**
 * Copies packs from a repository's store to its mirror, several at once, each held against its name as it arrives: the name is the
 * SHA-256 of all bytes, so what does not fit never gets there. Durable when it resolves. Copying again is free: what is there
 * is passed over.
 */
import { hash } from 'node:crypto'
import { isHoldfastError } from '#base'
import type { BlobStore } from '../blob-store.ts'
import type { PackAdded } from '../log/entry.ts'
import { packKeyOf, packNameOf } from '../pack-format.ts'

/** Each holds one pack in memory. */
export const COPY_LANES = 4
/** From so many packs on, what is there is listed once instead of being asked for each. */
const LIST_FROM = 256

export type CopiedPacks = {
  packs: number
  bytes: number
  /** Packs that the repository has not whole. */
  hurt: PackAdded[]
}

export type CopyPacksOptions = Readonly<{
  source: BlobStore
  target: BlobStore
  lanes?: number
  signal?: AbortSignal | undefined
  onCopied?: (bytes: number) => void | Promise<void>
}>

/** @throws what the stores throw, and when it was cancelled; what is copied by then stays */
export async function copyPacks(packs: readonly PackAdded[], options: CopyPacksOptions): Promise<CopiedPacks> {
  const { source, target, lanes = COPY_LANES, signal, onCopied } = options
  const isThere = await presence(target, packs.length)
  const waiting = packs.toReversed()
  const done: CopiedPacks = { packs: 0, bytes: 0, hurt: [] }
  const failures: unknown[] = []
  const lane = async (): Promise<void> => {
    let memory: Uint8Array | undefined
    for (let pack = waiting.pop(); pack !== undefined; pack = waiting.pop()) {
      signal?.throwIfAborted()
      if (await isThere(pack)) continue
      const bytes = await readWhole(source, pack, memory)
      if (bytes === undefined) {
        done.hurt.push(pack)
        continue
      }
      await target.put(packKeyOf(pack.name), [bytes])
      done.packs += 1
      done.bytes += bytes.length
      if (bytes.byteLength === bytes.buffer.byteLength) memory = bytes
      await onCopied?.(bytes.length)
    }
  }
  const stopAll = (error: unknown): void => {
    failures.push(error)
    waiting.length = 0
  }
  await Promise.all(Array.from({ length: Math.min(lanes, packs.length) }, () => lane().catch(stopAll)))
  if (failures.length > 0) throw failures[0]
  return done
}

/** Whether the mirror has an object of the pack's name and length. One of another length is damage, which the check mends. */
async function presence(target: BlobStore, count: number): Promise<(pack: PackAdded) => Promise<boolean>> {
  if (count < LIST_FROM) return async ({ name }) => (await target.head(packKeyOf(name))) !== undefined
  const there = await packsOf(target)
  return async ({ name }) => there.has(name)
}

/** Names of the packs in a store. */
export async function packsOf(store: BlobStore): Promise<Set<string>> {
  const there = new Set<string>()
  for await (const { key } of store.list('packs/')) {
    const name = packNameOf(key)
    if (name !== undefined) there.add(name)
  }
  return there
}

/** The pack's bytes if they are what its name says; read twice, since the first reading may be what failed. */
export async function readWhole(
  store: BlobStore,
  { name }: Readonly<{ name: string }>,
  memory?: Uint8Array,
): Promise<Uint8Array | undefined> {
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      const bytes = await store.get(packKeyOf(name), memory)
      if (hash('sha256', bytes, 'hex') === name) return bytes
    } catch (error) {
      if (isHoldfastError(error, 'blob_not_found', 'blob_too_large')) return undefined
      throw error
    }
  }
  return undefined
}
