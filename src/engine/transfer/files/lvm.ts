/**
 * The logical volumes of LVM2 groups that lie on the disks of one machine: linear, striped, and one healthy leg of mirrors
 * and raid1 (lvm2, lib/format_text/import_vsn1.c). Thin volumes, snapshots, caches, parity and the rest are refused by name.
 *
 * What a text says is checked against the disks; a volume of which a part is missing is refused, its neighbours are not.
 * Bounded: the number of volumes, segments and legs, and how deep volumes lie in volumes; each volume is opened once, however many
 * others lie on it.
 */
import { isHoldfastError, messageOf } from '#base'
import { TransferError } from '../errors.ts'
import { type ByteReader, damaged } from './disk-view.ts'
import { type PhysicalVolume, sequenceIn } from './lvm-label.ts'
import { healthyLegs } from './lvm-raid-meta.ts'
import { arrayIn, type LvmSection, numberIn, parseLvmText, sectionIn, sectionsIn, stringIn } from './lvm-text.ts'
import { JoinedVolume, type Part, StripedVolume } from './volume-readers.ts'

export type LogicalVolume = Readonly<{ group: string; name: string; sizeBytes: number }> &
  (Readonly<{ reader: ByteReader; type: string }> | Readonly<{ refusal: string; type: string }>)

const SECTOR_BYTES = 512
const SEGMENTS_MAX = 100_000
const NESTING_MAX = 4
/** LVM makes stripes over 128 disks at most, and mirrors of 10. */
const LEGS_MAX = 256
/** Of all groups together. */
const VOLUMES_MAX = 4096
/** What a volume with such segments is called, for those that are not read. */
const REFUSED_TYPES: Readonly<Record<string, string>> = {
  thin: 'It is a thin volume',
  'thin-pool': 'It is a pool of thin volumes',
  snapshot: 'It is a snapshot',
  cache: 'It has a cache in front of it',
  'cache-pool': 'It is a cache',
  writecache: 'It has a write cache in front of it',
  vdo: 'It is compressed and deduplicated (VDO)',
  'vdo-pool': 'It is a pool of VDO volumes',
  integrity: 'It has integrity checksums',
  error: 'It reads as errors only',
}

function refuse(message: string): TransferError {
  return new TransferError('files_unsupported', message)
}

/** `height`: how deep volumes lie in it. */
type Opened = Readonly<{ reader: ByteReader; height: number }>

class TooDeep extends TransferError {
  constructor(name: string) {
    const { message, facts, hint } = damaged('volumes of a group lie in each other', { name })
    super('files_damaged', message, { facts, hint })
  }
}

class Group {
  readonly name: string
  readonly #section: LvmSection
  readonly #volumes: LvmSection
  readonly #extentBytes: number
  readonly #disks: ReadonlyMap<string, PhysicalVolume>
  /** What became of each volume that was opened, or why it cannot be. */
  readonly #opened = new Map<string, Opened | Error>()
  /** The volumes that are being opened, each for the one before. */
  readonly #opening: { readonly name: string; height: number }[] = []

