/**
 * Disk versions of a point as exports of one NBD server on one socket: what overlays rest on while their data moves in. The server
 * may be closed and opened again on the same socket; who reads waits meanwhile (RECONNECT_SECONDS). What is served is pinned.
 */
import { dirname } from 'node:path'
import { makeFolderDurable } from '#runtime'
import { type BlockSource, type ByteRange, createNbdOverlay, type NbdServer, serveNbd } from '#engine/block'
import type { BlobStore, DiskRecord, Repository, StoreDescriptor } from '#engine/repository'
import { CACHE_BYTES_DEFAULT, openVersion } from '../version-source.ts'

/** How long a guest waits for its server: long enough for an operator, short enough that a guest's own timeouts rule. */
export const RECONNECT_SECONDS = 300
const BLOCK_BYTES_PREFERRED = 256 * 1024

export type VersionToServe = Readonly<{ exportName: string; disk: DiskRecord }>

export type ServedVersions = Readonly<{
  sources: ReadonlyMap<string, BlockSource>
  /** The pin keeps prune from taking what is still read. */
  keepAlive: () => Promise<void>
  close: () => Promise<void>
}>

/** @param reason of the pin @throws what opening the versions and listening raise; nothing is open then */
export async function serveVersions(
  repository: Repository,
  versions: readonly VersionToServe[],
  { store, socketPath, reason }: Readonly<{ store: StoreDescriptor | BlobStore; socketPath: string; reason: string }>,
): Promise<ServedVersions> {
  const session = await repository.beginReading(reason)
  const sources = new Map<string, BlockSource>()
  let server: NbdServer | undefined
  const close = async (): Promise<void> => {
    await server?.close()
    for (const source of sources.values()) await source.close()
    await session?.end().catch(() => {
      // The pin runs out by itself.
    })
  }
  const cacheBytes = Math.floor(CACHE_BYTES_DEFAULT / Math.max(1, versions.length))
  try {
    for (const { exportName, disk } of versions)
      sources.set(exportName, await openVersion(repository, disk, { store, cacheBytes }))
    await makeFolderDurable(dirname(socketPath))
    server = await serveNbd({
      listen: { socketPath },
      exports: (name) => {
        const source = sources.get(name)
        return source === undefined ? undefined : { source, blockBytesPreferred: BLOCK_BYTES_PREFERRED }
      },
    })
    const keepAlive = async (): Promise<void> =>
      session?.keepAlive().catch(() => {
        // Tried again at the next look; a store that is away for a while must not take the guest's server with it.
      })
    return { sources, keepAlive, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** An overlay on an export, with the version's holes already zero. The file must not exist. */
export async function overlayOn(
  path: string,
  source: BlockSource,
  socketPath: string,
  exportName: string,
): Promise<void> {
  const holes: ByteRange[] = (await source.extents(0, source.sizeBytes)).filter(({ kind }) => kind !== 'data')
  const backing = { socketPath, exportName, reconnectDelaySeconds: RECONNECT_SECONDS }
  await createNbdOverlay(path, backing, source.sizeBytes, holes)
}
