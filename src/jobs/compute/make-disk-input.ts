/** What the task `make-disk` is told. JSON without secrets: a key stands in a file that is named. */
import { DISK_BYTES_MAX, SECTOR_BYTES } from '#base'
import { absolutePathOf, inputInvalid, readTaskAccess, recordOf, type TaskAccess } from '../repository-access.ts'
import type { PoolPlace } from './pool-room.ts'

export type DiskBytes =
  | Readonly<{ kind: 'empty' }>
  /** An image that lies in one of the folders; its format is found out. */
  | Readonly<{ kind: 'image'; path: string; folders: readonly string[] }>
  /** The disk of ours that another one is a copy of. */
  | Readonly<{ kind: 'disk'; path: string; format: 'qcow2' | 'raw' }>
  /** What was uploaded: a fixed VHD of just this size, footer and all. */
  | Readonly<{ kind: 'upload'; path: string; uploadBytes: number }>
  /** A URL that stands in a file (it may hold a signature), of one of these hosts. */
  | Readonly<{ kind: 'url'; urlFile: string; hosts: readonly string[] }>
  /** A snapshot of a linked server; its signed path stands in a file (linked-source.ts). */
  | Readonly<{ kind: 'linked'; endpoint: string; authority: string; pathFile: string }>
  | Readonly<{ kind: 'version'; access: TaskAccess; point: string; disk: string }>

export type MakeDiskInput = Readonly<{
  file: string
  pool: PoolPlace
  /** Undefined: as large as what it is made from. */
  sizeBytes: number | undefined
  bytes: DiskBytes
}>

function textOf(value: unknown, what: string): string {
  if (typeof value === 'string' && value !== '') return value
  throw inputInvalid(what)
}

function textsOf(value: unknown, what: string): string[] {
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value
  throw inputInvalid(what)
}

export function sizeOf(value: unknown, what: string): number {
  const isSize = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= 2 * DISK_BYTES_MAX
  if (isSize && value % SECTOR_BYTES === 0) return value
  throw inputInvalid(what)
}

function bytesOf(given: Record<string, unknown>): DiskBytes {
  const { kind } = given
  switch (kind) {
    case 'empty':
      return { kind }
    case 'image':
      return { kind, path: absolutePathOf(given['path'], 'path'), folders: textsOf(given['folders'], 'folders') }
    case 'disk': {
      const { format } = given
      if (format !== 'qcow2' && format !== 'raw') throw inputInvalid('format')
      return { kind, path: absolutePathOf(given['path'], 'path'), format }
    }
    case 'upload':
      return {
        kind,
        path: absolutePathOf(given['path'], 'path'),
        uploadBytes: sizeOf(given['uploadBytes'], 'uploadBytes'),
      }
    case 'url':
      return { kind, urlFile: absolutePathOf(given['urlFile'], 'urlFile'), hosts: textsOf(given['hosts'], 'hosts') }
    case 'linked':
      return {
        kind,
        endpoint: textOf(given['endpoint'], 'endpoint'),
        authority: textOf(given['authority'], 'authority'),
        pathFile: absolutePathOf(given['pathFile'], 'pathFile'),
      }
    case 'version': {
      const access = readTaskAccess(recordOf(given['access'], 'access'))
      return { kind, access, point: textOf(given['point'], 'point'), disk: textOf(given['disk'], 'disk') }
    }
    default:
      throw inputInvalid('kind of bytes')
  }
}

export function readPool(given: unknown): PoolPlace {
  const { path, reserveBytes } = recordOf(given, 'pool')
  if (typeof reserveBytes !== 'number' || !(reserveBytes >= 0)) throw inputInvalid('reserveBytes')
  return { path: absolutePathOf(path, 'pool path'), reserveBytes }
}

/** @throws JobsError `job_input_invalid` */
export function readMakeDiskInput(given: unknown): MakeDiskInput {
  const input = recordOf(given, 'fields')
  const { sizeBytes } = input
  return {
    file: absolutePathOf(input['file'], 'file'),
    pool: readPool(input['pool']),
    sizeBytes: sizeBytes === undefined || sizeBytes === null ? undefined : sizeOf(sizeBytes, 'sizeBytes'),
    bytes: bytesOf(recordOf(input['bytes'], 'bytes')),
  }
}
