/** Opens what a SourceDescriptor names, in whatever thread or process it has come to. */
import type { Clock } from '#base'
import type { BlockSource, SourceDescriptor } from './device.ts'
import { type FileReads, openFileSource } from './file-source.ts'
import { openNbd } from './nbd/client.ts'

/** `reads` is for files only: `sync` in a worker of its own, `async` (default) where the thread must stay responsive. */
export type OpenSourceOptions = Readonly<{
  clock?: Clock
  reads?: FileReads
  connections?: number
  signal?: AbortSignal
}>

/** @throws BlockError */
export async function openSource(source: SourceDescriptor, options: OpenSourceOptions = {}): Promise<BlockSource> {
  if (source.kind === 'file') {
    const { reads } = options
    return await openFileSource({
      path: source.path,
      sizeBytes: source.sizeBytes,
      map: source.map,
      ...(reads && { reads }),
    })
  }
  const { exportName } = source
  const shared = { ...options, exportName }
  if (source.kind === 'nbd') return await openNbd({ ...shared, socketPath: source.socketPath })
  const tls = source.tlsCaFile === undefined ? undefined : { caFile: source.tlsCaFile }
  return await openNbd({ ...shared, host: source.host, port: source.port, tls })
}
