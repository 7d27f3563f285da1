/**
 * The file systems of a point's disks as one tree: its root holds a folder for each of them. One that cannot be read is shown with
 * its reason. A name is the disk's word and the partition's number, or the word alone where the disk has no partition table.
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

type Volume = Readonly<{ name: string } & ({ opened: OpenedFileSystem } | { refused: RefusedFileSystem })>
/** Where a path leads: the tree of a volume, and the path in it. */
export type Place = Readonly<{ tree: FileTree; path: string; volume: string; notes: readonly string[] }>

function nameOf(disk: string, number: number): string {
  return number === 0 ? disk : `${disk}-${number}`
}

function listedVolume(volume: Volume): ListedFile {
  const { name } = volume
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

  constructor(volumes: readonly Volume[]) {
    this.#volumes = volumes
  }

  /** Undefined: the root, which lies in no volume. @throws TransferError `files_not_found`, `files_unsupported` */
  find(path: string): Place | undefined {
    const [first, ...rest] = path.split('/').filter((name) => name !== '' && name !== '.')
    if (first === undefined) return undefined
    const volume = this.#volumes.find(({ name }) => name === first)
    const facts = { path, volumes: this.#volumes.map(({ name }) => name) }
    if (volume === undefined)
      throw new TransferError('files_not_found', `There is no volume ${first} in this recovery point.`, {
        facts,
        hint: 'List "/" to see the volumes.',
      })
    if ('refused' in volume)
      throw new TransferError('files_unsupported', `${first}: ${volume.refused.refusal}`, { facts })
    const { root, notes } = volume.opened
    return { tree: root, path: `/${rest.join('/')}`, volume: first, notes }
  }

  async list(path: string): Promise<FileListing> {
    const place = this.find(path)
    if (place === undefined)
      return { entry: { name: '/', kind: 'folder', ...FOLDER }, entries: this.#volumes.map(listedVolume), notes: [] }
    const { tree, notes } = place
    const entry = await tree.stat(place.path)
    const entries: FileEntry[] = entry.kind === 'folder' ? await tree.list(place.path) : []
    return { entry: entry.name === '/' ? { ...entry, name: place.volume } : entry, entries, notes }
  }
}

/** @param sources by the word that its volumes are named by; they stay open and belong to the caller */
export async function openVolumes(sources: ReadonlyMap<string, BlockSource>): Promise<Volumes> {
  const volumes: Volume[] = []
  for (const [disk, source] of sources) {
    const { fileSystems, refused } = await openFileSystems(source)
    for (const opened of fileSystems) volumes.push({ name: nameOf(disk, opened.partition.number), opened })
    for (const one of refused) volumes.push({ name: nameOf(disk, one.partition.number), refused: one })
  }
  return new Volumes(volumes.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
}
