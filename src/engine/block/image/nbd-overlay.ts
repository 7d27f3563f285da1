/**
 * An overlay over a disk that is served by NBD: what a machine that is booted from a recovery point writes to, from its
 * first instruction on, while its bytes are still elsewhere.
 *
 * What is a hole below is made a zero cluster at once, so that filling the overlay later moves data and not size: a disk of
 * 1 TiB with 200 MiB of data costs 200 MiB. Clusters are as large as the default chunk: 32 MiB of tables for 1 TiB.
 * (Sub-clusters, `extended_l2`, would copy less on small writes, but QEMU 7.2 aborts when block-stream reads into them:
 * bdrv_co_do_copy_on_readv rounds to clusters and then counts bytes below zero. Seen here; mended in QEMU 8.1.)
 */
import { unlink } from 'node:fs/promises'
import { SECTOR_BYTES, assert } from '#base'
import type { ByteRange } from '../extent.ts'
import { runQemuImg } from './qemu-img.ts'
import { serveImage, type StorageDaemonOptions } from './storage-daemon.ts'

export type NbdBacking = Readonly<{
  /** Goes into the overlay's header: the same path after every restart. */
  socketPath: string
  exportName: string
  /** How long the guest's reads wait for a server that is away before they fail. */
  reconnectDelaySeconds: number
}>

const CLUSTER_BYTES = 256 * 1024
/** NBD and qcow2 take lengths below 2^31. */
const ZERO_BYTES_MAX = 1024 * 1024 * 1024

/** Creates the overlay; the server must be up. @throws BlockError target_full, nbd_io_error; the file is removed then */
export async function createNbdOverlay(
  path: string,
  backing: NbdBacking,
  sizeBytes: number,
  holes: readonly ByteRange[],
  options: Omit<StorageDaemonOptions, 'writable'> = {},
): Promise<void> {
  assert(sizeBytes % SECTOR_BYTES === 0, 'A disk has whole sectors')
  const { socketPath, exportName, reconnectDelaySeconds } = backing
  const server = { type: 'unix', path: socketPath }
  const below = {
    driver: 'raw',
    file: { driver: 'nbd', server, export: exportName, 'reconnect-delay': reconnectDelaySeconds },
  }
  const layout = `cluster_size=${CLUSTER_BYTES}`
  const args = ['create', '-q', '-f', 'qcow2', '-o', layout, '-b', `json:${JSON.stringify(below)}`, '-F', 'raw']
  try {
    await runQemuImg(path, [...args, '--', path, String(sizeBytes)])
    if (holes.length > 0) await zero(path, holes, options)
  } catch (error) {
    await unlink(path).catch(() => {
      // It may not have been made at all; the first error says why.
    })
    throw error
  }
}

async function zero(
  path: string,
  holes: readonly ByteRange[],
  options: Omit<StorageDaemonOptions, 'writable'>,
): Promise<void> {
  const served = await serveImage({ path, format: 'qcow2', keepsBacking: true }, { ...options, writable: true })
  try {
    for (const { offset, length } of holes) {
      for (let done = 0; done < length; done += ZERO_BYTES_MAX) {
        await served.client.writeZeroes(offset + done, Math.min(ZERO_BYTES_MAX, length - done))
      }
    }
    await served.client.flush()
  } finally {
    await served.close()
  }
}
