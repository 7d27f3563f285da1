/**
 * Files of a recovery point, as the control process asks the worker for them. Paths begin with a volume: `/osp1/etc/fstab` is on the
 * first partition of the operating system's disk, `/data0/notes` on LUN 0, which has no partition table (volumes.ts).
 */
import type { Readable } from 'node:stream'
import type { FileKind } from '#engine/transfer'
import { inputInvalid, readRepositoryAccess, recordOf } from '../../repository-access.ts'
import type { PointPlace } from '../point-source.ts'

/** A point whose files are looked at. Requests of one key share what is open. */
export type FilesOf = Readonly<{
  key: string
  /** Where the point may be read, best first. */
  places: readonly PointPlace[]
  /** By their ids in the point, with the word that their volumes are named by. */
  disks: readonly Readonly<{ id: string; name: string }>[]
}>

export type ListedFile = Readonly<{
  name: string
  /** `refused`: a volume that cannot be read; `note` says why. */
  kind: FileKind | 'refused'
  sizeBytes: number
  mode: number
  userId: number
  groupId: number
  modifiedMs: number
  linkTarget?: string
  /** Of a volume. */
  fileSystem?: string
  label?: string
  note?: string
}>

/** `entry`: what the path names; `entries`: what is in it, of a folder. */
export type FileListing = Readonly<{ entry: ListedFile; entries: readonly ListedFile[]; notes: readonly string[] }>

export const PACK_FORMATS = ['tar', 'zip'] as const
export type PackFormat = (typeof PACK_FORMATS)[number]

export interface FileService {
  /** @throws TransferError `files_not_found`, `files_damaged`; what opening the point raises */
  listFiles(of: FilesOf, path: string): Promise<FileListing>
  /** The bytes [from, to) of a file. */
  readFile(of: FilesOf, path: string, range: readonly [number, number], signal: AbortSignal): Promise<Readable>
  /** A file, or a folder with all that is in it, as an archive. */
  packFiles(of: FilesOf, path: string, format: PackFormat, signal: AbortSignal): Promise<Readable>
  /** Closes what is open for the key. */
  releaseFiles(key: string): Promise<void>
}

/** What came over the wire. @throws JobsError `job_input_invalid` */
export function readFilesOf(given: unknown): FilesOf {
  const fields = recordOf(given, 'files')
  const { key, places, disks } = fields
  if (typeof key !== 'string' || !Array.isArray(places) || !Array.isArray(disks)) throw inputInvalid('files')
  return { key, places: places.map(readPlace), disks: disks.map(readDisk) }
}

function readPlace(given: unknown): PointPlace {
  const { side, point, access } = recordOf(given, 'place')
  if (typeof point !== 'string' || typeof side !== 'string') throw inputInvalid('place')
  return { side: side as PointPlace['side'], point, access: readRepositoryAccess(recordOf(access, 'access')) }
}

function readDisk(given: unknown): FilesOf['disks'][number] {
  const { id, name } = recordOf(given, 'disk')
  if (typeof id !== 'string' || typeof name !== 'string') throw inputInvalid('disk')
  return { id, name }
}
