/**
 * Reads FAT12, FAT16 and FAT32 with long names (Microsoft, FAT32 File System Specification 1.03). Times are the guest's local
 * ones and are shown as UTC: the disk does not say in which zone they were. There are no owners and no links.
 *
 * Chains of clusters are followed for at most as many steps as there are clusters, so a chain that runs in a circle ends.
 */
import { type DiskView, damaged } from './disk-view.ts'
import type { FileAttributes, FilePiece, NodeReader } from './file-tree.ts'
import { PIECE_BYTES_MAX } from './file-tree.ts'
import { type FatEntry, parseEntries } from './fat-entries.ts'

export type FatKind = 'fat12' | 'fat16' | 'fat32'

type Layout = Readonly<{
  kind: FatKind
  clusterBytes: number
  clusterCount: number
  fatAt: number
  dataAt: number
  /** FAT12 and FAT16: the root has a place of its own. */
  rootAt: number
  rootBytes: number
  rootCluster: number
}>

/** undefined: the root. */
type Node = Readonly<{ entry: FatEntry | undefined }>

/** A FAT folder has at most 65,536 records of 32 bytes. */
const FOLDER_BYTES_MAX = 65_536 * 32
const FAT12_CLUSTERS_MAX = 4084
const FAT16_CLUSTERS_MAX = 65_524

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0
}

/** The layout that the boot sector describes; undefined when it describes no FAT. */
function parseLayout(sector: Buffer): Layout | undefined {
  const jump = sector.readUInt8(0)
  const sectorBytes = sector.readUInt16LE(11)
  const sectorsPerCluster = sector.readUInt8(13)
  const reserved = sector.readUInt16LE(14)
  const copies = sector.readUInt8(16)
  const rootBytes = sector.readUInt16LE(17) * 32
  const totalSectors = sector.readUInt16LE(19) || sector.readUInt32LE(32)
  const fatSectors = sector.readUInt16LE(22) || sector.readUInt32LE(36)
  const isFat =
    (jump === 0xeb || jump === 0xe9) &&
    sector.readUInt16LE(510) === 0xaa55 &&
    isPowerOfTwo(sectorBytes) &&
    sectorBytes >= 512 &&
    sectorBytes <= 4096 &&
    isPowerOfTwo(sectorsPerCluster) &&
    (copies === 1 || copies === 2) &&
    reserved > 0 &&
    fatSectors > 0
  if (!isFat) return undefined
  const rootAt = (reserved + copies * fatSectors) * sectorBytes
  const dataAt = rootAt + Math.ceil(rootBytes / sectorBytes) * sectorBytes
  const clusterBytes = sectorsPerCluster * sectorBytes
  const clusterCount = Math.floor((totalSectors * sectorBytes - dataAt) / clusterBytes)
  if (clusterCount <= 0) return undefined
  const kind = clusterCount <= FAT12_CLUSTERS_MAX ? 'fat12' : clusterCount <= FAT16_CLUSTERS_MAX ? 'fat16' : 'fat32'
  const rootCluster = kind === 'fat32' ? sector.readUInt32LE(44) : 0
  return { kind, clusterBytes, clusterCount, fatAt: reserved * sectorBytes, dataAt, rootAt, rootBytes, rootCluster }
}

export class FatReader implements NodeReader<Node> {
  readonly root: Node = { entry: undefined }
  readonly kind: FatKind
  readonly #view: DiskView
  readonly #layout: Layout

  private constructor(view: DiskView, layout: Layout) {
    this.#view = view
    this.#layout = layout
    this.kind = layout.kind
  }

  /** undefined: no FAT file system here. */
  static async open(view: DiskView): Promise<FatReader | undefined> {
    if (view.sizeBytes < 512) return undefined
    const layout = parseLayout(await view.read(0, 512))
    if (layout === undefined) return undefined
    if (layout.dataAt > view.sizeBytes) throw damaged('the file system is larger than its partition')
    return new FatReader(view, layout)
  }

