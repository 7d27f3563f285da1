/** The size of a file or block device, which stat() alone does not tell. */
import { readFile, stat } from 'node:fs/promises'
import { SECTOR_BYTES } from '#base'
import { BlockError } from './errors.ts'
import { fileError } from './file-errors.ts'

/** Sizes in bytes; `allocatedBytes` is what the file occupies in its file system. */
export type FileShape = Readonly<{ kind: 'file' | 'block-device'; sizeBytes: number; allocatedBytes: number }>

/** Linux packs device numbers so (sys/sysmacros.h, gnu_dev_major and gnu_dev_minor). */
function deviceNumberText(rdev: number): string {
  const low = rdev % 2 ** 32
  const high = Math.floor(rdev / 2 ** 32)
  const major = ((low >>> 8) & 0xfff) | (high & ~0xfff)
  const minor = (low & 0xff) | ((low >>> 12) & ~0xff)
  return `${major >>> 0}:${minor >>> 0}`
}

/** What `path` is and how large. @throws BlockError image_not_found, image_invalid when it is neither file nor device. */
export async function fileShape(path: string): Promise<FileShape> {
  try {
    const stats = await stat(path)
    if (stats.isFile()) return { kind: 'file', sizeBytes: stats.size, allocatedBytes: stats.blocks * 512 }
    if (stats.isBlockDevice()) {
      // The kernel always counts in 512-byte sectors here (Documentation/ABI/stable/sysfs-block).
      const sectors = Number(await readFile(`/sys/dev/block/${deviceNumberText(stats.rdev)}/size`, 'utf8'))
      const sizeBytes = sectors * SECTOR_BYTES
      return { kind: 'block-device', sizeBytes, allocatedBytes: sizeBytes }
    }
  } catch (error) {
    throw fileError('open', path, error)
  }
  throw new BlockError('image_invalid', `${path} is neither a file nor a block device.`, { facts: { path } })
}
