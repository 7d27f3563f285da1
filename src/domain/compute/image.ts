/**
 * Images: disk versions from which disks and machines are made, and the read-only bases that a host keeps of them.
 *
 *   image ──names──> versions in its region's repository        never bytes of its own; each is given up by itself
 *   base             one version as a file of a pool            made once, named by the version, complete or absent
 *   disk from image  an overlay on a base                       lives on when the image is deleted
 *
 * Invariant: a base goes only when no overlay rests on it. What is planned here goes by records and by what was seen of the
 * files; who removes looks at the overlays once more.
 */
import type { Refusal, VersionRef } from './disk.ts'

/** Which disk of an image: its OS disk, or the data disk of a LUN. */
export type ImageLun = number | 'os'

export type ImageDisk = Readonly<{ lun: ImageLun; version: VersionRef; sizeBytes: number; usedBytes: number }>

/** What stands behind an image once it is made. */
export type ImageBacking = Readonly<{ disks?: readonly ImageDisk[] }>

/** @param lun undefined or null: the OS disk, as `imageReference` has it */
export function diskOfImage(backing: ImageBacking, lun: number | null | undefined): ImageDisk | Refusal {
  const wanted = lun ?? 'os'
  const found = backing.disks?.find((disk) => disk.lun === wanted)
  if (found !== undefined) return found
  const what = wanted === 'os' ? 'no OS disk' : `no data disk with the LUN ${wanted}`
  return { target: 'properties.creationData.imageReference.lun', message: `The image has ${what}.` }
}

const PLAIN = /^[\w-]{1,64}$/

/** The file name of a version's base; a refusal for ids that are no plain words, which are none of ours. */
export function baseName({ point, disk }: Pick<VersionRef, 'point' | 'disk'>): string | Refusal {
  if (PLAIN.test(point) && PLAIN.test(disk)) return `${point}.${disk}.qcow2`
  return { message: `The version ${point} of the disk ${disk} cannot be the name of a file.` }
}

export type BasesSeen = Readonly<{
  /** File names of bases that are there. */
  bases: readonly string[]
  /** Names that a disk's record gives as its base, also of one that is being made. */
  namedByDisks: ReadonlySet<string>
  /** Names of versions that an image holds: the next disk of it is made at once. */
  namedByImages: ReadonlySet<string>
  /** Names that an overlay's own header gives, whether or not a record knows of it. */
  namedByFiles: ReadonlySet<string>
}>

/** The bases that nothing needs. */
export function planBaseRemoval({ bases, namedByDisks, namedByImages, namedByFiles }: BasesSeen): string[] {
  return bases.filter((name) => !namedByDisks.has(name) && !namedByImages.has(name) && !namedByFiles.has(name))
}

export const OS_STATES = ['Generalized', 'Specialized'] as const
export type OsState = (typeof OS_STATES)[number]

/** A machine as the source of an image, as far as its making is concerned. */
export type ImageSourceMachine = Readonly<{ isGeneralized: boolean; isDeallocated: boolean; hasOsDisk: boolean }>

/** Why no image is made of the machine: it must be generalized and deallocated, and the reason says which it is not. */
export function whyNoImage({ isGeneralized, isDeallocated, hasOsDisk }: ImageSourceMachine): Refusal | undefined {
  if (!hasOsDisk) return { message: 'The machine has no OS disk.' }
  if (isGeneralized && isDeallocated) return undefined
  const lacks = [...(isGeneralized ? [] : ['generalized']), ...(isDeallocated ? [] : ['deallocated'])]
  return {
    message:
      `An image is made of a machine that is generalized and deallocated; it is not ${lacks.join(' and not ')}. ` +
      'A specialized image is made of a disk or a snapshot.',
  }
}
