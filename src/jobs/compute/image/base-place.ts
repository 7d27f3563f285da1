/**
 * Where the parts of a pool lie: `disks` holds disks, `bases` the read-only files that disks from images rest on. A disk of a
 * pool may rest on a base of the same pool and on nothing else; every other image that refers to another file is refused.
 */
import { basename, dirname, join } from 'node:path'
import type { InspectOptions } from '#engine/block'
import { baseName, type DiskBase, isRefusal, type VersionRef } from '#domain'
import { inputInvalid } from '../../repository-access.ts'

const DISKS = 'disks'
const BASES = 'bases'

export function disksFolder(poolPath: string): string {
  return join(poolPath, DISKS)
}

export function basesFolder(poolPath: string): string {
  return join(poolPath, BASES)
}

/** @throws JobsError `job_input_invalid` for a version that is none of ours */
export function baseOf(poolPath: string, version: VersionRef, image?: string): DiskBase {
  const name = baseName(version)
  if (isRefusal(name)) throw inputInvalid(`version: ${name.message}`)
  return { file: join(basesFolder(poolPath), name), version, ...(image !== undefined && { image }) }
}

/** What an image may rest on, by where it lies. */
export function allowedBacking(file: string): Pick<InspectOptions, 'allowBackingIn'> {
  const folder = dirname(file)
  return basename(folder) === DISKS ? { allowBackingIn: [join(dirname(folder), BASES)] } : {}
}
