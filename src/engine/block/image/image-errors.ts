/** How the checks of image headers speak. */
import { DISK_BYTES_MAX, type Facts } from '#base'
import { BlockError } from '../errors.ts'

export function invalidImage(path: string, message: string, facts: Facts = {}): BlockError {
  return new BlockError('image_invalid', `${path} ${message}`, { facts: { path, ...facts } })
}

export function backingRefused(path: string, other: string, why: string): BlockError {
  return new BlockError('image_backing_refused', `${path} refers to another file, ${other}: ${why}.`, {
    facts: { path, other },
    hint: 'Flatten the image with "qemu-img convert" on the machine that it comes from.',
  })
}

export function encryptedImage(path: string): BlockError {
  return new BlockError('image_encrypted', `${path} is encrypted; Holdfast has no key for it.`, { facts: { path } })
}

/** @throws BlockError image_too_large, image_invalid (empty) */
export function checkVirtualSize(path: string, sizeBytes: number): void {
  if (sizeBytes > DISK_BYTES_MAX || Number.isNaN(sizeBytes)) {
    throw new BlockError('image_too_large', `${path} describes a disk larger than any that Holdfast handles.`, {
      facts: { path, sizeBytes, sizeBytesMax: DISK_BYTES_MAX },
    })
  }
}