  /** The volume label, which is a record of the root folder; empty when there is none. */
  async label(): Promise<string> {
    for (const entry of parseEntries(await this.#folderBytes(undefined))) if (entry.isLabel) return entry.name
    return ''
  }

  keyOf(node: Node): string {
    const { entry } = node
    if (entry === undefined) return 'root'
    // Empty files have no cluster; a folder without one would be the root.
    return entry.firstCluster === 0 ? `empty ${entry.name}` : String(entry.firstCluster)
  }

  attributes(node: Node): Promise<FileAttributes> {
    const { entry } = node
    const isFolder = entry === undefined || entry.isFolder
    return Promise.resolve({
      kind: isFolder ? 'folder' : 'file',
      sizeBytes: isFolder ? 0 : entry.sizeBytes,
      mode: (isFolder ? 0o755 : 0o644) & (entry?.isReadOnly === true ? 0o555 : 0o777),
      userId: 0,
      groupId: 0,
      modifiedMs: entry?.modifiedMs ?? 0,
    })
  }

  async *children(folder: Node): AsyncGenerator<Readonly<{ name: string; node: Node }>> {
    for (const entry of parseEntries(await this.#folderBytes(folder.entry))) {
      if (!entry.isLabel && entry.name !== '.' && entry.name !== '..') yield { name: entry.name, node: { entry } }
    }
  }

  async *pieces(file: Node): AsyncGenerator<FilePiece> {
    const { entry } = file
    if (entry === undefined || entry.sizeBytes === 0) return
    let offset = 0
    for await (const run of this.#clusterRuns(entry.firstCluster, entry.sizeBytes)) {
      const length = Math.min(run.length, entry.sizeBytes - offset)
      for (let done = 0; done < length; done += PIECE_BYTES_MAX) {
        const piece = Math.min(PIECE_BYTES_MAX, length - done)
        yield { offset: offset + done, data: await this.#view.readContent(run.at + done, piece) }
      }
      offset += length
    }
    if (offset < entry.sizeBytes)
      throw damaged('a file is shorter than its folder says', { missing: entry.sizeBytes - offset })
  }

  async #folderBytes(entry: FatEntry | undefined): Promise<Buffer> {
    const { kind, rootAt, rootBytes, rootCluster } = this.#layout
    if (entry === undefined && kind !== 'fat32') return this.#view.read(rootAt, rootBytes)
    const parts: Buffer[] = []
    for await (const run of this.#clusterRuns(entry?.firstCluster ?? rootCluster, FOLDER_BYTES_MAX)) {
      parts.push(await this.#view.read(run.at, run.length))
    }
    return Buffer.concat(parts)
  }

  /** The chain from `first` on, touching clusters joined, at most `bytesMax` (to a whole cluster) of it. */
  async *#clusterRuns(first: number, bytesMax: number): AsyncGenerator<{ at: number; length: number }> {
    const { clusterBytes, clusterCount, dataAt } = this.#layout
    let run: { at: number; length: number } | undefined
    let cluster: number | undefined = first
    let bytes = 0
    for (let steps = 0; cluster !== undefined && bytes < bytesMax; steps += 1) {
      if (cluster < 2 || cluster >= clusterCount + 2 || steps > clusterCount) {
        throw damaged('a chain of clusters leads nowhere', { cluster })
      }
      const at = dataAt + (cluster - 2) * clusterBytes
      if (run !== undefined && run.at + run.length === at) run.length += clusterBytes
      else {
        if (run !== undefined) yield run
        run = { at, length: clusterBytes }
      }
      bytes += clusterBytes
      cluster = await this.#next(cluster)
    }
    if (run !== undefined) yield run
  }

  /** The cluster after this one; undefined at the end of the chain. */
  async #next(cluster: number): Promise<number | undefined> {
    const { kind, fatAt } = this.#layout
    if (kind === 'fat12') {
      const pair = (await this.#view.read(fatAt + Math.floor(cluster * 1.5), 2)).readUInt16LE(0)
      const next = cluster % 2 === 0 ? pair & 0xfff : pair >>> 4
      return next >= 0xff8 ? undefined : next
    }
    if (kind === 'fat16') {
      const next = (await this.#view.read(fatAt + cluster * 2, 2)).readUInt16LE(0)
      return next >= 0xfff8 ? undefined : next
    }
    const next = (await this.#view.read(fatAt + cluster * 4, 4)).readUInt32LE(0) & 0x0fff_ffff
    return next >= 0x0fff_fff8 ? undefined : next
  }
}
