/**
 * The grammar of keys, and the bounds of ranges: what every store checks before it touches anything, so that no store
 * accepts what another refuses. Keys come from stored bytes too (a log names packs), hence errors and not assertions.
 */
import { formatBytes, GIB } from '#base'
import type { BlobKey } from '../blob-store.ts'
import { StoreError } from '../errors.ts'

const KEY_CHARACTERS_MAX = 200
/** Packs are tens of MiB, entries of the log rarely one. What is larger than this is not ours, and no memory is set aside for it. */
const OBJECT_BYTES_MAX = GIB
const SEGMENT = /^[a-z0-9-][a-z0-9.-]*$/
const PREFIX = /^([a-z0-9-][a-z0-9.-]*\/)*([a-z0-9-][a-z0-9.-]*)?$/

/** Whether one segment of a key (what stands between slashes) is well formed. */
export function isKeySegment(name: string): boolean {
  return SEGMENT.test(name)
}

export function isKey(text: string): boolean {
  return text.length > 0 && text.length <= KEY_CHARACTERS_MAX && text.split('/').every(isKeySegment)
}

/** @throws StoreError `blob_key_invalid` unless `key` is well formed. */
export function checkKey(key: BlobKey): void {
  if (isKey(key)) return
  throw new StoreError('blob_key_invalid', 'This cannot be the name of an object in a store.', {
    facts: { key: key.slice(0, KEY_CHARACTERS_MAX) },
  })
}

/** @throws StoreError `blob_key_invalid` unless some key could start with `prefix`. */
export function checkPrefix(prefix: string): void {
  if (prefix.length <= KEY_CHARACTERS_MAX && PREFIX.test(prefix)) return
  throw new StoreError('blob_key_invalid', 'No object in a store can have a name that starts so.', {
    facts: { prefix: prefix.slice(0, KEY_CHARACTERS_MAX) },
  })
}

/** @throws StoreError `blob_range_invalid` unless the range lies inside an object of `sizeBytes`. Empty ranges are allowed. */
export function checkRange(key: BlobKey, offsetBytes: number, lengthBytes: number, sizeBytes: number): void {
  const whole = Number.isSafeInteger(offsetBytes) && Number.isSafeInteger(lengthBytes)
  if (whole && offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= sizeBytes) return
  throw new StoreError('blob_range_invalid', `The object ${key} does not hold the bytes that were asked for.`, {
    facts: { key, offsetBytes, lengthBytes, sizeBytes },
  })
}

/** @throws StoreError `blob_too_large` when an object is larger than any that Holdfast stores */
export function checkSize(key: BlobKey, sizeBytes: number, location: string): void {
  if (sizeBytes <= OBJECT_BYTES_MAX) return
  throw new StoreError(
    'blob_too_large',
    `The object ${key} in ${location} has ${formatBytes(sizeBytes)}: it is not one of Holdfast's.`,
    {
      facts: { key, location, sizeBytes },
      hint: 'Find out who put it there. "holdfast repo verify" tells what it stands in the place of.',
    },
  )
}

export function blobNotFound(key: BlobKey, location: string): StoreError {
  return new StoreError('blob_not_found', `There is no object ${key} in ${location}.`, { facts: { key, location } })
}

export function blobLocked(key: BlobKey, location: string, untilMs: number | undefined, cause?: unknown): StoreError {
  return new StoreError('blob_locked', `The object ${key} in ${location} is locked against deletion.`, {
    facts: { key, location, untilMs },
    retry: 'later',
    hint: 'It can be deleted once its retention has ended.',
    cause,
  })
}

export function lockUnsupported(location: string): StoreError {
  return new StoreError('lock_unsupported', `${location} cannot lock objects against deletion.`, {
    facts: { location },
    hint: 'Use a bucket with object lock (retention in compliance mode) or a folder, or do without immutability.',
  })
}