  constructor(name: string, section: LvmSection, disks: ReadonlyMap<string, PhysicalVolume>) {
    this.name = name
    this.#section = section
    this.#disks = disks
    this.#volumes = sectionIn(section, 'logical_volumes')
    this.#extentBytes = numberIn(section, 'extent_size') * SECTOR_BYTES
    if (this.#extentBytes <= 0) throw damaged('a volume group has no extents')
  }

  /** All that a user would see, in the text's order, `most` at most. */
  async list(most: number): Promise<LogicalVolume[]> {
    const found: LogicalVolume[] = []
    const snapshots = this.#snapshotNames()
    for (const [name, section] of sectionsIn(this.#volumes)) {
      // A snapshot is kept as its hidden store and a volume that only says what belongs together.
      if (!arrayIn(section, 'status').includes('VISIBLE') && !snapshots.has(name)) continue
      if (segmentsOf(section).some((segment) => segment.get('type') === 'snapshot')) continue
      if (found.length === most) break
      found.push(await this.#open(name, section, snapshots))
    }
    return found
  }

  async #open(name: string, section: LvmSection, snapshots: ReadonlyMap<string, string>): Promise<LogicalVolume> {
    const facts = { group: this.name, name, sizeBytes: 0, type: 'unknown' }
    try {
      const type = [...new Set(segmentsOf(section).map((segment) => stringIn(segment, 'type')))].join('+')
      Object.assign(facts, { type, sizeBytes: this.#sizeOf(section) })
      const snapshot = snapshots.get(name)
      if (snapshot !== undefined) return { ...facts, type: 'snapshot', refusal: snapshot }
      return { ...facts, reader: (await this.#volume(name, section)).reader }
    } catch (error) {
      if (!isHoldfastError(error, 'files_damaged', 'files_unsupported')) throw error
      return { ...facts, refusal: messageOf(error) }
    }
  }

  /** The stores of snapshots are visible as volumes, but hold exceptions and no file system. */
  #snapshotNames(): Map<string, string> {
    const names = new Map<string, string>()
    for (const [, section] of sectionsIn(this.#volumes)) {
      for (const segment of segmentsOf(section)) {
        if (segment.get('type') !== 'snapshot') continue
        const merging = segment.get('merging_store')
        const origin = segment.get('origin')
        if (typeof merging === 'string' && typeof origin === 'string')
          names.set(origin, `The snapshot ${merging} is being merged into it.`)
        const store = merging ?? segment.get('cow_store')
        if (typeof store === 'string' && typeof origin === 'string') names.set(store, `It is a snapshot of ${origin}.`)
      }
    }
    return names
  }

  #sizeOf(section: LvmSection): number {
    return segmentsOf(section).reduce((sum, segment) => sum + numberIn(segment, 'extent_count'), 0) * this.#extentBytes
  }

  async #volume(name: string, section: LvmSection): Promise<Opened> {
    const known = this.#opened.get(name)
    if (known instanceof Error) throw known
    if (known !== undefined) return known
    const own = { name, height: 0 }
    try {
      if (this.#opening.length > NESTING_MAX) throw new TooDeep(name)
      this.#opening.push(own)
      const reader = await this.#join(name, section).finally(() => this.#opening.pop())
      if (own.height > NESTING_MAX) throw new TooDeep(name)
      const opened = { reader, height: own.height }
      this.#opened.set(name, opened)
      return opened
    } catch (error) {
      // A volume that lies too deep in another may be well by itself.
      const isItsOwn = !(error instanceof TooDeep) && isHoldfastError(error, 'files_damaged', 'files_unsupported')
      if (isItsOwn) this.#opened.set(name, error)
      throw error
    }
  }

  async #join(name: string, section: LvmSection): Promise<ByteReader> {
    const segments = segmentsOf(section).sort((a, b) => numberIn(a, 'start_extent') - numberIn(b, 'start_extent'))
    const parts: Part[] = []
    let nextExtent = 0
    for (const segment of segments) {
      if (numberIn(segment, 'start_extent') !== nextExtent) throw damaged('a logical volume has gaps', { name })
      const extents = numberIn(segment, 'extent_count')
      nextExtent += extents
      if (!Number.isSafeInteger(nextExtent * this.#extentBytes))
        throw damaged('a logical volume is impossibly large', { name })
      const reader = await this.#segment(segment, extents * this.#extentBytes)
      if (reader.sizeBytes < extents * this.#extentBytes) throw damaged('a part of a volume is too short', { name })
      parts.push({ from: reader, offset: 0, sizeBytes: extents * this.#extentBytes })
    }
    return new JoinedVolume(parts)
  }

  async #segment(segment: LvmSection, sizeBytes: number): Promise<ByteReader> {
    const type = stringIn(segment, 'type')
    const base = type.split('_')[0] ?? type
    if (type === 'striped' || type === 'linear') return this.#striped(segment, 'stripes', sizeBytes)
    if (type === 'raid0' || type === 'raid0_meta') return this.#raid0(segment, type, sizeBytes)
    if (type === 'mirror') return this.#firstLeg(pairsOf(arrayIn(segment, 'mirrors')), sizeBytes)
    if (type === 'raid1') return this.#raid1(segment, sizeBytes)
    if (type === 'zero') return { sizeBytes, read: (_, into) => Promise.resolve(void into.fill(0)) }
    throw refuse(`${REFUSED_TYPES[base] ?? `It is of the type ${type}`}, which is not read here.`)
  }

  async #striped(segment: LvmSection, key: string, sizeBytes: number): Promise<ByteReader> {
    const stripes = pairsOf(arrayIn(segment, key))
    if (stripes.length === 0) throw damaged('a stripe has no legs')
    const legBytes = sizeBytes / stripes.length
    const legs: Part[] = []
    for (const [name, extent] of stripes) legs.push(await this.#area(name, extent, legBytes))
    const [only] = legs
    if (legs.length === 1 && only !== undefined) return new JoinedVolume([only])
    return new StripedVolume(legs, this.#stripeBytes(segment, legBytes))
  }

  #stripeBytes(segment: LvmSection, legBytes: number): number {
    const bytes = numberIn(segment, 'stripe_size') * SECTOR_BYTES
    if (bytes <= 0 || legBytes % bytes !== 0) throw damaged('the stripes of a volume do not fit its legs')
    return bytes
  }

  async #raid0(segment: LvmSection, type: string, sizeBytes: number): Promise<ByteReader> {
    const all = arrayIn(segment, type === 'raid0' ? 'raid0_lvs' : 'raids')
    const listed = all.length > 0 ? all : arrayIn(segment, 'raids')
    const images = listed.filter((name) => typeof name === 'string' && this.#isImage(name)) as string[]
    if (images.length === 0 || images.length > LEGS_MAX) throw damaged('a stripe has an impossible number of legs')
    const legs: Part[] = []
    for (const image of images) legs.push(await this.#area(image, 0, sizeBytes / images.length))
    return new StripedVolume(legs, this.#stripeBytes(segment, sizeBytes / images.length))
  }

  #isImage(name: string): boolean {
    return !/_rmeta_\d+$/.test(name)
  }

  /** Of pairs of metadata and image, the first image that its metadata calls healthy. */
  async #raid1(segment: LvmSection, sizeBytes: number): Promise<ByteReader> {
    const names = arrayIn(segment, 'raids').map(String)
    if (names.length > 2 * LEGS_MAX) throw damaged('a mirror has too many legs', { legs: names.length / 2 })
    const healthy: [string, number][] = []
    const metas: ByteReader[] = []
    for (let i = 0; i + 1 < names.length; i += 2) {
      const meta = await this.#orMissing(String(names[i]))
      if (meta === undefined) continue
      metas.push(meta)
      healthy.push([String(names[i + 1]), 0])
    }
    const isHealthy = await healthyLegs(metas)
    const legs = healthy.filter((_, i) => isHealthy[i] === true)
    if (legs.length === 0) throw refuse('No leg of the mirror is whole on the disks of this point.')
    return this.#firstLeg(legs, sizeBytes)
  }

  async #orMissing(name: string): Promise<ByteReader | undefined> {
    try {
      return (await this.#area(name, 0, this.#extentBytes)).from
    } catch (error) {
      if (!isHoldfastError(error, 'files_unsupported')) throw error
      return undefined
    }
  }

  async #firstLeg(legs: readonly [string, number][], sizeBytes: number): Promise<ByteReader> {
    let missing: unknown
    for (const [name, extent] of legs) {
      try {
        return new JoinedVolume([await this.#area(name, extent, sizeBytes)])
      } catch (error) {
        if (!isHoldfastError(error, 'files_unsupported')) throw error
        missing = error
      }
    }
    throw missing ?? damaged('a mirror has no legs')
  }

  /** `sizeBytes` from an extent on, of a disk or of another volume. */
  async #area(name: string, extent: number, sizeBytes: number): Promise<Part> {
    const disk = sectionIn(this.#section, 'physical_volumes').get(name)
    if (disk instanceof Map) return this.#onDisk(disk as LvmSection, extent, sizeBytes)
    const volume = this.#volumes.get(name)
    if (!(volume instanceof Map)) throw damaged('a volume lies on something that is not there', { name })
    const { reader: from, height } = await this.#volume(name, volume as LvmSection)
    const above = this.#opening.at(-1)
    if (above !== undefined) above.height = Math.max(above.height, height + 1)
    return within({ from, offset: extent * this.#extentBytes, sizeBytes }, from.sizeBytes)
  }

  #onDisk(section: LvmSection, extent: number, sizeBytes: number): Part {
    const id = stringIn(section, 'id')
    const disk = this.#disks.get(id.replaceAll('-', ''))
    if (disk === undefined || arrayIn(section, 'flags').includes('MISSING')) {
      throw refuse(`A disk of its volume group is not here (physical volume ${id}).`)
    }
    const offset = numberIn(section, 'pe_start') * SECTOR_BYTES + extent * this.#extentBytes
    return within({ from: disk.view.reader, offset, sizeBytes }, disk.view.sizeBytes)
  }
}

function within(part: Part, sizeBytes: number): Part {
  const { offset } = part
  if (Number.isSafeInteger(offset) && part.sizeBytes > 0 && offset + part.sizeBytes <= sizeBytes) return part
  throw damaged('a part of a logical volume does not lie on its disk', { offset, sizeBytes: part.sizeBytes })
}

function segmentsOf(volume: LvmSection): LvmSection[] {
  const segments = [...sectionsIn(volume)].filter(([name]) => /^segment\d+$/.test(name)).map(([, section]) => section)
  if (segments.length > SEGMENTS_MAX) throw damaged('a logical volume has too many parts')
  return segments
}

function pairsOf(values: readonly (number | string)[]): [string, number][] {
  if (values.length > 2 * LEGS_MAX) throw damaged('a stripe or mirror has too many legs', { legs: values.length / 2 })
  const pairs: [string, number][] = []
  for (let i = 0; i + 1 < values.length; i += 2) {
    const [name, extent] = [values[i], values[i + 1]]
    if (typeof name !== 'string' || typeof extent !== 'number' || extent < 0) throw damaged('a stripe leads nowhere')
    pairs.push([name, extent])
  }
  return pairs
}

/** The newest text of each group, by the group's id. */
function textsOf(disks: readonly PhysicalVolume[]): string[] {
  const texts = new Map<string, string>()
  for (const { text } of disks) {
    if (text === undefined) continue
    const id = /^[ \t]*id[ \t]*=[ \t]*"([^"\n]{0,64})"/m.exec(text)?.[1] ?? ''
    const known = texts.get(id)
    if (known === undefined || sequenceIn(text) > sequenceIn(known)) texts.set(id, text)
  }
  return [...texts.values()]
}

/** @returns the volumes, and the groups that could not be read, each with its reason. */
export async function openVolumeGroups(
  disks: readonly PhysicalVolume[],
): Promise<Readonly<{ volumes: readonly LogicalVolume[]; notes: readonly string[] }>> {
  const byId = new Map(disks.toReversed().map((disk) => [disk.id, disk]))
  const volumes: LogicalVolume[] = []
  const notes: string[] = []
  if (byId.size < disks.length) notes.push('Two disks carry the same LVM identity; the first was used.')
  for (const text of textsOf(disks)) {
    try {
      for (const [name, section] of sectionsIn(parseLvmText(text))) {
        for (const one of await new Group(name, section, byId).list(VOLUMES_MAX - volumes.length)) volumes.push(one)
      }
    } catch (error) {
      if (!isHoldfastError(error, 'files_damaged')) throw error
      notes.push(`A volume group cannot be read. ${error.message}`)
    }
  }
  if (volumes.length === VOLUMES_MAX) notes.push(`Of its logical volumes only ${VOLUMES_MAX} are shown.`)
  return { volumes, notes }
}
