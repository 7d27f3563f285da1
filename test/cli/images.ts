/** Image files whose every written sector says where it belongs: disk, sector, version. */
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MIB } from '#base'
import { stampedBytes } from '#engine/block'
import { checkCommand } from '#runtime'

export type Written = readonly (readonly [offset: number, length: number])[]

/** A raw image with holes: what a disk of `sizeBytes` is after `written` was written by `version`. */
export async function writeRaw(
  path: string,
  sizeBytes: number,
  written: Written,
  stamp: Readonly<{ disk: number; version: number }>,
): Promise<void> {
  const file = await open(path, 'a+').then(async (handle) => {
    await handle.close()
    return open(path, 'r+')
  })
  try {
    await file.truncate(sizeBytes)
    for (const [offset, length] of written) {
      await file.write(stampedBytes(stamp, offset, length), 0, length, offset)
    }
  } finally {
    await file.close()
  }
}

export const DISK_BYTES = 24 * MIB + 512
export const PARTS: Written = [
  [0, 3 * MIB],
  [7 * MIB + 512, 2 * MIB],
  [DISK_BYTES - 1024, 1024],
]

/** The same disk as raw and as qcow2, and its bytes. */
export async function makeImages(folder: string, disk = 0): Promise<{ raw: string; qcow2: string; bytes: Buffer }> {
  const raw = join(folder, `disk${disk}.img`)
  const qcow2 = join(folder, `disk${disk}.qcow2`)
  await writeRaw(raw, DISK_BYTES, PARTS, { disk, version: 1 })
  await checkCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2])
  return { raw, qcow2, bytes: await readFile(raw) }
}
