/** Keeps a block device from being mounted, or put into a volume group or RAID, while somebody else works on it. */
import { constants, open } from 'node:fs/promises'
import { errnoOf } from '#base'
import { fileShape } from './device-size.ts'
import { BlockError } from './errors.ts'
import { fileError } from './file-errors.ts'

export type DeviceClaim = Readonly<{ close: () => Promise<void> }>

/**
 * QEMU's image locks say nothing of what the host itself does with a block device; O_EXCL without O_CREAT does (open(2)).
 * Gives undefined for a file, which needs no claim. @throws BlockError image_in_use, image_not_found
 */
export async function claimDevice(path: string, hint: string): Promise<DeviceClaim | undefined> {
  if ((await fileShape(path)).kind === 'file') return undefined
  try {
    return await open(path, constants.O_RDONLY | constants.O_EXCL)
  } catch (cause) {
    if (errnoOf(cause) !== 'EBUSY') throw fileError('open', path, cause)
    const message = `The host itself uses ${path}: it is mounted, or part of a volume group or RAID.`
    throw new BlockError('image_in_use', message, { facts: { path }, retry: 'later', hint, cause })
  }
}
