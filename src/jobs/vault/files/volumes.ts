/**
 * The file systems of a point's disks as one tree: its root holds a folder for each of them, `osp1` for the first partition of the
 * operating system's disk, `data0` for LUN 0 without a partition table, `vg0/home` for a volume that LVM put together. One that cannot
 * be read is shown with its reason.
 */
import type { BlockSource } from '#engine/block'
import {
  type FileEntry,
  type FileTree,
  type OpenedFileSystem,
  openFileSystems,
  type RefusedFileSystem,
  TransferError,
} from '#engine/transfer'
import type { FileListing, ListedFile } from './file-service.ts'

const FOLDER = { sizeBytes: 0, mode: 0o555, userId: 0, groupId: 0, modifiedMs: 0 }

type Steps = readonly string[]
type Volume = Readonly<{ steps: Steps } & ({ opened: OpenedFileSystem } | { refused: RefusedFileSystem })>
/** Where a path leads: the tree of a volume, and the path in it. */
export type VolumePlace = Readonly<{ tree: FileTree; path: string; volume: string; notes: readonly string[] }>

function stepsOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}

function isPrefix(short: Steps, long: Steps): boolean {
  return short.length <= long.length && short.every((step, at) => step === long[at])
}

function listedVolume(volume: Volume, name: string): ListedFile {
  if ('opened' in volume) {
    const { kind, label, notes } = volume.opened
    const note = notes.length === 0 ? {} : { note: notes.join(' ') }
    return { name, kind: 'folder', ...FOLDER, fileSystem: kind, ...(label !== '' && { label }), ...note }
  }
  const { kind, refusal, partition } = volume.refused
  return { name, kind: 'refused', ...FOLDER, sizeBytes: partition.sizeBytes, fileSystem: kind, note: refusal }
}

export class Volumes {
  readonly #volumes: readonly Volume[]
  readonly #notes: readonly string[]

  constructor(volumes: readonly Volume[], notes: readonly string[]) {
    this.#volumes = volumes
    this.#notes = notes
  }

  /** Undefined: a folder of volumes, such as the root. @throws TransferError `files_not_found`, `files_unsupported` */
  find(path: string): VolumePlace | undefined {
    const steps = stepsOf(path)
    const facts = { path, volumes: this.#volumes.map((volume) => volume.steps.join('/')) }
    const volume = this.#volumes.find((one) => isPrefix(one.steps, steps))
    if (volume === undefined) {
      if (this.#volumes.some((one) => isPrefix(steps, one.steps)) || steps.length === 0) return undefined
      throw new TransferError('files_not_found', `There is no volume ${steps[0] ?? ''} in this recovery point.`, {
        facts,
        hint: 'List "/" to see the volumes.',
      })
    }
    const name = volume.steps.join('/')
    if ('refused' in volume)
      throw new TransferError('files_unsupported', `${name}: ${volume.refused.refusal}`, { facts })
    const { root, notes } = volume.opened
    return { tree: root, path: `/${steps.slice(volume.steps.length).join('/')}`, volume: name, notes }
  }

  async list(path: string): Promise<FileListing> {
    const place = this.find(path)
    if (place === undefined) return this.#folderOfVolumes(stepsOf(path))
    const { tree, notes } = place
    const entry = await tree.stat(place.path)
    const entries: FileEntry[] = entry.kind === 'folder' ? await tree.list(place.path) : []
    return { entry: entry.name === '/' ? { ...entry, name: place.volume } : entry, entries, notes }
  }

  #folderOfVolumes(steps: Steps): FileListing {
    const below = this.#volumes.filter((volume) => isPrefix(steps, volume.steps))
    const entries = new Map<string, ListedFile>()
    for (const volume of below) {
      const name = volume.steps[steps.length] ?? ''
      const isLast = volume.steps.length === steps.length + 1
      if (!entries.has(name))
        entries.set(name, isLast ? listedVolume(volume, name) : { name, kind: 'folder', ...FOLDER })
    }
    const entry: ListedFile = { name: steps.at(-1) ?? '/', kind: 'folder', ...FOLDER }
    return { entry, entries: [...entries.values()], notes: this.#notes }
  }
}

/** @param sources by the word that volumes of the disk are named by; they stay open and belong to the caller */
export async function openVolumes(sources: ReadonlyMap<string, BlockSource>): Promise<Volumes> {
  const disks = Array.from(sources, ([name, source]) => ({ name, source }))
  const { fileSystems, refused, notes } = await openFileSystems(disks)
  const volumes: Volume[] = [
    ...fileSystems.map((opened) => ({ steps: stepsOf(opened.volume), opened })),
    ...refused.map((one) => ({ steps: stepsOf(one.volume), refused: one })),
  ]
  return new Volumes(
    volumes.toSorted((a, b) => (a.steps.join('/') < b.steps.join('/') ? -1 : 1)),
    notes,
  )
}
